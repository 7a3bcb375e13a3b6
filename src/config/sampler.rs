//! `tracer_provider.sampler`, `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
//!
//! How a sampler decides is in `sampling`.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::json;
use super::words::{Words, listed};
use crate::sampling::{ParentBased, Sampler, Threshold};

/// Reads what is said of a sampler that has so many others around it.
type Read = fn(&mut Object<'_>, usize) -> Result<Sampler, ConfigError>;

const SAMPLERS: &Words<Read> = &[
    ("always_on", |_, _| Ok(Sampler::AlwaysOn)),
    ("always_off", |_, _| Ok(Sampler::AlwaysOff)),
    ("trace_id_ratio_based", |settings, _| ratio_based(settings)),
    ("parent_based", parent_based),
];

/// Reads the argument of a sampler that a variable names.
type ReadArgument = fn(&mut Variables<'_>) -> Sampler;

const SAMPLERS_OF_VARIABLE: &Words<ReadArgument> = &[
    ("always_on", |_| Sampler::AlwaysOn),
    ("always_off", |_| Sampler::AlwaysOff),
    ("traceidratio", ratio_of_variable),
    ("parentbased_always_on", |_| with_root(Sampler::AlwaysOn)),
    ("parentbased_always_off", |_| with_root(Sampler::AlwaysOff)),
    ("parentbased_traceidratio", |variables| with_root(ratio_of_variable(variables))),
];

/// Parent-based samplers in parent-based samplers: deeper is a mistake.
const MAX_DEPTH: usize = 8;
const RATIO: &str = "a number from 0 to 1";

/// The document's sampler, or else the variable's, or else a parent-based one that is always on.
pub(super) fn read(
    provider: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Sampler, ConfigError> {
    let sampler = provider.take_as("sampler", |sampler| read_at(sampler, 0))?;
    let sampler = sampler.or_else(|| {
        let read = variables.word("OTEL_TRACES_SAMPLER", SAMPLERS_OF_VARIABLE)?;
        Some(read(variables))
    });
    Ok(sampler.unwrap_or_else(|| with_root(Sampler::AlwaysOn)))
}

fn read_at(cursor: &Cursor<'_>, depth: usize) -> Result<Sampler, ConfigError> {
    let unsupported =
        &["composite/development", "probability/development", "jaeger_remote/development"];
    let (read, settings) = cursor
        .only_member(SAMPLERS, unsupported)?
        .ok_or_else(|| cursor.refuse(&format!("an object with one of {}", listed(SAMPLERS))))?;
    if depth >= MAX_DEPTH {
        return Err(cursor.refuse("at most eight samplers within each other"));
    }
    settings.object(|settings| read(settings, depth))
}

fn ratio_based(settings: &mut Object<'_>) -> Result<Sampler, ConfigError> {
    let threshold = settings.take_as("ratio", |ratio| {
        Threshold::from_ratio(ratio.double()?).ok_or_else(|| ratio.refuse(RATIO))
    })?;
    Ok(Sampler::TraceIdRatio(threshold.unwrap_or(Threshold::ALL)))
}

fn parent_based(settings: &mut Object<'_>, depth: usize) -> Result<Sampler, ConfigError> {
    let defaults = ParentBased::with_root(Sampler::AlwaysOn);
    let mut delegate = |key, default| {
        let sampler = settings.take_as(key, |sampler| read_at(sampler, depth + 1))?;
        Ok(sampler.unwrap_or(default))
    };
    Ok(Sampler::ParentBased(Box::new(ParentBased {
        root: delegate("root", defaults.root)?,
        remote_parent_sampled: delegate("remote_parent_sampled", defaults.remote_parent_sampled)?,
        remote_parent_not_sampled: delegate(
            "remote_parent_not_sampled",
            defaults.remote_parent_not_sampled,
        )?,
        local_parent_sampled: delegate("local_parent_sampled", defaults.local_parent_sampled)?,
        local_parent_not_sampled: delegate(
            "local_parent_not_sampled",
            defaults.local_parent_not_sampled,
        )?,
    })))
}

fn ratio_of_variable(variables: &mut Variables<'_>) -> Sampler {
    let threshold = variables.read("OTEL_TRACES_SAMPLER_ARG", RATIO, |text| {
        json::decimal(text).and_then(Threshold::from_ratio)
    });
    Sampler::TraceIdRatio(threshold.unwrap_or(Threshold::ALL))
}

fn with_root(root: Sampler) -> Sampler {
    Sampler::ParentBased(Box::new(ParentBased::with_root(root)))
}
