//! `envoy.keep`: rules on how a request ended.
//!
//! What a rule may ask of a request's start is read in `sampler::rules`.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::headers::is_value;
use super::instrumentation::header;
use super::sampler::{ratio, rules};
use crate::envoy::expression::{self, Compile, Expression};
use crate::sampling::operator::OperatorHeader;
use crate::sampling::{KeepRule, KeepRules, OutcomeCondition, Threshold};

/// How many rules there may be: each is asked of each request.
const MAX_RULES: usize = 64;
/// The largest `max_spans_per_second`.
const MOST_SPANS: usize = 1_000_000;
/// What can be guessed is no secret.
const SHORTEST_SECRET: usize = 16;
/// The longest `slower_than`, in milliseconds: a day.
const MAX_MILLISECONDS: usize = 86_400_000;

/// Reads what is said of how a request ended.
type Read<'a> =
    fn(&Cursor<'a>, &Compile<'_>, &mut Rules<'a>) -> Result<OutcomeCondition, ConfigError>;

/// What all rules have said.
#[derive(Default)]
struct Rules<'a> {
    /// Their expressions.
    texts: Vec<&'a str>,
    tells_caller: bool,
}

const OUTCOMES: [&str; 4] = ["error", "slower_than", "condition", "callee_kept"];
/// Those that say something even where `null` stands.
const MARKS: [&str; 2] = ["error", "callee_kept"];

fn readers<'a>() -> [(&'static str, Read<'a>); OUTCOMES.len()] {
    let [error, slower_than, condition, callee_kept] = OUTCOMES;
    [
        (error, |it, _, _| it.object(|_| Ok(OutcomeCondition::Error))),
        (slower_than, |it, _, _| {
            it.milliseconds(0..=MAX_MILLISECONDS).map(OutcomeCondition::SlowerThan)
        }),
        (condition, read_condition),
        (callee_kept, |it, _, all| {
            let tells = |it: &mut Object<'_>| it.take_as("tell_caller", Cursor::bool);
            all.tells_caller |= it.object(tells)?.unwrap_or_default();
            Ok(OutcomeCondition::CalleeKept)
        }),
    ]
}

/// What `envoy` says of what is kept beside the sampler.
pub(super) struct Kept {
    pub(super) rules: KeepRules,
    pub(super) max_spans_per_second: Option<u32>,
    pub(super) force: Option<OperatorHeader>,
    pub(super) explain: Option<OperatorHeader>,
}

#[inline(never)] // As all readers of a room.
pub(super) fn read(envoy: &mut Object<'_>, compile: &Compile<'_>) -> Result<Kept, ConfigError> {
    let rules = read_rules(envoy, compile)?;
    let most = envoy.take_count("max_spans_per_second", 1..=MOST_SPANS)?;
    Ok(Kept {
        rules,
        max_spans_per_second: most.and_then(|most| u32::try_from(most).ok()),
        force: operator_header(envoy, "force")?,
        explain: operator_header(envoy, "explain")?,
    })
}

/// A header with a secret, of which no error shows anything.
#[inline(never)] // As all readers of a room.
fn operator_header(
    envoy: &mut Object<'_>,
    key: &'static str,
) -> Result<Option<OperatorHeader>, ConfigError> {
    let Some(settings) = envoy.take(key).map(Cursor::secret) else { return Ok(None) };
    let (name, secret) = settings
        .object(|settings| Ok((settings.take_needed("header"), settings.take_needed("value"))))?;
    let told = secret.text()?;
    if told.len() < SHORTEST_SECRET || !is_value(told) {
        return Err(
            secret.refuse("at least 16 visible ASCII characters, with spaces between them only")
        );
    }
    let name = header(&name)?;
    Ok(Some(OperatorHeader { name: name.into(), secret: told.as_bytes().into() }))
}

#[inline(never)] // As all readers of a room.
fn read_rules(envoy: &mut Object<'_>, compile: &Compile<'_>) -> Result<KeepRules, ConfigError> {
    let Some(list) = envoy.take("keep") else { return Ok(KeepRules::default()) };
    let items = list.items()?;
    if items.len() > MAX_RULES {
        return Err(list.refuse("at most 64 rules"));
    }
    let (mut rules, mut all) = (Vec::new(), Rules::default());
    for rule in &items {
        rules.push(read_rule(rule, compile, &mut all)?);
    }
    Ok(KeepRules::new(rules, &all.texts, all.tells_caller, compile))
}

#[inline(never)] // As all readers of a room.
fn read_rule<'a>(
    rule: &Cursor<'a>,
    compile: &Compile<'_>,
    all: &mut Rules<'a>,
) -> Result<KeepRule, ConfigError> {
    let read = rule.object(|members| {
        let (mut outcomes, mut first) = (Vec::new(), None);
        for (key, read) in readers() {
            let told = members.take_even_null(key);
            if let Some(told) = told.filter(|it| MARKS.contains(&key) || !it.is_null()) {
                outcomes.push(read(&told, compile, all)?);
                first.get_or_insert(key);
            }
        }
        let mut conditions = Vec::new();
        for (key, read) in rules::CONDITIONS {
            if let Some(told) = members.take(key) {
                conditions.push(read(&told)?);
            }
        }
        let threshold = ratio(members)?.unwrap_or(Threshold::ALL);
        let name = members.take_as("name", Cursor::non_empty_text)?;
        Ok(first.map(|first| KeepRule {
            name: name.unwrap_or(first).into(),
            outcomes,
            conditions,
            threshold,
        }))
    })?;
    read.ok_or_else(|| rule.refuse(&format!("a rule with one of {}", OUTCOMES.join(", "))))
}

fn read_condition<'a>(
    told: &Cursor<'a>,
    compile: &Compile<'_>,
    all: &mut Rules<'a>,
) -> Result<OutcomeCondition, ConfigError> {
    let text = told.non_empty_text()?;
    all.texts.push(text);
    compiled(told, &expression::holds(text), compile).map(OutcomeCondition::Expression)
}

/// An expression that stands there, in these words.
#[inline(never)]
pub(super) fn compiled(
    told: &Cursor<'_>,
    text: &str,
    compile: &Compile<'_>,
) -> Result<Expression, ConfigError> {
    compile(text).ok_or_else(|| {
        told.refuse("a CEL expression over Envoy's attributes that this Envoy can compile")
    })
}
