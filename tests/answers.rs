//! Whatever a collector answers: reading it takes little memory, counted byte by byte.

use dhat::{HeapStats, Profiler};
use otel_proxy_wasm::export::answer::Answer;
use otel_proxy_wasm::otlp::response::{partial_success, partial_success_of_json};
use otel_proxy_wasm::otlp::rpc_status::retry_delay;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// What is read of a body.
const READ: usize = 64 << 10;
/// What any answer may take, in bytes, beside itself.
const MOST: usize = 1 << 20;

/// A text of this length.
fn of_length(length: usize, start: &str, item: &str, end: &str) -> Vec<u8> {
    let times = (length - start.len() - end.len()) / item.len();
    [start, &item.repeat(times), end].concat().into_bytes()
}

/// The longest answer that is read.
fn repeated(start: &str, item: &str, end: &str) -> Vec<u8> {
    of_length(READ, start, item, end)
}

/// Shorter than what JSON is read of.
fn short(start: &str, item: &str, end: &str) -> Vec<u8> {
    of_length(8000, start, item, end)
}

#[test]
fn no_answer_takes_much_memory() {
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("a list of objects", repeated("[", r#"{"":0},"#, "0]")),
        ("a partial success of them", repeated(r#"{"partialSuccess":["#, r#"{"":0},"#, "0]}")),
        (
            "a number that is a list of them",
            repeated(r#"{"partialSuccess":{"rejectedSpans":["#, r#"{"":0},"#, "0]}}"),
        ),
        (
            "a message that is a list of them",
            repeated(r#"{"partialSuccess":{"errorMessage":["#, r#"{"":0},"#, "0]}}"),
        ),
        ("lists in lists", repeated("[", "[", "")),
        ("objects in objects", repeated("{", r#""":{"#, "")),
        ("members that nobody reads", repeated("{", r#""a":[],"#, r#""b":0}"#)),
        ("a long message", repeated(r#"{"partialSuccess":{"errorMessage":""#, "x", r#""}}"#)),
        (
            "an escaped message",
            repeated(r#"{"partialSuccess":{"errorMessage":""#, r"\u0000", r#""}}"#),
        ),
        ("a list that is cut", repeated("[", r#"{"":0},"#, "")),
        ("few objects", short("[", r#"{"":0},"#, "0]")),
        ("few objects in objects", short("[", r#"{"":{"":{}}},"#, "0]")),
        ("few lists", short("[", "[],", "0]")),
        ("few lists in lists", short("[", "[[0]],", "0]")),
        ("few texts", short("[", r#""","#, "0]")),
        ("a short message", short(r#"{"partialSuccess":{"errorMessage":""#, "x", r#""}}"#)),
        ("empty fields of protobuf", repeated("", "\n\0", "")),
        ("bytes", vec![0x0a; READ]),
        ("zeros", vec![0; READ]),
    ];
    let _profiler = Profiler::builder().testing().build();
    for (reason, body) in &bodies {
        let before = HeapStats::get();
        let refusal = Answer::Http { status: 401, retry_after: None, body };
        let kept = (
            partial_success(body),
            partial_success_of_json(body),
            retry_delay(body),
            refusal.reason().to_string(),
        );
        let after = HeapStats::get();
        drop(kept);
        let peak = after.max_bytes.saturating_sub(before.curr_bytes);
        assert!(peak < MOST, "{reason}: {peak} bytes");
    }
    let (_, message) = bodies.iter().find(|(reason, _)| *reason == "a short message").expect("one");
    let read = partial_success_of_json(message);
    assert!(read.error_message.len() > 7000, "the message is read");
    assert!(HeapStats::get().curr_bytes > 7000, "and the counter counts");
}
