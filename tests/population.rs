//! `envoy.keep` under a mixed population on a real Envoy: what spans say that they stand for adds up to the requests that there were.

mod binomial;

use anyhow::{Context, Result};
use binomial::bounds;
use harness::client::{self, Http};
use harness::{Span, Stage};
use serde_json::json;
use std::collections::BTreeMap;

/// The requests of each kind, by their path: how many there are, and how many connections they come over at once.
const REQUESTS: [(&str, usize, usize); 5] = [
    ("/", 17_100, 8),
    ("/status/503", 1000, 2),
    ("/delay/60", 400, 8),
    ("/status/429", 1000, 2),
    ("/status/404", 500, 2),
];

/// How many requests a span stands for: 2^56 / (2^56 - T), if its trace's randomness reaches T as it must.
fn adjusted_count(span: &Span) -> Result<f64> {
    const ALL: u64 = 1 << 56;
    let trace_state = &span.span.trace_state;
    let digits = trace_state.strip_prefix("ot=th:").context(trace_state.clone())?;
    let threshold = u64::from_str_radix(&format!("{digits:0<14}"), 16)?;
    let randomness = u64::from_str_radix(&span.trace_id()[18..], 16)?;
    anyhow::ensure!(randomness >= threshold, "{randomness:x} does not reach {threshold:x}");
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    Ok(ALL as f64 / (ALL - threshold) as f64)
}

/// All requests at once, whatever order they come in.
async fn send(port: u16) -> Result<()> {
    let mut kinds = tokio::task::JoinSet::new();
    for (path, count, connections) in REQUESTS {
        kinds.spawn(async move { client::load(port, path, count, connections).await });
    }
    while let Some(codes) = kinds.join_next().await {
        anyhow::ensure!(codes??.len() == 1, "each kind has its status");
    }
    Ok(())
}

#[tokio::test]
async fn spans_stand_for_the_requests_that_there_were() -> Result<()> {
    let configuration = json!({
        "tracer_provider": {
            "sampler": {"trace_id_ratio_based": {"ratio": 0.01}},
            "processors": [{"batch": {"max_queue_size": 20_000, "schedule_delay": 100}}],
        },
        "envoy": {"keep": [
            {"error": {}},
            {"slower_than": 40, "attribute_patterns": {"key": "url.path", "included": ["/delay/*"]}},
            {"condition": "response.code == 429", "ratio": 0.1},
            {"condition": "response.code == 404", "ratio": 0.01},
        ]},
    });
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration.to_string())).await?;
    send(stage.port()).await?;
    let total = REQUESTS.iter().map(|(_, count, _)| *count).sum::<usize>();
    assert_eq!(total, 20_000);
    let counters = stage.at_rest_by_rules(&Http::One, total as u64).await?;
    let mut spans: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    let mut by_rule = 0;
    for span in stage.collector.spans() {
        let (count, sum) = spans.entry(span.text("url.path").context("a path")?).or_default();
        *count += 1;
        *sum += adjusted_count(&span)?;
        by_rule += u64::from(span.text("envoy.keep_rule").is_some());
    }
    assert_eq!(counters["span.kept_by_rule"], by_rule);
    // Where each of so many requests is kept with this probability, a span stands for one in it.
    for ((path, requests, _), share) in REQUESTS.into_iter().zip([0.01, 1.0, 1.0, 0.1, 0.01]) {
        let (count, sum) = spans.get(path).copied().unwrap_or_default();
        let draws = bounds(requests as u64, share);
        assert!(draws.contains(&count), "{path}: {count} spans, not {draws:?}");
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let (least, most) = (draws.start as f64 / share, draws.end as f64 / share);
        assert!((least..most).contains(&sum), "{path}: they stand for {sum}, not for {requests}");
        println!("{path}: {count} spans stand for {sum:.1} of {requests} requests");
    }
    for (path, requests) in [("/status/503", 1000), ("/delay/60", 400)] {
        let (count, sum) = spans[path];
        assert_eq!(count, requests, "{path}: none is missing");
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let difference = (sum - requests as f64).abs();
        assert!(difference < 1e-6, "{path}: each stands for itself: {sum}");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}
