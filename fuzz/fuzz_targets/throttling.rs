//! What a collector says of when to come back: in `Retry-After`, and in `grpc-status-details-bin`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::export::retry_after;
use otel_proxy_wasm::otlp::rpc_status;
use std::time::{Duration, SystemTime};

fuzz_target!(|input: (u32, &[u8])| {
    let (now, value) = input;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
    let _ = retry_after::read(value, now);
    let _ = rpc_status::retry_delay(value);
});
