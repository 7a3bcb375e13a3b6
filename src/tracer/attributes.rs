//! What a request that has ended is asked for because the configuration wants it as an attribute.

use super::Tracer;
use super::attempt::may_be_asked;
use crate::otlp::SpanKind;
use crate::outcome::EndedRequest;
use crate::semconv::configured::Asked;
use crate::span::OpenSpan;

impl Tracer {
    /// What Envoy tells of a request for its spans, one or two, of these kinds: for [`crate::semconv::Facts::told`].
    #[inline(never)] // Most configurations want nothing.
    pub(super) fn ask(
        &self,
        span: &OpenSpan,
        kinds: [Option<SpanKind>; 2],
        request: &dyn EndedRequest,
    ) -> Vec<Vec<u8>> {
        let attributes = self.conventions.attributes();
        let is_two = !kinds.contains(&None);
        let mut told = Vec::with_capacity(2 * attributes.len());
        for place in 0..2 * attributes.len() {
            let of = if place % 2 == 0 { SpanKind::Server } else { SpanKind::Client };
            let attribute = attributes.get(place / 2).filter(|_| kinds.contains(&Some(of)));
            told.push(match attribute.map_or(Asked::Nothing, |it| it.asked(of)) {
                Asked::Attribute(name) if may_be_asked(span.attempt(), name) => {
                    request.attribute(name)
                }
                Asked::Expression(_) if is_two && of == SpanKind::Client => {
                    told.last().cloned().unwrap_or_default()
                }
                // One that fails, as where a header is not there, has no value.
                Asked::Expression(it) if span.may_be_asked(it) => {
                    request.evaluate(it).unwrap_or_default()
                }
                Asked::Attribute(_) | Asked::Expression(_) | Asked::Nothing => Vec::new(),
            });
        }
        told
    }
}
