//! The border of trust: what strangers say steers nothing, what is trusted is continued, and upstreams that are to have no context get none.

mod binomial;
mod conventions;

use anyhow::{Context, Result};
use binomial::bounds;
use harness::client::{Call, Connection, Http};
use harness::tls::Certificate;
use harness::{Seen, Span, Stage};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// What a stranger says of its address, its scheme and its host, in any header.
const FORGED: [&str; 3] = ["6.6.6.6", "gopher", "forged.example"];

/// Headers of every known format, of the same trace, sampled.
fn contexts() -> Vec<(String, String)> {
    let (short, number) = (&TRACE[16..], "5577006791947779410");
    let pairs = [
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
        (
            "x-amzn-trace-id",
            format!("Root=1-{}-{};Parent={PARENT};Sampled=1", &TRACE[..8], &TRACE[8..]),
        ),
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
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A tracestate of 16 KB that asks to be kept.
fn tracestate() -> String {
    let others =
        (0..31).map(|number| format!("{}{number:02}={}", "k".repeat(254), "v".repeat(256)));
    let members: Vec<_> =
        std::iter::once("ot=rv:ffffffffffffff;th:0".to_owned()).chain(others).collect();
    members.join(",")
}

fn with_contexts(call: Call) -> Call {
    let call = contexts().into_iter().fold(call, |call, (name, value)| call.header(&name, value));
    call.header("tracestate", tracestate())
}

/// A request that says all that a stranger can say.
fn forged(path: &str) -> Call {
    let [address, scheme, host] = FORGED;
    with_contexts(Call::get(path))
        .header("forwarded", format!("for={address};proto=https;host={host}"))
        .header("x-forwarded-for", address)
        .header("x-forwarded-proto", scheme)
        .header("x-forwarded-host", host)
        .header("x-envoy-external-address", address)
        .header("x-envoy-original-path", format!("/{host}"))
        .header("x-real-ip", address)
}

/// The headers of a request that carry a context, as the service got them.
fn got(seen: &Seen) -> Vec<String> {
    let names = contexts().into_iter().map(|(name, _)| name).chain(["tracestate".to_owned()]);
    names.filter(|name| seen.headers.contains_key(name.as_str())).collect()
}

fn configured(sampler: Value, envoy: Value) -> String {
    json!({"tracer_provider": {"sampler": sampler}, "envoy": envoy}).to_string()
}

fn kept(envoy: Value) -> String {
    configured(json!({"parent_based": {"root": {"always_on": {}}}}), envoy)
}

#[tokio::test]
async fn a_new_trace_is_linked_to_what_came() -> Result<()> {
    let stage =
        Stage::start(|edge| edge.filter("ingress", &kept(json!({"incoming": "restart"})))).await?;
    assert_eq!(forged("/a").send(&Http::One, stage.port()).await?.status, 200);
    let seen = stage.upstream.last();
    println!("{:#?}", seen.headers.keys().collect::<Vec<_>>());
    println!("{:?}", got(&seen));
    let span = stage.collector.wait_for_spans(1).await?.remove(0);
    println!("{:#?}", span.attributes());
    println!("{:?}", span.span.links);
    println!("{:?}", stage.envoy.complaints());
    panic!();
}
