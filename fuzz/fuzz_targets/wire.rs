//! Any bytes in place of the host's layouts: what is read of them is in them, and is read again as
//! it is laid out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::host::outcome::OutcomeValues;
use otel_proxy_wasm::host::wire::{HeaderMap, Pairs, elements, number};
use otel_proxy_wasm_fuzz::layout;

fuzz_target!(|input: &[u8]| {
    let pairs: Vec<_> = Pairs::new(input).collect();
    let size: usize = pairs.iter().map(|(name, value)| 8 + name.len() + 1 + value.len() + 1).sum();
    assert!(4 + size <= input.len().max(4), "nothing is read twice");
    let bytes = layout(pairs.iter().copied());
    assert_eq!(Pairs::new(&bytes).collect::<Vec<_>>(), pairs, "what is laid out is read");
    let map = HeaderMap::new(input.to_vec());
    assert_eq!(map.only(|_| true).pairs().collect::<Vec<_>>(), pairs, "all are wanted");
    assert_eq!(map.only(|_| false).pairs().count(), 0, "none is wanted");
    let wanted = |name: &[u8]| name.first().is_some_and(u8::is_ascii_lowercase);
    let some = map.only(wanted);
    let expected = pairs.iter().copied().filter(|(name, _)| wanted(name));
    assert!(some.pairs().eq(expected), "some are wanted");
    assert!(some.size() <= map.size().max(4), "less takes less");

    let values: Vec<_> = elements(input).map(<[u8]>::to_vec).collect();
    assert!(
        values.iter().eq(pairs.iter().map(|(name, _)| name)),
        "a value stands in a name's place"
    );
    for value in &values {
        assert!(value.len() >= 8 || number(value) == 0, "no number");
    }
    let list = OutcomeValues::List(input.to_vec());
    assert_eq!(list.outcome(), OutcomeValues::Single(values).outcome(), "a list or one by one");
});
