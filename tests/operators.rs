//! What an operator may ask of one request, and how many spans a process keeps, on a real Envoy.

use anyhow::{Context, Result};
use harness::client::{Call, Http, load};
use harness::{Bootstrap, Counters, Envoy, Receiver, Stage, Upstream};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SECRET: &str = "0123456789abcdef";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn let_go(envoy: &Value) -> String {
    json!({"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": envoy}).to_string()
}

/// Sends a call and gives `x-otel-sampling` of its reply; empty if there is none.
async fn explained(stage: &Stage, call: Call) -> Result<String> {
    let reply = call.send(&Http::One, stage.port()).await?;
    let value = reply.headers.get("x-otel-sampling");
    Ok(value.map(|value| value.to_str().map(str::to_owned)).transpose()?.unwrap_or_default())
}

#[tokio::test]
async fn only_who_knows_the_secret_forces_a_request() -> Result<()> {
    let header = |name: &str| json!({"header": name, "value": "${SECRET}"});
    let configuration = let_go(&json!({"force": header("x-force"), "explain": header("x-explain"),
        "keep": [{"error": {}}]}));
    let stage = Stage::start(|edge| {
        let variables = json!({"key_values": {"SECRET": SECRET, "OTEL_BSP_SCHEDULE_DELAY": "50"}});
        edge.filter("ingress", &configuration)?.wasm(
            "ingress",
            "/config/vm_config",
            "environment_variables",
            variables,
        )
    })
    .await?;
    let calls = [
        (Call::get("/forced").header("x-force", SECRET), true, "the secret"),
        (Call::get("/wrong").header("x-force", "0123456789abcdeF"), false, "another value"),
        (Call::get("/short").header("x-force", "0123456789abcde"), false, "a part of it"),
        (Call::get("/empty").header("x-force", ""), false, "nothing"),
        (Call::get("/twice").header("x-force", "x").header("x-force", SECRET), false, "two values"),
        (Call::get("/sampled").header("traceparent", SAMPLED), false, "a caller's flag"),
    ];
    let mut sent = 0;
    for (call, is_kept, reason) in calls {
        assert_eq!(explained(&stage, call).await?, "", "{reason}: nobody has asked why");
        let flags = stage.upstream.last().header("traceparent");
        stage.at_rest_by_rules(&Http::One, sent + 1).await?;
        sent += 2;
        let spans = stage.collector.take_spans();
        assert_eq!(spans.len(), usize::from(is_kept), "{reason}");
        let flag = flags.rsplit_once('-').context("flags")?.1;
        assert_eq!(["01", "03"].contains(&flag), is_kept, "{reason}: {flag}");
        if let [span] = spans.as_slice() {
            assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("force"));
            assert_eq!(span.span.trace_state, "ot=th:0", "it stands for itself");
        }
    }
    let ask = |path: &str| Call::get(path).header("x-explain", SECRET);
    let parent = "randomness=ce929d0e0e4736; parent=sampled; sampler_rule=none; rules=";
    let cases = [
        (
            ask("/"),
            "sampler=drop; threshold=none; randomness=",
            "; parent=none; sampler_rule=none; rules=asked_at_the_end",
            "let go",
        ),
        (ask("/status/500"), "sampler=drop; ", "; rules=asked_at_the_end", "it is not known yet"),
        (
            ask("/").header("x-force", SECRET),
            "sampler=drop; ",
            "; parent=none; sampler_rule=none; rule=force",
            "forced",
        ),
        (ask("/").header("traceparent", SAMPLED), "sampler=drop; ", parent, "a parent"),
        (Call::get("/").header("x-explain", "guessed"), "", "", "a stranger"),
        (Call::get("/"), "", "", "nobody asks"),
    ];
    for (call, start, part, reason) in cases {
        let text = explained(&stage, call).await?;
        assert!(text.starts_with(start) && text.contains(part), "{reason}: {text}");
        assert_eq!(text.is_empty(), start.is_empty(), "{reason}: {text}");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn the_rule_of_a_sampler_is_named() -> Result<()> {
    let rules = json!([
        {"attribute_values": {"key": "url.path", "values": ["/healthz"]}, "sampler": {"always_off": {}}},
        {"sampler": {"probability": {"ratio": 0.5}}},
    ]);
    let configuration = json!({
        "tracer_provider": {"sampler": {"composite/development": {"rule_based": {"rules": rules}}}},
        "envoy": {"explain": {"header": "x-explain", "value": SECRET}},
    });
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration.to_string())).await?;
    let ask = |path: &str| Call::get(path).header("x-explain", SECRET);
    let health = explained(&stage, ask("/healthz")).await?;
    assert!(
        health.starts_with("sampler=drop; ") && health.ends_with("; sampler_rule=1"),
        "{health}"
    );
    let other = explained(&stage, ask("/")).await?;
    assert!(other.contains("threshold=8; ") && other.ends_with("; sampler_rule=2"), "{other}");
    Ok(())
}

/// How many requests of two workers are kept, and how many are not, in this counter, under a limit of so many a second; and for how long they
/// were sent.
async fn limited(
    configuration: &str,
    path: &str,
    limited_by: &str,
    count: usize,
) -> Result<(Counters, f64, Receiver)> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let edge =
        Bootstrap::edge(upstream.port(), collector.port())?.filter("ingress", configuration)?;
    let envoy = Envoy::with_workers(edge, 2).await?;
    let start = Instant::now();
    load(envoy.port("ingress"), path, count, 8).await?;
    let took = start.elapsed().as_secs_f64();
    let count = u64::try_from(count)?;
    let is_counted = |stats: &_| {
        let counters = Counters::among(stats);
        counters.of("span.sampled") + counters.of(limited_by) == count
    };
    envoy.wait_for_stats("each request to be counted", is_counted).await?;
    let counters = Counters::at_rest(envoy.admin_port(), count).await?;
    assert_eq!(envoy.complaints(), Vec::<String>::new());
    Ok((counters, took, collector))
}

/// How many spans there may be of so many seconds, where 50 may be kept in one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
fn most(seconds: f64) -> u64 {
    50 + (seconds * 50.0).ceil() as u64
}

#[tokio::test]
async fn no_more_spans_are_kept_than_a_process_may() -> Result<()> {
    const COUNT: usize = 4000;
    let head = json!({"tracer_provider": {"sampler": {"always_on": {}}},
        "envoy": {"max_spans_per_second": 50}})
    .to_string();
    let outcome = let_go(&json!({"max_spans_per_second": 50, "keep": [{"error": {}}]}));
    for (configuration, path, limited_by) in
        [(head, "/", "span.limited.head"), (outcome, "/status/500", "span.limited.outcome")]
    {
        let (counters, took, collector) = limited(&configuration, path, limited_by, COUNT).await?;
        let sampled = counters.of("span.sampled");
        assert_eq!(sampled + counters.of(limited_by), COUNT as u64, "each is counted");
        assert!((50..=most(took)).contains(&sampled), "{sampled} in {took} s");
        let spans = collector.spans();
        assert_eq!(spans.len() as u64, sampled);
        // Of those before the first that was refused a probability is said: each worker may have taken one more by then.
        let told = spans.iter().filter(|span| !span.span.trace_state.is_empty());
        let told: Vec<_> = told.map(|span| &span.span).collect();
        let first = told.iter().map(|span| span.start_time_unix_nano).min().context("some")?;
        let last = told.iter().map(|span| span.end_time_unix_nano).max().context("some")?;
        let took = Duration::from_nanos(last - first).as_secs_f64();
        let count = told.len() as u64;
        assert!(count <= most(took) + 2 && count < sampled, "{count} of {sampled} in {took} s");
    }
    Ok(())
}
