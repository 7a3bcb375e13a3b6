//! Any `grpc-status`, and any end without one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::envoy::attributes::Outcome;
use otel_proxy_wasm::envoy::flags::ResponseFlags;
use otel_proxy_wasm::envoy::headers::Headers;
use otel_proxy_wasm::otlp::SpanKind;
use otel_proxy_wasm::semconv::Facts;
use otel_proxy_wasm::semconv::error;
use otel_proxy_wasm::semconv::grpc::StatusCode;
use otel_proxy_wasm::semconv::request::RequestProtocol;

fuzz_target!(|input: (&[u8], Option<u16>, u64)| {
    let (text, response_code, flags) = input;
    let status = StatusCode::parse(text);
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits);
    match number.and_then(|digits| digits.parse::<u32>().ok()) {
        None => assert_eq!(status.name(), "UNKNOWN", "no number"),
        Some(17..) => {
            let shortest = text.strip_prefix(b"0").map_or(text, |_| text.trim_ascii_start());
            let name = status.name();
            assert!(shortest.ends_with(name.as_bytes()), "a number without a name keeps it");
            assert_eq!(StatusCode::parse(name.as_bytes()), status, "what is written is read");
        }
        Some(_) => assert!(is_name(&status.name()), "a number with a name"),
    }
    check_errors(status);

    let response_flags = ResponseFlags::from_bits(flags);
    let status =
        StatusCode::of_outcome(&Outcome { response_code, response_flags, ..Outcome::default() });
    assert!(is_name(&status.name()) && status.name() != "OK", "nothing says that all is well");
    check_errors(status);
});

fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// What is a server's error is a client's, and only OK is none, unless the caller has cancelled.
fn check_errors(status: StatusCode) {
    let headers = Headers::default();
    let facts =
        Facts::read(RequestProtocol::Grpc, &headers, &headers, Some(status), Outcome::default());
    let client = error::of(SpanKind::Client, &facts);
    let name = status.name();
    assert_eq!(client.as_deref(), Some(&*name).filter(|name| *name != "OK"));
    if let Some(server) = error::of(SpanKind::Server, &facts) {
        assert_eq!(Some(server), client);
    }
}
