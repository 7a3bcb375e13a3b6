//! What an answer of the collector means: taken, worth another try, or lost; and what it says of that.
//!
//! It decides nothing about when to try again.

use super::foreign::Foreign;
use super::protocol::Protocol;
use crate::otlp::response::{PartialSuccess, partial_success, partial_success_of_json};
use crate::otlp::rpc_status;
use std::fmt;
use std::time::Duration;

/// What the host hands back of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A response, the host's own for a timeout or a failed connection included.
    Http {
        /// Its status code; zero if it is not a number.
        status: u16,
        /// How long the collector asks to be left alone.
        retry_after: Option<Duration>,
        /// Its body.
        body: &'a [u8],
    },
    /// A response that says how a gRPC call ended.
    Grpc {
        /// The call's status code.
        code: u32,
        /// How long the collector asks to be left alone.
        retry_delay: Option<Duration>,
        /// `grpc-message`, if the call failed.
        message: &'a [u8],
        /// The response's body.
        body: &'a [u8],
    },
    /// No response.
    Reset,
}

impl<'a> Answer<'a> {
    /// Why the batch was not taken, in the words of whoever answered: the collector, something before it, or the host.
    #[must_use]
    pub fn reason(&self) -> Foreign<'a> {
        match *self {
            Self::Http { body, .. } => match rpc_status::message(body) {
                Some(message) => Foreign::new(message),
                None => Foreign::new(body),
            },
            Self::Grpc { message, .. } => Foreign::percent_encoded(message),
            Self::Reset => Foreign::NOTHING,
        }
    }
}

/// A status that is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerStatus {
    /// Of HTTP.
    Http(u16),
    /// Of gRPC.
    Grpc(u32),
}

/// Why a batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host knows no such cluster.
    NoCluster,
    /// The cluster has no healthy host, or no room for a call.
    NoUpstream,
    /// No answer in time: a status that says so, or nothing at all.
    Timeout(Option<AnswerStatus>),
    /// The connection broke, or the answer was too long for the host.
    Reset,
    /// A status that says "later" (OTLP/HTTP, section Retryable Response Codes; OTLP/gRPC, section Failures).
    Unavailable {
        /// The status.
        status: AnswerStatus,
        /// How long the collector asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// Any other status.
    Refused(AnswerStatus),
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
    /// What an answer to a request of this protocol means.
    #[must_use]
    pub fn of_answer(answer: Answer<'_>, protocol: Protocol) -> Self {
        Self::Failed(match (answer, protocol) {
            (Answer::Reset, _) => Failure::Reset,
            (Answer::Grpc { code, retry_delay, body, .. }, _) => {
                match failure_of_grpc(code, retry_delay) {
                    None => return Self::Taken(partial_success(unframed(body))),
                    Some(failure) => failure,
                }
            }
            // The host's own for a timeout, and a gateway's.
            (Answer::Http { status: 504, .. }, _) => {
                Failure::Timeout(Some(AnswerStatus::Http(504)))
            }
            (Answer::Http { status: status @ (429 | 502 | 503), retry_after, .. }, _) => {
                Failure::Unavailable { status: AnswerStatus::Http(status), retry_after }
            }
            (Answer::Http { status: 200..300, body, .. }, Protocol::HttpProtobuf) => {
                return Self::Taken(partial_success(body));
            }
            (Answer::Http { status: 200..300, body, .. }, Protocol::HttpJson) => {
                return Self::Taken(partial_success_of_json(body));
            }
            // Without a gRPC status a success is none.
            (Answer::Http { status, .. }, _) => Failure::Refused(AnswerStatus::Http(status)),
        })
    }
}

/// The failure that a code stands for; none for OK (OTLP/gRPC, section Failures).
fn failure_of_grpc(code: u32, retry_after: Option<Duration>) -> Option<Failure> {
    /// CANCELLED, ABORTED, `OUT_OF_RANGE`, UNAVAILABLE, `DATA_LOSS`.
    const TRANSIENT: [u32; 5] = [1, 10, 11, 14, 15];
    const DEADLINE_EXCEEDED: u32 = 4;
    /// Transient only if the collector says when to come back (OTLP/gRPC Throttling).
    const RESOURCE_EXHAUSTED: u32 = 8;
    let status = AnswerStatus::Grpc(code);
    match code {
        0 => None,
        DEADLINE_EXCEEDED => Some(Failure::Timeout(Some(status))),
        RESOURCE_EXHAUSTED if retry_after.is_some() => {
            Some(Failure::Unavailable { status, retry_after })
        }
        code if TRANSIENT.contains(&code) => Some(Failure::Unavailable { status, retry_after }),
        _ => Some(Failure::Refused(status)),
    }
}

/// The message in a body of one (gRPC over HTTP2, section Responses); nothing if it is compressed, which was not asked for.
fn unframed(body: &[u8]) -> &[u8] {
    match body.split_first_chunk::<5>() {
        Some(([0, ..], message)) => message,
        _ => &[],
    }
}

impl Failure {
    /// Whether the same batch may be taken later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::NoUpstream | Self::Timeout(_) | Self::Reset | Self::Unavailable { .. } => true,
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

impl fmt::Display for AnswerStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => write!(formatter, "{status}"),
            Self::Grpc(code) => write!(formatter, "gRPC status {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Option<Duration> = Some(Duration::from_secs(7));

    fn taken(rejected_spans: u64) -> ExportOutcome {
        ExportOutcome::Taken(PartialSuccess { rejected_spans, ..PartialSuccess::default() })
    }

    fn refused(status: AnswerStatus) -> ExportOutcome {
        ExportOutcome::Failed(Failure::Refused(status))
    }

    fn busy(status: AnswerStatus, retry_after: Option<Duration>) -> ExportOutcome {
        ExportOutcome::Failed(Failure::Unavailable { status, retry_after })
    }

    fn timeout(status: AnswerStatus) -> ExportOutcome {
        ExportOutcome::Failed(Failure::Timeout(Some(status)))
    }
    /// That three spans were rejected.
    const REJECTED: &[u8] = &[0x0a, 0x02, 0x08, 0x03];

    #[test]
    fn answers_over_http_mean_what_otlp_says() {
        let response = |status| Answer::Http { status, retry_after: LATER, body: &[] };
        let with = |body| Answer::Http { status: 200, retry_after: None, body };
        let json = br#"{"partialSuccess": {"rejectedSpans": "3"}}"#;
        let [protobuf, of_json, grpc] =
            [Protocol::HttpProtobuf, Protocol::HttpJson, Protocol::Grpc];
        let http = AnswerStatus::Http;
        let cases = [
            (response(200), protobuf, taken(0), "taken"),
            (response(202), protobuf, taken(0), "taken, for later"),
            (with(REJECTED), protobuf, taken(3), "taken in part"),
            (with(json), of_json, taken(3), "taken in part, in JSON"),
            (with(REJECTED), of_json, taken(0), "what is no JSON says nothing"),
            (response(400), protobuf, refused(http(400)), "our mistake"),
            (response(401), protobuf, refused(http(401)), "no right"),
            (response(429), protobuf, busy(http(429), LATER), "too many"),
            (response(500), protobuf, refused(http(500)), "its mistake"),
            (response(502), protobuf, busy(http(502), LATER), "a broken way"),
            (response(503), protobuf, busy(http(503), LATER), "busy"),
            (response(504), protobuf, timeout(http(504)), "the host's own timeout"),
            (response(0), protobuf, refused(http(0)), "no status"),
            (Answer::Reset, protobuf, ExportOutcome::Failed(Failure::Reset), "no response"),
            (response(200), grpc, refused(http(200)), "no gRPC status"),
            (response(503), grpc, busy(http(503), LATER), "a gateway's, not the collector's"),
        ];
        for (answer, protocol, expected, reason) in cases {
            assert_eq!(ExportOutcome::of_answer(answer, protocol), expected, "{reason}");
        }
    }

    #[test]
    fn answers_over_grpc_mean_what_otlp_says() {
        let framed = [&[0, 0, 0, 0, 4][..], REJECTED].concat();
        let zipped = [&[1, 0, 0, 0, 4][..], REJECTED].concat();
        let grpc = |code, retry_delay| Answer::Grpc { code, retry_delay, message: b"", body: &[] };
        let with = |body| Answer::Grpc { code: 0, retry_delay: None, message: b"", body };
        let mut cases = vec![
            (grpc(0, None), taken(0), "OK".to_owned()),
            (with(&framed), taken(3), "OK, in part".to_owned()),
            (with(&zipped), taken(0), "OK, compressed".to_owned()),
            (with(&framed[..4]), taken(0), "OK, cut".to_owned()),
            (grpc(4, LATER), timeout(AnswerStatus::Grpc(4)), "DEADLINE_EXCEEDED".to_owned()),
            (
                grpc(8, LATER),
                busy(AnswerStatus::Grpc(8), LATER),
                "RESOURCE_EXHAUSTED, RetryInfo".into(),
            ),
            (grpc(8, None), refused(AnswerStatus::Grpc(8)), "RESOURCE_EXHAUSTED alone".to_owned()),
            (grpc(99, None), refused(AnswerStatus::Grpc(99)), "no code".to_owned()),
        ];
        for code in [1, 10, 11, 14, 15] {
            let later = busy(AnswerStatus::Grpc(code), LATER);
            cases.push((grpc(code, LATER), later, format!("{code}, RetryInfo")));
            cases.push((grpc(code, None), busy(AnswerStatus::Grpc(code), None), format!("{code}")));
        }
        for code in [2, 3, 5, 6, 7, 9, 12, 13, 16] {
            cases.push((grpc(code, LATER), refused(AnswerStatus::Grpc(code)), format!("{code}")));
        }
        for (answer, expected, reason) in cases {
            assert_eq!(ExportOutcome::of_answer(answer, Protocol::Grpc), expected, "{reason}");
        }
    }

    #[test]
    fn whoever_answers_says_why() {
        let http = |body| Answer::Http { status: 401, retry_after: None, body };
        let grpc = |message| Answer::Grpc { code: 16, retry_delay: None, message, body: b"x" };
        let cases = [
            (http(b"invalid API key\n"), "invalid API key", "a text"),
            (http(b"\x08\x10\x12\x06no key"), "no key", "a message of OTLP"),
            (http(b""), "", "nothing"),
            (grpc(b"no%20key"), "no key", "percent-encoded"),
            (grpc(b""), "", "nothing"),
            (Answer::Reset, "", "nobody"),
        ];
        for (answer, expected, reason) in cases {
            assert_eq!(answer.reason().to_string(), expected, "{reason}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let busy = Failure::Unavailable { status: AnswerStatus::Http(503), retry_after: None };
        for failure in [Failure::NoUpstream, Failure::Timeout(None), Failure::Reset, busy] {
            assert!(failure.is_transient(), "{failure:?}");
        }
        for status in [AnswerStatus::Http(400), AnswerStatus::Http(500), AnswerStatus::Grpc(3)] {
            assert!(!Failure::Refused(status).is_transient(), "{status:?}");
        }
        assert!(!Failure::NoCluster.is_transient());
    }
}
