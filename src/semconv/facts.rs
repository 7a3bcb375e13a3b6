//! What a request was, once it has ended: read once from its headers and its outcome.
//!
//! How a convention calls these facts is not here, nor what of them counts as an error.

use super::address::{HostPort, Origin};
use super::grpc::StatusCode;
use super::request::{RequestHeaders, RequestProtocol};
use super::route::Routes;
use crate::envoy::attributes::Outcome;
use crate::envoy::headers::Headers;
use crate::otlp::SpanKind;
use std::borrow::Cow;

/// What a request was. Texts are empty where nothing is known.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The method, as it came.
    pub method: &'a [u8],
    /// The path, without the query; `*` if it is for the server as a whole.
    pub path: &'a [u8],
    /// The query, without its question mark.
    pub query: Option<&'a [u8]>,
    /// The template that the path matches. None of a call, whose method says as much.
    pub route: Option<&'a str>,
    /// Where the caller's request was for.
    pub original: Origin<'a>,
    /// Where the request goes on to.
    pub called: Origin<'a>,
    /// The original client.
    pub client: Cow<'a, [u8]>,
    /// `user-agent`.
    pub user_agent: &'a [u8],
    /// The other end of the connection that the request came over, if Envoy tells.
    pub downstream: HostPort<'a>,
    /// The other end of the connection that it went on over.
    pub upstream: HostPort<'a>,
    /// The version of HTTP that it came in, such as `1.1`.
    pub protocol_version: &'a [u8],
    /// The response's status, if there was a response.
    pub status: Option<u16>,
    /// The call, if the request is one of gRPC, gRPC-Web or Connect.
    pub rpc: Option<Rpc<'a>>,
    /// What the response's `grpc-status` said, if it was looked for.
    pub grpc_status: Option<StatusCode>,
    /// What cut it off, if anything did: Envoy's word for it, mostly a response flag.
    pub interruption: Option<&'static str>,
    /// What Envoy knows beside.
    pub outcome: Outcome<'a>,
    /// Its headers that were asked for.
    pub request_headers: &'a Headers,
    /// The response's headers that were asked for.
    pub response_headers: &'a Headers,
    /// Whether one span tells of both of its sides.
    pub sides: Sides,
    /// Whether it has not ended: how it will is not known.
    pub is_open: bool,
    /// What was asked for each of [`super::Conventions::attributes`]: for a SERVER span, and for a CLIENT span.
    pub told: &'a [Vec<u8>],
}

/// The sides of a request: that to its caller, and that to its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// One span tells of both.
    Together,
    /// Each has a span.
    Apart,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc<'a> {
    /// By what means.
    pub system: RpcSystem,
    /// What was called.
    pub method: Method<'a>,
    /// How it ended; none where the body alone says it, of Connect and of gRPC-Web.
    pub status: Option<StatusCode>,
}

impl<'a> Rpc<'a> {
    /// Reads a call.
    #[inline(never)] // Most requests are none.
    fn read(
        protocol: RequestProtocol,
        request: &RequestHeaders<'a>,
        grpc_status: Option<StatusCode>,
        outcome: &Outcome<'_>,
    ) -> Self {
        let code = outcome.response_code;
        let is_in_body = protocol == RequestProtocol::GrpcWeb
            && code == Some(200)
            && outcome.interruption().is_none();
        let (system, method, status, is_unknown) = if protocol == RequestProtocol::Connect {
            let method = request.rpc_method(protocol);
            (RpcSystem::Connect, method, None, matches!(code, Some(404 | 501)))
        } else {
            // It may have been cut.
            let method = request.path.strip_prefix(b"/");
            let made = || StatusCode::of_outcome(outcome);
            let status = grpc_status.or_else(|| (!is_in_body).then(made));
            (RpcSystem::Grpc, method, status, status == Some(StatusCode::UNIMPLEMENTED))
        };
        let method = method.unwrap_or_default();
        let is_unknown = is_unknown || outcome.response_flags.has_no_route();
        let method = if is_unknown { Method::Other(method) } else { Method::Known(method) };
        Self { system, method, status }
    }
}

/// The systems of calls that the conventions know, and a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcSystem {
    /// gRPC, over HTTP/2 or as gRPC-Web.
    Grpc,
    /// Connect.
    Connect,
}

impl RpcSystem {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Grpc => b"grpc",
            Self::Connect => b"connectrpc",
        }
    }
}

/// The method of an RPC, `package.Service/Method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// One that there is, as far as can be known.
    Known(&'a [u8]),
    /// One that nobody has: it was answered `UNIMPLEMENTED` (of Connect, 404 or 501), or has no route. Whoever calls can make up as many as they like.
    Other(&'a [u8]),
}

impl<'a> Facts<'a> {
    /// Reads a request that has ended. `protocol` is what it was when it started, since its headers may have been cut; `grpc_status` is what the
    /// response of a gRPC request said.
    #[must_use]
    pub fn read(
        protocol: RequestProtocol,
        request_headers: &'a Headers,
        response_headers: &'a Headers,
        grpc_status: Option<StatusCode>,
        outcome: Outcome<'a>,
    ) -> Self {
        let request = RequestHeaders::read(request_headers.iter());
        let forwarded = request.forwarded();
        let source = HostPort::of_socket(outcome.source_address);
        let client = request.client_address(&forwarded).unwrap_or(Cow::Borrowed(source.host));
        let protocol = request.protocol(protocol);
        let rpc = (protocol != RequestProtocol::Http)
            .then(|| Rpc::read(protocol, &request, grpc_status, &outcome));
        Self {
            method: request.method,
            path: request.path,
            query: request.query,
            route: None,
            original: request.original(&forwarded),
            called: request.called(),
            client,
            user_agent: request.user_agent,
            // Where Envoy trusts X-Forwarded-For, it has the client's address in place of the peer's.
            downstream: source.unless_forwarded(),
            upstream: HostPort::of_socket(outcome.upstream_address),
            protocol_version: outcome.protocol.strip_prefix(b"HTTP/").unwrap_or_default(),
            status: outcome.response_code,
            rpc,
            grpc_status,
            interruption: outcome.interruption(),
            outcome,
            request_headers,
            response_headers,
            sides: Sides::Together,
            is_open: false,
            told: &[],
        }
    }

    /// The same, and its route is one of these.
    #[must_use]
    pub fn routed(mut self, routes: &'a Routes) -> Self {
        if self.rpc.is_none() {
            self.route = routes.of(self.method, self.path, self.outcome.route_name);
        }
        self
    }

    /// Whether this is a call that its own caller cancelled: to a CLIENT span that is no error (semantic conventions
    /// 1.44.0, HTTP spans, section Status). Nor is an attempt of the router an error, whatever is asked, that another one has made needless.
    #[must_use]
    pub fn is_cancelled(&self, kind: SpanKind) -> bool {
        kind == SpanKind::Client && self.outcome.left_by_caller() || self.outcome.is_superseded()
    }
}
