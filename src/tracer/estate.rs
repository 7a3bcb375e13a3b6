//! What a tracer takes over from others and leaves to others, and what is lost with one.
//!
//! Where that is kept, and who is whose heir, it does not know.

use super::{Direction, Tracer};
use crate::batch::Batch;
use crate::handover::{self, NotLeft, Unreadable, Unsent};
use crate::ledger::{Findings, Held};
use crate::stats::Metric;

impl Tracer {
    /// Whether what a filter before this one has left could be sent next.
    #[must_use]
    pub fn can_inherit(&self) -> bool {
        self.inherited.is_none() && self.exporter.is_idle()
    }

    /// Takes over what a filter before this one has left. It stays counted as queued until it is sent.
    pub fn inherit(&mut self, unsent: Result<Unsent, Unreadable>) {
        match unsent {
            Ok(Unsent { spans, request }) => self.inherited = Some(Batch::whole(request, spans)),
            Err(Unreadable { spans }) => self.lose(Metric::Queued, spans),
        }
    }

    /// Leaves all that waits to the filter that takes this one's place: each message is offered to `leave`. What that does
    /// not take is lost, and counted.
    pub fn leave(&mut self, mut leave: impl FnMut(&[u8]) -> Result<(), NotLeft>) {
        if let Some(redirected) = self.redirected.take() {
            self.finish_redirected(redirected);
        }
        let waiting = if self.exporter.is_in_flight() { None } else { self.exporter.take_any() };
        let first = waiting.into_iter().chain(self.inherited.take());
        for mut batch in first.chain(self.queue.take_all()) {
            let spans = batch.spans();
            if leave(&handover::message(spans, self.queue.request(&mut batch))).is_err() {
                self.lose(Metric::Queued, spans);
            }
        }
    }

    /// Leaves the batch in flight, whose answer will not come. If the collector has taken it, its spans arrive twice.
    pub fn leave_in_flight(&mut self, leave: impl FnOnce(&[u8]) -> Result<(), NotLeft>) {
        if !self.exporter.is_in_flight() {
            return;
        }
        let Some(mut batch) = self.exporter.take_any() else { return };
        let spans = batch.spans();
        match leave(&handover::message(spans, self.queue.request(&mut batch))) {
            Ok(()) => self.come_back(spans),
            Err(NotLeft) => self.lose(Metric::InFlight, spans),
        }
    }

    /// Counts what can no longer be sent.
    pub fn shut_down(&mut self) {
        let gauge = if self.exporter.is_in_flight() { Metric::InFlight } else { Metric::Queued };
        if let Some(batch) = self.exporter.take_any() {
            self.lose(gauge, batch.spans());
        }
        let inherited = self.inherited.take();
        for batch in inherited.into_iter().chain(self.queue.take_all()) {
            self.lose(Metric::Queued, batch.spans());
        }
    }

    /// Counts spans as lost with the filter that were counted in this gauge.
    fn lose(&mut self, gauge: Metric, spans: usize) {
        self.count(gauge, spans, Direction::Down);
        self.count(Metric::DroppedShutdown, spans, Direction::Up);
    }

    /// The spans that would go with this VM.
    #[must_use]
    pub fn held(&self) -> Held {
        let inherited = self.inherited.as_ref().map_or(0, Batch::spans);
        let number = |spans: usize| u32::try_from(spans).unwrap_or(u32::MAX);
        Held {
            open: number(self.open),
            queued: number(self.queue.spans() + self.exporter.waiting_spans() + inherited),
            in_flight: number(self.exporter.spans_in_flight()),
        }
    }

    /// Counts what the ledger says of others, and of this tracer.
    pub fn note(&mut self, findings: &Findings) {
        for Held { open, queued, in_flight } in findings.lost.iter().copied() {
            self.stats.add(Metric::Queued, -i64::from(queued));
            self.stats.add(Metric::InFlight, -i64::from(in_flight));
            let lost = i64::from(open) + i64::from(queued) + i64::from(in_flight);
            self.stats.add(Metric::DroppedCrash, lost);
        }
        if let Some(regained) = findings.regained {
            self.stats.add(Metric::Queued, i64::from(regained.queued));
            self.stats.add(Metric::InFlight, i64::from(regained.in_flight));
        }
    }
}
