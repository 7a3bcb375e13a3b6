//! What the variants cost in the rounds of a scenario.

use crate::scenarios::Scenario;
use crate::variants::{UNTRACED, VARIANTS};
use harness::statistics::Ratio;
use std::collections::BTreeMap;

/// Nanoseconds per request, by variant and round.
#[derive(Default)]
pub(crate) struct Costs(BTreeMap<&'static str, Vec<f64>>);

/// A ratio over Envoy's tracer.
pub(crate) struct Measured {
    pub(crate) scenario: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) ratio: Ratio,
}

impl Costs {
    /// Adds a round.
    pub(crate) fn add(&mut self, round: &[(&'static str, f64)]) {
        for (variant, cost) in round {
            self.0.entry(variant).or_default().push(*cost);
        }
    }

    /// What each round says of a variant.
    pub(crate) fn of(&self, variant: &str) -> &[f64] {
        self.0.get(variant).map(Vec::as_slice).unwrap_or_default()
    }

    /// What a variant costs above another one, of each round: the machine's speed drifts from one to the next.
    pub(crate) fn above(&self, variant: &str, other: &str) -> Vec<f64> {
        self.of(variant).iter().zip(self.of(other)).map(|(cost, other)| cost - other).collect()
    }

    /// What tracing costs by one variant over what it costs by another one.
    pub(crate) fn ratio(&self, variant: &str, other: &str) -> Ratio {
        Ratio::of(&self.above(variant, UNTRACED), &self.above(other, UNTRACED))
    }

    /// The ratios of all variants that have one.
    pub(crate) fn ratios(&self, scenario: &Scenario) -> Vec<Measured> {
        let ratio = |name, rival| Measured {
            scenario: scenario.name,
            variant: name,
            ratio: self.ratio(name, rival),
        };
        let rivals = VARIANTS.iter().map(|variant| (variant.name, variant.rival(scenario)));
        rivals.filter_map(|(name, rival)| Some(ratio(name, rival?))).collect()
    }
}
