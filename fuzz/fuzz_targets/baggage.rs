//! The header `baggage`, held against a grammar in the form of a regular expression: of all members within the limits, the last one that is
//! well-formed; and what is held of a header says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::envoy::headers::Headers;
use otel_proxy_wasm::semconv::baggage::{self, MAX_BYTES, MAX_MEMBERS};
use regex::bytes::Regex;
use std::sync::LazyLock;

/// A member with the key that is asked for.
static MEMBER: LazyLock<Regex> = LazyLock::new(|| {
    let octet = r"[\x21\x23\x24\x26-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]";
    let member = format!(
        r"(?s-u)^[ \t]*a[ \t]*=[ \t]*((?:{octet}|%[0-9A-Fa-f][0-9A-Fa-f])*)[ \t]*(?:;.*)?$"
    );
    Regex::new(&member).expect("a grammar")
});

fuzz_target!(|input: &[u8]| {
    // Several headers are one with commas between them.
    let values: Vec<_> = input.split(|byte| *byte == 0).collect();
    let joined = values.join(&b',');
    assert_eq!(found(&values), expected(&joined));
    assert_eq!(found(&[baggage::held(&joined)]), expected(&joined), "what is held");
});

fn found(values: &[&[u8]]) -> Vec<u8> {
    let mut headers = Headers::default();
    for value in values {
        headers.add(b"baggage", value);
    }
    baggage::member(&headers, "a")
}

fn expected(joined: &[u8]) -> Vec<u8> {
    let mut end = 0;
    let mut count = 0;
    let mut value = Vec::new();
    for member in joined.split(|byte| *byte == b',') {
        end += member.len();
        let is_empty = member.iter().all(|byte| b" \t".contains(byte));
        count += usize::from(!is_empty);
        if end > MAX_BYTES || count > MAX_MEMBERS {
            break;
        }
        if let Some(found) = MEMBER.captures(member) {
            value = percent_encoding::percent_decode(&found[1]).collect();
        }
        end += 1;
    }
    value
}
