//! The names of Envoy's own tracer: its tags, of which all are texts, the span's name and its status.
//!
//! They are those of Envoy 1.36 to 1.40 with the provider `envoy.tracers.opentelemetry`; `tests/legacy_names.rs` compares both.
//! What Envoy writes on a span of its own for the upstream (`spawn_upstream_span`) stands on the one span here.

use super::facts::{Facts, Method, Rpc};
use super::grpc::StatusCode;
use super::request::is_grpc;
use super::{Description, HttpConfig, put, redaction, stable};
use crate::envoy::headers::Headers;
use crate::envoy::node::LocalInfo;
use crate::envoy::wire::number;
use crate::otlp::attributes::Attributes;
use crate::otlp::{SpanKind, SpanStatus};
use std::borrow::Cow;

/// The headers that they are read from, beside what [`Facts`] say.
pub(super) const HEADERS: [&str; 6] = [
    "x-request-id",
    "x-client-trace-id",
    "x-envoy-downstream-service-cluster",
    "grpc-timeout",
    "content-type",
    "x-forwarded-proto",
];

/// What Envoy writes where there is nothing.
const NONE: &[u8] = b"-";

/// So much of a path with its query is in a URL, in bytes (`max_path_tag_length`).
const MAX_PATH: usize = 256;

/// Describes one side of a request: its attributes are added, the rest is returned.
pub(super) fn describe<'a>(
    kind: SpanKind,
    facts: &Facts<'a>,
    config: &HttpConfig,
    node: &LocalInfo,
    attributes: &mut Attributes,
) -> Description<'a> {
    write(facts, config, node, attributes);
    let configured = config.span_name.as_ref();
    let configured = configured.and_then(|it| it.of(kind, facts, method(kind, facts, config)));
    let name = configured.map_or_else(|| named(kind, facts), Cow::Owned);
    Description { name, status: status_of(kind, facts) }
}

/// The tags that are written where they are known, in the order in which [`write`] has their values.
const TEXTS: [&str; 18] = [
    "node_id",
    "component",
    "http.method",
    "http.url",
    "http.protocol",
    "user_agent",
    "peer.address",
    "downstream_cluster",
    "upstream_cluster",
    "upstream_cluster.name",
    "upstream_address",
    "guid:x-request-id",
    "guid:x-client-trace-id",
    "grpc.path",
    "grpc.authority",
    "grpc.content_type",
    "grpc.timeout",
    "grpc.message",
];

/// Writes the tags.
#[inline(never)] // Few configure it.
pub(super) fn write(
    facts: &Facts<'_>,
    config: &HttpConfig,
    node: &LocalInfo,
    attributes: &mut Attributes,
) {
    let outcome = &facts.outcome;
    let tag = |at: usize| outcome.tags.get(at).map(Vec::as_slice).unwrap_or_default();
    let [request_id, client_trace_id, caller, timeout, content_type, proto] =
        HEADERS.map(|name| first(facts.request_headers, name));
    let target = target(facts, config);
    let authority = &*redaction::authority(&facts.called.authority);
    let is_call = content_type.strip_prefix(b"application/").is_some_and(is_grpc);
    let of_call = |value| if is_call { value } else { b"".as_slice() };
    // Without one it is empty.
    attributes.string("zone", node.zone.as_bytes());
    attributes.string("response_flags", or_none(&flags(facts)));
    put_number(attributes, "http.status_code", code(facts).into());
    put_number(attributes, "request_size", number(tag(0)));
    put_number(attributes, "response_size", number(tag(1)));
    if let Some(status) = facts.grpc_status {
        put_number(attributes, "grpc.status_code", status.number().into());
    }
    // As the address, on the span for its upstream.
    if outcome.request_attempt_count > 1 {
        put_number(attributes, "retry.count", u64::from(outcome.request_attempt_count) - 1);
    }
    let values: [&[u8]; TEXTS.len()] = [
        node.id.as_bytes(),
        b"proxy",
        facts.method,
        &url(facts, proto, authority, &target),
        or_none(outcome.protocol),
        or_none(facts.user_agent),
        facts.downstream.host,
        or_none(caller),
        outcome.cluster_name,
        outcome.cluster_name,
        outcome.upstream_address,
        request_id,
        client_trace_id,
        of_call(&target),
        of_call(authority),
        of_call(content_type),
        of_call(timeout),
        if tag(2).is_empty() { tag(3) } else { tag(2) },
    ];
    for (name, value) in TEXTS.iter().zip(values) {
        put(attributes, name, value);
    }
    if is_error(facts) {
        attributes.string("error", b"true");
    }
}

#[inline(never)] // As `write`.
fn first<'a>(headers: &'a Headers, name: &str) -> &'a [u8] {
    headers.first(name)
}

#[inline(never)] // As `write`.
fn put_number(attributes: &mut Attributes, name: &str, number: u64) {
    attributes.string(name, number.to_string().as_bytes());
}

/// The response flags, separated by commas.
#[inline(never)] // As `write`.
fn flags(facts: &Facts<'_>) -> Vec<u8> {
    let mut flags = Vec::new();
    for name in facts.outcome.response_flags.names() {
        if !flags.is_empty() {
            flags.push(b',');
        }
        flags.extend_from_slice(name.as_bytes());
    }
    flags
}

fn is_error(facts: &Facts<'_>) -> bool {
    matches!(code(facts), 0 | 500..600)
        || facts.grpc_status.is_some_and(|status| {
            status.is_servers_fault() || status == StatusCode::RESOURCE_EXHAUSTED
        })
}

/// The response's status; zero if there was no response.
fn code(facts: &Facts<'_>) -> u16 {
    facts.status.unwrap_or_default()
}

fn or_none(value: &[u8]) -> &[u8] {
    if value.is_empty() { NONE } else { value }
}

/// What was asked for: a path, and a query whose secrets are replaced.
fn target(facts: &Facts<'_>, config: &HttpConfig) -> Vec<u8> {
    let secrets = &config.sensitive_query_parameters;
    let query = facts.query.map(|query| redaction::query(query, secrets));
    stable::with_query(facts.path, query.as_deref())
}

/// The URL of that; none of a request that Envoy could not read.
fn url(facts: &Facts<'_>, proto: &[u8], authority: &[u8], target: &[u8]) -> Vec<u8> {
    if facts.method.is_empty() {
        return Vec::new();
    }
    let scheme = if proto.is_empty() { &facts.called.scheme } else { proto };
    stable::url(scheme, authority, target.get(..MAX_PATH).unwrap_or(target))
}

/// The method in a name that is configured, as the stable names have it.
fn method<'a>(kind: SpanKind, facts: &Facts<'a>, config: &HttpConfig) -> &'a [u8] {
    let known = &config.of(kind).known_methods;
    match facts.rpc {
        Some(Rpc { method: Method::Known(method), .. }) => method,
        Some(rpc) => rpc.system.name(),
        None if known.iter().any(|name| name.as_bytes() == facts.method) => facts.method,
        None => b"HTTP",
    }
}

/// The span's name, as long as nothing else is configured.
fn named(kind: SpanKind, facts: &Facts<'_>) -> Cow<'static, str> {
    match kind {
        SpanKind::Server => Cow::Borrowed("ingress"),
        SpanKind::Client => {
            let authority = redaction::authority(&facts.called.authority);
            stable::named(b"egress", Some(&String::from_utf8_lossy(&authority)))
        }
    }
}

/// The span's status: what `grpc-status` says, if there is one, else what the response's status does. No response is no error here.
fn status_of(kind: SpanKind, facts: &Facts<'_>) -> SpanStatus {
    let is_error = match (kind, facts.grpc_status) {
        (SpanKind::Client, Some(status)) => status != StatusCode::OK,
        (SpanKind::Server, Some(status)) => status.is_servers_fault(),
        (SpanKind::Client, None) => code(facts) >= 400,
        (SpanKind::Server, None) => code(facts) >= 500,
    };
    if is_error { SpanStatus::Error } else { SpanStatus::Unset }
}
