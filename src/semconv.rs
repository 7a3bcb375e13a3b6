//! What a request looks like in OpenTelemetry's words: semantic conventions 1.44.0 for HTTP and
//! gRPC, SERVER and CLIENT, and what Envoy knows beside, under `envoy.`.
//!
//! Facts come in as borrowed bytes, attributes go out encoded. Where facts come from is the host's
//! part; how attributes are encoded is `otlp`'s.

pub mod address;
pub mod flags;
pub mod grpc;
pub mod http;
pub mod method;
pub mod outcome;
pub mod redaction;
pub mod request;

pub use outcome::Outcome;
pub use request::RequestHeaders;

use crate::config::HttpConfig;
use crate::otlp::attributes::Attributes;
use crate::otlp::{SpanKind, Status};
use address::HostPort;
use std::borrow::Cow;

/// The conventions, as configured.
#[derive(Debug)]
pub struct Conventions {
    http: HttpConfig,
}

/// What must be remembered of a request until its outcome is known.
#[derive(Debug)]
pub struct Request {
    kind: SpanKind,
    protocol: Protocol,
    client_address: ClientAddress,
}

#[derive(Debug)]
enum Protocol {
    Http { name: Cow<'static, str>, tunnel: Tunnel },
    Grpc { method: String, status: Option<grpc::StatusCode> },
}

/// Whether a successful end of the request is its connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    None,
    Connect,
}

/// Whether a header told the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAddress {
    FromHeader,
    OfPeer,
}

impl Request {
    /// The span's name: the method, or `HTTP` for one that isn't known; for gRPC the RPC's method.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.protocol {
            Protocol::Http { name, .. } => name,
            Protocol::Grpc { method, .. } => method,
        }
    }

    /// The kind of its span.
    #[must_use]
    pub fn kind(&self) -> SpanKind {
        self.kind
    }

    /// Whether the response's `grpc-status` is wanted.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        matches!(self.protocol, Protocol::Grpc { .. })
    }

    /// Notes the value of `grpc-status`, from the trailers or from a response of headers only.
    pub fn note_grpc_status(&mut self, value: &[u8]) {
        if let Protocol::Grpc { status, .. } = &mut self.protocol {
            *status = Some(grpc::StatusCode::parse(value));
        }
    }
}

impl Conventions {
    /// The conventions under this configuration.
    #[must_use]
    pub fn new(http: HttpConfig) -> Self {
        Self { http }
    }

    /// The request headers that become attributes of a span of this kind, lowercase.
    #[must_use]
    pub fn request_captured_headers(&self, kind: SpanKind) -> &[String] {
        match kind {
            SpanKind::Server => &self.http.server.request_captured_headers,
            SpanKind::Client => &self.http.client.request_captured_headers,
        }
    }

    /// The response headers that become attributes of a span of this kind, lowercase.
    #[must_use]
    pub fn response_captured_headers(&self, kind: SpanKind) -> &[String] {
        match kind {
            SpanKind::Server => &self.http.server.response_captured_headers,
            SpanKind::Client => &self.http.client.response_captured_headers,
        }
    }

    /// Writes what is known when a request starts.
    pub fn begin(
        &self,
        kind: SpanKind,
        headers: &RequestHeaders<'_>,
        attributes: &mut Attributes,
    ) -> Request {
        let known_methods = match kind {
            SpanKind::Server => &self.http.server.known_methods,
            SpanKind::Client => &self.http.client.known_methods,
        };
        let client_address = match (kind, headers.client_address()) {
            (SpanKind::Server, Some(client)) if !headers.is_grpc() => {
                attributes.string(http::CLIENT_ADDRESS, client);
                ClientAddress::FromHeader
            }
            _ => ClientAddress::OfPeer,
        };
        let protocol = if headers.is_grpc() {
            let method = String::from_utf8_lossy(headers.grpc_method()).into_owned();
            attributes.string(grpc::RPC_SYSTEM_NAME, b"grpc");
            attributes.string(grpc::RPC_METHOD, method.as_bytes());
            write_server(headers.server(), attributes);
            Protocol::Grpc { method, status: None }
        } else {
            let name = method::write(headers.method, known_methods, attributes);
            self.write_url(kind, headers, attributes);
            let tunnel = if headers.method == b"CONNECT" { Tunnel::Connect } else { Tunnel::None };
            Protocol::Http { name, tunnel }
        };
        let key = if headers.is_grpc() { grpc::REQUEST_METADATA } else { http::REQUEST_HEADER };
        write_captured(
            key,
            self.request_captured_headers(kind),
            &headers.captured.iter().copied(),
            attributes,
        );
        Request { kind, protocol, client_address }
    }

    /// Writes the captured ones of a response's headers.
    pub fn response_headers<'a>(
        &self,
        request: &Request,
        headers: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone),
        attributes: &mut Attributes,
    ) {
        let key = if request.is_grpc() { grpc::RESPONSE_METADATA } else { http::RESPONSE_HEADER };
        let captured = self.response_captured_headers(request.kind);
        write_captured(key, captured, headers, attributes);
    }

    /// Writes what is known when a request has ended, and judges it.
    pub fn end(
        &self,
        request: &Request,
        outcome: &Outcome<'_>,
        attributes: &mut Attributes,
    ) -> Status {
        let error = match &request.protocol {
            Protocol::Http { tunnel, .. } => {
                if let Some(code) = outcome.response_code {
                    attributes.int(http::RESPONSE_STATUS_CODE, i64::from(code));
                }
                if request.kind == SpanKind::Server {
                    let version = http::protocol_version(outcome.protocol);
                    put(attributes, http::NETWORK_PROTOCOL_VERSION, version);
                }
                http::error_type(request.kind, *tunnel == Tunnel::Connect, outcome)
            }
            Protocol::Grpc { status, .. } => {
                let status = status.unwrap_or_else(|| grpc::StatusCode::of_outcome(outcome));
                attributes.string(grpc::RPC_RESPONSE_STATUS_CODE, status.name().as_bytes());
                status.error_type(request.kind)
            }
        };
        if let Some(error) = &error {
            attributes.string(http::ERROR_TYPE, error.as_bytes());
        }
        write_peer(request, outcome, attributes);
        outcome.write(attributes);
        if error.is_some() { Status::Error } else { Status::Unset }
    }

    fn write_url(&self, kind: SpanKind, headers: &RequestHeaders<'_>, attributes: &mut Attributes) {
        let (path, query) = headers.path_and_query();
        let query =
            query.map(|query| redaction::query(query, &self.http.sensitive_query_parameters));
        let scheme = headers.scheme();
        match kind {
            SpanKind::Server => {
                attributes.string(http::URL_SCHEME, scheme);
                attributes.string(http::URL_PATH, path);
                if let Some(query) = query {
                    attributes.string(http::URL_QUERY, &query);
                }
                put(attributes, http::USER_AGENT_ORIGINAL, headers.user_agent);
                write_server(headers.server(), attributes);
            }
            SpanKind::Client => {
                let authority = redaction::authority(headers.authority);
                let mut url = Vec::with_capacity(scheme.len() + authority.len() + path.len() + 64);
                url.extend_from_slice(scheme);
                url.extend_from_slice(b"://");
                url.extend_from_slice(&authority);
                url.extend_from_slice(path);
                if let Some(query) = query {
                    url.push(b'?');
                    url.extend_from_slice(&query);
                }
                attributes.string(http::URL_FULL, &url);
                let origin = HostPort::parse(headers.authority);
                let port = origin.port.or_else(|| http::default_port(scheme));
                write_server(HostPort { port, ..origin }, attributes);
            }
        }
    }
}

/// One list for each configured name that occurs.
fn write_captured<'a>(
    prefix: &str,
    names: &[String],
    headers: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone),
    attributes: &mut Attributes,
) {
    let mut key = String::new();
    for name in names {
        let values = headers
            .clone()
            .filter(|(header, _)| *header == name.as_bytes())
            .map(|(_, value)| value);
        if values.clone().next().is_some() {
            key.clear();
            key.push_str(prefix);
            key.push_str(name);
            attributes.strings(&key, values);
        }
    }
}

/// Writes a text, unless there is none.
fn put(attributes: &mut Attributes, key: &str, value: &[u8]) {
    if !value.is_empty() {
        attributes.string(key, value);
    }
}

fn write_server(server: HostPort<'_>, attributes: &mut Attributes) {
    if server.host.is_empty() {
        return;
    }
    attributes.string(http::SERVER_ADDRESS, server.host);
    if let Some(port) = server.port {
        attributes.int(http::SERVER_PORT, i64::from(port));
    }
}

/// The peer is who is at the other end of the span's connection: the caller of a server, the
/// upstream of a client.
fn write_peer(request: &Request, outcome: &Outcome<'_>, attributes: &mut Attributes) {
    let peer = HostPort::of_socket(match request.kind {
        SpanKind::Server => outcome.source_address,
        SpanKind::Client => outcome.upstream_address,
    });
    if peer.host.is_empty() {
        return;
    }
    attributes.string(http::NETWORK_PEER_ADDRESS, peer.host);
    // A proxy that trusts X-Forwarded-For knows the client's address, but not its port.
    if let Some(port) = peer.port.filter(|port| *port != 0) {
        attributes.int(http::NETWORK_PEER_PORT, i64::from(port));
    }
    match (&request.protocol, request.kind, request.client_address) {
        (Protocol::Http { .. }, SpanKind::Server, ClientAddress::OfPeer) => {
            attributes.string(http::CLIENT_ADDRESS, peer.host);
        }
        (Protocol::Http { .. }, SpanKind::Client, _) if outcome.request_attempt_count > 1 => {
            let resends = outcome.request_attempt_count.saturating_sub(1);
            attributes.int(http::REQUEST_RESEND_COUNT, i64::from(resends));
        }
        _ => {}
    }
}
