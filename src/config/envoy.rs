//! The root key `envoy`: what only a proxy has.

use super::EnvoyConfig;
use super::cursor::{Keys, Object};
use super::error::ConfigError;
use crate::batch::{BatchLimits, QueueFullPolicy};
use crate::semconv::SpanKindSetting;

const ENVOY: Keys = Keys {
    accepted: &["cluster", "span_kind", "max_queue_bytes", "max_export_batch_bytes", "queue_full"],
    unsupported: &[
        "incoming",
        "outgoing",
        "keep",
        "max_spans_per_second",
        "attributes",
        "routes",
        "semconv",
        "expose",
    ],
};

/// Bytes that a limit has at least: less than a span may need.
const MIN_BYTES: usize = 1024;
/// Bytes that a queue may hold: a tenth of what a VM may have.
const MAX_QUEUE_BYTES: usize = 100 << 20;
/// Bytes that a request may hold (OTLP, section Protobuf payload limits).
const MAX_BATCH_BYTES: usize = 64 << 20;

/// Reads the key, and those limits of the queue that OpenTelemetry's schema does not have; the others are
/// the defaults.
pub(super) fn read(root: &Object<'_>) -> Result<(EnvoyConfig, BatchLimits), ConfigError> {
    let envoy = root.get("envoy").map(|envoy| envoy.object(ENVOY)).transpose()?;
    let member = |key: &str| envoy.as_ref().and_then(|envoy| envoy.get(key));
    let cluster = match member("cluster") {
        Some(cluster) => cluster.non_empty_text()?,
        None => "otel_collector",
    };
    let kinds = [
        ("auto", SpanKindSetting::Auto),
        ("server", SpanKindSetting::Server),
        ("client", SpanKindSetting::Client),
    ];
    let span_kind = match member("span_kind") {
        Some(kind) => kind.word(&kinds, &["server_and_client"])?,
        None => SpanKindSetting::Auto,
    };
    let defaults = BatchLimits::default();
    let max_queue_bytes = match member("max_queue_bytes") {
        Some(bytes) => bytes.count(MIN_BYTES..=MAX_QUEUE_BYTES)?,
        None => defaults.max_queue_bytes,
    };
    let max_batch_bytes = match member("max_export_batch_bytes") {
        Some(bytes) => bytes.count(MIN_BYTES..=MAX_BATCH_BYTES.min(max_queue_bytes))?,
        None => defaults.max_batch_bytes.min(max_queue_bytes),
    };
    let policies = [
        ("drop_newest", QueueFullPolicy::DropNewest),
        ("drop_oldest", QueueFullPolicy::DropOldest),
    ];
    let queue_full = match member("queue_full") {
        Some(policy) => policy.word(&policies, &[])?,
        None => defaults.queue_full,
    };
    let limits = BatchLimits { max_queue_bytes, max_batch_bytes, queue_full, ..defaults };
    Ok((EnvoyConfig { cluster: cluster.to_owned(), span_kind }, limits))
}
