//! OTLP/JSON (OTLP, section JSON Protobuf Encoding), made of a request that is encoded already: ids in hexadecimal, enums as
//! numbers, 64-bit integers as text.
//!
//! It reads the wire format by a table of the messages. What the table does not have, since this module does not write it, is left out;
//! what can't be read ends its message early.

use crate::id::hex_digits;
use prost::encoding::{WireType, decode_key, decode_varint};

/// Messages in each other, more than any value of ours has.
const MAX_DEPTH: usize = 24;

struct Field {
    number: u32,
    name: &'static str,
    kind: Kind,
}

enum Kind {
    /// One message.
    Message(&'static [Field]),
    /// Any number of them.
    Messages(&'static [Field]),
    Text,
    /// An id.
    Hex,
    Bool,
    /// A 32-bit number, or an enum.
    Number,
    /// A 64-bit number, which JSON holds as text.
    LongNumber,
    /// An `int64`.
    SignedNumber,
    Double,
}

const fn field(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind }
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`.
static REQUEST: [Field; 1] = [field(1, "resourceSpans", Kind::Messages(&RESOURCE_SPANS))];
static RESOURCE_SPANS: [Field; 3] = [
    field(1, "resource", Kind::Message(&RESOURCE)),
    field(2, "scopeSpans", Kind::Messages(&SCOPE_SPANS)),
    field(3, "schemaUrl", Kind::Text),
];
static RESOURCE: [Field; 1] = [field(1, "attributes", Kind::Messages(&KEY_VALUE))];
static SCOPE_SPANS: [Field; 3] = [
    field(1, "scope", Kind::Message(&SCOPE)),
    field(2, "spans", Kind::Messages(&SPAN)),
    field(3, "schemaUrl", Kind::Text),
];
static SCOPE: [Field; 2] = [field(1, "name", Kind::Text), field(2, "version", Kind::Text)];
static SPAN: [Field; 14] = [
    field(1, "traceId", Kind::Hex),
    field(2, "spanId", Kind::Hex),
    field(3, "traceState", Kind::Text),
    field(4, "parentSpanId", Kind::Hex),
    field(5, "name", Kind::Text),
    field(6, "kind", Kind::Number),
    field(7, "startTimeUnixNano", Kind::LongNumber),
    field(8, "endTimeUnixNano", Kind::LongNumber),
    field(9, "attributes", Kind::Messages(&KEY_VALUE)),
    field(10, "droppedAttributesCount", Kind::Number),
    field(13, "links", Kind::Messages(&LINK)),
    field(14, "droppedLinksCount", Kind::Number),
    field(15, "status", Kind::Message(&STATUS)),
    field(16, "flags", Kind::Number),
];
static LINK: [Field; 4] = [
    field(1, "traceId", Kind::Hex),
    field(2, "spanId", Kind::Hex),
    field(3, "traceState", Kind::Text),
    field(6, "flags", Kind::Number),
];
static STATUS: [Field; 2] = [field(2, "message", Kind::Text), field(3, "code", Kind::Number)];
static KEY_VALUE: [Field; 2] =
    [field(1, "key", Kind::Text), field(2, "value", Kind::Message(&ANY_VALUE))];
static ANY_VALUE: [Field; 5] = [
    field(1, "stringValue", Kind::Text),
    field(2, "boolValue", Kind::Bool),
    field(3, "intValue", Kind::SignedNumber),
    field(4, "doubleValue", Kind::Double),
    field(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
];
static ARRAY_VALUE: [Field; 1] = [field(1, "values", Kind::Messages(&ANY_VALUE))];

/// A field's value on the wire.
#[derive(Clone, Copy)]
enum Value<'a> {
    Integer(u64),
    Bytes(&'a [u8]),
}

/// An encoded `ExportTraceServiceRequest` as JSON.
#[must_use]
pub fn from_protobuf(request: &[u8]) -> Vec<u8> {
    // Names and digits make it about twice as long.
    let mut json = Vec::with_capacity(2 * request.len());
    write_message(&REQUEST, request, 0, &mut json);
    json
}

/// Writes the fields in the order of the table. Each is looked for by itself: skipping is cheap.
fn write_message(fields: &[Field], message: &[u8], depth: usize, json: &mut Vec<u8>) {
    json.push(b'{');
    let mut separator = None;
    for field in fields {
        let mut values = values(message, field.number).peekable();
        if values.peek().is_none() {
            continue;
        }
        json.extend(separator.replace(b','));
        json.push(b'"');
        json.extend_from_slice(field.name.as_bytes());
        json.extend_from_slice(b"\":");
        match &field.kind {
            Kind::Messages(fields) => {
                json.push(b'[');
                let mut separator = None;
                for value in values {
                    json.extend(separator.replace(b','));
                    write_inner(fields, value, depth, json);
                }
                json.push(b']');
            }
            // Of several the last one counts (Protocol Buffers, Encoding: Last One Wins).
            Kind::Message(fields) => {
                if let Some(value) = values.last() {
                    write_inner(fields, value, depth, json);
                }
            }
            kind => {
                if let Some(value) = values.last() {
                    write_scalar(kind, value, json);
                }
            }
        }
    }
    json.push(b'}');
}

fn write_inner(fields: &[Field], value: Value<'_>, depth: usize, json: &mut Vec<u8>) {
    match value {
        Value::Bytes(message) if depth < MAX_DEPTH => {
            write_message(fields, message, depth + 1, json);
        }
        Value::Bytes(_) | Value::Integer(_) => json.extend_from_slice(b"{}"),
    }
}

fn write_scalar(kind: &Kind, value: Value<'_>, json: &mut Vec<u8>) {
    let integer = match value {
        Value::Integer(integer) => integer,
        Value::Bytes(bytes) if matches!(kind, Kind::Hex) => {
            json.push(b'"');
            json.extend(bytes.iter().copied().flat_map(hex_digits));
            return json.push(b'"');
        }
        Value::Bytes(bytes) => return write_text(&String::from_utf8_lossy(bytes), json),
    };
    let number = match kind {
        Kind::Bool => if integer == 0 { "false" } else { "true" }.to_owned(),
        Kind::LongNumber => format!("\"{integer}\""),
        Kind::SignedNumber => format!("\"{}\"", integer.cast_signed()),
        Kind::Double => double(f64::from_bits(integer)),
        _ => integer.to_string(),
    };
    json.extend_from_slice(number.as_bytes());
}

/// A text in quotes, escaped.
fn write_text(text: &str, json: &mut Vec<u8>) {
    let written = serde_json::to_writer(json, text);
    debug_assert!(written.is_ok(), "memory takes what is written, and a text can be");
}

/// A number, or the text for what JSON has no number for (Protocol Buffers, section JSON Mapping).
fn double(value: f64) -> String {
    match value {
        f64::INFINITY => "\"Infinity\"".to_owned(),
        f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
        _ if value.is_nan() => "\"NaN\"".to_owned(),
        // In the fewest digits that are read as the same one; with an exponent where that is shorter.
        _ => ryu::Buffer::new().format_finite(value).to_owned(),
    }
}

/// All values of a field, in their order.
fn values(message: &[u8], number: u32) -> impl Iterator<Item = Value<'_>> {
    let mut rest = message;
    let fields = std::iter::from_fn(move || next_field(&mut rest));
    fields.filter_map(move |(found, value)| (found == number).then_some(value))
}

/// Takes the first field of the rest. None at the end, and for what is no field.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let (number, wire_type) = decode_key(rest).ok()?;
    let value = match wire_type {
        WireType::Varint => Value::Integer(decode_varint(rest).ok()?),
        WireType::SixtyFourBit => {
            Value::Integer(u64::from_le_bytes(*take(rest, 8)?.first_chunk()?))
        }
        WireType::ThirtyTwoBit => {
            Value::Integer(u32::from_le_bytes(*take(rest, 4)?.first_chunk()?).into())
        }
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    Some((number, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests;
