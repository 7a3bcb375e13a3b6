//! What a collector answers, read as an independent decoder reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use otel_proxy_wasm::export::answer::{Answer, ExportOutcome};
use otel_proxy_wasm::export::foreign::Foreign;
use otel_proxy_wasm::export::protocol::Protocol;
use otel_proxy_wasm::otlp::response::{PartialSuccess, partial_success};
use prost::Message;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    let decoded = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let decoded = decoded.partial_success.unwrap_or_default();
    let expected = PartialSuccess {
        rejected_spans: decoded.rejected_spans.max(0).unsigned_abs(),
        error_message: decoded.error_message,
    };
    assert_eq!(partial_success(body), expected);
    let taken = match ExportOutcome::of_answer(
        Answer::Http { status, retry_after: None, body },
        Protocol::HttpProtobuf,
    ) {
        ExportOutcome::Taken(partial) => Some(partial),
        ExportOutcome::Failed(_) => {
            let answer = Answer::Http { status, retry_after: None, body };
            let reason = answer.reason().to_string();
            assert!(reason.chars().count() <= Foreign::MAX, "it is short");
            assert!(!reason.contains(|it: char| it.is_control()), "it is one line");
            None
        }
    };
    assert_eq!(taken, (200..300).contains(&status).then_some(expected), "a success and no other");
});
