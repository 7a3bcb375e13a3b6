//! A request's way through the tracer: it starts, it ends, it becomes a span in the queue.

use super::Tracer;
use crate::batch::Refused;
use crate::context::{SpanContext, TraceFlags};
use crate::envoy::attributes::Outcome;
use crate::envoy::headers::Headers;
use crate::envoy::wire::HeaderMap;
use crate::id::TraceId;
use crate::otlp::attributes::Attributes;
use crate::otlp::cut::Cut;
use crate::otlp::{Link, Span};
use crate::probe::{Needed, RequestSource};
use crate::propagation::changes::Changes;
use crate::sampling::{self, Recording, SamplingDecision, SamplingInput};
use crate::semconv::{Description, Facts, RequestHeaders, TelemetryExports, telemetry};
use crate::span::{Identity, OpenSpan, Part, Sampling};
use crate::stats::Metric;

/// What is to be done with a request that starts.
#[derive(Debug)]
pub struct Started<'a> {
    /// What becomes of its headers.
    pub changes: &'a Changes,
    /// Its span, if it may be kept: for [`Tracer::end`].
    pub span: Option<OpenSpan>,
}

/// A span that waits for the second pass of its request.
#[derive(Debug)]
pub(super) struct Redirected {
    span: OpenSpan,
    /// When the first pass started, in nanoseconds since the Unix epoch.
    start: u64,
    /// How long the first pass took, in nanoseconds.
    duration: u64,
}

impl Tracer {
    /// Starts a request: decides on it, gives it an identity, and says what becomes of its headers.
    pub fn start(&mut self, request: &impl RequestSource) -> Started<'_> {
        self.changes.clear();
        let headers = self.probe.headers(request);
        let parent = headers.as_ref().and_then(|headers| self.propagators.extract(headers));
        let span = match self.resume(parent.as_ref()) {
            Some(span) => Some(span),
            None => self.begin(request, headers, parent),
        };
        Started { changes: &self.changes, span }
    }

    /// Starts a request that ends before it reached this filter: nobody reads its headers any more. Envoy answers some before it
    /// has filled `:scheme`; only of these it is asked what it would have filled it from.
    pub fn start_late(&mut self, request: &impl RequestSource) -> Option<OpenSpan> {
        let mut headers = self.probe.all_headers(request);
        let is_told = RequestHeaders::read(headers.iter()).told_scheme().is_some();
        if !is_told && !request.attribute("connection.tls_version").is_empty() {
            headers.add(b":scheme", b"https");
        }
        let parent = self.propagators.extract(&headers);
        self.begin(request, Some(headers), parent)
    }

    /// The span that this request goes on with, if it is the second pass of an internal redirect:
    /// then it carries the context that the first pass wrote.
    fn resume(&mut self, parent: Option<&SpanContext>) -> Option<OpenSpan> {
        let redirected = self.redirected.take()?;
        let own = redirected.span.context();
        if parent.is_some_and(|it| it.trace_id == own.trace_id && it.span_id == own.span_id) {
            return Some(redirected.span);
        }
        self.finish_redirected(redirected);
        None
    }

    /// Decides on a request and gives it an identity. An export of telemetry is left alone, whatever the sampler would say. It is
    /// known by its headers: one that is let go without anything to read them for passes as any other request.
    fn begin(
        &mut self,
        request: &impl RequestSource,
        headers: Option<Headers>,
        parent: Option<SpanContext>,
    ) -> Option<OpenSpan> {
        if headers.as_ref().is_some_and(|headers| self.is_left_alone(headers)) {
            return None;
        }
        let trace_id = parent.as_ref().map_or_else(|| self.ids.trace_id(), |it| it.trace_id);
        let decision = self.decide(request, headers.as_ref(), trace_id, parent.as_ref());
        let sampling = match decision.recording {
            Recording::On => Some(Sampling::Kept),
            Recording::Undecided => Some(Sampling::Undecided(parent.clone().map(Box::new))),
            Recording::Off => None,
        };
        let needs_headers = sampling.is_some() || parent.is_some();
        self.probe.note(if needs_headers { Needed::AllHeaders } else { Needed::NoMore });
        let flags = parent.as_ref().map_or_else(TraceFlags::new_trace, |it| it.flags);
        let context = SpanContext {
            trace_id,
            span_id: self.ids.span_id(),
            flags: match decision.recording {
                Recording::On => flags.sampled(),
                Recording::Off | Recording::Undecided => flags.not_sampled(),
            },
            trace_state: decision.trace_state,
        };
        let Some(sampling) = sampling else {
            self.stats.count(Metric::Started, 1);
            self.inject(&context, parent.as_ref(), headers.as_ref());
            return None;
        };
        let is_looked_at = headers.is_some();
        let headers = headers.unwrap_or_else(|| self.probe.all_headers(request));
        if !is_looked_at && self.is_left_alone(&headers) {
            return None;
        }
        let protocol = RequestHeaders::read(headers.iter()).protocol();
        self.stats.count(Metric::Started, 1);
        self.inject(&context, parent.as_ref(), Some(&headers));
        let headers = headers.hold(|name| self.conventions.want_request_header(name));
        let parent = parent.map(|parent| parent.span_id);
        let span = OpenSpan::new(Identity::One(context), parent, sampling, headers, protocol);
        if let Sampling::Kept = span.sampling() {
            self.note_kept(&span);
        }
        Some(span)
    }

    /// Whether a request with these headers is an export of telemetry that is to be left alone; then it is counted.
    fn is_left_alone(&mut self, headers: &Headers) -> bool {
        let is_left_alone =
            self.telemetry_exports == TelemetryExports::LeftAlone && telemetry::is_export(headers);
        self.stats.count(Metric::TelemetryExports, usize::from(is_left_alone));
        is_left_alone
    }

    fn decide(
        &self,
        request: &impl RequestSource,
        headers: Option<&Headers>,
        trace_id: TraceId,
        parent: Option<&SpanContext>,
    ) -> SamplingDecision {
        let (headers, attributes, now) = self.probe.facts(request, headers);
        let headers = headers.map(|headers| RequestHeaders::read(headers.iter()));
        let (request, attributes) = (headers.as_ref(), attributes.as_slice());
        let input = SamplingInput { trace_id, parent, request, attributes, now };
        sampling::decide(self.sampler.as_ref(), &input)
    }

    fn inject(
        &mut self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        headers: Option<&Headers>,
    ) {
        self.propagators.inject(context, parent, headers.into(), &mut self.changes);
    }

    fn note_kept(&mut self, span: &OpenSpan) {
        self.stats.count(Metric::Sampled, span.spans());
        self.open += span.spans();
    }

    /// Whether any of the response's headers becomes an attribute.
    #[must_use]
    pub fn wants_response_headers(&self) -> bool {
        !self.response_headers.is_empty()
    }

    /// Notes those of the response's headers that become attributes.
    pub fn note_response_headers(&self, span: &mut OpenSpan, headers: HeaderMap) {
        span.note_response_headers(Headers::select(headers, &self.response_headers));
    }

    /// Ends a span and queues it. A request that Envoy redirects internally goes on instead.
    pub fn end(&mut self, mut span: OpenSpan, outcome: &Outcome<'_>) {
        if outcome.is_internal_redirect() {
            let (start, duration) = (outcome.start, outcome.duration);
            self.redirected = Some(Redirected { span, start, duration });
            return;
        }
        if let Sampling::Undecided(parent) = span.sampling() {
            let input = SamplingInput {
                trace_id: span.context().trace_id,
                parent: parent.as_deref(),
                request: None,
                attributes: &[],
                now: None,
            };
            let facts = span.facts(*outcome);
            let kept = sampling::decide_at_end(self.sampler.as_ref(), &input, &facts);
            let Some(trace_state) = kept else { return };
            span.keep(trace_state);
            self.note_kept(&span);
        }
        self.open = self.open.saturating_sub(span.spans());
        let facts = span.facts(*outcome);
        for part in span.parts(self.span_kind.kind(outcome.listener_direction)) {
            self.queue(part, span.links(), &facts);
        }
    }

    /// Queues a finished span. One that is too large for any batch is cut.
    fn queue(&mut self, part: Part<'_>, links: &[Link], facts: &Facts<'_>) {
        let Self { conventions, queue, attributes, .. } = self;
        attributes.clear();
        let description = conventions.describe(part.kind, facts, attributes);
        let mut pushed = queue.push(&span(part, links, facts, &description, attributes));
        if pushed == Err(Refused::TooLarge) {
            let cut = Cut::new(part.context, links, queue.max_span_len());
            let mut attributes = cut.attributes(attributes);
            let description = conventions.describe(part.kind, facts, &mut attributes);
            pushed = queue.push(&cut.of(span(part, links, facts, &description, &attributes)));
            self.stats.count(Metric::Truncated, usize::from(pushed.is_ok()));
        }
        match pushed {
            Ok(dropped) => {
                self.stats.count(Metric::DroppedQueueFull, dropped);
                self.health.lost(dropped);
            }
            Err(reason) => {
                self.stats.count(Metric::from(reason), 1);
                self.health.lost(1);
            }
        }
    }

    /// The second pass did not come: the first one's outcome is all there is.
    pub(super) fn finish_redirected(&mut self, redirected: Redirected) {
        let Redirected { span, start, duration } = redirected;
        self.end(span, &Outcome { start, duration, ..Outcome::default() });
    }
}

/// A finished span.
fn span<'a>(
    part: Part<'a>,
    links: &'a [Link],
    facts: &Facts<'_>,
    description: &'a Description<'_>,
    attributes: &'a Attributes,
) -> Span<'a> {
    let Part { kind, context, parent } = part;
    let start = facts.outcome.start;
    Span {
        context,
        parent,
        links,
        dropped_links: 0,
        kind,
        name: &description.name,
        start,
        end: start.saturating_add(facts.outcome.duration),
        attributes,
        status: description.status,
    }
}
