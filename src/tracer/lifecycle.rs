//! What a tracer takes over from others and hands over to others, and what is lost with one.
//!
//! Where that is kept, and who succeeds whom, it does not know (`lifecycle`).

use super::Tracer;
use crate::batch::Batch;
use crate::lifecycle::crash::Findings;
use crate::lifecycle::handover::{self, NotTaken, Unreadable, Unsent};
use crate::stats::{Held, Metric};

impl Tracer {
    /// Whether what a filter before this one has left could be sent next.
    #[must_use]
    pub fn can_take_over(&self) -> bool {
        self.taken_over.is_none() && self.exporter.is_idle()
    }

    /// Takes over what a filter before this one has left.
    pub fn take_over(&mut self, unsent: Result<Unsent, Unreadable>) {
        match unsent {
            Ok(Unsent { spans, request }) => {
                self.stats.take_over(spans);
                self.taken_over = Some(Batch::whole(request, spans));
            }
            Err(Unreadable { spans }) => {
                self.stats.take_over(spans);
                self.lose(spans);
            }
        }
    }

    /// Hands all that waits over to the filter that takes this one's place: each message is offered to `leave`. What that does
    /// not take is lost, and counted.
    pub fn hand_over(&mut self, mut leave: impl FnMut(&[u8]) -> Result<(), NotTaken>) {
        if let Some(redirected) = self.redirected.take() {
            self.finish_redirected(redirected);
        }
        let waiting = if self.exporter.is_in_flight() { None } else { self.exporter.take_any() };
        let first = waiting.into_iter().chain(self.taken_over.take());
        for batch in first.chain(self.queue.take_all()) {
            self.hand_over_batch(batch, &mut leave);
        }
    }

    /// Hands over the batch in flight, whose answer will not come. If the collector has taken it, its spans arrive twice.
    pub fn hand_over_in_flight(&mut self, leave: impl FnMut(&[u8]) -> Result<(), NotTaken>) {
        if self.exporter.is_in_flight()
            && let Some(batch) = self.exporter.take_any()
        {
            self.hand_over_batch(batch, leave);
        }
    }

    fn hand_over_batch(
        &mut self,
        mut batch: Batch,
        mut leave: impl FnMut(&[u8]) -> Result<(), NotTaken>,
    ) {
        let spans = batch.spans();
        match leave(&handover::message(spans, self.queue.request(&mut batch))) {
            Ok(()) => self.stats.hand_over(spans),
            Err(NotTaken) => self.lose(spans),
        }
    }

    /// Counts what can no longer be sent.
    pub fn shut_down(&mut self) {
        let batches = self.exporter.take_any().into_iter().chain(self.taken_over.take());
        for batch in batches.chain(self.queue.take_all()) {
            self.lose(batch.spans());
        }
    }

    /// Counts spans as lost with the filter.
    fn lose(&mut self, spans: usize) {
        self.stats.count(Metric::DroppedShutdown, spans);
    }

    /// The spans that would go with this VM.
    #[must_use]
    pub fn held(&self) -> Held {
        let taken_over = self.taken_over.as_ref().map_or(0, Batch::spans);
        let (waiting, in_flight) = match self.exporter.spans() {
            spans if self.exporter.is_in_flight() => (0, spans),
            spans => (spans, 0),
        };
        let number = |spans: usize| u32::try_from(spans).unwrap_or(u32::MAX);
        Held {
            open: number(self.open),
            queued: number(self.queue.spans() + waiting + taken_over),
            in_flight: number(in_flight),
        }
    }

    /// Counts what is known of filters that crashed, and of this one if it was taken for one.
    pub fn note(&mut self, findings: &Findings) {
        for held in findings.lost.iter().copied() {
            self.stats.forget_other(held);
            let all = [held.open, held.queued, held.in_flight];
            let lost = all.into_iter().map(|spans| usize::try_from(spans).unwrap_or(usize::MAX));
            self.stats.count(Metric::DroppedCrash, lost.fold(0, usize::saturating_add));
        }
        if let Some(regained) = findings.regained {
            self.stats.untold(regained);
        }
    }
}
