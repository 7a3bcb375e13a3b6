//! One batch on its way to the collector: in flight, or waiting to be sent again.
//!
//! It makes no call and reads no clock: calls are the host's part, a time is a `Duration` since any fixed
//! moment. A batch stays here until it was taken or is given up; what comes meanwhile waits in the queue.

pub mod answer;
pub mod backoff;
pub mod foreign;
pub mod health;
pub mod protocol;
pub mod retry_after;

use crate::batch::Batch;
use crate::otlp::gzip::Zlib;
use answer::{ExportOutcome, Failure};
use backoff::RetryPolicy;
use protocol::{Body, Compression, Encoder, Protocol};
use std::time::Duration;

/// How much longer than its timeout a call may stay unanswered before it is given up. The host
/// answers a call that times out; this is for a host that does not.
const GRACE: Duration = Duration::from_secs(5);

/// The longest that the collector is left alone because it asks for it: a mistake in a clock or a number must not silence a worker. Where the
/// wait of [`RetryPolicy`] is longer, that counts.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// How often in a row the collector may refuse a batch for good before it is left alone for a while.
const MAX_REFUSALS: u32 = 2;

/// Which cluster to call and how to speak to it. Where that is, is Envoy's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// The cluster of the collector.
    pub cluster: String,
    /// How a request is put on the wire.
    pub protocol: Protocol,
    /// Whether that is compressed.
    pub compression: Compression,
    /// `:path`.
    pub path: String,
    /// `:authority`.
    pub authority: String,
    /// Further headers, names lowercase.
    pub headers: Vec<(String, String)>,
    /// For one exchange.
    pub timeout: Duration,
    /// When a batch is sent again.
    pub retry: RetryPolicy,
}

/// The call that carries a batch.
#[derive(Debug)]
pub struct ExportCall<'a> {
    /// The cluster to call.
    pub cluster: &'a str,
    /// All headers, pseudo-headers included.
    pub headers: &'a [(String, String)],
    /// What goes over the wire.
    pub body: Body<'a>,
    /// The time for the whole exchange.
    pub timeout: Duration,
}

/// What became of a batch that was sent.
#[derive(Debug)]
pub enum Attempt {
    /// Nothing more will.
    Ended(Batch, ExportOutcome),
    /// It will be sent again, for this failure.
    Again(Failure),
}

/// What the exporter could send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Nothing.
    No,
    /// The batch that it has, once more.
    Again,
    /// A new batch.
    Next,
}

/// Sends one batch at a time.
#[derive(Debug)]
pub struct Exporter {
    cluster: String,
    headers: Vec<(String, String)>,
    protocol: Protocol,
    encoder: Encoder,
    timeout: Duration,
    retry: RetryPolicy,
    state: State,
    /// How often in a row the collector failed.
    failures: u32,
    /// Until then it is left alone. With each failure longer, until what is sent is but a probe.
    rest_until: Duration,
}

#[derive(Debug)]
enum State {
    Idle,
    Waiting(Delivery),
    InFlight {
        delivery: Delivery,
        /// The host's name for the call, once it was made.
        call: Option<u32>,
        overdue_at: Duration,
    },
}

/// A batch, and until when it is tried.
#[derive(Debug)]
struct Delivery {
    batch: Batch,
    give_up_at: Duration,
}

impl Exporter {
    /// An exporter that has nothing to send yet. `zlib` compresses, where that is configured.
    #[must_use]
    pub fn new(config: ExporterConfig, zlib: Box<dyn Zlib>) -> Self {
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
            ("user-agent", user_agent.to_owned()),
        ];
        let (encoder, encoding) = Encoder::new(config.protocol, config.compression, zlib);
        let encoding = encoding.into_iter().map(|(name, value)| (name, value.to_owned()));
        let fixed = fixed.into_iter().chain(encoding);
        let fixed = fixed.map(|(name, value)| (name.to_owned(), value));
        Self {
            cluster: config.cluster,
            headers: fixed.chain(config.headers).collect(),
            protocol: config.protocol,
            encoder,
            timeout: config.timeout,
            retry: config.retry,
            state: State::Idle,
            failures: 0,
            rest_until: Duration::ZERO,
        }
    }

    /// How its requests are put on the wire.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it has no batch.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether a full batch could go at once, as far as is known without a clock.
    #[must_use]
    pub fn is_eager(&self) -> bool {
        self.is_idle() && self.failures == 0
    }

    /// What it could send now.
    #[must_use]
    pub fn ready(&self, now: Duration) -> Ready {
        match &self.state {
            _ if now < self.rest_until => Ready::No,
            State::Idle => Ready::Next,
            State::Waiting(_) => Ready::Again,
            State::InFlight { .. } => Ready::No,
        }
    }

    /// Takes a new batch on its way, when it is ready for one; the call is for the host to make. `seal` gives the
    /// request's body.
    pub fn begin(
        &mut self,
        batch: Batch,
        now: Duration,
        seal: impl FnOnce(&mut Batch) -> &[u8],
    ) -> ExportCall<'_> {
        let give_up_at = now + self.retry.max_elapsed_time;
        self.send(Delivery { batch, give_up_at }, now, seal)
    }

    /// Sends the batch that it has once more, if that is waiting.
    pub fn resend(
        &mut self,
        now: Duration,
        seal: impl FnOnce(&mut Batch) -> &[u8],
    ) -> Option<ExportCall<'_>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Waiting(delivery) => Some(self.send(delivery, now, seal)),
            other => {
                self.state = other;
                None
            }
        }
    }

    fn send(
        &mut self,
        delivery: Delivery,
        now: Duration,
        seal: impl FnOnce(&mut Batch) -> &[u8],
    ) -> ExportCall<'_> {
        let overdue_at = now + self.timeout + GRACE;
        self.state = State::InFlight { delivery, call: None, overdue_at };
        let request = match &mut self.state {
            State::InFlight { delivery, .. } => seal(&mut delivery.batch),
            State::Idle | State::Waiting(_) => &[],
        };
        let body = self.encoder.encode(request);
        ExportCall { cluster: &self.cluster, headers: &self.headers, body, timeout: self.timeout }
    }

    /// Notes the host's name for the call that was made.
    pub fn handle_called(&mut self, name: u32) {
        if let State::InFlight { call, .. } = &mut self.state {
            *call = Some(name);
        }
    }

    /// The host refused to make the call. `random` says how long the wait is, where one follows.
    pub fn handle_not_called(
        &mut self,
        failure: Failure,
        now: Duration,
        random: u64,
    ) -> Option<Attempt> {
        let delivery = self.take_if(|call, _| call.is_none())?;
        Some(self.fail(delivery, failure, now, random))
    }

    /// The call was answered. One that was given up is not known any more.
    pub fn handle_answer(
        &mut self,
        name: u32,
        outcome: ExportOutcome,
        now: Duration,
        random: u64,
    ) -> Option<Attempt> {
        let delivery = self.take_if(|call, _| call == Some(name))?;
        Some(match outcome {
            ExportOutcome::Taken(partial) => {
                self.failures = 0;
                self.rest_until = now;
                Attempt::Ended(delivery.batch, ExportOutcome::Taken(partial))
            }
            ExportOutcome::Failed(failure) => self.fail(delivery, failure, now, random),
        })
    }

    /// Gives up a call whose answer is overdue.
    pub fn handle_overdue(&mut self, now: Duration, random: u64) -> Option<Attempt> {
        let delivery = self.take_if(|_, overdue_at| now >= overdue_at)?;
        Some(self.fail(delivery, Failure::Timeout(None), now, random))
    }

    /// Gives back whatever it has, when the filter goes.
    pub fn take_any(&mut self) -> Option<Batch> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => None,
            State::Waiting(delivery) | State::InFlight { delivery, .. } => Some(delivery.batch),
        }
    }

    /// How many spans it has.
    #[must_use]
    pub fn spans(&self) -> usize {
        match &self.state {
            State::Idle => 0,
            State::Waiting(delivery) | State::InFlight { delivery, .. } => delivery.batch.spans(),
        }
    }

    /// Whether a call is under way.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight { .. })
    }

    /// Takes the batch in flight out, if its call, and when that is overdue, are as they must be.
    fn take_if(&mut self, is_it: impl FnOnce(Option<u32>, Duration) -> bool) -> Option<Delivery> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::InFlight { delivery, call, overdue_at } if is_it(call, overdue_at) => {
                Some(delivery)
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    fn fail(
        &mut self,
        delivery: Delivery,
        failure: Failure,
        now: Duration,
        random: u64,
    ) -> Attempt {
        self.failures = self.failures.saturating_add(1);
        let tolerated = if failure.is_transient() { 0 } else { MAX_REFUSALS };
        let wait = match self.failures.saturating_sub(tolerated) {
            0 => Duration::ZERO,
            failures => self.retry.wait(failures, random),
        };
        let wait = failure.retry_after().unwrap_or_default().min(MAX_RETRY_AFTER).max(wait);
        self.rest_until = now.saturating_add(wait);
        if failure.is_transient() && self.rest_until < delivery.give_up_at {
            self.state = State::Waiting(delivery);
            return Attempt::Again(failure);
        }
        Attempt::Ended(delivery.batch, ExportOutcome::Failed(failure))
    }
}

#[cfg(test)]
mod tests;
