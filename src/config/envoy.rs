//! The root key `envoy`: what only a proxy has.

use super::cursor::{Keys, Object};
use super::error::ConfigError;
use super::{BatchLimits, EnvoyConfig, SpanKindSetting};

const ENVOY: Keys = Keys {
    accepted: &["cluster", "span_kind", "max_queue_bytes", "max_export_batch_bytes"],
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

/// The limits that count bytes; the schema has those that count spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteLimits {
    pub queue: usize,
    pub batch: usize,
}

pub(super) fn read(root: &Object<'_>) -> Result<(EnvoyConfig, ByteLimits), ConfigError> {
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
    let queue = match member("max_queue_bytes") {
        Some(bytes) => bytes.count(MIN_BYTES..=MAX_QUEUE_BYTES)?,
        None => defaults.max_queue_bytes,
    };
    let batch = match member("max_export_batch_bytes") {
        Some(bytes) => bytes.count(MIN_BYTES..=MAX_BATCH_BYTES.min(queue))?,
        None => defaults.max_batch_bytes.min(queue),
    };
    Ok((EnvoyConfig { cluster: cluster.to_owned(), span_kind }, ByteLimits { queue, batch }))
}
