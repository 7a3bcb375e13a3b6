//! What README has to paste does what README says of it.

use anyhow::{Context, Result};
use harness::bootstrap::Place;
use harness::{Stage, client};
use serde_json::{Value, json};

/// The first block of README that is in this language and holds a text.
fn block(language: &str, holds: &str) -> Result<String> {
    let readme = std::fs::read_to_string(harness::root().join("README.md"))?;
    let blocks = readme.split("```").skip(1).step_by(2);
    let mut blocks = blocks.filter_map(|block| block.strip_prefix(language));
    Ok(blocks.find(|block| block.contains(holds)).context(holds.to_owned())?.to_owned())
}

/// The filter of README's chain, with its module where it is.
fn filter() -> Result<Value> {
    let module = harness::module()?.to_string_lossy().into_owned();
    let pasted = block("yaml", "http_filters")?.replace("dist/otel-proxy-wasm.wasm", &module);
    let pasted: Value = serde_yaml_ng::from_str(&pasted)?;
    Ok(pasted["http_filters"][0].clone())
}

async fn stage(filter: Value) -> Result<Stage> {
    Stage::start(|edge| {
        edge.without_filter("ingress")?.http_filter("ingress", Place::First, filter)
    })
    .await
}

#[tokio::test]
async fn five_requests_give_five_spans() -> Result<()> {
    let stage = stage(filter()?).await?;
    for _ in 0..5 {
        assert_eq!(client::get(stage.port(), "/").await?.status, 200);
    }
    stage.at_rest(5).await?;
    assert_eq!(stage.collector.spans().len(), 5);
    let asked = block("\n", "curl")?;
    let (command, said) = asked.trim().split_once('\n').context("what the counters say")?;
    let (_, path) = command.trim_end_matches('\'').split_once("9901").context("a path")?;
    let stats = client::get(stage.envoy.admin_port(), path).await?;
    assert_eq!(String::from_utf8(stats.body)?.trim(), said);
    Ok(())
}

#[tokio::test]
async fn the_next_step_follows_the_caller() -> Result<()> {
    let mut filter = filter()?;
    let value = filter.pointer_mut("/typed_config/config/configuration/value").context("value")?;
    let mut configuration: Value = serde_json::from_str(value.as_str().context("a text")?)?;
    let sampler: Value = serde_json::from_str(&format!("{{{}}}", block("json", "sampler")?))?;
    configuration["tracer_provider"] = sampler;
    *value = json!(configuration.to_string());
    let stage = stage(filter).await?;
    for flags in ["00", "01"] {
        let context = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let call = client::Call::get("/").header("traceparent", context);
        assert_eq!(call.send(&client::Http::One, stage.port()).await?.status, 200);
    }
    let counters = stage.at_rest(2).await?;
    assert_eq!(counters["span.sampled"], 1, "the one whose caller has kept it");
    Ok(())
}
