//! Requests that the sampler has let go and a rule may keep: what becomes of them when they are answered, and when they have ended.

use super::Tracer;
use super::attempt::may_be_asked;
use crate::envoy::attributes::Outcome;
use crate::envoy::headers::Headers;
use crate::envoy::wire::decimal;
use crate::outcome::{EndedRequest, first_look};
use crate::probe::{BucketName, Presence, ResponsePart, ResponseSource, Shared};
use crate::propagation::changes::Changes;
use crate::propagation::expose;
use crate::propagation::server_timing::{self, SERVER_TIMING, TRACE_RESPONSE};
use crate::sampling::limit::Room;
use crate::sampling::operator::FORCED;
use crate::sampling::{self, Ending, FirstLook, KeepRule, Parent, Subject, Told};
use crate::semconv::RequestHeaders;
use crate::semconv::grpc::StatusCode;
use crate::semconv::request::RequestProtocol;
use crate::semconv::start::StartingRequest;
use crate::span::{OpenSpan, RequestHead, Sampling};
use crate::stats::Metric;
use std::rc::Rc;
use std::time::Duration;

/// The header that says how a response is.
const STATUS: &str = ":status";
/// The trailer, or header of a response without trailers, that says how a gRPC call ended.
const GRPC_STATUS: &str = "grpc-status";

impl Tracer {
    /// Notes what a response says, and gives what becomes of its headers, or trailers: the caller of a request that is kept although it had
    /// not asked for that is told so, and what the callee has told is gone.
    pub fn respond(&mut self, span: &mut OpenSpan, response: &dyn ResponseSource) -> &Changes {
        self.changes.clear();
        if response.part() != ResponsePart::Headers {
            span.note_answered();
            // "Trailers-only": the status is among the headers.
            if span.may_be_grpc()
                && let Some(status) = response.first(GRPC_STATUS)
            {
                span.note_grpc_status(&status);
            }
        }
        if span.attempt().is_some() {
            note_status(span, response);
        }
        let whole_path = self.keep.whole_path();
        if whole_path.asks_callee && *span.sampling() == Sampling::Undecided {
            self.read_answer(span, response);
        }
        if whole_path.tells_caller {
            if *span.sampling() == Sampling::Undecided {
                self.keep_early(span, response);
            }
            if let Some(caller) = span.take_untold() {
                let told = server_timing::kept(span.context(), caller);
                self.changes.add(SERVER_TIMING, &told);
            }
        }
        if self.exposure().server_timing
            && span.is_kept()
            && response.part() != ResponsePart::Trailers
        {
            self.changes.add(SERVER_TIMING, &expose::server_timing(span.entry()));
        }
        &self.changes
    }

    /// Reads what the callee says of the trace.
    fn read_answer(&mut self, span: &mut OpenSpan, response: &dyn ResponseSource) {
        let context = span.context();
        let mut is_kept = false;
        if let Some(value) = response.header(SERVER_TIMING) {
            let told = server_timing::read(&value, context);
            is_kept |= told.is_kept;
            match told.rest.as_deref() {
                None => {}
                Some([]) => self.changes.remove(SERVER_TIMING, Presence::Present),
                Some(rest) => self.changes.set(SERVER_TIMING, rest, Presence::Present),
            }
        }
        if response.part() != ResponsePart::Trailers {
            let value = response.header(TRACE_RESPONSE);
            is_kept |= value.is_some_and(|value| server_timing::is_kept(&value, context));
        }
        if is_kept {
            span.note_callee_kept();
        }
    }

    /// Keeps a request whose response tells already that a rule will.
    fn keep_early(&mut self, span: &mut OpenSpan, response: &dyn ResponseSource) {
        let Some(duration) = span.taken(response.now()) else { return };
        if self.keep.asks_error() && span.attempt().is_none() {
            note_status(span, response);
        }
        let is_error = is_servers_fault(span) || span.status().is_some_and(|code| code >= 500);
        if !span.is_callee_kept() && response.shared().is_kept(span.context().trace_id) {
            span.note_callee_kept();
        }
        let error = if is_error { Told::Certain } else { Told::No };
        self.keep_if_certain(span, duration, error, response.now(), response.shared());
    }

    /// Keeps a request that has not ended if what it has taken, and whether it is an error, tell already that a rule will.
    pub(super) fn keep_if_certain(
        &mut self,
        span: &mut OpenSpan,
        duration: Duration,
        error: Told,
        now: Duration,
        shared: &dyn Shared,
    ) {
        let look = FirstLook {
            duration,
            error,
            expression: Told::No,
            is_callee_kept: span.is_callee_kept(),
            later: Told::Maybe,
        };
        if let Some(rule) = self.keep.certain(look, randomness(span)) {
            let rule = Rc::clone(rule);
            self.keep_by(span, &rule, now, shared);
        }
    }

    /// Whether a rule may keep a request that has ended, as far as a first look tells.
    pub(super) fn may_be_kept(&self, span: &mut OpenSpan, request: &dyn EndedRequest) -> bool {
        let look = first_look(span, request, &self.keep);
        if look.is_callee_kept {
            span.note_callee_kept();
        }
        self.keep.may_keep(look, randomness(span))
    }

    /// Reads the headers of a request that has ended, if they were not read before.
    pub(super) fn read_headers(&self, span: &mut OpenSpan, request: &dyn EndedRequest) {
        if span.headers().is_none() {
            let headers = self.probe.headers_at_end(request.headers());
            span.note_headers(self.head(&headers));
        }
    }

    /// What is held of a request's headers.
    pub(super) fn head(&self, headers: &Headers) -> RequestHead {
        let protocol = RequestProtocol::of(headers);
        let headers = headers.hold(|name, value| {
            let wanted = self.request_headers.contains(name);
            wanted.then(|| self.conventions.held(name, value, self.max_value_bytes))
        });
        RequestHead { headers, protocol }
    }

    /// Has the rules decide on a request that has ended. One that the sampler has kept stays kept; a rule may say that it would have been with
    /// a larger probability.
    pub(super) fn ask_rules(
        &mut self,
        span: &mut OpenSpan,
        outcome: Outcome<'_>,
        request: &dyn EndedRequest,
    ) {
        let is_kept_early = match span.sampling() {
            _ if self.keep.is_empty() => return,
            Sampling::Refused => return,
            Sampling::KeptBy(rule) if rule.as_ref() == FORCED => return,
            Sampling::KeptBy(_) => true,
            Sampling::Kept | Sampling::Undecided => false,
        };
        let Some(rule) = self.matching(span, outcome, request) else { return };
        if !is_kept_early {
            self.keep_by(span, &rule, request.now(), request.shared());
        } else if rule.threshold.keeps(randomness(span)) {
            // The rule that has kept it may stand behind this one.
            span.keep_by(Rc::clone(&rule.name));
        }
    }

    fn matching(
        &self,
        span: &OpenSpan,
        outcome: Outcome<'_>,
        request: &dyn EndedRequest,
    ) -> Option<Rc<KeepRule>> {
        let routes = self.conventions.routes();
        let facts = span.facts(outcome, &routes);
        let headers = span.headers();
        let read = headers.map(|headers| RequestHeaders::read(headers.iter()));
        let names = self.keep_attributes.iter();
        let attempt = span.attempt();
        let ask = |name: &&'static str| {
            (*name, if may_be_asked(attempt, name) { request.attribute(name) } else { Vec::new() })
        };
        let attributes: Vec<_> = names.map(ask).collect();
        let subject = Subject {
            request: StartingRequest {
                headers: headers.zip(read.as_ref()),
                attributes: &attributes,
                routes: Some(&routes),
            },
            span_kind: self.kind_of(attempt),
            parent: Parent::of(span.parent()),
        };
        let taken = span.taken(request.now());
        let duration = taken.unwrap_or_else(|| Duration::from_nanos(outcome.duration));
        let evaluate = |it| {
            span.may_be_asked(it) && request.evaluate(it).is_some_and(|value| !value.is_empty())
        };
        let ending = Ending {
            facts: &facts,
            duration,
            is_callee_kept: span.is_callee_kept(),
            subject,
            evaluate: &evaluate,
        };
        self.keep.matching(&ending).cloned()
    }

    /// Notes that a rule matches a request, and so keeps it, if it is not kept and there is room.
    fn keep_by(
        &mut self,
        span: &mut OpenSpan,
        rule: &KeepRule,
        now: Duration,
        shared: &dyn Shared,
    ) {
        if !rule.threshold.keeps(randomness(span)) {
            return;
        }
        let probability = rule.probability();
        let Some(mut state) = sampling::trace_state_by_rule(span.context(), probability) else {
            return;
        };
        if *span.sampling() == Sampling::Undecided {
            match self.room(BucketName::Outcome, now, shared) {
                Room::Enough => {}
                Room::Short => state = sampling::without_probability(state),
                Room::None => {
                    self.stats.count(Metric::LimitedOutcome, 1);
                    return span.refuse();
                }
            }
            span.keep_by(Rc::clone(&rule.name));
            self.expose(span.entry());
            self.stats.count(Metric::KeptByRule, 1);
            self.note_kept();
            if self.keep.whole_path().asks_callee {
                shared.note_kept(span.context().trace_id);
            }
        }
        span.set_trace_state(&state);
    }

    /// Takes room for the spans of a request, where their number is limited.
    pub(super) fn room(&mut self, bucket: BucketName, now: Duration, shared: &dyn Shared) -> Room {
        let Some([head, outcome]) = &mut self.limiters else { return Room::Enough };
        let limiter = match bucket {
            BucketName::Head => head,
            BucketName::Outcome => outcome,
        };
        limiter.take(self.span_kind.most_spans(), now, |per_second, wanted| {
            shared.take_spans(bucket, per_second, wanted)
        })
    }
}

/// Notes the status of a response whose headers have come.
fn note_status(span: &mut OpenSpan, response: &dyn ResponseSource) {
    if response.part() != ResponsePart::Trailers {
        let status = response.first(STATUS).unwrap_or_default();
        span.note_status(decimal(&status).and_then(|code| u16::try_from(code).ok()));
    }
}

fn randomness(span: &OpenSpan) -> u64 {
    let context = span.context();
    sampling::randomness(context.trace_id, &context.trace_state)
}

/// Whether the response of a gRPC call has said a status that is the server's fault.
fn is_servers_fault(span: &OpenSpan) -> bool {
    span.grpc_status().is_some_and(StatusCode::is_servers_fault)
}
