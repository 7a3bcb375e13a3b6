//! How an attempt of the router ended. Envoy tells of its request; little of that belongs to the attempt.
//!
//! Nothing is read of the downstream connection: the streams of shadow requests have none, and an Envoy that is asked for its addresses crashes.

use super::{EndedRequest, OutcomeReader, SLOW, nanoseconds};
use crate::envoy::attempt::{Attempt, NoResponse};
use crate::envoy::attributes::{Detail, Details, OutcomeValues};
use crate::envoy::flags::ResponseFlags;
use crate::span::{OpenSpan, Sampling, Start};

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
            None => attempt.without_response(duration, |name| request.attribute(name)),
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
