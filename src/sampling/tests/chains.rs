//! Proxies in a row, each with any sampler: whatever they are, their decisions agree with each other, and what they note is true.
//!
//! What a tracestate says is read here by other code than that which wrote it.

use super::*;
use crate::sampling::rule_based::{Condition, Parent, Rule, RuleBased};
use proptest::prelude::*;

/// A sampler of the configuration.
#[derive(Clone, Debug)]
enum Kind {
    On,
    Off,
    Ratio(f64),
    ParentThreshold(Box<Kind>),
    /// The root, the one for sampled parents, the one for the others.
    ParentBased(Box<[Kind; 3]>),
    /// The one for requests with a parent, the one for those without.
    Rules(Box<[Kind; 2]>),
}

impl Kind {
    fn sampler(&self) -> Box<dyn Sampler> {
        match self {
            Self::On => Box::new(AlwaysOn),
            Self::Off => Box::new(AlwaysOff),
            Self::Ratio(share) => Box::new(ratio(*share)),
            Self::ParentThreshold(root) => Box::new(ParentThreshold { root: root.sampler() }),
            Self::ParentBased(delegates) => {
                let [root, remote_parent_sampled, remote_parent_not_sampled] =
                    delegates.each_ref().map(Self::sampler);
                Box::new(ParentBased { root, remote_parent_sampled, remote_parent_not_sampled })
            }
            Self::Rules(samplers) => {
                let [with, without] = samplers.each_ref().map(Self::sampler);
                let rule = |parent, sampler| {
                    let conditions = vec![Condition::Parents(vec![parent])];
                    Rule { conditions, sampler }
                };
                let rules = vec![rule(Parent::Remote, with), rule(Parent::None, without)];
                Box::new(RuleBased(rules))
            }
        }
    }

    /// The same, with this share in the place of any other.
    fn of_share(&self, share: f64) -> Self {
        let of_share = |kind: &Self| kind.of_share(share);
        match self {
            Self::On | Self::Ratio(_) => Self::Ratio(share),
            Self::Off => Self::Off,
            Self::ParentThreshold(root) => Self::ParentThreshold(Box::new(of_share(root))),
            Self::ParentBased(delegates) => {
                Self::ParentBased(Box::new(delegates.each_ref().map(of_share)))
            }
            Self::Rules(samplers) => Self::Rules(Box::new(samplers.each_ref().map(of_share))),
        }
    }
}

fn share() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=1.0, (0..14).prop_map(|power| 0.5f64.powi(power))]
}

fn kind() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![Just(Kind::On), Just(Kind::Off), share().prop_map(Kind::Ratio)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let three = [inner.clone(), inner.clone(), inner.clone()];
        prop_oneof![
            inner.clone().prop_map(|root| Kind::ParentThreshold(Box::new(root))),
            three.prop_map(|delegates| Kind::ParentBased(Box::new(delegates))),
            [inner.clone(), inner].prop_map(|samplers| Kind::Rules(Box::new(samplers))),
        ]
    })
}

/// A sampler that has no opinion of a request that comes with a context.
fn follower() -> impl Strategy<Value = Kind> {
    let based = |root| Kind::ParentBased(Box::new([root, Kind::On, Kind::Off]));
    let follower = prop_oneof![
        kind().prop_map(|root| Kind::ParentThreshold(Box::new(root))),
        kind().prop_map(based),
    ];
    prop_oneof![
        follower.clone(),
        (follower, kind()).prop_map(|(with, without)| Kind::Rules(Box::new([with, without]))),
    ]
}

fn trace_ids() -> impl Strategy<Value = TraceId> {
    any::<[u8; 16]>().prop_filter_map("zero", TraceId::from_bytes)
}

/// A context of a caller whose threshold says the truth, if it has one.
fn caller() -> impl Strategy<Value = SpanContext> {
    let sub_keys = (
        prop::option::of(0..1u64 << 56),
        prop::option::of(0.000_1..=1.0),
        prop::option::of("[a-z0-9]{1,9}"),
        any::<bool>(),
    );
    let others = prop::collection::btree_map("[a-z]{3,9}", "[a-z0-9]{1,9}", 0..4);
    (trace_ids(), sub_keys, others).prop_map(|(trace_id, (rv, share, other, flag), others)| {
        let randomness = rv.unwrap_or_else(|| low_bits(trace_id));
        let threshold = share.and_then(Threshold::from_ratio).map(|it| it.to_string());
        let sampled = threshold.as_deref().map_or(flag, |it| randomness >= padded(it));
        let pairs = [
            threshold.map(|it| format!("th:{it}")),
            rv.map(|it| format!("rv:{it:014x}")),
            other.map(|it| format!("x:{it}")),
        ];
        let pairs = pairs.into_iter().flatten().collect::<Vec<_>>().join(";");
        let mut members: Vec<_> =
            others.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if !pairs.is_empty() {
            members.insert(members.len() / 2, format!("ot={pairs}"));
        }
        SpanContext {
            trace_id,
            span_id: SpanId::from_bytes([1; 8]).expect("valid"),
            flags: TraceFlags::from_byte(u8::from(sampled)),
            trace_state: TraceState::parse(members.join(",").as_bytes()).expect("valid"),
        }
    })
}

/// What the proxy with this sampler sends on, of a request that came so.
fn send_on(kind: &Kind, trace_id: TraceId, parent: Option<&SpanContext>) -> SpanContext {
    let input = SamplingInput { trace_id, ..input(parent) };
    let SamplingDecision { recording, trace_state } = decide(kind.sampler().as_ref(), &input);
    SpanContext {
        trace_id,
        span_id: SpanId::from_bytes([2; 8]).expect("valid"),
        flags: TraceFlags::from_byte(u8::from(recording == Recording::On)),
        trace_state,
    }
}

/// The last seven bytes of an id.
fn low_bits(trace_id: TraceId) -> u64 {
    trace_id.as_bytes()[9..].iter().fold(0, |value, byte| value * 256 + u64::from(*byte))
}

/// The number that a `th` value is.
fn padded(digits: &str) -> u64 {
    u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hexadecimal")
}

/// A sub-key of a context's `ot` member.
fn sub_key(context: &SpanContext, key: &str) -> Option<String> {
    let pairs = context.trace_state.get("ot")?.split(';');
    let mut pairs = pairs.filter_map(|pair| pair.split_once(':'));
    pairs.find_map(|(found, value)| (found == key).then(|| value.to_owned()))
}

fn threshold(context: &SpanContext) -> Option<u64> {
    sub_key(context, "th").map(|digits| padded(&digits))
}

fn randomness(context: &SpanContext) -> u64 {
    let explicit = sub_key(context, "rv").map(|digits| padded(&digits));
    explicit.unwrap_or_else(|| low_bits(context.trace_id))
}

/// All that no sampler may touch: other members, in their order, and other sub-keys.
fn of_others(context: &SpanContext) -> (Vec<&str>, Option<String>, Option<String>) {
    let members = context.trace_state.as_str().split(',');
    let members = members.filter(|it| !it.is_empty() && !it.starts_with("ot=")).collect();
    (members, sub_key(context, "rv"), sub_key(context, "x"))
}

proptest! {
    #[test]
    fn what_a_ratio_keeps_every_larger_one_keeps(
        shares in [share(), share()],
        trace_id in trace_ids(),
        parent in prop::option::of(caller()),
    ) {
        let trace_id = parent.as_ref().map_or(trace_id, |parent| parent.trace_id);
        let [a, b] = shares;
        let kept = [a.min(b), a.max(b)].map(|share| {
            send_on(&Kind::Ratio(share), trace_id, parent.as_ref()).flags.is_sampled()
        });
        prop_assert!(!kept[0] || kept[1], "{shares:?}");
    }

    #[test]
    fn what_is_sent_on_is_true_and_of_others_all_stays(
        kinds in prop::collection::vec(kind(), 1..6),
        trace_id in trace_ids(),
        caller in prop::option::of(caller()),
    ) {
        let mut context = caller;
        for kind in &kinds {
            let trace_id = context.as_ref().map_or(trace_id, |context| context.trace_id);
            let next = send_on(kind, trace_id, context.as_ref());
            if let Some(threshold) = threshold(&next) {
                let reaches = randomness(&next) >= threshold;
                prop_assert_eq!(reaches, next.flags.is_sampled(), "{:?}: {:?}", kind, next);
            }
            if let Some(context) = &context {
                prop_assert_eq!(of_others(&next), of_others(context), "{:?}", kind);
            }
            context = Some(next);
        }
    }

    #[test]
    fn a_threshold_is_not_lowered_where_shares_do_not_grow(
        kinds in prop::collection::vec((share(), kind()), 1..6),
        mut context in caller(),
    ) {
        let mut largest = 1.0f64;
        if let Some(threshold) = threshold(&context) {
            // What is left of all traces; exact enough, since it is only ever made smaller.
            let kept = u32::try_from(((1u64 << 56) - threshold) >> 25).expect("31 bits");
            largest = f64::from(kept) / f64::from(1u32 << 31);
        }
        for (share, kind) in kinds {
            largest = largest.min(share);
            let next = send_on(&kind.of_share(largest), context.trace_id, Some(&context));
            if let (Some(before), Some(after)) = (threshold(&context), threshold(&next)) {
                prop_assert!(after >= before, "{kind:?} of {largest}: {context:?} {next:?}");
            }
            context = next;
        }
    }

    #[test]
    fn who_follows_neither_lowers_a_threshold_nor_raises_it(
        kinds in prop::collection::vec(follower(), 1..6),
        caller in caller(),
    ) {
        let mut context = caller.clone();
        for kind in &kinds {
            context = send_on(kind, context.trace_id, Some(&context));
            prop_assert_eq!(context.flags, caller.flags, "{:?}", kind);
            let expected = threshold(&caller).filter(|_| threshold(&context).is_some());
            prop_assert_eq!(threshold(&context), expected, "{:?}", kind);
            if caller.flags.is_sampled() {
                prop_assert_eq!(threshold(&context), threshold(&caller), "{:?}", kind);
            }
        }
    }
}
