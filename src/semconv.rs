//! What a request looks like in OpenTelemetry's words.
//!
//! [`Facts`] say what a request was; a file for each convention names them. Where facts come from is the host's part;
//! how attributes are encoded is `otlp`'s.

pub mod address;
pub mod baggage;
pub mod configured;
pub mod envoy;
pub mod error;
pub mod facts;
pub mod forwarded;
pub mod grpc;
pub mod held;
mod legacy;
pub mod name;
pub mod opt_in;
pub mod redaction;
pub mod request;
pub mod route;
mod stable;
pub mod start;
pub mod target;
pub mod telemetry;
pub mod value;

pub use facts::Facts;
pub use request::{RequestHeaders, RequestProtocol};
pub use telemetry::TelemetryExports;

use crate::envoy::connections::TrafficDirection;
use crate::envoy::node::{LocalInfo, Node};
use crate::otlp::attributes::Attributes;
use crate::otlp::{SpanKind, SpanStatus};
use configured::ConfiguredAttribute;
use name::SpanName;
use route::Routes;
use std::borrow::Cow;
use std::rc::Rc;

/// Which attributes are written of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// For SERVER spans.
    pub server: HttpSpanConfig,
    /// For CLIENT spans.
    pub client: HttpSpanConfig,
    /// Query parameters whose values are replaced. Case-sensitive.
    pub sensitive_query_parameters: Vec<String>,
    /// What a span is called that has all attributes in it.
    pub span_name: Option<SpanName>,
}

impl HttpConfig {
    fn of(&self, kind: SpanKind) -> &HttpSpanConfig {
        match kind {
            SpanKind::Server => &self.server,
            SpanKind::Client => &self.client,
        }
    }
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

/// `envoy.semconv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Semconv {
    /// OpenTelemetry's stable names.
    Stable,
    /// Both, with the name and the status that the stable ones give a span.
    StableAndLegacy,
    /// Those of Envoy's own tracer.
    Legacy,
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
    /// SERVER, and CLIENT below it where an upstream is asked.
    ServerAndClient,
}

impl SpanKindSetting {
    /// The setting on this node. Istio calls the listeners of its gateways OUTBOUND, yet what they see is a request
    /// that is made to them.
    #[must_use]
    pub fn on(self, node: &Node) -> Self {
        match self {
            Self::Auto if node.is_istio_gateway() => Self::Server,
            _ => self,
        }
    }

    /// How many spans a request may become.
    #[must_use]
    pub fn most_spans(self) -> u32 {
        if self == Self::ServerAndClient { 2 } else { 1 }
    }

    /// The kind of a span behind a listener of this direction; of two spans, of the first.
    #[must_use]
    pub fn kind(self, direction: TrafficDirection) -> SpanKind {
        match (self, direction) {
            (Self::Client, _) | (Self::Auto, TrafficDirection::Outbound) => SpanKind::Client,
            (Self::Server | Self::Auto | Self::ServerAndClient, _) => SpanKind::Server,
        }
    }
}

/// The methods that are known unless the configuration says otherwise: RFC 9110, PATCH of RFC 5789
/// and QUERY.
pub const KNOWN_METHODS: &[&str] =
    &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY"];

/// The conventions, as configured.
#[derive(Debug)]
pub struct Conventions {
    http: HttpConfig,
    routes: Rc<Routes>,
    semconv: Semconv,
    node: LocalInfo,
    attributes: Vec<ConfiguredAttribute>,
}

/// What a span has beside attributes.
#[derive(Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// The method, or `HTTP` for one that isn't known, and the route if there is one; for gRPC the RPC's method, or `grpc`; or as
    /// configured. At most 256 characters.
    pub name: Cow<'a, str>,
    /// Whether it failed.
    pub status: SpanStatus,
}

impl Conventions {
    /// The conventions under this configuration.
    #[must_use]
    pub fn new(http: HttpConfig, routes: Rc<Routes>) -> Self {
        Self {
            http,
            routes,
            semconv: Semconv::Stable,
            node: LocalInfo::default(),
            attributes: Vec::new(),
        }
    }

    /// The same, with these names.
    #[must_use]
    pub fn named(self, semconv: Semconv) -> Self {
        Self { semconv, ..self }
    }

    /// Takes from the node that they are for what they say of it.
    pub fn take_node(&mut self, node: &mut Node) {
        node.swap_local(&mut self.node);
    }

    /// The same, and spans have these attributes, too.
    #[must_use]
    pub fn with(self, attributes: Vec<ConfiguredAttribute>) -> Self {
        Self { attributes, ..self }
    }

    /// The attributes that spans have beside those of each.
    #[must_use]
    pub fn attributes(&self) -> &[ConfiguredAttribute] {
        &self.attributes
    }

    /// What gives requests their routes.
    #[must_use]
    pub fn routes(&self) -> Rc<Routes> {
        Rc::clone(&self.routes)
    }

    /// The request headers that matter to a span.
    pub fn request_headers(&self) -> impl Iterator<Item = &str> {
        let configs = [&self.http.server, &self.http.client].into_iter();
        let captured = configs.flat_map(|config| &config.request_captured_headers);
        let legacy: &[&str] = match self.semconv {
            Semconv::Stable => &[],
            Semconv::StableAndLegacy | Semconv::Legacy => &legacy::HEADERS,
        };
        let wanted = self.attributes.iter().filter_map(ConfiguredAttribute::request_header);
        let names = RequestHeaders::NAMES.into_iter().chain([RequestProtocol::CONNECT_VERSION]);
        let names = names.chain(legacy.iter().copied()).chain(captured.map(String::as_str));
        names.chain(wanted)
    }

    /// What has to be held of a header's value whose attributes have at most so many bytes each: see [`held::value`]. Of a path that was cut,
    /// the route could be another one.
    #[must_use]
    pub fn held<'a>(&self, name: &[u8], value: &'a [u8], limit: usize) -> Cow<'a, [u8]> {
        if !self.routes.is_empty() && name == b":path" {
            return Cow::Borrowed(value);
        }
        held::value(name, value, &self.http.sensitive_query_parameters, limit)
    }

    /// The response headers that matter to a span.
    pub fn response_headers(&self) -> impl Iterator<Item = &str> {
        let configs = [&self.http.server, &self.http.client].into_iter();
        let captured = configs.flat_map(|config| &config.response_captured_headers);
        let wanted = self.attributes.iter().filter_map(ConfiguredAttribute::response_header);
        captured.map(String::as_str).chain(wanted)
    }

    /// Describes one side of a request, or one that is open: its attributes are added, the rest is returned.
    pub fn describe<'a>(
        &self,
        kind: SpanKind,
        facts: &Facts<'a>,
        attributes: &mut Attributes,
    ) -> Description<'a> {
        let Self { http, node, .. } = self;
        let mut description = if self.semconv == Semconv::Legacy {
            stable::write_captured(kind, facts, http, attributes);
            legacy::describe(kind, facts, http, node, attributes)
        } else {
            stable::describe(kind, facts, http, attributes)
        };
        if self.semconv == Semconv::StableAndLegacy {
            legacy::write(facts, http, node, attributes);
        }
        if facts.is_open {
            attributes.string(envoy::STREAM_STATE, b"open");
            description.name = [description.name.as_ref(), " (open)"].concat().into();
        }
        let mut place = usize::from(kind == SpanKind::Client);
        for attribute in &self.attributes {
            let told = facts.told.get(place).map_or(&[][..], Vec::as_slice);
            attribute.write(kind, facts, told, attributes);
            place += 2;
        }
        description
    }
}

/// Writes a text, unless there is none.
fn put(attributes: &mut Attributes, key: &str, value: &[u8]) {
    if !value.is_empty() {
        attributes.string(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semconv::route::{RouteNames, Template};

    #[test]
    fn the_kind_follows_the_listener_unless_the_node_is_a_gateway() {
        use SpanKindSetting::{Auto, Client, Server, ServerAndClient};
        use TrafficDirection::{Inbound, Outbound, Unspecified};
        const GATEWAY: &str = "router~10.0.0.1~gateway.istio-system~cluster.local";
        const SIDECAR: &str = "sidecar~10.0.0.1~cart.shop~cluster.local";
        let cases = [
            (Auto, SIDECAR, Outbound, SpanKind::Client, "the call of a workload"),
            (Auto, SIDECAR, Inbound, SpanKind::Server, "a call to a workload"),
            (Auto, SIDECAR, Unspecified, SpanKind::Server, "no direction"),
            (Auto, "edge", Outbound, SpanKind::Client, "no mesh"),
            (Auto, GATEWAY, Outbound, SpanKind::Server, "what a gateway sees is made to it"),
            (Client, GATEWAY, Inbound, SpanKind::Client, "said so"),
            (Client, SIDECAR, Inbound, SpanKind::Client, "said so"),
            (Server, SIDECAR, Outbound, SpanKind::Server, "said so"),
            (ServerAndClient, SIDECAR, Outbound, SpanKind::Server, "the first of two"),
        ];
        for (setting, id, direction, expected, reason) in cases {
            let node = Node::of(&[("xds/node/id", id)]);
            assert_eq!(setting.on(&node).kind(direction), expected, "{reason}: {setting:?} {id}");
        }
    }

    #[test]
    fn a_path_is_held_whole_where_it_has_to_be_matched() {
        let of_kind = || HttpSpanConfig {
            request_captured_headers: Vec::new(),
            response_captured_headers: Vec::new(),
            known_methods: Vec::new(),
        };
        let http = || HttpConfig {
            server: of_kind(),
            client: of_kind(),
            sensitive_query_parameters: Vec::new(),
            span_name: None,
        };
        let template = Template::parse("/{a}/b", Vec::new()).expect("a template");
        let routes = Routes::new(vec![template], RouteNames::Names).expect("one");
        let path = format!("/{}/b", "a".repeat(2000));
        let cases =
            [(routes, path.len(), "with templates"), (Routes::default(), 1024, "without any")];
        for (routes, expected, reason) in cases {
            let conventions = Conventions::new(http(), Rc::new(routes));
            let held = |name: &str| conventions.held(name.as_bytes(), path.as_bytes(), 5).len();
            assert_eq!((held(":path"), held("user-agent")), (expected, 1024), "{reason}");
        }
    }
}
