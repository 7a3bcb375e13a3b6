//! The stable names: semantic conventions 1.44.0 for HTTP and, as a release candidate, gRPC; SERVER and CLIENT.
//!
//! Facts come in, encoded attributes go out; where facts come from, and how attributes are encoded, is not here.

use super::facts::{Facts, Method, Rpc};
use super::{Description, HttpConfig, HttpSpanConfig, address, envoy, error, name, put, redaction};
use crate::envoy::headers::Headers;
use crate::otlp::attributes::{Attributes, limited};
use crate::otlp::{SpanKind, SpanStatus};
use crate::semconv::address::HostPort;
use std::borrow::Cow;

const CLIENT_ADDRESS: &str = "client.address";
const ERROR_TYPE: &str = "error.type";
const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
const NETWORK_PEER_PORT: &str = "network.peer.port";
const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
const HTTP_REQUEST_HEADER: &str = "http.request.header.";
const HTTP_REQUEST_METHOD: &str = "http.request.method";
const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
const HTTP_RESPONSE_HEADER: &str = "http.response.header.";
const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
const HTTP_ROUTE: &str = "http.route";
const RPC_METHOD: &str = "rpc.method";
const RPC_METHOD_ORIGINAL: &str = "rpc.method_original";
const RPC_REQUEST_METADATA: &str = "rpc.request.metadata.";
const RPC_RESPONSE_METADATA: &str = "rpc.response.metadata.";
const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
const RPC_SYSTEM_NAME: &str = "rpc.system.name";
const SERVER_ADDRESS: &str = "server.address";
const SERVER_PORT: &str = "server.port";
const URL_FULL: &str = "url.full";
const URL_PATH: &str = "url.path";
const URL_QUERY: &str = "url.query";
const URL_SCHEME: &str = "url.scheme";
const URL_TEMPLATE: &str = "url.template";
const USER_AGENT_ORIGINAL: &str = "user_agent.original";

/// What stands for a method that is not known.
const OTHER: &[u8] = b"_OTHER";

/// Describes one side of a request: its attributes are added, the rest is returned.
pub(super) fn describe<'a>(
    kind: SpanKind,
    facts: &Facts<'a>,
    config: &HttpConfig,
    attributes: &mut Attributes,
) -> Description<'a> {
    let of_kind = config.of(kind);
    let method = match facts.rpc {
        Some(rpc) => write_rpc(kind, facts, rpc, attributes),
        None => write_http(kind, facts, config, of_kind, attributes),
    };
    let error = error::of(kind, facts);
    if let Some(error) = &error {
        attributes.string(ERROR_TYPE, error.as_bytes());
    }
    write_peer(kind, facts, attributes);
    envoy::write(kind, facts, attributes);
    write_captured(kind, facts, config, attributes);
    let status = if error.is_some() { SpanStatus::Error } else { SpanStatus::Unset };
    let configured = config.span_name.as_ref().and_then(|it| it.of(kind, facts, method));
    let name = configured.map_or_else(|| named(method, facts.route), Cow::Owned);
    Description { name, status }
}

/// Writes the headers that were asked for.
pub(super) fn write_captured(
    kind: SpanKind,
    facts: &Facts<'_>,
    config: &HttpConfig,
    attributes: &mut Attributes,
) {
    let of_kind = config.of(kind);
    let [of_request, of_response] = match facts.rpc {
        Some(_) => [RPC_REQUEST_METADATA, RPC_RESPONSE_METADATA],
        None => [HTTP_REQUEST_HEADER, HTTP_RESPONSE_HEADER],
    };
    write_headers(of_request, &of_kind.request_captured_headers, facts.request_headers, attributes);
    let captured = &of_kind.response_captured_headers;
    write_headers(of_response, captured, facts.response_headers, attributes);
}

/// The span's name: a method, and a route if there is one (HTTP spans, section Name).
pub(super) fn named<'a>(method: &'a [u8], route: Option<&str>) -> Cow<'a, str> {
    let limit = Some(name::MAX_LENGTH);
    let Some(route) = route else { return limited(method, limit) };
    let name = [method, b" ", route.as_bytes()].concat();
    Cow::Owned(limited(&name, limit).into_owned())
}

/// Writes the exchange and gives the method for the span's name.
fn write_http<'a>(
    kind: SpanKind,
    facts: &Facts<'a>,
    config: &HttpConfig,
    of_kind: &HttpSpanConfig,
    attributes: &mut Attributes,
) -> &'a [u8] {
    let name = write_method(facts.method, &of_kind.known_methods, attributes);
    write_url(kind, facts, config, attributes);
    let route = match kind {
        SpanKind::Server => HTTP_ROUTE,
        SpanKind::Client => URL_TEMPLATE,
    };
    put(attributes, route, facts.route.unwrap_or_default().as_bytes());
    if let Some(code) = facts.status {
        attributes.int(HTTP_RESPONSE_STATUS_CODE, i64::from(code));
    }
    let attempts = facts.outcome.request_attempt_count;
    match kind {
        SpanKind::Server => {
            put(attributes, CLIENT_ADDRESS, &facts.client);
            put(attributes, NETWORK_PROTOCOL_VERSION, facts.protocol_version);
        }
        SpanKind::Client if attempts > 1 => {
            attributes.int(HTTP_REQUEST_RESEND_COUNT, i64::from(attempts.saturating_sub(1)));
        }
        SpanKind::Client => {}
    }
    name
}

/// Writes the method and gives what stands for it in the span's name (HTTP spans, sections Name and `http.request.method`): a known one as it is, another
/// as `_OTHER` with the original beside. Case matters.
fn write_method<'a>(method: &'a [u8], known: &[String], attributes: &mut Attributes) -> &'a [u8] {
    if known.iter().any(|name| name.as_bytes() == method) {
        attributes.string(HTTP_REQUEST_METHOD, method);
        method
    } else {
        attributes.string(HTTP_REQUEST_METHOD, OTHER);
        put(attributes, HTTP_REQUEST_METHOD_ORIGINAL, method);
        b"HTTP"
    }
}

fn write_url(kind: SpanKind, facts: &Facts<'_>, config: &HttpConfig, attributes: &mut Attributes) {
    let sensitive = &config.sensitive_query_parameters;
    let query = facts.query.map(|query| redaction::query(query, sensitive));
    match kind {
        SpanKind::Server => {
            put(attributes, URL_SCHEME, &facts.original.scheme);
            put(attributes, URL_PATH, facts.path);
            if let Some(query) = query {
                attributes.string(URL_QUERY, &query);
            }
            put(attributes, USER_AGENT_ORIGINAL, facts.user_agent);
            write_server(facts.original.server(), attributes);
        }
        // A request without a host has no URL.
        SpanKind::Client if facts.called.authority.is_empty() => {}
        SpanKind::Client => {
            let scheme = &*facts.called.scheme;
            let authority = redaction::authority(&facts.called.authority);
            // The asterisk form has a URL without a path (RFC 9112, section 3.3).
            let path = if facts.path == b"*" { b"" } else { facts.path };
            let target = with_query(path, query.as_deref());
            attributes.string(URL_FULL, &url(scheme, &authority, &target));
            let server = facts.called.server();
            let port = server.port.or_else(|| address::default_port(scheme));
            write_server(HostPort { port, ..server }, attributes);
        }
    }
}

/// A path with its query.
pub(super) fn with_query(path: &[u8], query: Option<&[u8]>) -> Vec<u8> {
    let (mark, query) = query.map_or(("", b"".as_slice()), |query| ("?", query));
    [path, mark.as_bytes(), query].concat()
}

/// A URL of these parts.
pub(super) fn url(scheme: &[u8], authority: &[u8], target: &[u8]) -> Vec<u8> {
    [scheme, b"://", authority, target].concat()
}

/// Writes the call and gives the method for the span's name (RPC spans, section Name, and `rpc.method`): a method that is not known is `_OTHER`
/// with the original beside.
fn write_rpc<'a>(
    kind: SpanKind,
    facts: &Facts<'_>,
    rpc: Rpc<'a>,
    attributes: &mut Attributes,
) -> &'a [u8] {
    let system = rpc.system.name();
    attributes.string(RPC_SYSTEM_NAME, system);
    let name = match rpc.method {
        Method::Known(method) => {
            attributes.string(RPC_METHOD, method);
            method
        }
        Method::Other(method) => {
            attributes.string(RPC_METHOD, OTHER);
            attributes.string(RPC_METHOD_ORIGINAL, method);
            system
        }
    };
    let origin = match kind {
        SpanKind::Server => &facts.original,
        SpanKind::Client => &facts.called,
    };
    write_server(origin.server(), attributes);
    if facts.is_open {
        return name;
    }
    if let Some(status) = rpc.status {
        attributes.string(RPC_RESPONSE_STATUS_CODE, status.name().as_bytes());
    } else if let Some(code) = facts.status {
        // Nothing else tells how it ended.
        attributes.int(HTTP_RESPONSE_STATUS_CODE, i64::from(code));
    }
    name
}

fn write_server(server: HostPort<'_>, attributes: &mut Attributes) {
    if server.host.is_empty() {
        return;
    }
    attributes.string(SERVER_ADDRESS, server.host);
    if let Some(port) = server.port {
        attributes.int(SERVER_PORT, i64::from(port));
    }
}

/// The peer is who is at the other end of the span's connection: the caller of a server, the
/// upstream of a client.
fn write_peer(kind: SpanKind, facts: &Facts<'_>, attributes: &mut Attributes) {
    let peer = match kind {
        SpanKind::Server => facts.downstream,
        SpanKind::Client => facts.upstream,
    };
    put(attributes, NETWORK_PEER_ADDRESS, peer.host);
    if let Some(port) = peer.port {
        attributes.int(NETWORK_PEER_PORT, i64::from(port));
    }
}

/// One list for each configured name that occurs.
fn write_headers(prefix: &str, names: &[String], headers: &Headers, attributes: &mut Attributes) {
    let mut key = String::new();
    for name in names {
        let values = headers.all(name);
        if values.clone().next().is_some() {
            key.clear();
            key.push_str(prefix);
            key.push_str(name);
            attributes.strings(&key, values);
        }
    }
}
