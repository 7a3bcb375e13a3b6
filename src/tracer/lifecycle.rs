//! What a tracer takes over from others and hands over to others, and what is lost with one.
//!
//! Where that is kept, and who succeeds whom, it does not know (`lifecycle`).

use super::Tracer;
use crate::batch::{Batch, Refused};
use crate::lifecycle::handover::{self, NotTaken, Unreadable, Unsent};
use crate::lifecycle::registry::Findings;
use crate::stats::{Held, Metric};

impl Tracer {
    /// Whether there is room for what a filter before this one has left.
    #[must_use]
    pub fn can_take_over(&self) -> bool {
        self.queue.has_room_for_batch()
    }

    /// Takes over what a filter before this one has left, into its own queue.
    pub fn take_over(&mut self, unsent: Result<Unsent, Unreadable>) {
        match unsent {
            Ok(Unsent { spans, request }) => {
                self.stats.take_over(spans);
                let dropped = match self.queue.take_over(Batch::whole(request, spans)) {
                    Ok(dropped) => dropped,
                    Err(Refused::QueueFull | Refused::TooLarge) => spans,
                };
                self.stats.count(Metric::DroppedQueueFull, dropped);
                self.health.lost(dropped);
            }
            Err(Unreadable { spans }) => {
                self.stats.take_over(spans);
                self.lose(spans);
            }
        }
    }

    /// Counts as lost what a filter before this one has left, since nobody can deliver it any more. Gives how many spans that are.
    pub fn lose_unsent(&mut self, unsent: &Result<Unsent, Unreadable>) -> usize {
        let (Ok(Unsent { spans, .. }) | Err(Unreadable { spans })) = *unsent;
        self.stats.take_over(spans);
        self.lose(spans);
        spans
    }

    /// Hands all that waits over to the filter that takes this one's place: each message is offered to `leave`. What that does
    /// not take is lost, and counted. Gives how many spans that are.
    pub fn hand_over(&mut self, leave: impl FnMut(&[u8]) -> Result<(), NotTaken>) -> usize {
        let waiting = if self.exporter.is_in_flight() { None } else { self.exporter.take_any() };
        self.hand_over_with(waiting, leave)
    }

    /// The same, with the batch in flight, whose answer will not come. If the collector has taken it, its spans arrive twice.
    pub fn hand_over_all(&mut self, leave: impl FnMut(&[u8]) -> Result<(), NotTaken>) -> usize {
        let first = self.exporter.take_any();
        self.hand_over_with(first, leave)
    }

    /// Hands over this batch and the queue.
    fn hand_over_with(
        &mut self,
        first: Option<Batch>,
        mut leave: impl FnMut(&[u8]) -> Result<(), NotTaken>,
    ) -> usize {
        self.finish_redirected();
        let mut lost = 0;
        for mut batch in first.into_iter().chain(self.queue.take_all()) {
            let spans = batch.spans();
            match leave(&handover::message(spans, self.queue.request(&mut batch))) {
                Ok(()) => self.stats.hand_over(spans),
                Err(NotTaken) => lost += spans,
            }
        }
        self.lose(lost);
        lost
    }

    /// Counts what can no longer be sent. Gives how many spans that are.
    pub fn shut_down(&mut self) -> usize {
        self.finish_redirected();
        let batches = self.exporter.take_any().into_iter().chain(self.queue.take_all());
        let lost = batches.map(|batch| batch.spans()).sum();
        self.lose(lost);
        lost
    }

    /// Counts spans as lost with the filter.
    fn lose(&mut self, spans: usize) {
        self.stats.count(Metric::DroppedShutdown, spans);
    }

    /// The spans that would go with this VM.
    #[must_use]
    pub fn held(&self) -> Held {
        let (waiting, in_flight) = match self.exporter.spans() {
            spans if self.exporter.is_in_flight() => (0, spans),
            spans => (spans, 0),
        };
        let number = |spans: usize| u32::try_from(spans).unwrap_or(u32::MAX);
        Held {
            open: number(self.open),
            queued: number(self.queue.spans() + waiting),
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
