//! Streams that last: a span that says of a request that it has not ended yet.
//!
//! When a request is looked at, and where it can be read, is the filter's part.

use super::Tracer;
use crate::context::SpanContext;
use crate::otlp::Parent;
use crate::outcome::EndedRequest;
use crate::sampling::Told;
use crate::span::{OpenSpan, Part, Sampling};
use std::time::Duration;

/// Whether a request has to be looked at again before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookAgain {
    /// It is told, or never will be.
    Never,
    /// A rule may keep it.
    Later,
}

impl Tracer {
    /// `envoy.long_streams`: after how long a request is told of.
    #[must_use]
    pub fn long_streams(&self) -> Option<Duration> {
        self.long_streams
    }

    /// Tells of a request that is still open, by a span below its own, once and if it is certain that it is kept. `request` is asked as if it
    /// had ended.
    pub fn tell_open(&mut self, span: &mut OpenSpan, request: &dyn EndedRequest) -> LookAgain {
        self.keep_if_slow(span, request);
        match span.sampling() {
            Sampling::Undecided => return LookAgain::Later,
            Sampling::Refused => return LookAgain::Never,
            Sampling::Kept | Sampling::KeptBy(_) => {}
        }
        if !span.note_told_open() {
            return LookAgain::Never;
        }
        let values = self.outcomes.read(span, request);
        let outcome = values.outcome();
        let routes = self.conventions.routes();
        let mut facts = span.facts(outcome, &routes);
        facts.is_open = true;
        let (first, _) = span.parts(self.span_kind.kind(outcome.listener_direction), || false);
        let context = SpanContext { span_id: self.ids.span_id(), ..first.context.clone() };
        let parent = Some(Parent::Local(first.context.span_id));
        self.count_another(span);
        self.queue(Part { context: &context, parent, ..first }, span, &facts);
        LookAgain::Never
    }

    /// Keeps an undecided request that has taken so long that a rule will.
    fn keep_if_slow(&mut self, span: &mut OpenSpan, request: &dyn EndedRequest) {
        let now = request.now();
        if *span.sampling() == Sampling::Undecided
            && let Some(duration) = span.taken(now)
        {
            self.keep_if_certain(span, duration, Told::No, now, request.shared());
        }
    }
}
