//! Any headers and any outcome become a span that an independent decoder reads, without the secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_proxy_wasm::config::{Config, Environment};
use otel_proxy_wasm::context::{SpanContext, TraceFlags, TraceState};
use otel_proxy_wasm::host::outcome::OutcomeValues;
use otel_proxy_wasm::host::wire::HeaderMap;
use otel_proxy_wasm::id::{SpanId, TraceId};
use otel_proxy_wasm::otlp::Span;
use otel_proxy_wasm::otlp::attributes::Attributes;
use otel_proxy_wasm::otlp::request::Frame;
use otel_proxy_wasm::otlp::response::partial_success;
use otel_proxy_wasm::semconv::grpc::StatusCode;
use otel_proxy_wasm::semconv::{Conventions, Request};
use prost::Message;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<Vec<u8>>, &[u8])| {
    let (headers, response_headers, outcome, status) = input;
    let config = Config::parse(b"{}", &Environment::default()).expect("valid").config;
    let conventions = Conventions::new(config.http, config.span_kind);
    let (headers, response_headers) = (HeaderMap::new(headers), HeaderMap::new(response_headers));
    let values = OutcomeValues::Single(outcome);
    let outcome = values.outcome();
    let request = Request {
        headers: headers.pairs(),
        response_headers: response_headers.pairs(),
        grpc_status: (!status.is_empty()).then(|| StatusCode::parse(status)),
        outcome,
    };
    let mut attributes = Attributes::new(config.limits);
    let description = conventions.describe(&request, &mut attributes);
    let context = SpanContext {
        trace_id: TraceId::from_bytes([1; 16]).expect("not zero"),
        span_id: SpanId::from_bytes([1; 8]).expect("not zero"),
        flags: TraceFlags::new_trace(),
        trace_state: TraceState::default(),
    };
    let span = Span {
        context: &context,
        parent: None,
        kind: description.kind,
        name: &description.name,
        start: outcome.start,
        end: outcome.start.saturating_add(outcome.duration),
        attributes: &attributes,
        status: description.status,
    };
    let frame = Frame::new(&[]);
    let mut buffer = frame.buffer();
    let before = buffer.len();
    span.append(&mut buffer);
    assert_eq!(buffer.len(), before + span.encoded_len());
    let decoded = ExportTraceServiceRequest::decode(frame.seal(&mut buffer, frame.head_room()))
        .expect("it decodes");
    assert_eq!(decoded.resource_spans[0].scope_spans[0].spans[0].name, description.name);
    let _ = partial_success(headers.pairs().next().map_or(status, |(name, _)| name));
});
