//! What the headers of B3 say, in either notation: one header, `b3`, or several, `X-B3-…`.
//!
//! Both formats read both notations, the one header first (openzipkin/b3-propagation; OpenTelemetry, Propagators API, section "B3
//! Requirements"). Which one is written is theirs (`b3`, `b3multi`).

use super::text::{flags, hex, parent, split, value};
use super::trace_context::TraceParent;
use crate::context::TraceFlags;
use crate::envoy::headers::Headers;

/// The one header.
pub(super) const B3_HEADER: &str = "b3";
pub(super) const TRACE_ID: &str = "x-b3-traceid";
pub(super) const SPAN_ID: &str = "x-b3-spanid";
pub(super) const PARENT_ID: &str = "x-b3-parentspanid";
pub(super) const SAMPLED: &str = "x-b3-sampled";
pub(super) const FLAGS: &str = "x-b3-flags";
/// The several headers.
pub(super) const SEVERAL: [&str; 5] = [TRACE_ID, SPAN_ID, PARENT_ID, SAMPLED, FLAGS];
/// The headers of both notations.
pub(super) const FIELDS: &[&str] = &[B3_HEADER, TRACE_ID, SAMPLED, FLAGS, SPAN_ID, PARENT_ID];
/// Of these one is there where anything is said.
pub(super) const CARRIERS: &[&str] = &[B3_HEADER, TRACE_ID, SAMPLED, FLAGS];

/// The caller's ids and flags in one header, or else in several.
#[inline(never)]
pub(super) fn extract(headers: &Headers) -> Option<TraceParent> {
    value(headers, B3_HEADER).and_then(parse).or_else(|| of_several(headers))
}

/// What the caller has decided without ids, in one header, or else in several.
#[inline(never)]
pub(super) fn flags_alone(headers: &Headers) -> Option<TraceFlags> {
    match value(headers, B3_HEADER) {
        Some(state @ [_]) => flags(Some(state)),
        _ if value(headers, TRACE_ID).is_some() => None,
        _ => said(headers),
    }
}

/// Reads `TRACE-SPAN[-STATE[-PARENT]]`.
///
/// `None` for: a trace id that is not 16 or 32 hexadecimal digits, or is zero; an id of a span or its parent that is not 16 such digits; a
/// span id that is zero; a state other than `0`, `1` and `d`; anything behind the parent; a decision without ids.
pub(super) fn parse(value: &[u8]) -> Option<TraceParent> {
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
fn ids(trace: &[u8], span: &[u8], flags: Option<TraceFlags>) -> Option<TraceParent> {
    let shortest = if trace.len() == 16 { 16 } else { 32 };
    parent(hex(trace, shortest, 32), hex(span, 16, 16), flags)
}

/// The caller's ids and flags in several headers.
///
/// `None` for: a trace id that is not 16 or 32 hexadecimal digits, or is zero; a span id that is not 16 such digits, or is zero; `X-B3-Sampled`
/// other than `0`, `1`, `true`, `false` and `d`, unless `X-B3-Flags` is `1`; one of these headers twice.
fn of_several(headers: &Headers) -> Option<TraceParent> {
    ids(value(headers, TRACE_ID)?, value(headers, SPAN_ID)?, said(headers))
}

fn said(headers: &Headers) -> Option<TraceFlags> {
    let is_debug = value(headers, FLAGS) == Some(b"1");
    flags(if is_debug { Some(b"d") } else { value(headers, SAMPLED) })
}
