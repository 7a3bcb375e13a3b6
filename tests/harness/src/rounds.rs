//! What a benchmark measures of several variants, which take turns in each of several rounds.

use std::collections::BTreeMap;

/// What was measured, by variant and round.
#[derive(Clone, Debug)]
pub struct Rounds<T>(BTreeMap<&'static str, Vec<T>>);

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Rounds<T> {
    /// Adds a variant's turn of a round. Each variant has one turn in each round.
    pub fn add(&mut self, variant: &'static str, turn: T) {
        self.0.entry(variant).or_default().push(turn);
    }

    /// The same rounds, with another measure of each turn.
    #[must_use]
    pub fn map<U>(self, measure: impl Fn(T) -> U) -> Rounds<U> {
        let of = |turns: Vec<T>| turns.into_iter().map(&measure).collect();
        Rounds(self.0.into_iter().map(|(variant, turns)| (variant, of(turns))).collect())
    }

    /// What each round says of a variant.
    #[must_use]
    pub fn of(&self, variant: &str) -> &[T] {
        self.0.get(variant).map(Vec::as_slice).unwrap_or_default()
    }

    /// A measure of each round of a variant.
    #[must_use]
    pub fn each(&self, variant: &str, measure: impl Fn(&T) -> f64) -> Vec<f64> {
        self.of(variant).iter().map(measure).collect()
    }

    /// What a measure of a variant is above that of another one, of each round: the machine's speed drifts from one to the next.
    #[must_use]
    pub fn above(&self, variant: &str, other: &str, measure: impl Fn(&T) -> f64) -> Vec<f64> {
        let turns = self.of(variant).iter().zip(self.of(other));
        turns.map(|(turn, other)| measure(turn) - measure(other)).collect()
    }
}

/// The order in which so many variants take turns in a round. What a variant finds when its turn comes, such as a machine that has
/// grown slower, must not be the same in all rounds.
pub fn order(round: usize, variants: usize) -> impl Iterator<Item = usize> {
    (0..variants).map(move |turn| (round + turn) % variants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_compared_with_another_within_each_round() {
        let mut rounds = Rounds::default();
        for (cost, other) in [(5.0, 2.0), (9.0, 4.0)] {
            rounds.add("one", cost);
            rounds.add("other", other);
        }
        assert_eq!(rounds.of("one"), [5.0, 9.0]);
        assert_eq!(rounds.each("one", |cost| cost * 2.0), [10.0, 18.0]);
        assert_eq!(rounds.above("one", "other", |cost| *cost), [3.0, 5.0]);
        assert_eq!(rounds.clone().map(|cost| cost + 1.0).of("one"), [6.0, 10.0]);
        assert!(rounds.of("none").is_empty(), "what was not measured has no rounds");
    }

    #[test]
    fn each_variant_has_a_turn_in_each_round_and_another_place_in_the_next() {
        let orders: Vec<Vec<_>> = (0..4).map(|round| order(round, 3).collect()).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
