//! `tracer_provider.sampler`, `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
//!
//! How a sampler decides is in `sampling`; what a rule may ask is read in `rules`.

pub(super) mod rules;

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::json;
use super::words::{Words, listed};
use crate::sampling::{
    AlwaysOff, AlwaysOn, ParentBased, ParentThreshold, Sampler, Threshold, TraceIdRatio,
};

/// Reads what is said of a sampler that has so many others around it.
type Read = fn(&Cursor<'_>, usize) -> Result<Box<dyn Sampler>, ConfigError>;

const SAMPLERS: &Words<Read> = &[
    ("always_on", |settings, _| constant(settings, AlwaysOn)),
    ("always_off", |settings, _| constant(settings, AlwaysOff)),
    ("trace_id_ratio_based", |settings, _| ratio_based(settings)),
    ("parent_based", parent_based),
    ("probability/development", |settings, _| ratio_based(settings)),
    ("composite/development", composable),
    ("always_record", always_record),
];

/// What `composite/development` is made of.
const COMPOSABLE: &Words<Read> = &[
    ("always_on", |settings, _| constant(settings, AlwaysOn)),
    ("always_off", |settings, _| constant(settings, AlwaysOff)),
    ("probability", |settings, _| ratio_based(settings)),
    ("parent_threshold", parent_threshold),
    ("rule_based", rules::read),
];

/// Reads the argument of a sampler that a variable names.
type ReadArgument = fn(&mut Variables<'_>) -> Box<dyn Sampler>;

const SAMPLERS_OF_VARIABLE: &Words<ReadArgument> = &[
    ("always_on", |_| Box::new(AlwaysOn)),
    ("always_off", |_| Box::new(AlwaysOff)),
    ("traceidratio", |variables| Box::new(ratio_of_variable(variables))),
    ("parentbased_always_on", |_| parent_based_on(AlwaysOn)),
    ("parentbased_always_off", |_| parent_based_on(AlwaysOff)),
    ("parentbased_traceidratio", |variables| parent_based_on(ratio_of_variable(variables))),
];

/// Samplers within samplers: deeper is a mistake.
const MAX_DEPTH: usize = 8;
const RATIO: &str = "a number from 0 to 1";

/// The document's sampler, or else the variable's, or else a parent-based one that is always on.
#[inline(never)]
pub(super) fn read(
    provider: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Box<dyn Sampler>, ConfigError> {
    let sampler = provider.take_as("sampler", |sampler| read_at(sampler, SAMPLERS, 0))?;
    let sampler = sampler.or_else(|| {
        let read = variables.word(&["OTEL_TRACES_SAMPLER"], SAMPLERS_OF_VARIABLE)?;
        Some(read(variables))
    });
    Ok(sampler.unwrap_or_else(|| parent_based_on(AlwaysOn)))
}

/// Reads one of these samplers.
fn read_at(
    cursor: &Cursor<'_>,
    samplers: &Words<Read>,
    depth: usize,
) -> Result<Box<dyn Sampler>, ConfigError> {
    let (read, settings) = cursor
        .only_member(samplers, &["jaeger_remote/development"])?
        .ok_or_else(|| cursor.refuse(&format!("an object with one of {}", listed(samplers))))?;
    if depth >= MAX_DEPTH {
        return Err(cursor.refuse("at most eight samplers within each other"));
    }
    read(&settings, depth)
}

fn constant(
    settings: &Cursor<'_>,
    sampler: impl Sampler + 'static,
) -> Result<Box<dyn Sampler>, ConfigError> {
    settings.object(|_| Ok(()))?;
    Ok(Box::new(sampler))
}

fn ratio_based(settings: &Cursor<'_>) -> Result<Box<dyn Sampler>, ConfigError> {
    let threshold = settings.object(ratio)?;
    Ok(Box::new(TraceIdRatio(threshold.unwrap_or(Threshold::ALL))))
}

/// The threshold of `ratio`.
#[inline(never)] // Read once: small goes before fast.
pub(super) fn ratio(settings: &mut Object<'_>) -> Result<Option<Threshold>, ConfigError> {
    settings.take_as("ratio", |ratio| {
        Threshold::from_ratio(ratio.double()?).ok_or_else(|| ratio.refuse_number(RATIO))
    })
}

fn parent_based(settings: &Cursor<'_>, depth: usize) -> Result<Box<dyn Sampler>, ConfigError> {
    let mut sampler = ParentBased::with_root(AlwaysOn);
    settings.object(|settings| {
        let mut delegate = |key, delegate: &mut Box<dyn Sampler>| -> Result<(), ConfigError> {
            if let Some(configured) =
                settings.take_as(key, |it| read_at(it, SAMPLERS, depth + 1))?
            {
                *delegate = configured;
            }
            Ok(())
        };
        delegate("root", &mut sampler.root)?;
        delegate("remote_parent_sampled", &mut sampler.remote_parent_sampled)?;
        delegate("remote_parent_not_sampled", &mut sampler.remote_parent_not_sampled)?;
        // A proxy's parents are all remote: these two are checked and not used.
        for key in ["local_parent_sampled", "local_parent_not_sampled"] {
            settings.take_as(key, |it| read_at(it, SAMPLERS, depth + 1))?;
        }
        Ok(())
    })?;
    Ok(Box::new(sampler))
}

/// Records what is not exported, too (OpenTelemetry, Tracing SDK, section `AlwaysRecord`). Nobody here would see that, so its root
/// stands in its place.
fn always_record(settings: &Cursor<'_>, depth: usize) -> Result<Box<dyn Sampler>, ConfigError> {
    let root = settings.object(|settings| Ok(settings.take_needed("root")))?;
    read_at(&root, SAMPLERS, depth + 1)
}

/// One of [`COMPOSABLE`].
fn composable(cursor: &Cursor<'_>, depth: usize) -> Result<Box<dyn Sampler>, ConfigError> {
    read_at(cursor, COMPOSABLE, depth + 1)
}

fn parent_threshold(settings: &Cursor<'_>, depth: usize) -> Result<Box<dyn Sampler>, ConfigError> {
    let root = settings.object(|settings| Ok(settings.take_needed("root")))?;
    Ok(Box::new(ParentThreshold { root: composable(&root, depth)? }))
}

fn ratio_of_variable(variables: &mut Variables<'_>) -> TraceIdRatio {
    let threshold = variables.read(&["OTEL_TRACES_SAMPLER_ARG"], RATIO, |text| {
        json::decimal(text).and_then(Threshold::from_ratio)
    });
    TraceIdRatio(threshold.unwrap_or(Threshold::ALL))
}

fn parent_based_on(root: impl Sampler + 'static) -> Box<dyn Sampler> {
    Box::new(ParentBased::with_root(root))
}
