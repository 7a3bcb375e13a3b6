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
fn propagators() -> Vec<(&'static str, Named)> {
    let formats = FORMATS.iter().map(|format| (format.name(), Named::Format(*format)));
    formats.chain([("baggage", Named::Baggage)]).collect()
}

/// Those, and the word for none of them.
fn in_lists() -> Vec<(&'static str, Named)> {
    propagators().into_iter().chain([("none", Named::None)]).collect()
}

const UNSUPPORTED: &[&str] = &["b3", "b3multi", "jaeger", "xray", "ottrace", "datadog"];

const UNSAMPLED: &Words<Unsampled> = &[
    ("inject", Unsampled::Inject),
    ("pass_through", Unsampled::PassThrough),
    ("defer", Unsampled::Defer),
];

/// `envoy.unsampled`.
#[inline(never)]
pub(super) fn unsampled(envoy: &mut Object<'_>) -> Result<Unsampled, ConfigError> {
    let unsampled = envoy.take_as("unsampled", |unsampled| unsampled.word(UNSAMPLED, &[]))?;
    Ok(unsampled.unwrap_or(Unsampled::Inject))
}

/// What the document names, or else the variable, or else Trace Context.
#[inline(never)]
pub(super) fn read(
    propagator: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Propagators, ConfigError> {
    let composite = propagator.take_as("composite", in_composite)?;
    let list = propagator.take_as("composite_list", in_list)?;
    if composite.is_none() && list.is_none() {
        let words = in_lists();
        let named = variables.read(&["OTEL_PROPAGATORS"], &listed(&words), |list| {
            names(list).map(|name| meaning_in_any_case(&words, name)).collect::<Option<Vec<_>>>()
        });
        return Ok(chosen(&named.unwrap_or_else(|| vec![Named::Format(&TraceContext)])));
    }
    let named = [composite, list].into_iter().flatten().flatten();
    Ok(chosen(&named.collect::<Vec<_>>()))
}

fn in_composite(composite: &Cursor<'_>) -> Result<Vec<Named>, ConfigError> {
    let words = propagators();
    let named = |item: &Cursor<'_>| {
        let (named, settings) = item
            .only_member(&words, UNSUPPORTED)?
            .ok_or_else(|| item.refuse(&format!("an object with one of {}", listed(&words))))?;
        settings.object(|_| Ok(named))
    };
    composite.items()?.iter().map(named).collect()
}

fn in_list(list: &Cursor<'_>) -> Result<Vec<Named>, ConfigError> {
    let words = in_lists();
    names(list.text()?).map(|name| list.meaning(name, &words, UNSUPPORTED)).collect()
}

/// The names of a list.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
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
