//! `tracer_provider.sampler` and `OTEL_TRACES_SAMPLER`.

use super::cursor::{Cursor, Keys};
use super::environment::Environment;
use super::error::ConfigError;
use crate::sampling::{ParentBased, Sampler, Threshold};

const SAMPLERS: Keys = Keys {
    accepted: &["always_on", "always_off", "trace_id_ratio_based", "parent_based"],
    unsupported: &["composite/development", "probability/development", "jaeger_remote/development"],
};
const RATIO: Keys = Keys { accepted: &["ratio"], unsupported: &[] };
const PARENT_BASED: Keys = Keys {
    accepted: &[
        "root",
        "remote_parent_sampled",
        "remote_parent_not_sampled",
        "local_parent_sampled",
        "local_parent_not_sampled",
    ],
    unsupported: &[],
};
/// Parent-based samplers in parent-based samplers: deeper is a mistake.
const MAX_DEPTH: usize = 8;

pub(super) fn read(cursor: &Cursor<'_>) -> Result<Sampler, ConfigError> {
    read_at(cursor, 0)
}

fn read_at(cursor: &Cursor<'_>, depth: usize) -> Result<Sampler, ConfigError> {
    let object = cursor.object(SAMPLERS)?;
    let one = "an object with one of always_on, always_off, trace_id_ratio_based, parent_based";
    let (name, settings) = object.only_member().ok_or_else(|| cursor.refuse(one))?;
    if depth >= MAX_DEPTH {
        return Err(cursor.refuse("at most eight samplers within each other"));
    }
    match name {
        "always_on" => settings.object(Keys::NONE).map(|_| Sampler::AlwaysOn),
        "always_off" => settings.object(Keys::NONE).map(|_| Sampler::AlwaysOff),
        "trace_id_ratio_based" => ratio(&settings),
        _ => parent_based(&settings, depth),
    }
}

fn ratio(cursor: &Cursor<'_>) -> Result<Sampler, ConfigError> {
    let ratio = match cursor.object(RATIO)?.get("ratio") {
        None => Threshold::from_ratio(1.0),
        Some(ratio) => match Threshold::from_ratio(ratio.double()?) {
            None => return Err(ratio.refuse("a number from 0 to 1")),
            threshold => threshold,
        },
    };
    ratio.map(Sampler::TraceIdRatio).ok_or_else(|| cursor.refuse("a number from 0 to 1"))
}

fn parent_based(cursor: &Cursor<'_>, depth: usize) -> Result<Sampler, ConfigError> {
    let object = cursor.object(PARENT_BASED)?;
    let read = |key: &str, default: Sampler| match object.get(key) {
        None => Ok(default),
        Some(sampler) => read_at(&sampler, depth + 1),
    };
    let defaults = ParentBased::with_root(Sampler::AlwaysOn);
    Ok(Sampler::ParentBased(Box::new(ParentBased {
        root: read("root", defaults.root)?,
        remote_parent_sampled: read("remote_parent_sampled", defaults.remote_parent_sampled)?,
        remote_parent_not_sampled: read(
            "remote_parent_not_sampled",
            defaults.remote_parent_not_sampled,
        )?,
        local_parent_sampled: read("local_parent_sampled", defaults.local_parent_sampled)?,
        local_parent_not_sampled: read(
            "local_parent_not_sampled",
            defaults.local_parent_not_sampled,
        )?,
    })))
}

/// The default: parent-based, always on.
pub(super) fn default() -> Sampler {
    Sampler::ParentBased(Box::new(ParentBased::with_root(Sampler::AlwaysOn)))
}

pub(super) fn from_environment(
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<Sampler> {
    let name = environment.read(
        "OTEL_TRACES_SAMPLER",
        "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, \
         parentbased_traceidratio",
        warnings,
        |name| match name {
            "always_on" => Some((Root::On, Parent::Ignored)),
            "always_off" => Some((Root::Off, Parent::Ignored)),
            "traceidratio" => Some((Root::Ratio, Parent::Ignored)),
            "parentbased_always_on" => Some((Root::On, Parent::Followed)),
            "parentbased_always_off" => Some((Root::Off, Parent::Followed)),
            "parentbased_traceidratio" => Some((Root::Ratio, Parent::Followed)),
            _ => None,
        },
    );
    let (root, parent) = name?;
    let root = match root {
        Root::On => Sampler::AlwaysOn,
        Root::Off => Sampler::AlwaysOff,
        Root::Ratio => {
            let argument = environment.number("OTEL_TRACES_SAMPLER_ARG", 0.0..=1.0, warnings);
            Threshold::from_ratio(argument.unwrap_or(1.0)).map(Sampler::TraceIdRatio)?
        }
    };
    Some(match parent {
        Parent::Ignored => root,
        Parent::Followed => Sampler::ParentBased(Box::new(ParentBased::with_root(root))),
    })
}

#[derive(Clone, Copy)]
enum Root {
    On,
    Off,
    Ratio,
}

#[derive(Clone, Copy)]
enum Parent {
    Ignored,
    Followed,
}
