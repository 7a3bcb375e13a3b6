//! Puts the parts together: start a request, finish a request, send what is due, take an answer.
//!
//! It makes no host call and reads no clock; what it needs of a request is asked of whoever holds that.

mod attempt;
mod attributes;
mod border;
mod clock;
mod end;
mod keep;
mod lifecycle;
mod long_streams;
mod redirect;
mod start;

pub use attempt::Lineage;
pub use long_streams::LookAgain;
pub use redirect::Mark;
pub use start::Started;

use crate::batch::{BatchLimits, Queue};
use crate::config::Config;
use crate::context::SpanContext;
use crate::envoy::attempt::EXPECTED_TIMEOUT;
use crate::envoy::attributes::Detail;
use crate::envoy::connections::is_of_peers;
use crate::envoy::expression::Expression;
use crate::envoy::headers::HeaderNames;
use crate::envoy::node::Node;
use crate::export::answer::{Answer, ExportOutcome, Failure};
use crate::export::health::CollectorHealth;
use crate::export::protocol::Protocol;
use crate::export::{Attempt, ExportCall, Exporter, Ready};
use crate::id::IdGenerator;
use crate::otlp::attributes::{Attributes, SpanLimits};
use crate::otlp::gzip::Zlib;
use crate::otlp::request::Frame;
use crate::outcome::OutcomeReader;
use crate::probe::Probe;
use crate::propagation::changes::Changes;
use crate::propagation::expose::{Exposed, Exposure};
use crate::propagation::{Propagators, Unsampled};
use crate::resource::AttributeValue;
use crate::sampling::limit::Limiter;
use crate::sampling::operator::OperatorHeader;
use crate::sampling::{KeepRules, Sampler};
use crate::semconv::configured::ConfiguredAttribute;
use crate::semconv::{Conventions, SpanKindSetting, TelemetryExports};
use crate::stats::{Metric, Stats};
use crate::trust::Borders;
use attempt::Placement;
use clock::UnixClock;
use redirect::Redirected;
use std::rc::Rc;
use std::time::Duration;

/// The tracer of one root context: all requests of one worker under one configuration.
#[derive(Debug)]
pub struct Tracer {
    propagators: Propagators,
    sampler: Box<dyn Sampler>,
    keep: KeepRules,
    /// Envoy's attributes that the rules ask for.
    keep_attributes: Vec<&'static str>,
    /// Of the head and of outcomes, where their number is limited.
    limiters: Option<[Limiter; 2]>,
    force: Option<OperatorHeader>,
    explain: Option<OperatorHeader>,
    unsampled: Unsampled,
    /// None where contexts come in and go on, and nobody is told.
    borders: Option<Box<Borders>>,
    probe: Probe,
    placement: Placement,
    conventions: Conventions,
    span_kind: SpanKindSetting,
    /// The request's headers that a span needs.
    request_headers: HeaderNames,
    telemetry_exports: TelemetryExports,
    /// The response's headers that become attributes.
    response_headers: HeaderNames,
    /// To so many bytes a value is cut at once: no attribute of it will be longer.
    max_value_bytes: usize,
    /// What all requests that are under way may hold, in bytes.
    max_open_bytes: usize,
    /// Of the span that is being described; kept for its memory.
    attributes: Attributes,
    /// Of the request that starts; kept for their memory.
    changes: Changes,
    /// Why the request that starts is kept or not, if an operator has asked.
    explanation: Option<String>,
    /// What access logs have to be told of the current request.
    exposed: Option<Exposed>,
    ids: IdGenerator,
    queue: Queue,
    exporter: Exporter,
    stats: Stats,
    long_streams: Option<Duration>,
    /// Spans that have begun and not ended.
    open: usize,
    /// The bytes that they hold.
    open_bytes: usize,
    /// Spans whose requests may go on as internal redirects.
    redirected: Vec<Redirected>,
    health: CollectorHealth,
    outcomes: OutcomeReader,
    clock: UnixClock,
}

impl Tracer {
    /// A tracer under this configuration. `resource` is complete: the host's part included. `zlib` compresses what is sent, where that
    /// is configured.
    #[must_use]
    pub fn new(
        config: Config,
        resource: &[(String, AttributeValue)],
        ids: IdGenerator,
        zlib: Box<dyn Zlib>,
    ) -> Self {
        let (propagators, sampler) = (config.propagators, config.sampler);
        let conventions = Conventions::new(config.http, Rc::new(config.routes))
            .named(config.semconv)
            .with(config.attributes);
        let needs = propagators.needs().and(sampler.needs());
        let mut names: HeaderNames = conventions.request_headers().collect();
        propagators.fields().for_each(|name| names.add(name));
        needs.header_names.iter().for_each(|name| names.add(name));
        names.add(EXPECTED_TIMEOUT);
        let at_end = config.keep.needs();
        // An attempt that was taken for a request in a listener's chain would be asked for what crashes Envoy.
        let asks_peers =
            [&needs, &at_end].into_iter().flat_map(|it| &it.attributes).any(|it| is_of_peers(it))
                || config.keep.no_expression().is_some_and(Expression::asks_peers)
                || conventions.attributes().iter().any(ConfiguredAttribute::asks_peers);
        let mut request_headers: HeaderNames = conventions.request_headers().collect();
        for name in &at_end.header_names {
            names.add(name);
            request_headers.add(name);
        }
        if !config.keep.is_empty() {
            for (name, _) in Probe::ORIGINALS {
                names.add(name);
            }
        }
        let mut outcome = config.outcome;
        if config.span_kind == SpanKindSetting::ServerAndClient {
            // Whether it has a CLIENT span.
            outcome.details = outcome.details.with(Detail::UpstreamAddress);
        }
        Self {
            placement: if asks_peers { Placement::Cluster } else { Placement::NEW },
            probe: Probe::new(needs, names),
            request_headers,
            keep: config.keep,
            limiters: config
                .max_spans_per_second
                .map(|most| [Limiter::new(most), Limiter::new(most)]),
            force: config.force,
            explain: config.explain,
            keep_attributes: at_end.attributes,
            response_headers: conventions.response_headers().collect(),
            max_value_bytes: max_value_bytes(config.limits, config.batch),
            max_open_bytes: config.max_open_bytes,
            propagators,
            sampler,
            unsampled: config.unsampled,
            borders: config.borders,
            conventions,
            span_kind: config.span_kind,
            telemetry_exports: config.telemetry_exports,
            attributes: Attributes::new(config.limits),
            changes: Changes::default(),
            explanation: None,
            exposed: None,
            ids,
            queue: Queue::new(config.batch, Frame::new(resource)),
            health: CollectorHealth::new(&config.exporter),
            exporter: Exporter::new(config.exporter, zlib),
            stats: Stats::default(),
            long_streams: config.long_streams,
            open: 0,
            open_bytes: 0,
            redirected: Vec::new(),
            outcomes: OutcomeReader::new(outcome),
            clock: UnixClock::default(),
        }
    }

    /// Takes from the node that it is on what spans say of it.
    pub fn take_node(&mut self, node: &mut Node) {
        self.conventions.take_node(node);
    }

    /// The call that is due, if one is. `now` is the time since any fixed moment; after this, either
    /// [`Tracer::handle_called`] or [`Tracer::handle_not_called`] follows.
    pub fn poll_export(&mut self, now: Duration) -> Option<ExportCall<'_>> {
        self.give_up_redirected(now);
        let attempt = self.exporter.handle_overdue(now, self.ids.number());
        self.settle(attempt, Answer::Reset, now);
        let call = match self.exporter.ready(now) {
            Ready::No => return None,
            Ready::Again => {
                self.stats.count(Metric::Retries, 1);
                let queue = &self.queue;
                self.exporter.resend(now, |batch| queue.request(batch))?
            }
            Ready::Next => {
                let batch = self.queue.take_due(now)?;
                let queue = &self.queue;
                self.exporter.begin(batch, now, |batch| queue.request(batch))
            }
        };
        self.stats.count(Metric::SavedBytes, call.body.saved);
        Some(call)
    }

    /// Whether a look at the clock could lead to anything.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.queue.spans() > 0 || !self.exporter.is_idle() || !self.redirected.is_empty()
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
        self.settle(attempt, Answer::Reset, now);
    }

    /// What access logs have to be told of the current request, if it has not been told: after each call that is about one.
    pub fn take_exposed(&mut self) -> Option<Exposed> {
        self.exposed.take()
    }

    /// Who is told of a request's trace beside.
    fn exposure(&self) -> Exposure {
        self.borders.as_ref().map_or_else(Exposure::default, |borders| borders.exposure)
    }

    #[inline] // Mostly nobody is.
    fn expose(&mut self, context: &SpanContext) {
        if self.exposure().filter_state {
            self.note_exposed(context);
        }
    }

    #[inline(never)]
    fn note_exposed(&mut self, context: &SpanContext) {
        self.exposed = Some(Exposed::new(context));
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
        self.settle(attempt, answer, now);
    }

    /// Gives up a call whose answer is overdue, and says whether one is still under way.
    pub fn is_in_flight(&mut self, now: Duration) -> bool {
        let attempt = self.exporter.handle_overdue(now, self.ids.number());
        self.settle(attempt, Answer::Reset, now);
        self.exporter.is_in_flight()
    }

    /// What the host's counters lack.
    pub fn take_stats(&mut self) -> impl Iterator<Item = (Metric, i64)> + use<> {
        let held = self.held();
        self.stats.take_changes(held)
    }

    /// Counts what became of a batch, and says it. `answer` is what came, if anything did.
    fn settle(&mut self, attempt: Option<Attempt>, answer: Answer<'_>, now: Duration) {
        match attempt {
            None => {}
            Some(Attempt::Again(failure)) => self.health.failed(failure, &answer.reason(), now),
            Some(Attempt::Ended(batch, outcome)) => {
                let spans = batch.spans();
                match outcome {
                    ExportOutcome::Taken(partial) => {
                        let rejected = usize::try_from(partial.rejected_spans);
                        let rejected = rejected.unwrap_or(spans).min(spans);
                        self.stats.count(Metric::Rejected, rejected);
                        self.stats.count(Metric::Exported, spans - rejected);
                        self.health.took(spans, &partial, now);
                    }
                    ExportOutcome::Failed(failure) => {
                        self.stats.count(Metric::from(failure), spans);
                        self.health.failed(failure, &answer.reason(), now);
                        self.health.lost(spans);
                    }
                }
                self.queue.recycle(batch);
            }
        }
    }
}

/// So many bytes a value has at most that becomes an attribute: a character takes up to four. A span that is larger than a batch is cut
/// anyway.
fn max_value_bytes(limits: SpanLimits, batch: BatchLimits) -> usize {
    let characters = limits.attribute_value_length.unwrap_or(usize::MAX);
    characters.saturating_mul(4).min(batch.max_batch_bytes)
}

#[cfg(test)]
mod tests;
