//! Whether a request is kept.
//!
//! One file per kind of sampler that is more than a constant. Decisions are consistent: every
//! participant that compares the same randomness with its own threshold keeps a subset of what a
//! more generous one keeps.

mod parent_based;
mod parent_threshold;
mod pattern;
mod rule_based;
mod threshold;
mod trace_state;

pub use parent_based::ParentBased;
pub use parent_threshold::ParentThreshold;
pub use pattern::Pattern;
pub use rule_based::{Condition, Parent, Patterns, Rule, RuleBased};
pub use threshold::Threshold;

use crate::context::{SpanContext, TraceState};
use crate::envoy::headers::Headers;
use crate::id::TraceId;
use crate::probe::Needs;
use crate::semconv::{Facts, RequestHeaders, SpanKindSetting};
use std::fmt;
use std::time::Duration;

/// A sampler (OpenTelemetry, Tracing SDK, section Sampler).
pub trait Sampler: fmt::Debug {
    /// What it has to know of a request beside its trace and its parent.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether it lets every request go whose parent is not sampled, whatever else is known of it.
    fn lets_unsampled_go(&self) -> bool {
        false
    }

    /// Decides when a request starts.
    fn decide(&self, input: &SamplingInput<'_>) -> Verdict;

    /// Decides when a request has ended of which it was undecided: the probability with which such a one is kept, or
    /// none to let it go.
    fn decide_at_end(&self, _: &SamplingInput<'_>, _: &Facts<'_>) -> Option<Probability> {
        None
    }
}

/// What a sampler knows of a request.
#[derive(Debug)]
pub struct SamplingInput<'a> {
    /// The trace.
    pub trace_id: TraceId,
    /// The context that came, if a valid one did.
    pub parent: Option<&'a SpanContext>,
    /// The request's headers, if they were needed.
    pub headers: Option<&'a Headers>,
    /// Those of them that the conventions ask for.
    pub request: Option<&'a RequestHeaders<'a>>,
    /// What decides on the kind of its span.
    pub span_kind: SpanKindSetting,
    /// Envoy's attributes that were needed; a value is empty where there is none.
    pub attributes: &'a [(&'static str, Vec<u8>)],
    /// The time since any fixed moment, if it was needed.
    pub now: Option<Duration>,
}

/// What a sampler says of a request that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept.
    Keep(Probability),
    /// It is not.
    LetGo(Probability),
    /// That depends on how it ends.
    Undecided,
}

/// What is known of the probability with which a trace was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probability {
    /// Whatever the trace's randomness.
    Certain,
    /// Decided here, with this threshold.
    Decided(Threshold),
    /// Decided before; what the tracestate says of it stands.
    Inherited,
}

/// What becomes of a request that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplingDecision {
    /// Whether a span is recorded.
    pub recording: Recording,
    /// The tracestate that goes on.
    pub trace_state: TraceState,
}

/// Whether a request becomes a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// It does, and the sampled flag is set.
    On,
    /// It does not, and the flag is off.
    Off,
    /// That is decided when it has ended. Until then the flag is off.
    Undecided,
}

/// Decides on a request that starts.
#[must_use]
pub fn decide(sampler: &dyn Sampler, input: &SamplingInput<'_>) -> SamplingDecision {
    let (recording, probability) = match sampler.decide(input) {
        Verdict::Keep(probability) => (Recording::On, probability),
        Verdict::LetGo(probability) => (Recording::Off, probability),
        Verdict::Undecided => (Recording::Undecided, Probability::Inherited),
    };
    let flag = match recording {
        Recording::On => SampledFlag::On,
        Recording::Off | Recording::Undecided => SampledFlag::Off,
    };
    SamplingDecision { recording, trace_state: input.trace_state(probability, flag) }
}

/// Decides on a request that has ended and of which the sampler was undecided: the tracestate of its span, or none to let it go.
#[must_use]
pub fn decide_at_end(
    sampler: &dyn Sampler,
    input: &SamplingInput<'_>,
    facts: &Facts<'_>,
) -> Option<TraceState> {
    let probability = sampler.decide_at_end(input, facts)?;
    Some(input.trace_state(probability, SampledFlag::On))
}

impl Threshold {
    /// What it says of a request.
    fn verdict(self, input: &SamplingInput<'_>) -> Verdict {
        let probability = Probability::Decided(self);
        if self.keeps(input.randomness()) {
            Verdict::Keep(probability)
        } else {
            Verdict::LetGo(probability)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SampledFlag {
    On,
    Off,
}

impl SamplingInput<'_> {
    /// The randomness of the trace, 56 bits: what the tracestate says, or else of the id.
    #[must_use]
    pub fn randomness(&self) -> u64 {
        let explicit = self.parent.and_then(|parent| trace_state::randomness(&parent.trace_state));
        explicit.unwrap_or_else(|| self.trace_id.randomness())
    }

    /// The tracestate of a trace that was decided so.
    fn trace_state(&self, probability: Probability, flag: SampledFlag) -> TraceState {
        let state = self.parent.map_or_else(TraceState::default, |it| it.trace_state.clone());
        match (probability, flag) {
            (Probability::Certain, SampledFlag::On) => {
                trace_state::with_threshold(&state, Threshold::ALL)
            }
            (Probability::Decided(threshold), SampledFlag::On) => {
                trace_state::with_threshold(&state, threshold)
            }
            (Probability::Certain | Probability::Decided(_), SampledFlag::Off) => {
                trace_state::without_threshold(state)
            }
            // A threshold that contradicts the flag says nothing true (TraceState: Probability
            // Sampling, section "Consistency").
            (Probability::Inherited, flag) => match trace_state::threshold(&state) {
                Some(threshold)
                    if threshold.keeps(self.randomness()) == (flag == SampledFlag::On) =>
                {
                    state
                }
                _ => trace_state::without_threshold(state),
            },
        }
    }
}

/// Keeps every request, with certainty.
#[derive(Clone, Copy, Debug)]
pub struct AlwaysOn;

impl Sampler for AlwaysOn {
    fn decide(&self, _: &SamplingInput<'_>) -> Verdict {
        Verdict::Keep(Probability::Certain)
    }
}

/// Keeps none.
#[derive(Clone, Copy, Debug)]
pub struct AlwaysOff;

impl Sampler for AlwaysOff {
    fn lets_unsampled_go(&self) -> bool {
        true
    }

    fn decide(&self, _: &SamplingInput<'_>) -> Verdict {
        Verdict::LetGo(Probability::Certain)
    }
}

/// Keeps the share of traces whose randomness reaches the threshold.
#[derive(Clone, Copy, Debug)]
pub struct TraceIdRatio(pub Threshold);

impl Sampler for TraceIdRatio {
    fn decide(&self, input: &SamplingInput<'_>) -> Verdict {
        self.0.verdict(input)
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

    fn ratio(ratio: f64) -> TraceIdRatio {
        TraceIdRatio(Threshold::from_ratio(ratio).expect("valid"))
    }

    fn input(parent: Option<&SpanContext>) -> SamplingInput<'_> {
        SamplingInput {
            trace_id: trace_id(HALF),
            parent,
            headers: None,
            request: None,
            span_kind: SpanKindSetting::Auto,
            attributes: &[],
            now: None,
        }
    }

    #[test]
    fn each_sampler_decides_as_specified() {
        type Case<'a> = (&'a dyn Sampler, Option<SpanContext>, bool, &'a str, &'a str);
        let (on, off) = (|| &AlwaysOn as &dyn Sampler, || &AlwaysOff as &dyn Sampler);
        let (based_on, based_off) =
            (&ParentBased::with_root(AlwaysOn), &ParentBased::with_root(AlwaysOff));
        let reversed = &ParentBased {
            root: Box::new(AlwaysOff),
            remote_parent_sampled: Box::new(AlwaysOff),
            remote_parent_not_sampled: Box::new(AlwaysOn),
        };
        let quarter_of_sampled = &ParentBased {
            remote_parent_sampled: Box::new(ratio(0.25)),
            ..ParentBased::with_root(AlwaysOn)
        };
        let (all, half, quarter, nothing) = (&ratio(1.0), &ratio(0.5), &ratio(0.25), &ratio(0.0));
        let follows = &ParentThreshold { root: Box::new(ratio(0.5)) };
        let cases: &[Case<'_>] = &[
            (on(), None, true, "ot=th:0", "always on, no parent"),
            (on(), Some(parent(0, "")), true, "ot=th:0", "always on, whatever the parent did"),
            (on(), Some(parent(1, "ot=th:8,a=1")), true, "ot=th:0,a=1", "with its own certainty"),
            (off(), Some(parent(1, "ot=th:8")), false, "", "always off, whatever th says"),
            (off(), None, false, "", "always off, no parent"),
            (off(), Some(parent(1, "a=1")), false, "a=1", "always off, whatever the parent did"),
            (all, None, true, "ot=th:0", "all"),
            (half, None, true, "ot=th:8", "randomness at the threshold is kept"),
            (quarter, None, false, "", "randomness under the threshold is not"),
            (nothing, None, false, "", "none"),
            (
                quarter,
                Some(parent(1, "ot=rv:c0000000000000")),
                true,
                "ot=th:c;rv:c0000000000000",
                "rv goes before the trace id",
            ),
            (
                half,
                Some(parent(1, "ot=rv:10000000000000;th:0")),
                false,
                "ot=rv:10000000000000",
                "a drop leaves no th",
            ),
            (
                half,
                Some(parent(1, "a=1,ot=x:y;th:4")),
                true,
                "ot=th:8;x:y,a=1",
                "other sub-keys and members stay",
            ),
            (based_off, None, false, "", "parent-based, root"),
            (based_off, Some(parent(1, "")), true, "", "parent-based, sampled"),
            (based_on, Some(parent(0, "")), false, "", "parent-based, not sampled"),
            (based_on, Some(parent(1, "ot=th:8")), true, "ot=th:8", "a true th is inherited"),
            (based_on, Some(parent(1, "ot=th:c")), true, "", "a th that contradicts the flag goes"),
            (based_on, Some(parent(0, "ot=th:8;x:y")), false, "ot=x:y", "and when not sampled too"),
            (reversed, Some(parent(1, "")), false, "", "the delegate for sampled parents"),
            (reversed, Some(parent(0, "")), true, "", "the delegate for parents not sampled"),
            (quarter_of_sampled, Some(parent(1, "")), false, "", "a ratio as a delegate"),
            (follows, None, true, "ot=th:8", "parent_threshold, root"),
            (
                follows,
                Some(parent(1, "ot=th:4,a=1")),
                true,
                "ot=th:4,a=1",
                "the parent's threshold",
            ),
            (follows, Some(parent(1, "ot=th:c")), false, "", "which decides, whatever the flag is"),
            (follows, Some(parent(0, "ot=th:4")), true, "ot=th:4", "if it is off, too"),
            (
                follows,
                Some(parent(1, "a=1")),
                true,
                "a=1",
                "without one its flag, and nothing is claimed",
            ),
            (follows, Some(parent(0, "a=1")), false, "a=1", "nor where it is off"),
            (follows, Some(parent(1, "ot=th:x")), true, "", "a threshold that is none"),
        ];
        for (sampler, parent, keep, state, reason) in cases {
            let decision = decide(*sampler, &input(parent.as_ref()));
            let recording = if *keep { Recording::On } else { Recording::Off };
            assert_eq!(decision.recording, recording, "{reason}");
            assert_eq!(decision.trace_state.as_str(), *state, "{reason}");
        }
    }
}
