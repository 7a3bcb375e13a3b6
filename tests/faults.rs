//! A collector that is absent, refuses, fails or hangs: requests are answered as without the filter,
//! memory stays bounded, and the counters tell what became of every span.

mod conventions;

use anyhow::{Context, Result};
use harness::client::{Call, Http, Reply};
use harness::{Answer, Bootstrap, Counters, Envoy, PATIENCE, Receiver, Stage, client, wait_within};
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 8;

/// Sends the load and expects what an Envoy without the filter answers.
async fn load(stage: &Stage) -> Result<()> {
    let codes = client::load(stage.port(), "/", REQUESTS, CONNECTIONS).await?;
    assert_eq!(codes, BTreeMap::from([(200, REQUESTS)]), "every request is answered");
    Ok(())
}

/// A timeout that ends soon.
const SHORT: Duration = Duration::from_millis(200);
/// A timeout that does not end before an answer, however slow the machine.
const LONG: Duration = Duration::from_secs(20);

/// The filter without retry, so that a test need not wait long for a loss.
fn impatient(edge: Bootstrap, timeout: Duration) -> Result<Bootstrap> {
    let batch = json!({"exporter": {"otlp_http": {"timeout": timeout.as_millis()}}});
    let retry = json!({"initial_interval": 10, "max_interval": 50, "max_elapsed_time": 0});
    let configuration = json!({
        "tracer_provider": {"processors": [{"batch": batch}]}, "envoy": {"retry": retry},
    });
    edge.filter("ingress", &configuration.to_string())
}

const FAILS: &str = "the collector does not take spans";
const IS_BACK: &str = "the collector takes spans again";

/// Expects the filter's own line about a collector that fails, once, and nothing else.
fn is_said_once(envoy: &Envoy, what: &str) {
    let complaints = envoy.complaints();
    let [line] = complaints.as_slice() else { panic!("{what}: one line, not {complaints:#?}") };
    assert!(line.contains(FAILS), "{what}: {line}");
}

/// Expects that every span of the load is counted as lost, for this reason or since the queue was
/// full, and none as delivered.
async fn all_are_lost(stage: &Stage, reason: &str) -> Result<()> {
    let mut stats = stage.at_rest(REQUESTS as u64).await?;
    stats.retain(|_, count| *count > 0);
    let mut take = |name: &str| stats.remove(name).unwrap_or_default();
    assert_eq!(take("span.started"), REQUESTS as u64, "{reason}");
    assert_eq!(take("span.sampled"), REQUESTS as u64, "{reason}");
    let (failed, dropped) = (take(reason), take("processor.span.dropped.queue_full"));
    assert!(failed > 0 && stats.is_empty(), "{reason} is the one that grows, not {stats:?}");
    assert_eq!(failed + dropped, REQUESTS as u64, "{reason}: each span is counted once");
    Ok(())
}

#[tokio::test]
async fn whatever_the_collector_does_requests_are_answered_and_spans_accounted_for() -> Result<()> {
    let slow = Answer::Slow(Duration::from_secs(2));
    let cases = [
        (Answer::Status(400), LONG, "exporter.span.failed.refused", "it refuses"),
        (Answer::Status(500), LONG, "exporter.span.failed.refused", "it fails"),
        (Answer::Status(503), LONG, "exporter.span.failed.unavailable", "it is busy"),
        (Answer::Status(429), LONG, "exporter.span.failed.unavailable", "it asks for less"),
        (Answer::Reset, LONG, "exporter.span.failed.unavailable", "it breaks the connection"),
        (Answer::Hang, SHORT, "exporter.span.failed.timeout", "it never answers"),
        (slow, SHORT, "exporter.span.failed.timeout", "it is too slow"),
    ];
    for (answer, timeout, reason, what) in cases {
        let stage = Stage::start(|edge| impatient(edge, timeout)).await?;
        stage.collector.answer(answer);
        load(&stage).await?;
        all_are_lost(&stage, reason).await.context(what)?;
        is_said_once(&stage.envoy, what);
    }
    Ok(())
}

#[tokio::test]
async fn without_a_collector_requests_are_answered() -> Result<()> {
    let closed = harness::free_port()?;
    let absent =
        Stage::start(|edge| impatient(edge, LONG)?.cluster("otel_collector", closed)).await?;
    let missing =
        Stage::start(|edge| impatient(edge, LONG)?.without_cluster("otel_collector")).await?;
    let cases = [
        (absent, "exporter.span.failed.unavailable", "nobody listens"),
        (missing, "exporter.span.failed.no_cluster", "there is no such cluster"),
    ];
    for (stage, reason, what) in cases {
        load(&stage).await?;
        all_are_lost(&stage, reason).await.context(what)?;
        is_said_once(&stage.envoy, what);
    }
    Ok(())
}

#[tokio::test]
async fn what_a_collector_takes_and_rejects_is_what_is_counted() -> Result<()> {
    let cases = [
        (Answer::Ok, 0, "it is well"),
        (Answer::Slow(Duration::from_millis(100)), 0, "it takes its time"),
        (Answer::PartialSuccess(3), 3, "it rejects some"),
    ];
    // However slow the machine: batches are full before they are old.
    let batch = json!({"schedule_delay": 3000, "exporter": {"otlp_http": null}});
    let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}}).to_string();
    for (answer, rejects, what) in cases {
        let rejecting = rejects > 0;
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
        stage.collector.answer(answer);
        load(&stage).await?;
        let stats = stage.at_rest(REQUESTS as u64).await.context(what)?;
        let (exported, rejected) =
            (stats["exporter.span.exported"], stats["exporter.span.rejected"]);
        let exports = stage.collector.exports();
        assert_eq!(rejected, rejects * exports.len() as u64, "{what}: so many of each export");
        let spans = stage.collector.spans();
        assert_eq!(spans.len() as u64, exported + rejected, "{what}: what is counted did arrive");
        let dropped = stats["processor.span.dropped.queue_full"];
        let counted = exported + rejected + dropped;
        assert_eq!(counted, REQUESTS as u64, "{what}: each span is counted once");
        let mut ids: Vec<_> = spans.iter().map(|span| span.span.span_id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), spans.len(), "{what}: none came twice");
        spans.iter().step_by(500).for_each(conventions::check);
        assert!(
            exports.iter().all(|it| (1..=512).contains(&it.spans)),
            "{what}: the batch's bound"
        );
        assert!(exports.iter().any(|it| it.spans == 512), "{what}: full batches go at once");
        assert_eq!(stage.collector.undecodable(), 0, "{what}");
        let complaints = stage.envoy.complaints();
        assert!(complaints.is_empty() || rejecting, "{what}: {complaints:#?}");
        let ours = |line: &String| line.contains("the collector rejected 3 of ");
        assert!(complaints.iter().all(ours), "{what}: {complaints:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn answers_are_those_of_an_envoy_without_the_filter() -> Result<()> {
    let configuration = r#"{"tracer_provider": {"processors": [{"batch": {
        "max_queue_size": 1, "max_export_batch_size": 1, "exporter": {"otlp_http": {}}}}]}}"#;
    let with = Stage::start(|edge| edge.filter("ingress", configuration)).await?;
    with.collector.answer(Answer::Hang);
    let without = Stage::start(|edge| edge.without_filter("ingress")).await?;
    let calls = [
        Call::get("/"),
        Call::get("/status/404"),
        Call::get("/status/503"),
        Call::get("/reset"),
        Call::get("/large/300000"),
        Call::get("/").method("HEAD"),
        Call::get("/echo").method("POST").body(vec![b'x'; 100_000]),
        Call::grpc("/test.Echo/Internal"),
    ];
    for http in [Http::One, Http::Two] {
        for call in &calls {
            let [expected, found] = [
                comparable(call.send(&http, without.port()).await?),
                comparable(call.send(&http, with.port()).await?),
            ];
            let reason = format!("{http}: {call:?}");
            assert_eq!(found.status, expected.status, "{reason}");
            assert_eq!(found.headers, expected.headers, "{reason}");
            assert!(found.body == expected.body, "{reason}: the body");
            assert_eq!(found.trailers, expected.trailers, "{reason}");
        }
    }
    Ok(())
}

/// Without what differs from answer to answer.
fn comparable(mut reply: Reply) -> Reply {
    reply.headers.remove("date");
    reply.headers.remove("x-envoy-upstream-service-time");
    reply
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_spans_again() -> Result<()> {
    let busy = Stage::start(|edge| impatient(edge, LONG)).await?;
    busy.collector.answer(Answer::Status(503));
    let port = harness::free_port()?;
    let mut absent =
        Stage::start(|edge| impatient(edge, LONG)?.cluster("otel_collector", port)).await?;
    for (stage, what) in [(&busy, "busy"), (&absent, "absent")] {
        for request in 1..=5 {
            client::get(stage.port(), "/").await?;
            stage.at_rest(request).await.context(what)?;
        }
    }
    busy.collector.answer(Answer::Ok);
    absent.collector = Receiver::on(port).await?;
    for (stage, what) in [(busy, "busy"), (absent, "absent")] {
        for request in 6..=10 {
            client::get(stage.port(), "/back").await?;
            stage.at_rest(request).await.context(what)?;
        }
        let stats = stage.at_rest(10).await?;
        assert_eq!(stats["exporter.span.exported"], 5, "{what}: those after it came back");
        assert_eq!(stats["exporter.span.failed.unavailable"], 5, "{what}: those before");
        let spans = stage.collector.spans();
        let paths = spans.iter().filter_map(|span| span.text("url.path"));
        assert_eq!(paths.collect::<Vec<_>>(), ["/back"; 5], "{what}: they arrive");
        is_said_once(&stage.envoy, what);
        let log = stage.envoy.log();
        assert_eq!(log.matches(IS_BACK).count(), 1, "{what}: and that it is back");
        assert!(log.contains(&format!("{IS_BACK}; 5 were lost")), "{what}: and what it cost");
    }
    Ok(())
}

#[tokio::test]
async fn the_queue_is_bounded_at_every_moment() -> Result<()> {
    // However slow the machine: the first batch is full when it leaves, and stays on its way until the load has ended.
    let batch = json!({
        "schedule_delay": 600_000, "max_queue_size": 100, "max_export_batch_size": 50,
        "export_timeout": 0, "exporter": {"otlp_http": {"timeout": 0}},
    });
    let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    stage.collector.answer(Answer::Hang);
    let sending = tokio::spawn(client::load(stage.port(), "/", REQUESTS, CONNECTIONS));
    let most_queued = Cell::new(0);
    let most_inflight = Cell::new(0);
    let watch = || async {
        let answered = sending.is_finished();
        let counters = Counters::read(stage.envoy.admin_port()).await.ok()?;
        let queued = counters.of("exporter.span.queued");
        let inflight = counters.of("exporter.span.inflight");
        let dropped = counters.of("processor.span.dropped.queue_full");
        most_queued.set(queued.max(most_queued.get()));
        most_inflight.set(inflight.max(most_inflight.get()));
        // The last requests end only after they have been answered.
        let ended = queued + inflight + dropped == REQUESTS as u64;
        (answered && ended).then_some(dropped)
    };
    // It is watched while the load goes on.
    let dropped = wait_within(PATIENCE * 5, "all requests to end", watch).await?;
    assert_eq!(sending.await??, BTreeMap::from([(200, REQUESTS)]), "every request is answered");
    assert_eq!(most_queued.get(), 100, "as many as are configured waited, never more");
    assert_eq!(most_inflight.get(), 50, "one batch was on its way");
    assert_eq!(dropped, REQUESTS as u64 - 150, "what found no room is dropped and counted");
    Ok(())
}

#[tokio::test]
async fn a_span_that_is_too_large_is_cut() -> Result<()> {
    let header = json!(["x-large"]);
    let http = json!({"server": {"request_captured_headers": header}});
    let configuration = json!({
        "instrumentation/development": {"general": {"http": http}},
        "envoy": {"max_export_batch_bytes": 1500},
    });
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration.to_string())).await?;
    let call = |values: usize, length: usize| {
        (0..values).fold(Call::get("/"), |call, _| call.header("x-large", vec![b'a'; length]))
    };
    for (values, length) in [(1, 10), (1, 3000), (20, 200)] {
        call(values, length).send(&Http::One, stage.port()).await?;
    }
    let stats = stage.at_rest(3).await?;
    assert_eq!(stats["exporter.span.exported"], 3, "{stats:#?}");
    assert_eq!(stats["processor.span.truncated"], 2, "{stats:#?}");
    assert_eq!(stats["processor.span.dropped.too_large"], 0, "{stats:#?}");
    let spans = stage.collector.spans();
    let lengths: Vec<_> = spans
        .iter()
        .map(|span| span.texts("http.request.header.x-large").unwrap_or_default().concat().len())
        .collect();
    assert_eq!(lengths, [10, 128, 0], "as it is, cut, and left out");
    let dropped: Vec<_> = spans.iter().map(|span| span.span.dropped_attributes_count).collect();
    assert_eq!(dropped, [0, 0, 1], "what does not fit is counted");
    spans.iter().for_each(conventions::check);
    Ok(())
}

#[tokio::test]
async fn without_a_timeout_a_slow_collector_is_waited_for() -> Result<()> {
    let batch = json!({
        "schedule_delay": 0, "export_timeout": 0, "exporter": {"otlp_http": {"timeout": 0}},
    });
    let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    // Longer than a timeout is where none is configured.
    stage.collector.answer(Answer::Slow(Duration::from_secs(11)));
    client::get(stage.port(), "/").await?;
    let stats = stage.at_rest(1).await?;
    assert_eq!(stats["exporter.span.exported"], 1, "{stats:#?}");
    assert_eq!(stats["exporter.retries"], 0, "{stats:#?}");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn memory_does_not_grow_while_nothing_is_delivered() -> Result<()> {
    let closed = harness::free_port()?;
    let hangs = Stage::start(Ok).await?;
    hangs.collector.answer(Answer::Hang);
    let absent = Stage::start(|edge| edge.cluster("otel_collector", closed)).await?;
    for (stage, what) in [(hangs, "it hangs"), (absent, "it is absent")] {
        let id = stage.envoy.id().context("Envoy runs")?;
        load(&stage).await?;
        let warm = harness::resident(id)?;
        load(&stage).await?;
        let later = harness::resident(id)?;
        // The second load's spans are some 6 MiB, kept if anything kept them. The first has filled
        // the queue and every connection's buffers: Envoy itself then grows by less than 1 MiB.
        assert!(later < warm + (3 << 20), "{what}: {warm} bytes grew to {later}");
    }
    Ok(())
}

#[tokio::test]
async fn an_export_is_what_was_configured_and_nothing_is_sent_for_nothing() -> Result<()> {
    let http = json!({
        "endpoint": "http://collector.example:4318/base/v1/traces",
        "headers": [{"name": "Api-Key", "value": "1234"}],
        "headers_list": "x-tenant=a%20b",
    });
    let batch = json!({"schedule_delay": 200, "exporter": {"otlp_http": http}});
    let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    client::get(stage.port(), "/").await?;
    stage.at_rest(1).await?;
    // This one's span is there when the queue has been empty for several delays.
    client::get(stage.port(), "/delay/1000").await?;
    stage.at_rest(2).await?;
    let exports = stage.collector.exports();
    let spans: Vec<_> = exports.iter().map(|export| export.spans).collect();
    assert_eq!(spans, [1, 1], "one for each span, none for an empty queue");
    for export in exports {
        assert_eq!(export.method, "POST");
        assert_eq!(export.path, "/base/v1/traces");
        let header = |name: &str| export.headers[name].to_str().unwrap_or_default().to_owned();
        assert_eq!(header("host"), "collector.example:4318");
        assert_eq!(header("api-key"), "1234");
        assert_eq!(header("x-tenant"), "a b");
        assert_eq!(header("content-type"), "application/x-protobuf");
        let version = env!("CARGO_PKG_VERSION");
        let agent = format!("otel-proxy-wasm/{version} OTel-OTLP-Exporter-Rust/{version}");
        assert_eq!(header("user-agent"), agent);
        assert!(!export.headers.contains_key("traceparent"), "exports are not traced");
    }
    Ok(())
}
