//! What the variants cost in the rounds of a scenario, in nanoseconds per request.

use crate::scenarios::Scenario;
use crate::variants::{UNTRACED, VARIANTS};
use harness::rounds::Rounds;
use harness::statistics::Ratio;

/// A ratio over Envoy's tracer.
pub(crate) struct Measured {
    pub(crate) scenario: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) ratio: Ratio,
}

/// What a variant costs above another one, of each round.
pub(crate) fn above(costs: &Rounds<f64>, variant: &str, other: &str) -> Vec<f64> {
    costs.above(variant, other, |cost| *cost)
}

/// What tracing costs by one variant over what it costs by another one.
pub(crate) fn ratio(costs: &Rounds<f64>, variant: &str, other: &str) -> Ratio {
    Ratio::of(&above(costs, variant, UNTRACED), &above(costs, other, UNTRACED))
}

/// The ratios of all variants that have one.
pub(crate) fn ratios(costs: &Rounds<f64>, scenario: &Scenario) -> Vec<Measured> {
    let ratio = |name, rival| Measured {
        scenario: scenario.name,
        variant: name,
        ratio: ratio(costs, name, rival),
    };
    let rivals = VARIANTS.iter().map(|variant| (variant.name, variant.rival(scenario)));
    rivals.filter_map(|(name, rival)| Some(ratio(name, rival?))).collect()
}
