//! A request in JSON, read by another library as what that reads of the protobuf it was made of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_proxy_wasm::otlp::json;
use prost::Message;

fuzz_target!(|request: &[u8]| {
    let value = |request: &[u8]| -> serde_json::Value {
        serde_json::from_slice(&json::from_protobuf(request)).expect("JSON, whatever comes")
    };
    value(request);
    let Ok(decoded) = ExportTraceServiceRequest::decode(request) else { return };
    // As an encoder writes it: without fields that nobody knows.
    let resources = value(&decoded.encode_to_vec());
    let resources = resources.get("resourceSpans").and_then(|it| it.as_array()).map_or(0, Vec::len);
    assert_eq!(resources, decoded.resource_spans.len(), "each resource is there");
});
