//! `envoy.keep`: rules on how a request ended. They keep what the sampler has let go.
//!
//! What is read of a request for them, and when, is decided elsewhere (`tracer`, `outcome`).

use super::Threshold;
use super::rule_based::{Condition, Subject};
use crate::envoy::expression::{self, Compile, Expression};
use crate::otlp::SpanKind;
use crate::probe::Needs;
use crate::semconv::{Facts, error};
use std::rc::Rc;
use std::time::Duration;

/// The rules, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct KeepRules {
    rules: Vec<Rc<KeepRule>>,
    /// What is empty of a request of which no rule's expression is true, if rules have some.
    no_expression: Option<Expression>,
    /// What is empty of a request that ended well and of which no rule's expression is true, if there are rules.
    ended_well: Option<Expression>,
    asks_error: bool,
    whole_path: WholePath,
}

/// What the rules have to do with those of other proxies.
#[derive(Clone, Copy, Debug, Default)]
pub struct WholePath {
    /// Whether a rule asks what the callee did: then its answer is read.
    pub asks_callee: bool,
    /// Whether a caller is told that its request is kept.
    pub tells_caller: bool,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct KeepRule {
    /// What spans say that were kept by it.
    pub name: Rc<str>,
    /// All of them have to hold; at least one.
    pub outcomes: Vec<OutcomeCondition>,
    /// And so have these.
    pub conditions: Vec<Condition>,
    /// Which of the requests that it matches it keeps.
    pub threshold: Threshold,
}

/// What a rule may ask of how a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeCondition {
    /// It is what the conventions call an error of a SERVER span: 5xx, a gRPC status that is the server's fault, no response, cut off.
    Error,
    /// It took longer than this.
    SlowerThan(Duration),
    /// An expression over Envoy's attributes is true.
    Expression(Expression),
    /// The callee, or another proxy that the request has passed, has kept it.
    CalleeKept,
}

/// What is known of a request before anything is read that has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLook {
    /// How long it has taken.
    pub duration: Duration,
    /// Whether it is an error.
    pub error: Told,
    /// Whether an expression is true of it.
    pub expression: Told,
    /// Whether another proxy has said that it has kept it.
    pub is_callee_kept: bool,
    /// Whether it goes on after this, as one does that is redirected internally: then it may end otherwise.
    pub later: Told,
}

/// What a first look tells of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// It is not so, or not known yet.
    No,
    /// It may be so.
    Maybe,
    /// It is so.
    Certain,
}

/// A request that has ended, with all that is known of it.
pub struct Ending<'a> {
    /// What it was.
    pub facts: &'a Facts<'a>,
    /// How long it took, by the clock that [`FirstLook::duration`] is of.
    pub duration: Duration,
    /// Whether another proxy has said that it has kept it.
    pub is_callee_kept: bool,
    /// What conditions on the request's start ask.
    pub subject: Subject<'a>,
    /// Whether an expression is true of it.
    pub evaluate: &'a dyn Fn(Expression) -> bool,
}

impl KeepRules {
    /// These rules. `conditions` are the texts of their expressions; `tells_caller` says whether callers get to know what is kept.
    #[must_use]
    pub fn new(
        rules: Vec<KeepRule>,
        conditions: &[&str],
        tells_caller: bool,
        compile: &Compile<'_>,
    ) -> Self {
        let no_expression = match conditions {
            [] => None,
            some => compile(&expression::none_of(some)),
        };
        let ended_well = match rules.as_slice() {
            [] => None,
            _ => compile(&expression::ended_well(conditions)),
        };
        let asks_error = rules.iter().any(|rule| rule.outcomes.contains(&OutcomeCondition::Error));
        let asks_callee = rules.iter().any(KeepRule::asks_callee);
        let rules = rules.into_iter().map(Rc::new).collect();
        let whole_path = WholePath { asks_callee, tells_caller };
        Self { rules, no_expression, ended_well, asks_error, whole_path }
    }

    /// What they have to do with those of other proxies.
    #[must_use]
    pub fn whole_path(&self) -> WholePath {
        self.whole_path
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is empty of a request of which no rule's expression is true, if rules have some.
    #[must_use]
    pub fn no_expression(&self) -> Option<Expression> {
        self.no_expression
    }

    /// What is empty of a request that ended well: no error, no redirect, no rule's expression is true of it. None if there are no rules, or the
    /// host can't tell.
    #[must_use]
    pub fn ended_well(&self) -> Option<Expression> {
        self.ended_well
    }

    /// Whether a rule asks whether it is an error.
    #[must_use]
    pub fn asks_error(&self) -> bool {
        self.asks_error
    }

    /// What conditions on the request's start need to know.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let conditions = self.rules.iter().flat_map(|rule| &rule.conditions);
        conditions.map(Condition::needs).fold(Needs::default(), Needs::and)
    }

    /// Whether a request of this randomness may be kept, as far as the first look tells: if not, it is let go.
    #[must_use]
    pub fn may_keep(&self, look: FirstLook, randomness: u64) -> bool {
        for rule in &self.rules {
            match (rule.at_first(look), rule.threshold.keeps(randomness)) {
                (Told::No, _) | (Told::Maybe, false) => {}
                (Told::Maybe | Told::Certain, true) => return true,
                (Told::Certain, false) => return false,
            }
        }
        false
    }

    /// The first rule that is certain to match a request of this randomness, and keeps it. None if one before may match and keeps another share,
    /// unless it is another proxy that has kept it: then no probability is said.
    #[must_use]
    pub fn certain(&self, look: FirstLook, randomness: u64) -> Option<&Rc<KeepRule>> {
        let is_certain = |rule: &&Rc<KeepRule>| rule.at_first(look) == Told::Certain;
        let certain = self.rules.iter().find(is_certain)?;
        let mut before = self.rules.iter().take_while(|rule| !is_certain(rule));
        let differs = |rule: &Rc<KeepRule>| {
            rule.threshold != certain.threshold && rule.at_first(look) == Told::Maybe
        };
        let is_known = certain.asks_callee() || !before.any(differs);
        (is_known && certain.threshold.keeps(randomness)).then_some(certain)
    }

    /// The first rule that matches a request.
    #[must_use]
    pub fn matching(&self, ending: &Ending<'_>) -> Option<&Rc<KeepRule>> {
        self.rules.iter().find(|rule| rule.matches(ending))
    }
}

impl KeepRule {
    fn asks_callee(&self) -> bool {
        self.outcomes.contains(&OutcomeCondition::CalleeKept)
    }

    /// With which probability it keeps what it matches: nobody knows what others do.
    #[must_use]
    pub fn probability(&self) -> Option<Threshold> {
        (!self.asks_callee()).then_some(self.threshold)
    }

    /// Whether it matches a request, as far as a first look tells.
    fn at_first(&self, look: FirstLook) -> Told {
        let certain = |is_so: bool| if is_so { Told::Certain } else { Told::No };
        let outcomes = self.outcomes.iter().map(|outcome| match outcome {
            OutcomeCondition::SlowerThan(limit) => certain(look.duration > *limit),
            OutcomeCondition::CalleeKept => certain(look.is_callee_kept),
            OutcomeCondition::Error => look.error,
            OutcomeCondition::Expression(_) => look.expression,
        });
        let outcomes = outcomes.map(|told| told.max(look.later));
        let conditions = if self.conditions.is_empty() { Told::Certain } else { Told::Maybe };
        outcomes.fold(conditions, Told::min)
    }

    fn matches(&self, ending: &Ending<'_>) -> bool {
        let holds = |outcome: &OutcomeCondition| match outcome {
            OutcomeCondition::Error => error::of(SpanKind::Server, ending.facts).is_some(),
            OutcomeCondition::SlowerThan(limit) => ending.duration > *limit,
            OutcomeCondition::CalleeKept => ending.is_callee_kept,
            OutcomeCondition::Expression(expression) => (ending.evaluate)(*expression),
        };
        self.outcomes.iter().all(holds)
            && self.conditions.iter().all(|it| it.holds(&ending.subject))
    }
}

#[cfg(test)]
mod tests;
