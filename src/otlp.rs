//! The OpenTelemetry protocol: a span's bytes, and the request around many of them.
//!
//! A span is encoded once, when it ends, straight into the buffer that is sent. Nothing here knows
//! what the attributes mean (`semconv`) or when a request is made (`export`).

pub mod attributes;
pub mod gzip;
pub mod json;
pub mod request;
pub mod response;
pub mod rpc_status;
pub(crate) mod wire;

use crate::context::{SpanContext, TraceFlags};
use crate::id::SpanId;
use attributes::Attributes;

/// The role of a span (opentelemetry-proto, `Span.SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The proxy answers a request on behalf of a service behind it.
    Server = 2,
    /// The proxy makes a request on behalf of a service before it.
    Client = 3,
}

/// The outcome of a span (opentelemetry-proto, `Status`); an absent description is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing went wrong that is known of.
    Unset,
    /// The operation failed.
    Error,
}

/// A finished span, ready to be written.
#[derive(Debug)]
pub struct Span<'a> {
    /// Its own identity.
    pub context: &'a SpanContext,
    /// The parent's id and the flags that came with it; always remote here.
    pub parent: Option<SpanId>,
    /// Server or client.
    pub kind: SpanKind,
    /// The name.
    pub name: &'a str,
    /// Start, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end: u64,
    /// The attributes, already encoded.
    pub attributes: &'a Attributes,
    /// The outcome.
    pub status: Status,
}

/// Field 2 of `ScopeSpans`, and the fields of `Span` (opentelemetry-proto 1.11.0, trace.proto).
const SPANS: u8 = wire::length_delimited(2);
const TRACE_ID: u8 = wire::length_delimited(1);
const SPAN_ID: u8 = wire::length_delimited(2);
const TRACE_STATE: u8 = wire::length_delimited(3);
const PARENT_SPAN_ID: u8 = wire::length_delimited(4);
const NAME: u8 = wire::length_delimited(5);
const KIND: u8 = wire::varint(6);
const START: u8 = wire::fixed64(7);
const END: u8 = wire::fixed64(8);
const DROPPED_ATTRIBUTES: u8 = wire::varint(10);
const STATUS: u8 = wire::length_delimited(15);
/// Field 16: its key takes two bytes.
const FLAGS: [u8; 2] = [0x85, 0x01];
/// `Status { code: STATUS_CODE_ERROR }` as a whole.
const STATUS_ERROR: [u8; 4] = [STATUS, 2, wire::varint(3), 2];

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const IS_REMOTE: u32 = 0x200;

/// Trace id, span id, kind, start, end and flags, with their keys.
const FIXED_LENGTH: usize = 18 + 10 + 2 + 9 + 9 + 6;

impl Span<'_> {
    /// The length of the span as [`Span::append`] writes it, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let message = self.message_len();
        1 + wire::varint_len(message) + message
    }

    /// Appends the span as one entry of `ScopeSpans.spans`.
    pub fn append(&self, buffer: &mut Vec<u8>) {
        let message = self.message_len();
        buffer.reserve(1 + wire::varint_len(message) + message);
        buffer.push(SPANS);
        wire::put_varint(buffer, message as u64);
        wire::put_bytes(buffer, TRACE_ID, self.context.trace_id.as_bytes());
        wire::put_bytes(buffer, SPAN_ID, self.context.span_id.as_bytes());
        if !self.context.trace_state.is_empty() {
            wire::put_bytes(buffer, TRACE_STATE, self.context.trace_state.as_str().as_bytes());
        }
        if let Some(parent) = &self.parent {
            wire::put_bytes(buffer, PARENT_SPAN_ID, parent.as_bytes());
        }
        wire::put_bytes(buffer, NAME, self.name.as_bytes());
        buffer.extend_from_slice(&[KIND, self.kind as u8, START]);
        buffer.extend_from_slice(&self.start.to_le_bytes());
        buffer.push(END);
        buffer.extend_from_slice(&self.end.to_le_bytes());
        buffer.extend_from_slice(self.attributes.as_bytes());
        if self.attributes.dropped() > 0 {
            buffer.push(DROPPED_ATTRIBUTES);
            wire::put_varint(buffer, u64::from(self.attributes.dropped()));
        }
        if self.status == Status::Error {
            buffer.extend_from_slice(&STATUS_ERROR);
        }
        buffer.extend_from_slice(&FLAGS);
        buffer.extend_from_slice(&self.flags(self.context.flags).to_le_bytes());
    }

    fn flags(&self, own: TraceFlags) -> u32 {
        let remote = if self.parent.is_some() { IS_REMOTE } else { 0 };
        u32::from(own.as_byte()) | HAS_IS_REMOTE | remote
    }

    fn message_len(&self) -> usize {
        let state = self.context.trace_state.as_str().len();
        let dropped = self.attributes.dropped();
        FIXED_LENGTH
            + if state > 0 { wire::field_len(state) } else { 0 }
            + if self.parent.is_some() { 10 } else { 0 }
            + wire::field_len(self.name.len())
            + self.attributes.as_bytes().len()
            + if dropped > 0 { 1 + wire::varint_len(dropped as usize) } else { 0 }
            + if self.status == Status::Error { STATUS_ERROR.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TraceState;
    use crate::id::TraceId;
    use crate::otlp::attributes::SpanLimits;
    use crate::resource::AttributeValue;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use proptest::prelude::*;
    use prost::Message;

    fn limits(attribute_count: usize) -> SpanLimits {
        SpanLimits { attribute_count, attribute_value_length: None }
    }

    proptest! {
        #[test]
        fn an_independent_decoder_reads_what_was_written(
            state in prop_oneof![Just(""), Just("ot=th:8,a=1")],
            parent in prop::option::of(1..=255u8),
            name in ".{0,200}",
            values in prop::collection::vec((".{1,140}", ".{0,300}", any::<i64>()), 0..20),
            start: u64,
            count in 0..30usize,
            error: bool,
        ) {
            let context = SpanContext {
                trace_id: TraceId::from_bytes([1; 16]).unwrap(),
                span_id: SpanId::from_bytes([2; 8]).unwrap(),
                flags: TraceFlags::from_byte(3),
                trace_state: TraceState::parse(state.as_bytes()).unwrap(),
            };
            let mut attributes = Attributes::new(limits(count));
            for (key, text, number) in &values {
                attributes.string(key, text.as_bytes());
                attributes.int(key, *number);
                attributes.strings(key, [text.as_bytes(), b"b"].into_iter());
            }
            let parent = parent.and_then(|byte| SpanId::from_bytes([byte; 8]));
            let span = Span {
                context: &context, parent, kind: SpanKind::Client, name: &name, start, end: start,
                attributes: &attributes, status: if error { Status::Error } else { Status::Unset },
            };
            let resource = [("service.name".to_owned(), AttributeValue::String("s".into()))];
            let frame = request::Frame::new(&resource);
            let mut buffer = frame.buffer();
            span.append(&mut buffer);
            prop_assert_eq!(buffer.len(), frame.head_room() + span.encoded_len());
            let body = frame.seal(&mut buffer, frame.head_room()).to_vec();
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            let resource = &request.resource_spans[0];
            prop_assert_eq!(&resource.resource.as_ref().unwrap().attributes[0].key, "service.name");
            let scope = &resource.scope_spans[0];
            prop_assert_eq!(&scope.scope.as_ref().unwrap().name, env!("CARGO_PKG_NAME"));
            let decoded = &scope.spans[0];
            prop_assert_eq!(decoded.trace_id.as_slice(), &[1; 16]);
            prop_assert_eq!(decoded.span_id.as_slice(), &[2; 8]);
            prop_assert_eq!(&decoded.trace_state, state);
            let expected = parent.map(|id| id.as_bytes().to_vec()).unwrap_or_default();
            prop_assert_eq!(&decoded.parent_span_id, &expected);
            prop_assert_eq!(&decoded.name, &name);
            prop_assert_eq!(decoded.kind, 3);
            prop_assert_eq!((decoded.start_time_unix_nano, decoded.end_time_unix_nano), (start, start));
            prop_assert_eq!(decoded.flags, 0x103 | if parent.is_some() { 0x200 } else { 0 });
            prop_assert_eq!(decoded.status.as_ref().map(|status| status.code), error.then_some(2));
            let total = values.len() * 3;
            prop_assert_eq!(decoded.attributes.len(), total.min(count));
            prop_assert_eq!(decoded.dropped_attributes_count as usize, total.saturating_sub(count));
            for (attribute, (key, text, _)) in decoded.attributes.iter().step_by(3).zip(&values) {
                prop_assert_eq!(&attribute.key, key);
                let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
                prop_assert_eq!(value, &Value::StringValue(text.clone()));
            }
        }
    }
}
