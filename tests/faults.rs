//! A collector that is absent, refuses, fails or hangs: requests are answered as without the filter,
//! memory stays bounded, and the counters tell what became of every span.

mod conventions;

use anyhow::{Context, Result};
use harness::{Answer, Bootstrap, Envoy, Stage, client};
use serde_json::json;
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

/// The filter with a short timeout, so that a test need not wait long for one.
fn impatient(edge: Bootstrap) -> Result<Bootstrap> {
    let batch = json!({"exporter": {"otlp_http": {"timeout": 200}}});
    let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}});
    edge.filter("ingress", &configuration.to_string())
}

/// What the filter itself logs of the collector is no complaint.
fn complaints(envoy: &Envoy) -> Vec<String> {
    let ours = |line: &String| line.contains("the collector ");
    envoy.complaints().into_iter().filter(|line| !ours(line)).collect()
}

/// All spans that were not delivered, by the counter that says why; the queue may have been full.
fn losses(stats: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let lost = |name: &str| name.contains(".failed.") || name.contains(".dropped.");
    let counted = stats.iter().filter(|(name, count)| lost(name) && **count > 0);
    counted.map(|(name, count)| (name.as_str(), *count)).collect()
}

#[tokio::test]
async fn whatever_the_collector_does_requests_are_answered_and_spans_accounted_for() -> Result<()> {
    let cases = [
        (Answer::Status(400), "exporter.span.failed.refused", "it refuses"),
        (Answer::Status(500), "exporter.span.failed.refused", "it fails"),
        (Answer::Status(503), "exporter.span.failed.unavailable", "it is busy"),
        (Answer::Status(429), "exporter.span.failed.unavailable", "it asks for less"),
        (Answer::Reset, "exporter.span.failed.unavailable", "it breaks the connection"),
        (Answer::Hang, "exporter.span.failed.timeout", "it never answers"),
    ];
    for (answer, reason, what) in cases {
        let stage = Stage::start(impatient).await?;
        stage.collector.answer(answer);
        load(&stage).await?;
        let stats = stage.at_rest(REQUESTS as u64).await.context(what)?;
        assert_eq!(stats["exporter.span.exported"], 0, "{what}");
        let losses = losses(&stats);
        assert!(losses.iter().any(|(name, _)| *name == reason), "{what}: {losses:?}");
        let known = [reason, "processor.span.dropped.queue_full"];
        assert!(losses.iter().all(|(name, _)| known.contains(name)), "{what}: {losses:?}");
        assert_eq!(stage.collector.spans().len(), 0, "{what}: nothing was taken");
        assert_eq!(complaints(&stage.envoy), Vec::<String>::new(), "{what}");
        let said = stage.envoy.log().matches("the collector does not take spans").count();
        assert_eq!(said, 1, "{what}: it is said once");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_collector_requests_are_answered() -> Result<()> {
    let closed = harness::free_port()?;
    let absent = Stage::start(|edge| impatient(edge)?.cluster("otel_collector", closed)).await?;
    let missing = Stage::start(|edge| impatient(edge)?.without_cluster("otel_collector")).await?;
    let cases = [
        (absent, "exporter.span.failed.unavailable", "nobody listens"),
        (missing, "exporter.span.failed.no_cluster", "there is no such cluster"),
    ];
    for (stage, reason, what) in cases {
        load(&stage).await?;
        let stats = stage.at_rest(REQUESTS as u64).await.context(what)?;
        let losses = losses(&stats);
        assert!(losses.iter().any(|(name, _)| *name == reason), "{what}: {losses:?}");
        assert_eq!(complaints(&stage.envoy), Vec::<String>::new(), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_healthy_collector_gets_every_span_in_batches() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    load(&stage).await?;
    let stats = stage.at_rest(REQUESTS as u64).await?;
    let delivered = stats["exporter.span.exported"];
    let dropped = stats["processor.span.dropped.queue_full"];
    assert_eq!(delivered + dropped, REQUESTS as u64, "each span is counted once");
    assert_eq!(stage.collector.spans().len() as u64, delivered, "what is counted did arrive");
    for span in stage.collector.spans().iter().step_by(500) {
        conventions::check(span);
    }
    let exports = stage.collector.exports();
    assert!(exports.iter().all(|export| export.spans <= 512), "no batch is larger than it may be");
    assert!(exports.iter().any(|export| export.spans == 512), "full batches go at once");
    assert_eq!(stage.collector.undecodable(), 0);
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_the_collector_rejects_is_counted() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    stage.collector.answer(Answer::PartialSuccess(1));
    client::load(stage.port(), "/", 100, 1).await?;
    let stats = stage.at_rest(100).await?;
    let exports = stage.collector.exports().len() as u64;
    assert_eq!(stats["exporter.span.rejected"], exports, "one of each request");
    assert_eq!(stats["exporter.span.exported"], 100 - exports, "the others were taken");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_spans_again() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    stage.collector.answer(Answer::Status(503));
    client::load(stage.port(), "/", 10, 1).await?;
    stage.at_rest(10).await?;
    stage.collector.answer(Answer::Slow(Duration::from_millis(50)));
    client::load(stage.port(), "/", 10, 1).await?;
    let stats = stage.at_rest(20).await?;
    assert_eq!(stats["exporter.span.exported"], 10, "those after it came back");
    assert_eq!(stats["exporter.span.failed.unavailable"], 10, "those before");
    assert!(stage.envoy.log().contains("takes spans again; 10 were lost"), "and it is said");
    Ok(())
}

#[tokio::test]
async fn the_queue_is_bounded() -> Result<()> {
    let batch = json!({"max_queue_size": 100, "max_export_batch_size": 50});
    let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    stage.collector.answer(Answer::Hang);
    load(&stage).await?;
    let stats = stage
        .envoy
        .wait_for_stats("all requests to be counted", |stats| {
            stats.get("wasmcustom.otel.sdk.span.started") == Some(&(REQUESTS as u64))
        })
        .await?;
    let of = |name: &str| stats[&format!("wasmcustom.otel.sdk.{name}")];
    assert!(of("exporter.span.queued") <= 100, "at most what is configured waits");
    assert!(of("exporter.span.inflight") <= 50, "one batch is on its way");
    let kept = of("exporter.span.queued") + of("exporter.span.inflight");
    let dropped = of("processor.span.dropped.queue_full");
    assert_eq!(dropped + kept, REQUESTS as u64, "what finds no room is dropped and counted");
    Ok(())
}

#[tokio::test]
async fn memory_does_not_grow_while_the_collector_hangs() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    stage.collector.answer(Answer::Hang);
    let id = stage.envoy.id().context("Envoy runs")?;
    load(&stage).await?;
    let warm = resident(id)?;
    for _ in 0..3 {
        load(&stage).await?;
    }
    let later = resident(id)?;
    // 30,000 spans of some 700 bytes would be 20 MiB; the queue was full after the first load.
    assert!(later < warm + (10 << 20), "{warm} bytes grew to {later}");
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
    for round in 1..=2_u64 {
        client::get(stage.port(), "/").await?;
        stage.at_rest(round).await?;
    }
    let exports = stage.collector.exports();
    assert_eq!(exports.len(), 2, "one for each span, none for an empty queue");
    for export in exports {
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

/// The memory that a process has, in bytes.
fn resident(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    let kibibytes: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kibibytes * 1024)
}
