//! `tracer_provider.processors`: one batch processor with one OTLP/HTTP exporter; and the variables
//! `OTEL_BSP_*` and `OTEL_EXPORTER_OTLP_*`.

use super::BatchLimits;
use super::cursor::{Cursor, Keys, Object};
use super::environment::Environment;
use super::error::ConfigError;
use super::list;
use std::time::Duration;

/// How to speak to the collector. Where it is, is Envoy's part: a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// `:path`.
    pub path: String,
    /// `:authority`.
    pub authority: String,
    /// Further headers, names lowercase.
    pub headers: Vec<(String, String)>,
    /// For one exchange.
    pub timeout: Duration,
}

const PATH: &str = "/v1/traces";
const MAX_MILLISECONDS: usize = 10 * 60 * 1000;
const MAX_SPANS: usize = 1 << 20;
const ENCODINGS: &str = "protobuf";

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
const HEADER: Keys = Keys { accepted: &["name", "value"], unsupported: &[] };

/// Reads the processors; `cluster` names the authority if no endpoint does.
pub(super) fn read(
    processors: Option<&Cursor<'_>>,
    cluster: &str,
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
    let limits = batch_limits(batch.as_ref(), environment, warnings)?;
    let exporter = otlp_http(exporter.as_ref(), cluster, environment, warnings)?;
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
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<BatchLimits, ConfigError> {
    let defaults = BatchLimits::default();
    let member = |key: &str| batch.and_then(|batch| batch.get(key));
    let schedule_delay = match member("schedule_delay") {
        Some(delay) => milliseconds(delay.count(1..=MAX_MILLISECONDS)?),
        None => environment
            .number("OTEL_BSP_SCHEDULE_DELAY", 1..=MAX_MILLISECONDS, warnings)
            .map_or(defaults.schedule_delay, milliseconds),
    };
    let max_queue_spans = match member("max_queue_size") {
        Some(size) => size.count(1..=MAX_SPANS)?,
        None => environment
            .number("OTEL_BSP_MAX_QUEUE_SIZE", 1..=MAX_SPANS, warnings)
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
    cluster: &str,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<ExporterConfig, ConfigError> {
    let member = |key: &str| settings.and_then(|settings| settings.get(key));
    let endpoint = match member("endpoint") {
        Some(endpoint) => Some(Endpoint::parse(endpoint.text()?).ok_or_else(|| {
            endpoint.refuse("a URL such as http://otel-collector:4318/v1/traces")
        })?),
        None => Endpoint::from_environment(environment, warnings),
    };
    let endpoint = endpoint
        .unwrap_or_else(|| Endpoint { authority: cluster.to_owned(), path: PATH.to_owned() });
    if let Some(compression) = member("compression") {
        compression.word(&[("none", ())])?;
    } else {
        refuse_variable("COMPRESSION", "none", environment, warnings);
    }
    if let Some(encoding) = member("encoding") {
        encoding.word(&[(ENCODINGS, ())])?;
    } else {
        refuse_variable("PROTOCOL", "http/protobuf", environment, warnings);
    }
    let timeout = match member("timeout") {
        Some(timeout) => Some(timeout.count(1..=MAX_MILLISECONDS)?),
        None => signal_number("TIMEOUT", environment, warnings),
    };
    Ok(ExporterConfig {
        path: endpoint.path,
        authority: endpoint.authority,
        headers: headers(settings, environment, warnings)?,
        timeout: timeout.map_or(Duration::from_secs(10), milliseconds),
    })
}

/// Headers of the exporter: `headers` before `headers_list` before the variables.
fn headers(
    settings: Option<&Object<'_>>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, String)>, ConfigError> {
    // Values may be secrets: they don't stand in errors.
    const ACCEPTED: &str = "accepted: a header's name and a value of visible ASCII characters, but \
                            none that the exporter sets itself";
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| {
        let name = name.to_ascii_lowercase();
        if headers.iter().all(|(known, _)| *known != name) {
            headers.push((name, value.to_owned()));
        }
    };
    let member = |key: &str| settings.and_then(|settings| settings.get(key));
    let (list, array) = (member("headers_list"), member("headers"));
    if let Some(array) = &array {
        for item in array.items()? {
            let header = item.object(HEADER)?;
            let text = |key: &str| match header.get(key) {
                Some(text) => text.text(),
                None => Err(item.refuse_secret("accepted: an object with name and value")),
            };
            let (name, value) = (text("name")?, text("value")?);
            if !is_header(name, value) {
                let problem = format!("found the header {name:?}; {ACCEPTED}");
                return Err(item.refuse_secret(&problem));
            }
            add(name, value);
        }
    }
    if let Some(list) = &list {
        const PAIRS: &str = "accepted: key=value pairs joined by commas, values percent-encoded";
        let pairs = list::pairs(list.text()?).map_err(|_| list.refuse_secret(PAIRS))?;
        for (name, value) in pairs {
            if !is_header(&name, &value) {
                let problem = format!("found the header {name:?}; {ACCEPTED}");
                return Err(list.refuse_secret(&problem));
            }
            add(&name, &value);
        }
    }
    if list.is_none() && array.is_none() {
        let pairs = signal(environment, "HEADERS").and_then(|name| {
            environment.read(&name, "key=value pairs of headers", warnings, |list| {
                let pairs = list::pairs(list).ok()?;
                pairs.iter().all(|(name, value)| is_header(name, value)).then_some(pairs)
            })
        });
        for (name, value) in pairs.into_iter().flatten() {
            add(&name, &value);
        }
    }
    Ok(headers)
}

/// RFC 9110, sections 5.1 and 5.5; without the headers that would break the exchange.
fn is_header(name: &str, value: &str) -> bool {
    const OURS: [&str; 7] = [
        "content-type",
        "content-length",
        "content-encoding",
        "host",
        "transfer-encoding",
        "connection",
        "user-agent",
    ];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty()
        && name.bytes().all(token)
        && !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The variable for traces, or else the one for all signals, if it is set.
fn signal(environment: &Environment, setting: &str) -> Option<String> {
    ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
        .map(|prefix| format!("{prefix}{setting}"))
        .into_iter()
        .find(|name| environment.get(name).is_some())
}

fn signal_number(
    setting: &str,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<usize> {
    environment.number(&signal(environment, setting)?, 1..=MAX_MILLISECONDS, warnings)
}

fn refuse_variable(
    setting: &str,
    accepted: &str,
    environment: &Environment,
    warnings: &mut Vec<String>,
) {
    if let Some(name) = signal(environment, setting) {
        environment.read(&name, accepted, warnings, |value| (value == accepted).then_some(()));
    }
}

fn milliseconds(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

/// What of an endpoint's URL matters: the cluster knows the rest.
struct Endpoint {
    authority: String,
    path: String,
}

impl Endpoint {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let visible = |text: &str| text.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        if authority.is_empty() || authority.contains('@') || !visible(rest) {
            return None;
        }
        let path = if path.is_empty() { "/" } else { path };
        Some(Self { authority: authority.to_owned(), path: path.to_owned() })
    }

    /// The endpoint for traces as it is; the one for all signals with the path added.
    fn from_environment(environment: &Environment, warnings: &mut Vec<String>) -> Option<Self> {
        let name = signal(environment, "ENDPOINT")?;
        environment.read(&name, "a URL such as http://otel-collector:4318", warnings, |url| {
            let endpoint = Self::parse(url)?;
            let path = match name.as_str() {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                    format!("{}{PATH}", endpoint.path.trim_end_matches('/'))
                }
                _ => endpoint.path,
            };
            Some(Self { path, ..endpoint })
        })
    }
}
