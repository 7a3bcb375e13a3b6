//! What is read of traceparent and tracestate is valid, and is read again as it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::propagation::trace_context::{TraceParent, extract, traceparent};
use otel_proxy_wasm::sampling::{Sampler, SamplingDecision, Threshold};

fuzz_target!(|input: (Vec<(bool, &[u8])>, f64)| {
    let (headers, ratio) = input;
    let pairs = headers.iter().map(|(parent, value)| {
        (if *parent { b"traceparent".as_slice() } else { b"tracestate" }, *value)
    });
    let Some(context) = extract(pairs).parent else { return };
    let written = traceparent(&context);
    let read = TraceParent::parse(&written).expect("what we write is valid");
    assert_eq!((read.trace_id, read.parent_id), (context.trace_id, context.span_id));
    let sampler = Threshold::from_ratio(ratio).map_or(Sampler::AlwaysOn, Sampler::TraceIdRatio);
    let decision = sampler.decide(context.trace_id, Some(&context));
    let (SamplingDecision::Keep(state) | SamplingDecision::Drop(state)) = decision;
    let again = otel_proxy_wasm::context::TraceState::parse(state.as_str().as_bytes());
    assert_eq!(again.as_ref(), Ok(&state), "what goes on is a valid tracestate");
});
