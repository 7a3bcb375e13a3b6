//! `propagator` and `OTEL_PROPAGATORS`.
//!
//! Baggage needs no work of a proxy: it passes through untouched, named or not.

use super::cursor::{Cursor, Keys, Object};
use super::environment::Environment;
use super::error::ConfigError;
use crate::propagation::Propagation;

const PROPAGATOR: Keys = Keys { accepted: &["composite", "composite_list"], unsupported: &[] };
const COMPOSITE: Keys = Keys { accepted: &["tracecontext", "baggage"], unsupported: UNSUPPORTED };
const UNSUPPORTED: &[&str] = &["b3", "b3multi", "jaeger", "xray", "ottrace", "datadog"];
const LISTED: &str = "tracecontext, baggage, none";

/// What the document names, or else the variable, or else Trace Context.
pub(super) fn read(
    root: &Object<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Propagation, ConfigError> {
    let propagator = root.get("propagator").map(|it| it.object(PROPAGATOR)).transpose()?;
    let member = |key: &str| propagator.as_ref().and_then(|propagator| propagator.get(key));
    let (composite, list) = (member("composite"), member("composite_list"));
    if composite.is_none() && list.is_none() {
        let named = environment.read("OTEL_PROPAGATORS", LISTED, warnings, |list| {
            names(list).map(Name::of).collect::<Option<Vec<_>>>()
        });
        return Ok(named.map_or(Propagation::TraceContext, |names| chosen(&names)));
    }
    let mut named = Vec::new();
    for item in composite.map_or(Ok(Vec::new()), |composite| composite.items())? {
        named.push(in_composite(&item)?);
    }
    if let Some(list) = list {
        for name in names(list.text()?) {
            let refusal = || {
                if UNSUPPORTED.contains(&name) {
                    list.not_supported(name, LISTED)
                } else {
                    list.refuse(LISTED)
                }
            };
            named.push(Name::of(name).ok_or_else(refusal)?);
        }
    }
    Ok(chosen(&named))
}

fn in_composite(cursor: &Cursor<'_>) -> Result<Name, ConfigError> {
    let one = || cursor.refuse("an object with one of tracecontext, baggage");
    let (name, settings) = cursor.object(COMPOSITE)?.only_member().ok_or_else(one)?;
    settings.object(Keys::NONE)?;
    Name::of(name).ok_or_else(one)
}

/// A propagator that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    TraceContext,
    Baggage,
    None,
}

impl Name {
    fn of(text: &str) -> Option<Self> {
        match text {
            "tracecontext" => Some(Self::TraceContext),
            "baggage" => Some(Self::Baggage),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// The names of a list.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// `none` stands for no propagator, whatever stands beside it.
fn chosen(names: &[Name]) -> Propagation {
    if names.contains(&Name::TraceContext) && !names.contains(&Name::None) {
        Propagation::TraceContext
    } else {
        Propagation::None
    }
}
