//! A collector that fails for a while, under steady traffic: no request fails, what was not taken is sent again, and the counters tell
//! what became of every span.

use anyhow::{Context, Result};
use harness::{Answer, Bootstrap, Counters, Receiver, Stage, Traffic, client, wait_for};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A filter that sends often, and tries again after 50 ms to `max_interval` ms.
fn configuration(exporter: &Value, max_interval: u64) -> String {
    let batch = json!({
        "schedule_delay": 100, "max_queue_size": 100_000, "max_export_batch_size": 100,
        "exporter": exporter,
    });
    let retry =
        json!({"initial_interval": 50, "max_interval": max_interval, "max_elapsed_time": 60_000});
    json!({"tracer_provider": {"processors": [{"batch": batch}]}, "envoy": {"retry": retry}})
        .to_string()
}

/// A timeout that no answer keeps that is meant to be late.
const SHORT: u64 = 300;
/// A timeout that every answer keeps that is given at once, though the machine be slow.
const LONG: u64 = 5000;

fn http(timeout: u64) -> Value {
    json!({"otlp_http": {"timeout": timeout}})
}

fn grpc(timeout: u64) -> Value {
    json!({"otlp_grpc": {"timeout": timeout}})
}

async fn stage(exporter: &Value) -> Result<Stage> {
    let configured = |edge: Bootstrap| edge.filter("ingress", &configuration(exporter, 400));
    if exporter.get("otlp_grpc").is_none() {
        return Stage::start(configured).await;
    }
    let collector = Receiver::start_grpc().await?;
    let mut stage = Stage::start(|edge| {
        let edge = configured(edge)?.cluster("otel_collector", collector.port())?;
        edge.http2_cluster("otel_collector")
    })
    .await?;
    stage.collector = collector;
    Ok(stage)
}

/// What is left of a traffic, once all its spans have been delivered or lost.
struct Settled {
    requests: u64,
    counters: Counters,
    /// How often each span arrived.
    times: BTreeMap<String, usize>,
}

async fn settled(stage: &Stage, traffic: Traffic, what: &str) -> Result<Settled> {
    let codes = traffic.stop().await.context(what.to_owned())?;
    assert_eq!(codes.keys().collect::<Vec<_>>(), [&200], "{what}: no request failed");
    let requests = codes[&200];
    let counters = Counters::at_rest(stage.envoy.admin_port(), requests).await?;
    let mut times = BTreeMap::new();
    for span in stage.collector.spans() {
        *times.entry(span.span_id()).or_default() += 1;
    }
    assert_eq!(stage.collector.undecodable(), 0, "{what}");
    Ok(Settled { requests, counters, times })
}

/// A collector that answers so for some exports, in the midst of a traffic.
async fn outage(stage: &Stage, answer: Answer, what: &str) -> Result<Settled> {
    let traffic = Traffic::start(stage.port(), "/", 4);
    stage.collector.wait_for_spans(20).await.context(what.to_owned())?;
    // A second one has come when the first has not been answered in time.
    let more = if answer == Answer::Hang { 2 } else { 4 };
    stage.collector.answer(answer);
    exports(stage, more).await.context(what.to_owned())?;
    stage.collector.answer(Answer::Ok);
    // The traffic goes on until the filter has seen that it is over.
    exports(stage, 1).await.context(what.to_owned())?;
    settled(stage, traffic, what).await
}

/// Waits until so many more exports have come, or tries.
async fn exports(stage: &Stage, more: usize) -> Result<()> {
    let enough = stage.collector.exports().len() + more;
    let come = || async { (stage.collector.exports().len() >= enough).then_some(()) };
    wait_for("exports to come", come).await
}

#[tokio::test]
async fn what_may_pass_is_sent_again_until_it_is_taken() -> Result<()> {
    let (one, second) = ("1", Duration::from_secs(1));
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    let cases = [
        (http(LONG), Answer::RetryAfter(503, one), "503, Retry-After in seconds"),
        (http(LONG), Answer::RetryAfter(503, date), "503, Retry-After as a date that is past"),
        (http(LONG), Answer::Status(429), "429"),
        (http(LONG), Answer::Status(502), "502"),
        (http(LONG), Answer::Status(504), "504"),
        (http(LONG), Answer::Reset, "a reset"),
        (http(LONG), Answer::Hang, "no answer"),
        (grpc(LONG), Answer::Grpc(14), "UNAVAILABLE"),
        (grpc(LONG), Answer::GrpcRetry(8, second), "RESOURCE_EXHAUSTED with RetryInfo"),
        (grpc(LONG), Answer::Hang, "no answer over gRPC"),
    ];
    for (exporter, answer, what) in cases {
        let stage = stage(&exporter).await?;
        let Settled { requests, counters, times } = outage(&stage, answer, what).await?;
        assert_eq!(counters.of("exporter.span.exported"), requests, "{what}: {counters:#?}");
        assert!(counters.of("exporter.retries") >= 1, "{what}: {counters:#?}");
        assert_eq!(times.len() as u64, requests, "{what}: all arrived");
        assert!(times.values().all(|times| *times == 1), "{what}: each once");
        let log = stage.envoy.log();
        assert_eq!(
            log.matches("the collector does not take spans").count(),
            1,
            "{what}: said once"
        );
        let back = log.matches("the collector takes spans again; 0 were lost").count();
        assert_eq!(back, 1, "{what}: said once: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn what_may_not_pass_is_lost_and_counted() -> Result<()> {
    let cases = [
        (http(LONG), Answer::Status(400), "400"),
        (http(LONG), Answer::Status(500), "500"),
        (grpc(LONG), Answer::Grpc(8), "RESOURCE_EXHAUSTED alone"),
        (grpc(LONG), Answer::Grpc(3), "INVALID_ARGUMENT"),
    ];
    for (exporter, answer, what) in cases {
        let stage = stage(&exporter).await?;
        let Settled { requests, counters, times } = outage(&stage, answer, what).await?;
        let lost = counters.of("exporter.span.failed.refused");
        assert!(lost > 0, "{what}: {counters:#?}");
        assert_eq!(counters.of("exporter.retries"), 0, "{what}: {counters:#?}");
        assert_eq!(counters.of("exporter.span.exported") + lost, requests, "{what}: {counters:#?}");
        assert_eq!(times.len() as u64 + lost, requests, "{what}: what is counted did arrive");
        let back = format!("the collector takes spans again; {lost} were lost");
        assert_eq!(stage.envoy.log().matches(&back).count(), 1, "{what}: {}", stage.envoy.log());
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_lost_doubles_spans_and_loses_none() -> Result<()> {
    let cases = [
        (http(SHORT), Answer::CutOff, "a reset in the midst of the answer"),
        (http(SHORT), Answer::Slow(Duration::from_millis(600)), "an answer after the timeout"),
        (http(SHORT), Answer::Trickle(Duration::from_millis(200)), "an answer that trickles"),
        (
            grpc(SHORT),
            Answer::Slow(Duration::from_millis(600)),
            "an answer after the timeout, gRPC",
        ),
    ];
    for (exporter, answer, what) in cases {
        let stage = stage(&exporter).await?;
        let Settled { requests, counters, times } = outage(&stage, answer, what).await?;
        assert_eq!(counters.of("exporter.span.exported"), requests, "{what}: {counters:#?}");
        assert_eq!(times.len() as u64, requests, "{what}: all arrived");
        let batches = stage.collector.exports().len() as u64;
        let retries = counters.of("exporter.retries");
        assert!(retries >= 1 && retries < batches, "{what}: {retries} of {batches}");
        let doubled = times.values().filter(|times| **times > 1).count() as u64;
        assert!(doubled > 0 && doubled <= 100 * retries, "{what}: {doubled} spans");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_collector_rejects_is_counted_and_said_once() -> Result<()> {
    let in_json = json!({"otlp_http": {"encoding": "json", "timeout": LONG}});
    for exporter in [http(LONG), grpc(LONG), in_json] {
        let stage = stage(&exporter).await?;
        stage.collector.answer(Answer::PartialSuccess(1));
        let traffic = Traffic::start(stage.port(), "/", 4);
        exports(&stage, 5).await?;
        let what = exporter.to_string();
        let Settled { requests, counters, times } = settled(&stage, traffic, &what).await?;
        let rejected = counters.of("exporter.span.rejected");
        assert_eq!(rejected, stage.collector.exports().len() as u64, "{what}: one of each export");
        assert_eq!(counters.of("exporter.span.exported") + rejected, requests, "{what}");
        assert_eq!(counters.of("exporter.retries"), 0, "{what}: nothing is sent again");
        assert_eq!(times.len() as u64, requests, "{what}");
        let said = stage.envoy.log().matches("told to reject some").count();
        assert_eq!(said, 1, "{what}: {}", stage.envoy.log());
    }
    Ok(())
}

#[tokio::test]
async fn what_the_collector_says_is_one_short_line_of_the_log() -> Result<()> {
    let stage = stage(&http(LONG)).await?;
    let forged = "[2026-01-01 00:00:00.000][1][critical][wasm] forged";
    for request in 1..=5 {
        let error_message =
            format!("quota {request}\n{forged}\u{2028}\x1b[31m{}", "long ".repeat(10_000));
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message });
        let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        stage.collector.answer(Answer::Body(body.into()));
        client::get(stage.port(), "/").await?;
        stage.at_rest(request).await?;
    }
    let complaints = stage.envoy.complaints();
    let [line] = complaints.as_slice() else { panic!("one line, not {complaints:#?}") };
    let said = "the collector rejected 1 of 1 spans: quota 1\\n[2026-01-01 00:00:00.000]";
    assert!(line.contains(said), "what changes is said once in a minute: {line}");
    assert!(line.contains("forged\\u{2028}\\u{1b}[31mlong "), "escaped: {line}");
    assert!(line.ends_with('…') && line.chars().count() < 500, "and cut: {line}");
    let log = stage.envoy.log();
    assert!(!log.lines().any(|line| line.starts_with(forged)), "no line of Envoy's is forged");
    assert!(!log.contains('\x1b') && !log.contains('\u{2028}'), "nothing controls a terminal");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_away_for_ten_seconds_gets_everything() -> Result<()> {
    let port = harness::free_port()?;
    let configured = |edge: Bootstrap| edge.filter("ingress", &configuration(&http(LONG), 4000));
    let mut stage = Stage::start(|edge| configured(edge)?.cluster("otel_collector", port)).await?;
    let traffic = Traffic::start(stage.port(), "/", 4);
    tokio::time::sleep(Duration::from_secs(10)).await;
    stage.collector = Receiver::on(port).await?;
    let Settled { requests, counters, times } = settled(&stage, traffic, "away").await?;
    assert_eq!(counters.of("exporter.span.exported"), requests, "{counters:#?}");
    assert_eq!(times.len() as u64, requests, "all arrived");
    assert!(times.values().all(|times| *times == 1), "each once");
    // Without longer and longer pauses there would be ten tries a second.
    let retries = counters.of("exporter.retries");
    assert!((1..40).contains(&retries), "tries thin out to probes: {retries}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_without_an_address_is_tried_again_and_given_up() -> Result<()> {
    let batch = json!({"schedule_delay": 100, "exporter": {"otlp_http": null}});
    let retry = json!({"initial_interval": 50, "max_interval": 100, "max_elapsed_time": 500});
    let configuration =
        json!({"tracer_provider": {"processors": [{"batch": batch}]}, "envoy": {"retry": retry}});
    let stage = Stage::start(|edge| {
        let edge = edge.filter("ingress", &configuration.to_string())?;
        edge.cluster_at("otel_collector", "otel.invalid", 4318)
    })
    .await?;
    let traffic = Traffic::start(stage.port(), "/", 4);
    let given_up = || async {
        let counters = Counters::read(stage.envoy.admin_port()).await.ok()?;
        (counters.of("exporter.span.failed.no_upstream") > 0).then_some(())
    };
    wait_for("spans to be given up", given_up).await?;
    let Settled { requests, counters, .. } = settled(&stage, traffic, "no address").await?;
    assert!(counters.of("exporter.retries") > 0, "{counters:#?}");
    let lost = counters.of("exporter.span.failed.no_upstream")
        + counters.of("processor.span.dropped.queue_full");
    assert_eq!(lost, requests, "{counters:#?}");
    Ok(())
}

#[tokio::test]
async fn a_soak_without_a_collector_stays_within_its_memory_and_loses_what_it_says() -> Result<()> {
    const REQUESTS: usize = 40_000;
    let port = harness::free_port()?;
    let batch = json!({
        "schedule_delay": 100, "max_queue_size": 1_000_000, "max_export_batch_size": 100,
        "exporter": {"otlp_http": {"compression": "gzip"}},
    });
    let configuration = json!({
        "tracer_provider": {"processors": [{"batch": batch}]},
        "envoy": {
            "max_queue_bytes": 1 << 20, "max_export_batch_bytes": 1 << 18,
            "retry": {"initial_interval": 50, "max_interval": 200, "max_elapsed_time": 3_600_000},
        },
    });
    let mut stage = Stage::start(|edge| {
        edge.filter("ingress", &configuration.to_string())?.cluster("otel_collector", port)
    })
    .await?;
    let id = stage.envoy.id().context("Envoy runs")?;
    // Fills the queues and every connection's buffers.
    client::load(stage.port(), "/", REQUESTS / 4, 8).await?;
    let warm = harness::resident(id)?;
    let codes = client::load(stage.port(), "/", REQUESTS, 8).await?;
    assert_eq!(codes, BTreeMap::from([(200, REQUESTS)]), "no request failed");
    let later = harness::resident(id)?;
    // The spans of the soak are some 28 MiB.
    assert!(later < warm + (4 << 20), "{warm} bytes grew to {later}");

    stage.collector = Receiver::on(port).await?;
    let requests = u64::try_from(REQUESTS + REQUESTS / 4)?;
    let counters = Counters::at_rest(stage.envoy.admin_port(), requests).await?;
    let dropped = counters.of("processor.span.dropped.queue_full");
    let exported = counters.of("exporter.span.exported");
    assert!(dropped > 0 && exported > 0, "{counters:#?}");
    assert_eq!(exported + dropped, requests, "nothing else is lost: {counters:#?}");
    let saved = counters.of("exporter.compression.saved_bytes");
    assert!(saved > 200 * exported, "Envoy's zlib compresses: {counters:#?}");
    assert_eq!(stage.collector.spans().len() as u64, exported, "what is counted did arrive");
    let log = stage.envoy.log();
    assert!(
        log.contains(&format!("the collector takes spans again; {dropped} were lost")),
        "{log}"
    );
    Ok(())
}
