//! Contexts that come with a request: continued, replaced or dropped as W3C Trace Context Level 2 says.

use super::{PARENT, TRACE, is_unharmed, over_each_version, reaches_the_filter, span, stage};
use super::{parent, with_parent};
use anyhow::{Context, Result};
use harness::Stage;
use harness::client::{Call, Http};
use serde_json::json;
use std::collections::BTreeSet;

/// Values of traceparent headers that are not valid, and why.
fn invalid() -> Vec<(Vec<String>, &'static str)> {
    let valid = parent();
    let zeros = |count| "0".repeat(count);
    let one = |value: String| vec![value];
    vec![
        (vec![valid.clone(), valid.clone()], "two headers, the same"),
        (vec![valid.clone(), valid.replace("4bf9", "4bfa")], "two headers, not the same"),
        (vec![valid.clone(), String::new()], "two headers, one empty"),
        (one(format!("{valid},{valid}")), "two in one header"),
        (vec![format!("cc-{TRACE}-{PARENT}-01-x"); 2], "two headers of a later version"),
        (one(valid.to_uppercase()), "uppercase"),
        (one(format!("00-{TRACE}-{PARENT}-0A")), "an uppercase flag"),
        (one(format!("ff-{TRACE}-{PARENT}-01")), "version ff"),
        (one(format!("0g-{TRACE}-{PARENT}-01")), "a version that is no number"),
        (one(format!("00-{}-{PARENT}-01", zeros(32))), "a zero trace id"),
        (one(format!("00-{TRACE}-{}-01", zeros(16))), "a zero parent id"),
        (one(valid.replace("00-4bf", "00-+bf")), "a sign is no digit"),
        (one(valid.replace("00-4bf", "00-xbf")), "a letter is no digit"),
        (one(valid.replace("00-4bf", "00- bf")), "a space is no digit"),
        (one(valid.replace("00-4bf", "00-\u{e9}f")), "bytes over 0x7F"),
        (one(format!("00-{TRACE}-{PARENT}-zz")), "flags that are no number"),
        (one(valid.replace('-', "_")), "other separators"),
        (one(format!("{valid}-more")), "more than version 00 has"),
        (one(format!("{valid}-")), "a dash more than version 00 has"),
        (one(valid[..54].to_owned()), "cut off"),
        (one(valid[..52].to_owned()), "no flags"),
        (one("00".to_owned()), "a version alone"),
        (one(format!("cc-{TRACE}-{PARENT}-01more")), "a later version, flags too long"),
        (one(format!("cc-{TRACE}-{PARENT}-0")), "a later version, cut off"),
        (one("x".repeat(1000)), "a thousand letters"),
        (one(String::new()), "empty"),
    ]
}

#[tokio::test]
async fn contexts_that_are_not_valid_start_a_new_trace() -> Result<()> {
    over_each_version(async |http| {
        let stage = stage(&http).await?;
        for (headers, reason) in invalid() {
            if !reaches_the_filter(&http, reason) {
                continue;
            }
            let call = Call::get("/").header("tracestate", "vendor=1");
            let call = headers.iter().fold(call, |call, value| call.header("traceparent", value));
            let span = span(&stage, &call, &http, reason).await?;
            assert_ne!(span.trace_id(), TRACE, "{http}: {reason}");
            assert_eq!(span.parent_id(), "", "{http}: {reason}");
            assert_eq!(span.span.trace_state, "", "{http}: {reason}");
            let seen = stage.upstream.last();
            let left = seen.headers.contains_key("tracestate");
            assert!(!left, "{http}: {reason}: the tracestate is not passed on");
            let expected = format!("00-{}-{}-03", span.trace_id(), span.span_id());
            assert_eq!(seen.header("traceparent"), expected, "{http}: {reason}");
        }
        is_unharmed(&stage).await
    })
    .await
}

#[tokio::test]
async fn contexts_that_are_not_valid_are_replaced_though_nothing_is_kept() -> Result<()> {
    let off = json!({"tracer_provider": {"sampler": {"always_off": {}}}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &off)).await?;
    let mut ids = BTreeSet::new();
    let mut cases = invalid();
    cases.push((vec![], "a tracestate alone"));
    // A valid parent makes the filter look closer at what comes next; no parent, less.
    for (before, looks) in [(Call::get("/"), "briefly"), (with_parent("/"), "closely")] {
        for (headers, reason) in &cases {
            before.send(&Http::One, stage.port()).await?;
            let call = Call::get("/").header("tracestate", "vendor=1");
            let call = headers.iter().fold(call, |call, value| call.header("traceparent", value));
            call.send(&Http::One, stage.port()).await.with_context(|| (*reason).to_owned())?;
            let seen = stage.upstream.last();
            assert!(!seen.headers.contains_key("tracestate"), "{looks}: {reason}");
            let header = seen.header("traceparent");
            let parts: Vec<_> = header.split('-').collect();
            let [version, trace, id, flags] = parts.as_slice() else {
                panic!("{looks}: {reason}: one context, not {header}")
            };
            assert_eq!((*version, *flags), ("00", "02"), "{looks}: {reason}: {header}");
            assert_eq!((trace.len(), id.len()), (32, 16), "{looks}: {reason}: {header}");
            assert_ne!(*trace, TRACE, "{looks}: {reason}");
            assert!(ids.insert((*trace).to_owned()), "{looks}: {reason}: {header} is new");
        }
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn tracestates_are_passed_on_whole_or_not_at_all() -> Result<()> {
    let members =
        |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let cases: Vec<(Vec<String>, String, &str)> = vec![
        (vec![members(32)], members(32), "thirty-two members"),
        (vec![members(33)], String::new(), "one more"),
        (vec![members(40)], String::new(), "forty members"),
        (vec![members(20), members(40)], String::new(), "sixty in two headers"),
        (vec!["a=1".into(), "b=2".into()], "a=1,b=2".into(), "two headers"),
        (vec!["a=1".into(), "a=2,b=3".into()], "a=1,b=3".into(), "a key in two headers"),
        (vec!["a=1".into(), "nonsense".into()], String::new(), "one bad member"),
        (vec!["a=1,b=\u{e9}".into()], String::new(), "bytes over 0x7F"),
        (vec![format!("a={}", "v".repeat(257))], String::new(), "a value too long"),
        (vec![" a=1 ,, b=2".into()], "a=1,b=2".into(), "white space and an empty member"),
    ];
    over_each_version(async |http| {
        let stage = stage(&http).await?;
        for (headers, expected, reason) in &cases {
            if !reaches_the_filter(&http, reason) {
                continue;
            }
            let call = with_parent("/");
            let call = headers.iter().fold(call, |call, value| call.header("tracestate", value));
            let span = span(&stage, &call, &http, reason).await?;
            assert_eq!(span.trace_id(), TRACE, "{http}: {reason}: the parent is valid");
            assert_eq!(span.parent_id(), PARENT, "{http}: {reason}");
            assert_eq!(span.span.trace_state, *expected, "{http}: {reason}");
            let seen = stage.upstream.last().header("tracestate");
            let seen = seen.replace(' ', "").replace(",,", ",");
            assert_eq!(seen, *expected, "{http}: {reason}: what goes on");
            let lines = stage.upstream.last().headers.get_all("tracestate").iter().count();
            assert!(lines <= 1, "{http}: {reason}: in one header");
        }
        is_unharmed(&stage).await
    })
    .await
}

#[tokio::test]
async fn contexts_of_the_future_are_continued_as_version_00() -> Result<()> {
    let stage = stage(&Http::One).await?;
    let cases = [
        ("01", "01", "", "01", "the next version"),
        ("cc", "01", "-what-the-future-brings", "01", "more than version 00 has"),
        ("fe", "01", "-", "01", "a dash at the end"),
        ("00", "03", "", "03", "the random flag goes on"),
        ("00", "fd", "", "01", "flags that are not known do not"),
        ("cc", "ff", "", "03", "nor those of a later version"),
    ];
    for (version, flags, rest, sent, reason) in cases {
        let value = format!("{version}-{TRACE}-{PARENT}-{flags}{rest}");
        let call = Call::get("/").header("traceparent", value);
        let span = span(&stage, &call, &Http::One, reason).await?;
        assert_eq!(span.trace_id(), TRACE, "{reason}");
        assert_eq!(span.parent_id(), PARENT, "{reason}");
        let expected = format!("00-{TRACE}-{}-{sent}", span.span_id());
        assert_eq!(stage.upstream.last().header("traceparent"), expected, "{reason}");
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn a_request_that_is_not_kept_carries_a_valid_context() -> Result<()> {
    let stage = stage(&Http::One).await?;
    let call = Call::get("/").header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    Call::send(&call.header("tracestate", "a=1"), &Http::One, stage.port()).await?;
    let seen = stage.upstream.last();
    let header = seen.header("traceparent");
    assert_eq!(header.len(), 55, "{header}: one of version 00");
    assert!(!header.contains("-0000000000000000-"), "{header}: with a valid id");
    assert!(header.starts_with(&format!("00-{TRACE}-")), "{header}: the trace goes on");
    assert!(header.ends_with("-00"), "{header}: not sampled");
    assert!(!header.contains(PARENT), "{header}: with an id of its own");
    assert_eq!(seen.header("tracestate"), "a=1");
    let stats = stage.at_rest(1).await?;
    assert_eq!(stats["span.sampled"], 0, "and no span");
    is_unharmed(&stage).await
}
