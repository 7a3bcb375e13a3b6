//! What a benchmark may say of its rounds: quantiles, a ratio with the noise that the rounds themselves show, and whether that is
//! worse than one that was kept.

/// How often the rounds are drawn anew.
const RESAMPLES: u32 = 1000;
/// The share of the resampled ratios that is left out at either end.
const TAIL: f64 = 0.025;

/// The value below which this share of the values lies: 0.5 is the median.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index within a short list"
    )]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// A share that is found at least, where none of so many was missed: the rule of three, right in 95 of 100 runs.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn none_missed_of(number: u64) -> f64 {
    if number > 3 { 1.0 - 3.0 / number as f64 } else { 0.0 }
}

/// What one thing costs over another, and between what bounds that is certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of all rounds.
    pub value: f64,
    /// 97.5 % of the resampled ratios are above.
    pub low: f64,
    /// 97.5 % of the resampled ratios are below.
    pub high: f64,
}

/// What a ratio is beside the one that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None was kept.
    Unknown,
    /// Not worse, or by no more than noise.
    Holds,
    /// Worse by more than noise.
    Worse,
}

impl Ratio {
    /// The ratio of two medians. Both lists have a value for each round, and a round is drawn with both of its values: what disturbs a
    /// round disturbs both.
    #[must_use]
    pub fn of(costs: &[f64], others: &[f64]) -> Self {
        let rounds: Vec<_> = costs.iter().copied().zip(others.iter().copied()).collect();
        let mut draws = Draws(1);
        let resampled: Vec<_> = (0..RESAMPLES)
            .map(|_| of_medians(rounds.iter().filter_map(|_| draws.one_of(&rounds))))
            .collect();
        Self {
            value: of_medians(rounds.iter().copied()),
            low: quantile(&resampled, TAIL),
            high: quantile(&resampled, 1.0 - TAIL),
        }
    }

    /// Whether it is no more than a budget. Its noise is no excuse.
    #[must_use]
    pub fn is_within(&self, budget: f64) -> bool {
        self.value <= budget
    }

    /// Whether it is worse than the kept one even at its lower bound.
    #[must_use]
    pub fn against(&self, kept: Option<f64>) -> Verdict {
        match kept {
            None => Verdict::Unknown,
            Some(kept) if self.low > kept => Verdict::Worse,
            Some(_) => Verdict::Holds,
        }
    }
}

fn of_medians(rounds: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (costs, others): (Vec<_>, Vec<_>) = rounds.unzip();
    let (cost, other) = (quantile(&costs, 0.5), quantile(&others, 0.5));
    // Differences to a noisy base: what seems to cost nothing is cheaper by any factor.
    if other > 0.0 { cost / other } else { f64::INFINITY }
}

/// Knuth's linear congruential generator: the same draws in each run, so that the same rounds give the same bounds.
struct Draws(u64);

impl Draws {
    fn one_of<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The upper bits are the random ones.
        let number = usize::try_from(self.0 >> 33).ok()?;
        values.get(number.checked_rem(values.len())?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_value_at_its_share_of_the_sorted_ones() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        for (share, expected) in [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.75, 4.0), (1.0, 5.0)] {
            assert!((quantile(&values, share) - expected).abs() < 1e-9, "{share}");
        }
        assert!(quantile(&[], 0.5).is_nan(), "of nothing there is no median");
    }

    #[test]
    fn the_more_are_found_the_more_is_certain() {
        for (number, expected) in [(0, 0.0), (3, 0.0), (4, 0.25), (300, 0.99), (30_000, 0.9999)] {
            assert!((none_missed_of(number) - expected).abs() < 1e-9, "{number}");
        }
    }

    #[test]
    fn a_ratio_is_that_of_the_medians() {
        let ratio = Ratio::of(&[2.0, 900.0, 4.0], &[1.0, 3.0, 2.0]);
        assert!((ratio.value - 2.0).abs() < 1e-9, "one disturbed round moves no median: {ratio:?}");
    }

    #[test]
    fn rounds_that_agree_leave_no_doubt() {
        let ratio = Ratio::of(&[3.0; 12], &[2.0; 12]);
        assert_eq!(ratio, Ratio { value: 1.5, low: 1.5, high: 1.5 });
    }

    #[test]
    fn a_round_is_drawn_with_both_of_its_values() {
        let others: Vec<f64> = (1..=12).map(f64::from).collect();
        let costs: Vec<f64> = others.iter().map(|other| other * 1.5).collect();
        let ratio = Ratio::of(&costs, &others);
        assert_eq!(ratio, Ratio { value: 1.5, low: 1.5, high: 1.5 }, "a slow machine slows both");
    }

    #[test]
    fn the_bounds_enclose_the_ratio_and_are_wider_for_noisier_rounds() {
        let around = |noise: f64| {
            let sign = |round: u32| if round.is_multiple_of(2) { noise } else { -noise };
            let costs: Vec<f64> =
                (0..12).map(|round| 3.0 + sign(round) * f64::from(round)).collect();
            Ratio::of(&costs, &[2.0; 12])
        };
        let (calm, noisy) = (around(0.01), around(0.1));
        for ratio in [calm, noisy] {
            assert!(ratio.low < ratio.value && ratio.value < ratio.high, "{ratio:?}");
        }
        assert!(noisy.high - noisy.low > 5.0 * (calm.high - calm.low), "{noisy:?} {calm:?}");
    }

    #[test]
    fn the_bounds_leave_out_what_is_drawn_too_rarely() {
        // The median of seven draws is the first of seven values once in ninety times, and one of the first two once in nine times.
        let costs = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        assert_eq!(Ratio::of(&costs, &[1.0; 7]), Ratio { value: 4.0, low: 2.0, high: 6.0 });
    }

    #[test]
    fn the_same_rounds_have_the_same_bounds() {
        for rounds in [101, 201, 301] {
            let (costs, others): (Vec<_>, Vec<_>) =
                (1..rounds).map(|n| (f64::from(n), 1.0)).unzip();
            assert_eq!(Ratio::of(&costs, &others), Ratio::of(&costs, &others), "{rounds}");
        }
    }

    #[test]
    fn one_disturbed_round_of_many_does_not_move_the_bounds() {
        let mut costs = [3.0; 12];
        costs[5] = 90.0;
        assert_eq!(Ratio::of(&costs, &[2.0; 12]), Ratio { value: 1.5, low: 1.5, high: 1.5 });
    }

    #[test]
    fn against_what_costs_nothing_every_ratio_is_infinite() {
        for nothing in [0.0, -0.5] {
            let ratio = Ratio::of(&[3.0; 4], &[nothing; 4]);
            assert!(ratio.value.is_infinite() && ratio.low.is_infinite(), "{ratio:?}");
        }
    }

    #[test]
    fn a_budget_is_for_the_ratio_and_not_for_its_bounds() {
        let ratio = Ratio { value: 0.4, low: 0.3, high: 0.5 };
        assert!(ratio.is_within(0.4) && ratio.is_within(0.45));
        assert!(!ratio.is_within(0.39), "that it might be less is not enough");
        assert!(!Ratio { value: f64::NAN, ..ratio }.is_within(0.4), "nothing was measured");
    }

    #[test]
    fn a_ratio_is_worse_where_noise_does_not_explain_it() {
        let ratio = Ratio { value: 1.5, low: 1.4, high: 1.7 };
        assert_eq!(ratio.against(None), Verdict::Unknown);
        assert_eq!(ratio.against(Some(1.3)), Verdict::Worse);
        assert_eq!(ratio.against(Some(1.4)), Verdict::Holds, "as bad as its lower bound");
        assert_eq!(ratio.against(Some(1.45)), Verdict::Holds, "worse, but within the noise");
        assert_eq!(ratio.against(Some(2.0)), Verdict::Holds, "better");
    }
}
