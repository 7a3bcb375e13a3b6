//! Spans for the tests of the demonstration.

use harness::Span;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as proto;

/// A SERVER span of `edge`: the number of its trace, its own, that of its parent or zero, and attributes that are texts.
pub(crate) fn span(trace: u8, id: u8, parent: u8, attributes: &[(&str, &str)]) -> Span {
    let attribute = |(key, value): &(&str, &str)| {
        let value = AnyValue { value: Some(Value::StringValue((*value).to_owned())) };
        KeyValue { key: (*key).to_owned(), value: Some(value), ..KeyValue::default() }
    };
    let span = proto::Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        name: "GET".to_owned(),
        kind: proto::span::SpanKind::Server.into(),
        start_time_unix_nano: 1_000_000 * u64::from(id),
        end_time_unix_nano: 1_000_000 * (500 - u64::from(id)),
        attributes: attributes.iter().map(attribute).collect(),
        ..proto::Span::default()
    };
    let resource = vec![attribute(&("service.name", "edge"))];
    Span {
        span,
        resource,
        scope: InstrumentationScope::default(),
        schema_urls: [String::new(), String::new()],
    }
}
