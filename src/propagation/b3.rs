//! B3 in one header, `b3`.
//!
//! (openzipkin/b3-propagation; OpenTelemetry, Propagators API, section "B3 Requirements".) It is read in several headers, too, and those
//! that came go, since they name another span than the one that is written.

use super::b3multi::{self, SEVERAL};
use super::changes::Changes;
use super::text::{flags, hex, parent, presence, set, split, value};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{SpanContext, TraceFlags};
use crate::envoy::headers::Headers;
use crate::probe::{Known, Presence};

/// The header.
pub(super) const B3_HEADER: &str = "b3";
/// The headers of both kinds.
pub(super) const FIELDS: &[&str] =
    &[B3_HEADER, "x-b3-traceid", "x-b3-sampled", "x-b3-flags", "x-b3-spanid", "x-b3-parentspanid"];
/// Of these one is there where anything is said.
pub(super) const CARRIERS: &[&str] = &[B3_HEADER, "x-b3-traceid", "x-b3-sampled", "x-b3-flags"];

/// The format.
#[derive(Debug)]
pub struct B3;

/// The caller's ids and flags in one header, or else in several.
#[inline(never)]
pub(super) fn extract(headers: &Headers) -> Option<TraceParent> {
    value(headers, B3_HEADER).and_then(parse).or_else(|| b3multi::extract(headers))
}

/// What the caller has decided without ids, in one header, or else in several.
#[inline(never)]
pub(super) fn flags_alone(headers: &Headers) -> Option<TraceFlags> {
    match value(headers, B3_HEADER) {
        Some(state @ [_]) => flags(Some(state)),
        _ => b3multi::flags_alone(headers),
    }
}

/// Reads `TRACE-SPAN[-STATE[-PARENT]]`.
///
/// `None` for: a trace id that is not 16 or 32 hexadecimal digits, or is zero; an id of a span or its parent that is not 16 such digits; a
/// span id that is zero; a state other than `0`, `1` and `d`; anything behind the parent; a decision without ids.
fn parse(value: &[u8]) -> Option<TraceParent> {
    let (count, [trace, span, state, above]) = split(value, b'-');
    let state = match count {
        2 => None,
        3 | 4 if state.len() == 1 => Some(state),
        _ => return None,
    };
    if count == 4 {
        hex(above, 16, 16)?;
    }
    ids(trace, span, flags(state))
}

/// The ids in as many digits as B3 has for them.
pub(super) fn ids(trace: &[u8], span: &[u8], flags: Option<TraceFlags>) -> Option<TraceParent> {
    let shortest = if trace.len() == 16 { 16 } else { 32 };
    parent(hex(trace, shortest, 32), hex(span, 16, 16), flags)
}

impl Propagator for B3 {
    fn description(&self) -> &'static Description {
        &Description { name: "b3", fields: FIELDS, carriers: CARRIERS }
    }

    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        extract(headers)
    }

    fn flags_alone(&self, headers: &Headers) -> Option<TraceFlags> {
        flags_alone(headers)
    }

    fn parse(&self, carrier: &[u8]) -> Option<TraceParent> {
        parse(carrier)
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        set(&[(B3_HEADER, "%T-%S-%d")], context, known, changes);
        // Where no carrier is there, what else there may be names no trace.
        for name in SEVERAL {
            changes.remove_stale(name, presence(known, name, Presence::Absent));
        }
    }
}
