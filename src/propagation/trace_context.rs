//! W3C Trace Context, Level 2: the headers `traceparent` and `tracestate`.
//!
//! Only the text of the headers; what to do with a context is decided elsewhere.

use super::changes::Changes;
use super::{Description, Propagator};
use crate::context::{SpanContext, TraceFlags, TraceState, trim_white_space};
use crate::envoy::headers::Headers;
use crate::id::{SpanId, TraceId, hex_value, write_hex};
use crate::probe::Known;
use std::borrow::Cow;

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
        let (version, rest) = value.split_first_chunk::<3>()?;
        let (trace_id, rest) = rest.split_first_chunk::<33>()?;
        let (parent_id, rest) = rest.split_first_chunk::<17>()?;
        let (flags, rest) = rest.split_first_chunk::<2>()?;
        match (hex_byte(version)?, rest) {
            (0xff, _) => return None,
            (_, []) => {}
            (0, _) => return None,
            // A comma can only come from a second header: even in a later version the two can't be told apart.
            (_, [b'-', more @ ..]) if !more.contains(&b',') => {}
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
}

/// The format (W3C Trace Context, Level 2).
#[derive(Debug)]
pub struct TraceContext;

impl Propagator for TraceContext {
    fn description(&self) -> &'static Description {
        &Description {
            name: "tracecontext",
            fields: &[TRACEPARENT, TRACESTATE],
            carriers: &[TRACEPARENT],
        }
    }

    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        TraceParent::parse(&joined(headers, TRACEPARENT)?)
    }

    fn trace_state(&self, headers: &Headers) -> TraceState {
        // One that is not valid counts as none: it never affects the traceparent (section 3.3.1.1).
        let state = joined(headers, TRACESTATE).map(|value| TraceState::parse(&value));
        state.and_then(Result::ok).unwrap_or_default()
    }

    fn parse(&self, carrier: &[u8]) -> Option<TraceParent> {
        TraceParent::parse(carrier)
    }

    fn inject(
        &self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        let presence = |name| known.presence(name, &[TRACEPARENT]);
        changes.set(TRACEPARENT, &traceparent(context), presence(TRACEPARENT));
        let state = &context.trace_state;
        if state.is_empty() {
            changes.remove(TRACESTATE, presence(TRACESTATE));
        } else if !goes_on_as_it_came(known, state, parent) {
            changes.set(TRACESTATE, state.as_str().as_bytes(), presence(TRACESTATE));
        }
    }
}

/// Whether the tracestate came as it goes on, in one header.
fn goes_on_as_it_came(known: Known<'_>, state: &TraceState, parent: Option<&SpanContext>) -> bool {
    let lines = match known {
        Known::Headers(headers) => headers.all(TRACESTATE).count(),
        Known::NoCarrier => 0,
    };
    lines == 1 && parent.is_some_and(|parent| parent.trace_state == *state)
}

/// The values of all headers of one name, joined by commas. None if there is none.
fn joined<'a>(headers: &'a Headers, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.all(name);
    let first = values.next()?;
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Some(Cow::Borrowed(first));
    }
    let mut all = first.to_vec();
    for value in values {
        all.push(b',');
        all.extend_from_slice(value);
    }
    Some(Cow::Owned(all))
}

/// The traceparent that we send: always version 00, whatever came (section 4.3).
#[must_use]
pub fn traceparent(context: &SpanContext) -> [u8; TRACEPARENT_LENGTH] {
    let mut value = *b"00-................................-................-..";
    let (_version, rest) = value.split_at_mut(3);
    let (trace_id, rest) = rest.split_at_mut(33);
    let (span_id, flags) = rest.split_at_mut(17);
    write_hex(context.trace_id.as_bytes(), trace_id);
    write_hex(context.span_id.as_bytes(), span_id);
    write_hex(&[context.flags.as_byte()], flags);
    value
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    Some(hex_value(*high)? << 4 | hex_value(*low)?)
}

#[cfg(test)]
mod tests {
    use super::super::Propagators;
    use super::super::changes::HeaderChange;
    use super::*;
    use crate::envoy::wire::HeaderMap;
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

    fn select(headers: &[(&str, &str)]) -> Headers {
        let names = TraceContext.description().fields.iter().copied().collect();
        Headers::select(HeaderMap::of(headers), &names)
    }

    fn extract(headers: &[(&str, &str)]) -> Option<SpanContext> {
        let format: &'static dyn Propagator = &TraceContext;
        [format].into_iter().collect::<Propagators>().extract(&select(headers))
    }

    #[test]
    fn headers_are_read_together() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        let parent = ("traceparent", valid.as_str());
        let cases: &[(&[(&str, &str)], Option<&str>, &str)] = &[
            (&[("accept", "*/*")], None, "neither"),
            (&[parent], Some(""), "a parent alone"),
            (&[parent, ("tracestate", "a=1")], Some("a=1"), "both"),
            (
                &[("tracestate", "a=1"), parent, ("tracestate", "b=2"), ("tracestate", "c=3")],
                Some("a=1,b=2,c=3"),
                "three tracestates",
            ),
            (&[parent, ("tracestate", "a=1,b")], Some(""), "a bad tracestate"),
            (&[("tracestate", "a=1")], None, "a tracestate alone"),
            (&[parent, parent], None, "two parents"),
        ];
        for (headers, state, reason) in cases {
            let parent = extract(headers);
            let found = parent.as_ref().map(|parent| parent.trace_state.as_str());
            assert_eq!(found, *state, "{reason}");
        }
    }

    #[test]
    fn headers_are_changed_as_little_as_needed() {
        type Case<'a> = (
            Option<&'a [(&'a str, &'a str)]>,
            Option<&'a str>,
            &'a str,
            [Option<HeaderChange<'a>>; 2],
            &'a str,
        );
        use HeaderChange::{Add, Remove, Replace};
        let own = format!("00-{TRACE}-{SPAN}-01");
        let came = ("traceparent", "anything");
        let traceparent = own.as_bytes();
        let context = |state: &str| {
            let parent = TraceParent::parse(traceparent).expect("valid");
            let trace_state = TraceState::parse(state.as_bytes()).expect("valid");
            let TraceParent { trace_id, parent_id: span_id, flags } = parent;
            SpanContext { trace_id, span_id, flags, trace_state }
        };
        let state = ("tracestate", "a=1");
        let add = Some(Add(TRACEPARENT, traceparent));
        let replace = Some(Replace(TRACEPARENT, traceparent));
        let cases: &[Case<'_>] = &[
            (None, None, "", [add, Some(Remove(TRACESTATE))], "a tracestate may be there"),
            (None, None, "ot=th:8", [add, Some(Replace(TRACESTATE, b"ot=th:8"))], "or one of ours"),
            (Some(&[]), None, "", [add, None], "nothing came"),
            (Some(&[]), None, "ot=th:8", [add, Some(Add(TRACESTATE, b"ot=th:8"))], "ours alone"),
            (Some(&[state]), None, "", [add, Some(Remove(TRACESTATE))], "a tracestate alone"),
            (Some(&[came]), Some(""), "", [replace, None], "a parent alone"),
            (Some(&[came, state]), Some("a=1"), "a=1", [replace, None], "a state that goes on"),
            (
                Some(&[came, state]),
                Some("a=1"),
                "ot=th:8,a=1",
                [replace, Some(Replace(TRACESTATE, b"ot=th:8,a=1"))],
                "a state that is another one now",
            ),
            (
                Some(&[came, state, ("tracestate", "b=2")]),
                Some("a=1,b=2"),
                "a=1,b=2",
                [replace, Some(Replace(TRACESTATE, b"a=1,b=2"))],
                "a state in two headers goes on as one",
            ),
            (
                Some(&[came, ("tracestate", "a=1,b")]),
                Some(""),
                "",
                [replace, Some(Remove(TRACESTATE))],
                "a state that was refused",
            ),
        ];
        for (headers, parent, own_state, expected, reason) in cases {
            let headers = headers.map(select);
            let mut changes = Changes::default();
            let parent = parent.map(context);
            TraceContext.inject(
                &context(own_state),
                parent.as_ref(),
                headers.as_ref().into(),
                &mut changes,
            );
            let expected: Vec<_> = expected.iter().flatten().copied().collect();
            assert_eq!(changes.iter().collect::<Vec<_>>(), expected, "{reason}");
        }
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
