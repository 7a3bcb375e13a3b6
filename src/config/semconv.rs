//! `envoy.semconv`: by which names spans are written.
//!
//! What Envoy's own tracer calls its tags is `semconv`'s knowledge.

use super::cursor::Object;
use super::error::ConfigError;
use super::words::Words;
use crate::envoy::attributes::Detail;
use crate::outcome::{OutcomeConfig, Tags};
use crate::semconv::Semconv;

const SEMCONV: &Words<Semconv> = &[
    ("stable", Semconv::Stable),
    ("stable_and_legacy", Semconv::StableAndLegacy),
    ("legacy", Semconv::Legacy),
];

/// Reads the names. What those of Envoy's tracer need of how a request ended is read of each.
#[inline(never)]
pub(super) fn read(
    envoy: &mut Object<'_>,
    outcome: &mut OutcomeConfig,
) -> Result<Semconv, ConfigError> {
    let semconv = envoy.take_word("semconv", SEMCONV, &[])?.unwrap_or(Semconv::Stable);
    if semconv != Semconv::Stable {
        outcome.tags = Tags::Read;
        outcome.details = outcome.details.with(Detail::ClusterName);
    }
    Ok(semconv)
}
