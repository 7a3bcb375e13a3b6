//! Whether a request is kept.
//!
//! One file per kind of sampler that is more than a constant. Decisions are consistent: every
//! participant that compares the same randomness with its own threshold keeps a subset of what a
//! more generous one keeps.

mod keep;
pub mod limit;
pub mod operator;
mod parent_based;
mod parent_threshold;
mod pattern;
mod rule_based;
mod threshold;
mod trace_state;

pub use keep::{Ending, FirstLook, KeepRule, KeepRules, OutcomeCondition, Told, WholePath};
pub use parent_based::ParentBased;
pub use parent_threshold::ParentThreshold;
pub use pattern::Pattern;
pub use rule_based::{Condition, Parent, Patterns, Rule, RuleBased, Subject};
pub use threshold::Threshold;

use crate::context::{Decision, SpanContext, TraceState};
use crate::id::TraceId;
use crate::probe::Needs;
use crate::semconv::SpanKindSetting;
use crate::semconv::start::StartingRequest;
use crate::shown::{Shown, shown_by_name};
use std::time::Duration;

shown_by_name!(Sampler);

/// A sampler (OpenTelemetry, Tracing SDK, section Sampler).
pub trait Sampler: Shown {
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

    /// Which of its rules decides on a request, the first being 1, if it has rules and one does.
    fn rule(&self, _: &SamplingInput<'_>) -> Option<usize> {
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
    /// What the caller has decided, whether or not it has a context.
    pub decision: Decision,
    /// What of the request was needed.
    pub request: StartingRequest<'a>,
    /// What decides on the kind of its span.
    pub span_kind: SpanKindSetting,
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

/// Whether a request becomes a span, as far as its start tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// It does, and the sampled flag is set.
    On,
    /// It does not, and the flag is off.
    Off,
}

/// Keeps a request whatever any sampler says, with certainty.
#[must_use]
pub fn forced(input: &SamplingInput<'_>) -> SamplingDecision {
    decide(&AlwaysOn, input)
}

/// Why a sampler decides as it does, in words.
#[must_use]
pub fn explain(sampler: &dyn Sampler, input: &SamplingInput<'_>) -> String {
    let (decision, probability) = match sampler.decide(input) {
        Verdict::Keep(probability) => ("keep", probability),
        Verdict::LetGo(probability) => ("drop", probability),
    };
    let threshold = match probability {
        Probability::Certain => "none".to_owned(),
        Probability::Decided(threshold) => threshold.to_string(),
        Probability::Inherited => "inherited".to_owned(),
    };
    let parent = match (input.decision, input.parent) {
        (Decision::Sampled, _) => "sampled",
        (Decision::NotSampled, _) => "not_sampled",
        (Decision::Deferred, Some(_)) => "deferred",
        (Decision::Deferred, None) => "none",
    };
    let rule = sampler.rule(input).map_or_else(|| "none".to_owned(), |rule| rule.to_string());
    let randomness = input.randomness();
    format!(
        "sampler={decision}; threshold={threshold}; randomness={randomness:014x}; parent={parent}; sampler_rule={rule}"
    )
}

/// The tracestate without a probability, where nobody knows it.
#[must_use]
pub fn without_probability(state: TraceState) -> TraceState {
    trace_state::without_threshold(state)
}

/// Decides on a request that starts.
#[must_use]
pub fn decide(sampler: &dyn Sampler, input: &SamplingInput<'_>) -> SamplingDecision {
    let (recording, probability) = match sampler.decide(input) {
        Verdict::Keep(probability) => (Recording::On, probability),
        Verdict::LetGo(probability) => (Recording::Off, probability),
    };
    SamplingDecision { recording, trace_state: input.trace_state(probability, recording) }
}

/// The randomness of a trace, 56 bits: what the tracestate says, or else of the id.
#[must_use]
pub fn randomness(trace_id: TraceId, trace_state: &TraceState) -> u64 {
    trace_state::randomness(trace_state).unwrap_or_else(|| trace_id.randomness())
}

/// Whether a rule keeps a span with this context, and the tracestate that says so; `threshold` is none where nobody knows the rule's
/// probability. None where the rule does not keep it, or says no more than what is known: the sampler has kept it with a larger probability.
#[must_use]
pub fn trace_state_by_rule(
    context: &SpanContext,
    threshold: Option<Threshold>,
) -> Option<TraceState> {
    let state = &context.trace_state;
    let is_sampled = context.flags.is_sampled();
    let Some(threshold) = threshold else {
        return (!is_sampled).then(|| trace_state::without_threshold(state.clone()));
    };
    let says_more = !is_sampled || trace_state::threshold(state).is_none_or(|it| threshold < it);
    let is_kept = threshold.keeps(randomness(context.trace_id, state));
    (says_more && is_kept).then(|| trace_state::with_threshold(state, threshold))
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

impl SamplingInput<'_> {
    /// The randomness of the trace, 56 bits: what the tracestate says, or else of the id.
    #[must_use]
    pub fn randomness(&self) -> u64 {
        match self.parent {
            Some(parent) => randomness(self.trace_id, &parent.trace_state),
            None => self.trace_id.randomness(),
        }
    }

    /// The tracestate of a trace that was decided so.
    fn trace_state(&self, probability: Probability, recording: Recording) -> TraceState {
        let state = self.parent.map_or_else(TraceState::default, |it| it.trace_state.clone());
        match (probability, recording) {
            (Probability::Certain, Recording::On) => {
                trace_state::with_threshold(&state, Threshold::ALL)
            }
            (Probability::Decided(threshold), Recording::On) => {
                trace_state::with_threshold(&state, threshold)
            }
            (Probability::Certain | Probability::Decided(_), Recording::Off) => {
                trace_state::without_threshold(state)
            }
            // A threshold that contradicts the flag says nothing true (TraceState: Probability
            // Sampling, section "Consistency").
            (Probability::Inherited, recording) => match trace_state::threshold(&state) {
                Some(threshold)
                    if threshold.keeps(self.randomness()) == (recording == Recording::On) =>
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
    mod chains;

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
            decision: parent.map_or(Decision::Deferred, |it| it.flags.decision()),
            request: StartingRequest::default(),
            span_kind: SpanKindSetting::Auto,
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

    #[test]
    fn a_decision_counts_with_a_parent_or_without_one_and_none_is_the_roots() {
        use Decision::{Deferred, NotSampled, Sampled};
        let undecided = SpanContext { flags: TraceFlags::decided(Deferred), ..parent(0, "") };
        let based = |root| ParentBased::with_root(TraceIdRatio(root));
        let (all, none) = (ratio(1.0).0, ratio(0.0).0);
        let (keeps, drops) = (&based(all), &based(none));
        let follows = |root| ParentThreshold { root: Box::new(TraceIdRatio(root)) };
        let (follows_keeps, follows_drops) = (&follows(all), &follows(none));
        let cases: [(&dyn Sampler, _, _, _, _, _); 10] = [
            (keeps, Some(&undecided), Deferred, true, "ot=th:0", "the root keeps"),
            (drops, Some(&undecided), Deferred, false, "", "the root drops"),
            (follows_keeps, Some(&undecided), Deferred, true, "ot=th:0", "parent_threshold, too"),
            (follows_drops, Some(&undecided), Deferred, false, "", "and drops"),
            (drops, None, Sampled, true, "", "a decision without ids"),
            (keeps, None, NotSampled, false, "", "not to keep it"),
            (follows_drops, None, Sampled, true, "", "parent_threshold, too"),
            (follows_keeps, None, NotSampled, false, "", "and drops"),
            (&AlwaysOn, None, NotSampled, true, "ot=th:0", "who asks for none"),
            (&ratio(0.0), Some(&undecided), Deferred, false, "", "nor for a parent's"),
        ];
        for (sampler, parent, decision, keep, state, reason) in cases {
            let decided = decide(sampler, &SamplingInput { decision, ..input(parent) });
            let recording = if keep { Recording::On } else { Recording::Off };
            assert_eq!(decided.recording, recording, "{reason}");
            assert_eq!(decided.trace_state.as_str(), state, "{reason}");
        }
        let explained = explain(keeps, &input(Some(&undecided)));
        assert!(explained.contains("; parent=deferred;"), "{explained}");
        let told = SamplingInput { decision: Sampled, ..input(None) };
        assert!(explain(keeps, &told).contains("; parent=sampled;"), "without ids, too");
        let rules = RuleBased(vec![Rule { conditions: Vec::new(), sampler: Box::new(AlwaysOn) }]);
        let follows = ParentThreshold { root: Box::new(rules) };
        assert_eq!(follows.rule(&input(Some(&undecided))), Some(1), "of the root");
        assert_eq!(follows.rule(&told), None, "nobody asks the root");
    }
}
