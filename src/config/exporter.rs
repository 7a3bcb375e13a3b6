//! How spans are sent: the exporter of the batch processor, OTLP over HTTP or over gRPC; `cluster` and
//! `retry` of the key `envoy`; and the variables `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_EXPORT_TIMEOUT`.
//!
//! What a URL means is in `endpoint`, which headers may be sent is in `headers`.

use super::cursor::{Cursor, Object};
use super::endpoint::Endpoint;
use super::environment::Variables;
use super::error::ConfigError;
use super::headers;
use super::words::{Words, joined};
use crate::export::ExporterConfig;
use crate::export::backoff::RetryPolicy;
use crate::export::protocol::{Compression, GRPC_PATH, Protocol};
use std::ops::RangeInclusive;
use std::time::Duration;

/// In milliseconds, up to ten minutes. Zero is no limit.
const TIMEOUTS: RangeInclusive<usize> = 0..=10 * 60 * 1000;
/// What no limit is: a collector that never answers must not silence a worker for good.
const NO_LIMIT: Duration = Duration::from_mins(10);
/// An hour, in milliseconds.
const MAX_INTERVAL: usize = 60 * 60 * 1000;

// Those for traces go before those for all signals.
const PROTOCOL: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const COMPRESSION: &[&str] =
    &["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const TIMEOUT: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// How the protocol of an exporter is found.
type ReadProtocol = fn(&mut Object<'_>, &mut Variables<'_>) -> Result<Protocol, ConfigError>;

const EXPORTERS: &Words<ReadProtocol> =
    &[("otlp_http", over_http), ("otlp_grpc", |_, _| Ok(Protocol::Grpc))];
/// Where the document has no exporter.
const NO_EXPORTER: ReadProtocol = |_, variables| {
    let protocol = variables.word(PROTOCOL, PROTOCOLS);
    Ok(protocol.unwrap_or(Protocol::HttpProtobuf))
};
const ENCODINGS: &Words<Protocol> =
    &[("protobuf", Protocol::HttpProtobuf), ("json", Protocol::HttpJson)];
const PROTOCOLS: &Words<Protocol> = &[
    ("http/protobuf", Protocol::HttpProtobuf),
    ("http/json", Protocol::HttpJson),
    ("grpc", Protocol::Grpc),
];
/// Without gRPC, the last.
const PROTOCOLS_OVER_HTTP: &Words<Protocol> = PROTOCOLS.split_at(2).0;
const COMPRESSIONS: &Words<Compression> =
    &[("none", Compression::None), ("gzip", Compression::Gzip)];

/// The cluster of the collector.
pub(super) fn cluster(envoy: &mut Object<'_>) -> Result<String, ConfigError> {
    let cluster = envoy.take_as("cluster", Cursor::non_empty_text)?;
    Ok(cluster.unwrap_or("otel_collector").to_owned())
}

/// Reads the rest.
#[inline(never)]
pub(super) fn read(
    cluster: String,
    processor: &mut Object<'_>,
    envoy: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<ExporterConfig, ConfigError> {
    let longest = processor
        .take_milliseconds("export_timeout", TIMEOUTS)?
        .or_else(|| variables.milliseconds(&["OTEL_BSP_EXPORT_TIMEOUT"], TIMEOUTS))
        .map_or(Duration::from_secs(30), limit);
    // Headers and endpoints may hold secrets.
    let exporter = processor.take("exporter").map(Cursor::secret);
    let (read_protocol, settings) = match exporter {
        None => (NO_EXPORTER, Cursor::nowhere()),
        Some(exporter) => only_exporter(&exporter)?,
    };
    let retry = envoy.take_object("retry", retry)?;
    settings.object(|settings| {
        settings.unsupported(&["tls"]);
        let endpoint = settings.take("endpoint");
        let headers = headers::read(settings, variables)?;
        let compression = settings
            .take_word("compression", COMPRESSIONS, &[])?
            .or_else(|| variables.word(COMPRESSION, COMPRESSIONS));
        let timeout = settings
            .take_milliseconds("timeout", TIMEOUTS)?
            .or_else(|| variables.milliseconds(TIMEOUT, TIMEOUTS))
            .map_or(Duration::from_secs(10), limit);
        let protocol = read_protocol(settings, variables)?;
        let Endpoint { authority, path, .. } =
            endpoint_for(endpoint, protocol, &cluster, variables)?;
        Ok(ExporterConfig {
            cluster,
            protocol,
            compression: compression.unwrap_or(Compression::None),
            path,
            authority,
            headers,
            timeout: timeout.min(longest),
            retry,
        })
    })
}

fn only_exporter<'a>(cursor: &Cursor<'a>) -> Result<(ReadProtocol, Cursor<'a>), ConfigError> {
    let unsupported = &["otlp_file/development", "console", "zipkin"];
    let exporter = cursor.only_member(EXPORTERS, unsupported)?;
    exporter.ok_or_else(|| cursor.refuse(&format!("an object with {}", joined(EXPORTERS, " or "))))
}

/// Where to, and the protocol's own path if it has one. The cluster names the authority if nothing else does.
#[inline(never)]
fn endpoint_for(
    configured: Option<Cursor<'_>>,
    protocol: Protocol,
    cluster: &str,
    variables: &mut Variables<'_>,
) -> Result<Endpoint, ConfigError> {
    let endpoint = match configured {
        Some(endpoint) => Some(Endpoint::of_document(&endpoint, protocol)?),
        None => Endpoint::of_variable(variables),
    };
    let endpoint = endpoint.unwrap_or_else(|| Endpoint::of_cluster(cluster));
    if endpoint.is_https {
        variables.warn(
            "the endpoint is https, which does nothing: the cluster decides, and must have a transport_socket for TLS",
        );
    }
    if protocol == Protocol::Grpc {
        return Ok(Endpoint { path: GRPC_PATH.to_owned(), ..endpoint });
    }
    if endpoint.path == "/" {
        variables.warn("the endpoint has no path: spans go to /, but collectors take /v1/traces");
    }
    Ok(endpoint)
}

/// Over HTTP: the variable counts for the encoding alone.
fn over_http(
    settings: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Protocol, ConfigError> {
    let protocol = settings
        .take_word("encoding", ENCODINGS, &[])?
        .or_else(|| variables.word(PROTOCOL, PROTOCOLS_OVER_HTTP));
    Ok(protocol.unwrap_or(Protocol::HttpProtobuf))
}

/// A timeout as it is configured.
fn limit(timeout: Duration) -> Duration {
    if timeout.is_zero() { NO_LIMIT } else { timeout }
}

#[inline(never)]
fn retry(retry: &mut Object<'_>) -> Result<RetryPolicy, ConfigError> {
    let defaults = RetryPolicy::default();
    let milliseconds = |count: usize| Duration::from_millis(count as u64);
    let mut interval = |key, range| retry.take_count(key, range);
    let initial = interval("initial_interval", 1..=MAX_INTERVAL)?;
    let max = interval("max_interval", initial.unwrap_or(1)..=MAX_INTERVAL)?.map(milliseconds);
    let elapsed = interval("max_elapsed_time", 0..=MAX_INTERVAL)?.map(milliseconds);
    let initial = initial.map(milliseconds);
    // Where only one of two bounds is given, the other one moves.
    let max = max.unwrap_or(defaults.max_interval.max(initial.unwrap_or_default()));
    Ok(RetryPolicy {
        initial_interval: initial.unwrap_or(defaults.initial_interval.min(max)),
        max_interval: max,
        max_elapsed_time: elapsed.unwrap_or(defaults.max_elapsed_time),
    })
}
