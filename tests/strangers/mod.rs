//! What strangers say, and that none of it is believed.

use super::conventions;
use harness::client::Call;
use harness::span::hex;
use harness::{Seen, Span};
use std::collections::BTreeSet;

pub(crate) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(crate) const PARENT: &str = "00f067aa0ba902b7";
/// What a stranger says of its address, its scheme and its host, in whatever header.
pub(crate) const FORGED: [&str; 3] = ["6.6.6.6", "gopher", "forged.example"];
/// What a stranger says beside.
pub(crate) const SAID: [&str; 4] = ["mallory", "ffffffffffffff", TRACE, PARENT];

/// Headers of every known format but tracestate: one trace, sampled.
pub(crate) fn contexts() -> Vec<(&'static str, String)> {
    let (short, number) = (&TRACE[16..], "5577006791947779410");
    let x_ray = format!("Root=1-{}-{};Parent={PARENT};Sampled=1", &TRACE[..8], &TRACE[8..]);
    Vec::from([
        ("traceparent", format!("00-{TRACE}-{PARENT}-03")),
        ("baggage", "user=mallory".to_owned()),
        ("b3", format!("{TRACE}-{PARENT}-d")),
        ("x-b3-traceid", TRACE.to_owned()),
        ("x-b3-spanid", PARENT.to_owned()),
        ("x-b3-sampled", "1".to_owned()),
        ("x-b3-flags", "1".to_owned()),
        ("uber-trace-id", format!("{TRACE}:{PARENT}:0:3")),
        ("uberctx-user", "mallory".to_owned()),
        ("jaeger-debug-id", "mallory".to_owned()),
        ("x-amzn-trace-id", x_ray),
        ("x-datadog-trace-id", number.to_owned()),
        ("x-datadog-parent-id", number.to_owned()),
        ("x-datadog-sampling-priority", "2".to_owned()),
        ("x-datadog-tags", format!("_dd.p.tid={short}")),
        ("ot-tracer-traceid", short.to_owned()),
        ("ot-tracer-spanid", PARENT.to_owned()),
        ("ot-tracer-sampled", "true".to_owned()),
        ("ot-baggage-user", "mallory".to_owned()),
        ("x-cloud-trace-context", format!("{TRACE}/{number};o=1")),
        ("grpc-trace-bin", "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE".to_owned()),
        ("sw8", "1-YWJj-ZGVm-0-YQ==-Yg==-Yw==-ZA==".to_owned()),
        ("sentry-trace", format!("{TRACE}-{PARENT}-1")),
    ])
}

/// A tracestate of 16 KB that asks to be kept.
pub(crate) fn tracestate() -> String {
    let key = "k".repeat(254);
    let others = (0..31).map(|number| format!("{key}{number:02}={}", "v".repeat(256)));
    let kept = std::iter::once("ot=rv:ffffffffffffff;th:0".to_owned());
    kept.chain(others).collect::<Vec<_>>().join(",")
}

pub(crate) fn with_contexts(call: Call) -> Call {
    let call = contexts().iter().fold(call, |call, (name, value)| call.header(name, value));
    call.header("tracestate", tracestate())
}

/// A request that says all that a stranger can say.
pub(crate) fn forged(path: &str) -> Call {
    let [address, scheme, host] = FORGED;
    with_contexts(Call::get(path))
        .header("forwarded", format!("for={address};proto={scheme};host={host}"))
        .header("x-forwarded-for", address)
        .header("x-forwarded-proto", scheme)
        .header("x-forwarded-host", host)
        .header("x-envoy-external-address", address)
        .header("x-envoy-original-path", format!("/{host}"))
        .header("x-envoy-original-host", host)
        .header("x-real-ip", address)
        .header("x-request-id", "mallory")
}

/// The headers of any known format that a service got.
pub(crate) fn got(seen: &Seen) -> BTreeSet<&'static str> {
    let contexts = contexts();
    let names = contexts.iter().map(|(name, _)| *name).chain(["tracestate"]);
    names.filter(|name| seen.headers.contains_key(*name)).collect()
}

/// Nothing that a stranger has said is in a span, but in its link.
pub(crate) fn says_nothing_of_theirs(span: &Span, reason: &str) {
    conventions::check(span);
    let mut without_links = span.clone();
    without_links.span.links.clear();
    let text = format!("{:?}", without_links.span);
    let ids = [TRACE, PARENT].map(|hex| {
        let bytes: Vec<_> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)).collect();
        let bytes: Result<Vec<_>, _> = bytes.into_iter().collect();
        format!("{:?}", bytes.expect("hexadecimal"))
    });
    for theirs in FORGED.iter().chain(&SAID).copied().chain(ids.iter().map(String::as_str)) {
        assert!(!text.contains(theirs), "{reason}: {theirs}: {text}");
    }
}

/// The span links to the context that came, and to nothing else.
pub(crate) fn is_linked(span: &Span, reason: &str) {
    let [link] = span.span.links.as_slice() else { panic!("{reason}: {:?}", span.span.links) };
    assert_eq!(
        (hex(&link.trace_id), hex(&link.span_id)),
        (TRACE.into(), PARENT.into()),
        "{reason}"
    );
    assert_eq!(link.trace_state, "ot=rv:ffffffffffffff;th:0", "{reason}: it is bounded");
    assert_eq!(link.flags, 0x303, "{reason}: its flags, and that it is of another process");
}
