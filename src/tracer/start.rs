//! How a request starts: it is decided on, gets an identity, and its span is opened.
//!
//! What becomes of the span is in `end`.

use super::Tracer;
use super::attempt::{is_told_by_chain, may_be_asked, with_headers};
use super::border::{Border, is_over_tls};
use crate::context::{Decision, SpanContext, TraceFlags};
use crate::envoy::attempt::Attempt;
use crate::envoy::attributes::RESPONSE_CODE;
use crate::envoy::headers::Headers;
use crate::envoy::wire::HeaderMap;
use crate::id::TraceId;
use crate::probe::{Body, BucketName, Known, Look, Needed, RequestSource};
use crate::propagation::Unsampled;
use crate::propagation::changes::Changes;
use crate::sampling::limit::Room;
use crate::sampling::operator::{FORCED, OperatorHeader};
use crate::sampling::{self, Recording, SamplingDecision, SamplingInput};
use crate::semconv::start::StartingRequest;
use crate::semconv::{RequestHeaders, SpanKindSetting, TelemetryExports, telemetry};
use crate::span::{Identity, OpenSpan, Sampling, Start};
use crate::stats::Metric;

/// What is to be done with a request that starts.
#[derive(Debug)]
pub struct Started<'a> {
    /// What becomes of its headers.
    pub changes: &'a Changes,
    /// Its span, if it may be kept: for [`Tracer::end`].
    pub span: Option<OpenSpan>,
    /// Why it is kept or not, if an operator has asked.
    pub explanation: Option<String>,
}

/// What an operator may ask for with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Nothing.
    None,
    /// It is to be kept.
    Keep,
}

impl Tracer {
    /// Starts a request: decides on it, gives it an identity, and says what becomes of its headers.
    pub fn start(&mut self, request: &impl RequestSource) -> Started<'_> {
        self.changes.clear();
        self.explanation = None;
        let span = self.resume(request).or_else(|| {
            let wish = self.wish(request);
            let border = self.border(request);
            let headers = if border.is_none() {
                // A rule may keep what the sampler lets go.
                let may_be_untouched = self.unsampled != Unsampled::Inject
                    && self.sampler.lets_unsampled_go()
                    && self.keep.is_empty()
                    && wish == Wish::None
                    && !self.exposure().filter_state
                    && !self.explain.as_ref().is_some_and(|header| says(request, header));
                let is_enough = |carrier: &[u8]| self.propagators.is_unsampled(carrier);
                match self.probe.look(request, may_be_untouched.then_some(is_enough)) {
                    Look::Enough => {
                        self.stats.count(Metric::Started, 1);
                        return None;
                    }
                    Look::NoCarrier => None,
                    Look::Headers(headers) => Some(headers),
                }
            } else {
                Some(self.sweep(request))
            };
            let span = self.begin(request, headers, wish, border)?;
            let at = request.now();
            let unix = self.clock.at(at, || request.unix_time());
            Some(span.started(Start { unix, at }))
        });
        Started { changes: &self.changes, span, explanation: self.explanation.take() }
    }

    /// Starts a request that ends before it reached this filter: nobody reads its headers any more. Envoy answers some before it
    /// has filled `:scheme`; only of these it is asked what it would have filled it from.
    pub fn start_late(&mut self, request: &impl RequestSource) -> Option<OpenSpan> {
        self.resume(request).or_else(|| {
            let mut headers = self.probe.all_headers(request);
            let is_told = RequestHeaders::read(headers.iter()).told_scheme().is_some();
            if !is_told && is_over_tls(request) {
                headers.add(b":scheme", b"https");
            }
            let border = self.border(request);
            self.begin(request, Some(headers), Wish::None, border)
        })
    }

    /// Decides on a request and gives it an identity. An export of telemetry is left alone, whatever the sampler says.
    fn begin(
        &mut self,
        request: &impl RequestSource,
        mut headers: Option<Headers>,
        wish: Wish,
        border: Option<Border>,
    ) -> Option<OpenSpan> {
        let is_stranger = border.is_some_and(|border| !border.is_trusted());
        let believed = headers.as_ref().filter(|_| !is_stranger);
        let parent = believed.and_then(|headers| self.propagators.extract(headers));
        let flags = match (&parent, believed) {
            (Some(parent), _) => parent.flags,
            (None, Some(headers)) => self.propagators.flags_of_new_trace(headers),
            (None, None) => TraceFlags::new_trace(),
        };
        if let Some(border) = border
            && self.probe.decides_by_headers()
        {
            border.disbelieve(headers.as_mut(), request);
        }
        let trace_id = parent.as_ref().map_or_else(|| self.ids.trace_id(), |it| it.trace_id);
        let attempt = self.attempt(request, parent.as_ref());
        if is_told_by_chain(request, attempt, parent.as_ref()) {
            return None;
        }
        let input = (trace_id, parent.as_ref(), flags.decision());
        let decision = self.decide(request, headers.as_ref(), input, wish, attempt);
        let sampling = match decision.recording {
            Recording::On if wish == Wish::Keep => Some(Sampling::KeptBy(FORCED.into())),
            Recording::On => Some(Sampling::Kept),
            Recording::Off => (!self.keep.is_empty()).then_some(Sampling::Undecided),
        };
        let is_untouched = sampling.is_none() && self.unsampled.leaves(parent.as_ref());
        let is_known_by_its_carrier =
            is_untouched && parent.as_ref().is_none_or(|parent| !parent.flags.is_sampled());
        let is_kept = decision.recording == Recording::On;
        let needs_headers = is_kept || parent.is_some() && !is_known_by_its_carrier;
        self.probe.note(if needs_headers { Needed::AllHeaders } else { Needed::NoMore });
        // What stays as it is needs no look at what it is.
        if is_untouched {
            self.stats.count(Metric::Started, 1);
            if let (Some(parent), None) = (&parent, attempt) {
                self.expose(parent);
            }
            return None;
        }
        let mut headers = headers.or_else(|| {
            let is_wanted = match sampling {
                // Nobody reads them while it is open.
                Some(Sampling::Undecided) => {
                    attempt.is_some()
                        || self.long_streams.is_some()
                        || !self.probe.reads_late(request)
                }
                Some(_) => true,
                None => false,
            };
            (is_wanted || self.may_be_left_alone(request)).then(|| self.probe.all_headers(request))
        });
        if headers.as_ref().is_some_and(|headers| self.is_left_alone(headers)) {
            return None;
        }
        let context = SpanContext {
            trace_id,
            span_id: self.ids.span_id(),
            flags: match decision.recording {
                Recording::On => flags.sampled(),
                Recording::Off => flags.not_sampled(),
            },
            trace_state: decision.trace_state,
        };
        self.stats.count(Metric::Started, 1);
        let known = match border {
            None => Some(headers.as_ref().into()),
            Some(border) => border.known(headers.as_ref()),
        };
        if attempt.is_none() {
            self.expose(&context);
        }
        let Some(sampling) = sampling else {
            self.inject(&context, parent.as_ref(), known);
            return None;
        };
        let identity = match self.kind_of(attempt) {
            SpanKindSetting::ServerAndClient => self.two(context),
            _ => Identity::One(context),
        };
        self.inject(identity.for_upstream(), parent.as_ref(), known);
        // Up to 1.39, Envoy shows an attempt that a circuit breaker has refused when that is over, and never lets go of it.
        if attempt.is_some() && !request.attribute(RESPONSE_CODE).is_empty() {
            return None;
        }
        let mut links = Vec::new();
        if let Some(border) = border {
            border.disbelieve(headers.as_mut(), request);
            links = self.links(border, headers.as_ref());
        }
        let attempt = with_headers(attempt, headers.as_ref());
        let head = headers.map(|headers| self.head(&headers));
        let tells_caller = self.keep.whole_path().tells_caller
            && parent.as_ref().is_some_and(|parent| !parent.flags.is_sampled());
        let parent = parent.and_then(|parent| Self::parent_of(request, attempt, parent.span_id));
        let mut span = OpenSpan::new(identity, parent, sampling, head);
        span.note_links(links);
        span.note_attempt(attempt);
        if tells_caller {
            span = span.telling_caller();
        }
        self.admit(span)
    }

    /// Counts a span, if there is room for it among those of requests that are under way.
    fn admit(&mut self, span: OpenSpan) -> Option<OpenSpan> {
        if self.open_bytes + span.size() > self.max_open_bytes {
            if span.is_kept() {
                self.stats.count(Metric::Sampled, 1);
                self.stats.count(Metric::DroppedOpenLimit, 1);
            } else {
                self.stats.count(Metric::UndecidedOpenLimit, 1);
            }
            return None;
        }
        self.open_bytes += span.size();
        if span.is_kept() {
            self.note_kept();
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

    /// What an operator asks for, who alone knows what to say.
    fn wish(&self, request: &impl RequestSource) -> Wish {
        let is_said = self.force.as_ref().is_some_and(|header| says(request, header));
        if is_said { Wish::Keep } else { Wish::None }
    }

    fn decide(
        &mut self,
        source: &impl RequestSource,
        headers: Option<&Headers>,
        (trace_id, parent, decision): (TraceId, Option<&SpanContext>, Decision),
        wish: Wish,
        attempt: Option<Attempt>,
    ) -> SamplingDecision {
        let may_be_asked = |name: &str| may_be_asked(attempt, name);
        let (headers, attributes, now) = self.probe.facts(source, headers, may_be_asked);
        let read = headers.map(|headers| RequestHeaders::read(headers.iter()));
        let routes = self.conventions.routes();
        let request = StartingRequest {
            headers: headers.zip(read.as_ref()),
            attributes: &attributes,
            routes: Some(&routes),
        };
        let span_kind = self.kind_of(attempt);
        let input = SamplingInput { trace_id, parent, decision, request, span_kind, now };
        let mut decision = match wish {
            Wish::None => sampling::decide(self.sampler.as_ref(), &input),
            Wish::Keep => sampling::forced(&input),
        };
        if self.explain.as_ref().is_some_and(|header| says(source, header)) {
            self.explanation = Some(sampling::explain(self.sampler.as_ref(), &input));
        }
        if decision.recording == Recording::On && wish == Wish::None && self.limiters.is_some() {
            let room = self.room(BucketName::Head, source.now(), source.shared());
            if room != Room::Enough {
                decision.trace_state = sampling::without_probability(decision.trace_state);
            }
            if room == Room::None {
                decision.recording = Recording::Off;
                self.stats.count(Metric::LimitedHead, 1);
            }
        }
        decision
    }

    fn inject(
        &mut self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        known: Option<Known<'_>>,
    ) {
        if let Some(known) = known {
            self.propagators.inject(context, parent, known, &mut self.changes);
        }
    }

    /// Counts the span of a request that is kept. Of its CLIENT span, if it gets one, that is known when it has ended.
    pub(super) fn note_kept(&mut self) {
        self.stats.count(Metric::Sampled, 1);
        self.open += 1;
    }

    /// The identity of two spans, of which the first has this context.
    #[inline(never)] // Mostly there is one.
    fn two(&mut self, server: SpanContext) -> Identity {
        let client = SpanContext { span_id: self.ids.span_id(), ..server.clone() };
        Identity::ServerAndClient { server, client }
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
}

/// Whether a request has this header, with its secret.
fn says(request: &impl RequestSource, header: &OperatorHeader) -> bool {
    request.has_header(&header.name)
        && request.header(&header.name).is_some_and(|value| header.is_said(&value))
}
