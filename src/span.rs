//! A span between its start and its end.
//!
//! It holds what can't be read any more when the request has ended, and is consumed then, so that it
//! can't end twice.

use crate::context::{SpanContext, TraceState};
use crate::envoy::attributes::Outcome;
use crate::envoy::headers::Headers;
use crate::id::SpanId;
use crate::otlp::{Link, Parent, SpanKind};
use crate::semconv::Facts;
use crate::semconv::grpc::StatusCode;
use crate::semconv::request::RequestProtocol;
use std::time::Duration;

/// A span, or two, of a request that has not ended.
#[derive(Debug)]
pub struct OpenSpan {
    identity: Identity,
    /// The caller's span, if the trace was continued.
    parent: Option<SpanId>,
    /// When it was seen to begin; none of a request that ended before.
    start: Option<Start>,
    links: Vec<Link>,
    sampling: Sampling,
    headers: Headers,
    response_headers: Headers,
    /// Attributes that it will lack, since they were not held.
    dropped_attributes: u32,
    rpc: Rpc,
}

/// When a request was seen to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Since the Unix epoch.
    pub unix: Duration,
    /// Since the fixed moment of the clock that will say when it ends.
    pub at: Duration,
}

/// Who a request is in its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// One span: the upstream gets its context.
    One(SpanContext),
    /// A SERVER span, and a CLIENT span below it: the upstream gets the context of that one.
    ServerAndClient {
        /// Of the SERVER span.
        server: SpanContext,
        /// Of the CLIENT span.
        client: SpanContext,
    },
}

/// Whether it is certain that a span is kept.
#[derive(Debug)]
pub enum Sampling {
    /// It is.
    Kept,
    /// That is decided when the request has ended, with what came.
    Undecided(Option<Box<SpanContext>>),
}

/// One of the spans of a request: its kind, its context, and the span above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// SERVER or CLIENT.
    pub kind: SpanKind,
    /// Its identity.
    pub context: &'a SpanContext,
    /// The span above it.
    pub parent: Option<Parent>,
}

/// Whether a request is an RPC, and what is known of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rpc {
    None,
    Grpc(Option<StatusCode>),
}

impl OpenSpan {
    /// The span of a request with these headers. `parent` is the caller's span.
    #[must_use]
    pub fn new(
        identity: Identity,
        parent: Option<SpanId>,
        sampling: Sampling,
        headers: Headers,
        protocol: RequestProtocol,
    ) -> Self {
        let rpc = match protocol {
            RequestProtocol::Http => Rpc::None,
            RequestProtocol::Grpc => Rpc::Grpc(None),
        };
        Self {
            identity,
            parent,
            start: None,
            links: Vec::new(),
            sampling,
            headers,
            response_headers: Headers::default(),
            dropped_attributes: 0,
            rpc,
        }
    }

    /// The bytes that it holds until it ends.
    #[must_use]
    pub fn size(&self) -> usize {
        let context = |context: &SpanContext| context.trace_state.as_str().len();
        let identity = match &self.identity {
            Identity::One(one) => context(one),
            Identity::ServerAndClient { server, client } => context(server) + context(client),
        };
        let undecided = match &self.sampling {
            Sampling::Undecided(Some(parent)) => size_of::<SpanContext>() + context(parent),
            Sampling::Undecided(None) | Sampling::Kept => 0,
        };
        let links = self.links.iter().map(|link| size_of::<Link>() + context(&link.context));
        size_of::<Self>()
            + identity
            + undecided
            + links.sum::<usize>()
            + self.headers.size()
            + self.response_headers.size()
    }

    /// The same, and it was seen to begin then.
    #[must_use]
    pub fn started(self, start: Start) -> Self {
        Self { start: Some(start), ..self }
    }

    /// When it was seen to begin.
    #[must_use]
    pub fn start(&self) -> Option<Start> {
        self.start
    }

    /// The same, and it has to do with these.
    #[must_use]
    pub fn linked(self, links: Vec<Link>) -> Self {
        Self { links, ..self }
    }

    /// The context that the upstream gets.
    #[must_use]
    pub fn context(&self) -> &SpanContext {
        match &self.identity {
            Identity::One(context) | Identity::ServerAndClient { client: context, .. } => context,
        }
    }

    /// Whether it is certain that it is kept.
    #[must_use]
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Notes that it is kept, and the tracestate that says with which probability.
    pub fn keep(&mut self, trace_state: TraceState) {
        self.sampling = Sampling::Kept;
        match &mut self.identity {
            Identity::One(context) => context.trace_state = trace_state,
            Identity::ServerAndClient { server, client } => {
                server.trace_state = trace_state.clone();
                client.trace_state = trace_state;
            }
        }
    }

    /// How many spans it becomes.
    #[must_use]
    pub fn spans(&self) -> usize {
        match self.identity {
            Identity::One(_) => 1,
            Identity::ServerAndClient { .. } => 2,
        }
    }

    /// The spans that it becomes. `kind` is that of a single one.
    pub fn parts(&self, kind: SpanKind) -> impl Iterator<Item = Part<'_>> {
        let parent = self.parent.map(Parent::Remote);
        let (first, second) = match &self.identity {
            Identity::One(context) => (Part { kind, context, parent }, None),
            Identity::ServerAndClient { server, client } => {
                let above = Some(Parent::Local(server.span_id));
                let client = Part { kind: SpanKind::Client, context: client, parent: above };
                (Part { kind: SpanKind::Server, context: server, parent }, Some(client))
            }
        };
        std::iter::once(first).chain(second)
    }

    /// What it has to do with beside its parent.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether the response's `grpc-status` is wanted.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        matches!(self.rpc, Rpc::Grpc(_))
    }

    /// Whether it is a gRPC call that, as far as is known, did not succeed.
    #[must_use]
    pub fn is_failed_call(&self) -> bool {
        matches!(self.rpc, Rpc::Grpc(status) if status != Some(StatusCode::OK))
    }

    /// Notes the value of `grpc-status`, from the trailers or from a response of headers only.
    pub fn note_grpc_status(&mut self, value: &[u8]) {
        if let Rpc::Grpc(status) = &mut self.rpc {
            *status = Some(StatusCode::parse(value));
        }
    }

    /// Notes the response's headers.
    pub fn note_response_headers(&mut self, headers: Headers) {
        self.response_headers = headers;
    }

    /// Notes that so many attributes will be missing.
    pub fn note_dropped(&mut self, attributes: usize) {
        let attributes = u32::try_from(attributes).unwrap_or(u32::MAX);
        self.dropped_attributes = self.dropped_attributes.saturating_add(attributes);
    }

    /// How many attributes are missing.
    #[must_use]
    pub fn dropped_attributes(&self) -> u32 {
        self.dropped_attributes
    }

    /// All that is known, now that the outcome is.
    #[must_use]
    pub fn facts<'a>(&'a self, outcome: Outcome<'a>) -> Facts<'a> {
        let (protocol, grpc_status) = match self.rpc {
            Rpc::Grpc(status) => (RequestProtocol::Grpc, status),
            Rpc::None => (RequestProtocol::Http, None),
        };
        Facts::read(protocol, &self.headers, &self.response_headers, grpc_status, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TraceFlags;
    use crate::id::TraceId;
    use std::borrow::Cow;

    /// A context that holds so many bytes.
    fn context(held: usize) -> SpanContext {
        let value = "v".repeat(held.saturating_sub(2));
        SpanContext {
            trace_id: TraceId::from_bytes([1; 16]).expect("not zero"),
            span_id: SpanId::from_bytes([2; 8]).expect("not zero"),
            flags: TraceFlags::new_trace(),
            trace_state: TraceState::parse(format!("k={value}").as_bytes()).expect("valid"),
        }
    }

    fn headers(value: usize) -> Headers {
        let mut headers = Headers::default();
        headers.add(b"name", &vec![b'v'; value]);
        headers.hold(|_, value| Some(Cow::Borrowed(value)))
    }

    #[test]
    fn all_that_is_held_is_in_its_size() {
        use Sampling::{Kept, Undecided};
        let open = |identity, sampling, held| {
            OpenSpan::new(identity, None, sampling, held, RequestProtocol::Http).size()
        };
        let one = |held| Identity::One(context(held));
        let two = |server, client| Identity::ServerAndClient {
            server: context(server),
            client: context(client),
        };
        let parent = |held| Undecided(Some(Box::new(context(held))));
        let none = Headers::default;
        let base = size_of::<OpenSpan>();
        let cases = [
            (open(one(100), Kept, none()), 100, "a tracestate"),
            (open(two(100, 23), Kept, none()), 123, "two"),
            (open(one(100), Undecided(None), none()), 100, "it started here"),
            (
                open(one(100), parent(30), none()),
                130 + size_of::<SpanContext>(),
                "the context that came",
            ),
            (open(one(100), Kept, headers(50)), 100 + headers(50).size(), "headers"),
        ];
        for (size, expected, reason) in cases {
            assert_eq!(size, base + expected, "{reason}");
        }
        let mut span = OpenSpan::new(one(100), None, Kept, headers(50), RequestProtocol::Http);
        let links = [40, 50].map(|held| Link { context: context(held) });
        span = span.linked(links.into());
        span.note_response_headers(headers(60));
        let expected = 190 + 2 * size_of::<Link>() + headers(50).size() + headers(60).size();
        assert_eq!(span.size(), base + expected, "links, and the response's headers");
    }

    #[test]
    fn only_an_rpc_has_a_status_of_grpc() {
        for (protocol, is_grpc) in [(RequestProtocol::Http, false), (RequestProtocol::Grpc, true)] {
            let identity = Identity::One(context(10));
            let span = OpenSpan::new(identity, None, Sampling::Kept, Headers::default(), protocol);
            assert_eq!(span.is_grpc(), is_grpc, "{protocol:?}");
        }
    }
}
