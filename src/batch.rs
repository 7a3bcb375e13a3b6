//! The bounded queue of finished spans, as batches that are ready to be sent.
//!
//! When it is full it says so and returns: nobody waits. It reads no clock: `now` is the time since
//! any fixed moment.

use crate::config::BatchLimits;
use crate::otlp::Span;
use crate::otlp::request::{Frame, HEAD_ROOM};
use std::collections::VecDeque;
use std::time::Duration;

/// Encoded spans, at most as many as one request may hold.
#[derive(Debug)]
pub struct Batch {
    /// Head room, then the spans.
    buffer: Vec<u8>,
    spans: usize,
}

/// Why the queue did not take a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue holds as many spans, or bytes, as it may.
    QueueFull,
    /// The span alone is larger than a batch may be.
    TooLarge,
}

/// Batches in the order in which they were filled; the last one is open.
#[derive(Debug)]
pub struct Queue {
    limits: BatchLimits,
    frame: Frame,
    open: Batch,
    /// When a look first found the open batch with spans.
    open_since: Option<Duration>,
    full: VecDeque<Batch>,
    /// Of all batches in the queue.
    spans: usize,
    /// Of all spans in the queue.
    bytes: usize,
    /// The buffers of batches that were sent: the next ones need not grow their own. Never more
    /// than there were batches at once; a VM's memory does not shrink anyway.
    spare: Vec<Vec<u8>>,
}

impl Batch {
    fn over(buffer: Vec<u8>) -> Self {
        Self { buffer, spans: 0 }
    }

    /// How many spans it holds.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.spans
    }

    fn bytes(&self) -> usize {
        self.buffer.len().saturating_sub(HEAD_ROOM)
    }
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: BatchLimits, frame: Frame) -> Self {
        Self {
            open: Batch::over(frame.buffer()),
            limits,
            frame,
            open_since: None,
            full: VecDeque::new(),
            spans: 0,
            bytes: 0,
            spare: Vec::new(),
        }
    }

    /// How many spans wait.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Appends a span's bytes.
    ///
    /// # Errors
    /// The span is too large for any batch, or the queue is full.
    pub fn push(&mut self, span: &Span<'_>) -> Result<(), Refused> {
        let length = span.encoded_len();
        if length > self.limits.max_batch_bytes {
            return Err(Refused::TooLarge);
        }
        if self.spans >= self.limits.max_queue_spans
            || self.bytes + length > self.limits.max_queue_bytes
        {
            return Err(Refused::QueueFull);
        }
        if self.open.bytes() + length > self.limits.max_batch_bytes {
            self.close();
        }
        span.append(&mut self.open.buffer);
        self.open.spans += 1;
        self.spans += 1;
        self.bytes += length;
        if self.open.spans >= self.limits.max_batch_spans {
            self.close();
        }
        Ok(())
    }

    /// The oldest batch, if it is full or has waited for the delay.
    pub fn take_due(&mut self, now: Duration) -> Option<Batch> {
        if self.full.is_empty() && self.open.spans > 0 {
            let since = *self.open_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.limits.schedule_delay {
                self.close();
            }
        }
        let batch = self.full.pop_front()?;
        self.spans -= batch.spans;
        self.bytes -= batch.bytes();
        Some(batch)
    }

    /// The request that carries a batch.
    #[must_use]
    pub fn request<'a>(&self, batch: &'a mut Batch) -> &'a [u8] {
        self.frame.seal(&mut batch.buffer)
    }

    /// Takes back the memory of a batch that is done with.
    pub fn recycle(&mut self, batch: Batch) {
        let mut buffer = batch.buffer;
        buffer.truncate(HEAD_ROOM);
        self.spare.push(buffer);
    }

    fn close(&mut self) {
        let buffer = self.spare.pop().unwrap_or_else(|| self.frame.buffer());
        let full = std::mem::replace(&mut self.open, Batch::over(buffer));
        self.open_since = None;
        if full.spans > 0 {
            self.full.push_back(full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SpanLimits;
    use crate::context::{SpanContext, TraceFlags, TraceState};
    use crate::id::{SpanId, TraceId};
    use crate::otlp::attributes::Attributes;
    use crate::otlp::{SpanKind, Status};

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> BatchLimits {
        BatchLimits {
            schedule_delay: SECOND,
            max_queue_spans: 5,
            max_queue_bytes: 4000,
            max_batch_spans: 2,
            max_batch_bytes: 1000,
        }
    }

    fn push(queue: &mut Queue, name: &str) -> Result<(), Refused> {
        let context = SpanContext {
            trace_id: TraceId::from_bytes([1; 16]).expect("valid"),
            span_id: SpanId::from_bytes([1; 8]).expect("valid"),
            flags: TraceFlags::new_trace().sampled(),
            trace_state: TraceState::default(),
        };
        let limits = SpanLimits { attribute_count: 1, attribute_value_length: None };
        queue.push(&Span {
            context: &context,
            parent: None,
            kind: SpanKind::Server,
            name,
            start: 0,
            end: 0,
            attributes: &Attributes::new(limits),
            status: Status::Unset,
        })
    }

    fn queue() -> Queue {
        Queue::new(limits(), Frame::new(&[]))
    }

    #[test]
    fn a_batch_is_due_when_full_or_old() {
        let mut queue = queue();
        assert!(queue.take_due(SECOND).is_none(), "nothing is never due");
        push(&mut queue, "a").expect("room");
        assert!(queue.take_due(SECOND).is_none(), "the delay starts");
        assert!(queue.take_due(SECOND + SECOND / 2).is_none(), "half of the delay");
        push(&mut queue, "b").expect("room");
        assert_eq!(queue.take_due(SECOND + SECOND / 2).map(|batch| batch.spans()), Some(2), "full");
        push(&mut queue, "c").expect("room");
        assert!(queue.take_due(SECOND * 2).is_none(), "the delay starts anew");
        assert_eq!(queue.take_due(SECOND * 3).map(|batch| batch.spans()), Some(1), "old");
        assert_eq!(queue.spans(), 0, "all are out");
        assert!(queue.take_due(SECOND * 9).is_none(), "and none is left");
    }

    #[test]
    fn bounds_hold_in_spans_and_bytes() {
        let mut by_count = queue();
        for _ in 0..5 {
            push(&mut by_count, "a").expect("room");
        }
        assert_eq!(push(&mut by_count, "a"), Err(Refused::QueueFull), "the sixth of five");
        by_count.take_due(SECOND).expect("two are full");
        push(&mut by_count, "a").expect("room again");
        let mut by_bytes = queue();
        let long = "n".repeat(800);
        for _ in 0..4 {
            push(&mut by_bytes, &long).expect("room");
        }
        assert_eq!(push(&mut by_bytes, &long), Err(Refused::QueueFull), "over 4000 bytes");
        assert_eq!(push(&mut by_bytes, &"n".repeat(1000)), Err(Refused::TooLarge), "over a batch");
        let batch = by_bytes.take_due(SECOND).expect("full by bytes");
        assert_eq!(batch.spans(), 1, "two would not have fitted");
    }

    #[test]
    fn a_recycled_buffer_holds_no_old_span() {
        let mut queue = queue();
        for round in 0..4 {
            push(&mut queue, "a").expect("room");
            push(&mut queue, "b").expect("room");
            let mut batch = queue.take_due(SECOND).expect("full");
            assert_eq!(batch.spans(), 2, "round {round}");
            let length = queue.request(&mut batch).len();
            assert!(length < 600, "round {round}: two small spans, not {length} bytes");
            queue.recycle(batch);
        }
    }
}
