//! `envoy.keep` on a real Envoy: which requests a rule keeps that the sampler has let go, what their spans say, and what each costs.

mod conventions;

use anyhow::Result;
use harness::Stage;
use harness::client::{Call, Http};
use harness::tls::Certificate;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// From so many requests on, headers are read when a request has ended, where they can be.
const WARM: u64 = 20;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

/// A filter that lets every request go at first, with these rules.
fn rules(rules: &Value) -> String {
    json!({"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": {"keep": rules}})
        .to_string()
}

/// An Envoy whose routes rewrite some requests and break others, behind these rules; it has seen enough requests to know what can be read
/// of them later.
async fn stage(keep: &Value, http: &Http) -> Result<Stage> {
    let stage = Stage::start(|edge| {
        let rewritten = json!({
            "match": {"prefix": "/old/"},
            "route": {"cluster": "upstream", "prefix_rewrite": "/", "host_rewrite_literal": "inner"},
            "request_headers_to_remove": ["user-agent"],
        });
        let refused = json!({"match": {"prefix": "/refused"}, "route": {"cluster": "refused"}});
        let edge = edge.route("ingress", rewritten)?.route("ingress", refused)?;
        let edge = edge.cluster("refused", 1)?.http2_cluster("upstream")?;
        let edge = edge.filter("ingress", &rules(keep))?;
        match http {
            Http::Three(certificate) => edge.http3("ingress", certificate),
            Http::One | Http::Two => Ok(edge),
        }
    })
    .await?;
    for _ in 0..WARM {
        Call::get("/").send(http, stage.port()).await?;
    }
    let counters = stage.at_rest(WARM).await?;
    assert_eq!(counters["span.sampled"], 0, "what is unremarkable is let go");
    Ok(stage)
}

/// The rule that each request was kept by, by its path or method; none of what was let go.
async fn kept(stage: &Stage, http: &Http, calls: Vec<Call>) -> Result<BTreeMap<String, String>> {
    let count = calls.len() as u64;
    for call in calls {
        // Some break off.
        let _ = call.send(http, stage.port()).await;
    }
    let counters = stage.at_rest_by_rules(http, WARM + count).await?;
    let spans = stage.collector.spans();
    assert_eq!(counters["span.kept_by_rule"], spans.len() as u64, "each is counted");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    let mut kept = BTreeMap::new();
    for span in spans {
        conventions::check(&span);
        let place = span.text("url.path").or(span.text("rpc.method")).unwrap_or_default();
        kept.insert(place, span.text("envoy.keep_rule").unwrap_or_default());
    }
    Ok(kept)
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(path, rule)| ((*path).to_owned(), (*rule).to_owned())).collect()
}

async fn failures_are_kept(http: Http) -> Result<()> {
    let stage = stage(&json!([{"error": {}}]), &http).await?;
    let with_parent = |call: Call| call.header("traceparent", PARENT);
    let calls = vec![
        Call::get("/status/404"),
        Call::get("/status/500"),
        with_parent(Call::get("/status/503")),
        Call::get("/refused"),
        Call::get("/reset"),
        Call::get("/large/100000"),
        Call::grpc("/test.Echo/Ok"),
        Call::grpc("/test.Echo/NotFound"),
        Call::grpc("/test.Echo/TrailersOnly"),
        Call::grpc("/test.Echo/Internal"),
        with_parent(Call::grpc("/test.Echo/Unavailable")),
        with_parent(Call::grpc("/test.Echo/InvalidArgument")),
    ];
    let kept = kept(&stage, &http, calls).await?;
    let paths = [
        "/refused",
        "/reset",
        "/status/500",
        "/status/503",
        "test.Echo/Internal",
        "test.Echo/Unavailable",
    ];
    assert_eq!(kept, expected(&paths.map(|path| (path, "error"))));
    for span in stage.collector.spans() {
        assert_eq!(span.span.trace_state, "ot=th:0", "each stands for itself");
        let parent = if span.text("url.path").as_deref() == Some("/status/503")
            || span.text("rpc.method").is_some_and(|it| it.ends_with("Unavailable"))
        {
            "00f067aa0ba902b7"
        } else {
            ""
        };
        assert_eq!(span.parent_id(), parent);
    }
    for seen in stage.upstream.seen() {
        let traceparent = seen.header("traceparent");
        let flags: Vec<_> = traceparent.rsplit('-').take(1).collect();
        assert!(["00", "02"].contains(&flags[0]), "not sampled, as long as it runs: {traceparent}");
        let spans = stage.collector.spans();
        let span = spans.iter().find(|span| span.text("url.path").as_deref() == Some(&seen.path));
        if let Some(span) = span {
            let sent = format!("-{}-{}-", span.trace_id(), span.span_id());
            assert!(traceparent.contains(&sent), "the callee's parent: {traceparent}, {sent}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn failures_are_kept_over_http1() -> Result<()> {
    failures_are_kept(Http::One).await
}

#[tokio::test]
async fn failures_are_kept_over_http2() -> Result<()> {
    failures_are_kept(Http::Two).await
}

#[tokio::test]
async fn failures_are_kept_over_http3() -> Result<()> {
    failures_are_kept(Http::Three(Certificate::new()?)).await
}

#[tokio::test]
async fn the_first_rule_that_matches_decides() -> Result<()> {
    let delayed = json!({"key": "url.path", "included": ["/delay/*"]});
    let get = json!({"key": "http.request.method", "values": ["GET"]});
    let keep = json!([
        {"slower_than": 600_000, "name": "nothing is so slow"},
        {"condition": "response.code == 418", "name": "teapots", "ratio": 0},
        {"error": {}, "attribute_patterns": {"key": "url.path", "included": ["/status/50?"]}},
        {"condition": "request.headers['x-debug'] == 'yes'", "name": "asked for"},
        {"slower_than": 300, "attribute_patterns": delayed, "attribute_values": get},
        {"condition": "response.code >= 400 && response.code < 500 // mistakes"},
    ]);
    let stage = stage(&keep, &Http::One).await?;
    let calls = vec![
        Call::get("/status/418"),
        Call::get("/status/503"),
        Call::get("/status/599"),
        Call::get("/status/404"),
        Call::get("/quick").header("x-debug", "yes"),
        Call::get("/unasked").header("x-debug", "no"),
        Call::get("/delay/400"),
        Call::get("/delay/401").method("POST"),
        Call::get("/status/200"),
    ];
    let kept = kept(&stage, &Http::One, calls).await?;
    let all = [
        ("/delay/400", "slower_than"),
        ("/quick", "asked for"),
        ("/status/404", "condition"),
        ("/status/503", "error"),
    ];
    assert_eq!(kept, expected(&all));
    Ok(())
}

#[tokio::test]
async fn a_request_is_told_as_it_came() -> Result<()> {
    let keep = json!([{"condition": "true"}]);
    let stage = Stage::start(|edge| {
        let rewritten = json!({
            "match": {"prefix": "/old/"},
            "route": {"cluster": "upstream", "prefix_rewrite": "/", "host_rewrite_literal": "inner"},
        });
        edge.route("ingress", rewritten)?.filter("ingress", &rules(&keep))
    })
    .await?;
    for number in 0..WARM {
        Call::get(&format!("/old/{number}?a=b")).send(&Http::One, stage.port()).await?;
    }
    let tricked = Call::get("/tricked").header("x-envoy-original-path", "/elsewhere");
    tricked.header("x-envoy-original-host", "elsewhere").send(&Http::One, stage.port()).await?;
    let spans = stage.collector.wait_for_spans(usize::try_from(WARM + 1)?).await?;
    let (tricked, rewritten) = spans.split_last().expect("some");
    assert_eq!(tricked.text("url.path").as_deref(), Some("/tricked"), "whatever its caller says");
    assert_eq!(tricked.text("server.address").as_deref(), Some("localhost"));
    for (number, span) in rewritten.iter().enumerate() {
        let path = format!("/old/{number}");
        assert_eq!(span.text("url.path"), Some(path), "before it was rewritten");
        assert_eq!(span.text("url.query").as_deref(), Some("a=b"));
        assert_eq!(span.text("server.address").as_deref(), Some("localhost"));
    }
    assert!(stage.upstream.seen().iter().any(|seen| seen.path == "/19?a=b"), "it was rewritten");
    Ok(())
}
