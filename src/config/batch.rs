//! The limits of the queue and of what is sent at once: of the batch processor, of the key `envoy`,
//! and of the variables `OTEL_BSP_*`.
//!
//! How long a request may take is the exporter's.

use super::cursor::Object;
use super::environment::Variables;
use super::error::ConfigError;
use super::words::Words;
use crate::batch::{BatchLimits, QueueFullPolicy};
use std::ops::RangeInclusive;

/// In milliseconds, up to ten minutes. Zero is until the next look.
const DELAYS: RangeInclusive<usize> = 0..=10 * 60 * 1000;
const MAX_SPANS: usize = 1 << 20;
/// Bytes that a limit has at least: less than a span may need.
const MIN_BYTES: usize = 1024;
/// Bytes that a queue may hold: a tenth of what a VM may have.
const MAX_QUEUE_BYTES: usize = 100 << 20;
/// Bytes that a request may hold (OTLP, section Protobuf payload limits).
const MAX_BATCH_BYTES: usize = 64 << 20;

const POLICIES: &Words<QueueFullPolicy> =
    &[("drop_newest", QueueFullPolicy::DropNewest), ("drop_oldest", QueueFullPolicy::DropOldest)];

#[inline(never)]
pub(super) fn read(
    processor: &mut Object<'_>,
    envoy: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<BatchLimits, ConfigError> {
    let defaults = BatchLimits::default();
    let schedule_delay = processor
        .take_milliseconds("schedule_delay", DELAYS)?
        .or_else(|| variables.milliseconds(&["OTEL_BSP_SCHEDULE_DELAY"], DELAYS));
    let queue_spans = processor.take_count("max_queue_size", 1..=MAX_SPANS)?;
    let batch_size = processor.take("max_export_batch_size");
    let batch_spans = batch_size.as_ref().map(|size| size.count(1..=MAX_SPANS)).transpose()?;
    let max_queue_spans = queue_spans
        .or_else(|| {
            // A variable can't make the document wrong.
            let least = batch_spans.unwrap_or(1);
            variables.count(&["OTEL_BSP_MAX_QUEUE_SIZE"], least..=MAX_SPANS)
        })
        .unwrap_or(defaults.max_queue_spans);
    let max_batch_spans = match batch_size {
        Some(size) => size.count(1..=max_queue_spans)?,
        None => variables
            .count(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 1..=max_queue_spans)
            .unwrap_or(defaults.max_batch_spans)
            .min(max_queue_spans),
    };
    let max_queue_bytes = envoy
        .take_count("max_queue_bytes", MIN_BYTES..=MAX_QUEUE_BYTES)?
        .unwrap_or(defaults.max_queue_bytes);
    let batch_bytes = MIN_BYTES..=MAX_BATCH_BYTES.min(max_queue_bytes);
    let max_batch_bytes = envoy
        .take_count("max_export_batch_bytes", batch_bytes)?
        .unwrap_or(defaults.max_batch_bytes.min(max_queue_bytes));
    let queue_full = envoy.take_word("queue_full", POLICIES, &[])?;
    Ok(BatchLimits {
        schedule_delay: schedule_delay.unwrap_or(defaults.schedule_delay),
        max_queue_spans,
        max_queue_bytes,
        max_batch_spans,
        max_batch_bytes,
        queue_full: queue_full.unwrap_or(defaults.queue_full),
    })
}
