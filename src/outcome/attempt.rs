//! How an attempt of the router ended. Envoy tells of its request; little of that belongs to the attempt.
//!
//! Nothing is read of the downstream connection: the streams of shadow requests have none, and an Envoy that is asked for its addresses crashes.

use super::{EndedRequest, OutcomeReader, SLOW, nanoseconds};
use crate::envoy::attempt::{ATTEMPT_NUMBER, Attempt, NoResponse};
use crate::envoy::attributes::{Detail, Details, OutcomeValues, RESPONSE_CODE, RESPONSE_FLAGS};
use crate::envoy::flags::ResponseFlags;
use crate::envoy::wire::number;
use crate::span::{OpenSpan, Sampling, Start};
use std::time::Duration;

/// This end of the connection to the upstream; none where there was no connection.
const UPSTREAM_LOCAL_ADDRESS: &str = "upstream.local_address";
/// Why there was no connection; none where it took too long, or a circuit breaker was open.
const FAILURE_REASON: &str = "upstream.transport_failure_reason";

impl OutcomeReader {
    /// Reads how the attempt of this span ended, whose status was noted when its response came.
    #[inline(never)] // A request in a listener's chain has no part in it.
    pub(super) fn read_attempt(
        &self,
        span: &OpenSpan,
        attempt: Attempt,
        request: &dyn EndedRequest,
    ) -> OutcomeValues {
        let at = request.now();
        // An attempt is always seen to begin.
        let start = span.start().unwrap_or(Start { unix: at, at });
        let duration = at.saturating_sub(start.at);
        let (response_flags, no_response) = match span.status() {
            Some(_) => (ResponseFlags::default(), NoResponse::Unsaid),
            None => without_response(attempt, duration, |name| request.attribute(name)),
        };
        let is_asked_for = span.status().is_none_or(|code| code >= 400)
            || duration >= SLOW
            || span.is_failed_call()
            || !matches!(span.sampling(), Sampling::Kept);
        let wanted = if is_asked_for { Details::ALL } else { self.details }.of_attempt();
        let mut values = OutcomeValues {
            start: nanoseconds(start.unix),
            duration: nanoseconds(duration),
            response_code: span.status(),
            response_flags,
            no_response,
            ..OutcomeValues::default()
        };
        for (value, detail) in values.details.iter_mut().zip(Detail::ALL) {
            if wanted.contains(detail) {
                *value = request.attribute(detail.attribute());
            }
        }
        values.keep_own(attempt);
        values
    }
}

/// Why an attempt has ended without a response, by what Envoy says of its request: so much of that belongs to other attempts. `took` is how long
/// it has taken. A flag that is returned is the attempt's own.
fn without_response(
    attempt: Attempt,
    took: Duration,
    attribute: impl Fn(&str) -> Vec<u8>,
) -> (ResponseFlags, NoResponse) {
    let flags = ResponseFlags::from_bits(number(&attribute(RESPONSE_FLAGS))).of_any_attempt();
    if !flags.is_empty() {
        return (flags, NoResponse::Unsaid);
    }
    if !attribute(RESPONSE_CODE).is_empty() {
        return (flags, NoResponse::Superseded);
    }
    if attempt.has_timed_out(took) {
        return (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, NoResponse::Unsaid);
    }
    // What Envoy says of the upstream is about the latest attempt.
    let latest = Attempt::read(&attribute(ATTEMPT_NUMBER));
    let is_latest = latest.is_some_and(|it| it.number == attempt.number);
    if !is_latest || !attribute(UPSTREAM_LOCAL_ADDRESS).is_empty() {
        (flags, NoResponse::Reset)
    } else if attribute(FAILURE_REASON).is_empty() {
        (flags, NoResponse::NoConnection)
    } else {
        (ResponseFlags::UPSTREAM_CONNECTION_FAILURE, NoResponse::Unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u64) -> Attempt {
        Attempt::read(&number.to_le_bytes()).expect("an attempt")
    }

    /// What is seen of the second attempt of a request, which had a connection and has no response.
    #[derive(Clone, Copy)]
    struct Seen {
        timeout: &'static str,
        milliseconds: u64,
        flags: u64,
        response_code: &'static str,
        latest: u64,
        local_address: &'static str,
        failure_reason: &'static str,
    }

    #[test]
    fn why_there_is_no_response() {
        let seen = Seen {
            timeout: "",
            milliseconds: 9000,
            flags: 0,
            response_code: "",
            latest: 2,
            local_address: "10.0.0.1:1",
            failure_reason: "",
        };
        let (uo, dc, urx) = (1 << 7, 1 << 14, 1 << 15);
        let (ut, uf) = (1 << 2, 1 << 5);
        let [said, reset, none, superseded] = [
            NoResponse::Unsaid,
            NoResponse::Reset,
            NoResponse::NoConnection,
            NoResponse::Superseded,
        ];
        let timed = Seen { timeout: "200", ..seen };
        let unconnected = Seen { local_address: "", ..seen };
        let cases = [
            (Seen { flags: dc, ..timed }, dc, said, "the caller left"),
            (Seen { flags: uo | urx, ..unconnected }, uo, said, "a circuit breaker, as Envoy says"),
            (
                Seen { response_code: "200", latest: 3, ..timed },
                0,
                superseded,
                "the next one was faster",
            ),
            (Seen { milliseconds: 195, flags: urx, ..timed }, ut, said, "too slow"),
            (Seen { milliseconds: 194, ..timed }, 0, reset, "in time"),
            (seen, 0, reset, "no timeout is known"),
            (Seen { failure_reason: "refused", ..unconnected }, uf, said, "nobody is there"),
            (unconnected, 0, none, "nobody says why"),
            (
                Seen { latest: 3, ..unconnected },
                0,
                reset,
                "it is the next one that has no connection yet",
            ),
        ];
        for (seen, flags, no_response, reason) in cases {
            let attribute = |name: &str| match name {
                RESPONSE_FLAGS => seen.flags.to_le_bytes().to_vec(),
                RESPONSE_CODE => seen.response_code.into(),
                ATTEMPT_NUMBER => seen.latest.to_le_bytes().to_vec(),
                UPSTREAM_LOCAL_ADDRESS => seen.local_address.into(),
                FAILURE_REASON => seen.failure_reason.into(),
                _ => panic!("{name}"),
            };
            let took = Duration::from_millis(seen.milliseconds);
            let attempt = attempt(2).expecting(seen.timeout.as_bytes());
            let found = without_response(attempt, took, attribute);
            assert_eq!(found, (ResponseFlags::from_bits(flags), no_response), "{reason}");
        }
    }
}
