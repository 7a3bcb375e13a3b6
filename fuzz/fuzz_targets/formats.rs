//! The header formats beside W3C's: what one reads is written and read again as it was, in each format, and nothing of what came beside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::context::{Decision, SpanContext};
use otel_proxy_wasm::envoy::headers::{HeaderNames, Headers};
use otel_proxy_wasm::envoy::wire::HeaderMap;
use otel_proxy_wasm::id::{SpanId, TraceId};
use otel_proxy_wasm::probe::Known;
use otel_proxy_wasm::propagation::changes::{Changes, HeaderChange};
use otel_proxy_wasm::propagation::{FORMATS, Propagator, Propagators};
use otel_proxy_wasm_fuzz::{layout, lines, value};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fuzz_target!(|input: &[u8]| {
    // As in Envoy: names in lowercase.
    let came: Pairs = lines(input).map(|(k, v)| (k.to_ascii_lowercase(), v.to_vec())).collect();
    let headers = select(&came);
    for format in FORMATS {
        let (name, alone) = (format.name(), alone(*format));
        let flags = alone.flags_of_new_trace(&headers);
        if let Some(parent) = alone.extract(&headers) {
            check(*format, &came, &parent);
        } else {
            assert!(flags.is_sampled() || !flags.is_debug(), "{name}: debug is sampled");
        }
        let carrier = value(input, "carrier");
        if alone.is_unsampled(carrier) {
            let one = vec![(format.carriers()[0].as_bytes().to_vec(), carrier.to_vec())];
            let parent = alone.extract(&select(&one)).expect("all of it");
            assert_eq!(parent.flags.decision(), Decision::NotSampled, "{name}");
        }
    }
});

/// What goes on of a context that a format has read, in all formats.
fn check(format: &'static dyn Propagator, came: &Pairs, parent: &SpanContext) {
    let (headers, name) = (select(came), format.name());
    let flags = match parent.flags.decision() {
        Decision::NotSampled => parent.flags.not_sampled(),
        Decision::Sampled | Decision::Deferred => parent.flags.sampled(),
    };
    let span_id = SpanId::from_bytes([9; 8]).expect("not zero");
    let own = SpanContext { span_id, flags, ..parent.clone() };
    for other in FORMATS {
        let mut changes = Changes::default();
        other.inject(&own, Some(parent), Known::Headers(&headers), &mut changes);
        let sent = alone(*other).extract(&select(&changed(came, &changes)));
        let low = &own.trace_id.as_bytes()[8..];
        let expected = match other.name() {
            // No format of 64 bits knows a trace whose low half is zero.
            "ottrace" | "datadog" if low == [0; 8] => None,
            "ottrace" => Some(TraceId::from_bytes([&[0; 8], low].concat().try_into().expect("16"))),
            _ => Some(Some(own.trace_id)),
        };
        let Some(Some(trace_id)) = expected else {
            assert_eq!(sent, None, "{name} to {}", other.name());
            continue;
        };
        let sent = sent.unwrap_or_else(|| panic!("{name} to {}: nothing is read", other.name()));
        assert_eq!(
            (sent.trace_id, sent.span_id),
            (trace_id, span_id),
            "{name} to {}",
            other.name()
        );
        assert_eq!(sent.flags.is_sampled(), own.flags.is_sampled(), "{name} to {}", other.name());
    }
}

fn alone(format: &'static dyn Propagator) -> Propagators {
    [format].into_iter().collect()
}

fn select(headers: &Pairs) -> Headers {
    let names: HeaderNames = FORMATS.iter().flat_map(|format| format.fields()).copied().collect();
    let pairs = headers.iter().map(|(k, v)| (k.as_slice(), v.as_slice()));
    Headers::select(HeaderMap::new(layout(pairs)), &names)
}

fn changed(came: &Pairs, changes: &Changes) -> Pairs {
    let mut headers = came.clone();
    for change in changes.iter() {
        let (name, value) = match change {
            HeaderChange::Add(name, value) => {
                assert!(
                    headers.iter().all(|(known, _)| known != name.as_bytes()),
                    "it is not there"
                );
                (name, Some(value))
            }
            HeaderChange::Replace(name, value) => (name, Some(value)),
            HeaderChange::Remove(name) => (name, None),
        };
        headers.retain(|(known, _)| known != name.as_bytes());
        headers.extend(value.map(|value| (name.into(), value.to_vec())));
    }
    headers
}
