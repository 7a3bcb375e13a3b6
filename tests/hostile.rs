//! Traffic that nobody asked for: no panic, no answer of our making, one span each, and contexts as the
//! specification says.

mod conventions;

use anyhow::Result;
use harness::client::{Call, Http};
use harness::{Span, Stage};
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn parent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// A stage that accepts large headers and captures some of them.
async fn stage() -> Result<Stage> {
    let server = json!({"request_captured_headers": ["x-any"]});
    let configuration = json!({
        "instrumentation/development": {"general": {"http": {"server": server}}},
        "tracer_provider": {"limits": {"attribute_value_length_limit": 2000}},
    });
    Stage::start(|edge| {
        edge.filter("ingress", &configuration.to_string())?.connection_manager(
            "ingress",
            "max_request_headers_kb",
            json!(96),
        )
    })
    .await
}

/// Makes the call and gives its only span.
async fn span(stage: &Stage, call: &Call, http: &Http, reason: &str) -> Result<Span> {
    stage.collector.clear();
    let reply = call.send(http, stage.port()).await?;
    assert_eq!(reply.status, 200, "{http}: {reason}");
    let mut spans = stage.collector.wait_for_spans(1).await?;
    let span = spans.remove(0);
    assert!(spans.is_empty(), "{http}: {reason}: one span");
    conventions::check(&span);
    Ok(span)
}

async fn is_unharmed(stage: &Stage) -> Result<()> {
    let stats = stage.envoy.stats().await?;
    let vms = |what: &str| stats[&format!("wasm.envoy.wasm.runtime.v8.{what}")];
    // The one that is gone tried the configuration out. One that failed would be gone, too.
    assert_eq!(vms("created"), vms("active") + 1, "no VM was replaced");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn contexts_that_are_not_valid_start_a_new_trace() -> Result<()> {
    let stage = stage().await?;
    let valid = parent();
    let cases: Vec<(Vec<String>, &str)> = vec![
        (vec![valid.to_uppercase()], "uppercase"),
        (vec![valid.clone(), valid.clone()], "two headers"),
        (vec![format!("ff-{TRACE}-{PARENT}-01")], "version ff"),
        (vec![format!("00-{}-{PARENT}-01", "0".repeat(32))], "a zero trace id"),
        (vec![format!("00-{TRACE}-{}-01", "0".repeat(16))], "a zero parent id"),
        (vec![format!("{valid}-more")], "more than version 00 has"),
        (vec![valid[..54].to_owned()], "cut off"),
        (vec!["x".repeat(1000)], "a thousand letters"),
        (vec![String::new()], "empty"),
    ];
    for http in [Http::One, Http::Two] {
        for (headers, reason) in &cases {
            let call = Call::get("/").header("tracestate", "vendor=1");
            let call = headers.iter().fold(call, |call, value| call.header("traceparent", value));
            let span = span(&stage, &call, &http, reason).await?;
            assert_ne!(span.trace_id(), TRACE, "{http}: {reason}");
            assert_eq!(span.parent_id(), "", "{http}: {reason}");
            assert_eq!(span.span.trace_state, "", "{http}: {reason}");
            let seen = stage.upstream.last();
            assert_eq!(seen.header("tracestate"), "", "{http}: {reason}: it is not passed on");
            let expected = format!("00-{}-{}-03", span.trace_id(), span.span_id());
            assert_eq!(seen.header("traceparent"), expected, "{http}: {reason}");
        }
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn tracestates_are_passed_on_whole_or_not_at_all() -> Result<()> {
    let stage = stage().await?;
    let members =
        |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let cases: Vec<(Vec<String>, String, &str)> = vec![
        (vec![members(32)], members(32), "thirty-two members"),
        (vec![members(40)], String::new(), "forty members"),
        (vec!["a=1".into(), "b=2".into()], "a=1,b=2".into(), "two headers"),
        (vec!["a=1".into(), "a=2".into()], String::new(), "a key in two headers"),
        (vec!["a=1".into(), "nonsense".into()], String::new(), "one bad member"),
        (vec![" a=1 ,, b=2".into()], "a=1,b=2".into(), "white space and an empty member"),
    ];
    for http in [Http::One, Http::Two] {
        for (headers, expected, reason) in &cases {
            let call = Call::get("/").header("traceparent", parent());
            let call = headers.iter().fold(call, |call, value| call.header("tracestate", value));
            let span = span(&stage, &call, &http, reason).await?;
            assert_eq!(span.trace_id(), TRACE, "{http}: {reason}: the parent is valid");
            assert_eq!(span.parent_id(), PARENT, "{http}: {reason}");
            assert_eq!(span.span.trace_state, *expected, "{http}: {reason}");
            let seen = stage.upstream.last().header("tracestate");
            let seen = seen.replace(' ', "").replace(",,", ",");
            assert_eq!(seen, *expected, "{http}: {reason}: what goes on");
        }
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn a_future_version_is_continued_as_version_00() -> Result<()> {
    let stage = stage().await?;
    let future = format!("cc-{TRACE}-{PARENT}-01-what-the-future-brings");
    let span =
        span(&stage, &Call::get("/").header("traceparent", future), &Http::One, "cc").await?;
    assert_eq!((span.trace_id().as_str(), span.parent_id().as_str()), (TRACE, PARENT));
    let expected = format!("00-{TRACE}-{}-01", span.span_id());
    assert_eq!(stage.upstream.last().header("traceparent"), expected);
    is_unharmed(&stage).await
}

#[tokio::test]
async fn any_bytes_in_headers_are_survived() -> Result<()> {
    let stage = stage().await?;
    let many = (0..90).fold(Call::get("/"), |call, n| call.header(&format!("x-{n}"), "v"));
    let long = "v".repeat(60 << 10);
    let cases = [
        (
            Call::get("/").header("x-any", b"caf\xe9\xff\x80"),
            "bytes over 0x7F in a captured header",
        ),
        (Call::get("/").header("user-agent", b"\xff\xfe"), "bytes over 0x7F in the user agent"),
        (Call::get("/").header("x-forwarded-host", b"\xc3\x28:x"), "a host that is not UTF-8"),
        (Call::get("/").header("forwarded", "for=\"[;,=\";host==;proto=\"\""), "a torn Forwarded"),
        (Call::get("/").header("x-any", &long), "a header of 60 KiB"),
        (Call::get(&format!("/?{}", "q=%zz&".repeat(1500))), "a query of 9 KiB"),
        (many, "ninety headers more"),
    ];
    for http in [Http::One, Http::Two] {
        for (call, reason) in &cases {
            span(&stage, call, &http, reason).await?;
        }
    }
    let call = Call::get("/").header("x-any", b"caf\xe9").header("x-any", &long);
    let span = span(&stage, &call, &Http::One, "captured").await?;
    let captured = span.texts("http.request.header.x-any").unwrap_or_default();
    let lengths: Vec<_> = captured.iter().map(|value| value.chars().count()).collect();
    assert_eq!(lengths, [4, 2000], "each value, the long one cut to its limit");
    assert!(captured[0].ends_with('\u{fffd}'), "what is not UTF-8 is replaced");
    is_unharmed(&stage).await
}

#[tokio::test]
async fn two_hundred_headers_are_survived() -> Result<()> {
    let stage = Stage::start(|edge| {
        let headers = json!({"max_headers_count": 300});
        edge.connection_manager("ingress", "common_http_protocol_options", headers)
    })
    .await?;
    let call = (0..200).fold(Call::get("/"), |call, n| call.header(&format!("x-{n}"), "v"));
    for http in [Http::One, Http::Two] {
        // The upstream may have its own limit; what counts is that the proxy lets it pass.
        let reply = call.send(&http, stage.port()).await?;
        assert!([200, 431].contains(&reply.status), "{http}: {}", reply.status);
    }
    for span in stage.collector.wait_for_spans(2).await? {
        conventions::check(&span);
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn attributes_beyond_the_limit_are_counted_in_the_span() -> Result<()> {
    let limits = json!({"tracer_provider": {"limits": {"attribute_count_limit": 5}}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &limits)).await?;
    Call::get("/").send(&Http::One, stage.port()).await?;
    let spans = stage.collector.wait_for_spans(1).await?;
    assert_eq!(spans[0].span.attributes.len(), 5, "as many as are allowed");
    assert!(spans[0].span.dropped_attributes_count > 0, "the others are counted");
    is_unharmed(&stage).await
}

#[tokio::test]
async fn secrets_leave_no_trace() -> Result<()> {
    for kind in ["server", "client"] {
        let configuration = json!({"envoy": {"span_kind": kind}}).to_string();
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
        let call = Call::get("/files?sig=TOPSECRET&page=2&X-Amz-Signature=TOPSECRET");
        let span = span(&stage, &call, &Http::One, kind).await?;
        assert!(!format!("{span:?}").contains("TOPSECRET"), "{kind}: {span:#?}");
        let url = span.text("url.query").or_else(|| span.text("url.full")).unwrap_or_default();
        assert!(url.ends_with("sig=REDACTED&page=2&X-Amz-Signature=REDACTED"), "{kind}: {url}");
        let seen = stage.upstream.last().path;
        assert!(seen.contains("sig=TOPSECRET"), "{kind}: the upstream gets what the client sent");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_ours_passes_untouched() -> Result<()> {
    let stage = stage().await?;
    let baggage = "user=alice;ttl=1,region=eu%201";
    let call = Call::get("/").header("baggage", baggage).header("traceparent", parent());
    span(&stage, &call, &Http::One, "baggage").await?;
    assert_eq!(stage.upstream.last().header("baggage"), baggage);

    stage.collector.clear();
    let export = Call::get("/v1/traces")
        .method("POST")
        .header("content-type", "application/x-protobuf")
        .body(vec![1, 2, 3]);
    export.send(&Http::One, stage.port()).await?;
    let seen = stage.upstream.last();
    assert_eq!(seen.header("traceparent"), "", "an export of telemetry gets no context");
    let call = Call::get("/after");
    let span = span(&stage, &call, &Http::One, "the next request is the only span").await?;
    assert_eq!(span.text("url.path").as_deref(), Some("/after"));
    is_unharmed(&stage).await
}

#[tokio::test]
async fn a_request_that_is_not_kept_carries_a_valid_context() -> Result<()> {
    let stage = stage().await?;
    let call = Call::get("/").header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    Call::send(&call.header("tracestate", "a=1"), &Http::One, stage.port()).await?;
    let seen = stage.upstream.last();
    let header = seen.header("traceparent");
    assert!(header.starts_with(&format!("00-{TRACE}-")), "{header}: the trace goes on");
    assert!(header.ends_with("-00"), "{header}: not sampled");
    assert!(!header.contains(PARENT), "{header}: with an id of its own");
    assert_eq!(seen.header("tracestate"), "a=1");
    let stats = stage.at_rest(1).await?;
    assert_eq!(stats["span.sampled"], 0, "and no span");
    is_unharmed(&stage).await
}
