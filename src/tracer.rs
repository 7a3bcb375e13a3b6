//! Puts the parts together: start a request, finish a request, send what is due, take an answer.
//!
//! It makes no host call and reads no clock; what it needs of a request is handed to it.

mod estate;

use crate::batch::{Batch, Queue, Refused};
use crate::config::Config;
use crate::context::{SpanContext, TraceFlags};
use crate::export::answer::{Answer, ExportOutcome, Failure};
use crate::export::health::CollectorHealth;
use crate::export::protocol::Protocol;
use crate::export::{Attempt, ExportCall, Exporter, Ready};
use crate::host::wire::HeaderMap;
use crate::id::{IdGenerator, SpanId};
use crate::otlp::Span;
use crate::otlp::attributes::Attributes;
use crate::otlp::request::Frame;
use crate::propagation::Propagation;
use crate::propagation::trace_context::{HeaderState, Incoming};
use crate::resource::AttributeValue;
use crate::sampling::{Sampler, SamplingDecision};
use crate::semconv::{Conventions, Outcome, RequestHeaders};
use crate::span::{RequestProtocol, StartedSpan};
use crate::stats::{Metric, Stats};
use std::time::Duration;

/// Headers that take more than this, in bytes, are not held whole until their request ends.
const MAX_USUAL_HEADERS: usize = 4096;
/// To so many characters texts are cut in a span that is otherwise too large for any batch.
const SHORT_VALUE: usize = 128;

/// The tracer of one root context: all requests of one worker under one configuration.
#[derive(Debug)]
pub struct Tracer {
    propagation: Propagation,
    sampler: Sampler,
    conventions: Conventions,
    /// Of the span that is being described; kept for its memory.
    attributes: Attributes,
    ids: IdGenerator,
    queue: Queue,
    exporter: Exporter,
    /// What a filter before this one has left, to be sent next.
    inherited: Option<Batch>,
    stats: Stats,
    /// Spans that have begun and not ended.
    open: usize,
    /// A span whose request goes on as an internal redirect, which the next request may be.
    redirected: Option<Redirected>,
    health: CollectorHealth,
}

/// A span that waits for the second pass of its request.
#[derive(Debug)]
struct Redirected {
    span: StartedSpan,
    /// When the first pass started, in nanoseconds since the Unix epoch.
    start: u64,
    /// How long the first pass took, in nanoseconds.
    duration: u64,
}

/// What was decided of a request when it started.
#[derive(Debug)]
pub struct Decision {
    /// The identity that goes to the upstream.
    pub context: SpanContext,
    /// The caller's span, if its trace is continued.
    pub parent: Option<SpanId>,
    /// Whether a span is recorded.
    pub recording: Recording,
    /// What becomes of the traceparent header.
    pub traceparent: HeaderChange,
    /// What becomes of the tracestate headers.
    pub tracestate: HeaderChange,
}

/// Whether a request becomes a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// What becomes of a header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// It goes on as it came, or did not come.
    Keep,
    /// It was not there and is added.
    Add,
    /// It is replaced, all of that name.
    Replace,
    /// It is removed, all of that name.
    Remove,
}

impl Tracer {
    /// A tracer under this configuration. `resource` is complete: the host's part included.
    #[must_use]
    pub fn new(config: Config, resource: &[(String, AttributeValue)], ids: IdGenerator) -> Self {
        Self {
            propagation: config.propagation,
            sampler: config.sampler,
            conventions: Conventions::new(config.http, config.span_kind),
            attributes: Attributes::new(config.limits),
            ids,
            queue: Queue::new(config.batch, Frame::new(resource)),
            exporter: Exporter::new(config.exporter),
            inherited: None,
            stats: Stats::default(),
            open: 0,
            redirected: None,
            health: CollectorHealth::default(),
        }
    }

    /// Which headers carry contexts.
    #[must_use]
    pub fn propagation(&self) -> Propagation {
        self.propagation
    }

    /// The conventions that this tracer's spans follow.
    #[must_use]
    pub fn conventions(&self) -> &Conventions {
        &self.conventions
    }

    /// The span that this request goes on with, if it is the second pass of an internal redirect:
    /// then it carries the context that the first pass wrote.
    pub fn resume(&mut self, incoming: &Incoming) -> Option<StartedSpan> {
        let redirected = self.redirected.take()?;
        let parent = incoming.parent.as_ref();
        let own = &redirected.span.context;
        if parent.is_some_and(|it| it.trace_id == own.trace_id && it.span_id == own.span_id) {
            return Some(redirected.span);
        }
        self.finish_redirected(redirected);
        None
    }

    /// Decides on a request and gives it an identity.
    pub fn decide(&mut self, incoming: Incoming) -> Decision {
        self.stats.add(Metric::Started, 1);
        let Incoming { parent, traceparent: came_parent, tracestate: came_state } = incoming;
        let trace_id = parent.as_ref().map_or_else(|| self.ids.trace_id(), |it| it.trace_id);
        let flags = parent.as_ref().map_or_else(TraceFlags::new_trace, |it| it.flags);
        let decision = self.sampler.decide(trace_id, parent.as_ref());
        let (recording, flags) = match decision {
            SamplingDecision::Keep(_) => (Recording::On, flags.sampled()),
            SamplingDecision::Drop(_) => (Recording::Off, flags.not_sampled()),
        };
        let trace_state = decision.into_trace_state();
        let came = parent.as_ref().map(|it| &it.trace_state);
        let traceparent = match came_parent {
            HeaderState::Absent => HeaderChange::Add,
            HeaderState::Valid | HeaderState::Discarded => HeaderChange::Replace,
        };
        let state_change = match came_state {
            HeaderState::Absent if trace_state.is_empty() => HeaderChange::Keep,
            HeaderState::Absent => HeaderChange::Add,
            HeaderState::Valid if came == Some(&trace_state) => HeaderChange::Keep,
            _ if trace_state.is_empty() => HeaderChange::Remove,
            _ => HeaderChange::Replace,
        };
        let parent = parent.map(|it| it.span_id);
        let context = SpanContext { trace_id, span_id: self.ids.span_id(), flags, trace_state };
        Decision { context, parent, recording, traceparent, tracestate: state_change }
    }

    /// Starts the span of a request that is kept. `None` for an export of telemetry, which is left
    /// alone: its headers are not to be touched.
    pub fn begin(&mut self, decision: &Decision, headers: HeaderMap) -> Option<StartedSpan> {
        let request = RequestHeaders::read(headers.pairs());
        if request.is_otlp_export() {
            self.stats.add(Metric::Started, -1);
            return None;
        }
        self.stats.add(Metric::Sampled, 1);
        self.open += 1;
        let protocol =
            if request.is_grpc() { RequestProtocol::Grpc } else { RequestProtocol::Http };
        let headers = if headers.size() > MAX_USUAL_HEADERS {
            headers.only(|name| self.conventions.want_request_header(name))
        } else {
            headers
        };
        Some(StartedSpan::new(decision.context.clone(), decision.parent, headers, protocol))
    }

    /// Ends a span and queues it. A request that Envoy redirects internally goes on instead.
    pub fn end(&mut self, span: StartedSpan, outcome: &Outcome<'_>) {
        if outcome.is_internal_redirect() {
            let (start, duration) = (outcome.start, outcome.duration);
            self.redirected = Some(Redirected { span, start, duration });
            return;
        }
        self.open = self.open.saturating_sub(1);
        let Self { conventions, queue, attributes, .. } = self;
        let mut pushed = push(conventions, queue, attributes, &span, outcome);
        if pushed == Err(Refused::TooLarge) {
            let mut shorter = attributes.shorter(SHORT_VALUE);
            pushed = push(conventions, queue, &mut shorter, &span, outcome);
            self.stats.add(Metric::Truncated, i64::from(pushed.is_ok()));
        }
        match pushed {
            Ok(dropped) => {
                self.stats.add(Metric::Queued, 1);
                self.count(Metric::Queued, dropped, Direction::Down);
                self.count(Metric::DroppedQueueFull, dropped, Direction::Up);
                self.health.lost(dropped);
            }
            Err(reason) => {
                self.stats.add(Metric::from(reason), 1);
                self.health.lost(1);
            }
        }
    }

    /// The call that is due, if one is. `now` is the time since any fixed moment; after this, either
    /// [`Tracer::handle_called`] or [`Tracer::handle_not_called`] follows.
    pub fn poll_export(&mut self, now: Duration) -> Option<ExportCall<'_>> {
        if let Some(redirected) = self.redirected.take() {
            self.finish_redirected(redirected);
        }
        let attempt = self.exporter.handle_overdue(now, self.ids.number());
        self.settle(attempt);
        let call = match self.exporter.ready(now) {
            Ready::No => return None,
            Ready::Again(spans) => {
                self.stats.add(Metric::Retries, 1);
                self.depart(spans);
                let queue = &self.queue;
                self.exporter.resend(now, |batch| queue.request(batch))?
            }
            Ready::Next => {
                let batch = self.inherited.take().or_else(|| self.queue.take_due(now))?;
                self.depart(batch.spans());
                let queue = &self.queue;
                self.exporter.begin(batch, now, |batch| queue.request(batch))
            }
        };
        self.stats.add_size(Metric::SavedBytes, call.body.saved);
        Some(call)
    }

    /// Whether a look at the clock could lead to anything.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.queue.spans() > 0
            || !self.exporter.is_idle()
            || self.inherited.is_some()
            || self.redirected.is_some()
    }

    /// Whether a batch is full and could be sent at once.
    #[must_use]
    pub fn has_full_batch(&self) -> bool {
        self.exporter.is_eager() && self.queue.has_full_batch()
    }

    /// The host made the call and named it.
    pub fn handle_called(&mut self, call: u32) {
        self.exporter.handle_called(call);
    }

    /// The host refused to make the call.
    pub fn handle_not_called(&mut self, failure: Failure, now: Duration) {
        let attempt = self.exporter.handle_not_called(failure, now, self.ids.number());
        self.settle(attempt);
    }

    /// How requests to the collector are put on the wire.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.exporter.protocol()
    }

    /// The call was answered.
    pub fn handle_answer(&mut self, call: u32, answer: Answer<'_>, now: Duration) {
        let outcome = ExportOutcome::of_answer(answer, self.exporter.protocol());
        let attempt = self.exporter.handle_answer(call, outcome, now, self.ids.number());
        self.settle(attempt);
    }

    /// Gives up a call whose answer is overdue, and says whether one is still under way.
    pub fn is_in_flight(&mut self, now: Duration) -> bool {
        let attempt = self.exporter.handle_overdue(now, self.ids.number());
        self.settle(attempt);
        self.exporter.is_in_flight()
    }

    /// What the host's counters lack.
    pub fn take_stats(&mut self) -> impl Iterator<Item = (Metric, i64)> + use<> {
        self.stats.take_changes()
    }

    /// The second pass did not come: the first one's outcome is all there is.
    fn finish_redirected(&mut self, redirected: Redirected) {
        let Redirected { span, start, duration } = redirected;
        self.end(span, &Outcome { start, duration, ..Outcome::default() });
    }

    /// Counts spans as on their way that waited.
    fn depart(&mut self, spans: usize) {
        self.count(Metric::Queued, spans, Direction::Down);
        self.count(Metric::InFlight, spans, Direction::Up);
    }

    /// Counts spans as waiting that were on their way.
    fn come_back(&mut self, spans: usize) {
        self.count(Metric::InFlight, spans, Direction::Down);
        self.count(Metric::Queued, spans, Direction::Up);
    }

    fn settle(&mut self, attempt: Option<Attempt>) {
        match attempt {
            None => {}
            Some(Attempt::Again(spans, failure)) => {
                self.come_back(spans);
                self.health.failed(failure);
            }
            Some(Attempt::Ended(batch, outcome)) => {
                let spans = batch.spans();
                self.count(Metric::InFlight, spans, Direction::Down);
                match outcome {
                    ExportOutcome::Taken(partial) => {
                        let rejected = usize::try_from(partial.rejected_spans);
                        let rejected = rejected.unwrap_or(spans).min(spans);
                        self.count(Metric::Rejected, rejected, Direction::Up);
                        self.count(Metric::Exported, spans - rejected, Direction::Up);
                        self.health.took(spans, partial);
                    }
                    ExportOutcome::Failed(failure) => {
                        self.count(Metric::from(failure), spans, Direction::Up);
                        self.health.failed(failure);
                        self.health.lost(spans);
                    }
                }
                self.queue.recycle(batch);
            }
        }
    }

    fn count(&mut self, metric: Metric, spans: usize, direction: Direction) {
        match direction {
            Direction::Up => self.stats.add_size(metric, spans),
            Direction::Down => self.stats.subtract_size(metric, spans),
        }
    }
}

/// Describes a span, encodes it and queues it. Gives how many older ones were dropped for it.
fn push(
    conventions: &Conventions,
    queue: &mut Queue,
    attributes: &mut Attributes,
    span: &StartedSpan,
    outcome: &Outcome<'_>,
) -> Result<usize, Refused> {
    attributes.clear();
    let request = span.request(outcome);
    let description = conventions.describe(&request, attributes);
    queue.push(&Span {
        context: &span.context,
        parent: span.parent,
        kind: description.kind,
        name: &description.name,
        start: outcome.start,
        end: outcome.start.saturating_add(outcome.duration),
        attributes,
        status: description.status,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}
