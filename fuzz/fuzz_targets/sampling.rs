//! Decisions of samplers: consistent with each other, and with a tracestate that is valid.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::context::{SpanContext, TraceFlags, TraceState};
use otel_proxy_wasm::id::{SpanId, TraceId};
use otel_proxy_wasm::sampling::{
    AlwaysOff, AlwaysOn, ParentBased, Recording, Sampler, SamplingDecision, SamplingInput,
    Threshold, TraceIdRatio, decide,
};
use otel_proxy_wasm::semconv::SpanKindSetting;
use otel_proxy_wasm::semconv::start::StartingRequest;
use otel_proxy_wasm_fuzz::{parsed, value};

fuzz_target!(|input: &[u8]| {
    let Some(trace_id) = TraceId::from_hex(value(input, "trace")) else { return };
    let Ok(trace_state) = TraceState::parse(value(input, "tracestate")) else { return };
    let parent = SpanContext {
        trace_id,
        span_id: SpanId::from_bytes([1; 8]).expect("not zero"),
        flags: TraceFlags::from_byte(parsed(value(input, "flags"))),
        trace_state,
    };
    let mut ratios = [parsed(value(input, "lower")), parsed::<f64>(value(input, "higher"))];
    ratios.sort_by(f64::total_cmp);
    let thresholds = ratios.map(|ratio| {
        let threshold = Threshold::from_ratio(ratio);
        assert_eq!(threshold.is_some(), (0.0..=1.0).contains(&ratio), "{ratio}");
        threshold
    });
    let decide = |sampler: &dyn Sampler| {
        let decision = parent.flags.decision();
        let parent = Some(&parent);
        let input = SamplingInput {
            trace_id,
            parent,
            decision,
            request: StartingRequest::default(),
            span_kind: SpanKindSetting::Server,
            now: None,
        };
        decide(sampler, &input)
    };
    for sampler in [ParentBased::with_root(AlwaysOn), ParentBased::with_root(AlwaysOff)] {
        let decision = decide(&sampler);
        assert_eq!(is_kept(&decision), parent.flags.is_sampled(), "as the caller did");
        check_state(&parent, decision);
    }
    let [Some(lower), Some(higher)] = thresholds else { return };
    assert!(lower >= higher, "a higher ratio has a lower threshold");
    let kept = [lower, higher].map(|threshold| {
        let decision = decide(&TraceIdRatio(threshold));
        let kept = is_kept(&decision);
        let state = check_state(&parent, decision);
        let noted = state.get("ot").and_then(|ot| ot.split(';').find(|it| it.starts_with("th:")));
        assert_eq!(noted, kept.then(|| format!("th:{threshold}")).as_deref());
        kept
    });
    assert!(kept[0] <= kept[1], "what a lower ratio keeps, a higher one keeps too");
    assert!(kept[0] || ratios[0] < 1.0, "a ratio of 1 keeps all");
    assert!(!kept[1] || ratios[1] > 0.0, "a ratio of 0 keeps none");
});

fn is_kept(decision: &SamplingDecision) -> bool {
    decision.recording == Recording::On
}

/// What goes on is valid, and of the others' members none is changed, reordered or lost without need.
fn check_state(parent: &SpanContext, decision: SamplingDecision) -> TraceState {
    let state = decision.trace_state;
    assert_eq!(TraceState::parse(state.as_str().as_bytes()).as_ref(), Ok(&state), "it is valid");
    let others = |state: &TraceState| -> Vec<String> {
        let members = state.as_str().split(',').filter(|it| !it.is_empty());
        members.filter(|it| !it.starts_with("ot=")).map(str::to_owned).collect()
    };
    let (before, after) = (others(&parent.trace_state), others(&state));
    let room = if state.get("ot").is_some() { 31 } else { 32 };
    assert_eq!(after, before[..before.len().min(room)], "the others' members");
    state
}
