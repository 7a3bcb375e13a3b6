//! `propagator` and `OTEL_PROPAGATORS`.
//!
//! Baggage needs no work of a proxy: it passes through untouched, named or not.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::words::{Words, listed, meaning_in_any_case};
use crate::propagation::trace_context::TraceContext;
use crate::propagation::{FORMATS, Propagator, Propagators, Unsampled};

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Named {
    Format(&'static dyn Propagator),
    Baggage,
    None,
}

/// The formats of `propagation`, in their order, and baggage.
#[inline(never)]
fn propagators() -> Vec<(&'static str, Named)> {
    let mut words = Vec::new();
    for format in FORMATS {
        words.push((format.name(), Named::Format(*format)));
    }
    words.push(("baggage", Named::Baggage));
    words
}

/// Those, and the word for none of them.
fn in_lists() -> Vec<(&'static str, Named)> {
    let mut words = propagators();
    words.push(("none", Named::None));
    words
}

const UNSAMPLED: &Words<Unsampled> = &[
    ("inject", Unsampled::Inject),
    ("pass_through", Unsampled::PassThrough),
    ("defer", Unsampled::Defer),
];

/// `envoy.unsampled`.
#[inline(never)]
pub(super) fn unsampled(envoy: &mut Object<'_>) -> Result<Unsampled, ConfigError> {
    let unsampled = envoy.take_word("unsampled", UNSAMPLED, &[])?;
    Ok(unsampled.unwrap_or(Unsampled::Inject))
}

/// What the document names, or else the variable, or else Trace Context.
#[inline(never)]
pub(super) fn read(
    propagator: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Propagators, ConfigError> {
    let composite = propagator.take("composite");
    let mut named = Vec::new();
    if let Some(composite) = &composite {
        in_composite(composite, &mut named)?;
    }
    let list = propagator.take("composite_list");
    if let Some(list) = &list {
        in_list(list, &mut named)?;
    }
    if composite.is_none() && list.is_none() {
        named = of_variable(variables).unwrap_or_else(|| vec![Named::Format(&TraceContext)]);
    }
    Ok(chosen(&named))
}

#[inline(never)]
fn in_composite(composite: &Cursor<'_>, found: &mut Vec<Named>) -> Result<(), ConfigError> {
    let words = propagators();
    for item in composite.items()? {
        let (named, settings) = item
            .only_member(&words, &[])?
            .ok_or_else(|| item.refuse(&format!("an object with one of {}", listed(&words))))?;
        settings.object(|_| Ok(()))?;
        found.push(named);
    }
    Ok(())
}

#[inline(never)]
fn in_list(list: &Cursor<'_>, found: &mut Vec<Named>) -> Result<(), ConfigError> {
    let words = in_lists();
    for name in names(list.text()?) {
        found.push(list.meaning(name, &words, &[])?);
    }
    Ok(())
}

#[inline(never)]
fn of_variable(variables: &mut Variables<'_>) -> Option<Vec<Named>> {
    let words = in_lists();
    variables.read(&["OTEL_PROPAGATORS"], &listed(&words), |list| {
        let mut found = Vec::new();
        for name in names(list) {
            found.push(meaning_in_any_case(&words, name)?);
        }
        Some(found)
    })
}

/// The names of a list.
#[inline(never)]
fn names(list: &str) -> Vec<&str> {
    let mut names: Vec<_> = list.split(',').map(str::trim).collect();
    names.retain(|name| !name.is_empty());
    names
}

/// Each format once. `none` stands for no propagator, whatever stands beside it.
fn chosen(named: &[Named]) -> Propagators {
    let mut formats: Vec<&'static dyn Propagator> = Vec::new();
    for name in named {
        match name {
            Named::None => return Propagators::default(),
            Named::Format(format) if formats.iter().all(|it| it.name() != format.name()) => {
                formats.push(*format);
            }
            Named::Format(_) | Named::Baggage => {}
        }
    }
    formats.into_iter().collect()
}
