//! What a request that has ended is asked for because the configuration wants it as an attribute.

use super::Tracer;
use crate::otlp::SpanKind;
use crate::outcome::EndedRequest;
use crate::semconv::configured::Asked;
use crate::span::OpenSpan;

impl Tracer {
    /// What Envoy tells of it, for [`crate::semconv::Facts::told`]. `kind` is that of its only span.
    #[inline(never)] // Most configurations want nothing.
    pub(super) fn ask(
        &self,
        span: &OpenSpan,
        kind: SpanKind,
        request: &dyn EndedRequest,
    ) -> Vec<Vec<u8>> {
        let attributes = self.conventions.attributes();
        let mut told = Vec::with_capacity(2 * attributes.len());
        for place in 0..2 * attributes.len() {
            let of = if place % 2 == 0 { SpanKind::Server } else { SpanKind::Client };
            let attribute = attributes.get(place / 2).filter(|_| of == kind || span.spans() > 1);
            told.push(match attribute.map_or(Asked::Nothing, |it| it.asked(of)) {
                Asked::Nothing => Vec::new(),
                Asked::Attribute(name) => request.attribute(name),
                // One that fails, as where a header is not there, has no value.
                Asked::Expression(it) => request.evaluate(it).unwrap_or_default(),
            });
        }
        told
    }
}
