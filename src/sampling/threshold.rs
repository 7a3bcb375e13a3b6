//! The rejection threshold of consistent probability sampling.
//!
//! Its text form is here; its place in tracestate is in `trace_state`.

use crate::id::hex_value;
use std::fmt;

/// How many of the 2^56 values of randomness are not kept (OpenTelemetry, TraceState: Probability
/// Sampling, section "Rejection threshold").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Threshold(u64); // Invariant: at most 2^56, which keeps nothing.

impl Threshold {
    /// The threshold that keeps all.
    pub const ALL: Self = Self(0);
    const BITS: u32 = 56;
    const DIGITS: u32 = 14;
    const NEVER: u64 = 1 << Self::BITS;
    /// Significant digits of a threshold, after leading `f` or `0` digits.
    const PRECISION: u32 = 4;

    /// The threshold that keeps this share of traces, at four significant digits. `None` outside
    /// 0 to 1.
    #[must_use]
    pub fn from_ratio(ratio: f64) -> Option<Self> {
        Self::with_precision(ratio, Self::PRECISION)
    }

    /// The same, at so many significant digits.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a ratio within 0 to 1 gives a number within 0 to 2^56, exact in both types"
    )]
    fn with_precision(ratio: f64, precision: u32) -> Option<Self> {
        if !(0.0..=1.0).contains(&ratio) {
            return None;
        }
        let kept = (ratio * Self::NEVER as f64).round() as u64;
        let exact = Self::NEVER.saturating_sub(kept);
        let leading = leading_digits(ratio).max(leading_digits(1.0 - ratio));
        let digits = (precision + leading).min(Self::DIGITS);
        let shift = 4 * (Self::DIGITS - digits);
        let half = (1_u64 << shift) >> 1;
        let rounded = ((exact + half) >> shift) << shift;
        // Invariant: of a share above zero more is kept than what rounding up can take, so that 2^56 is never reached.
        Some(Self(rounded))
    }

    /// Reads a `th` value: 1 to 14 lowercase hexadecimal digits, trailing zeros left out.
    #[must_use]
    pub(super) fn parse(digits: &str) -> Option<Self> {
        if !(1..=Self::DIGITS as usize).contains(&digits.len()) {
            return None;
        }
        let mut value = 0;
        for digit in digits.bytes() {
            value = value << 4 | u64::from(hex_value(digit)?);
        }
        let missing = Self::DIGITS.saturating_sub(u32::try_from(digits.len()).ok()?);
        // Invariant: at most 14 digits are below 2^56.
        Some(Self(value << (4 * missing)))
    }

    /// Whether a trace with this randomness (56 bits) is kept.
    #[must_use]
    pub fn keeps(self, randomness: u64) -> bool {
        randomness >= self.0
    }
}

impl fmt::Display for Threshold {
    /// Writes a `th` value: hexadecimal, trailing zeros left out, `0` for all.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.0);
        let digits = digits.trim_end_matches('0');
        formatter.write_str(if digits.is_empty() { "0" } else { digits })
    }
}

/// How many whole hexadecimal digits after the point are zero in a share.
fn leading_digits(share: f64) -> u32 {
    let mut share = share * 16.0;
    let mut digits = 0;
    while share < 1.0 && digits < Threshold::DIGITS {
        share *= 16.0;
        digits += 1;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table of OpenTelemetry, TraceState: Probability Sampling, section "Converting floating-point probability to threshold value".
    #[test]
    fn one_in_n_has_the_thresholds_of_the_specification() {
        let cases = [
            (1, ["0"; 3]),
            (2, ["8"; 3]),
            (3, ["aab", "aaab", "aaaab"]),
            (4, ["c"; 3]),
            (5, ["ccd", "cccd", "ccccd"]),
            (8, ["e"; 3]),
            (10, ["e66", "e666", "e6666"]),
            (16, ["f"; 3]),
            (100, ["fd71", "fd70a", "fd70a4"]),
            (1000, ["ffbe7", "ffbe77", "ffbe76d"]),
            (10_000, ["fff972", "fff9724", "fff97247"]),
            (100_000, ["ffff584", "ffff583a", "ffff583a5"]),
            (1_000_000, ["ffffef4", "ffffef39", "ffffef391"]),
        ];
        for (one_in, expected) in cases {
            let ratio = 1.0 / f64::from(one_in);
            let at = |precision| Threshold::with_precision(ratio, precision).expect("within range");
            let found = [3, 4, 5].map(|precision| at(precision).to_string());
            assert_eq!(found, expected, "one in {one_in}, at three, four and five digits");
            let usual = Threshold::from_ratio(ratio).expect("within range");
            assert_eq!(usual, at(4), "one in {one_in}: the specification's default");
        }
    }

    #[test]
    fn ratios_near_one_have_four_digits_after_their_zeros() {
        let cases = [
            (0.9, "199a", "after a digit that is not zero"),
            (0.99, "028f6", "after one zero"),
            (0.999, "004189", "after two zeros"),
            (0.9999, "00068dc", "after three zeros"),
        ];
        for (ratio, expected, reason) in cases {
            let threshold = Threshold::from_ratio(ratio).expect("within range");
            assert_eq!(threshold.to_string(), expected, "{reason}");
        }
    }

    #[test]
    fn the_ends_are_exact() {
        let max = (1 << 56) - 1;
        assert!(Threshold::from_ratio(1.0).expect("valid").keeps(0), "one keeps all");
        assert!(!Threshold::from_ratio(0.0).expect("valid").keeps(max), "zero keeps none");
        assert!(Threshold::from_ratio(1e-16).expect("valid").keeps(max), "little is not nothing");
        for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Threshold::from_ratio(ratio), None, "{ratio} is out of range");
        }
    }

    #[test]
    fn th_values_are_read_strictly() {
        let cases = [
            ("8", true, "one digit"),
            ("0", true, "all"),
            ("ffffffffffffff", true, "fourteen digits"),
            ("fffffffffffffff", false, "fifteen digits"),
            ("", false, "nothing"),
            ("F", false, "uppercase"),
            ("+1", false, "a sign"),
        ];
        for (digits, valid, reason) in cases {
            assert_eq!(Threshold::parse(digits).is_some(), valid, "{reason}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(ratio in 0.000_001..=1.0f64) {
            let threshold = Threshold::from_ratio(ratio).unwrap();
            prop_assert_eq!(Threshold::parse(&threshold.to_string()), Some(threshold));
        }

        #[test]
        fn a_threshold_is_close_to_its_ratio(ratio in 0.000_001..=1.0f64) {
            let kept = (1u64 << 56) - Threshold::from_ratio(ratio).unwrap().0;
            let share = f64::from(u32::try_from(kept >> 25).unwrap()) / f64::from(1u32 << 31);
            prop_assert!((share - ratio).abs() <= ratio / 1000.0 + 1e-4, "{ratio} became {share}");
        }

        #[test]
        fn a_larger_ratio_keeps_more(a in 0.0..=1.0f64, b in 0.0..=1.0f64, randomness in 0..1u64 << 56) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let low = Threshold::from_ratio(low).unwrap();
            let high = Threshold::from_ratio(high).unwrap();
            prop_assert!(!low.keeps(randomness) || high.keeps(randomness));
        }
    }
}
