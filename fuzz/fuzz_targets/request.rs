//! Any headers and any outcome become a span that an independent decoder reads, without the secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_proxy_wasm::config::{Config, Environment};
use otel_proxy_wasm::context::{SpanContext, TraceFlags, TraceState};
use otel_proxy_wasm::envoy::attributes::{OutcomeValues, response_code};
use otel_proxy_wasm::envoy::connections::{Connection, TrafficDirection};
use otel_proxy_wasm::envoy::flags::ResponseFlags;
use otel_proxy_wasm::envoy::headers::Headers;
use otel_proxy_wasm::envoy::wire::{HeaderMap, number};
use otel_proxy_wasm::id::{SpanId, TraceId};
use otel_proxy_wasm::otlp::attributes::Attributes;
use otel_proxy_wasm::otlp::request::Frame;
use otel_proxy_wasm::otlp::response::partial_success;
use otel_proxy_wasm::otlp::{Span, SpanKind};
use otel_proxy_wasm::semconv::grpc::StatusCode;
use otel_proxy_wasm::semconv::request::RequestProtocol;
use otel_proxy_wasm::semconv::{Conventions, Facts, Semconv};
use prost::Message;
use std::rc::Rc;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<Vec<u8>>, &[u8])| {
    let (headers, response_headers, outcome, status) = input;
    let config = Config::parse(b"{}", &Environment::default(), &|_| None).expect("valid").config;
    let routes = config.routes.into();
    let all = [Semconv::Stable, Semconv::StableAndLegacy, Semconv::Legacy]
        .map(|it| Conventions::new(config.http.clone(), Rc::clone(&routes)).named(it));
    let names = all.iter().flat_map(Conventions::request_headers).collect();
    let [of_request, of_response] = [&headers, &response_headers]
        .map(|map| Headers::select(HeaderMap::new(map.clone()), &names));
    let mut outcome = outcome.into_iter();
    let mut next = || outcome.next().unwrap_or_default();
    let values = OutcomeValues {
        start: number(&next()),
        duration: number(&next()),
        response_code: response_code(&next()),
        response_flags: ResponseFlags::from_bits(number(&next())),
        connection: Connection {
            source_address: next().into(),
            protocol: next().into(),
            listener_direction: TrafficDirection::read(&next()),
        },
        details: std::array::from_fn(|_| next()),
        tags: (0..4).map(|_| next()).collect(),
        ..OutcomeValues::default()
    };
    let status = (!status.is_empty()).then(|| StatusCode::parse(status));
    let protocol = RequestProtocol::of(&of_request);
    let facts = Facts::read(protocol, &of_request, &of_response, status, values.outcome());
    for conventions in &all {
        for kind in [SpanKind::Server, SpanKind::Client] {
            check(conventions, kind, &facts, &mut Attributes::new(config.limits));
        }
    }
    let _ = partial_success(&headers);
});

/// Whatever the facts are, the span is one that others can read.
fn check(
    conventions: &Conventions,
    kind: SpanKind,
    facts: &Facts<'_>,
    attributes: &mut Attributes,
) {
    let description = conventions.describe(kind, facts, attributes);
    let context = SpanContext {
        trace_id: TraceId::from_bytes([1; 16]).expect("not zero"),
        span_id: SpanId::from_bytes([1; 8]).expect("not zero"),
        flags: TraceFlags::new_trace(),
        trace_state: TraceState::default(),
    };
    let span = Span {
        context: &context,
        parent: None,
        links: &[],
        dropped_links: 0,
        kind: Some(kind),
        name: &description.name,
        start: facts.outcome.start,
        end: facts.outcome.start.saturating_add(facts.outcome.duration),
        attributes,
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
}
