//! The first look at a request that may be kept: it never lets go what the rules keep once all is read.

use super::*;
use crate::sampling::{
    Condition, Ending, KeepRule, KeepRules, OutcomeCondition, Parent, Subject, Threshold,
};
use crate::semconv::SpanKindSetting;
use crate::semconv::route::Routes;
use crate::semconv::start::StartingRequest;
use proptest::prelude::*;

const REDIRECT: &str = "internal_redirect";
/// The expression that is empty where none is true.
const NONE_OF: u8 = 9;
/// The one that is empty where that is so and the request has ended well.
const WELL: u8 = 8;

fn expression(number: u8) -> Expression {
    Expression::from_bytes(&[number, 0, 0, 0]).expect("four bytes")
}

/// A request that ended so, and of which these expressions are true.
#[derive(Debug)]
struct Request {
    ended: Ended,
    truths: [bool; 3],
    is_callee_kept: bool,
}

impl Shared for Request {
    fn is_kept(&self, _: TraceId) -> bool {
        self.is_callee_kept
    }

    fn note_kept(&self, _: TraceId) {}

    fn take_spans(&self, _: BucketName, _: u32, wanted: u32) -> u32 {
        wanted
    }
}

impl EndedRequest for Request {
    fn shared(&self) -> &dyn Shared {
        self
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        self.ended.attribute(name)
    }

    fn evaluate(&self, expression: Expression) -> Option<Vec<u8>> {
        let is_told = match expression.to_bytes() {
            [NONE_OF, ..] => self.truths.contains(&true),
            [WELL, ..] => {
                let ended = &self.ended;
                ended.flags != 0
                    || !matches!(ended.code, 1..300 | 304 | 400..500)
                    || self.truths.contains(&true)
            }
            [number, ..] => self.truths[usize::from(number)],
        };
        Some(if is_told { b"?".to_vec() } else { Vec::new() })
    }

    fn has_headers(&self) -> bool {
        false
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::default()
    }

    fn now(&self) -> Duration {
        self.ended.now()
    }
}

impl Request {
    /// The rule that a request that ended so matches, once all is read.
    fn matching<'a>(
        &self,
        span: &OpenSpan,
        parent: Parent,
        rules: &'a KeepRules,
    ) -> Option<&'a KeepRule> {
        let values = reader(Details::NONE, StartTime::Filter).read(span, self);
        let routes = Routes::default();
        let ending = Ending {
            facts: &span.facts(values.outcome(), &routes),
            duration: self.ended.took,
            is_callee_kept: self.is_callee_kept,
            subject: Subject {
                request: StartingRequest::default(),
                span_kind: SpanKindSetting::Auto,
                parent,
            },
            evaluate: &|it| self.evaluate(it).is_some_and(|value| !value.is_empty()),
        };
        rules.matching(&ending).map(AsRef::as_ref)
    }
}

fn any_outcome() -> impl Strategy<Value = OutcomeCondition> {
    prop_oneof![
        3 => Just(OutcomeCondition::Error),
        1 => Just(OutcomeCondition::CalleeKept),
        2 => proptest::sample::select(vec![0, 3, 999, 1000])
            .prop_map(|limit| OutcomeCondition::SlowerThan(Duration::from_millis(limit))),
        2 => (0_u8..3).prop_map(|number| OutcomeCondition::Expression(expression(number))),
    ]
}

fn any_rule() -> impl Strategy<Value = KeepRule> {
    let parent = proptest::sample::select(vec![Parent::None, Parent::Remote]);
    let ratio = proptest::sample::select(vec![0.0, 0.5, 1.0]);
    let rule =
        (proptest::collection::vec(any_outcome(), 1..3), proptest::option::of(parent), ratio);
    rule.prop_map(|(outcomes, parent, ratio)| KeepRule {
        name: "a".into(),
        outcomes,
        conditions: parent.map(|it| Condition::Parents(vec![it])).into_iter().collect(),
        threshold: Threshold::from_ratio(ratio).expect("a ratio"),
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let code = proptest::sample::select(vec![0, 101, 200, 204, 302, 304, 404, 429, 500, 503]);
    // LH, UC, DC, RL, DR.
    let flag = proptest::sample::select(vec![0, 0, 0, 1, 1 << 6, 1 << 14, 1 << 11, 1 << 28]);
    let took = proptest::sample::select(vec![0, 3, 4, 999, 1000, 1001]);
    let details = prop_oneof![
        4 => Just("via_upstream"),
        1 => Just(REDIRECT),
        1 => Just(MAX_DURATION_TIMEOUT),
    ];
    let truths = proptest::array::uniform3(proptest::bool::weighted(0.2));
    let request = (code, flag, took, details, truths, proptest::bool::weighted(0.2));
    request.prop_map(|(code, flags, took, code_details, truths, is_callee_kept)| {
        let took = Duration::from_millis(took);
        // Envoy redirects by 301, 302, 303, 307 and 308 alone.
        let code_details = if code == 304 { "via_upstream" } else { code_details };
        Request {
            ended: Ended { code, flags, took, code_details, ..Ended::default() },
            truths,
            is_callee_kept,
        }
    })
}

/// The span of a request that was let go: of HTTP, or of a call with this status.
fn any_span() -> impl Strategy<Value = OpenSpan> {
    let status = proptest::sample::select(vec![None, Some("0"), Some("5"), Some("13")]);
    (proptest::option::of(status), any::<bool>()).prop_map(|(call, is_answered)| {
        let protocol = if call.is_some() { RequestProtocol::Grpc } else { RequestProtocol::Http };
        let open = span(protocol, Sampling::Undecided);
        let mut open = open.started(Start { unix: UNIX, at: AT });
        if let Some(status) = call.flatten() {
            open.note_grpc_status(status.as_bytes());
        }
        if is_answered {
            open.note_answered();
        }
        open
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_never_lets_go_what_the_rules_keep(
        rules in proptest::collection::vec(any_rule(), 0..4),
        mut request in any_request(),
        mut span in any_span(),
        parent in proptest::sample::select(vec![Parent::None, Parent::Remote]),
        randomness in 0_u64..1 << 56,
        can_tell: bool,
    ) {
        // Nothing cuts off what has come to its end, and no flag says that a limit of less than a second did.
        if span.is_answered() {
            request.ended.flags = 0;
            request.ended.code_details = "via_upstream";
        } else if request.ended.code_details == MAX_DURATION_TIMEOUT {
            request.ended.took += SLOW;
        }
        let texts: Vec<_> = rules.iter().flat_map(|rule| &rule.outcomes).filter_map(|outcome| {
            matches!(outcome, OutcomeCondition::Expression(_)).then_some("a")
        }).collect();
        let number = |text: &str| if text.starts_with("true") { NONE_OF } else { WELL };
        let rules = KeepRules::new(rules, &texts, false, &|it| {
            (number(it) == NONE_OF || can_tell).then(|| expression(number(it)))
        });
        if request.is_callee_kept {
            span.note_callee_kept();
        }
        let rule = request.matching(&span, parent, &rules);
        let look = first_look(&span, &request, &rules);
        if rule.is_some_and(|rule| rule.threshold.keeps(randomness)) {
            prop_assert!(rules.may_keep(look, randomness), "{look:?}");
        }
        if request.ended.code_details == REDIRECT && (300..400).contains(&request.ended.code) {
            prop_assert_eq!(look.later, Told::Maybe, "its second pass may end otherwise");
        }
    }
}
