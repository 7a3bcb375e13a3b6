//! The layouts in which a proxy-wasm host hands over several values at once.
//!
//! They come from the host, yet a short or wrong one must not do harm: what can't be read is absent.

use std::iter::FusedIterator;

/// A header map: a count, the lengths of each key and value, then each key and value with a NUL
/// after it. All numbers are 32 bits, little-endian.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    lengths: &'a [[u8; 8]],
    content: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// Reads the layout's start; the pairs are read as they are asked for.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let parts = bytes.split_first_chunk::<4>().and_then(|(count, rest)| {
            let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
            rest.split_at_checked(count.checked_mul(8)?)
        });
        let (lengths, content) = parts.unwrap_or_default();
        Self { lengths: lengths.as_chunks().0, content }
    }

    /// Where in the layout the names and values start.
    #[must_use]
    pub fn start(&self) -> usize {
        size_of::<u32>() + self.lengths.as_flattened().len()
    }
}

/// A header map, as the host gave it.
#[derive(Clone, Debug, Default)]
pub struct HeaderMap(Vec<u8>);

impl HeaderMap {
    /// A map in the layout of [`Pairs`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Names and values, in order, duplicates included.
    #[must_use]
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs::new(&self.0)
    }

    /// The layout.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A map with these headers, for tests.
    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        Self(tests::layout(&pairs))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([k0, k1, k2, k3, v0, v1, v2, v3], lengths) = self.lengths.split_first()?;
        // Where one pair can't be read, nothing is known of those that follow.
        self.lengths = &[];
        let length = |bytes| usize::try_from(u32::from_le_bytes(bytes)).ok();
        let key = length([*k0, *k1, *k2, *k3])?;
        let value = length([*v0, *v1, *v2, *v3])?;
        let size = key.checked_add(value)?.checked_add(2)?;
        let (pair, content) = self.content.split_at_checked(size)?;
        let (key, value) = pair.split_at_checked(key)?;
        let [_nul, value @ .., _nul_too] = value else { return None };
        (self.lengths, self.content) = (lengths, content);
        Some((key, value))
    }
}

impl FusedIterator for Pairs<'_> {}

/// A number of 64 bits, little-endian; zero where there is none.
#[must_use]
pub fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The number that is written so, as in headers, if it is one: digits alone, and at most 64 bits.
#[must_use]
#[inline(never)]
pub fn decimal(text: &[u8]) -> Option<u64> {
    let mut number = text.first().map(|_| 0_u64)?;
    for digit in text {
        let digit = digit.wrapping_sub(b'0');
        number = number.checked_mul(10)?.checked_add((digit < 10).then(|| digit.into())?)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn layout(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let length = |text: &Vec<u8>| u32::try_from(text.len()).unwrap().to_le_bytes();
        let mut bytes = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
        for (key, value) in pairs {
            bytes.extend(length(key));
            bytes.extend(length(value));
        }
        for (key, value) in pairs {
            bytes.extend(key);
            bytes.push(0);
            bytes.extend(value);
            bytes.push(0);
        }
        bytes
    }

    proptest! {
        #[test]
        fn pairs_round_trip(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
            let bytes = layout(&pairs);
            let read: Vec<_> = Pairs::new(&bytes).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn nothing_follows_a_pair_that_is_cut(lengths in prop::collection::vec(0..4_u32, 2..20)) {
            let mut bytes = u32::try_from(lengths.len() / 2).unwrap().to_le_bytes().to_vec();
            bytes.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
            bytes.extend([0; 6]);
            let mut pairs = Pairs::new(&bytes);
            pairs.by_ref().count();
            prop_assert_eq!(pairs.next(), None);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(Pairs::new(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_cut_layout_gives_a_prefix(pairs: Vec<(Vec<u8>, Vec<u8>)>, cut: prop::sample::Index) {
            let bytes = layout(&pairs);
            let cut = &bytes[..cut.index(bytes.len())];
            for (read, (key, value)) in Pairs::new(cut).zip(&pairs) {
                prop_assert_eq!(read, (key.as_slice(), value.as_slice()));
            }
        }
    }

    #[test]
    fn numbers_may_be_absent() {
        assert_eq!(number(&200_u64.to_le_bytes()), 200, "eight bytes");
        assert_eq!(number(b""), 0, "an unset attribute");
        assert_eq!(number(b"abc"), 0, "no number");
    }

    #[test]
    fn a_number_is_digits_alone() {
        let cases: [(&[u8], Option<u64>); 9] = [
            (b"503", Some(503)),
            (b"0", Some(0)),
            (b"4294967295", Some(u32::MAX.into())),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"99999999999999999999", None),
            (b"+1", None),
            (b"1:", None),
            (b"", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
    }
}
