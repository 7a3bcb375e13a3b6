//! W3C Trace Context, Level 2: the headers `traceparent` and `tracestate`.
//!
//! Only the text of the headers; what to do with a context is decided elsewhere.

use crate::context::{SpanContext, TraceFlags, TraceState, trim_white_space};
use crate::id::{SpanId, TraceId, hex_digits, hex_value};

/// The header that names the parent.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries what vendors note.
pub const TRACESTATE: &str = "tracestate";

/// The length of a traceparent of version 00.
pub const TRACEPARENT_LENGTH: usize = 55;

/// What a traceparent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub parent_id: SpanId,
    /// The caller's flags.
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Reads the value of the traceparent header; several headers come joined by commas.
    ///
    /// `None` for: more than one header; a version that is not two lowercase hexadecimal digits, or
    /// is `ff`; a version 00 that is not 55 characters long; a higher version that is shorter, or
    /// goes on after the flags with anything but `-`; an id of the wrong length, with other than
    /// lowercase hexadecimal digits, or zero; flags that are not two such digits (section 3.2.2,
    /// and 4.3 for higher versions).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = trim_white_space(value);
        // A comma can only come from a second header: even in a later version the two can't be told apart.
        if value.contains(&b',') {
            return None;
        }
        let (version, rest) = value.split_first_chunk::<3>()?;
        let (trace_id, rest) = rest.split_first_chunk::<33>()?;
        let (parent_id, rest) = rest.split_first_chunk::<17>()?;
        let (flags, rest) = rest.split_first_chunk::<2>()?;
        match (hex_byte(version)?, rest) {
            (0xff, _) => return None,
            (_, []) => {}
            (0, _) => return None,
            (_, [b'-', ..]) => {}
            _ => return None,
        }
        let [trace_id @ .., b'-'] = trace_id else { return None };
        let [parent_id @ .., b'-'] = parent_id else { return None };
        let [_, _, b'-'] = version else { return None };
        Some(Self {
            trace_id: TraceId::from_hex(trace_id)?,
            parent_id: SpanId::from_hex(parent_id)?,
            flags: TraceFlags::from_byte(hex_byte(flags)?),
        })
    }

    /// The context of the caller's span. A tracestate that is not valid counts as none: it never
    /// affects the traceparent (section 3.3.1.1). `tracestate`: the values of all such headers,
    /// joined by commas.
    #[must_use]
    pub fn with_trace_state(self, tracestate: Option<&[u8]>) -> SpanContext {
        SpanContext {
            trace_id: self.trace_id,
            span_id: self.parent_id,
            flags: self.flags,
            trace_state: tracestate
                .and_then(|value| TraceState::parse(value).ok())
                .unwrap_or_default(),
        }
    }
}

/// What a request's headers say of its caller.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The caller's context, if it is valid.
    pub parent: Option<SpanContext>,
    /// How the traceparent header stands to the parent.
    pub traceparent: HeaderState,
    /// How the tracestate headers stand to the parent's tracestate.
    pub tracestate: HeaderState,
}

impl Incoming {
    /// A request of which is known only that it has no traceparent: a tracestate would not be valid.
    #[must_use]
    pub fn without_traceparent() -> Self {
        Self { tracestate: HeaderState::Discarded, ..Self::default() }
    }
}

/// How the headers of a name stand to what was read from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderState {
    /// There is none.
    #[default]
    Absent,
    /// They say what was read.
    Valid,
    /// They were refused, or there is no valid parent.
    Discarded,
}

/// Reads a request's context from all its headers: (name, value) pairs with lowercase names.
pub fn extract<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Incoming {
    let mut traceparent = Header::Absent;
    let mut tracestate = Header::Absent;
    for (name, value) in headers {
        if name == TRACEPARENT.as_bytes() {
            traceparent.add(value);
        } else if name == TRACESTATE.as_bytes() {
            tracestate.add(value);
        }
    }
    let parent = traceparent.joined().and_then(TraceParent::parse);
    // A tracestate without a valid traceparent is not even read (section 3.3.1).
    let parent = parent.map(|parent| parent.with_trace_state(tracestate.joined()));
    let has_state = parent.as_ref().is_some_and(|parent| !parent.trace_state.is_empty());
    Incoming {
        traceparent: traceparent.state(parent.is_some()),
        tracestate: tracestate.state(has_state),
        parent,
    }
}

/// The values of all headers of one name.
enum Header<'a> {
    Absent,
    One(&'a [u8]),
    /// Joined by commas.
    Several(Vec<u8>),
}

impl<'a> Header<'a> {
    fn add(&mut self, value: &'a [u8]) {
        match self {
            Self::Absent => *self = Self::One(value),
            Self::One(first) => *self = Self::Several([*first, value].join(&b',')),
            Self::Several(values) => {
                values.push(b',');
                values.extend_from_slice(value);
            }
        }
    }

    fn state(&self, was_read: bool) -> HeaderState {
        match self {
            Self::Absent => HeaderState::Absent,
            Self::One(_) | Self::Several(_) if was_read => HeaderState::Valid,
            Self::One(_) | Self::Several(_) => HeaderState::Discarded,
        }
    }

    fn joined(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => None,
            Self::One(value) => Some(value),
            Self::Several(values) => Some(values),
        }
    }
}

/// The traceparent that we send: always version 00, whatever came (section 4.3).
#[must_use]
pub fn traceparent(context: &SpanContext) -> [u8; TRACEPARENT_LENGTH] {
    let mut value = [b'-'; TRACEPARENT_LENGTH];
    let bytes = (context.trace_id.as_bytes().iter())
        .chain(context.span_id.as_bytes())
        .copied()
        .chain([context.flags.as_byte()]);
    let (version, rest) = value.split_at_mut(3);
    version.fill(b'0');
    if let Some(dash) = version.last_mut() {
        *dash = b'-';
    }
    let (trace_id, rest) = rest.split_at_mut(33);
    let (span_id, flags) = rest.split_at_mut(17);
    let digits = (trace_id.as_chunks_mut::<2>().0.iter_mut())
        .chain(span_id.as_chunks_mut::<2>().0)
        .chain(flags.as_chunks_mut::<2>().0);
    for (digits, byte) in digits.zip(bytes) {
        *digits = hex_digits(byte);
    }
    value
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    Some(hex_value(*high)? << 4 | hex_value(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn traceparents_are_read_as_level_2_says() {
        let cases: Vec<(String, Option<u8>, &str)> = vec![
            (format!("00-{TRACE}-{SPAN}-01"), Some(1), "sampled"),
            (format!("00-{TRACE}-{SPAN}-00"), Some(0), "not sampled"),
            (format!("00-{TRACE}-{SPAN}-03"), Some(3), "sampled and random"),
            (format!("00-{TRACE}-{SPAN}-ff"), Some(3), "undefined flags are dropped"),
            (format!(" \t00-{TRACE}-{SPAN}-01\t "), Some(1), "white space around the value"),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(1), "a later version"),
            (format!("cc-{TRACE}-{SPAN}-01-what-follows"), Some(1), "a later version goes on"),
            (format!("cc-{TRACE}-{SPAN}-01."), None, "a later version goes on without a dash"),
            (format!("cc-{TRACE}-{SPAN}-0"), None, "a later version, too short"),
            (format!("00-{TRACE}-{SPAN}-01-"), None, "version 00 has a fixed length"),
            (format!("ff-{TRACE}-{SPAN}-01"), None, "version ff"),
            (format!("0-{TRACE}-{SPAN}-01"), None, "a version of one digit"),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None, "an uppercase trace id"),
            (format!("0A-{TRACE}-{SPAN}-01"), None, "an uppercase version"),
            (format!("00-{TRACE}-{SPAN}-0A"), None, "uppercase flags"),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), None, "a zero trace id"),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None, "a zero parent id"),
            (format!("00-{TRACE}_{SPAN}-01"), None, "another separator"),
            (format!("00_{TRACE}-{SPAN}-01"), None, "another first separator"),
            (format!("00-{TRACE}-{SPAN}_01"), None, "another last separator"),
            (format!("00-{TRACE}-{SPAN}-+1"), None, "a sign is no digit"),
            (format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"), None, "two headers"),
            (
                format!("cc-{TRACE}-{SPAN}-01-a,cc-{TRACE}-{SPAN}-01"),
                None,
                "two headers of a later version",
            ),
            (String::new(), None, "an empty header"),
        ];
        for (header, flags, reason) in cases {
            let parsed = TraceParent::parse(header.as_bytes());
            assert_eq!(parsed.map(|parent| parent.flags.as_byte()), flags, "{reason}");
        }
    }

    #[test]
    fn headers_are_read_together() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        let parent = ("traceparent", valid.as_str());
        let cases: &[(&[(&str, &str)], Option<&str>, HeaderState, &str)] = &[
            (&[("accept", "*/*")], None, HeaderState::Absent, "neither"),
            (&[parent], Some(""), HeaderState::Absent, "a parent alone"),
            (&[parent, ("tracestate", "a=1")], Some("a=1"), HeaderState::Valid, "both"),
            (
                &[("tracestate", "a=1"), parent, ("tracestate", "b=2")],
                Some("a=1,b=2"),
                HeaderState::Valid,
                "two tracestates",
            ),
            (
                &[parent, ("tracestate", "a=1,a=2")],
                Some(""),
                HeaderState::Discarded,
                "a bad tracestate",
            ),
            (&[("tracestate", "a=1")], None, HeaderState::Discarded, "a tracestate alone"),
            (&[parent, parent], None, HeaderState::Absent, "two parents"),
        ];
        for (headers, state, header_state, reason) in cases {
            let pairs = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let incoming = extract(pairs);
            let found = incoming.parent.as_ref().map(|parent| parent.trace_state.as_str());
            assert_eq!(found, *state, "{reason}");
            assert_eq!(incoming.tracestate, *header_state, "{reason}");
        }
    }

    #[test]
    fn a_bad_tracestate_leaves_the_parent() {
        let parent = TraceParent::parse(format!("00-{TRACE}-{SPAN}-01").as_bytes()).expect("valid");
        assert!(parent.with_trace_state(Some(b"a=1,a=2")).trace_state.is_empty(), "dropped whole");
        assert_eq!(parent.with_trace_state(Some(b"a=1")).trace_state.as_str(), "a=1", "kept");
        assert!(parent.with_trace_state(None).trace_state.is_empty(), "none came");
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(trace: [u8; 16], span: [u8; 8], flags in 0..4u8) {
            let (Some(trace_id), Some(span_id)) = (TraceId::from_bytes(trace), SpanId::from_bytes(span)) else {
                return Ok(());
            };
            let flags = TraceFlags::from_byte(flags);
            let context = SpanContext { trace_id, span_id, flags, trace_state: TraceState::default() };
            let header = traceparent(&context);
            prop_assert_eq!(TraceParent::parse(&header), Some(TraceParent { trace_id, parent_id: span_id, flags }));
        }

        #[test]
        fn any_bytes_are_survived(value: Vec<u8>) {
            let _ = TraceParent::parse(&value);
        }
    }
}
