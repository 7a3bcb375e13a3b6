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

/// What OpenTelemetry's schema does not say of the queue: it has the limits that count spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueConfig {
    pub max_queue_bytes: usize,
    pub max_batch_bytes: usize,
    pub queue_full: QueueFullPolicy,
}

pub(super) fn read(root: &Object<'_>) -> Result<(EnvoyConfig, QueueConfig), ConfigError> {
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
    let queue = QueueConfig { max_queue_bytes, max_batch_bytes, queue_full };
    Ok((EnvoyConfig { cluster: cluster.to_owned(), span_kind }, queue))
}
