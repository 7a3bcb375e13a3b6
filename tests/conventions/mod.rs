//! The conventions as a table, and a check that holds any span against it.
//!
//! Kept by hand from OpenTelemetry's model (semantic conventions 1.44.0), apart from the filter's
//! own names: a mistake there must not repeat itself here.

use harness::Span;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    Text,
    Int,
    Texts,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Level {
    Required,
    Optional,
}

use Level::{Optional, Required};
use Type::{Int, Text, Texts};

type Row = (&'static str, Type, Level);

const HTTP_SERVER: &[Row] = &[
    ("http.request.method", Text, Required),
    ("url.path", Text, Required),
    ("url.scheme", Text, Required),
    ("client.address", Text, Optional),
    ("error.type", Text, Optional),
    ("http.request.method_original", Text, Optional),
    ("http.response.status_code", Int, Optional),
    ("http.route", Text, Optional),
    ("http.route", Text, Optional),
    // Where Envoy trusts X-Forwarded-For, nobody tells.
    ("network.peer.address", Text, Optional),
    ("network.peer.port", Int, Optional),
    ("network.protocol.version", Text, Required),
    ("server.address", Text, Optional),
    ("server.port", Int, Optional),
    ("url.query", Text, Optional),
    ("user_agent.original", Text, Optional),
];

const HTTP_CLIENT: &[Row] = &[
    ("http.request.method", Text, Required),
    ("server.address", Text, Required),
    ("server.port", Int, Required),
    ("url.full", Text, Required),
    ("error.type", Text, Optional),
    ("http.request.method_original", Text, Optional),
    ("http.request.resend_count", Int, Optional),
    ("http.response.status_code", Int, Optional),
    ("network.peer.address", Text, Optional),
    ("network.peer.port", Int, Optional),
    ("url.template", Text, Optional),
];

/// gRPC, gRPC-Web and Connect.
const RPC: &[Row] = &[
    ("rpc.method", Text, Required),
    ("rpc.method_original", Text, Optional),
    ("rpc.system.name", Text, Required),
    // One of them: what the body alone says, a proxy does not know.
    ("rpc.response.status_code", Text, Optional),
    ("http.response.status_code", Int, Optional),
    ("error.type", Text, Optional),
    ("network.peer.address", Text, Optional),
    ("network.peer.port", Int, Optional),
    ("server.address", Text, Required),
    ("server.port", Int, Optional),
];

const ENVOY: &[Row] = &[
    ("envoy.cluster_name", Text, Optional),
    ("envoy.keep_rule", Text, Optional),
    ("envoy.request_attempt_count", Int, Optional),
    ("envoy.response_code_details", Text, Optional),
    ("envoy.response_flags", Texts, Optional),
    ("envoy.route_name", Text, Optional),
    ("envoy.upstream_address", Text, Optional),
];

const RESOURCE: &[&str] = &[
    "service.name",
    "service.instance.id",
    "telemetry.sdk.name",
    "telemetry.sdk.language",
    "telemetry.sdk.version",
];

/// Holds a span against the conventions: required attributes are there, types are right, and nothing
/// is there that the conventions don't know.
pub(crate) fn check(span: &Span) {
    let attributes = span.attributes();
    let name = format!("{} {attributes:#?}", span.span.name);
    let kind = span.span.kind();
    let table = match (attributes.contains_key("rpc.system.name"), kind) {
        (true, _) => RPC,
        (false, SpanKind::Server) => HTTP_SERVER,
        (false, SpanKind::Client) => HTTP_CLIENT,
        (false, kind) => panic!("{kind:?} is no kind of a proxy: {name}"),
    };
    for (key, _, level) in table {
        assert!(*level != Required || attributes.contains_key(*key), "{key} is missing: {name}");
    }
    for (key, value) in &attributes {
        let found = match value {
            Value::StringValue(_) => Text,
            Value::IntValue(_) => Int,
            Value::ArrayValue(_) => Texts,
            other => panic!("{key} is {other:?}: {name}"),
        };
        let captured = ["http.request.header.", "http.response.header."];
        if captured.iter().any(|prefix| key.starts_with(prefix)) {
            assert_eq!(found, Texts, "{key}: {name}");
            continue;
        }
        let row = table.iter().chain(ENVOY).find(|(known, ..)| known == key);
        let Some((_, expected, _)) = row else { panic!("{key} is not in the conventions: {name}") };
        assert_eq!(found, *expected, "{key}: {name}");
    }
    if let Some(system) = span.text("rpc.system.name") {
        assert!(["grpc", "connectrpc"].contains(&system.as_str()), "{name}");
        let [of_rpc, of_http] = ["rpc", "http"]
            .map(|of| attributes.contains_key(&format!("{of}.response.status_code")));
        match system.as_str() {
            "grpc" => assert_ne!(of_rpc, of_http, "one status: {name}"),
            _ => assert!(!of_rpc, "Connect's code is in the body: {name}"),
        }
    }
    let (other, original) = ("_OTHER", "rpc.method_original");
    let is_other = span.text("rpc.method").as_deref() == Some(other);
    assert_eq!(attributes.contains_key(original), is_other, "{original} goes with {other}: {name}");
    assert!(!span.span.name.is_empty() && span.span.name.chars().count() <= 256, "{name}");
    let failed = attributes.contains_key("error.type");
    assert_eq!(span.is_error(), failed, "error.type goes with the status: {name}");
    let status = span.span.status.clone().unwrap_or_default();
    assert_eq!(status.message, "", "no description where the code says it all: {name}");
    assert_ne!(span.span.start_time_unix_nano, 0, "{name}");
    assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano, "{name}");
    assert_eq!(span.span.flags & 0x1, 1, "an exported span is sampled: {name}");
    for key in RESOURCE {
        assert!(
            span.resource_text(key).is_some_and(|it| !it.is_empty()),
            "{key}: {:#?}",
            span.resource
        );
    }
    assert_eq!(span.scope.name, "otel-proxy-wasm");
    assert_eq!(span.scope.version, env!("CARGO_PKG_VERSION"));
    for url in &span.schema_urls {
        assert_eq!(url, "https://opentelemetry.io/schemas/1.44.0");
    }
}
