//! A span that is larger than it may be, cut until it fits: so that something arrives.
//!
//! What is cut of one part does not depend on another: each has its share of the room, and the attributes have what is left.

use super::attributes::{Attributes, limited_in_bytes};
use super::{FIXED_LENGTH, LINK_FIXED_LENGTH, Link, STATUS_ERROR, Span, wire};
use crate::context::{SpanContext, TraceState};

/// To so many characters texts are cut.
const SHORT_TEXT: usize = 128;

/// So many bytes of a tracestate are kept where there is room: what everybody has to pass on (W3C Trace Context, section 3.3.1.5).
const TRACE_STATE: usize = 512;

/// The most that a key and a length take.
const KEY_AND_LENGTH: usize = 1 + 5;

/// What is left of a span, but for its texts.
#[derive(Debug)]
pub struct Cut {
    context: SpanContext,
    links: Vec<Link>,
    dropped_links: u32,
    /// How many bytes its name may have.
    name: usize,
    /// How many bytes its attributes may have.
    attributes: usize,
}

impl Cut {
    /// Of a span with this context and these links, what fits into so many bytes. Tracestates lose whole members.
    #[must_use]
    pub fn new(context: &SpanContext, links: &[Link], room: usize) -> Self {
        let cut = |context: &SpanContext, length: usize| SpanContext {
            trace_state: context
                .trace_state
                .cut(TRACE_STATE.min(length), TraceState::OPENTELEMETRY),
            ..context.clone()
        };
        let context = cut(context, room / 4);
        let name = room / 8;
        let mut for_links = room / 8;
        let mut kept = Vec::new();
        for link in links {
            let bare = LINK_FIXED_LENGTH + 2 * KEY_AND_LENGTH;
            let Some(state) = for_links.checked_sub(bare) else { break };
            let link = Link { context: cut(&link.context, state) };
            for_links = for_links.saturating_sub(link.encoded_len());
            kept.push(link);
        }
        // Beside texts and links: the parent, and what each of the other parts takes at most.
        let fixed = FIXED_LENGTH + 10 + STATUS_ERROR.len() + 5 * KEY_AND_LENGTH;
        let state = context.trace_state.as_str().len();
        let in_links = kept.iter().map(Link::encoded_len).sum::<usize>();
        Self {
            attributes: room.saturating_sub(fixed + state + name + in_links),
            dropped_links: u32::try_from(links.len() - kept.len()).unwrap_or(u32::MAX),
            links: kept,
            context,
            name,
        }
    }

    /// None yet, under the limits of these: short ones, as many as fit.
    #[must_use]
    pub fn attributes(&self, usual: &Attributes) -> Attributes {
        usual.within(SHORT_TEXT, self.attributes)
    }

    /// The span with what is left of it. Its attributes are [`Cut::attributes`].
    #[must_use]
    pub fn of<'a>(&'a self, span: Span<'a>) -> Span<'a> {
        Span {
            context: &self.context,
            links: &self.links,
            dropped_links: self.dropped_links,
            name: limited_in_bytes(span.name, SHORT_TEXT, self.name),
            ..span
        }
    }
}

impl Link {
    /// The length of the link as an entry of `Span.links`, in bytes.
    fn encoded_len(&self) -> usize {
        wire::field_len(self.message_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TraceFlags;
    use crate::id::{SpanId, TraceId};
    use crate::otlp::attributes::SpanLimits;
    use crate::otlp::{Parent, SpanKind, SpanStatus};
    use proptest::prelude::*;

    fn context(members: usize, length: usize) -> SpanContext {
        let members: Vec<_> =
            (0..members).map(|it| format!("k{it}={}", "v".repeat(length))).collect();
        SpanContext {
            trace_id: TraceId::from_bytes([1; 16]).expect("valid"),
            span_id: SpanId::from_bytes([2; 8]).expect("valid"),
            flags: TraceFlags::from_byte(3),
            trace_state: TraceState::parse(members.join(",").as_bytes()).expect("valid"),
        }
    }

    /// A span of these parts, cut to a room, with what it takes then.
    fn cut(
        state: (usize, usize),
        links: &[(usize, usize)],
        name: &str,
        values: &[String],
        room: usize,
    ) -> (usize, Cut, Attributes) {
        let context = context(state.0, state.1);
        let links: Vec<_> =
            links.iter().map(|it| Link { context: self::context(it.0, it.1) }).collect();
        let cut = Cut::new(&context, &links, room);
        let limits = SpanLimits { attribute_count: 100, attribute_value_length: None };
        let mut attributes = cut.attributes(&Attributes::new(limits));
        for value in values {
            attributes.string("a.key", value.as_bytes());
            attributes.int("a.number", 7);
            attributes.strings("a.list", [value.as_bytes(), b"x"].into_iter());
        }
        let span = cut.of(Span {
            context: &context,
            parent: Some(Parent::Remote(context.span_id)),
            links: &links,
            dropped_links: 0,
            kind: Some(SpanKind::Client),
            name,
            start: 1,
            end: 2,
            attributes: &attributes,
            status: SpanStatus::Error,
        });
        let mut bytes = Vec::new();
        span.append(&mut bytes);
        (bytes.len(), cut, attributes)
    }

    #[test]
    fn each_part_has_its_share() {
        let long = ["\u{e4}".repeat(1000)];
        let (size, cut, attributes) = cut((32, 256), &[(1, 200), (0, 0)], &long[0], &long, 1 << 20);
        assert_eq!(cut.context.trace_state.as_str().len(), 259, "one member, since two have 519");
        assert_eq!(cut.links.len(), 2, "they fit");
        assert_eq!(attributes.dropped(), 0, "they fit, too");
        assert!(size < 2000, "texts are short: {size}");
        let (_, cut, attributes) = self::cut((3, 90), &[(1, 60); 9], &long[0], &[], 1024);
        assert_eq!(
            cut.context.trace_state.as_str().matches(',').count(),
            1,
            "two members of three"
        );
        assert_eq!((cut.links.len(), cut.dropped_links), (1, 8), "the others are counted");
        assert_eq!(cut.links[0].context.trace_state.as_str().len(), 63, "whole members");
        assert_eq!(attributes.as_bytes().len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_cut_fits(
            state in (0..=32_usize, 1..=256_usize),
            links in prop::collection::vec((0..=32_usize, 1..=256_usize), 0..40),
            name in ".{0,300}",
            values in prop::collection::vec(".{0,300}", 0..30),
            room in 1024..40_000_usize,
        ) {
            let (size, cut, attributes) = cut(state, &links, &name, &values, room);
            prop_assert!(size <= room, "{size} of {room}");
            prop_assert_eq!(cut.links.len() + cut.dropped_links as usize, links.len());
            prop_assert!(attributes.dropped() == 0 || size > room / 4, "{size} of {room}: there is room");
        }
    }
}
