//! A filter that is replaced under traffic, by a new configuration or a new module: no request fails, and every span arrives.

#[path = "files/dynamic.rs"]
mod dynamic;

use anyhow::Result;
use dynamic::Dynamic;
use harness::{Answer, Counters, Stage, Traffic, client, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// The resource of the spans, as a number, in a configuration that is the file's otherwise.
const CONFIGURATION: &str = r#""envoy": {"cluster": "otel_collector"}"#;

fn numbered(number: u32) -> String {
    format!(r#""resource": {{"attributes_list": "number={number}"}}, {CONFIGURATION}"#)
}

/// Ends the traffic, of which no request has failed, and waits until its spans and those of so many requests before it are
/// counted as delivered.
async fn settled(dynamic: &Dynamic, traffic: Traffic, before: u64) -> Result<Counters> {
    let codes = traffic.stop().await?;
    assert_eq!(codes.keys().collect::<Vec<_>>(), [&200], "no request failed: {codes:?}");
    let requests = before + codes[&200];
    let counters = Counters::at_rest(dynamic.stage.envoy.admin_port(), requests).await?;
    assert_eq!(counters.of("exporter.span.exported"), requests, "none is lost: {counters:#?}");
    Ok(counters)
}

/// How often each span arrived, and with which numbers.
fn arrived(dynamic: &Dynamic) -> (BTreeMap<String, usize>, BTreeSet<String>) {
    let (mut times, mut numbers) = (BTreeMap::new(), BTreeSet::new());
    for span in dynamic.stage.collector.spans() {
        *times.entry(span.span_id()).or_default() += 1;
        numbers.extend(span.resource_text("number"));
    }
    (times, numbers)
}

#[tokio::test]
async fn many_new_configurations_lose_nothing_and_double_nothing() -> Result<()> {
    let dynamic = Dynamic::start().await?;
    // Some calls are in flight when a filter goes.
    dynamic.stage.collector.answer(Answer::Slow(Duration::from_millis(150)));
    let traffic = Traffic::start(dynamic.port, "/", 4);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    for number in 1..=100 {
        ticks.tick().await;
        // Five a second, unless the machine is slower.
        dynamic.wait_for("update_success", u64::from(number)).await?;
        // Every third time one that was there before.
        dynamic.change(CONFIGURATION, &numbered(if number % 3 == 0 { 0 } else { number }))?;
    }
    dynamic.wait_for("update_success", 101).await?;
    let counters = settled(&dynamic, traffic, 0).await?;
    let (times, numbers) = arrived(&dynamic);
    assert_eq!(times.len() as u64, counters.of("exporter.span.exported"), "all arrived");
    let doubles = times.values().filter(|times| **times > 1).count();
    assert_eq!(doubles, 0, "of {}", times.len());
    assert!(numbers.len() > 30, "spans of many configurations: {numbers:?}");
    assert_eq!(dynamic.stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// Another module that does the same: with a section that nobody reads.
fn other_module(folder: &Path) -> Result<String> {
    let mut bytes = std::fs::read(harness::module()?)?;
    // A custom section: its number, its length, the length of its name, its name.
    bytes.extend(b"\x00\x06\x05other");
    let path = folder.join("other.wasm");
    std::fs::write(&path, bytes)?;
    Ok(path.to_string_lossy().into_owned())
}

#[tokio::test]
async fn a_new_module_loses_nothing() -> Result<()> {
    let dynamic = Dynamic::start().await?;
    let folder = harness::folder()?;
    let module = harness::module()?.to_string_lossy().into_owned();
    let other = other_module(folder.path())?;
    // A call is in flight whenever the filter goes: the host breaks it off, and what it carried is sent again.
    dynamic.stage.collector.answer(Answer::Slow(Duration::from_millis(700)));
    let mut delivered = 0;
    for (success, path) in [(2, &other), (3, &module), (4, &other)] {
        let before = dynamic.stage.collector.spans().len();
        let traffic = Traffic::start(dynamic.port, "/", 4);
        dynamic.stage.collector.wait_for_spans(before + 500).await?;
        dynamic.change(&module, path)?;
        dynamic.wait_for("update_success", success).await?;
        dynamic.stage.collector.wait_for_spans(before + 1000).await?;
        // What was broken off has an answer before the next module comes.
        let counters = settled(&dynamic, traffic, delivered).await?;
        delivered = counters.of("exporter.span.exported");
    }
    let (times, _) = arrived(&dynamic);
    assert_eq!(times.len() as u64, delivered, "all arrived");
    assert!(times.values().all(|times| *times <= 2), "and again only where a call was broken off");
    assert_eq!(dynamic.stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn while_envoy_drains_the_last_spans_leave() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    let codes = client::load(stage.port(), "/", 200, 4).await?;
    assert_eq!(codes, BTreeMap::from([(200, 200)]));
    let drain = client::Call::get("/drain_listeners?graceful").method("POST");
    let admin = stage.envoy.admin_port();
    assert_eq!(drain.send(&client::Http::One, admin).await?.status, 200);
    let counters = Counters::at_rest(admin, 200).await?;
    assert_eq!(counters.of("exporter.span.exported"), 200, "{counters:?}");
    assert_eq!(stage.collector.spans().len(), 200, "each once");
    Ok(())
}

#[tokio::test]
async fn an_exit_without_draining_loses_what_came_in_the_last_delay_and_no_more() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    client::load(stage.port(), "/before", 200, 4).await?;
    Counters::at_rest(stage.envoy.admin_port(), 200).await?;
    client::load(stage.port(), "/last", 20, 4).await?;
    let quit = client::Call::get("/quitquitquit").method("POST");
    quit.send(&client::Http::One, stage.envoy.admin_port()).await?;
    let gone = || async { client::get(stage.port(), "/").await.is_err().then_some(()) };
    wait_for("Envoy to be gone", gone).await?;
    let spans = stage.collector.spans();
    let of = |path: &str| {
        spans.iter().filter(|span| span.text("url.path").as_deref() == Some(path)).count()
    };
    assert_eq!(of("/before"), 200, "what was due has arrived");
    assert!(of("/last") <= 20, "and of the rest no span twice");
    Ok(())
}
