//! A span as a receiver decoded it, and how tests ask for what is in it.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as proto;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A span with what stood around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The span, as decoded.
    pub span: proto::Span,
    /// The resource's attributes.
    pub resource: Vec<KeyValue>,
    /// The scope.
    pub scope: InstrumentationScope,
    /// The schema of the scope and of the resource.
    pub schema_urls: [String; 2],
}

impl Span {
    /// All spans of a request.
    #[must_use]
    pub fn all_of(request: &ExportTraceServiceRequest) -> Vec<Self> {
        let mut spans = Vec::new();
        for resource in &request.resource_spans {
            for scope in &resource.scope_spans {
                spans.extend(scope.spans.iter().map(|span| Self {
                    span: span.clone(),
                    resource: resource.resource.clone().unwrap_or_default().attributes,
                    scope: scope.scope.clone().unwrap_or_default(),
                    schema_urls: [scope.schema_url.clone(), resource.schema_url.clone()],
                }));
            }
        }
        spans
    }

    /// The span's attributes; a repeated name would be a fault of the sender.
    ///
    /// # Panics
    /// A name occurs twice, or an attribute has no value.
    #[must_use]
    pub fn attributes(&self) -> BTreeMap<String, Value> {
        let mut attributes = BTreeMap::new();
        for KeyValue { key, value, .. } in &self.span.attributes {
            let value = value.clone().and_then(|value| value.value).expect("a value");
            assert!(attributes.insert(key.clone(), value).is_none(), "{key} occurs twice");
        }
        attributes
    }

    /// A text among the attributes.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        match self.attributes().remove(name) {
            Some(Value::StringValue(text)) => Some(text),
            _ => None,
        }
    }

    /// A number among the attributes.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes().remove(name) {
            Some(Value::IntValue(number)) => Some(number),
            _ => None,
        }
    }

    /// A list of texts among the attributes.
    #[must_use]
    pub fn texts(&self, name: &str) -> Option<Vec<String>> {
        match self.attributes().remove(name) {
            Some(Value::ArrayValue(array)) => Some(
                array
                    .values
                    .into_iter()
                    .filter_map(|value| match value.value {
                        Some(Value::StringValue(text)) => Some(text),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// A text among the resource's attributes.
    #[must_use]
    pub fn resource_text(&self, name: &str) -> Option<String> {
        let attribute = self.resource.iter().find(|attribute| attribute.key == name)?;
        match attribute.value.clone()?.value? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// The trace id in hexadecimal.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// The span id in hexadecimal.
    #[must_use]
    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The parent's span id in hexadecimal; empty at a root.
    #[must_use]
    pub fn parent_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// Whether its status is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.span
            .status
            .as_ref()
            .is_some_and(|status| status.code() == proto::status::StatusCode::Error)
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
