//! How many of so many draws there are, but for one time in a billion.

use std::ops::Range;

/// The bounds that one in a billion of binomial draws misses: six standard deviations.
pub(crate) fn bounds(draws: u64, share: f64) -> Range<usize> {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let (mean, variance) = (draws as f64 * share, draws as f64 * share * (1.0 - share));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "of a few thousand"
    )]
    let bound = |deviations: f64| (mean + deviations * variance.sqrt()).max(0.0) as usize;
    bound(-6.0)..bound(6.0) + 2
}
