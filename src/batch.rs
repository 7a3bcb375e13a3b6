//! The bounded queue of finished spans, as batches that are ready to be sent.
//!
//! When it is full a span is lost, the newest or the oldest, and it says so: nobody waits. It reads
//! no clock: `now` is the time since any fixed moment.

use crate::otlp::Span;
use crate::otlp::request::Frame;
use crate::otlp::wire::field_at;
use std::collections::VecDeque;
use std::time::Duration;

/// Limits of the queue and of what is sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// How long a span waits for its batch to fill.
    pub schedule_delay: Duration,
    /// How many spans may wait.
    pub max_queue_spans: usize,
    /// How many bytes may wait: spans, and the resource around each batch of them.
    pub max_queue_bytes: usize,
    /// How many spans go into one request.
    pub max_batch_spans: usize,
    /// How many bytes of spans go into one request.
    pub max_batch_bytes: usize,
    /// Which span is lost when the queue is full.
    pub queue_full: QueueFullPolicy,
}

/// `envoy.queue_full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFullPolicy {
    /// The one that comes.
    DropNewest,
    /// The one that has waited longest.
    DropOldest,
}

/// Encoded spans, at most as many as one request may hold.
#[derive(Debug)]
pub struct Batch {
    /// Head room, then the spans; or a whole request.
    buffer: Vec<u8>,
    /// Where the first span starts; zero of a whole request.
    first: usize,
    spans: usize,
}

/// Why the queue did not take a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue holds as many spans, or bytes, as it may.
    QueueFull,
    /// The span alone is larger than a batch may be, or than an empty queue has room for.
    TooLarge,
}

/// How many buffers are kept for the next batches: one is on its way while another one fills.
const MAX_SPARE: usize = 2;

/// How many bytes each of them may have: more than the usual batch.
const MAX_SPARE_BYTES: usize = 1 << 20;

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
    /// Of all full batches, head room included.
    full_bytes: usize,
    /// The buffers of batches that were sent: the next ones need not grow their own.
    spare: Vec<Vec<u8>>,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_secs(1),
            max_queue_spans: 2048,
            max_queue_bytes: 8 << 20,
            max_batch_spans: 512,
            max_batch_bytes: 1 << 20,
            queue_full: QueueFullPolicy::DropNewest,
        }
    }
}

impl Batch {
    /// An empty batch over a buffer that has nothing but head room.
    fn over(buffer: Vec<u8>) -> Self {
        Self { first: buffer.len(), buffer, spans: 0 }
    }

    /// One that says that it holds so many spans, for tests of what does not look at them.
    #[cfg(test)]
    pub(crate) fn of(spans: usize) -> Self {
        Self::whole(Vec::new(), spans)
    }

    /// A request that another queue has completed.
    #[must_use]
    pub fn whole(request: Vec<u8>, spans: usize) -> Self {
        Self { buffer: request, first: 0, spans }
    }

    /// How many spans it holds.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Whether it is a request that another queue has completed.
    fn is_whole(&self) -> bool {
        self.first == 0
    }

    /// The bytes of its spans.
    fn bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.first)
    }

    /// Gives up its first span, or all of a whole request. Gives how many that are.
    fn drop_first(&mut self) -> usize {
        if self.is_whole() {
            return std::mem::take(&mut self.spans);
        }
        self.spans = self.spans.saturating_sub(1);
        let rest = self.buffer.get(self.first..).unwrap_or_default();
        self.first += field_at(rest).unwrap_or(rest.len());
        1
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
            full_bytes: 0,
            spare: Vec::new(),
        }
    }

    /// How many spans wait.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// The bytes that wait: spans, and what goes around each batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let open = if self.open.spans > 0 { self.charge(&self.open) } else { 0 };
        self.full_bytes + open
    }

    /// Whether a batch is full.
    #[must_use]
    pub fn has_full_batch(&self) -> bool {
        !self.full.is_empty()
    }

    /// How many bytes a span may have: what a batch takes, and an empty queue beside the resource.
    #[must_use]
    pub fn max_span_len(&self) -> usize {
        let BatchLimits { max_batch_bytes, max_queue_bytes, .. } = self.limits;
        max_batch_bytes.min(max_queue_bytes.saturating_sub(self.frame.head_room()))
    }

    /// Appends a span's bytes. Gives how many older spans were dropped to make room.
    ///
    /// # Errors
    /// The span is too large for any batch, or for the queue, even an empty one; or the queue is full and keeps what
    /// it has.
    pub fn push(&mut self, span: &Span<'_>) -> Result<usize, Refused> {
        let length = span.encoded_len();
        if length > self.max_span_len() {
            return Err(Refused::TooLarge);
        }
        let dropped = self.make_room(|queue| queue.has_room(length))?;
        if !self.fits(length) {
            self.close();
        }
        span.append(&mut self.open.buffer);
        self.open.spans += 1;
        self.spans += 1;
        if self.open.spans >= self.limits.max_batch_spans {
            self.close();
        }
        Ok(dropped)
    }

    /// Whether a whole batch could be taken over from another queue. An empty queue has room.
    #[must_use]
    pub fn has_room_for_batch(&self) -> bool {
        let BatchLimits { max_batch_spans, max_batch_bytes, .. } = self.limits;
        self.has_room_for(max_batch_spans, self.frame.head_room() + max_batch_bytes)
    }

    /// Takes over a request that another queue has completed. Gives how many older spans were dropped to make room.
    ///
    /// # Errors
    /// It is too large for the queue, even an empty one; or the queue is full and keeps what it has.
    pub fn take_over(&mut self, batch: Batch) -> Result<usize, Refused> {
        let (spans, bytes) = (batch.spans, self.charge(&batch));
        if spans > self.limits.max_queue_spans || bytes > self.limits.max_queue_bytes {
            return Err(Refused::QueueFull);
        }
        let dropped = self.make_room(|queue| queue.has_room_for(spans, bytes))?;
        self.spans += spans;
        self.full_bytes += bytes;
        self.full.push_back(batch);
        Ok(dropped)
    }

    /// Drops the oldest spans until there is room, where that is what a full queue does. Gives how many.
    fn make_room(&mut self, has_room: impl Fn(&Self) -> bool) -> Result<usize, Refused> {
        let mut dropped = 0;
        while !has_room(self) {
            match self.limits.queue_full {
                QueueFullPolicy::DropNewest => return Err(Refused::QueueFull),
                QueueFullPolicy::DropOldest => dropped += self.drop_oldest(),
            }
        }
        Ok(dropped)
    }

    /// Whether the queue has room for so many spans that take so many bytes. An empty one has.
    fn has_room_for(&self, spans: usize, bytes: usize) -> bool {
        self.spans == 0
            || (self.spans + spans <= self.limits.max_queue_spans
                && self.bytes() + bytes <= self.limits.max_queue_bytes)
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
        self.full_bytes -= self.charge(&batch);
        Some(batch)
    }

    /// All batches, the oldest first, when the filter goes.
    pub fn take_all(&mut self) -> impl Iterator<Item = Batch> + use<> {
        if self.open.spans > 0 {
            self.close();
        }
        self.spans = 0;
        self.full_bytes = 0;
        std::mem::take(&mut self.full).into_iter()
    }

    /// The request that carries a batch.
    #[must_use]
    pub fn request<'a>(&self, batch: &'a mut Batch) -> &'a [u8] {
        match batch.first {
            // A queue's own batches have head room.
            0 => &batch.buffer,
            first => self.frame.seal(&mut batch.buffer, first),
        }
    }

    /// Takes back the memory of a batch that is done with.
    pub fn recycle(&mut self, batch: Batch) {
        let mut buffer = batch.buffer;
        if self.spare.len() < MAX_SPARE && buffer.capacity() <= MAX_SPARE_BYTES {
            buffer.resize(self.frame.head_room(), 0);
            self.spare.push(buffer);
        }
    }

    /// Whether the queue has room for a span. An empty one has.
    fn has_room(&self, length: usize) -> bool {
        // Where the span starts a batch, what goes around that comes in addition.
        let starts = self.open.spans == 0 || !self.fits(length);
        let needed = if starts { self.frame.head_room() + length } else { length };
        self.has_room_for(1, needed)
    }

    /// Whether the open batch has room for a span.
    fn fits(&self, length: usize) -> bool {
        self.open.bytes() + length <= self.limits.max_batch_bytes
    }

    /// What a batch counts of the queue's bytes.
    fn charge(&self, batch: &Batch) -> usize {
        let around = if batch.is_whole() { 0 } else { self.frame.head_room() };
        around + batch.bytes()
    }

    /// Drops the oldest span, of a queue that has one, or the whole request that it came with. Gives how many that are. If it is in the
    /// open batch, that is closed: only full ones lose spans.
    fn drop_oldest(&mut self) -> usize {
        if self.full.is_empty() {
            self.close();
        }
        let Some(mut batch) = self.full.pop_front() else { return 0 };
        self.full_bytes -= self.charge(&batch);
        let dropped = batch.drop_first();
        self.spans -= dropped;
        if batch.spans > 0 {
            self.full_bytes += self.charge(&batch);
            self.full.push_front(batch);
        } else {
            self.recycle(batch);
        }
        dropped
    }

    /// Closes the open batch, which has spans.
    fn close(&mut self) {
        let buffer = self.spare.pop().unwrap_or_else(|| self.frame.buffer());
        let mut closed = std::mem::replace(&mut self.open, Batch::over(buffer));
        // A buffer grows by doubling: what is not needed would count nowhere.
        closed.buffer.shrink_to_fit();
        self.open_since = None;
        self.full_bytes += self.charge(&closed);
        self.full.push_back(closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{SpanContext, TraceFlags, TraceState};
    use crate::id::{SpanId, TraceId};
    use crate::otlp::attributes::{Attributes, SpanLimits};
    use crate::otlp::{SpanKind, SpanStatus};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use prost::Message;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> BatchLimits {
        BatchLimits {
            schedule_delay: SECOND,
            max_queue_spans: 5,
            max_queue_bytes: 4000 + 4 * Frame::new(&[]).head_room(),
            max_batch_spans: 2,
            max_batch_bytes: 1000,
            queue_full: QueueFullPolicy::DropNewest,
        }
    }

    fn push(queue: &mut Queue, name: &str) -> Result<usize, Refused> {
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
            links: &[],
            dropped_links: 0,
            kind: Some(SpanKind::Server),
            name,
            start: 0,
            end: 0,
            attributes: &Attributes::new(limits),
            status: SpanStatus::Unset,
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
        assert_eq!(push(&mut by_bytes, &long), Err(Refused::QueueFull), "over the bytes of four");
        assert_eq!(push(&mut by_bytes, &"n".repeat(1000)), Err(Refused::TooLarge), "over a batch");
        let batch = by_bytes.take_due(SECOND).expect("full by bytes");
        assert_eq!(batch.spans(), 1, "two would not have fitted");
    }

    fn names(queue: &mut Queue) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(mut batch) =
            queue.take_due(SECOND * 9).or_else(|| queue.take_due(SECOND * 99))
        {
            let request =
                ExportTraceServiceRequest::decode(queue.request(&mut batch)).expect("OTLP");
            let spans = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
            let before = names.len();
            names.extend(spans.flat_map(|it| it.spans).map(|span| span.name));
            assert_eq!(names.len() - before, batch.spans(), "a batch knows how many it holds");
            queue.recycle(batch);
        }
        names
    }

    proptest! {
        /// Pushes and takes in any order: what is taken is what was pushed, less the oldest of those
        /// that were there when there was no room.
        #[test]
        fn the_newest_stay(steps: Vec<Option<u8>>) {
            let limits = BatchLimits { queue_full: QueueFullPolicy::DropOldest, ..limits() };
            let mut queue = Queue::new(limits, Frame::new(&[]));
            let mut expected = VecDeque::new();
            for (number, step) in steps.into_iter().enumerate() {
                let Some(length) = step else {
                    if let Some(batch) = queue.take_due(Duration::ZERO) {
                        expected.drain(..batch.spans());
                        queue.recycle(batch);
                    }
                    continue;
                };
                let name = format!("{number}{}", "n".repeat(usize::from(length) * 3));
                let dropped = push(&mut queue, &name).expect("the oldest make room");
                expected.drain(..dropped);
                expected.push_back(name);
                prop_assert_eq!(queue.spans(), expected.len());
                prop_assert!(queue.spans() <= limits.max_queue_spans);
                prop_assert!(queue.bytes() <= limits.max_queue_bytes);
            }
            prop_assert_eq!(names(&mut queue), Vec::from(expected));
            prop_assert_eq!(queue.bytes(), 0, "nothing is left");
        }
    }

    #[test]
    fn a_span_that_no_queue_could_hold_drops_nothing() {
        let room = Frame::new(&[]).head_room();
        let policy = QueueFullPolicy::DropOldest;
        let limits = BatchLimits { max_queue_bytes: room + 500, queue_full: policy, ..limits() };
        let mut queue = Queue::new(limits, Frame::new(&[]));
        push(&mut queue, "a").expect("room");
        assert_eq!(push(&mut queue, &"n".repeat(600)), Err(Refused::TooLarge), "over 500 bytes");
        assert_eq!(names(&mut queue), ["a"], "what was there stays");
    }

    #[test]
    fn few_buffers_are_kept() {
        let limits = BatchLimits { max_queue_spans: 100, max_queue_bytes: 1 << 20, ..limits() };
        let mut queue = Queue::new(limits, Frame::new(&[]));
        (0..20).for_each(|_| assert_eq!(push(&mut queue, "a"), Ok(0)));
        let batches: Vec<_> = std::iter::from_fn(|| queue.take_due(SECOND)).collect();
        assert_eq!(batches.len(), 10);
        assert!(
            batches.iter().all(|it| it.buffer.capacity() < 2 * it.buffer.len()),
            "no room for nothing"
        );
        for batch in batches {
            queue.recycle(batch);
        }
        assert_eq!(queue.spare.len(), MAX_SPARE);
        queue.spare.clear();
        for (length, kept) in [(MAX_SPARE_BYTES + 1, 0), (MAX_SPARE_BYTES, 1)] {
            queue.recycle(Batch { buffer: Vec::with_capacity(length), first: 0, spans: 0 });
            assert_eq!(queue.spare.len(), kept, "{length} bytes");
        }
    }

    #[test]
    fn what_goes_around_a_batch_is_charged() {
        let room = Frame::new(&[]).head_room();
        let mut queue = queue();
        assert_eq!(queue.bytes(), 0, "an empty queue");
        push(&mut queue, "a").expect("room");
        let one = queue.bytes() - room;
        assert!((1..200).contains(&one), "a small span: {one}");
        push(&mut queue, "a").expect("room");
        assert_eq!(queue.bytes(), room + 2 * one, "a batch of two, full");
        push(&mut queue, "a").expect("room");
        assert_eq!(queue.bytes(), 2 * room + 3 * one, "and one in the next");
        queue.take_due(SECOND).expect("full");
        assert_eq!(queue.bytes(), room + one, "the full one has gone");
        assert_eq!(queue.take_all().count(), 1);
        assert_eq!((queue.bytes(), queue.spans()), (0, 0), "nothing is left");
    }

    #[test]
    fn bounds_are_exact() {
        let length = {
            let mut queue = queue();
            push(&mut queue, "a").expect("room");
            queue.bytes() - Frame::new(&[]).head_room()
        };
        let room = Frame::new(&[]).head_room();
        let limits = |max_batch_bytes, max_queue_bytes| BatchLimits {
            max_batch_spans: 9,
            max_queue_spans: 9,
            max_batch_bytes,
            max_queue_bytes,
            ..limits()
        };
        let taken = |limits| {
            let mut queue = Queue::new(limits, Frame::new(&[]));
            (0..5).map(|_| push(&mut queue, "a").is_ok()).take_while(|taken| *taken).count()
        };
        assert_eq!(taken(limits(length, 99_999)), 5, "a batch for each");
        assert_eq!(taken(limits(length - 1, 99_999)), 0, "a batch that is too small by a byte");
        assert_eq!(taken(limits(9999, room + 3 * length)), 3, "a queue for three");
        assert_eq!(
            taken(limits(9999, room + 3 * length - 1)),
            2,
            "a queue that is too small by a byte"
        );
        assert_eq!(taken(limits(length, 2 * (room + length))), 2, "a queue for two batches");
        assert_eq!(taken(limits(length, 2 * (room + length) - 1)), 1, "and for one");
        assert_eq!(taken(limits(9999, room + length)), 1, "a queue for one");
        assert_eq!(taken(limits(9999, room + length - 1)), 0, "and for none");
        let mut pairs = Queue::new(limits(2 * length, 99_999), Frame::new(&[]));
        (0..3).for_each(|_| assert_eq!(push(&mut pairs, "a"), Ok(0)));
        assert_eq!(pairs.take_due(SECOND).map(|batch| batch.spans()), Some(2), "two fill a batch");
        let mut single = Queue::new(limits(2 * length - 1, 99_999), Frame::new(&[]));
        (0..3).for_each(|_| assert_eq!(push(&mut single, "a"), Ok(0)));
        assert_eq!(single.take_due(SECOND).map(|batch| batch.spans()), Some(1), "short of a byte");
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
            assert_eq!(queue.spare.len(), 1, "round {round}: it serves again");
            let room = Frame::new(&[]).head_room();
            assert!(queue.spare.iter().all(|it| it.len() == room), "round {round}: room alone");
        }
    }
}
