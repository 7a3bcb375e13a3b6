//! Headers, as W3C Trace Context reads them: against its grammar as regular expressions, and read
//! again as they are written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::context::{SpanContext, TraceState};
use otel_proxy_wasm::envoy::headers::Headers;
use otel_proxy_wasm::envoy::wire::HeaderMap;
use otel_proxy_wasm::propagation::trace_context::{TRACEPARENT, TRACESTATE, traceparent};
use otel_proxy_wasm::propagation::{FORMATS, Propagators};
use otel_proxy_wasm_fuzz::{layout, lines};
use regex::bytes::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Level 2, section 3.2.2, and 4.3 for later versions.
static PARENT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"\A([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})((?s-u:-[^,]*)?)\z";
    Regex::new(pattern).expect("a pattern")
});
/// Level 2, section 3.3.1.3.
static MEMBER: LazyLock<Regex> = LazyLock::new(|| {
    let value = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]";
    Regex::new(&format!(r"\A([a-z0-9][a-z0-9_\-*/@]{{0,255}})={value}\z")).expect("a pattern")
});

fuzz_target!(|input: &[u8]| {
    let parent = extract(lines(input));
    let of = |name: &str| -> Vec<&[u8]> {
        let of_name = lines(input).filter(|(known, _)| *known == name.as_bytes());
        of_name.map(|(_, value)| value).collect()
    };
    let (parents, states) = (of(TRACEPARENT), of(TRACESTATE));
    let expected = match parents.as_slice() {
        [parent] => valid_parent(parent),
        _ => None,
    };
    let found = parent.as_ref().map(|parent| {
        let flags = parent.flags.as_byte();
        (parent.trace_id.as_bytes().to_vec(), parent.span_id.as_bytes().to_vec(), flags)
    });
    assert_eq!(found, expected, "the parent");
    let Some(context) = parent else { return };
    let text = context.trace_state.as_str();
    assert_eq!(text.as_bytes(), valid_state(&states.join(&b',')), "the tracestate");
    assert_eq!(TraceState::parse(text.as_bytes()).as_ref(), Ok(&context.trace_state));

    let written = traceparent(&context);
    let mut headers = vec![(TRACEPARENT.as_bytes(), written.as_slice())];
    if !text.is_empty() {
        headers.push((TRACESTATE.as_bytes(), text.as_bytes()));
    }
    assert_eq!(extract(headers.into_iter()), Some(context), "what we write we read");
});

fn extract<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Option<SpanContext> {
    let propagators: Propagators = [FORMATS[0]].into_iter().collect();
    let names = propagators.fields().collect();
    propagators.extract(&Headers::select(HeaderMap::new(layout(headers)), &names))
}

/// Trace id, span id and known flags.
fn valid_parent(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, u8)> {
    let captures = PARENT.captures(trimmed(value))?;
    let [version, trace_id, span_id, flags, rest] = captures.extract().1;
    let bytes = |digits: &[u8]| -> Vec<u8> {
        let pair = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16);
        digits.chunks(2).map(|digits| pair(digits).expect("digits")).collect()
    };
    let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
    let wrong_version = version == b"ff" || (version == b"00" && !rest.is_empty());
    let wrong = wrong_version || is_zero(trace_id) || is_zero(span_id);
    (!wrong).then(|| (bytes(trace_id), bytes(span_id), bytes(flags)[0] & 3))
}

/// The first member of each key, joined by commas, or nothing if the list is not valid.
fn valid_state(value: &[u8]) -> Vec<u8> {
    let members = value.split(|byte| *byte == b',').map(trimmed);
    let members: Vec<_> = members.filter(|member| !member.is_empty()).collect();
    let mut keys = BTreeSet::new();
    let mut first = Vec::new();
    for member in members {
        let Some(captures) = MEMBER.captures(member) else { return Vec::new() };
        if keys.insert(captures[1].to_vec()) {
            first.push(member);
        }
    }
    if first.len() <= 32 { first.join(&b',') } else { Vec::new() }
}

fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| [b' ', b'\t'].contains(byte);
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |end| end + 1);
    &value[start..end]
}
