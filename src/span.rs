//! A span between its start and its end.
//!
//! It is consumed when it ends, so that it can't end twice.

use crate::context::SpanContext;
use crate::id::SpanId;
use crate::otlp::attributes::Attributes;
use crate::otlp::{Span, Status};
use crate::semconv::{Outcome, Request};

/// A span of a request that is kept and has not ended.
#[derive(Debug)]
pub struct StartedSpan {
    /// Its identity, as it went out to the upstream.
    pub context: SpanContext,
    /// The caller's span, if the trace was continued.
    pub parent: Option<SpanId>,
    /// What its end must know of its start.
    pub request: Request,
    /// What is known so far.
    pub attributes: Attributes,
}

impl StartedSpan {
    /// The finished span, with Envoy's own start and end.
    #[must_use]
    pub fn finished<'a>(&'a self, outcome: &Outcome<'_>, status: Status) -> Span<'a> {
        Span {
            context: &self.context,
            parent: self.parent,
            kind: self.request.kind(),
            name: self.request.name(),
            start: outcome.start,
            end: outcome.start.saturating_add(outcome.duration),
            attributes: &self.attributes,
            status,
        }
    }
}
