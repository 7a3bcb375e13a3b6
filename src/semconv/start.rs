//! The attributes of a request that are known when it starts, by name: what rules look at.
//!
//! They are those of a SERVER span, whatever kind the request's span has. What is looked for is not known here.

use super::address::HostPort;
use super::request::{RequestHeaders, RequestProtocol};
use super::route::Routes;
use crate::envoy::attributes::Detail;
use crate::envoy::connections::{PROTOCOL, SOURCE_ADDRESS};
use crate::envoy::headers::Headers;

/// What `http.request.header.NAME` begins with.
const HEADER: &str = "http.request.header.";

/// An attribute that is known at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAttribute {
    /// One of those with a fixed name.
    Known(Known),
    /// `http.request.header.NAME`, the name in lowercase.
    Header(Box<str>),
}

/// An attribute with a fixed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// `client.address`.
    ClientAddress,
    /// `envoy.route_name`.
    RouteName,
    /// `http.request.method`, as it came.
    Method,
    /// `http.route`, by the templates of `envoy.routes`.
    Route,
    /// `network.peer.address`.
    PeerAddress,
    /// `network.protocol.version`.
    ProtocolVersion,
    /// `rpc.method`.
    RpcMethod,
    /// `server.address`.
    ServerAddress,
    /// `server.port`.
    ServerPort,
    /// `url.path`.
    Path,
    /// `url.query`.
    Query,
    /// `url.scheme`.
    Scheme,
    /// `user_agent.original`.
    UserAgent,
}

/// The names, in the order of the alphabet.
pub const NAMES: [(&str, Known); 13] = [
    ("client.address", Known::ClientAddress),
    ("envoy.route_name", Known::RouteName),
    ("http.request.method", Known::Method),
    ("http.route", Known::Route),
    ("network.peer.address", Known::PeerAddress),
    ("network.protocol.version", Known::ProtocolVersion),
    ("rpc.method", Known::RpcMethod),
    ("server.address", Known::ServerAddress),
    ("server.port", Known::ServerPort),
    ("url.path", Known::Path),
    ("url.query", Known::Query),
    ("url.scheme", Known::Scheme),
    ("user_agent.original", Known::UserAgent),
];

/// What is known of how a request started.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartingRequest<'a> {
    /// Its headers, and those of them that the conventions ask for, if they were needed.
    pub headers: Option<(&'a Headers, &'a RequestHeaders<'a>)>,
    /// Envoy's attributes that were asked for; a value is empty where there is none.
    pub attributes: &'a [(&'static str, Vec<u8>)],
    /// The templates of routes, if there are any.
    pub routes: Option<&'a Routes>,
}

impl StartAttribute {
    /// The attribute of this name, if it is known at the start. Headers are named in lowercase.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(header) = name.strip_prefix(HEADER) {
            let is_name = !header.is_empty()
                && header.bytes().all(|it| it.is_ascii_graphic() && !it.is_ascii_uppercase());
            return is_name.then(|| Self::Header(header.into()));
        }
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, known)| Self::Known(*known))
    }

    /// The header that it is, if it is one.
    #[must_use]
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Known(_) => None,
        }
    }

    /// Envoy's attribute that has to be asked for, if one has.
    #[must_use]
    pub fn needed(&self) -> Option<&'static str> {
        match self {
            Self::Known(Known::ClientAddress | Known::PeerAddress) => Some(SOURCE_ADDRESS),
            Self::Known(Known::ProtocolVersion) => Some(PROTOCOL),
            Self::Known(Known::RouteName) => Some(Detail::RouteName.attribute()),
            Self::Known(_) | Self::Header(_) => None,
        }
    }

    /// Whether any of its values passes a test. One that is absent has none; a header has as many as came.
    #[must_use]
    pub fn any(&self, of: &StartingRequest<'_>, test: &dyn Fn(&[u8]) -> bool) -> bool {
        let Some((headers, request)) = of.headers else { return false };
        match self {
            Self::Header(name) => headers.all(name).any(test),
            Self::Known(known) => known.value(of, headers, request, test),
        }
    }
}

impl Known {
    /// Whether its value passes a test.
    fn value(
        self,
        of: &StartingRequest<'_>,
        headers: &Headers,
        request: &RequestHeaders<'_>,
        test: &dyn Fn(&[u8]) -> bool,
    ) -> bool {
        let is = |value: &[u8]| !value.is_empty() && test(value);
        match self {
            Self::Method => is(request.method),
            Self::Path => is(request.path),
            Self::Route => {
                let route = of.routes.and_then(|it| it.matched(request.method, request.path));
                route.is_some_and(|route| is(route.as_bytes()))
            }
            Self::Query => request.query.is_some_and(is),
            Self::UserAgent => is(request.user_agent),
            Self::Scheme | Self::ServerAddress | Self::ServerPort => {
                let original = request.original(&request.forwarded());
                match (self, original.server()) {
                    (Self::Scheme, _) => is(&original.scheme),
                    (Self::ServerAddress, server) => is(server.host),
                    (_, server) => server.port.is_some_and(|port| is(port.to_string().as_bytes())),
                }
            }
            Self::ClientAddress => match request.client_address(&request.forwarded()) {
                Some(told) => is(&told),
                None => is(of.source().host),
            },
            Self::PeerAddress => is(of.source().unless_forwarded().host),
            Self::RpcMethod => {
                let protocol = request.protocol(RequestProtocol::of(headers));
                request.rpc_method(protocol).is_some_and(is)
            }
            Self::ProtocolVersion => of.envoys(PROTOCOL).strip_prefix(b"HTTP/").is_some_and(is),
            Self::RouteName => is(of.envoys(Detail::RouteName.attribute())),
        }
    }
}

impl<'a> StartingRequest<'a> {
    /// The value of one of Envoy's attributes; empty if it was not asked for.
    #[must_use]
    pub fn envoys(&self, name: &str) -> &'a [u8] {
        let found = self.attributes.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_slice()).unwrap_or_default()
    }

    fn source(&self) -> HostPort<'a> {
        HostPort::of_socket(self.envoys(SOURCE_ADDRESS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::wire::HeaderMap;
    use crate::semconv::route::{RouteNames, Template};

    const HEADERS: [(&str, &str); 9] = [
        (":method", "POST"),
        (":path", "/shop.Cart/Get?a=b"),
        (":authority", "shop.example:8080"),
        (":scheme", "http"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go"),
        ("x-forwarded-for", "10.0.0.7"),
        ("x-tenant", "a"),
        ("x-tenant", "b"),
    ];

    fn values(name: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let attribute = StartAttribute::parse(name).expect(name);
        let names = headers.iter().map(|(name, _)| *name).collect();
        let headers = Headers::select(HeaderMap::of(headers), &names);
        let request = RequestHeaders::read(headers.iter());
        let attributes = attribute.needed().map(|name| {
            let value = match name {
                SOURCE_ADDRESS => "10.0.0.1:4000",
                PROTOCOL => "HTTP/2",
                _ => "cart",
            };
            (name, value.into())
        });
        let attributes: Vec<_> = attributes.into_iter().collect();
        let template = Template::parse("/{service}/Get", Vec::new()).expect("a template");
        let routes = Routes::new(vec![template], RouteNames::Names).expect("one");
        let of = StartingRequest {
            headers: Some((&headers, &request)),
            attributes: &attributes,
            routes: Some(&routes),
        };
        let seen = std::cell::RefCell::new(Vec::new());
        let passes = attribute.any(&of, &|value| {
            seen.borrow_mut().push(String::from_utf8_lossy(value).into_owned());
            false
        });
        assert!(!passes, "no value has passed");
        seen.into_inner()
    }

    #[test]
    fn each_name_has_its_value() {
        let cases: &[(&str, &[&str])] = &[
            ("client.address", &["10.0.0.7"]),
            ("envoy.route_name", &["cart"]),
            ("http.request.method", &["POST"]),
            ("http.route", &["/{service}/Get"]),
            ("network.peer.address", &["10.0.0.1"]),
            ("network.protocol.version", &["2"]),
            ("rpc.method", &["shop.Cart/Get"]),
            ("server.address", &["shop.example"]),
            ("server.port", &["8080"]),
            ("url.path", &["/shop.Cart/Get"]),
            ("url.query", &["a=b"]),
            ("url.scheme", &["http"]),
            ("user_agent.original", &["grpc-go"]),
            ("http.request.header.x-tenant", &["a", "b"]),
            ("http.request.header.absent", &[]),
        ];
        for (name, expected) in cases {
            assert_eq!(values(name, &HEADERS), *expected, "{name}");
        }
        for (name, _) in NAMES {
            assert!(cases.iter().any(|(known, _)| *known == name), "{name} is a case");
        }
    }

    #[test]
    fn what_is_absent_has_no_value() {
        for (name, expected) in [
            ("client.address", vec!["10.0.0.1"]),
            ("rpc.method", vec![]),
            ("server.address", vec![]),
            ("server.port", vec![]),
            ("url.query", vec![]),
            ("user_agent.original", vec![]),
            ("http.request.method", vec![]),
            ("http.route", vec![]),
        ] {
            assert_eq!(values(name, &[]), expected, "{name}");
        }
    }

    #[test]
    fn other_names_are_none() {
        for name in [
            "",
            "http.response.status_code",
            "url.full",
            "URL.path",
            "http.request.header.",
            "http.request.header.X-Tenant",
            "http.request.header.a b",
        ] {
            assert_eq!(StartAttribute::parse(name), None, "{name}");
        }
    }
}
