//! `propagator` and `OTEL_PROPAGATORS`.
//!
//! Baggage needs no work of a proxy: it passes through untouched, named or not.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::words::{Words, listed, meaning};
use crate::propagation::Propagation;

/// A propagator that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    TraceContext,
    Baggage,
    None,
}

const IN_LISTS: &Words<Named> =
    &[("tracecontext", Named::TraceContext), ("baggage", Named::Baggage), ("none", Named::None)];
/// Without the word for none of them, the last.
const PROPAGATORS: &Words<Named> = IN_LISTS.split_at(2).0;
const UNSUPPORTED: &[&str] = &["b3", "b3multi", "jaeger", "xray", "ottrace", "datadog"];

/// What the document names, or else the variable, or else Trace Context.
pub(super) fn read(
    propagator: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Propagation, ConfigError> {
    let composite = propagator.take_as("composite", in_composite)?;
    let list = propagator.take_as("composite_list", in_list)?;
    if composite.is_none() && list.is_none() {
        let named = variables.read("OTEL_PROPAGATORS", &listed(IN_LISTS), |list| {
            names(list).map(|name| meaning(IN_LISTS, name)).collect::<Option<Vec<_>>>()
        });
        return Ok(named.map_or(Propagation::TraceContext, |named| chosen(&named)));
    }
    let named = [composite, list].into_iter().flatten().flatten();
    Ok(chosen(&named.collect::<Vec<_>>()))
}

fn in_composite(composite: &Cursor<'_>) -> Result<Vec<Named>, ConfigError> {
    let named = |item: &Cursor<'_>| {
        let (named, settings) = item.only_member(PROPAGATORS, UNSUPPORTED)?.ok_or_else(|| {
            item.refuse(&format!("an object with one of {}", listed(PROPAGATORS)))
        })?;
        settings.object(|_| Ok(named))
    };
    composite.items()?.iter().map(named).collect()
}

fn in_list(list: &Cursor<'_>) -> Result<Vec<Named>, ConfigError> {
    names(list.text()?).map(|name| list.meaning(name, IN_LISTS, UNSUPPORTED)).collect()
}

/// The names of a list.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// `none` stands for no propagator, whatever stands beside it.
fn chosen(named: &[Named]) -> Propagation {
    if named.contains(&Named::TraceContext) && !named.contains(&Named::None) {
        Propagation::TraceContext
    } else {
        Propagation::None
    }
}
