//! A VM that crashes under traffic, with `failure_policy: FAIL_RELOAD`: requests fail only where the crash was, the next VM traces, and
//! the counters still add up.

use anyhow::{Context, Result};
use harness::client::{Call, Http};
use harness::{Counters, Stage, TempDir, client, wait_for};
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

#[tokio::test]
async fn a_vm_that_crashes_is_started_anew_and_the_counters_add_up() -> Result<()> {
    let folder = harness::folder()?;
    let module = trapped(&folder)?;
    let stage =
        Stage::start(|edge| edge.replace(&harness::module()?.to_string_lossy(), &module)).await?;
    let admin = stage.envoy.admin_port();
    client::load(stage.port(), "/before", 100, 2).await?;
    let before = Counters::at_rest(admin, 100).await?;
    assert_eq!(before.of("exporter.span.exported"), 100, "{before:?}");

    // Its headers are through by then: whether the rest comes differs between versions of Envoy.
    let _ = Call::grpc("/test.Echo/Unary").send(&Http::Two, stage.port()).await;
    let crashed = || async {
        let log = stage.envoy.log();
        log.contains("Function: proxy_on_response_trailers failed").then_some(())
    };
    wait_for("the crash", crashed).await?;
    let codes = client::load(stage.port(), "/after", 100, 2).await?;
    assert_eq!(codes, BTreeMap::from([(200, 100)]), "the next ones don't");
    let after = |counters: &Counters| counters.of("exporter.span.exported") >= 200;
    let poll = || async { Counters::read(admin).await.ok().filter(after) };
    let counters = wait_for("spans of the next VM", poll).await?;
    // What the VM had is shown as waiting ever after.
    assert_eq!(counters.of("exporter.span.exported"), 200, "{counters:?}");
    let sum = counters.of("exporter.span.exported")
        + counters.of("exporter.span.queued")
        + counters.of("exporter.span.inflight");
    assert_eq!(counters.of("span.sampled"), sum, "{counters:?}");
    assert_eq!(stage.collector.spans().len(), 200, "each once");
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
