//! `tracer_provider.processors`: one batch processor with one exporter, OTLP over HTTP or over gRPC; and the variables
//! `OTEL_BSP_*` and `OTEL_EXPORTER_OTLP_*`.

use super::cursor::{Cursor, Keys, Object};
use super::endpoint::Endpoint;
use super::environment::Environment;
use super::envoy::Export;
use super::error::ConfigError;
use super::headers;
use crate::batch::BatchLimits;
use crate::export::ExporterConfig;
use crate::export::protocol::{Compression, GRPC_PATH, Protocol};
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
    accepted: &["otlp_http", "otlp_grpc"],
    unsupported: &["otlp_file/development", "console", "zipkin"],
};
const OTLP_HTTP: Keys = Keys {
    accepted: &["endpoint", "headers", "headers_list", "compression", "timeout", "encoding"],
    unsupported: &["tls"],
};
const OTLP_GRPC: Keys = Keys {
    accepted: &["endpoint", "headers", "headers_list", "compression", "timeout"],
    unsupported: &["tls"],
};

/// What the document says of the exporter.
enum Settings<'a> {
    /// Nothing.
    None,
    Http(Object<'a>),
    Grpc(Object<'a>),
}

impl<'a> Settings<'a> {
    fn get(&self, key: &str) -> Option<Cursor<'a>> {
        match self {
            Self::None => None,
            Self::Http(settings) | Self::Grpc(settings) => settings.get(key),
        }
    }
}

/// Reads the processors; `known` holds what the key `envoy` says: its cluster names the authority if no endpoint
/// does, its limits are those that the batch processor does not say.
pub(super) fn read(
    processors: Option<&Cursor<'_>>,
    known: &Export,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<(BatchLimits, ExporterConfig), ConfigError> {
    let batch = processors.map(only_batch).transpose()?.flatten();
    let settings = match batch.as_ref().and_then(|batch| batch.get("exporter")) {
        None => Settings::None,
        Some(exporter) => {
            let one = exporter.object(EXPORTERS)?;
            match (one.member("otlp_http"), one.member("otlp_grpc")) {
                (Some(settings), None) => Settings::Http(settings.object(OTLP_HTTP)?),
                (None, Some(settings)) => Settings::Grpc(settings.object(OTLP_GRPC)?),
                // Headers may hold secrets.
                _ => return Err(exporter.secret().refuse("an object with otlp_http or otlp_grpc")),
            }
        }
    };
    let limits = batch_limits(batch.as_ref(), known.limits, environment, warnings)?;
    let exporter = otlp(&settings, known, environment, warnings)?;
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

fn otlp(
    settings: &Settings<'_>,
    known: &Export,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<ExporterConfig, ConfigError> {
    let protocol = protocol(settings, environment, warnings)?;
    let endpoint = match settings.get("endpoint") {
        Some(endpoint) => Some(configured_endpoint(endpoint, protocol)?),
        None => Endpoint::from_environment(environment, warnings),
    };
    let endpoint = endpoint.unwrap_or_else(|| Endpoint::of_cluster(&known.cluster));
    let path = match protocol {
        Protocol::Grpc => GRPC_PATH.to_owned(),
        Protocol::HttpProtobuf | Protocol::HttpJson => endpoint.path,
    };
    if path == "/" {
        let warning = "the endpoint has no path: spans go to /, but collectors take /v1/traces";
        warnings.push(warning.to_owned());
    }
    let compressions = [("none", Compression::None), ("gzip", Compression::Gzip)];
    let compression = match settings.get("compression") {
        Some(compression) => compression.word(&compressions, &[])?,
        None => {
            word("COMPRESSION", &compressions, environment, warnings).unwrap_or(Compression::None)
        }
    };
    let timeout = match settings.get("timeout") {
        Some(timeout) => Some(timeout.count(1..=MAX_MILLISECONDS)?),
        None => environment
            .signal("TIMEOUT")
            .and_then(|name| environment.number(&name, 1..=MAX_MILLISECONDS, warnings)),
    };
    let of_headers = match settings {
        Settings::None => None,
        Settings::Http(settings) | Settings::Grpc(settings) => Some(settings),
    };
    Ok(ExporterConfig {
        protocol,
        compression,
        path,
        authority: endpoint.authority,
        headers: headers::read(of_headers, environment, warnings)?,
        timeout: timeout.map_or(Duration::from_secs(10), milliseconds),
        retry: known.retry,
    })
}

/// Which protocol: a variable counts where the document has no exporter, or for the encoding of one over HTTP.
fn protocol(
    settings: &Settings<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Protocol, ConfigError> {
    const PROTOCOLS: [(&str, Protocol); 3] = [
        ("http/protobuf", Protocol::HttpProtobuf),
        ("http/json", Protocol::HttpJson),
        ("grpc", Protocol::Grpc),
    ];
    let encodings = [("protobuf", Protocol::HttpProtobuf), ("json", Protocol::HttpJson)];
    let (over_http, _) = PROTOCOLS.split_at(2);
    let variable = match settings {
        Settings::Grpc(_) => return Ok(Protocol::Grpc),
        Settings::Http(settings) => match settings.get("encoding") {
            Some(encoding) => return encoding.word(&encodings, &[]),
            None => word("PROTOCOL", over_http, environment, warnings),
        },
        Settings::None => word("PROTOCOL", &PROTOCOLS, environment, warnings),
    };
    Ok(variable.unwrap_or(Protocol::HttpProtobuf))
}

fn configured_endpoint(cursor: Cursor<'_>, protocol: Protocol) -> Result<Endpoint, ConfigError> {
    let url = cursor.text()?;
    let (example, may_have_path) = match protocol {
        Protocol::Grpc => ("http://otel-collector:4317, without a path", false),
        Protocol::HttpProtobuf | Protocol::HttpJson => {
            ("http://otel-collector:4318/v1/traces, without user and password", true)
        }
    };
    let endpoint = Endpoint::parse(url).filter(|it| may_have_path || it.path == "/");
    endpoint.ok_or_else(|| {
        // What stands before an @ may be a password.
        let cursor = if url.contains('@') { cursor.secret() } else { cursor };
        cursor.refuse(&format!("a URL such as {example}"))
    })
}

/// The value of a variable of the exporter that is one of a few words.
fn word<T: Copy>(
    setting: &str,
    words: &[(&str, T)],
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<T> {
    let name = environment.signal(setting)?;
    let accepted: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    environment.read(&name, &accepted.join(", "), warnings, |value| {
        words.iter().find_map(|(word, meaning)| (*word == value).then_some(*meaning))
    })
}

fn milliseconds(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}
