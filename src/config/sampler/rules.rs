//! `rule_based`: rules, and what they ask of a request.

use super::super::cursor::Cursor;
use super::super::error::ConfigError;
use super::super::words::{Words, joined};
use super::composable;
use crate::otlp::SpanKind;
use crate::sampling::{Condition, Parent, Pattern, Patterns, Rule, RuleBased, Sampler};
use crate::semconv::start::{NAMES, StartAttribute};

/// Kinds of spans. Those that a proxy has none of match none.
const SPAN_KINDS: &Words<Option<SpanKind>> = &[
    ("internal", None),
    ("server", Some(SpanKind::Server)),
    ("client", Some(SpanKind::Client)),
    ("producer", None),
    ("consumer", None),
];

const PARENTS: &Words<Parent> =
    &[("none", Parent::None), ("remote", Parent::Remote), ("local", Parent::Local)];

/// Reads what is said of a condition.
pub(in crate::config) type Read = fn(&Cursor<'_>) -> Result<Condition, ConfigError>;

pub(in crate::config) const CONDITIONS: &Words<Read> = &[
    ("attribute_values", values),
    ("attribute_patterns", patterns),
    ("span_kinds", span_kinds),
    ("parent", |list| Ok(Condition::Parents(words(list, PARENTS)?))),
];

/// The sampler of these rules; it has so many others around it.
pub(super) fn read(settings: &Cursor<'_>, depth: usize) -> Result<Box<dyn Sampler>, ConfigError> {
    let mut rules = Vec::new();
    if let Some(list) = settings.object(|settings| Ok(settings.take("rules")))? {
        for rule in list.some_items()? {
            rules.push(read_rule(&rule, depth)?);
        }
    }
    Ok(Box::new(RuleBased(rules)))
}

fn read_rule(rule: &Cursor<'_>, depth: usize) -> Result<Rule, ConfigError> {
    let (conditions, sampler) = rule.object(|rule| {
        let mut conditions = Vec::new();
        for (key, read) in CONDITIONS {
            if let Some(condition) = rule.take(key) {
                conditions.push(read(&condition)?);
            }
        }
        Ok((conditions, rule.take_needed("sampler")))
    })?;
    Ok(Rule { conditions, sampler: composable(&sampler, depth)? })
}

fn values(settings: &Cursor<'_>) -> Result<Condition, ConfigError> {
    let (key, values) = settings
        .object(|settings| Ok((settings.take_needed("key"), settings.take_needed("values"))))?;
    Ok(Condition::Values(attribute(&key)?, texts(&values)?))
}

fn patterns(settings: &Cursor<'_>) -> Result<Condition, ConfigError> {
    let (key, lists) = settings.object(|settings| {
        let lists = ["included", "excluded"].map(|key| settings.take(key));
        Ok((settings.take_needed("key"), lists))
    })?;
    let attribute = attribute(&key)?;
    let mut patterns = Patterns::default();
    let kinds = [&mut patterns.included, &mut patterns.excluded];
    for (list, patterns) in lists.iter().zip(kinds) {
        if let Some(list) = list {
            patterns.extend(texts(list)?.into_iter().map(Pattern::new));
        }
    }
    Ok(Condition::Patterns(attribute, patterns))
}

fn attribute(key: &Cursor<'_>) -> Result<StartAttribute, ConfigError> {
    StartAttribute::parse(key.text()?).ok_or_else(|| {
        let names = joined(&NAMES, ", ");
        key.refuse(&format!("{names}, http.request.header.NAME in lowercase"))
    })
}

fn span_kinds(list: &Cursor<'_>) -> Result<Condition, ConfigError> {
    Ok(Condition::SpanKinds(words(list, SPAN_KINDS)?.into_iter().flatten().collect()))
}

#[inline(never)] // Read once: what makes the module smaller goes before what makes it faster.
pub(in crate::config) fn texts(list: &Cursor<'_>) -> Result<Vec<Box<str>>, ConfigError> {
    let mut texts = Vec::new();
    for text in list.some_items()? {
        texts.push(text.text()?.into());
    }
    Ok(texts)
}

/// What each word of a list stands for.
fn words<T: Copy>(list: &Cursor<'_>, accepted: &Words<T>) -> Result<Vec<T>, ConfigError> {
    let mut meanings = Vec::new();
    for word in list.some_items()? {
        meanings.push(word.word(accepted, &[])?);
    }
    Ok(meanings)
}
