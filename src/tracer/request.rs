//! A request's way through the tracer: it starts, it ends, it becomes a span in the queue.

use super::Tracer;
use crate::batch::Refused;
use crate::context::{SpanContext, TraceFlags};
use crate::envoy::attributes::{Outcome, OutcomeValues};
use crate::envoy::headers::Headers;
use crate::envoy::wire::HeaderMap;
use crate::id::TraceId;
use crate::otlp::attributes::Attributes;
use crate::otlp::cut::Cut;
use crate::otlp::{Link, Span};
use crate::outcome::EndedRequest;
use crate::probe::{Body, Look, Needed, RequestSource};
use crate::propagation::Unsampled;
use crate::propagation::changes::Changes;
use crate::sampling::{self, Recording, SamplingDecision, SamplingInput};
use crate::semconv::request::RequestProtocol;
use crate::semconv::{Description, Facts, RequestHeaders, TelemetryExports, telemetry};
use crate::span::{Identity, OpenSpan, Part, Sampling, Start};
use crate::stats::Metric;
use std::time::Duration;

/// How long the second pass of a request is waited for: filters before this one may hold it up.
const MAX_REDIRECT_WAIT: Duration = Duration::from_secs(2);

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
    pub(super) mark: Mark,
    pub(super) span: OpenSpan,
    /// How the first pass ended.
    pub(super) values: OutcomeValues,
    /// When a look first found it.
    pub(super) since: Option<Duration>,
}

/// What tells the second pass of a request: whoever holds the request has to keep it, where no caller can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// As it is kept.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

impl Tracer {
    /// Starts a request: decides on it, gives it an identity, and says what becomes of its headers.
    pub fn start(&mut self, request: &impl RequestSource) -> Started<'_> {
        self.changes.clear();
        let span = self.resume(request).or_else(|| {
            let may_be_untouched =
                self.unsampled != Unsampled::Inject && self.sampler.lets_unsampled_go();
            let is_enough = |carrier: &[u8]| self.propagators.is_unsampled(carrier);
            let headers = match self.probe.look(request, may_be_untouched.then_some(is_enough)) {
                Look::Enough => {
                    self.stats.count(Metric::Started, 1);
                    return None;
                }
                Look::NoCarrier => None,
                Look::Headers(headers) => Some(headers),
            };
            let parent = headers.as_ref().and_then(|headers| self.propagators.extract(headers));
            let span = self.begin(request, headers, parent)?;
            let at = request.now();
            let unix = self.clock.at(at, || request.unix_time());
            Some(span.started(Start { unix, at }))
        });
        Started { changes: &self.changes, span }
    }

    /// Starts a request that ends before it reached this filter: nobody reads its headers any more. Envoy answers some before it
    /// has filled `:scheme`; only of these it is asked what it would have filled it from.
    pub fn start_late(&mut self, request: &impl RequestSource) -> Option<OpenSpan> {
        self.resume(request).or_else(|| {
            let mut headers = self.probe.all_headers(request);
            let is_told = RequestHeaders::read(headers.iter()).told_scheme().is_some();
            if !is_told && !request.attribute("connection.tls_version").is_empty() {
                headers.add(b":scheme", b"https");
            }
            let parent = self.propagators.extract(&headers);
            self.begin(request, Some(headers), parent)
        })
    }

    /// The span that this request goes on with, if it is the second pass of an internal redirect. Its headers are those that the first
    /// pass has written.
    fn resume(&mut self, request: &impl RequestSource) -> Option<OpenSpan> {
        if self.redirected.is_empty() {
            return None;
        }
        let marks = request.marks();
        // Filters that stand in the same chain leave one each: the first that waits is this one's.
        let (marks, _) = marks.as_chunks::<8>();
        let mut marks = marks.iter().map(|mark| Mark(u64::from_le_bytes(*mark)));
        let place = marks.find_map(|mark| self.redirected.iter().position(|it| it.mark == mark))?;
        Some(self.redirected.remove(place).span)
    }

    /// Decides on a request and gives it an identity. An export of telemetry is left alone, whatever the sampler says.
    fn begin(
        &mut self,
        request: &impl RequestSource,
        headers: Option<Headers>,
        parent: Option<SpanContext>,
    ) -> Option<OpenSpan> {
        let trace_id = parent.as_ref().map_or_else(|| self.ids.trace_id(), |it| it.trace_id);
        let decision = self.decide(request, headers.as_ref(), trace_id, parent.as_ref());
        let sampling = match decision.recording {
            Recording::On => Some(Sampling::Kept),
            Recording::Undecided => Some(Sampling::Undecided(parent.clone().map(Box::new))),
            Recording::Off => None,
        };
        let is_untouched = sampling.is_none() && self.unsampled.leaves(parent.as_ref());
        let is_known_by_its_carrier =
            is_untouched && parent.as_ref().is_none_or(|parent| !parent.flags.is_sampled());
        let needs_headers = sampling.is_some() || parent.is_some() && !is_known_by_its_carrier;
        self.probe.note(if needs_headers { Needed::AllHeaders } else { Needed::NoMore });
        // What stays as it is needs no look at what it is.
        if is_untouched {
            self.stats.count(Metric::Started, 1);
            return None;
        }
        let headers = headers.or_else(|| {
            let is_wanted = sampling.is_some() || self.may_be_left_alone(request);
            is_wanted.then(|| self.probe.all_headers(request))
        });
        if headers.as_ref().is_some_and(|headers| self.is_left_alone(headers)) {
            return None;
        }
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
        self.stats.count(Metric::Started, 1);
        self.inject(&context, parent.as_ref(), headers.as_ref());
        let (Some(sampling), Some(headers)) = (sampling, headers) else { return None };
        let protocol = RequestProtocol::of(&headers);
        let headers = headers.hold(|name, value| {
            let wanted = self.request_headers.contains(name);
            wanted.then(|| self.conventions.held(name, value, self.max_value_bytes))
        });
        let parent = parent.map(|parent| parent.span_id);
        let span = OpenSpan::new(Identity::One(context), parent, sampling, headers, protocol);
        let is_kept = matches!(span.sampling(), Sampling::Kept);
        if self.open_bytes + span.size() > self.max_open_bytes {
            if is_kept {
                self.stats.count(Metric::Sampled, span.spans());
                self.stats.count(Metric::DroppedOpenLimit, span.spans());
            }
            return None;
        }
        self.open_bytes += span.size();
        if is_kept {
            self.note_kept(&span);
        }
        Some(span)
    }

    /// Whether a request of whose headers nothing is known may be an export of telemetry: each has a body, and a header to say of what
    /// kind, which is asked for at a low price where it is not.
    fn may_be_left_alone(&self, request: &impl RequestSource) -> bool {
        self.telemetry_exports == TelemetryExports::LeftAlone
            && request.body() == Body::Possible
            && request.has_header("content-type")
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
        let request = headers.map(|headers| RequestHeaders::read(headers.iter()));
        let (request, attributes) = (request.as_ref(), attributes.as_slice());
        let span_kind = self.span_kind;
        let input =
            SamplingInput { trace_id, parent, headers, request, span_kind, attributes, now };
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

    /// Notes those of the response's headers that become attributes, as far as requests that are under way may hold them.
    pub fn note_response_headers(&mut self, span: &mut OpenSpan, headers: HeaderMap) {
        let headers = Headers::select(headers, &self.response_headers);
        let held = headers
            .hold(|name, value| Some(self.conventions.held(name, value, self.max_value_bytes)));
        if self.open_bytes + held.size() > self.max_open_bytes {
            return span.note_dropped(held.count());
        }
        self.open_bytes += held.size();
        span.note_response_headers(held);
    }

    /// Ends a span and queues it. The span of a request that Envoy redirects internally waits for the second pass, which has to bear
    /// the mark that is returned.
    pub fn end(&mut self, span: OpenSpan, request: &impl EndedRequest) -> Option<Mark> {
        let values = self.outcomes.read(&span, request);
        let outcome = values.outcome();
        if !outcome.is_internal_redirect() {
            self.finish(span, outcome);
            return None;
        }
        let mark = Mark(self.ids.number());
        self.redirected.push(Redirected { mark, span, values, since: None });
        Some(mark)
    }

    fn finish(&mut self, mut span: OpenSpan, outcome: Outcome<'_>) {
        self.open_bytes = self.open_bytes.saturating_sub(span.size());
        if let Sampling::Undecided(parent) = span.sampling() {
            let input = SamplingInput {
                trace_id: span.context().trace_id,
                parent: parent.as_deref(),
                headers: None,
                request: None,
                span_kind: self.span_kind,
                attributes: &[],
                now: None,
            };
            let facts = span.facts(outcome);
            let kept = sampling::decide_at_end(self.sampler.as_ref(), &input, &facts);
            let Some(trace_state) = kept else { return };
            span.keep(trace_state);
            self.note_kept(&span);
        }
        self.open = self.open.saturating_sub(span.spans());
        let facts = span.facts(outcome);
        for part in span.parts(self.span_kind.kind(outcome.listener_direction)) {
            self.queue(part, &span, &facts);
        }
    }

    /// Queues a finished span. One that is too large for any batch is cut.
    fn queue(&mut self, part: Part<'_>, open: &OpenSpan, facts: &Facts<'_>) {
        let Self { conventions, queue, attributes, .. } = self;
        let links = open.links();
        attributes.clear();
        attributes.note_dropped(open.dropped_attributes());
        let description = conventions.describe(part.kind, facts, attributes);
        let mut pushed = queue.push(&finished(part, links, facts, &description, attributes));
        if pushed == Err(Refused::TooLarge) {
            let cut = Cut::new(part.context, links, queue.max_span_len());
            let mut attributes = cut.attributes(attributes);
            attributes.note_dropped(open.dropped_attributes());
            let description = conventions.describe(part.kind, facts, &mut attributes);
            pushed = queue.push(&cut.of(finished(part, links, facts, &description, &attributes)));
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

    /// Ends the spans whose second pass has not come in time: the first one's outcome is all there is.
    pub(super) fn give_up_redirected(&mut self, now: Duration) {
        let waits = |it: &mut Redirected| {
            now.saturating_sub(*it.since.get_or_insert(now)) < MAX_REDIRECT_WAIT
        };
        let given_up: Vec<_> = self.redirected.extract_if(.., |it| !waits(it)).collect();
        for Redirected { span, values, .. } in given_up {
            self.finish(span, values.outcome());
        }
    }

    /// Ends all spans that wait for a second pass.
    pub(super) fn finish_redirected(&mut self) {
        for Redirected { span, values, .. } in std::mem::take(&mut self.redirected) {
            self.finish(span, values.outcome());
        }
    }
}

/// A finished span.
fn finished<'a>(
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
