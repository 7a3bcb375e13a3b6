//! Whether a request is kept, decided when it starts.
//!
//! One file per kind of sampler that is more than a constant. Decisions are consistent: every
//! participant that compares the same randomness with its own threshold keeps a subset of what a
//! more generous one keeps.

mod threshold;
mod trace_state;

pub use threshold::Threshold;

use crate::context::{SpanContext, TraceState};
use crate::id::TraceId;

/// A sampler of the OpenTelemetry specification (Tracing SDK, section Sampler).
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// Keeps every request.
    AlwaysOn,
    /// Keeps none.
    AlwaysOff,
    /// Keeps the share of traces whose randomness reaches the threshold.
    TraceIdRatio(Threshold),
    /// Does as the caller did.
    ParentBased(Box<ParentBased>),
}

/// The delegates of [`Sampler::ParentBased`].
#[derive(Clone, Debug, PartialEq)]
pub struct ParentBased {
    /// For a request without a valid parent.
    pub root: Sampler,
    /// For a remote parent that is sampled.
    pub remote_parent_sampled: Sampler,
    /// For a remote parent that is not.
    pub remote_parent_not_sampled: Sampler,
    /// For a parent in this process that is sampled. A proxy's parents are all remote.
    pub local_parent_sampled: Sampler,
    /// For a parent in this process that is not.
    pub local_parent_not_sampled: Sampler,
}

impl ParentBased {
    /// The delegates that the specification gives by default, with this root.
    #[must_use]
    pub fn with_root(root: Sampler) -> Self {
        Self {
            root,
            remote_parent_sampled: Sampler::AlwaysOn,
            remote_parent_not_sampled: Sampler::AlwaysOff,
            local_parent_sampled: Sampler::AlwaysOn,
            local_parent_not_sampled: Sampler::AlwaysOff,
        }
    }
}

/// What a sampler says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamplingDecision {
    /// A span is recorded and the sampled flag is set.
    Keep(TraceState),
    /// Nothing is recorded and the flag is off.
    Drop(TraceState),
}

impl SamplingDecision {
    /// The tracestate that goes on, whichever it is.
    #[must_use]
    pub fn into_trace_state(self) -> TraceState {
        match self {
            Self::Keep(state) | Self::Drop(state) => state,
        }
    }
}

/// What is known of the probability with which a trace was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probability {
    /// Decided here, with this threshold.
    Decided(Threshold),
    /// Decided before; what the tracestate says of it stands.
    Inherited,
}

impl Sampler {
    /// Decides for a request of the trace `trace_id`, from the context that came, if a valid one did.
    #[must_use]
    pub fn decide(&self, trace_id: TraceId, parent: Option<&SpanContext>) -> SamplingDecision {
        let state = parent.map_or_else(TraceState::default, |parent| parent.trace_state.clone());
        let randomness = trace_state::randomness(&state).unwrap_or_else(|| trace_id.randomness());
        let (sampled, probability) = self.verdict(randomness, parent);
        let state = match probability {
            Probability::Decided(threshold) if sampled => {
                trace_state::with_threshold(&state, threshold)
            }
            Probability::Decided(_) => trace_state::without_threshold(state),
            // A threshold that contradicts the flag says nothing true (TraceState: Probability
            // Sampling, section "Consistency").
            Probability::Inherited => match trace_state::threshold(&state) {
                Some(threshold) if threshold.keeps(randomness) == sampled => state,
                _ => trace_state::without_threshold(state),
            },
        };
        if sampled { SamplingDecision::Keep(state) } else { SamplingDecision::Drop(state) }
    }

    fn verdict(&self, randomness: u64, parent: Option<&SpanContext>) -> (bool, Probability) {
        match self {
            Self::AlwaysOn => (true, Probability::Inherited),
            Self::AlwaysOff => (false, Probability::Inherited),
            Self::TraceIdRatio(threshold) => {
                (threshold.keeps(randomness), Probability::Decided(*threshold))
            }
            Self::ParentBased(delegates) => {
                let delegate = match parent {
                    None => &delegates.root,
                    Some(parent) if parent.flags.is_sampled() => &delegates.remote_parent_sampled,
                    Some(_) => &delegates.remote_parent_not_sampled,
                };
                delegate.verdict(randomness, parent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TraceFlags;
    use crate::id::SpanId;

    /// Randomness 0x80000000000000: kept from a ratio of one half on.
    const HALF: &[u8; 32] = b"00000000000000010080000000000000";

    fn trace_id(hex: &[u8; 32]) -> TraceId {
        TraceId::from_hex(hex).expect("valid")
    }

    fn parent(flags: u8, state: &str) -> SpanContext {
        SpanContext {
            trace_id: trace_id(HALF),
            span_id: SpanId::from_bytes([1; 8]).expect("valid"),
            flags: TraceFlags::from_byte(flags),
            trace_state: TraceState::parse(state.as_bytes()).expect("valid"),
        }
    }

    fn ratio(ratio: f64) -> Sampler {
        Sampler::TraceIdRatio(Threshold::from_ratio(ratio).expect("valid"))
    }

    #[test]
    fn each_sampler_decides_as_specified() {
        let based = |root| Sampler::ParentBased(Box::new(ParentBased::with_root(root)));
        let mut reversed = ParentBased::with_root(Sampler::AlwaysOff);
        reversed.remote_parent_sampled = Sampler::AlwaysOff;
        reversed.remote_parent_not_sampled = Sampler::AlwaysOn;
        let reversed = Sampler::ParentBased(Box::new(reversed));
        let mut half = ParentBased::with_root(Sampler::AlwaysOn);
        half.remote_parent_sampled = ratio(0.25);
        let half = Sampler::ParentBased(Box::new(half));
        let cases = [
            (Sampler::AlwaysOn, None, true, "", "always on, no parent"),
            (
                Sampler::AlwaysOn,
                Some(parent(0, "")),
                true,
                "",
                "always on, whatever the parent did",
            ),
            (Sampler::AlwaysOff, None, false, "", "always off, no parent"),
            (
                Sampler::AlwaysOff,
                Some(parent(1, "a=1")),
                false,
                "a=1",
                "always off, whatever the parent did",
            ),
            (ratio(1.0), None, true, "ot=th:0", "all"),
            (ratio(0.5), None, true, "ot=th:8", "randomness at the threshold is kept"),
            (ratio(0.25), None, false, "", "randomness under the threshold is not"),
            (ratio(0.0), None, false, "", "none"),
            (
                ratio(0.25),
                Some(parent(1, "ot=rv:c0000000000000")),
                true,
                "ot=th:c;rv:c0000000000000",
                "rv goes before the trace id",
            ),
            (
                ratio(0.5),
                Some(parent(1, "ot=rv:10000000000000;th:0")),
                false,
                "ot=rv:10000000000000",
                "a drop leaves no th",
            ),
            (
                ratio(0.5),
                Some(parent(1, "a=1,ot=x:y;th:4")),
                true,
                "ot=th:8;x:y,a=1",
                "other sub-keys and members stay",
            ),
            (based(Sampler::AlwaysOff), None, false, "", "parent-based, root"),
            (based(Sampler::AlwaysOff), Some(parent(1, "")), true, "", "parent-based, sampled"),
            (based(Sampler::AlwaysOn), Some(parent(0, "")), false, "", "parent-based, not sampled"),
            (
                based(Sampler::AlwaysOn),
                Some(parent(1, "ot=th:8")),
                true,
                "ot=th:8",
                "a true th is inherited",
            ),
            (
                based(Sampler::AlwaysOn),
                Some(parent(1, "ot=th:c")),
                true,
                "",
                "a th that contradicts the flag goes",
            ),
            (
                based(Sampler::AlwaysOn),
                Some(parent(0, "ot=th:8;x:y")),
                false,
                "ot=x:y",
                "and when not sampled too",
            ),
            (reversed.clone(), Some(parent(1, "")), false, "", "the delegate for sampled parents"),
            (reversed, Some(parent(0, "")), true, "", "the delegate for parents not sampled"),
            (half, Some(parent(1, "")), false, "", "a ratio as a delegate"),
        ];
        for (sampler, parent, keep, state, reason) in cases {
            let decision = sampler.decide(trace_id(HALF), parent.as_ref());
            assert_eq!(matches!(decision, SamplingDecision::Keep(_)), keep, "{reason}");
            assert_eq!(decision.into_trace_state().as_str(), state, "{reason}");
        }
    }
}
