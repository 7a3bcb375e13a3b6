//! `parent_based`: does as the caller did, unless a delegate says otherwise.

use super::{AlwaysOff, AlwaysOn, Probability, Sampler, SamplingInput, Verdict};
use crate::context::Decision;
use crate::probe::Needs;

/// The sampler (OpenTelemetry, Tracing SDK, section `ParentBased`), as far as a proxy can need it: a parent in this process does not
/// occur.
#[derive(Debug)]
pub struct ParentBased {
    /// For a request without a valid parent, and for one whose caller has left the decision to others.
    pub root: Box<dyn Sampler>,
    /// For a remote parent that is sampled.
    pub remote_parent_sampled: Box<dyn Sampler>,
    /// For a remote parent that is not.
    pub remote_parent_not_sampled: Box<dyn Sampler>,
}

impl ParentBased {
    /// The delegates that the specification gives by default, with this root.
    #[must_use]
    pub fn with_root(root: impl Sampler + 'static) -> Self {
        Self {
            root: Box::new(root),
            remote_parent_sampled: Box::new(AlwaysOn),
            remote_parent_not_sampled: Box::new(AlwaysOff),
        }
    }

    fn delegate(&self, decision: Decision) -> &dyn Sampler {
        let delegate = match decision {
            Decision::Deferred => &self.root,
            Decision::Sampled => &self.remote_parent_sampled,
            Decision::NotSampled => &self.remote_parent_not_sampled,
        };
        delegate.as_ref()
    }
}

impl Sampler for ParentBased {
    fn needs(&self) -> Needs {
        let delegates = [&self.root, &self.remote_parent_sampled, &self.remote_parent_not_sampled];
        delegates.iter().fold(Needs::default(), |needs, delegate| needs.and(delegate.needs()))
    }

    fn lets_unsampled_go(&self) -> bool {
        self.remote_parent_not_sampled.lets_unsampled_go()
    }

    fn rule(&self, input: &SamplingInput<'_>) -> Option<usize> {
        self.delegate(input.decision).rule(input)
    }

    fn decide(&self, input: &SamplingInput<'_>) -> Verdict {
        let inherited = |probability| match probability {
            // Who does as the caller did knows no more than the caller.
            Probability::Certain => Probability::Inherited,
            Probability::Decided(_) | Probability::Inherited => probability,
        };
        match self.delegate(input.decision).decide(input) {
            Verdict::Keep(probability) => Verdict::Keep(inherited(probability)),
            Verdict::LetGo(probability) => Verdict::LetGo(inherited(probability)),
        }
    }
}
