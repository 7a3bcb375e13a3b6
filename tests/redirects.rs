//! Internal redirects: Envoy makes a second request of one, and whatever becomes of that, the caller's request is one span that
//! ends as the caller saw it, or as its first pass did.

mod conventions;

use anyhow::{Context, Result};
use harness::bootstrap::{Bootstrap, Place};
use harness::client::{Call, Http};
use harness::{Span, Stage};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// An edge whose upstream redirects `/redirect` to `/target`.
fn redirecting(edge: Bootstrap) -> Result<Bootstrap> {
    let policy = json!({"max_internal_redirects": 1});
    let route = json!({"cluster": "upstream", "internal_redirect_policy": policy});
    edge.route(
        "ingress",
        json!({"name": "default", "match": {"prefix": "/redirect"}, "route": route}),
    )
}

/// A filter that answers 403 to the second pass, and only to that.
fn reject_target() -> Value {
    json!({
        "name": "reject",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"deny": {
                "permissions": [{"url_path": {"path": {"exact": "/target"}}}],
                "principals": [{"any": true}],
            }}},
        },
    })
}

/// Makes so many requests at once; each is answered with this status. Gives the spans, of which there are so many.
async fn at_once(stage: &Stage, requests: u64, status: u16, spans: u64) -> Result<Vec<Span>> {
    let (mut calls, port) = (JoinSet::new(), stage.port());
    for _ in 0..requests {
        calls.spawn(async move { Call::get("/redirect").send(&Http::One, port).await });
    }
    while let Some(reply) = calls.join_next().await {
        assert_eq!(reply??.status, status, "the redirect is Envoy's affair");
    }
    let counters = stage.at_rest(spans).await?;
    assert_eq!(counters["exporter.span.exported"], spans, "none is lost: {counters:?}");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    let spans = stage.collector.spans();
    spans.iter().for_each(conventions::check);
    Ok(spans)
}

#[tokio::test]
async fn a_second_pass_without_the_filter_leaves_what_the_first_one_had() -> Result<()> {
    let stage = Stage::start(|edge| {
        let off = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true});
        redirecting(edge)?.route(
            "ingress",
            json!({
                "name": "default", "match": {"prefix": "/target"}, "route": {"cluster": "upstream"},
                "typed_per_filter_config": {"otel": off},
            }),
        )
    })
    .await?;
    for span in at_once(&stage, 40, 200, 40).await? {
        assert_eq!(span.int("http.response.status_code"), Some(302), "{span:#?}");
        assert_eq!(span.text("error.type"), None, "nobody saw an error");
        assert_eq!(span.text("url.path").as_deref(), Some("/redirect"));
        let details = span.text("envoy.response_code_details");
        assert_eq!(details.as_deref(), Some("internal_redirect"), "why it has no other end");
    }

    // A stranger that has seen the first pass's context is not its second pass.
    let (mut seen, port) = (stage.upstream.seen().len(), stage.port());
    stage.collector.clear();
    Call::get("/redirect").send(&Http::One, port).await?;
    let first = stage.upstream.seen().get(seen).context("the first pass")?.header("traceparent");
    seen = stage.upstream.seen().len();
    let stranger = Call::get("/stranger").header("traceparent", &first);
    stranger.header("tracestate", "vendor=1").send(&Http::One, port).await?;
    let passed = stage.upstream.seen().get(seen).context("the stranger")?.clone();
    assert_ne!(passed.header("traceparent"), first, "it goes on with an id of its own");
    assert_eq!(passed.header("tracestate"), "vendor=1", "its tracestate is read");
    stage.at_rest(42).await?;
    let spans = stage.collector.wait_for_spans(2).await?;
    let of = |path: &str| spans.iter().find(|it| it.text("url.path").as_deref() == Some(path));
    let (first, stranger) = (of("/redirect").context("first")?, of("/stranger").context("it")?);
    assert_eq!(stranger.parent_id(), first.span_id(), "it is what it says: a child");
    assert_eq!(stranger.int("http.response.status_code"), Some(200));
    Ok(())
}

#[tokio::test]
async fn a_second_pass_that_an_earlier_filter_rejects_ends_the_request() -> Result<()> {
    let stage = Stage::start(|edge| {
        redirecting(edge)?.http_filter("ingress", Place::First, reject_target())
    })
    .await?;
    for span in at_once(&stage, 40, 403, 40).await? {
        assert_eq!(span.int("http.response.status_code"), Some(403), "as the caller saw it");
        assert_eq!(
            span.text("url.path").as_deref(),
            Some("/redirect"),
            "what the caller asked for"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_second_pass_that_a_later_filter_rejects_ends_the_request() -> Result<()> {
    let stage = Stage::start(|edge| {
        redirecting(edge)?.http_filter("ingress", Place::BeforeRouter, reject_target())
    })
    .await?;
    for span in at_once(&stage, 40, 403, 40).await? {
        assert_eq!(span.int("http.response.status_code"), Some(403), "as the caller saw it");
    }
    Ok(())
}

#[tokio::test]
async fn a_filter_that_stands_twice_in_a_chain_gives_two_spans() -> Result<()> {
    let stage = Stage::start(|edge| {
        let again = edge.http_filter_of("ingress", "otel")?;
        redirecting(edge)?.http_filter("ingress", Place::BeforeRouter, again)
    })
    .await?;
    let spans = at_once(&stage, 40, 200, 80).await?;
    for span in &spans {
        assert_eq!(span.int("http.response.status_code"), Some(200), "{span:#?}");
    }
    let (outer, inner): (Vec<_>, Vec<_>) = spans.iter().partition(|it| it.parent_id().is_empty());
    assert_eq!((outer.len(), inner.len()), (40, 40));
    for span in inner {
        let above = outer.iter().filter(|it| it.span_id() == span.parent_id()).count();
        assert_eq!(above, 1, "one within the other");
    }
    Ok(())
}
