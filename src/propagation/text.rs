//! What several formats read and write in the same way: headers that come once, fields, numbers in digits, texts by a pattern.
//!
//! None is inlined: they would make the module larger for formats that few configure.

use super::changes::Changes;
use super::trace_context::TraceParent;
use crate::context::{self, Decision, SpanContext, TraceFlags};
use crate::envoy::headers::Headers;
use crate::envoy::wire;
use crate::id::{SpanId, TraceId, hex_value, write_hex};
use crate::probe::{Known, Presence};

#[inline(never)]
fn trim_white_space(value: &[u8]) -> &[u8] {
    context::trim_white_space(value)
}

/// The value of a header, without white space around it. One that came more than once has a value that no format takes.
#[inline(never)]
pub(super) fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    for value in headers.all(name) {
        found = Some(only(found, trim_white_space(value)));
    }
    found
}

/// The same of what is known of a request.
pub(super) fn known_value<'a>(known: Known<'a>, name: &str) -> Option<&'a [u8]> {
    match known {
        Known::Headers(headers) => value(headers, name),
        Known::NoCarrier => None,
    }
}

/// What stands for a value where another one was found before: none that any format takes.
fn only<'a>(found: Option<&[u8]>, value: &'a [u8]) -> &'a [u8] {
    if found.is_some() { b"," } else { value }
}

/// Takes the first field of what is left of a text.
#[inline(never)]
fn take<'a>(left: &mut Option<&'a [u8]>, separator: u8) -> Option<&'a [u8]> {
    let text = left.take()?;
    let Some(end) = text.iter().position(|byte| *byte == separator) else { return Some(text) };
    let (field, rest) = text.split_at_checked(end)?;
    *left = rest.get(1..);
    Some(field)
}

/// How many fields there are, and the first of them; the others are empty.
#[inline(never)]
pub(super) fn split(text: &[u8], separator: u8) -> (usize, [&[u8]; 4]) {
    let mut left = Some(text);
    let (mut count, mut fields) = (0, [&[][..]; 4]);
    while let Some(field) = take(&mut left, separator) {
        if let Some(place) = fields.get_mut(count) {
            *place = field;
        }
        count += 1;
    }
    (count, fields)
}

/// What stands behind a key, in a list of parts. One that stands there more than once has a value that no format takes.
#[inline(never)]
pub(super) fn find<'a>(text: &'a [u8], separator: u8, key: &[u8]) -> Option<&'a [u8]> {
    let mut left = Some(text);
    let mut found = None;
    while let Some(part) = take(&mut left, separator) {
        if let Some(value) = trim_white_space(part).strip_prefix(key) {
            found = Some(only(found, value));
        }
    }
    found
}

/// Adds to a list the parts of another one that have none of these keys.
#[inline(never)]
pub(super) fn push_others(list: &mut Vec<u8>, text: &[u8], separator: u8, keys: &[&[u8]]) {
    let mut left = Some(text);
    while let Some(part) = take(&mut left, separator) {
        let part = trim_white_space(part);
        if !part.is_empty() && !keys.iter().any(|key| part.starts_with(key)) {
            if !list.is_empty() {
                list.push(separator);
            }
            list.extend_from_slice(part);
        }
    }
}

/// A number of up to 128 bits, in network order: in WebAssembly nothing turns the bytes of one around at a low price.
pub(super) type Number = [u8; 16];

/// A number in this many hexadecimal digits, of either case.
#[inline(never)]
pub(super) fn hex(digits: &[u8], least: usize, most: usize) -> Option<Number> {
    if digits.len() < least || digits.len() > most {
        return None;
    }
    let mut number = [0; 16];
    let mut digits = digits.iter().rev();
    for byte in number.iter_mut().rev() {
        for shift in [0, 4] {
            if let Some(digit) = digits.next() {
                *byte |= hex_value(digit.to_ascii_lowercase())? << shift;
            }
        }
    }
    Some(number)
}

/// A number of up to 64 bits in decimal digits.
#[inline(never)]
pub(super) fn decimal(digits: &[u8]) -> Option<Number> {
    let mut value = wire::decimal(digits)?;
    let mut number = [0; 16];
    for byte in number.iter_mut().rev() {
        *byte = (value & 0xff) as u8;
        value >>= 8;
    }
    Some(number)
}

/// What B3 and OT say of a decision; where they say nothing, it is left to others.
#[inline(never)]
pub(super) fn flags(text: Option<&[u8]>) -> Option<TraceFlags> {
    match text {
        None => Some(TraceFlags::decided(Decision::Deferred)),
        Some(b"0" | b"false") => Some(TraceFlags::decided(Decision::NotSampled)),
        Some(b"1" | b"true") => Some(TraceFlags::decided(Decision::Sampled)),
        Some(b"d") => Some(TraceFlags::debug()),
        Some(_) => None,
    }
}

/// What a caller says that has given all of it, and no id that is zero. A span id has no more than 64 bits.
#[inline(never)]
pub(super) fn parent(
    trace: Option<Number>,
    span: Option<Number>,
    flags: Option<TraceFlags>,
) -> Option<TraceParent> {
    Some(TraceParent {
        trace_id: TraceId::from_bytes(trace?)?,
        parent_id: SpanId::from_bytes(*span?.last_chunk()?)?,
        flags: flags?,
    })
}

/// Adds a text. In a pattern `%T` stands for the digits of the trace id, `%H` and `%L` for those of its halves, `%t` and `%u` for those of its
/// first four bytes and the rest, `%S` for those of the span id; `%l` and `%s` for numbers in decimal digits; `%f` for `1` or `0`, `%d` and `%3` for a digit that says of debugging, too: `d` or `3`.
#[inline(never)]
pub(super) fn push(text: &mut Vec<u8>, pattern: &str, context: &SpanContext) {
    let (trace, span) = (context.trace_id.as_bytes().as_slice(), context.span_id.as_bytes());
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        let mut digits = [0; 32];
        let kind = if byte == b'%' { bytes.next().unwrap_or_default() } else { 0 };
        let id = match kind {
            b'T' => Some(trace),
            b'H' => trace.get(..8),
            b'L' | b'l' => trace.get(8..),
            b't' => trace.get(..4),
            b'u' => trace.get(4..),
            b'S' | b's' => Some(span.as_slice()),
            _ => None,
        };
        let (start, end) = match (kind, id) {
            (b'l' | b's', Some(id)) => (
                write_decimal(
                    id.iter().fold(0, |it, byte| it << 8 | u64::from(*byte)),
                    &mut digits,
                ),
                32,
            ),
            (_, Some(id)) => {
                write_hex(id, &mut digits);
                (0, 2 * id.len())
            }
            _ => {
                let [first, ..] = &mut digits;
                *first = match kind {
                    0 => byte,
                    b'd' | b'3' if context.flags.is_debug() => kind,
                    _ => b'0' + u8::from(context.flags.is_sampled()),
                };
                (0, 1)
            }
        };
        text.extend_from_slice(digits.get(start..end).unwrap_or_default());
    }
}

/// Writes a number to the end of some digits, and says where it starts.
fn write_decimal(mut number: u64, digits: &mut [u8; 32]) -> usize {
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    start
}

/// Sets headers, each to a text by its pattern. The first one is a carrier.
#[inline(never)]
pub(super) fn set(
    headers: &[(&'static str, &str)],
    context: &SpanContext,
    known: Known<'_>,
    changes: &mut Changes,
) {
    let mut without_carrier = Presence::Absent;
    let mut text = Vec::with_capacity(64);
    for (name, pattern) in headers {
        push(&mut text, pattern, context);
        changes.set(name, &text, presence(known, name, without_carrier));
        text.clear();
        without_carrier = Presence::Unknown;
    }
}

/// Whether a request came with a header. `without_carrier` is what is known of it where the format has no carrier.
#[inline(never)]
pub(super) fn presence(known: Known<'_>, name: &str, without_carrier: Presence) -> Presence {
    match known {
        Known::NoCarrier => without_carrier,
        Known::Headers(headers) if value(headers, name).is_some() => Presence::Present,
        Known::Headers(_) => Presence::Absent,
    }
}
