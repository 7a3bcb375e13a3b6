//! The rules alone: which of them matches, what a first look leaves of them, and what a span that they keep says.

use super::*;
use crate::context::{SpanContext, TraceFlags, TraceState};
use crate::envoy::attributes::Outcome;
use crate::envoy::flags::ResponseFlags;
use crate::envoy::headers::Headers;
use crate::envoy::wire::HeaderMap;
use crate::id::{SpanId, TraceId};
use crate::sampling::{Parent, trace_state, trace_state_by_rule};
use crate::semconv::SpanKindSetting;
use crate::semconv::grpc::StatusCode;
use crate::semconv::request::RequestProtocol;
use crate::semconv::start::StartingRequest;
use proptest::prelude::*;

const DC: u64 = 1 << 14;
const UC: u64 = 1 << 6;
const HALF: u64 = 1 << 55;

fn expression(number: u8) -> Expression {
    Expression::from_bytes(&[number, 0, 0, 0]).expect("four bytes")
}

fn ratio(ratio: f64) -> Threshold {
    Threshold::from_ratio(ratio).expect("within 0 to 1")
}

fn milliseconds(count: u64) -> OutcomeCondition {
    OutcomeCondition::SlowerThan(Duration::from_millis(count))
}

fn holds(number: u8) -> OutcomeCondition {
    OutcomeCondition::Expression(expression(number))
}

fn rule(name: &str, outcomes: &[OutcomeCondition], threshold: Threshold) -> KeepRule {
    KeepRule { name: name.into(), outcomes: outcomes.into(), conditions: Vec::new(), threshold }
}

fn asking_for(parent: Parent, rule: KeepRule) -> KeepRule {
    KeepRule { conditions: vec![Condition::Parents(vec![parent])], ..rule }
}

fn rules(rules: Vec<KeepRule>) -> KeepRules {
    KeepRules::new(rules, &[], false, &|_| Some(expression(9)))
}

/// How a request ended.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    code: Option<u16>,
    flags: u64,
    details: &'static str,
    is_call: bool,
    /// What its `grpc-status` said, if one came.
    status: Option<&'static str>,
    took: u64,
    callee_kept: bool,
    parent: Parent,
    /// Which expressions are true of it.
    truths: [bool; 3],
}

const FINE: Request = Request {
    method: "GET",
    code: Some(200),
    flags: 0,
    details: "via_upstream",
    is_call: false,
    status: None,
    took: 5,
    callee_kept: false,
    parent: Parent::None,
    truths: [false; 3],
};

/// What is seen of a request that took so many milliseconds.
fn look(took: u64, is_unremarkable: bool, is_failed_call: bool, is_callee_kept: bool) -> FirstLook {
    let maybe = |is_so: bool| if is_so { Told::Maybe } else { Told::No };
    FirstLook {
        duration: Duration::from_millis(took),
        error: maybe(!is_unremarkable || is_failed_call),
        expression: maybe(!is_unremarkable),
        is_callee_kept,
        later: maybe(!is_unremarkable),
    }
}

impl Request {
    /// Has `read` look at it as it is known when all was read.
    fn ended<T>(&self, read: impl FnOnce(&Ending<'_>) -> T) -> T {
        let names = [":method"].into_iter().collect();
        let headers = Headers::select(HeaderMap::of(&[(":method", self.method)]), &names);
        let protocol = if self.is_call { RequestProtocol::Grpc } else { RequestProtocol::Http };
        let status =
            self.status.filter(|_| self.is_call).map(|status| StatusCode::parse(status.as_bytes()));
        let outcome = Outcome {
            response_code: self.code,
            response_flags: ResponseFlags::from_bits(self.flags),
            response_code_details: self.details.as_bytes(),
            ..Outcome::default()
        };
        let none = Headers::default();
        read(&Ending {
            facts: &Facts::read(protocol, &headers, &none, status, outcome),
            duration: Duration::from_millis(self.took),
            is_callee_kept: self.callee_kept,
            subject: Subject {
                request: StartingRequest::default(),
                span_kind: SpanKindSetting::Auto,
                parent: self.parent,
            },
            evaluate: &|it| self.truths[usize::from(it.to_bytes()[0])],
        })
    }

    /// The rule that it is kept by, and the threshold.
    fn kept_by(&self, rules: &KeepRules, randomness: u64) -> Option<(String, Threshold)> {
        let kept = |ending: &Ending<'_>| {
            let rule = rules.matching(ending).filter(|it| it.threshold.keeps(randomness))?;
            Some((rule.name.to_string(), rule.threshold))
        };
        self.ended(kept)
    }
}

#[test]
fn the_first_rule_that_matches_is_found() {
    let rules = rules(vec![
        rule("slow failure", &[OutcomeCondition::Error, milliseconds(100)], Threshold::ALL),
        asking_for(Parent::Remote, rule("called", &[OutcomeCondition::Error], ratio(0.5))),
        rule("error", &[OutcomeCondition::Error], Threshold::ALL),
        rule("slow", &[milliseconds(50)], ratio(0.5)),
        rule("told", &[holds(0)], ratio(0.0)),
        rule("told and slow", &[holds(1), milliseconds(10)], Threshold::ALL),
    ]);
    let code = |code| Request { code: Some(code), ..FINE };
    let took = |took, request: Request| Request { took, ..request };
    let remote = |request| Request { parent: Parent::Remote, ..request };
    let told = |truths, request| Request { truths, ..request };
    let call = |status| Request { method: "POST", is_call: true, status, ..FINE };
    let cases = [
        (FINE, None, "it ended well"),
        (code(499), None, "a caller's mistake"),
        (code(500), Some("error"), "a server's error"),
        (took(101, code(500)), Some("slow failure"), "both hold"),
        (took(100, code(500)), Some("error"), "as long as the limit is not longer"),
        (remote(code(500)), Some("called"), "what it asks of the start holds"),
        (took(101, remote(code(500))), Some("slow failure"), "the first of three"),
        (took(51, FINE), Some("slow"), "slow"),
        (took(50, FINE), None, "not quite"),
        (told([true, false, false], FINE), Some("told"), "whatever its ratio"),
        (told([false, true, false], FINE), None, "an expression alone is not all of a rule"),
        (took(11, told([false, true, false], FINE)), Some("told and slow"), "with the time it is"),
        (Request { code: None, flags: DC, ..FINE }, Some("error"), "nobody answered"),
        (Request { flags: UC, ..FINE }, Some("error"), "cut off"),
        (call(Some("0")), None, "a call that succeeded"),
        (call(Some("5")), None, "one that its caller is to blame for"),
        (call(Some("13")), Some("error"), "one that the server is to blame for"),
        (call(None), Some("error"), "one that nobody answered"),
    ];
    for (request, expected, reason) in cases {
        let found =
            request.ended(|ending| rules.matching(ending).map(|rule| rule.name.to_string()));
        assert_eq!(found.as_deref(), expected, "{reason}");
    }
}

#[test]
fn the_first_look_lets_go_what_no_rule_can_keep() {
    let callee_kept = look(5, true, false, true);
    let look = |took, is_well, is_failed_call| look(took, is_well, is_failed_call, false);
    let (fine, slow) = (look(5, true, false), look(101, true, false));
    let (odd, failed_call) = (look(5, false, false), look(5, true, true));
    let error = |threshold| rule("error", &[OutcomeCondition::Error], threshold);
    let limit = |threshold| rule("slow", &[milliseconds(100)], threshold);
    let told = |threshold| rule("told", &[holds(0)], threshold);
    let callee = |threshold| rule("callee", &[OutcomeCondition::CalleeKept], threshold);
    let (all, half, none) = (Threshold::ALL, ratio(0.5), ratio(0.0));
    let cases = [
        (vec![], odd, HALF, false, "there are no rules"),
        (vec![error(all)], fine, HALF, false, "it ended well"),
        (vec![error(all)], odd, HALF, true, "something is odd"),
        (vec![error(all)], failed_call, HALF, true, "a call that failed"),
        (vec![error(half)], odd, HALF, true, "its randomness reaches the threshold"),
        (vec![error(half)], odd, HALF - 1, false, "its randomness does not"),
        (vec![told(all)], fine, HALF, false, "no expression is true of it"),
        (vec![told(all)], odd, HALF, true, "one may be"),
        (vec![told(all)], failed_call, HALF, false, "a call's status is no expression"),
        (vec![limit(all)], fine, HALF, false, "quick"),
        (vec![limit(all)], look(100, true, false), HALF, false, "not slower than the limit"),
        (vec![limit(all)], slow, HALF, true, "slow"),
        (vec![limit(half)], slow, HALF - 1, false, "slow, and let go"),
        (vec![limit(all)], odd, HALF, true, "its second pass may be slow, if it is redirected"),
        (vec![limit(half)], odd, HALF - 1, false, "and let go"),
        (vec![callee(all)], callee_kept, HALF, true, "another proxy has kept it"),
        (vec![callee(half)], callee_kept, HALF - 1, false, "and it is let go"),
        (vec![callee(all)], fine, HALF, false, "nobody has kept it"),
        (vec![callee(all)], odd, HALF, true, "a callee of its second pass may"),
        (vec![limit(none), limit(all)], slow, HALF, false, "the first rule has decided"),
        (vec![error(none), limit(all)], slow, HALF, true, "a rule that does not match"),
        (vec![error(none), told(all)], odd, HALF, true, "a rule that need not match"),
        (
            vec![asking_for(Parent::Remote, limit(none)), limit(all)],
            slow,
            HALF,
            true,
            "what it asks of the start need not hold",
        ),
        (vec![asking_for(Parent::Remote, limit(all)), limit(none)], slow, HALF, true, "or may"),
        (
            vec![rule("both", &[OutcomeCondition::Error, milliseconds(100)], all)],
            odd,
            HALF,
            true,
            "odd: the second pass of a redirect may be slow",
        ),
        (
            vec![rule("both", &[OutcomeCondition::Error, milliseconds(100)], all)],
            slow,
            HALF,
            false,
            "slow, and it ended well",
        ),
    ];
    for (list, look, randomness, expected, reason) in cases {
        assert_eq!(rules(list).may_keep(look, randomness), expected, "{reason}");
    }
}

#[test]
fn one_expression_tells_whether_any_is_true() {
    let compiled = std::cell::RefCell::new(Vec::new());
    let compile = |text: &str| {
        compiled.borrow_mut().push(text.to_owned());
        Some(expression(9))
    };
    let none = KeepRules::new(Vec::new(), &[], false, &compile);
    assert!(none.is_empty() && none.no_expression().is_none() && !none.asks_error());
    assert!(none.ended_well().is_none());
    assert!(compiled.borrow().is_empty(), "without rules the host is asked for nothing");
    let some =
        KeepRules::new(vec![rule("a", &[holds(0)], Threshold::ALL)], &["a == b"], false, &compile);
    assert_eq!(some.no_expression(), Some(expression(9)));
    assert!(!some.asks_error(), "an expression is no question for errors");
    assert_eq!(some.ended_well(), Some(expression(9)));
    let texts = [expression::none_of(&["a == b"]), expression::ended_well(&["a == b"])];
    assert_eq!(compiled.take(), texts);
    let errors = vec![rule("a", &[OutcomeCondition::Error], Threshold::ALL)];
    let errors = KeepRules::new(errors, &[], false, &compile);
    assert!(errors.asks_error() && errors.no_expression().is_none());
    assert_eq!(compiled.take(), [expression::ended_well(&[])], "without expressions");
}

fn any_outcome() -> impl Strategy<Value = OutcomeCondition> {
    prop_oneof![
        Just(OutcomeCondition::Error),
        Just(OutcomeCondition::CalleeKept),
        (0_u64..8).prop_map(milliseconds),
        (0_u8..3).prop_map(holds),
    ]
}

fn any_threshold() -> impl Strategy<Value = Threshold> {
    let few = proptest::sample::select(vec![0.0, 0.01, 0.5, 1.0]);
    prop_oneof![few, 0.0..=1.0].prop_map(ratio)
}

fn any_parent() -> impl Strategy<Value = Parent> {
    proptest::sample::select(vec![Parent::None, Parent::Remote])
}

fn any_rule() -> impl Strategy<Value = KeepRule> {
    let outcomes = proptest::collection::vec(any_outcome(), 1..3);
    let parent = proptest::option::of(any_parent());
    (outcomes, parent, any_threshold(), "[a-c]").prop_map(|(outcomes, parent, threshold, name)| {
        let rule = rule(&name, &outcomes, threshold);
        match parent {
            Some(parent) => asking_for(parent, rule),
            None => rule,
        }
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let select = proptest::sample::select::<Option<u16>>;
    let code = select(vec![None, Some(101), Some(200), Some(302), Some(404), Some(500)]);
    let details = prop_oneof![
        4 => Just("via_upstream"),
        1 => Just("internal_redirect"),
        1 => Just("max_duration_timeout"),
    ];
    let status = proptest::sample::select(vec![None, Some("0"), Some("5"), Some("13")]);
    (
        proptest::sample::select(vec!["GET", "POST", "CONNECT"]),
        code,
        proptest::sample::select(vec![0, 0, 0, DC, UC]),
        details,
        any::<bool>(),
        status,
        0_u64..8,
        proptest::bool::weighted(0.2),
        any_parent(),
        proptest::array::uniform3(proptest::bool::weighted(0.2)),
    )
        .prop_map(
            |(method, code, flags, details, is_call, status, took, callee_kept, parent, truths)| {
                Request {
                    method,
                    code,
                    flags,
                    details,
                    is_call,
                    status,
                    took,
                    callee_kept,
                    parent,
                    truths,
                }
            },
        )
}

fn any_randomness() -> impl Strategy<Value = u64> {
    0_u64..1 << 56
}

/// A context of a trace with this randomness: in its tracestate, or in its id.
fn context(
    randomness: u64,
    is_explicit: bool,
    is_sampled: bool,
    known: Option<Threshold>,
) -> SpanContext {
    let mut id = [7; 16];
    let explicit = if is_explicit { format!("rv:{randomness:014x}") } else { String::new() };
    if !is_explicit {
        id[8..].copy_from_slice(&randomness.to_be_bytes());
    }
    let threshold = known.map(|it| format!("th:{it}")).unwrap_or_default();
    let pairs: Vec<_> = [threshold, explicit].into_iter().filter(|it| !it.is_empty()).collect();
    let state = if pairs.is_empty() { "b=1".into() } else { format!("ot={},b=1", pairs.join(";")) };
    SpanContext {
        trace_id: TraceId::from_bytes(id).expect("not zero"),
        span_id: SpanId::from_bytes([2; 8]).expect("not zero"),
        flags: TraceFlags::from_byte(u8::from(is_sampled)),
        trace_state: TraceState::parse(state.as_bytes()).expect("valid"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn kept_at_a_ratio_is_kept_at_any_larger(
        list in proptest::collection::vec(any_rule(), 1..5),
        request in any_request(),
        randomness in any_randomness(),
        larger in any_threshold(),
    ) {
        let kept = request.kept_by(&rules(list.clone()), randomness);
        let more = list.into_iter().map(|it| KeepRule { threshold: it.threshold.min(larger), ..it });
        let more = request.kept_by(&rules(more.collect()), randomness);
        if let Some((name, _)) = kept {
            prop_assert_eq!(more.map(|(name, _)| name), Some(name));
        }
    }

    #[test]
    fn what_a_span_says_is_true_and_never_less_probable(
        randomness in any_randomness(),
        is_explicit: bool,
        is_sampled: bool,
        known in proptest::option::of(any_threshold()),
        rule in any_threshold(),
    ) {
        // Nobody has sampled what is below the threshold that says so.
        let known = known.filter(|it| is_sampled && it.keeps(randomness));
        let context = context(randomness, is_explicit, is_sampled, known);
        let state = trace_state_by_rule(&context, Some(rule));
        if !is_sampled {
            prop_assert_eq!(state.is_some(), rule.keeps(randomness), "the rule decides alone");
        }
        match state {
            None => prop_assert!(!rule.keeps(randomness) || known.is_some_and(|it| it <= rule)),
            Some(state) => {
                prop_assert_eq!(trace_state::threshold(&state), Some(rule));
                prop_assert!(rule.keeps(randomness), "R reaches T");
                prop_assert!(known.is_none_or(|it| rule < it), "lowered");
                prop_assert!(state.as_str().ends_with(",b=1"), "others' members: {}", state.as_str());
                let explicit = is_explicit.then_some(randomness);
                prop_assert_eq!(trace_state::randomness(&state), explicit, "and the randomness stay");
            }
        }
    }

    #[test]
    fn what_nobody_knows_is_not_said(
        randomness in any_randomness(),
        is_explicit: bool,
        is_sampled: bool,
        known in proptest::option::of(any_threshold()),
    ) {
        let context = context(randomness, is_explicit, is_sampled, known);
        let state = trace_state_by_rule(&context, None);
        prop_assert_eq!(state.is_some(), !is_sampled, "what the sampler has kept says what it said");
        prop_assert_eq!(state.as_ref().and_then(trace_state::threshold), None);
    }
}
