//! `parent_threshold`: goes on with the caller's threshold.

use super::{Probability, Sampler, SamplingInput, Verdict, trace_state};
use crate::probe::Needs;

/// The sampler (OpenTelemetry, Tracing SDK, section `ComposableParentThreshold`). A caller without a threshold is followed by its sampled
/// flag, with a probability that nobody knows.
#[derive(Debug)]
pub struct ParentThreshold {
    /// For a request without a valid parent.
    pub root: Box<dyn Sampler>,
}

impl Sampler for ParentThreshold {
    fn needs(&self) -> Needs {
        self.root.needs()
    }

    fn rule(&self, input: &SamplingInput<'_>) -> Option<usize> {
        if input.parent.is_some() { None } else { self.root.rule(input) }
    }

    fn decide(&self, input: &SamplingInput<'_>) -> Verdict {
        let Some(parent) = input.parent else { return self.root.decide(input) };
        match trace_state::threshold(&parent.trace_state) {
            Some(threshold) => threshold.verdict(input),
            None if parent.flags.is_sampled() => Verdict::Keep(Probability::Inherited),
            None => Verdict::LetGo(Probability::Inherited),
        }
    }
}
