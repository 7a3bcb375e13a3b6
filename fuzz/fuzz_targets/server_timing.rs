//! Any `Server-Timing` and `traceresponse`: only who knows what was sent is believed, and what others say stays.
//!
//! A byte of the input stands for a context, so that most inputs have some.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::context::{SpanContext, TraceFlags, TraceState};
use otel_proxy_wasm::id::{SpanId, TraceId};
use otel_proxy_wasm::propagation::server_timing::{Answered, is_kept, kept, read};

const TRACE: &[u8; 32] = b"4bf92f3577b34da6a3ce929d0e0e4736";
const OURS: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const LET_GO: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const OTHER: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ff-01";

fuzz_target!(|input: &[u8]| {
    let sent = SpanContext {
        trace_id: TraceId::from_hex(TRACE).expect("valid"),
        span_id: SpanId::from_bytes([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7]).expect("valid"),
        flags: TraceFlags::from_byte(0),
        trace_state: TraceState::default(),
    };
    let mut value = Vec::new();
    for byte in input {
        match byte {
            1 => value.extend_from_slice(OURS),
            2 => value.extend_from_slice(LET_GO),
            3 => value.extend_from_slice(OTHER),
            4 => value.extend_from_slice(b"trace;desc="),
            byte => value.push(*byte),
        }
    }
    let has_ids = value.windows(53).any(|part| part[2..] == OURS[2..53]);
    let told = read(&value, &sent);
    assert!(has_ids || !told.is_kept, "who does not know the ids is not believed");
    assert!(has_ids || !is_kept(&value, &sent), "nor in a traceresponse");
    let Some(rest) = told.rest else {
        assert!(!told.is_kept, "what is said is taken away");
        return;
    };
    assert_eq!(read(&rest, &sent), Answered { is_kept: false, rest: None }, "all of it");

    let mut again = kept(&sent, sent.span_id);
    if !rest.is_empty() {
        again.extend_from_slice(b", ");
        again.extend_from_slice(&rest);
    }
    assert_eq!(read(&again, &sent), Answered { is_kept: true, rest: Some(rest) }, "others stay");
});
