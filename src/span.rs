//! A span between its start and its end.
//!
//! It holds what can't be read any more when the request has ended, and is consumed then, so that it
//! can't end twice.

use crate::context::{SpanContext, TraceState};
use crate::envoy::attempt::Attempt;
use crate::envoy::attributes::Outcome;
use crate::envoy::expression::Expression;
use crate::envoy::headers::Headers;
use crate::id::SpanId;
use crate::otlp::{Link, Parent, SpanKind};
use crate::semconv::Facts;
use crate::semconv::grpc::StatusCode;
use crate::semconv::request::RequestProtocol;
use crate::semconv::route::Routes;
use std::rc::Rc;
use std::time::Duration;

/// A span, or two, of a request that has not ended.
#[derive(Debug)]
pub struct OpenSpan {
    identity: Identity,
    /// Which attempt of the router it is, if it is one.
    attempt: Option<Attempt>,
    /// The caller's span, if the trace was continued.
    parent: Option<SpanId>,
    /// When it was seen to begin; none of a request that ended before.
    start: Option<Start>,
    links: Vec<Link>,
    sampling: Sampling,
    /// The request's headers; none while they are still to be read.
    headers: Option<RequestHead>,
    response_headers: Headers,
    /// The response's status, if it was looked for.
    status: Option<u16>,
    /// What the response's `grpc-status` said, if it was looked for.
    grpc_status: Option<StatusCode>,
    /// Whether all of its response has come, as far as is known.
    is_answered: bool,
    /// Whether another proxy has said that it has kept it.
    is_callee_kept: bool,
    /// The caller's span, if the caller has to be told that this one is kept, and was not yet.
    untold: Option<SpanId>,
    /// Attributes that it will lack, since they were not held.
    dropped_attributes: u32,
    /// Whether a pass before this one has gone on to an upstream.
    is_upstream_asked: bool,
    long_stream: LongStream,
}

/// Whether it was told that a request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LongStream {
    Untold,
    Told,
}

/// A request's headers, as far as they are held, and what they said that it is.
#[derive(Debug)]
pub struct RequestHead {
    /// Those that somebody reads.
    pub headers: Headers,
    /// Before they were cut.
    pub protocol: RequestProtocol,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// It is.
    Kept,
    /// It is, by the rule of this name.
    KeptBy(Rc<str>),
    /// That is decided when the request has ended.
    Undecided,
    /// A rule would have kept it, but there was no room.
    Refused,
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

impl Identity {
    /// The context that the upstream gets.
    #[must_use]
    pub fn for_upstream(&self) -> &SpanContext {
        match self {
            Self::One(context) | Self::ServerAndClient { client: context, .. } => context,
        }
    }
}

impl OpenSpan {
    /// The span of a request with these headers, if they were read. `parent` is the caller's span.
    #[must_use]
    pub fn new(
        identity: Identity,
        parent: Option<SpanId>,
        sampling: Sampling,
        headers: Option<RequestHead>,
    ) -> Self {
        Self {
            identity,
            attempt: None,
            parent,
            start: None,
            links: Vec::new(),
            sampling,
            headers,
            response_headers: Headers::default(),
            status: None,
            grpc_status: None,
            is_answered: false,
            is_callee_kept: false,
            untold: None,
            dropped_attributes: 0,
            is_upstream_asked: false,
            long_stream: LongStream::Untold,
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
        let links = self.links.iter().map(|link| size_of::<Link>() + context(&link.context));
        size_of::<Self>()
            + identity
            + links.sum::<usize>()
            + self.headers.as_ref().map_or(0, |head| head.headers.size())
            + self.response_headers.size()
    }

    /// Notes which attempt of the router it is, if it is one.
    pub fn note_attempt(&mut self, attempt: Option<Attempt>) {
        self.attempt = attempt;
    }

    /// Which attempt of the router it is, if it is one.
    #[must_use]
    pub fn attempt(&self) -> Option<Attempt> {
        self.attempt
    }

    /// Whether this may be evaluated of it: an Envoy that sends a shadow request crashes where an attempt of that is asked for the downstream
    /// connection.
    #[must_use]
    pub fn may_be_asked(&self, expression: Expression) -> bool {
        self.attempt.is_none() || !expression.asks_peers()
    }

    /// The same, and it was seen to begin then.
    #[must_use]
    pub fn started(self, start: Start) -> Self {
        Self { start: Some(start), ..self }
    }

    /// The same, and the caller has to be told if it is kept.
    #[must_use]
    pub fn telling_caller(self) -> Self {
        Self { untold: self.parent, ..self }
    }

    /// The caller's span that has to be told now: it is kept, and nobody has said so.
    pub fn take_untold(&mut self) -> Option<SpanId> {
        if self.is_kept() { self.untold.take() } else { None }
    }

    /// When it was seen to begin.
    #[must_use]
    pub fn start(&self) -> Option<Start> {
        self.start
    }

    /// How long it has taken until a moment of its start's clock; none of a request that ended before it was seen.
    #[must_use]
    pub fn taken(&self, now: Duration) -> Option<Duration> {
        self.start.map(|start| now.saturating_sub(start.at))
    }

    /// Notes that it has to do with these.
    pub fn note_links(&mut self, links: Vec<Link>) {
        self.links = links;
    }

    /// The context that the upstream gets.
    #[must_use]
    pub fn context(&self) -> &SpanContext {
        self.identity.for_upstream()
    }

    /// The id of its CLIENT span, if it is two.
    #[must_use]
    pub fn client(&self) -> Option<SpanId> {
        match &self.identity {
            Identity::One(_) => None,
            Identity::ServerAndClient { client, .. } => Some(client.span_id),
        }
    }

    /// The context of the span that the caller's request becomes.
    #[must_use]
    pub fn entry(&self) -> &SpanContext {
        match &self.identity {
            Identity::One(context) | Identity::ServerAndClient { server: context, .. } => context,
        }
    }

    /// Whether it is certain that it is kept.
    #[must_use]
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Notes that it is kept by the rule of this name.
    pub fn keep_by(&mut self, rule: Rc<str>) {
        self.sampling = Sampling::KeptBy(rule);
        self.for_each_context(|context| context.flags = context.flags.sampled());
    }

    /// Notes that a rule would have kept it, but there was no room.
    pub fn refuse(&mut self) {
        self.sampling = Sampling::Refused;
    }

    /// Whether it is kept, as far as is known.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self.sampling, Sampling::Kept | Sampling::KeptBy(_))
    }

    /// Adds to an explanation what rules have said so far.
    pub fn explain(&self, explanation: &mut String) {
        let (rule, name) = match &self.sampling {
            Sampling::Kept => return,
            Sampling::KeptBy(rule) => ("; rule=", rule.as_ref()),
            Sampling::Undecided => ("; rules=", "asked_at_the_end"),
            Sampling::Refused => ("; rules=", "limited"),
        };
        explanation.push_str(rule);
        explanation.push_str(name);
    }

    fn for_each_context(&mut self, change: impl Fn(&mut SpanContext)) {
        match &mut self.identity {
            Identity::One(context) => change(context),
            Identity::ServerAndClient { server, client } => {
                change(server);
                change(client);
            }
        }
    }

    /// Has it say another tracestate.
    pub fn set_trace_state(&mut self, trace_state: &TraceState) {
        self.for_each_context(|context| context.trace_state = trace_state.clone());
    }

    /// Notes that a pass that has ended has gone on to an upstream.
    pub fn note_upstream_asked(&mut self) {
        self.is_upstream_asked = true;
    }

    /// Notes that it is told that it is open. Gives whether that is news.
    pub fn note_told_open(&mut self) -> bool {
        std::mem::replace(&mut self.long_stream, LongStream::Told) == LongStream::Untold
    }

    /// The span that it becomes, and the CLIENT span below it: where it may be two, and an upstream was asked, by the last pass or by one
    /// before. `kind` is that of a single one.
    #[must_use]
    pub fn parts(
        &self,
        kind: SpanKind,
        is_upstream_asked: impl FnOnce() -> bool,
    ) -> (Part<'_>, Option<Part<'_>>) {
        let parent = self.parent.map(Parent::Remote);
        match &self.identity {
            Identity::One(context) => (Part { kind, context, parent }, None),
            Identity::ServerAndClient { server, client } => {
                let above = Some(Parent::Local(server.span_id));
                let client = Part { kind: SpanKind::Client, context: client, parent: above };
                let is_asked = self.is_upstream_asked || is_upstream_asked();
                let server = Part { kind: SpanKind::Server, context: server, parent };
                (server, is_asked.then_some(client))
            }
        }
    }

    /// What it has to do with beside its parent.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The caller's span, if the trace was continued.
    #[must_use]
    pub fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    /// The request's headers; none while they are still to be read.
    #[must_use]
    pub fn headers(&self) -> Option<&Headers> {
        self.headers.as_ref().map(|head| &head.headers)
    }

    /// Notes the request's headers, which were not read when it began.
    pub fn note_headers(&mut self, head: RequestHead) {
        self.headers = Some(head);
    }

    fn protocol(&self) -> Option<RequestProtocol> {
        self.headers.as_ref().map(|head| head.protocol)
    }

    /// Whether the response's `grpc-status` is wanted: it is a gRPC call, or may be one.
    #[must_use]
    pub fn may_be_grpc(&self) -> bool {
        !matches!(self.protocol(), Some(RequestProtocol::Http | RequestProtocol::Connect))
    }

    /// Whether it is a gRPC call that, as far as is known, did not succeed.
    #[must_use]
    pub fn is_failed_call(&self) -> bool {
        match self.protocol() {
            Some(RequestProtocol::Grpc) => self.grpc_status != Some(StatusCode::OK),
            Some(RequestProtocol::Http | RequestProtocol::Connect) => false,
            Some(RequestProtocol::GrpcWeb) | None => {
                self.grpc_status.is_some_and(|status| status != StatusCode::OK)
            }
        }
    }

    /// Notes the value of `grpc-status`, from the trailers or from a response of headers only.
    pub fn note_grpc_status(&mut self, value: &[u8]) {
        self.grpc_status = Some(StatusCode::parse(value));
    }

    /// The response's status, if it was looked for.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Notes the response's status.
    pub fn note_status(&mut self, status: Option<u16>) {
        self.status = status;
    }

    /// The status that the response of a gRPC call has said so far.
    #[must_use]
    pub fn grpc_status(&self) -> Option<StatusCode> {
        self.grpc_status
    }

    /// Whether all of its response has come, as far as is known.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Notes that all of its response has come.
    pub fn note_answered(&mut self) {
        self.is_answered = true;
    }

    /// Whether another proxy has said that it has kept it.
    #[must_use]
    pub fn is_callee_kept(&self) -> bool {
        self.is_callee_kept
    }

    /// Notes that another proxy has kept it.
    pub fn note_callee_kept(&mut self) {
        self.is_callee_kept = true;
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
    pub fn facts<'a>(&'a self, outcome: Outcome<'a>, routes: &'a Routes) -> Facts<'a> {
        const NONE: &Headers = &Headers::NONE;
        let protocol = self.protocol().unwrap_or(RequestProtocol::Http);
        let headers = self.headers().unwrap_or(NONE);
        Facts::read(protocol, headers, &self.response_headers, self.grpc_status, outcome)
            .routed(routes)
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

    fn head(headers: Headers, protocol: RequestProtocol) -> RequestHead {
        RequestHead { headers, protocol }
    }

    #[test]
    fn all_that_is_held_is_in_its_size() {
        let open = |identity, held| {
            OpenSpan::new(identity, None, Sampling::Kept, Some(head(held, RequestProtocol::Http)))
                .size()
        };
        let one = |held| Identity::One(context(held));
        let two = |server, client| Identity::ServerAndClient {
            server: context(server),
            client: context(client),
        };
        let base = size_of::<OpenSpan>();
        let cases = [
            (open(one(100), Headers::default()), 100, "a tracestate"),
            (open(two(100, 23), Headers::default()), 123, "two"),
            (open(one(100), headers(50)), 100 + headers(50).size(), "headers"),
        ];
        for (size, expected, reason) in cases {
            assert_eq!(size, base + expected, "{reason}");
        }
        let mut span = OpenSpan::new(one(100), None, Sampling::Undecided, None);
        assert_eq!(span.size(), base + 100, "headers that are still to be read");
        span.note_headers(RequestHead { headers: headers(50), protocol: RequestProtocol::Http });
        let links = [40, 50].map(|held| Link { context: context(held) });
        span.note_links(links.into());
        span.note_response_headers(headers(60));
        let expected = 190 + 2 * size_of::<Link>() + headers(50).size() + headers(60).size();
        assert_eq!(span.size(), base + expected, "links, and the response's headers");
    }

    #[test]
    fn a_call_is_known_by_its_headers_or_by_its_status() {
        use RequestProtocol::{Connect, Grpc, GrpcWeb, Http};
        let cases: [(_, Option<&[u8]>, _, _, _); 10] = [
            (Some(Http), None, false, false, "no call"),
            (Some(Grpc), None, true, true, "a call that nobody answered"),
            (Some(Grpc), Some(b"0"), true, false, "one that succeeded"),
            (Some(Grpc), Some(b"5"), true, true, "one that did not"),
            (Some(GrpcWeb), None, true, false, "one whose status is in the body"),
            (Some(GrpcWeb), Some(b"5"), true, true, "or in the headers"),
            (Some(Connect), None, false, false, "one that has no such status"),
            (None, None, true, false, "nobody knows yet"),
            (None, Some(b"0"), true, false, "it was one, and succeeded"),
            (None, Some(b"13"), true, true, "it was one, and failed"),
        ];
        for (protocol, status, may_be, failed, reason) in cases {
            let head = protocol.map(|protocol| head(Headers::default(), protocol));
            let identity = Identity::One(context(10));
            let mut span = OpenSpan::new(identity, None, Sampling::Kept, head);
            if let Some(status) = status {
                span.note_grpc_status(status);
            }
            assert_eq!((span.may_be_grpc(), span.is_failed_call()), (may_be, failed), "{reason}");
        }
    }
}
