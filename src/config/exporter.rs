//! `tracer_provider.processors`: one batch processor with one OTLP/HTTP exporter; and the variables
//! `OTEL_BSP_*` and `OTEL_EXPORTER_OTLP_*`.

use super::cursor::{Cursor, Keys, Object};
use super::endpoint::Endpoint;
use super::environment::Environment;
use super::envoy::Export;
use super::error::ConfigError;
use super::headers;
use crate::batch::BatchLimits;
use crate::export::ExporterConfig;
use std::time::Duration;

const MAX_MILLISECONDS: usize = 10 * 60 * 1000;
const MAX_SPANS: usize = 1 << 20;

const PROCESSORS: Keys = Keys { accepted: &["batch"], unsupported: &["simple"] };
const BATCH: Keys = Keys {
    accepted: &[
        "schedule_delay",
        "export_timeout",
        "max_queue_size",
        "max_export_batch_size",
        "exporter",
    ],
    unsupported: &[],
};
const EXPORTERS: Keys = Keys {
    accepted: &["otlp_http"],
    unsupported: &["otlp_grpc", "otlp_file/development", "console", "zipkin"],
};
const OTLP_HTTP: Keys = Keys {
    accepted: &["endpoint", "headers", "headers_list", "compression", "timeout", "encoding"],
    unsupported: &["tls"],
};

/// Reads the processors; `known` holds what the key `envoy` says: its cluster names the authority if no endpoint
/// does, its limits are those that the batch processor does not say.
pub(super) fn read(
    processors: Option<&Cursor<'_>>,
    known: &Export,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<(BatchLimits, ExporterConfig), ConfigError> {
    let batch = processors.map(only_batch).transpose()?.flatten();
    let exporter = match batch.as_ref().and_then(|batch| batch.get("exporter")) {
        None => None,
        Some(exporter) => {
            let one = exporter.object(EXPORTERS)?;
            match one.member("otlp_http") {
                None => return Err(exporter.refuse("an object with otlp_http")),
                Some(settings) => Some(settings.object(OTLP_HTTP)?),
            }
        }
    };
    let limits = batch_limits(batch.as_ref(), known.limits, environment, warnings)?;
    let exporter = otlp_http(exporter.as_ref(), known, environment, warnings)?;
    let longest = export_timeout(batch.as_ref(), environment, warnings)?;
    let timeout = exporter.timeout.min(longest);
    Ok((limits, ExporterConfig { timeout, ..exporter }))
}

fn only_batch<'a>(processors: &Cursor<'a>) -> Result<Option<Object<'a>>, ConfigError> {
    match processors.items()?.as_slice() {
        [] => Ok(None),
        [processor] => {
            let object = processor.object(PROCESSORS)?;
            let batch = object.member("batch");
            let batch = batch.ok_or_else(|| processor.refuse("an object with batch"))?;
            batch.object(BATCH).map(Some)
        }
        _ => Err(processors.refuse("one processor")),
    }
}

fn batch_limits(
    batch: Option<&Object<'_>>,
    defaults: BatchLimits,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<BatchLimits, ConfigError> {
    let member = |key: &str| batch.and_then(|batch| batch.get(key));
    let schedule_delay = match member("schedule_delay") {
        Some(delay) => milliseconds(delay.count(1..=MAX_MILLISECONDS)?),
        None => environment
            .number("OTEL_BSP_SCHEDULE_DELAY", 1..=MAX_MILLISECONDS, warnings)
            .map_or(defaults.schedule_delay, milliseconds),
    };
    let size = |key: &str| member(key).map(|size| size.count(1..=MAX_SPANS)).transpose();
    let batch_spans = size("max_export_batch_size")?;
    let max_queue_spans = match size("max_queue_size")? {
        Some(size) => size,
        // A variable can't make the document wrong.
        None => environment
            .number("OTEL_BSP_MAX_QUEUE_SIZE", batch_spans.unwrap_or(1)..=MAX_SPANS, warnings)
            .unwrap_or(defaults.max_queue_spans),
    };
    let max_batch_spans = match member("max_export_batch_size") {
        Some(size) => size.count(1..=max_queue_spans)?,
        None => environment
            .number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1..=max_queue_spans, warnings)
            .unwrap_or(defaults.max_batch_spans)
            .min(max_queue_spans),
    };
    Ok(BatchLimits { schedule_delay, max_queue_spans, max_batch_spans, ..defaults })
}

fn export_timeout(
    batch: Option<&Object<'_>>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Duration, ConfigError> {
    match batch.and_then(|batch| batch.get("export_timeout")) {
        Some(timeout) => timeout.count(1..=MAX_MILLISECONDS).map(milliseconds),
        None => Ok(environment
            .number("OTEL_BSP_EXPORT_TIMEOUT", 1..=MAX_MILLISECONDS, warnings)
            .map_or(Duration::from_secs(30), milliseconds)),
    }
}

fn otlp_http(
    settings: Option<&Object<'_>>,
    known: &Export,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<ExporterConfig, ConfigError> {
    let member = |key: &str| settings.and_then(|settings| settings.get(key));
    let endpoint = match member("endpoint") {
        Some(endpoint) => Some(configured_endpoint(endpoint)?),
        None => Endpoint::from_environment(environment, warnings),
    };
    let endpoint = endpoint.unwrap_or_else(|| Endpoint::of_cluster(&known.cluster));
    if endpoint.path == "/" {
        let warning = "the endpoint has no path: spans go to /, but collectors take /v1/traces";
        warnings.push(warning.to_owned());
    }
    match member("compression") {
        Some(compression) => compression.word(&[("none", ())], &["gzip"])?,
        None => only_accepted("COMPRESSION", "none", environment, warnings),
    }
    match member("encoding") {
        Some(encoding) => encoding.word(&[("protobuf", ())], &["json"])?,
        None => only_accepted("PROTOCOL", "http/protobuf", environment, warnings),
    }
    let timeout = match member("timeout") {
        Some(timeout) => Some(timeout.count(1..=MAX_MILLISECONDS)?),
        None => environment
            .signal("TIMEOUT")
            .and_then(|name| environment.number(&name, 1..=MAX_MILLISECONDS, warnings)),
    };
    Ok(ExporterConfig {
        path: endpoint.path,
        authority: endpoint.authority,
        headers: headers::read(settings, environment, warnings)?,
        timeout: timeout.map_or(Duration::from_secs(10), milliseconds),
        retry: known.retry,
    })
}

fn configured_endpoint(cursor: Cursor<'_>) -> Result<Endpoint, ConfigError> {
    let url = cursor.text()?;
    Endpoint::parse(url).ok_or_else(|| {
        // What stands before an @ may be a password.
        let cursor = if url.contains('@') { cursor.secret() } else { cursor };
        cursor
            .refuse("a URL such as http://otel-collector:4318/v1/traces, without user and password")
    })
}

/// Warns of a variable whose only supported value is `accepted`.
fn only_accepted(
    setting: &str,
    accepted: &str,
    environment: &Environment,
    warnings: &mut Vec<String>,
) {
    if let Some(name) = environment.signal(setting) {
        environment.read(&name, accepted, warnings, |value| (value == accepted).then_some(()));
    }
}

fn milliseconds(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}
