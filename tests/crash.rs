//! A VM that crashes, with `failure_policy: FAIL_RELOAD`: requests fail only where the crash was, the next VM traces, and
//! what the old one held is counted as lost.

#[allow(dead_code, reason = "a part of it is enough here")]
#[path = "files/dynamic.rs"]
mod dynamic;

use anyhow::{Context, Result};
use dynamic::{Dynamic, ecds, replace};
use harness::client::{Call, Http};
use harness::{Answer, Counters, PATIENCE, Stage, TempDir, client, wait_for, wait_within};
use serde_json::json;
use std::collections::BTreeMap;
use walrus::{FunctionBuilder, Module};

/// The module, but with a trap where the trailers of a response come by: a gRPC call is its end.
fn trapped(folder: &TempDir) -> Result<String> {
    let mut module = Module::from_file(harness::module()?)?;
    let callback = module.exports.get_func("proxy_on_response_trailers")?;
    let signature = module.types.get(module.funcs.get(callback).ty());
    let (parameters, results) = (signature.params().to_vec(), signature.results().to_vec());
    let mut builder = FunctionBuilder::new(&mut module.types, &parameters, &results);
    builder.func_body().unreachable();
    let locals = parameters.iter().map(|it| module.locals.add(*it)).collect();
    let trap = builder.finish(locals, &mut module.funcs);
    let export = module.exports.iter().find(|it| it.name == "proxy_on_response_trailers");
    let export = export.context("the callback")?.id();
    module.exports.get_mut(export).item = trap.into();
    let path = folder.path().join("trapped.wasm");
    module.emit_wasm_file(&path)?;
    Ok(path.to_string_lossy().into_owned())
}

/// Spans leave soon, and a batch without an answer stays on its way.
const CONFIGURATION: &str = r#"{"tracer_provider": {"processors": [{"batch": {
    "schedule_delay": 100, "max_export_batch_size": 50, "export_timeout": 0, "exporter": {"otlp_http": {"timeout": 0}}}}]}}"#;

#[tokio::test]
async fn a_vm_that_crashes_is_started_anew_and_what_it_held_is_counted() -> Result<()> {
    let folder = harness::folder()?;
    let module = trapped(&folder)?;
    let stage = Stage::start(|edge| {
        let edge = edge.replace(&harness::module()?.to_string_lossy(), &module)?;
        let patient = json!({"cluster": "upstream", "timeout": "0s"});
        let patient = json!({"name": "default", "match": {"prefix": "/delay"}, "route": patient});
        edge.filter("ingress", CONFIGURATION)?.route("ingress", patient)
    })
    .await?;
    let (admin, port) = (stage.envoy.admin_port(), stage.port());
    client::load(port, "/delivered", 100, 2).await?;
    let before = Counters::at_rest(admin, 100).await?;
    assert_eq!(before.of("exporter.span.exported"), 100, "{before:?}");

    // What the VM will have when it crashes: a batch on its way, spans that wait, and a request that is under way.
    stage.collector.answer(Answer::Hang);
    client::load(port, "/held", 200, 2).await?;
    let open = tokio::spawn(async move { client::get(port, "/delay/600000").await });
    let held = |counters: &Counters| {
        let (waiting, sent) =
            (counters.of("exporter.span.queued"), counters.of("exporter.span.inflight"));
        waiting > 0 && sent > 0 && waiting + sent == 200 && counters.of("span.sampled") == 301
    };
    let poll = || async { Counters::read(admin).await.ok().filter(held) };
    wait_for("spans that wait and that are on their way", poll).await?;
    stage.collector.answer(Answer::Ok);

    // Its headers are through by then: whether the rest comes differs between versions of Envoy.
    let _ = Call::grpc("/test.Echo/Unary").send(&Http::Two, port).await;
    let crashed = || async {
        let log = stage.envoy.log();
        log.contains("Function: proxy_on_response_trailers failed").then_some(())
    };
    wait_for("the crash", crashed).await?;
    let codes = client::load(port, "/after", 100, 2).await?;
    assert_eq!(codes, BTreeMap::from([(200, 100)]), "the next ones don't fail");
    // It went with its VM; how Envoy answers it is no concern of ours.
    open.abort();

    let counted = |counters: &Counters| counters.of("processor.span.dropped.crash") > 0;
    let poll = || async { Counters::read(admin).await.ok().filter(counted) };
    let counters = wait_within(PATIENCE * 3, "the loss to be noticed", poll).await?;
    let lost = counters.of("processor.span.dropped.crash");
    // The call that was its end is one more, if its start was counted before.
    assert!((201..=202).contains(&lost), "all that it held: {counters:?}");
    assert_eq!(counters.of("exporter.span.exported"), 200, "before and after: {counters:?}");
    assert_eq!(counters.of("exporter.span.queued"), 0, "{counters:?}");
    assert_eq!(counters.of("exporter.span.inflight"), 0, "{counters:?}");
    assert_eq!(counters.of("span.sampled"), 200 + lost, "they add up: {counters:?}");
    assert_eq!(stage.collector.spans().len(), 200, "what is counted did arrive, once");
    let reloads: u64 = stage
        .envoy
        .stats()
        .await?
        .iter()
        .filter(|(name, _)| name.contains("vm_reload_success"))
        .map(|(_, value)| value)
        .sum();
    assert!(reloads >= 1, "Envoy has started it anew");
    Ok(())
}

#[tokio::test]
async fn with_fail_open_requests_pass_untraced_and_the_counter_of_requests_stands_still()
-> Result<()> {
    let folder = harness::folder()?;
    let module = trapped(&folder)?;
    let stage = Stage::start(|edge| {
        let edge = edge.replace(&harness::module()?.to_string_lossy(), &module)?;
        let edge = edge.wasm("ingress", "/config", "reload_config", json!(null))?;
        edge.wasm("ingress", "/config", "failure_policy", json!("FAIL_OPEN"))
    })
    .await?;
    let port = stage.port();
    assert_eq!(client::get(port, "/traced").await?.status, 200);
    stage.at_rest(1).await?;
    let _ = Call::grpc("/test.Echo/Unary").send(&Http::Two, port).await;
    let crashed = || async {
        let log = stage.envoy.log();
        log.contains("Function: proxy_on_response_trailers failed").then_some(())
    };
    wait_for("the crash", crashed).await?;
    let codes = client::load(port, "/untraced", 100, 2).await?;
    assert_eq!(codes, BTreeMap::from([(200, 100)]), "requests pass");
    assert_eq!(stage.upstream.last().header("traceparent"), "", "untraced");
    let stats = stage.envoy.stats().await?;
    assert!(stats["http.ingress.downstream_rq_total"] > 100, "Envoy counts them");
    let started = stats["wasmcustom.otel.sdk.span.started"];
    assert!((1..=2).contains(&started), "the filter counts none since: {started}");
    Ok(())
}

#[tokio::test]
async fn what_is_left_to_a_vm_that_has_crashed_is_counted() -> Result<()> {
    let folder = harness::folder()?;
    let dynamic = Dynamic::changed(2, &[], |it| it.http2_cluster("upstream")).await?;
    let (collector, admin) = (&dynamic.stage.collector, dynamic.stage.envoy.admin_port());
    let module = harness::module()?.to_string_lossy().into_owned();
    let trapped = replace(&ecds()?, &module, &trapped(&folder)?)?;
    dynamic.write("ecds.yaml", &trapped)?;
    dynamic.wait_for("update_success", 2).await?;
    collector.answer(Answer::Status(503));
    client::load(dynamic.port, "/", 200, 32).await?;
    let held = |it: &Counters| it.of("exporter.span.queued") == 200;
    let poll = || async { Counters::read(admin).await.ok().filter(held) };
    wait_for("spans that wait", poll).await?;

    // One of the two workers: the other one's filter still takes it for its successor when it goes itself.
    let _ = Call::grpc("/test.Echo/Unary").send(&Http::Two, dynamic.port).await;
    let crashed = || async {
        let log = dynamic.stage.envoy.log();
        log.contains("Function: proxy_on_response_trailers failed").then_some(())
    };
    wait_for("the crash", crashed).await?;
    let cluster = r#""envoy": {"cluster": "otel_collector"}"#;
    let elsewhere = r#""envoy": {"cluster": "upstream"}"#;
    dynamic.write("ecds.yaml", &replace(&trapped, cluster, elsewhere)?)?;
    dynamic.wait_for("update_success", 3).await?;
    collector.answer(Answer::Ok);

    let counted = |it: &Counters| {
        let (exported, crash) =
            (it.of("exporter.span.exported"), it.of("processor.span.dropped.crash"));
        let settled = exported + crash + it.of("processor.span.dropped.shutdown");
        let waiting = it.of("exporter.span.queued") + it.of("exporter.span.inflight");
        crash > 0 && waiting == 0 && it.of("span.sampled") == settled
    };
    let poll = || async { Counters::read(admin).await.ok().filter(counted) };
    let counters = wait_within(PATIENCE * 3, "all to be counted", poll).await;
    let counters = counters.with_context(|| dynamic.stage.envoy.log())?;
    let shutdown = counters.of("processor.span.dropped.shutdown");
    let said = format!(
        "the filters that delivered to another collector are no more: {shutdown} were lost"
    );
    let log = dynamic.stage.envoy.log();
    assert!(shutdown == 0 || log.contains(&said), "{counters:#?} {log}");
    Ok(())
}
