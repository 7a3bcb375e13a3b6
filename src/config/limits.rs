//! How much of a span's attributes is kept: `tracer_provider.limits`, `attribute_limits`,
//! `OTEL_SPAN_ATTRIBUTE_*_LIMIT` and `OTEL_ATTRIBUTE_*_LIMIT`, the first that says something.
//!
//! Links and events, which the schema limits, too, are what our spans don't have.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use crate::otlp::attributes::SpanLimits;

/// What one of them says.
struct Limits {
    value_length: Option<usize>,
    count: Option<usize>,
}

const MAX: usize = u32::MAX as usize;

/// Reads the limits for all signals, and those of spans, which go before.
#[inline(never)]
pub(super) fn read(
    general: &Cursor<'_>,
    of_spans: &Cursor<'_>,
    variables: &mut Variables<'_>,
) -> Result<SpanLimits, ConfigError> {
    let of_spans = of_spans.object(|limits| {
        let read = of_object(limits)?;
        // Of events and links there are none to limit.
        let others = [
            "event_count_limit",
            "link_count_limit",
            "event_attribute_count_limit",
            "link_attribute_count_limit",
        ];
        limits.take_for_nothing(&others, |limit| limit.count(0..=MAX))?;
        Ok(read)
    })?;
    let general = general.object(of_object)?;
    let count = of_spans.count.or(general.count).or_else(|| {
        let names = ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"];
        variables.count(&names, 0..=MAX)
    });
    let value_length = of_spans.value_length.or(general.value_length).or_else(|| {
        let names = ["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"];
        variables.count(&names, 0..=MAX)
    });
    Ok(SpanLimits {
        attribute_count: count.unwrap_or(SpanLimits::default().attribute_count),
        attribute_value_length: value_length,
    })
}

fn of_object(object: &mut Object<'_>) -> Result<Limits, ConfigError> {
    let mut limit = |key| object.take_count(key, 0..=MAX);
    Ok(Limits {
        value_length: limit("attribute_value_length_limit")?,
        count: limit("attribute_count_limit")?,
    })
}
