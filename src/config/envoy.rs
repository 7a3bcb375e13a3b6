//! The root key `envoy`: what only a proxy has.

use super::EnvoyConfig;
use super::cursor::{Keys, Object};
use super::error::ConfigError;
use crate::batch::{BatchLimits, QueueFullPolicy};
use crate::export::backoff::RetryPolicy;
use crate::semconv::SpanKindSetting;
use std::time::Duration;

const ENVOY: Keys = Keys {
    accepted: &[
        "cluster",
        "span_kind",
        "max_queue_bytes",
        "max_export_batch_bytes",
        "queue_full",
        "retry",
    ],
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

const RETRY: Keys =
    Keys { accepted: &["initial_interval", "max_interval", "max_elapsed_time"], unsupported: &[] };

/// An hour, in milliseconds.
const MAX_INTERVAL: usize = 60 * 60 * 1000;
/// Bytes that a limit has at least: less than a span may need.
const MIN_BYTES: usize = 1024;
/// Bytes that a queue may hold: a tenth of what a VM may have.
const MAX_QUEUE_BYTES: usize = 100 << 20;
/// Bytes that a request may hold (OTLP, section Protobuf payload limits).
const MAX_BATCH_BYTES: usize = 64 << 20;

/// What the key says of the exporter and its queue, which OpenTelemetry's schema does not have.
#[derive(Clone, Debug)]
pub(super) struct Export {
    /// The cluster of the collector.
    pub cluster: String,
    /// The limits; those that the schema has are the defaults.
    pub limits: BatchLimits,
    /// When a batch is sent again.
    pub retry: RetryPolicy,
}

/// Reads the key.
pub(super) fn read(root: &Object<'_>) -> Result<(EnvoyConfig, Export), ConfigError> {
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
    let retry = match member("retry") {
        Some(retry) => read_retry(&retry.object(RETRY)?)?,
        None => RetryPolicy::default(),
    };
    let cluster = cluster.to_owned();
    let export = Export { cluster: cluster.clone(), limits, retry };
    Ok((EnvoyConfig { cluster, span_kind }, export))
}

fn read_retry(retry: &Object<'_>) -> Result<RetryPolicy, ConfigError> {
    let defaults = RetryPolicy::default();
    let interval = |key: &str, range| {
        let count = retry.get(key).map(|interval| interval.count(range)).transpose();
        count.map(|count| count.map(|count| Duration::from_millis(count as u64)))
    };
    let initial = interval("initial_interval", 1..=MAX_INTERVAL)?;
    // Within the other bound where only one is given.
    let shortest = initial.map_or(1, |initial| usize::try_from(initial.as_millis()).unwrap_or(1));
    let max = interval("max_interval", shortest..=MAX_INTERVAL)?;
    let max_interval = max.unwrap_or(defaults.max_interval.max(initial.unwrap_or_default()));
    Ok(RetryPolicy {
        initial_interval: initial.unwrap_or(defaults.initial_interval.min(max_interval)),
        max_interval,
        max_elapsed_time: interval("max_elapsed_time", 0..=MAX_INTERVAL)?
            .unwrap_or(defaults.max_elapsed_time),
    })
}
