use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Any::StringValue),
        any::<bool>().prop_map(Any::BoolValue),
        any::<i64>().prop_map(Any::IntValue),
        (-1e9..1e9_f64).prop_map(Any::DoubleValue),
    ];
    let value = leaf.prop_recursive(3, 10, 4, |inner| {
        vec(inner, 1..4).prop_map(|values| {
            let values = values.into_iter().map(|value| AnyValue { value: Some(value) });
            Any::ArrayValue(ArrayValue { values: values.collect() })
        })
    });
    value.prop_map(|value| AnyValue { value: Some(value) })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    // That library insists on a key, which every attribute of ours has.
    let attribute = ("[a-z. ]{1,8}", any_value()).prop_map(|(key, value)| KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    });
    vec(attribute, 0..4)
}

prop_compose! {
    fn span()(
        ids in any::<([u8; 16], [u8; 8], [u8; 8])>(),
        texts in any::<(String, String, String)>(),
        times in any::<(u64, u64)>(),
        kind in 0..6_i32,
        code in 0..3_i32,
        numbers in any::<(u32, u32)>(),
        attributes in attributes(),
        links in vec(any::<([u8; 16], [u8; 8], String, u32)>(), 0..3),
    ) -> Span {
        Span {
            trace_id: ids.0.to_vec(),
            span_id: ids.1.to_vec(),
            parent_span_id: ids.2.to_vec(),
            trace_state: texts.0,
            name: texts.1,
            kind,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes,
            links: links.into_iter().map(|(trace_id, span_id, trace_state, flags)| Link {
                trace_id: trace_id.to_vec(),
                span_id: span_id.to_vec(),
                trace_state,
                flags,
                ..Link::default()
            }).collect(),
            dropped_attributes_count: numbers.0,
            flags: numbers.1,
            status: Some(Status { message: texts.2, code }),
            ..Span::default()
        }
    }
}

prop_compose! {
    fn request()(
        spans in vec(vec(span(), 0..3), 0..3),
        attributes in attributes(),
        texts in any::<(String, String, String)>(),
    ) -> ExportTraceServiceRequest {
        let scope_spans = spans.into_iter().map(|spans| ScopeSpans {
            scope: Some(InstrumentationScope {
                name: texts.0.clone(),
                version: texts.1.clone(),
                ..InstrumentationScope::default()
            }),
            spans,
            schema_url: texts.2.clone(),
        });
        let resource = Resource { attributes, ..Resource::default() };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: scope_spans.collect(),
                schema_url: texts.2.clone(),
            }],
        }
    }
}

proptest! {
    #[test]
    fn another_library_reads_the_same_from_json(request in request()) {
        let json = from_protobuf(&request.encode_to_vec());
        let read: ExportTraceServiceRequest = serde_json::from_slice(&json)
            .map_err(|error| TestCaseError::fail(format!("{error}: {}", String::from_utf8_lossy(&json))))?;
        prop_assert_eq!(read, request);
    }

    #[test]
    fn whatever_is_read_json_is_written(bytes: Vec<u8>, length in 0_usize..200, request in request()) {
        let encoded = request.encode_to_vec();
        let cut = encoded.get(..length.min(encoded.len())).unwrap_or_default();
        for input in [&bytes, cut] {
            let json = from_protobuf(input);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
        }
    }
}

#[test]
fn json_is_as_otlp_says() {
    let value = |value| AnyValue { value: Some(value) };
    let attribute = |key: &str, any| KeyValue {
        key: key.into(),
        value: Some(value(any)),
        ..KeyValue::default()
    };
    let array = ArrayValue { values: vec![value(Any::IntValue(-1)), value(Any::BoolValue(false))] };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![Span {
                    trace_id: vec![0xab; 16],
                    span_id: vec![0x01; 8],
                    name: "a \"b\"\n".into(),
                    kind: 2,
                    start_time_unix_nano: u64::MAX,
                    flags: 257,
                    attributes: vec![
                        attribute("text", Any::StringValue("é".into())),
                        attribute("double", Any::DoubleValue(2.0)),
                        attribute("no number", Any::DoubleValue(f64::NEG_INFINITY)),
                        attribute("no number", Any::DoubleValue(f64::INFINITY)),
                        attribute("no number", Any::DoubleValue(f64::NAN)),
                        attribute("array", Any::ArrayValue(array)),
                    ],
                    status: Some(Status { message: String::new(), code: 2 }),
                    ..Span::default()
                }],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    let expected = concat!(
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"#,
        r#""traceId":"abababababababababababababababab","spanId":"0101010101010101","#,
        r#""name":"a \"b\"\n","kind":2,"startTimeUnixNano":"18446744073709551615","attributes":["#,
        r#"{"key":"text","value":{"stringValue":"é"}},"#,
        r#"{"key":"double","value":{"doubleValue":2.0}},"#,
        r#"{"key":"no number","value":{"doubleValue":"-Infinity"}},"#,
        r#"{"key":"no number","value":{"doubleValue":"Infinity"}},"#,
        r#"{"key":"no number","value":{"doubleValue":"NaN"}},"#,
        r#"{"key":"array","value":{"arrayValue":{"values":[{"intValue":"-1"},{"boolValue":false}]}}}"#,
        r#"],"status":{"code":2},"flags":257}]}]}]}"#,
    );
    let json = from_protobuf(&request.encode_to_vec());
    assert_eq!(String::from_utf8(json).expect("text"), expected);
}

#[test]
fn text_that_is_none_and_depth_that_is_too_much_are_harmless() {
    // A resource's schema URL that is not UTF-8.
    let json = from_protobuf(&[0x0a, 0x03, 0x1a, 0x01, 0xff]);
    assert_eq!(json, "{\"resourceSpans\":[{\"schemaUrl\":\"\u{fffd}\"}]}".as_bytes());
    let mut deep = AnyValue { value: Some(Any::BoolValue(true)) };
    for _ in 0..60 {
        deep = AnyValue { value: Some(Any::ArrayValue(ArrayValue { values: vec![deep] })) };
    }
    let resource = Resource {
        attributes: vec![KeyValue { value: Some(deep), ..KeyValue::default() }],
        ..Resource::default()
    };
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), ..ResourceSpans::default() }];
    let json = from_protobuf(&ExportTraceServiceRequest { resource_spans }.encode_to_vec());
    let depth = String::from_utf8_lossy(&json).matches('[').count();
    assert!(depth < 60, "it ends: {depth}");
    assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok(), "and is JSON");
}
