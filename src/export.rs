//! One request in flight to the collector: what it says, how long it may take, how it ended.
//!
//! The call itself is the host's part. A batch stays here until its answer is known, so that
//! sending it again needs no other place.

use crate::batch::Batch;
use crate::otlp::response::{PartialSuccess, partial_success};
use std::fmt;
use std::time::Duration;

/// How much longer than its timeout a call may stay unanswered before it is given up. The host
/// answers a call that times out; this is for a host that does not.
const GRACE: Duration = Duration::from_secs(5);

/// How to speak to the collector. Where it is, is Envoy's part: a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// `:path`.
    pub path: String,
    /// `:authority`.
    pub authority: String,
    /// Further headers, names lowercase.
    pub headers: Vec<(String, String)>,
    /// For one exchange.
    pub timeout: Duration,
}

/// The call that carries a batch.
#[derive(Debug)]
pub struct ExportCall<'a> {
    /// The cluster to call.
    pub cluster: &'a str,
    /// All headers, pseudo-headers included.
    pub headers: &'a [(String, String)],
    /// An `ExportTraceServiceRequest`.
    pub body: &'a [u8],
    /// The time for the whole exchange.
    pub timeout: Duration,
}

/// What the host hands back of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A response, the host's own for a timeout or a failed connection included.
    Response {
        /// Its status code; zero if it is not a number.
        status: u16,
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
    Unavailable(u16),
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
            Answer::Response { status: 200..300, body } => Self::Taken(partial_success(body)),
            Answer::Response { status: 504, .. } => Self::Failed(Failure::Timeout),
            Answer::Response { status: status @ (429 | 502 | 503), .. } => {
                Self::Failed(Failure::Unavailable(status))
            }
            Answer::Response { status, .. } => Self::Failed(Failure::Refused(status)),
            Answer::Reset => Self::Failed(Failure::Reset),
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
            Self::Unavailable(status) | Self::Refused(status) => {
                write!(formatter, "the answer was {status}")
            }
        }
    }
}

/// The batch that is on its way, if one is.
#[derive(Debug)]
pub struct Exporter {
    cluster: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    /// The host's name for the call, once it was made.
    call: Option<u32>,
    give_up_at: Duration,
}

impl Exporter {
    /// An exporter that calls `cluster`.
    #[must_use]
    pub fn new(cluster: String, config: ExporterConfig) -> Self {
        let user_agent = concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION"),
            " OTel-OTLP-Exporter-Rust/",
            env!("CARGO_PKG_VERSION")
        );
        let fixed = [
            (":method", "POST".to_owned()),
            (":path", config.path),
            (":authority", config.authority),
            ("content-type", "application/x-protobuf".to_owned()),
            ("user-agent", user_agent.to_owned()),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self {
            cluster,
            headers: fixed.chain(config.headers).collect(),
            timeout: config.timeout,
            in_flight: None,
        }
    }

    /// Whether no call is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Takes a batch on its way; the call is for the host to make. `seal` gives the request's body.
    pub fn begin(
        &mut self,
        batch: Batch,
        now: Duration,
        seal: impl FnOnce(&mut Batch) -> &[u8],
    ) -> ExportCall<'_> {
        let give_up_at = now + self.timeout + GRACE;
        let in_flight = self.in_flight.insert(InFlight { batch, call: None, give_up_at });
        ExportCall {
            cluster: &self.cluster,
            headers: &self.headers,
            body: seal(&mut in_flight.batch),
            timeout: self.timeout,
        }
    }

    /// Notes the host's name for the call that was made.
    pub fn handle_called(&mut self, call: u32) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.call = Some(call);
        }
    }

    /// Gives back the batch of a call that the host refused to make.
    pub fn handle_not_called(&mut self) -> Option<Batch> {
        Some(self.in_flight.take_if(|in_flight| in_flight.call.is_none())?.batch)
    }

    /// Gives back the batch of a call that was answered; a call that was given up has none.
    pub fn handle_answer(&mut self, call: u32) -> Option<Batch> {
        Some(self.in_flight.take_if(|in_flight| in_flight.call == Some(call))?.batch)
    }

    /// Gives back the batch of a call whose answer is overdue.
    pub fn take_overdue(&mut self, now: Duration) -> Option<Batch> {
        Some(self.in_flight.take_if(|in_flight| now >= in_flight.give_up_at)?.batch)
    }

    /// Gives back whatever is on its way, when the filter goes.
    pub fn take_any(&mut self) -> Option<Batch> {
        Some(self.in_flight.take()?.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_otlp_says() {
        let taken = |rejected_spans| {
            ExportOutcome::Taken(PartialSuccess { rejected_spans, ..PartialSuccess::default() })
        };
        let response = |status| Answer::Response { status, body: &[] };
        let cases = [
            (response(200), taken(0), "taken"),
            (response(202), taken(0), "taken, for later"),
            (
                Answer::Response { status: 200, body: &[0x0a, 0x02, 0x08, 0x03] },
                taken(3),
                "taken in part",
            ),
            (response(400), ExportOutcome::Failed(Failure::Refused(400)), "our mistake"),
            (response(401), ExportOutcome::Failed(Failure::Refused(401)), "no right"),
            (response(429), ExportOutcome::Failed(Failure::Unavailable(429)), "too many"),
            (response(500), ExportOutcome::Failed(Failure::Refused(500)), "its mistake"),
            (response(502), ExportOutcome::Failed(Failure::Unavailable(502)), "a broken way"),
            (response(503), ExportOutcome::Failed(Failure::Unavailable(503)), "busy"),
            (response(504), ExportOutcome::Failed(Failure::Timeout), "the host's own timeout"),
            (response(0), ExportOutcome::Failed(Failure::Refused(0)), "no status"),
            (Answer::Reset, ExportOutcome::Failed(Failure::Reset), "no response"),
        ];
        for (answer, expected, reason) in cases {
            assert_eq!(ExportOutcome::of_answer(answer), expected, "{reason}");
        }
    }
}
