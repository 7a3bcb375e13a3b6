//! A span between its start and its end.
//!
//! It holds what can't be read any more when the request has ended, and is consumed then, so that it
//! can't end twice.

use crate::context::SpanContext;
use crate::host::wire::{HeaderMap, Pairs};
use crate::id::SpanId;
use crate::semconv::grpc::StatusCode;
use crate::semconv::{Outcome, Request};

/// A span of a request that is kept and has not ended.
#[derive(Debug)]
pub struct StartedSpan {
    /// Its identity, as it went out to the upstream.
    pub context: SpanContext,
    /// The caller's span, if the trace was continued.
    pub parent: Option<SpanId>,
    headers: HeaderMap,
    response_headers: HeaderMap,
    rpc: Rpc,
}

/// Whether a request is an RPC, and what is known of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rpc {
    None,
    Grpc(Option<StatusCode>),
}

impl StartedSpan {
    /// The span of a request with these headers.
    #[must_use]
    pub fn new(
        context: SpanContext,
        parent: Option<SpanId>,
        headers: HeaderMap,
        protocol: RequestProtocol,
    ) -> Self {
        let rpc = match protocol {
            RequestProtocol::Http => Rpc::None,
            RequestProtocol::Grpc => Rpc::Grpc(None),
        };
        Self { context, parent, headers, response_headers: HeaderMap::default(), rpc }
    }

    /// Whether the response's `grpc-status` is wanted.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        matches!(self.rpc, Rpc::Grpc(_))
    }

    /// Notes the value of `grpc-status`, from the trailers or from a response of headers only.
    pub fn note_grpc_status(&mut self, value: &[u8]) {
        if let Rpc::Grpc(status) = &mut self.rpc {
            *status = Some(StatusCode::parse(value));
        }
    }

    /// Notes the response's headers.
    pub fn note_response_headers(&mut self, headers: HeaderMap) {
        self.response_headers = headers;
    }

    /// All that is known, now that the outcome is.
    #[must_use]
    pub fn request<'a>(&'a self, outcome: &Outcome<'a>) -> Request<'a, Pairs<'a>> {
        Request {
            headers: self.headers.pairs(),
            response_headers: self.response_headers.pairs(),
            grpc_status: match self.rpc {
                Rpc::Grpc(status) => status,
                Rpc::None => None,
            },
            outcome: *outcome,
        }
    }
}

/// What a request's headers say that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProtocol {
    /// Plain HTTP.
    Http,
    /// gRPC.
    Grpc,
}
