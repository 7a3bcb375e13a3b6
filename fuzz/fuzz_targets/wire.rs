//! Any bytes in place of the host's layouts: what is read of them is in them, and is read again as
//! it is laid out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::envoy::headers::{HeaderNames, Headers};
use otel_proxy_wasm::envoy::wire::{HeaderMap, Pairs, number};
use otel_proxy_wasm_fuzz::layout;

fuzz_target!(|input: &[u8]| {
    let pairs: Vec<_> = Pairs::new(input).collect();
    let size: usize = pairs.iter().map(|(name, value)| 8 + name.len() + 1 + value.len() + 1).sum();
    assert!(4 + size <= input.len().max(4), "nothing is read twice");
    let bytes = layout(pairs.iter().copied());
    assert_eq!(Pairs::new(&bytes).collect::<Vec<_>>(), pairs, "what is laid out is read");
    let names: Vec<_> =
        pairs.iter().filter_map(|(name, _)| std::str::from_utf8(name).ok()).collect();
    for names in [&names[..], &names[..names.len() / 2], &[]] {
        let wanted: HeaderNames = names.iter().copied().collect();
        let headers = Headers::select(HeaderMap::new(input.to_vec()), &wanted);
        let expected: Vec<_> = pairs
            .iter()
            .copied()
            .filter(|(name, _)| names.iter().any(|known| known.as_bytes() == *name))
            .collect();
        assert!(headers.iter().eq(expected.iter().copied()), "those that were asked for");
        let size = headers.size();
        let held = headers.hold(|name, value| wanted.contains(name).then_some(value.into()));
        assert!(held.iter().eq(expected), "they are held");
        assert!(held.size() <= size, "and take no more");
    }
    assert!(input.len() >= 8 || number(input) == 0, "no number");
});
