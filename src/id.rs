//! Trace and span ids, and where new ones come from.
//!
//! No clock and no operating system here: the generator's seed is an argument.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// The id of a trace: 16 bytes, not all zero (W3C Trace Context, section 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]); // Invariant: not all zero.

/// The id of a span: 8 bytes, not all zero (W3C Trace Context, section 3.2.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId([u8; 8]); // Invariant: not all zero.

impl TraceId {
    /// `None` if every byte is zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        // Invariant: refused when zero.
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Reads exactly 32 lowercase hexadecimal digits; anything else, and zero, is `None`.
    #[must_use]
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        Self::from_bytes(decode_hex(digits)?)
    }

    /// The id in network order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The low 56 bits, random in a trace id of Level 2 (section 3.2.2.3.1).
    #[must_use]
    pub fn randomness(&self) -> u64 {
        let [_, _, _, _, _, _, _, _, low @ ..] = self.0;
        u64::from_be_bytes(low) & ((1 << 56) - 1)
    }
}

impl SpanId {
    /// `None` if every byte is zero.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        // Invariant: refused when zero.
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Reads exactly 16 lowercase hexadecimal digits; anything else, and zero, is `None`.
    #[must_use]
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        Self::from_bytes(decode_hex(digits)?)
    }

    /// The id in network order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Makes ids that are random, not secret.
#[derive(Debug)]
pub struct IdGenerator {
    random: Xoshiro256PlusPlus,
    /// What makes the last byte of a span id another one than other generators make.
    key: u64,
}

impl IdGenerator {
    /// A generator for the life of a VM; `seed` comes from the host's random source.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut random = Xoshiro256PlusPlus::from_seed(seed);
        let key = random.next_u64();
        Self { random, key }
    }

    /// A new trace id, random in all its bits.
    #[inline]
    pub fn trace_id(&mut self) -> TraceId {
        loop {
            let (high, low) = (self.random.next_u64(), self.random.next_u64());
            let id = (u128::from(high) << 64) | u128::from(low);
            if let Some(id) = TraceId::from_bytes(id.to_be_bytes()) {
                return id;
            }
        }
    }

    /// A new span id: 56 random bits, and eight that follow from them and the generator's key.
    pub fn span_id(&mut self) -> SpanId {
        loop {
            let random = self.random.next_u64() >> 8;
            if let Some(id) = SpanId::from_bytes(self.signed(random).to_be_bytes()) {
                return id;
            }
        }
    }

    /// Whether this generator may have made a span id: of all that it has made, and of one in 256 others.
    #[must_use]
    pub fn may_have_made(&self, id: SpanId) -> bool {
        let id = u64::from_be_bytes(*id.as_bytes());
        self.signed(id >> 8) == id
    }

    fn signed(&self, random: u64) -> u64 {
        // The golden ratio: as in Fibonacci hashing, the highest bits of the product depend on all of the factor's.
        let product = (random ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        random << 8 | product >> 56
    }

    /// Any number, for what is neither a trace nor a span.
    pub fn number(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// Sixteen random bytes, for an identifier that is neither a trace nor a span.
    pub fn bytes(&mut self) -> [u8; 16] {
        *self.trace_id().as_bytes()
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// In [`VALUES`], what is no digit: no value has these bits.
const NO_DIGIT: u8 = 0xf0;
/// The value of each byte as a digit. A table, because ids are read for every request: half the price of comparing.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "checked when it is built"
        )]
        {
            values[DIGITS[value] as usize] = value as u8;
        }
        value += 1;
    }
    values
};

fn value_of(digit: u8) -> u8 {
    VALUES.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT)
}

/// The value of a lowercase hexadecimal digit. Uppercase is refused, as W3C Trace Context asks.
#[must_use]
pub fn hex_value(digit: u8) -> Option<u8> {
    let value = value_of(digit);
    (value & NO_DIGIT == 0).then_some(value)
}

/// The two lowercase hexadecimal digits of a byte.
#[must_use]
pub fn hex_digits(byte: u8) -> [u8; 2] {
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    [digit(byte >> 4), digit(byte & 0x0f)]
}

/// Writes the digits of some bytes; what has no room is left out.
pub fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    for (digits, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *digits = hex_digits(*byte);
    }
}

fn decode_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value_of(*high), value_of(*low));
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn trace_ids_are_read_strictly() {
        let cases: &[(&str, bool, &str)] = &[
            ("4bf92f3577b34da6a3ce929d0e0e4736", true, "thirty-two lowercase digits"),
            ("4BF92F3577B34DA6A3CE929D0E0E4736", false, "uppercase is refused"),
            ("00000000000000000000000000000000", false, "zero is no id"),
            ("4bf92f3577b34da6a3ce929d0e0e473", false, "a digit short"),
            ("4bf92f3577b34da6a3ce929d0e0e47361", false, "a digit long"),
            ("+bf92f3577b34da6a3ce929d0e0e4736", false, "a sign is no digit"),
            ("", false, "nothing"),
        ];
        for (digits, valid, reason) in cases {
            assert_eq!(TraceId::from_hex(digits.as_bytes()).is_some(), *valid, "{reason}");
        }
    }

    #[test]
    fn randomness_is_the_low_56_bits() {
        let id = TraceId::from_hex(b"ffffffffffffffffff00000000000001").expect("valid");
        assert_eq!(id.randomness(), 1);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let sequence = |seed| {
            let mut ids = IdGenerator::from_seed([seed; 32]);
            (ids.trace_id(), ids.span_id(), ids.span_id())
        };
        assert_eq!(sequence(1), sequence(1), "the generator has no other source");
        assert_ne!(sequence(1), sequence(2), "the seed matters");
    }

    #[test]
    fn all_of_an_id_is_random() {
        let mut ids = IdGenerator::from_seed([1; 32]);
        let (one, another) = (ids.bytes(), ids.bytes());
        assert!(one.iter().zip(another).filter(|(one, other)| *one == other).count() < 4);
        for id in [one, another, *ids.trace_id().as_bytes()] {
            let halves = id.as_chunks::<8>().0;
            assert!(halves.iter().all(|half| *half != [0; 8]), "{id:?}: both halves");
        }
    }

    #[test]
    fn a_generator_knows_the_span_ids_that_it_has_made() {
        let [mut own, mut other] = [1, 2].map(|seed| IdGenerator::from_seed([seed; 32]));
        let ids: Vec<_> = (0..1000).map(|_| own.span_id()).collect();
        assert!(ids.iter().all(|id| own.may_have_made(*id)), "each of its own");
        let taken = (0..10_000).filter(|_| own.may_have_made(other.span_id())).count();
        assert!((10..80).contains(&taken), "of others one in 256: {taken}");
        let last: std::collections::BTreeSet<_> = ids.iter().map(|id| id.as_bytes()[7]).collect();
        assert!(last.len() > 200, "the last byte is no constant: {}", last.len());
    }

    proptest! {
        #[test]
        fn hex_round_trips(bytes: [u8; 8]) {
            let digits: Vec<u8> = bytes.iter().flat_map(|byte| hex_digits(*byte)).collect();
            prop_assert_eq!(SpanId::from_hex(&digits), SpanId::from_bytes(bytes));
        }
    }
}
