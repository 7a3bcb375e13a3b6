//! What goes wrong with an Envoy, as docs/envoy.md tells it: for each trouble the counter that moves and
//! the line in Envoy's log. Requests are answered all the same.

mod files;

use anyhow::{Context, Result};
use files::dynamic::Dynamic;
use files::vendor::{self, REMINDER, VENDOR};
use harness::client::{self, Call, Http};
use harness::tls::Certificate;
use harness::{Answer, Bootstrap, Counters, Envoy, Receiver, Stage, wait_for};
use serde_json::json;

/// Expects that the span of a request is lost at once: this counter says so, of the filter's counters, and
/// this the only complaint in the log.
async fn is_lost(stage: &Stage, counter: &str, line: &str) -> Result<()> {
    assert_eq!(client::get(stage.port(), "/").await?.status, 200, "{line}: it is answered");
    let stats = stage.at_rest(1).await?;
    assert_eq!(stats[counter], 1, "{line}: {stats:#?}");
    is_the_only_complaint(stage, line);
    Ok(())
}

/// Expects that the span of a request is kept and sent again.
async fn is_sent_again(stage: &Stage, line: &str) -> Result<()> {
    assert_eq!(client::get(stage.port(), "/").await?.status, 200, "{line}: it is answered");
    let again = || async {
        let counters = Counters::read(stage.envoy.admin_port()).await.ok()?;
        (counters.of("exporter.retries") > 0).then_some(counters)
    };
    let counters = wait_for("another try", again).await?;
    let kept = counters.of("exporter.span.queued") + counters.of("exporter.span.inflight");
    assert_eq!(kept, 1, "{line}: {counters:#?}");
    is_the_only_complaint(stage, line);
    Ok(())
}

fn is_the_only_complaint(stage: &Stage, line: &str) {
    let mut complaints = stage.envoy.complaints();
    complaints.retain(|line| !line.contains(REMINDER));
    let [complaint] = complaints.as_slice() else { panic!("{line}: {complaints:#?}") };
    assert!(complaint.contains(line), "{line}: {complaint}");
}

#[tokio::test]
async fn a_collector_that_is_not_there() -> Result<()> {
    let closed = harness::free_port()?;
    let missing = Stage::start(|edge| edge.without_cluster("otel_collector")).await?;
    let unknown =
        Stage::start(|edge| edge.cluster_at("otel_collector", "otel.invalid", 4318)).await?;
    let down = Stage::start(|edge| edge.cluster("otel_collector", closed)).await?;
    let line = |why: &str| format!("wasm log otel otel: the collector does not take spans: {why}");
    let why = line("there is no cluster otel_collector");
    is_lost(&missing, "exporter.span.failed.no_cluster", &why).await?;
    is_sent_again(&unknown, &line("cluster otel_collector has no healthy host or no room")).await?;
    is_sent_again(&down, &line("the answer of otel_collector to /v1/traces was 503")).await
}

const OVER_GRPC: &str =
    r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_grpc": null}}}]}}"#;
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[tokio::test]
async fn grpc_over_a_cluster_of_http_1() -> Result<()> {
    let collector = Receiver::start_grpc().await?;
    let stage = Stage::start(|edge| {
        edge.filter("ingress", OVER_GRPC)?.cluster("otel_collector", collector.port())
    })
    .await?;
    let line = format!("the answer of otel_collector to {GRPC_PATH} was gRPC status 14: upstream");
    is_sent_again(&stage, &line).await
}

#[tokio::test]
async fn a_protocol_at_the_port_of_another_one() -> Result<()> {
    let grpc = Receiver::start_grpc().await?;
    let http_at_grpc = Stage::start(|edge| edge.cluster("otel_collector", grpc.port())).await?;
    let line =
        "the answer of otel_collector to /v1/traces was 502: upstream connect error or disconnect";
    is_sent_again(&http_at_grpc, line).await?;
    let http = Receiver::start_http1().await?;
    let grpc_at_http = Stage::start(|edge| {
        let edge = edge.filter("ingress", OVER_GRPC)?.cluster("otel_collector", http.port())?;
        edge.http2_cluster("otel_collector")
    })
    .await?;
    let line = format!("the answer of otel_collector to {GRPC_PATH} was gRPC status 14: upstream");
    is_sent_again(&grpc_at_http, &line).await?;
    let log = [http_at_grpc, grpc_at_http].map(|stage| stage.envoy.log());
    assert!(log.iter().all(|log| log.contains("reset reason: ")), "what Envoy says of it: {log:?}");
    Ok(())
}

#[tokio::test]
async fn a_vendor_that_does_not_know_the_key() -> Result<()> {
    let certificate = Certificate::of(VENDOR)?;
    let wrong = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=wrong-key-1")];
    for (variables, key) in [(wrong.as_slice(), Some("wrong-key-1")), (&[], None)] {
        let stage = vendor::stage(&certificate, &certificate, variables).await?;
        // Some repeat the key.
        let refusal = "invalid API key wrong-key-1: use header x-api-key\n";
        stage.collector.answer(Answer::Text(401, refusal));
        let shown = if key.is_some() { "…" } else { "wrong-key-1" };
        let line = format!(
            "the collector does not take spans: the answer of otel_collector to /v1/traces was 401: \
             invalid API key {shown}: use header x-api-key"
        );
        is_lost(&stage, "exporter.span.failed.refused", &line).await?;
        for export in stage.collector.exports() {
            let sent = export.headers.get("api-key").and_then(|value| value.to_str().ok());
            assert_eq!(sent, key, "a variable that is not set is no header");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_vendor_whom_envoy_does_not_trust() -> Result<()> {
    let (vendor, other) = (Certificate::of(VENDOR)?, Certificate::of("other.example")?);
    let stranger = Certificate::of(VENDOR)?;
    let cases = [(&vendor, &stranger, "fail_verify_error"), (&other, &other, "fail_verify_san")];
    for (certificate, trusted, counter) in cases {
        let stage = vendor::stage(certificate, trusted, &[]).await?;
        let line =
            "the collector does not take spans: the answer of otel_collector to /v1/traces was 503";
        is_sent_again(&stage, line).await?;
        let counter = format!("cluster.otel_collector.ssl.{counter}");
        assert_ne!(stage.envoy.stat(&counter).await?, 0, "{counter} says why");
        assert!(stage.collector.exports().is_empty(), "nothing was sent");
    }
    Ok(())
}

#[tokio::test]
async fn a_collector_over_grpc_that_does_not_know_the_key() -> Result<()> {
    let collector = Receiver::start_grpc().await?;
    let stage = Stage::start(|edge| {
        let edge =
            edge.filter("ingress", OVER_GRPC)?.cluster("otel_collector", collector.port())?;
        edge.http2_cluster("otel_collector")
    })
    .await?;
    collector.answer(Answer::Grpc(16));
    let line = format!("the answer of otel_collector to {GRPC_PATH} was gRPC status 16: told to");
    is_lost(&stage, "exporter.span.failed.refused", &line).await
}

const WRONG: [&str; 2] = [r#""envoy": {"cluster":"#, r#""envoy": {"cluter":"#];
const MESSAGE: &str =
    r#"wasm log otel otel: configuration: envoy: unknown key "cluter"; accepted: cluster, "#;

#[tokio::test]
async fn an_envoy_that_does_not_start() -> Result<()> {
    let edge = || Bootstrap::from_file("envoy/envoy.yaml");
    let wrong = edge()?.filter("ingress", r#"{"envoy": {"cluter": "otel_collector"}}"#)?;
    let module = edge()?.replace("otel-proxy-wasm.wasm", "absent.wasm")?;
    let cases = [
        (wrong, vec![MESSAGE, "Unable to create Wasm plugin otel"]),
        (module, vec!["Invalid path: ", "dist/absent.wasm"]),
    ];
    for (bootstrap, messages) in cases {
        let validation = Envoy::validate(&bootstrap).await?;
        assert!(!validation.status.success(), "{messages:?}");
        let error = Envoy::start(bootstrap).await.err().context("Envoy started")?.to_string();
        for message in messages {
            assert!(validation.output.contains(message), "{message}: {}", validation.output);
            assert!(error.contains(message), "{message}: {error}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_discovered_configuration_that_is_refused() -> Result<()> {
    let dynamic = Dynamic::start().await?;
    let rejected = "Filesystem config update rejected: ";
    let cases = [
        (WRONG, "update_rejected", 1, [MESSAGE, "rejected: Unable to create Wasm plugin otel"]),
        (
            ["proxy-wasm.wasm", "absent.wasm"],
            "update_rejected",
            2,
            [rejected, "rejected: Invalid path: "],
        ),
        (
            ["value: |", "value: ["],
            "update_failure",
            1,
            ["Filesystem config update failure: in ", "yaml-cpp: error at line "],
        ),
    ];
    for (requests, ([from, to], counter, count, messages)) in (1..).zip(cases) {
        dynamic.change(from, to)?;
        dynamic.wait_for(counter, count).await?;
        let complaints = dynamic.stage.envoy.complaints();
        for message in messages {
            let said = complaints.iter().any(|line| line.contains(message));
            assert!(said, "{message}: {complaints:#?}");
        }
        assert_eq!(client::get(dynamic.port, "/").await?.status, 200, "{to}");
        let stats = dynamic.stage.at_rest(requests).await?;
        assert_eq!(stats["exporter.span.exported"], requests, "{to}: the old one goes on");
    }
    // The file as it was, moved there again.
    dynamic.change("otel", "otel")?;
    dynamic.wait_for("update_success", 2).await?;
    Ok(())
}

#[tokio::test]
async fn envoys_own_tracing_overwrites_the_context() -> Result<()> {
    let tracing = harness::native::tracing("envoy", 100.0);
    let at_once = json!({"tracing.opentelemetry.min_flush_spans": 1});
    let stage = Stage::start(|edge| {
        edge.connection_manager("ingress", "tracing", tracing)?.runtime(at_once)
    })
    .await?;
    let parent = "00f067aa0ba902b7";
    let context = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{parent}-01");
    let call = Call::get("/").header("traceparent", context);
    assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
    let spans = stage.collector.wait_for_spans(2).await?;
    let of = |scope: &str| spans.iter().find(|span| span.scope.name == scope).context("a span");
    let (ours, envoys) = (of("otel-proxy-wasm")?, of("envoy")?);
    let sent = stage.upstream.last().header("traceparent");
    assert!(sent.contains(&envoys.span_id()), "the upstream's parent is Envoy's span: {sent}");
    for span in [ours, envoys] {
        assert_eq!(span.parent_id(), parent, "two spans beside each other");
    }
    let stats = stage.at_rest(1).await?;
    assert_eq!(stats["exporter.span.exported"], 1, "no counter of the filter tells");
    assert_eq!(stage.envoy.stat("http.ingress.tracing.random_sampling").await?, 1, "this one does");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "nor does the log");
    Ok(())
}
