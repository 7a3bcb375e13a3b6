//! What an answer of the collector means: taken, worth another try, or lost.
//!
//! It decides nothing about when to try again.

use crate::otlp::response::{PartialSuccess, partial_success};
use std::fmt;
use std::time::Duration;

/// What the host hands back of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A response, the host's own for a timeout or a failed connection included.
    Response {
        /// Its status code; zero if it is not a number.
        status: u16,
        /// How long the collector asks to be left alone.
        retry_after: Option<Duration>,
        /// Its body.
        body: &'a [u8],
    },
    /// No response.
    Reset,
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host knows no such cluster.
    NoCluster,
    /// The cluster has no healthy host, or no room for a call.
    NoUpstream,
    /// No answer in time.
    Timeout,
    /// The connection broke, or the answer was too long for the host.
    Reset,
    /// A status that says "later": 429, 502, 503 (OTLP/HTTP, section Retryable Response Codes).
    Unavailable {
        /// The status.
        status: u16,
        /// How long the collector asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    Refused(u16),
}

/// How an export ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportOutcome {
    /// The collector took the batch, maybe without some spans.
    Taken(PartialSuccess),
    /// It did not.
    Failed(Failure),
}

impl ExportOutcome {
    /// What an answer means.
    #[must_use]
    pub fn of_answer(answer: Answer<'_>) -> Self {
        match answer {
            Answer::Response { status: 200..300, body, .. } => Self::Taken(partial_success(body)),
            // The host's own for a timeout, and a gateway's.
            Answer::Response { status: 504, .. } => Self::Failed(Failure::Timeout),
            Answer::Response { status: status @ (429 | 502 | 503), retry_after, .. } => {
                Self::Failed(Failure::Unavailable { status, retry_after })
            }
            Answer::Response { status, .. } => Self::Failed(Failure::Refused(status)),
            Answer::Reset => Self::Failed(Failure::Reset),
        }
    }
}

impl Failure {
    /// Whether the same batch may be taken later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::NoUpstream | Self::Timeout | Self::Reset | Self::Unavailable { .. } => true,
            Self::NoCluster | Self::Refused(_) => false,
        }
    }

    /// How long the collector asks to be left alone.
    #[must_use]
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCluster => formatter.write_str("there is no such cluster"),
            Self::NoUpstream => formatter.write_str("the cluster has no healthy host or no room"),
            Self::Timeout => formatter.write_str("no answer in time"),
            Self::Reset => formatter.write_str("the connection broke"),
            Self::Unavailable { status, .. } | Self::Refused(status) => {
                write!(formatter, "the answer was {status}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_otlp_says() {
        const LATER: Option<Duration> = Some(Duration::from_secs(7));
        let taken = |rejected_spans| {
            ExportOutcome::Taken(PartialSuccess { rejected_spans, ..PartialSuccess::default() })
        };
        let response = |status| Answer::Response { status, retry_after: LATER, body: &[] };
        let busy =
            |status| ExportOutcome::Failed(Failure::Unavailable { status, retry_after: LATER });
        let body = &[0x0a, 0x02, 0x08, 0x03];
        let cases = [
            (response(200), taken(0), "taken"),
            (response(202), taken(0), "taken, for later"),
            (Answer::Response { status: 200, retry_after: None, body }, taken(3), "taken in part"),
            (response(400), ExportOutcome::Failed(Failure::Refused(400)), "our mistake"),
            (response(401), ExportOutcome::Failed(Failure::Refused(401)), "no right"),
            (response(429), busy(429), "too many"),
            (response(500), ExportOutcome::Failed(Failure::Refused(500)), "its mistake"),
            (response(502), busy(502), "a broken way"),
            (response(503), busy(503), "busy"),
            (response(504), ExportOutcome::Failed(Failure::Timeout), "the host's own timeout"),
            (response(0), ExportOutcome::Failed(Failure::Refused(0)), "no status"),
            (Answer::Reset, ExportOutcome::Failed(Failure::Reset), "no response"),
        ];
        for (answer, expected, reason) in cases {
            assert_eq!(ExportOutcome::of_answer(answer), expected, "{reason}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let busy = Failure::Unavailable { status: 503, retry_after: None };
        for failure in [Failure::NoUpstream, Failure::Timeout, Failure::Reset, busy] {
            assert!(failure.is_transient(), "{failure}");
        }
        for failure in [Failure::NoCluster, Failure::Refused(400), Failure::Refused(500)] {
            assert!(!failure.is_transient(), "{failure}");
        }
    }
}
