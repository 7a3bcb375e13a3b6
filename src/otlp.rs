//! The OpenTelemetry protocol: a span's bytes, and the request around many of them.
//!
//! A span is encoded once, when it ends, straight into the buffer that is sent. Nothing here knows
//! what the attributes mean (`semconv`) or when a request is made (`export`).

pub mod attributes;
pub mod cut;
pub mod gzip;
pub mod json;
pub mod request;
pub mod response;
pub mod rpc_status;
pub(crate) mod wire;

use crate::context::SpanContext;
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
pub enum SpanStatus {
    /// Nothing went wrong that is known of.
    Unset,
    /// The operation failed.
    Error,
}

/// The span above a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// One of another process: its id came in a header.
    Remote(SpanId),
    /// One of this process.
    Local(SpanId),
}

impl Parent {
    /// Its id.
    #[must_use]
    pub fn span_id(&self) -> &SpanId {
        match self {
            Self::Remote(id) | Self::Local(id) => id,
        }
    }
}

/// A span that another one has to do with, without being its parent. It is of another process: its context came in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its identity.
    pub context: SpanContext,
}

/// A finished span, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Its own identity.
    pub context: &'a SpanContext,
    /// The span above it; none at the root of a trace.
    pub parent: Option<Parent>,
    /// What it has to do with beside.
    pub links: &'a [Link],
    /// How many more there were.
    pub dropped_links: u32,
    /// Server or client; none within the proxy.
    pub kind: Option<SpanKind>,
    /// The name.
    pub name: &'a str,
    /// Start, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// End, in nanoseconds since the Unix epoch.
    pub end: u64,
    /// The attributes, already encoded.
    pub attributes: &'a Attributes,
    /// The outcome.
    pub status: SpanStatus,
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
const LINKS: u8 = wire::length_delimited(13);
const DROPPED_LINKS: u8 = wire::varint(14);
const STATUS: u8 = wire::length_delimited(15);
/// Field 16: its key takes two bytes.
const FLAGS: [u8; 2] = [0x85, 0x01];
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `Status { code: STATUS_CODE_ERROR }` as a whole.
const STATUS_ERROR: [u8; 4] = [STATUS, 2, wire::varint(3), 2];

/// The fields of `Span.Link`.
const LINK_TRACE_ID: u8 = wire::length_delimited(1);
const LINK_SPAN_ID: u8 = wire::length_delimited(2);
const LINK_TRACE_STATE: u8 = wire::length_delimited(3);
const LINK_FLAGS: u8 = wire::fixed32(6);

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const IS_REMOTE: u32 = 0x200;

/// Trace id, span id, kind, start, end and flags, with their keys.
const FIXED_LENGTH: usize = 18 + 10 + 2 + 9 + 9 + 6;
/// Trace id, span id and flags of a link, with their keys.
const LINK_FIXED_LENGTH: usize = 18 + 10 + 5;

impl Span<'_> {
    /// The length of the span as [`Span::append`] writes it, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        wire::field_len(self.message_len())
    }

    /// Appends the span as one entry of `ScopeSpans.spans`.
    pub fn append(&self, buffer: &mut Vec<u8>) {
        let message = self.message_len();
        buffer.reserve(wire::field_len(message));
        wire::put_head(buffer, SPANS, message);
        wire::put_bytes(buffer, TRACE_ID, self.context.trace_id.as_bytes());
        wire::put_bytes(buffer, SPAN_ID, self.context.span_id.as_bytes());
        if !self.context.trace_state.is_empty() {
            wire::put_bytes(buffer, TRACE_STATE, self.context.trace_state.as_str().as_bytes());
        }
        if let Some(parent) = &self.parent {
            wire::put_bytes(buffer, PARENT_SPAN_ID, parent.span_id().as_bytes());
        }
        wire::put_bytes(buffer, NAME, self.name.as_bytes());
        buffer.extend_from_slice(&[KIND, self.kind.map_or(INTERNAL, |kind| kind as u8), START]);
        buffer.extend_from_slice(&self.start.to_le_bytes());
        buffer.push(END);
        buffer.extend_from_slice(&self.end.to_le_bytes());
        buffer.extend_from_slice(self.attributes.as_bytes());
        if self.attributes.dropped() > 0 {
            buffer.push(DROPPED_ATTRIBUTES);
            wire::put_varint(buffer, u64::from(self.attributes.dropped()));
        }
        for link in self.links {
            link.append(buffer);
        }
        if self.dropped_links > 0 {
            buffer.push(DROPPED_LINKS);
            wire::put_varint(buffer, u64::from(self.dropped_links));
        }
        if self.status == SpanStatus::Error {
            buffer.extend_from_slice(&STATUS_ERROR);
        }
        buffer.extend_from_slice(&FLAGS);
        buffer.extend_from_slice(&self.flags().to_le_bytes());
    }

    fn flags(&self) -> u32 {
        let remote = match self.parent {
            Some(Parent::Remote(_)) => IS_REMOTE,
            Some(Parent::Local(_)) | None => 0,
        };
        u32::from(self.context.flags.as_byte()) | HAS_IS_REMOTE | remote
    }

    fn message_len(&self) -> usize {
        let state = self.context.trace_state.as_str().len();
        let count_len = |dropped: u32| {
            if dropped > 0 { 1 + wire::varint_len(dropped as usize) } else { 0 }
        };
        FIXED_LENGTH
            + if state > 0 { wire::field_len(state) } else { 0 }
            + if self.parent.is_some() { 10 } else { 0 }
            + wire::field_len(self.name.len())
            + self.attributes.as_bytes().len()
            + count_len(self.attributes.dropped())
            + count_len(self.dropped_links)
            + self.links.iter().map(|link| wire::field_len(link.message_len())).sum::<usize>()
            + if self.status == SpanStatus::Error { STATUS_ERROR.len() } else { 0 }
    }
}

impl Link {
    /// Appends the link as one entry of `Span.links`.
    fn append(&self, buffer: &mut Vec<u8>) {
        let SpanContext { trace_id, span_id, flags, trace_state } = &self.context;
        wire::put_head(buffer, LINKS, self.message_len());
        wire::put_bytes(buffer, LINK_TRACE_ID, trace_id.as_bytes());
        wire::put_bytes(buffer, LINK_SPAN_ID, span_id.as_bytes());
        if !trace_state.is_empty() {
            wire::put_bytes(buffer, LINK_TRACE_STATE, trace_state.as_str().as_bytes());
        }
        buffer.push(LINK_FLAGS);
        let flags = u32::from(flags.as_byte()) | HAS_IS_REMOTE | IS_REMOTE;
        buffer.extend_from_slice(&flags.to_le_bytes());
    }

    fn message_len(&self) -> usize {
        let state = self.context.trace_state.as_str().len();
        LINK_FIXED_LENGTH + if state > 0 { wire::field_len(state) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{TraceFlags, TraceState};
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

    /// A number of two bytes has another length than one of a single byte.
    #[test]
    fn any_number_of_dropped_parts_is_written() {
        let context = SpanContext {
            trace_id: TraceId::from_bytes([1; 16]).expect("valid"),
            span_id: SpanId::from_bytes([2; 8]).expect("valid"),
            flags: TraceFlags::from_byte(0),
            trace_state: TraceState::default(),
        };
        for dropped in [0, 1, 127, 128, 300, 20_000] {
            let mut attributes = Attributes::new(limits(1));
            (0..=dropped).for_each(|number| attributes.int("a", number));
            let span = Span {
                context: &context,
                parent: None,
                links: &[],
                dropped_links: u32::try_from(dropped).expect("a count"),
                kind: Some(SpanKind::Server),
                name: "n",
                start: 1,
                end: 2,
                attributes: &attributes,
                status: SpanStatus::Error,
            };
            let frame = request::Frame::new(&[]);
            let mut buffer = frame.buffer();
            span.append(&mut buffer);
            assert_eq!(buffer.len(), frame.head_room() + span.encoded_len(), "{dropped}");
            let body = frame.seal(&mut buffer, frame.head_room());
            let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
            let span = &request.resource_spans[0].scope_spans[0].spans[0];
            assert_eq!(i64::from(span.dropped_attributes_count), dropped);
            assert_eq!(i64::from(span.dropped_links_count), dropped);
            assert_eq!(span.status.as_ref().map(|status| status.code), Some(2), "{dropped}");
        }
    }

    proptest! {
        #[test]
        fn an_independent_decoder_reads_what_was_written(
            state in prop_oneof![Just(""), Just("ot=th:8,a=1")],
            parent in prop::option::of((1..=255u8, any::<bool>())),
            links in prop::collection::vec((1..=255u8, 0..4u8, prop_oneof![Just(""), Just("a=1")]), 0..4),
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
            let parent = parent.map(|(byte, remote)| {
                let id = SpanId::from_bytes([byte; 8]).unwrap();
                if remote { Parent::Remote(id) } else { Parent::Local(id) }
            });
            let links: Vec<_> = links.iter().map(|(byte, flags, state)| Link {
                context: SpanContext {
                    trace_id: TraceId::from_bytes([*byte; 16]).unwrap(),
                    span_id: SpanId::from_bytes([*byte; 8]).unwrap(),
                    flags: TraceFlags::from_byte(*flags),
                    trace_state: TraceState::parse(state.as_bytes()).unwrap(),
                },
            }).collect();
            let span = Span {
                context: &context, parent, links: &links, dropped_links: 0, kind: Some(SpanKind::Client), name: &name, start,
                end: start, attributes: &attributes, status: if error { SpanStatus::Error } else { SpanStatus::Unset },
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
            let expected = parent.map(|it| it.span_id().as_bytes().to_vec()).unwrap_or_default();
            prop_assert_eq!(&decoded.parent_span_id, &expected);
            let decoded_links = decoded.links.iter().map(|link| {
                (link.trace_id.clone(), link.span_id.clone(), link.trace_state.clone(), link.flags)
            });
            let expected_links = links.iter().map(|Link { context }| (
                context.trace_id.as_bytes().to_vec(), context.span_id.as_bytes().to_vec(),
                context.trace_state.as_str().to_owned(), 0x300 | u32::from(context.flags.as_byte()),
            ));
            prop_assert!(decoded_links.eq(expected_links), "{:?}", decoded.links);
            prop_assert_eq!(&decoded.name, &name);
            prop_assert_eq!(decoded.kind, 3);
            prop_assert_eq!((decoded.start_time_unix_nano, decoded.end_time_unix_nano), (start, start));
            let remote = matches!(parent, Some(Parent::Remote(_)));
            prop_assert_eq!(decoded.flags, 0x103 | if remote { 0x200 } else { 0 });
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
