//! `parent_threshold`: goes on with the caller's threshold.

use super::{Probability, Sampler, SamplingInput, Threshold, Verdict, trace_state};
use crate::context::Decision;
use crate::probe::Needs;

/// The sampler (OpenTelemetry, Tracing SDK, section `ComposableParentThreshold`). A caller without a threshold is followed by its sampled
/// flag, with a probability that nobody knows.
#[derive(Debug)]
pub struct ParentThreshold {
    /// For a request without a valid parent, and for one whose caller has left the decision to others.
    pub root: Box<dyn Sampler>,
}

/// The threshold of a request's caller.
fn threshold(input: &SamplingInput<'_>) -> Option<Threshold> {
    trace_state::threshold(&input.parent?.trace_state)
}

impl Sampler for ParentThreshold {
    fn needs(&self) -> Needs {
        self.root.needs()
    }

    fn rule(&self, input: &SamplingInput<'_>) -> Option<usize> {
        match (threshold(input), input.decision) {
            (None, Decision::Deferred) => self.root.rule(input),
            _ => None,
        }
    }

    fn decide(&self, input: &SamplingInput<'_>) -> Verdict {
        match (threshold(input), input.decision) {
            (Some(threshold), _) => threshold.verdict(input),
            (None, Decision::Deferred) => self.root.decide(input),
            (None, Decision::Sampled) => Verdict::Keep(Probability::Inherited),
            (None, Decision::NotSampled) => Verdict::LetGo(Probability::Inherited),
        }
    }
}
