//! The request around many spans: `ExportTraceServiceRequest` with one resource and one scope.
//!
//! Spans are appended after free head room; sealing writes what goes before them into that room, so
//! that no span is copied and resource and scope are encoded once.

use super::wire::{length_delimited, put_bytes, put_varint};
use crate::resource::AttributeValue;
use prost::Message;

/// The schema that our names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

const RESOURCE_SPANS: u8 = length_delimited(1);
const RESOURCE: u8 = length_delimited(1);
const SCOPE_SPANS: u8 = length_delimited(2);
const SCOPE: u8 = length_delimited(1);
const SPANS_SCHEMA_URL: u8 = length_delimited(3);

/// The longest key of a message and its length.
const MAX_KEY: usize = 1 + 10;

/// Everything in a request but the spans.
#[derive(Debug)]
pub struct Frame {
    /// `ResourceSpans` up to its `scope_spans`.
    resource: Vec<u8>,
    /// `ScopeSpans` up to its `spans`.
    scope: Vec<u8>,
}

impl Frame {
    /// The frame of all requests of this process.
    #[must_use]
    pub fn new(resource: &[(String, AttributeValue)]) -> Self {
        let mut scope = Vec::new();
        let message = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        put_bytes(&mut scope, SCOPE, &message.encode_to_vec());
        put_bytes(&mut scope, SPANS_SCHEMA_URL, SCHEMA_URL.as_bytes());
        let message = Resource { attributes: resource.iter().map(KeyValue::from).collect() };
        let mut resource = Vec::new();
        put_bytes(&mut resource, RESOURCE, &message.encode_to_vec());
        put_bytes(&mut resource, SPANS_SCHEMA_URL, SCHEMA_URL.as_bytes());
        Self { resource, scope }
    }

    /// The free bytes, at least, that go before the first span of a buffer: resource, scope, schema.
    #[must_use]
    pub fn head_room(&self) -> usize {
        2 * MAX_KEY + self.resource.len() + self.scope.len()
    }

    /// A buffer that spans can be appended to.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; self.head_room()]
    }

    /// Completes a buffer of spans, of which the first one starts at `first`; what it returns is the
    /// request.
    #[must_use]
    pub fn seal<'a>(&self, buffer: &'a mut [u8], first: usize) -> &'a [u8] {
        let spans = buffer.len().saturating_sub(first);
        let scope_spans = self.scope.len() + spans;
        let mut head = Vec::with_capacity(self.head_room());
        head.extend_from_slice(&self.resource);
        head.push(SCOPE_SPANS);
        put_varint(&mut head, scope_spans as u64);
        let resource_spans = head.len() + scope_spans;
        let mut start = vec![RESOURCE_SPANS];
        put_varint(&mut start, resource_spans as u64);
        start.append(&mut head);
        start.extend_from_slice(&self.scope);
        let Some(offset) = first.checked_sub(start.len()) else { return &[] };
        if let Some(room) = buffer.get_mut(offset..first) {
            room.copy_from_slice(&start);
        }
        buffer.get(offset..).unwrap_or_default()
    }
}

/// `opentelemetry.proto.common.v1.InstrumentationScope`.
#[derive(Clone, PartialEq, Message)]
struct InstrumentationScope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

/// `opentelemetry.proto.resource.v1.Resource`.
#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// `opentelemetry.proto.common.v1.KeyValue`.
#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// `opentelemetry.proto.common.v1.AnyValue`, as far as attributes go.
#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
}

/// `opentelemetry.proto.common.v1.ArrayValue`.
#[derive(Clone, PartialEq, Message)]
struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

impl From<&(String, AttributeValue)> for KeyValue {
    fn from((key, value): &(String, AttributeValue)) -> Self {
        Self { key: key.clone(), value: Some(AnyValue { value: Some(Value::from(value)) }) }
    }
}

impl From<&AttributeValue> for Value {
    fn from(value: &AttributeValue) -> Self {
        match value {
            AttributeValue::String(text) => Self::String(text.clone()),
            AttributeValue::Bool(truth) => Self::Bool(*truth),
            AttributeValue::Int(number) => Self::Int(*number),
            AttributeValue::Double(number) => Self::Double(*number),
            AttributeValue::StringArray(texts) => array(texts, |text| Self::String(text.clone())),
            AttributeValue::BoolArray(truths) => array(truths, |truth| Self::Bool(*truth)),
            AttributeValue::IntArray(numbers) => array(numbers, |number| Self::Int(*number)),
            AttributeValue::DoubleArray(numbers) => array(numbers, |number| Self::Double(*number)),
        }
    }
}

fn array<T>(values: &[T], value: impl Fn(&T) -> Value) -> Value {
    let values = values.iter().map(|item| AnyValue { value: Some(value(item)) }).collect();
    Value::Array(ArrayValue { values })
}
