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

use crate::otlp::attributes::Attributes;
use crate::otlp::{SpanKind, Status};
use crate::resource::Node;
use address::HostPort;
use grpc::StatusCode;
use outcome::TrafficDirection;
use std::borrow::Cow;

/// Which attributes are written of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// For SERVER spans.
    pub server: HttpSpanConfig,
    /// For CLIENT spans.
    pub client: HttpSpanConfig,
    /// Query parameters whose values are replaced. Case-sensitive.
    pub sensitive_query_parameters: Vec<String>,
}

/// What of [`HttpConfig`] differs between the kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSpanConfig {
    /// Request headers that become attributes, lowercase.
    pub request_captured_headers: Vec<String>,
    /// Response headers that become attributes, lowercase.
    pub response_captured_headers: Vec<String>,
    /// Methods that are known; any other is `_OTHER`. Case-sensitive.
    pub known_methods: Vec<String>,
}

/// `envoy.span_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKindSetting {
    /// CLIENT on a listener whose direction is OUTBOUND, else SERVER.
    Auto,
    /// Always SERVER.
    Server,
    /// Always CLIENT.
    Client,
}

impl SpanKindSetting {
    /// The setting on this node. Istio calls the listeners of its gateways OUTBOUND, yet what they see is a request
    /// that is made to them.
    #[must_use]
    pub fn on(self, node: &Node) -> Self {
        match self {
            Self::Auto if node.is_istio_gateway() => Self::Server,
            Self::Auto | Self::Server | Self::Client => self,
        }
    }
}

/// The conventions, as configured.
#[derive(Debug)]
pub struct Conventions {
    http: HttpConfig,
    span_kind: SpanKindSetting,
}

/// All that is known of a request that has ended. Header maps are (name, value) pairs with
/// lowercase names.
#[derive(Debug)]
pub struct Request<'a, H> {
    /// Its headers.
    pub headers: H,
    /// The response's headers; empty if they were not wanted.
    pub response_headers: H,
    /// The status that a gRPC response gave.
    pub grpc_status: Option<StatusCode>,
    /// How it ended.
    pub outcome: Outcome<'a>,
}

/// What a span has beside attributes.
#[derive(Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// The method, or `HTTP` for one that isn't known; for gRPC the RPC's method.
    pub name: Cow<'a, str>,
    /// SERVER or CLIENT.
    pub kind: SpanKind,
    /// Whether it failed.
    pub status: Status,
}

impl Conventions {
    /// The conventions under this configuration.
    #[must_use]
    pub fn new(http: HttpConfig, span_kind: SpanKindSetting) -> Self {
        Self { http, span_kind }
    }

    /// Whether any response header becomes an attribute.
    #[must_use]
    pub fn want_response_headers(&self) -> bool {
        [&self.http.server, &self.http.client]
            .iter()
            .any(|config| !config.response_captured_headers.is_empty())
    }

    /// Whether a request header with this name matters to a span.
    #[must_use]
    pub fn want_request_header(&self, name: &[u8]) -> bool {
        let configs = [&self.http.server, &self.http.client];
        let mut captured = configs.iter().flat_map(|config| &config.request_captured_headers);
        RequestHeaders::NAMES.contains(&name) || captured.any(|it| it.as_bytes() == name)
    }

    /// Describes a request: its attributes are added, the rest is returned.
    pub fn describe<'a, H>(
        &self,
        request: &Request<'a, H>,
        attributes: &mut Attributes,
    ) -> Description<'a>
    where
        H: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let headers = RequestHeaders::read(request.headers.clone());
        let outcome = &request.outcome;
        let kind = self.kind(outcome.listener_direction);
        let (name, error) = if headers.is_grpc() {
            let status = request.grpc_status.unwrap_or_else(|| StatusCode::of_outcome(outcome));
            (write_grpc(kind, &headers, status, attributes), status.error_type(kind))
        } else {
            let name = self.write_http(kind, &headers, outcome, attributes);
            (name, http::error_type(kind, headers.method == b"CONNECT", outcome))
        };
        if let Some(error) = &error {
            attributes.string(http::ERROR_TYPE, error.as_bytes());
        }
        write_peer(kind, outcome, attributes);
        outcome.write(attributes);
        let config = self.of_kind(kind);
        let [of_request, of_response] = if headers.is_grpc() {
            [grpc::REQUEST_METADATA, grpc::RESPONSE_METADATA]
        } else {
            [http::REQUEST_HEADER, http::RESPONSE_HEADER]
        };
        let captured = &config.request_captured_headers;
        write_captured(of_request, captured, &request.headers, attributes);
        let captured = &config.response_captured_headers;
        write_captured(of_response, captured, &request.response_headers, attributes);
        let status = if error.is_some() { Status::Error } else { Status::Unset };
        Description { name, kind, status }
    }

    fn kind(&self, direction: TrafficDirection) -> SpanKind {
        match (self.span_kind, direction) {
            (SpanKindSetting::Client, _) | (SpanKindSetting::Auto, TrafficDirection::Outbound) => {
                SpanKind::Client
            }
            (SpanKindSetting::Server | SpanKindSetting::Auto, _) => SpanKind::Server,
        }
    }

    fn of_kind(&self, kind: SpanKind) -> &HttpSpanConfig {
        match kind {
            SpanKind::Server => &self.http.server,
            SpanKind::Client => &self.http.client,
        }
    }

    /// Writes the exchange and gives the span's name.
    fn write_http<'a>(
        &self,
        kind: SpanKind,
        headers: &RequestHeaders<'a>,
        outcome: &Outcome<'_>,
        attributes: &mut Attributes,
    ) -> Cow<'a, str> {
        let name = method::write(headers.method, &self.of_kind(kind).known_methods, attributes);
        self.write_url(kind, headers, attributes);
        if let Some(code) = outcome.response_code {
            attributes.int(http::RESPONSE_STATUS_CODE, i64::from(code));
        }
        match kind {
            SpanKind::Server => {
                let peer = HostPort::of_socket(outcome.source_address).host;
                let client = headers.client_address().unwrap_or(peer);
                put(attributes, http::CLIENT_ADDRESS, client);
                let version = http::protocol_version(outcome.protocol);
                put(attributes, http::NETWORK_PROTOCOL_VERSION, version);
            }
            SpanKind::Client if outcome.request_attempt_count > 1 => {
                let resends = outcome.request_attempt_count.saturating_sub(1);
                attributes.int(http::REQUEST_RESEND_COUNT, i64::from(resends));
            }
            SpanKind::Client => {}
        }
        name
    }

    fn write_url(&self, kind: SpanKind, headers: &RequestHeaders<'_>, attributes: &mut Attributes) {
        let (path, query) = headers.path_and_query();
        let query =
            query.map(|query| redaction::query(query, &self.http.sensitive_query_parameters));
        match kind {
            SpanKind::Server => {
                put(attributes, http::URL_SCHEME, headers.original_scheme());
                put(attributes, http::URL_PATH, path);
                if let Some(query) = query {
                    attributes.string(http::URL_QUERY, &query);
                }
                put(attributes, http::USER_AGENT_ORIGINAL, headers.user_agent);
                write_server(headers.original_server(), attributes);
            }
            // A request that Envoy could not read has no URL.
            SpanKind::Client if headers.authority.is_empty() || headers.scheme.is_empty() => {}
            SpanKind::Client => {
                let scheme = headers.scheme;
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

/// Writes the RPC and gives the span's name.
fn write_grpc<'a>(
    kind: SpanKind,
    headers: &RequestHeaders<'a>,
    status: StatusCode,
    attributes: &mut Attributes,
) -> Cow<'a, str> {
    let method = headers.grpc_method();
    attributes.string(grpc::RPC_SYSTEM_NAME, b"grpc");
    attributes.string(grpc::RPC_METHOD, method);
    let server = match kind {
        SpanKind::Server => headers.original_server(),
        SpanKind::Client => HostPort::parse(headers.authority),
    };
    write_server(server, attributes);
    attributes.string(grpc::RPC_RESPONSE_STATUS_CODE, status.name().as_bytes());
    String::from_utf8_lossy(method)
}

/// The peer is who is at the other end of the span's connection: the caller of a server, the
/// upstream of a client.
fn write_peer(kind: SpanKind, outcome: &Outcome<'_>, attributes: &mut Attributes) {
    let peer = HostPort::of_socket(match kind {
        SpanKind::Server => outcome.source_address,
        SpanKind::Client => outcome.upstream_address,
    });
    put(attributes, http::NETWORK_PEER_ADDRESS, peer.host);
    // A proxy that trusts X-Forwarded-For knows the client's address, but not its port.
    if let Some(port) = peer.port.filter(|port| *port != 0) {
        attributes.int(http::NETWORK_PEER_PORT, i64::from(port));
    }
}
