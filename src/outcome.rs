//! How a request ended: what is read of it, at the lowest price.
//!
//! Each value has the price of a host call. What the values mean is not here (`semconv`), nor what becomes of them.

mod attempt;
mod start_time;

pub use start_time::StartTime;

use crate::envoy::attempt::NoResponse;
use crate::envoy::attributes::{
    Detail, Details, INTERNAL_REDIRECT, MAX_DURATION_TIMEOUT, OutcomeValues, REQUEST_DURATION,
    REQUEST_TIME, RESPONSE_CODE, RESPONSE_FLAGS, TAGS, response_code,
};
use crate::envoy::connections::Connections;
use crate::envoy::expression::Expression;
use crate::envoy::flags::ResponseFlags;
use crate::envoy::wire::{HeaderMap, number};
use crate::probe::Shared;
use crate::sampling::{FirstLook, KeepRules, Told};
use crate::span::{OpenSpan, Sampling, Start};
use start_time::StartTimes;
use std::time::Duration;

/// So long a request takes that somebody will ask why.
const SLOW: Duration = Duration::from_secs(1);

/// A request that has ended, as whoever holds it can be asked. Each answer has a price: a host call.
pub trait EndedRequest {
    /// What the filters of its process share.
    fn shared(&self) -> &dyn Shared;

    /// The value of one of Envoy's attributes; empty if it is not set.
    fn attribute(&self, name: &str) -> Vec<u8>;

    /// The value of an expression; none if it has none for this request.
    fn evaluate(&self, expression: Expression) -> Option<Vec<u8>>;

    /// Whether an expression has an empty value for this request. No data is handed over, so that it costs less than the value.
    fn is_empty(&self, expression: Expression) -> bool {
        self.evaluate(expression).is_some_and(|value| value.is_empty())
    }

    /// Whether its headers can still be read. Costs nothing.
    fn has_headers(&self) -> bool;

    /// All its headers, as they are now; none if they can't be read any more.
    fn headers(&self) -> HeaderMap;

    /// The time since the same fixed moment as when it started.
    fn now(&self) -> Duration;
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeConfig {
    /// `envoy.details`: what is read of each request. Of one that failed or took long, all is.
    pub details: Details,
    /// `envoy.start_time`.
    pub start_time: StartTime,
    /// `envoy.semconv`: whether the names of Envoy's own tracer are written.
    pub tags: Tags,
}

/// What only Envoy's own tracer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags {
    /// It is not read.
    Unread,
    /// It is.
    Read,
}

/// Reads how requests ended.
#[derive(Debug)]
pub struct OutcomeReader {
    details: Details,
    tags: Tags,
    start_times: StartTimes,
    connections: Connections,
}

impl OutcomeReader {
    /// One that has read nothing yet.
    #[must_use]
    pub fn new(config: OutcomeConfig) -> Self {
        Self {
            details: config.details,
            tags: config.tags,
            start_times: StartTimes::new(config.start_time),
            connections: Connections::default(),
        }
    }

    /// Reads how the request of this span ended.
    pub fn read(&mut self, span: &OpenSpan, request: &dyn EndedRequest) -> OutcomeValues {
        if let Some(attempt) = span.attempt() {
            return self.read_attempt(span, attempt, request);
        }
        let end = request.now();
        let response_code = response_code(&request.attribute(RESPONSE_CODE));
        let response_flags = ResponseFlags::from_bits(number(&request.attribute(RESPONSE_FLAGS)));
        let (start, duration) = self.time(span.start(), end, request);
        let failed = response_code.is_none_or(|code| code >= 400)
            || !response_flags.is_empty()
            || span.is_failed_call();
        let is_asked_for = failed || duration >= SLOW || !matches!(span.sampling(), Sampling::Kept);
        let wanted = if is_asked_for { Details::ALL } else { self.details };
        let read = |detail: Detail| {
            if wanted.contains(detail) { request.attribute(detail.attribute()) } else { Vec::new() }
        };
        let tags = match (self.tags, span.grpc_status()) {
            (Tags::Unread, _) => 0,
            // A message comes with a status alone.
            (Tags::Read, None) => 2,
            (Tags::Read, Some(_)) => TAGS.len(),
        };
        let mut values = OutcomeValues {
            start: nanoseconds(start),
            duration: nanoseconds(duration),
            response_code,
            response_flags,
            no_response: NoResponse::Unsaid,
            connection: self.connections.of(|name| request.attribute(name)),
            details: Detail::ALL.map(read),
            tags: TAGS.iter().take(tags).map(|name| request.attribute(name)).collect(),
        };
        let may_be_redirected = response_code.is_some_and(|code| (300..400).contains(&code));
        if may_be_redirected && !wanted.contains(Detail::ResponseCodeDetails) {
            // Nothing else tells of an internal redirect.
            let told = request.attribute(Detail::ResponseCodeDetails.attribute());
            if told == INTERNAL_REDIRECT {
                let [code_details, ..] = &mut values.details;
                *code_details = told;
            }
        }
        values
    }

    /// When the request began, since the Unix epoch, and how long it took.
    fn time(
        &mut self,
        seen: Option<Start>,
        end: Duration,
        request: &dyn EndedRequest,
    ) -> (Duration, Duration) {
        let read = |name| Duration::from_nanos(number(&request.attribute(name)));
        match seen {
            // It was not seen to begin; Envoy answered it at once.
            None => (read(REQUEST_TIME), read(REQUEST_DURATION)),
            Some(Start { unix, at }) => {
                let took = end.saturating_sub(at);
                if !self.start_times.asks_envoy() {
                    return (unix, took);
                }
                // By durations: a clock that is set anew changes none.
                let held_up = read(REQUEST_DURATION).saturating_sub(took);
                self.start_times.note(held_up);
                (unix.saturating_sub(held_up), took + held_up)
            }
        }
    }
}

/// What can be told of an undecided request at the lowest price: by one expression that gives no data where it has ended well, as most have.
/// Of others the status and the flags are read, and what the rules' own expressions say.
#[must_use]
pub fn first_look(span: &OpenSpan, request: &dyn EndedRequest, rules: &KeepRules) -> FirstLook {
    let duration = span
        .taken(request.now())
        .unwrap_or_else(|| Duration::from_nanos(number(&request.attribute(REQUEST_DURATION))));
    let is_callee_kept = span.is_callee_kept()
        || rules.whole_path().asks_callee && request.shared().is_kept(span.context().trace_id);
    let well = FirstLook {
        duration,
        error: Told::No,
        expression: Told::No,
        is_callee_kept,
        later: Told::No,
    };
    if has_ended_well(span, duration, request, rules) {
        return well;
    }
    let maybe = |is_so: bool| if is_so { Told::Maybe } else { Told::No };
    let code = span.status().or_else(|| {
        // Of an attempt it was looked for; what its request has is another one's.
        let is_unknown = span.attempt().is_none();
        is_unknown.then(|| response_code(&request.attribute(RESPONSE_CODE))).flatten()
    });
    let is_redirected = matches!(code, Some(300..400))
        && request.attribute(Detail::ResponseCodeDetails.attribute()) == INTERNAL_REDIRECT;
    let is_error = rules.asks_error()
        && (span.is_failed_call()
            || code.is_none_or(|code| code >= 500)
            // Nothing cuts off what has come to its end.
            || !span.is_answered() && is_cut_off(duration, request));
    let is_true =
        rules.no_expression().is_some_and(|it| !(span.may_be_asked(it) && request.is_empty(it)));
    FirstLook {
        error: maybe(is_error),
        expression: maybe(is_true),
        later: maybe(is_redirected),
        ..well
    }
}

/// Whether the host says of a request in one that it has ended well: neither on errors nor by their expressions do rules match it. It is not asked
/// where that would not tell enough, or more than is known already.
fn has_ended_well(
    span: &OpenSpan,
    duration: Duration,
    request: &dyn EndedRequest,
    rules: &KeepRules,
) -> bool {
    let may_be_error = rules.asks_error() && (span.is_failed_call() || duration >= SLOW);
    let is_known = span.status().is_some()
        && rules.no_expression().is_none()
        && (span.is_answered() || !rules.asks_error());
    let asked = rules.ended_well().filter(|_| span.attempt().is_none());
    asked.is_some_and(|it| !may_be_error && !is_known && request.is_empty(it))
}

/// Whether a request of which a response has begun was cut off. Within its first second, a limit of its duration is not seen: Envoy has no
/// flag for that.
fn is_cut_off(duration: Duration, request: &dyn EndedRequest) -> bool {
    let flags = ResponseFlags::from_bits(number(&request.attribute(RESPONSE_FLAGS)));
    flags.interruption().is_some()
        || duration >= SLOW
            && request.attribute(Detail::ResponseCodeDetails.attribute())
                == MAX_DURATION_TIMEOUT.as_bytes()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
