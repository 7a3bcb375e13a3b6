//! `rule_based`: the first rule that matches a request decides on it.

use super::pattern::Pattern;
use super::{Probability, Sampler, SamplingInput, Verdict};
use crate::envoy::connections::{LISTENER_DIRECTION, TrafficDirection};
use crate::id::SpanId;
use crate::otlp::SpanKind;
use crate::probe::{HeaderNeeds, Needs};
use crate::semconv::SpanKindSetting;
use crate::semconv::start::{StartAttribute, StartingRequest};

/// The sampler (OpenTelemetry, Tracing SDK, section `ComposableRuleBased`). A request that no rule matches is let go.
#[derive(Debug)]
pub struct RuleBased(pub Vec<Rule>);

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// All of them have to hold.
    pub conditions: Vec<Condition>,
    /// Who decides where they do.
    pub sampler: Box<dyn Sampler>,
}

/// What conditions ask about: a request, as far as it was needed.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// How it started.
    pub request: StartingRequest<'a>,
    /// What decides on the kind of its span.
    pub span_kind: SpanKindSetting,
    /// Where its parent is.
    pub parent: Parent,
}

/// What a rule may ask of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The attribute has one of these values.
    Values(StartAttribute, Vec<Box<str>>),
    /// The attribute has a value that one of the first patterns matches, any if there are none, and none of the second ones.
    Patterns(StartAttribute, Patterns),
    /// The span is of one of these kinds.
    SpanKinds(Vec<SpanKind>),
    /// The caller's context is one of these.
    Parents(Vec<Parent>),
}

/// Patterns of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Those of which one matches, unless there are none.
    pub included: Vec<Pattern>,
    /// Those of which none does.
    pub excluded: Vec<Pattern>,
}

/// Where a parent is. None of a proxy's is in the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// There is none.
    None,
    /// It came with the request.
    Remote,
    /// In this process, which does not occur.
    Local,
}

impl Parent {
    /// Where the parent of a request is, if it has one.
    #[must_use]
    pub fn of(parent: Option<SpanId>) -> Self {
        if parent.is_some() { Self::Remote } else { Self::None }
    }
}

impl Patterns {
    fn take(&self, value: &[u8]) -> bool {
        let matches = |pattern: &Pattern| pattern.matches(value);
        (self.included.is_empty() || self.included.iter().any(matches))
            && !self.excluded.iter().any(matches)
    }
}

impl Condition {
    /// The attribute that it asks for, if it does.
    fn attribute(&self) -> Option<&StartAttribute> {
        match self {
            Self::Values(attribute, _) | Self::Patterns(attribute, _) => Some(attribute),
            Self::SpanKinds(_) | Self::Parents(_) => None,
        }
    }

    /// What has to be known for it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let (attributes, header_names) = match (self, self.attribute()) {
            (_, Some(attribute)) => {
                let names = attribute.header().map(Into::into);
                (attribute.needed().into_iter().collect(), names.into_iter().collect())
            }
            (Self::SpanKinds(_), None) => (vec![LISTENER_DIRECTION], Vec::new()),
            (_, None) => return Needs::default(),
        };
        let headers = self.attribute().map_or(HeaderNeeds::Nothing, |_| HeaderNeeds::All);
        Needs { headers, header_names, attributes, ..Needs::default() }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, subject: &Subject<'_>) -> bool {
        let any = |attribute: &StartAttribute, test: &dyn Fn(&[u8]) -> bool| {
            attribute.any(&subject.request, test)
        };
        match self {
            Self::Values(attribute, values) => {
                any(attribute, &|found| values.iter().any(|it| it.as_bytes() == found))
            }
            Self::Patterns(attribute, patterns) => any(attribute, &|found| patterns.take(found)),
            Self::SpanKinds(kinds) => {
                let direction = TrafficDirection::read(subject.request.envoys(LISTENER_DIRECTION));
                kinds.contains(&subject.span_kind.kind(direction))
            }
            Self::Parents(parents) => parents.contains(&subject.parent),
        }
    }
}

impl RuleBased {
    /// Which rule decides on a request.
    fn chosen(&self, input: &SamplingInput<'_>) -> Option<usize> {
        let subject = Subject {
            request: input.request,
            span_kind: input.span_kind,
            parent: Parent::of(input.parent.map(|parent| parent.span_id)),
        };
        self.0.iter().position(|rule| rule.conditions.iter().all(|it| it.holds(&subject)))
    }
}

impl Sampler for RuleBased {
    fn needs(&self) -> Needs {
        let of_rule = |rule: &Rule| {
            let needs = rule.conditions.iter().map(Condition::needs);
            needs.fold(rule.sampler.needs(), Needs::and)
        };
        self.0.iter().map(of_rule).fold(Needs::default(), Needs::and)
    }

    fn lets_unsampled_go(&self) -> bool {
        self.0.iter().all(|rule| rule.sampler.lets_unsampled_go())
    }

    fn decide(&self, input: &SamplingInput<'_>) -> Verdict {
        let chosen = self.chosen(input).and_then(|chosen| self.0.get(chosen));
        chosen.map_or(Verdict::LetGo(Probability::Certain), |rule| rule.sampler.decide(input))
    }

    fn rule(&self, input: &SamplingInput<'_>) -> Option<usize> {
        self.chosen(input).map(|chosen| chosen + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Decision, SpanContext, TraceFlags, TraceState};
    use crate::envoy::headers::Headers;
    use crate::envoy::wire::HeaderMap;
    use crate::id::{SpanId, TraceId};
    use crate::sampling::{AlwaysOff, AlwaysOn};
    use crate::semconv::RequestHeaders;

    const HEADERS: [(&str, &str); 4] =
        [(":method", "GET"), (":path", "/api/cart"), ("x-tenant", "a"), ("x-tenant", "b")];

    fn attribute(name: &str) -> StartAttribute {
        StartAttribute::parse(name).expect(name)
    }

    fn values(name: &str, values: &[&str]) -> Condition {
        Condition::Values(attribute(name), values.iter().map(|it| (*it).into()).collect())
    }

    fn patterns(name: &str, included: &[&str], excluded: &[&str]) -> Condition {
        let patterns = |texts: &[&str]| texts.iter().map(|it| Pattern::new(*it)).collect();
        let (included, excluded) = (patterns(included), patterns(excluded));
        Condition::Patterns(attribute(name), Patterns { included, excluded })
    }

    fn parent() -> SpanContext {
        SpanContext {
            trace_id: TraceId::from_hex(b"4bf92f3577b34da6a3ce929d0e0e4736").expect("valid"),
            span_id: SpanId::from_bytes([1; 8]).expect("valid"),
            flags: TraceFlags::from_byte(0),
            trace_state: TraceState::default(),
        }
    }

    /// Whether a rule with these conditions matches the request of [`HEADERS`].
    fn matches(conditions: Vec<Condition>, parent: Option<&SpanContext>) -> bool {
        let sampler = RuleBased(vec![Rule { conditions, sampler: Box::new(AlwaysOn) }]);
        let needs = sampler.needs();
        let names = HEADERS.iter().map(|(name, _)| *name).collect();
        let headers = Headers::select(HeaderMap::of(&HEADERS), &names);
        let request = RequestHeaders::read(headers.iter());
        let is_read = needs.headers == HeaderNeeds::All;
        let value = |name: &'static str| match name {
            LISTENER_DIRECTION => 2_u64.to_le_bytes().to_vec(),
            _ => b"10.0.0.1:4000".to_vec(),
        };
        let attributes: Vec<_> = needs.attributes.iter().map(|name| (*name, value(name))).collect();
        let input = SamplingInput {
            trace_id: super::tests::parent().trace_id,
            parent,
            decision: Decision::Deferred,
            request: StartingRequest {
                headers: is_read.then_some((&headers, &request)),
                attributes: &attributes,
                ..StartingRequest::default()
            },
            span_kind: SpanKindSetting::Auto,
            now: None,
        };
        match sampler.decide(&input) {
            Verdict::Keep(probability) => {
                assert_eq!(probability, Probability::Certain);
                true
            }
            Verdict::LetGo(probability) => {
                assert_eq!(probability, Probability::Certain, "none matches");
                false
            }
        }
    }

    #[test]
    fn a_rule_matches_where_all_its_conditions_hold() {
        let cart = || values("url.path", &["/", "/api/cart"]);
        let cases = [
            (vec![], true, "without conditions, any request"),
            (vec![cart()], true, "one of several values"),
            (vec![values("url.path", &["/api"])], false, "whole values"),
            (vec![values("url.query", &[""])], false, "an attribute that is absent"),
            (vec![values("http.request.header.x-tenant", &["b"])], true, "any value of a header"),
            (vec![values("network.peer.address", &["10.0.0.1"])], true, "what Envoy knows"),
            (vec![patterns("url.path", &["/x", "/api/*"], &[])], true, "one of the patterns"),
            (vec![patterns("url.path", &["/x"], &[])], false, "none of them"),
            (vec![patterns("url.path", &[], &["/x"])], true, "without included ones, any value"),
            (vec![patterns("url.query", &[], &["/x"])], false, "but one that is there"),
            (vec![patterns("url.path", &["/api/*"], &["*cart"])], false, "excluded goes before"),
            (
                vec![patterns("http.request.header.x-tenant", &[], &["a"])],
                true,
                "a header of which one value is not excluded",
            ),
            (vec![Condition::SpanKinds(vec![SpanKind::Client])], true, "an outbound listener's"),
            (vec![Condition::SpanKinds(vec![SpanKind::Server])], false, "is no server"),
            (vec![Condition::SpanKinds(vec![])], false, "kinds that a proxy has none of"),
            (vec![Condition::Parents(vec![Parent::None])], true, "no parent"),
            (vec![Condition::Parents(vec![Parent::Remote])], false, "nor a remote one"),
            (vec![Condition::Parents(vec![Parent::Local])], false, "nor a local one"),
            (vec![cart(), Condition::Parents(vec![Parent::None])], true, "both hold"),
            (vec![cart(), Condition::Parents(vec![Parent::Remote])], false, "one does not"),
        ];
        for (conditions, expected, reason) in cases {
            assert_eq!(matches(conditions, None), expected, "{reason}");
        }
        let parent = parent();
        for (parents, expected) in [
            (vec![Parent::Remote], true),
            (vec![Parent::None], false),
            (vec![Parent::Local], false),
            (vec![Parent::None, Parent::Remote], true),
        ] {
            let condition = Condition::Parents(parents.clone());
            assert_eq!(matches(vec![condition], Some(&parent)), expected, "{parents:?}");
        }
    }

    #[test]
    fn rules_ask_for_no_more_than_they_look_at() {
        let needs = |conditions: Vec<Condition>| {
            RuleBased(vec![Rule { conditions, sampler: Box::new(AlwaysOff) }]).needs()
        };
        let headers = |names: &[&str], attributes: &[&'static str]| Needs {
            headers: HeaderNeeds::All,
            header_names: names.iter().map(|it| (*it).into()).collect(),
            attributes: attributes.to_vec(),
            ..Needs::default()
        };
        assert_eq!(needs(vec![]), Needs::default());
        assert_eq!(needs(vec![Condition::Parents(vec![Parent::None])]), Needs::default());
        assert_eq!(needs(vec![values("url.path", &["/"])]), headers(&[], &[]));
        assert_eq!(
            needs(vec![values("http.request.header.x-a", &["b"])]),
            headers(&["x-a"], &[]),
            "a header that nobody else may read"
        );
        assert_eq!(
            needs(vec![values("envoy.route_name", &["cart"])]),
            headers(&[], &["xds.route_name"])
        );
        let kinds = needs(vec![Condition::SpanKinds(vec![SpanKind::Client])]);
        let expected = Needs { attributes: vec![LISTENER_DIRECTION], ..Needs::default() };
        assert_eq!(kinds, expected, "no headers");
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rule =
            |parent, sampler| Rule { conditions: vec![Condition::Parents(vec![parent])], sampler };
        let rules = RuleBased(vec![
            rule(Parent::Remote, Box::new(AlwaysOff)),
            Rule { conditions: Vec::new(), sampler: Box::new(AlwaysOn) },
            rule(Parent::None, Box::new(AlwaysOff)),
        ]);
        let parent = parent();
        for (parent, expected) in [
            (Some(&parent), Verdict::LetGo(Probability::Certain)),
            (None, Verdict::Keep(Probability::Certain)),
        ] {
            let input = SamplingInput {
                trace_id: super::tests::parent().trace_id,
                parent,
                decision: Decision::Deferred,
                request: StartingRequest::default(),
                span_kind: SpanKindSetting::Server,
                now: None,
            };
            assert_eq!(rules.decide(&input), expected);
        }
        assert!(!rules.lets_unsampled_go(), "one of them keeps");
        assert!(RuleBased(Vec::new()).lets_unsampled_go(), "none is there");
    }
}
