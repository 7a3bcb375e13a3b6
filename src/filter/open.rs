//! Requests that are under way, where streams that last are told of: there the root can reach them.
//!
//! What is told of them is the tracer's part. Between its callbacks a stream leaves its span here.

use crate::span::OpenSpan;
use crate::tracer::LookAgain;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Open {
    /// Its stream context.
    pub(super) context: u32,
    /// None while the stream itself has it.
    pub(super) span: RefCell<Option<Box<OpenSpan>>>,
    /// Where it stands among those that the root can reach.
    place: Cell<usize>,
    /// When it is looked at.
    due: Cell<Duration>,
}

/// The requests that the root can reach: those that are under way, no more.
#[derive(Debug)]
pub(super) struct OpenStreams {
    /// After how long one is looked at.
    after: Duration,
    // Invariant: each stands where its `place` says.
    streams: RefCell<Vec<Rc<Open>>>,
    next_look: Cell<Duration>,
}

impl OpenStreams {
    /// How often it is looked for those that are due.
    const LOOK: Duration = Duration::from_secs(1);

    /// None yet; each is looked at after so long.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, streams: RefCell::default(), next_look: Cell::default() }
    }

    /// Adds the request of a stream context that starts now.
    pub(super) fn add(&self, context: u32, now: Duration) -> Rc<Open> {
        let mut streams = self.streams.borrow_mut();
        let (place, due) = (Cell::new(streams.len()), Cell::new(now + self.after));
        let open = Rc::new(Open { context, span: RefCell::default(), place, due });
        streams.push(Rc::clone(&open));
        open
    }

    /// Takes one out that was added.
    pub(super) fn remove(&self, open: &Open) {
        let mut streams = self.streams.borrow_mut();
        let place = open.place.get();
        if place < streams.len() {
            streams.swap_remove(place);
            if let Some(moved) = streams.get(place) {
                moved.place.set(place);
            }
        }
    }

    /// Has `tell` tell of those that are due; of one that it says so of, again after as long as at first. Whatever that calls, no stream may
    /// start or end meanwhile.
    pub(super) fn tell(
        &self,
        now: Duration,
        tell: &mut dyn FnMut(u32, &mut OpenSpan) -> LookAgain,
    ) {
        if now < self.next_look.get() {
            return;
        }
        self.next_look.set(now + Self::LOOK);
        for open in self.streams.borrow().iter().filter(|it| it.due.get() <= now) {
            let again = open.span.borrow_mut().as_mut().map(|span| tell(open.context, span));
            open.due.set(if again == Some(LookAgain::Later) {
                now + self.after
            } else {
                Duration::MAX
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{SpanContext, TraceFlags, TraceState};
    use crate::id::{SpanId, TraceId};
    use crate::span::{Identity, Sampling};

    const NONE: [u32; 0] = [];

    fn span() -> Option<Box<OpenSpan>> {
        let context = SpanContext {
            trace_id: TraceId::from_bytes([1; 16])?,
            span_id: SpanId::from_bytes([2; 8])?,
            flags: TraceFlags::new_trace(),
            trace_state: TraceState::default(),
        };
        Some(Box::new(OpenSpan::new(Identity::One(context), None, Sampling::Kept, None)))
    }

    /// Those that are told of at this second; the one of this context is looked at again.
    fn told(streams: &OpenStreams, seconds: u64, again: u32) -> Vec<u32> {
        let mut told = Vec::new();
        streams.tell(Duration::from_secs(seconds), &mut |context, _| {
            told.push(context);
            if context == again { LookAgain::Later } else { LookAgain::Never }
        });
        told
    }

    #[test]
    fn those_that_last_are_told_of() {
        let streams = OpenStreams::new(Duration::from_secs(10));
        let add = |context, seconds| {
            let open = streams.add(context, Duration::from_secs(seconds));
            open.span.replace(span());
            open
        };
        let (first, second) = (add(1, 0), add(2, 0));
        let (third, fourth) = (add(3, 1), add(4, 5));
        assert_eq!(told(&streams, 9, 0), NONE, "none is due");
        streams.remove(&first);
        assert_eq!(told(&streams, 11, 3), [2, 3], "those that have not ended");
        assert_eq!(told(&streams, 15, 0), [4], "each by its own start");
        assert_eq!(told(&streams, 20, 0), NONE, "and once");
        assert_eq!(told(&streams, 21, 0), [3], "but for one that was not decided");
        for open in [&second, &fourth, &third] {
            streams.remove(open);
        }
        assert_eq!(streams.streams.borrow().len(), 0, "what has ended is not held");
    }

    #[test]
    fn it_is_looked_for_them_once_a_second() {
        let streams = OpenStreams::new(Duration::ZERO);
        streams.add(1, Duration::ZERO).span.replace(span());
        let mut looks = 0;
        for tenths in 0..25 {
            streams.tell(Duration::from_millis(tenths * 100), &mut |_, _| {
                looks += 1;
                LookAgain::Later
            });
        }
        assert_eq!(looks, 3);
    }

    #[test]
    fn one_whose_stream_has_its_span_is_not_told_of() {
        let streams = OpenStreams::new(Duration::ZERO);
        let open = streams.add(1, Duration::ZERO);
        assert_eq!(told(&streams, 1, 0), NONE);
        drop(open);
    }
}
