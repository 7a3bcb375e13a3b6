//! The document as a whole: its root, and the parts that are small.

use super::cursor::{Cursor, Keys, Object};
use super::environment::Environment;
use super::error::ConfigError;
use super::{
    Config, EnvoyConfig, HttpConfig, HttpSpanConfig, SpanKindSetting, SpanLimits, exporter,
    resource, sampler,
};
use crate::propagation::Propagation;
use crate::semconv::method::KNOWN_METHODS;
use crate::semconv::redaction::SENSITIVE_QUERY_PARAMETERS;
use log::LevelFilter;
use serde_json::Value;

const ROOT: Keys = Keys {
    accepted: &[
        "file_format",
        "disabled",
        "log_level",
        "attribute_limits",
        "resource",
        "propagator",
        "tracer_provider",
        "instrumentation/development",
        "envoy",
    ],
    unsupported: &["meter_provider", "logger_provider", "distribution"],
};
const ATTRIBUTE_LIMITS: Keys =
    Keys { accepted: &["attribute_value_length_limit", "attribute_count_limit"], unsupported: &[] };
const PROPAGATOR: Keys = Keys { accepted: &["composite", "composite_list"], unsupported: &[] };
const PROPAGATORS: Keys = Keys {
    accepted: &["tracecontext", "baggage"],
    unsupported: &["b3", "b3multi", "jaeger", "xray", "ottrace", "datadog"],
};
const TRACER_PROVIDER: Keys = Keys {
    accepted: &["processors", "limits", "sampler"],
    unsupported: &["id_generator", "tracer_configurator/development"],
};
const SPAN_LIMITS: Keys = Keys {
    accepted: &["attribute_value_length_limit", "attribute_count_limit"],
    unsupported: &[
        "event_count_limit",
        "link_count_limit",
        "event_attribute_count_limit",
        "link_attribute_count_limit",
    ],
};
const INSTRUMENTATION: Keys = Keys {
    accepted: &["general"],
    unsupported: &[
        "cpp", "dotnet", "erlang", "go", "java", "js", "php", "python", "ruby", "rust", "swift",
    ],
};
const GENERAL: Keys = Keys {
    accepted: &["http", "sanitization"],
    unsupported: &["code", "db", "gen_ai", "messaging", "rpc", "peer", "stability_opt_in_list"],
};
const HTTP: Keys = Keys { accepted: &["server", "client"], unsupported: &["semconv"] };
const HTTP_SPAN: Keys = Keys {
    accepted: &["request_captured_headers", "response_captured_headers", "known_methods"],
    unsupported: &[],
};
const SANITIZATION: Keys = Keys { accepted: &["url"], unsupported: &[] };
const URL: Keys = Keys { accepted: &["sensitive_query_parameters"], unsupported: &[] };
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

/// Bytes that a queue may hold: a tenth of what a VM may have.
const MAX_QUEUE_BYTES: usize = 100 << 20;
/// Bytes that a request may hold (OTLP, section Protobuf payload limits).
const MAX_BATCH_BYTES: usize = 64 << 20;

/// The document; no bytes are an empty one.
pub(super) fn json(bytes: &[u8]) -> Result<Value, ConfigError> {
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let problem = if bytes.trim_ascii_start().first() == Some(&b'{') {
            format!("not JSON: {error}")
        } else {
            "not JSON: it does not start with \"{\"; a google.protobuf.Struct arrives as protobuf \
             bytes, so give the configuration as a google.protobuf.StringValue with JSON in it"
                .to_owned()
        };
        ConfigError::new("", problem)
    })
}

pub(super) fn read(
    document: &Value,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Config, ConfigError> {
    let root = match document {
        Value::Object(_) => Cursor::root(document).object(ROOT)?,
        _ => return Err(Cursor::root(document).refuse("an object")),
    };
    if let Some(format) = root.get("file_format") {
        let text = format.text()?;
        if text != "1" && !text.starts_with("1.") {
            return Err(format.refuse("a version 1, such as \"1.1\""));
        }
    }
    let disabled = match root.get("disabled") {
        Some(disabled) => disabled.bool()?,
        None => boolean("OTEL_SDK_DISABLED", environment, warnings).unwrap_or_default(),
    };
    let (envoy, max_queue_bytes, max_batch_bytes) = envoy(&root)?;
    let provider = match root.get("tracer_provider") {
        None => None,
        Some(provider) => Some(provider.object(TRACER_PROVIDER)?),
    };
    let of_provider = |key: &str| provider.as_ref().and_then(|provider| provider.get(key));
    let limits = limits(&root, of_provider("limits").as_ref(), environment, warnings)?;
    let sampler = match of_provider("sampler") {
        Some(cursor) => sampler::read(&cursor)?,
        None => sampler::from_environment(environment, warnings).unwrap_or_else(sampler::default),
    };
    let processors = of_provider("processors");
    let (batch, exporter) =
        exporter::read(processors.as_ref(), &envoy.cluster, environment, warnings)?;
    let mut batch = batch;
    batch.max_queue_bytes = max_queue_bytes.unwrap_or(batch.max_queue_bytes);
    batch.max_batch_bytes =
        max_batch_bytes.unwrap_or(batch.max_batch_bytes).min(batch.max_queue_bytes);
    Ok(Config {
        disabled,
        log_level: log_level(&root)?,
        resource: resource::read(root.get("resource").as_ref(), environment, warnings)?,
        propagation: propagation(&root, environment, warnings)?,
        sampler,
        limits,
        batch,
        exporter,
        http: http(&root)?,
        envoy,
    })
}

fn log_level(root: &Object<'_>) -> Result<LevelFilter, ConfigError> {
    let Some(level) = root.get("log_level") else { return Ok(LevelFilter::Info) };
    level.word(&[
        ("trace", LevelFilter::Trace),
        ("debug", LevelFilter::Debug),
        ("info", LevelFilter::Info),
        ("warn", LevelFilter::Warn),
        ("error", LevelFilter::Error),
        ("fatal", LevelFilter::Off),
    ])
}

fn envoy(root: &Object<'_>) -> Result<(EnvoyConfig, Option<usize>, Option<usize>), ConfigError> {
    let mut config =
        EnvoyConfig { cluster: "otel_collector".to_owned(), span_kind: SpanKindSetting::Auto };
    let Some(envoy) = root.get("envoy") else { return Ok((config, None, None)) };
    let envoy = envoy.object(ENVOY)?;
    if let Some(cluster) = envoy.get("cluster") {
        cluster.non_empty_text()?.clone_into(&mut config.cluster);
    }
    if let Some(kind) = envoy.get("span_kind") {
        if kind.text()? == "server_and_client" {
            let problem = "server_and_client is not supported by this version; \
                           accepted: auto, server, client";
            return Err(ConfigError::new(kind.path(), problem));
        }
        config.span_kind = kind.word(&[
            ("auto", SpanKindSetting::Auto),
            ("server", SpanKindSetting::Server),
            ("client", SpanKindSetting::Client),
        ])?;
    }
    let bytes = |key: &str, max| envoy.get(key).map(|bytes| bytes.count(1024..=max)).transpose();
    let queue = bytes("max_queue_bytes", MAX_QUEUE_BYTES)?;
    let batch = bytes("max_export_batch_bytes", MAX_BATCH_BYTES)?;
    Ok((config, queue, batch))
}

fn limits(
    root: &Object<'_>,
    of_spans: Option<&Cursor<'_>>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<SpanLimits, ConfigError> {
    const MAX: usize = u32::MAX as usize;
    let general = root.get("attribute_limits");
    let sources = [
        of_spans.map(|limits| limits.object(SPAN_LIMITS)).transpose()?,
        general.map(|limits| limits.object(ATTRIBUTE_LIMITS)).transpose()?,
    ];
    let mut limit = |key: &str, setting: &str| {
        for source in sources.iter().flatten() {
            if let Some(limit) = source.get(key) {
                return limit.count(0..=MAX).map(Some);
            }
        }
        let variable = |name: String| environment.number(&name, 0..=MAX, warnings);
        Ok(["OTEL_SPAN_ATTRIBUTE", "OTEL_ATTRIBUTE"]
            .map(|prefix| format!("{prefix}_{setting}"))
            .into_iter()
            .find_map(variable))
    };
    let defaults = SpanLimits::default();
    Ok(SpanLimits {
        attribute_count: limit("attribute_count_limit", "COUNT_LIMIT")?
            .unwrap_or(defaults.attribute_count),
        attribute_value_length: limit("attribute_value_length_limit", "VALUE_LENGTH_LIMIT")?,
    })
}

fn propagation(
    root: &Object<'_>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Propagation, ConfigError> {
    const ACCEPTED: &str = "tracecontext, baggage, none";
    let known = |list: &str| {
        let mut names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let all_known =
            names.clone().all(|name| ["tracecontext", "baggage", "none"].contains(&name));
        let found = if names.any(|name| name == "tracecontext") {
            Propagation::TraceContext
        } else {
            Propagation::None
        };
        all_known.then_some(found)
    };
    if let Some(propagator) = root.get("propagator") {
        let object = propagator.object(PROPAGATOR)?;
        let mut found = Propagation::None;
        for item in object.get("composite").map_or(Ok(Vec::new()), |items| items.items())? {
            let one = item.object(PROPAGATORS)?;
            match one.only_member() {
                Some(("tracecontext", _)) => found = Propagation::TraceContext,
                Some(_) => {}
                None => return Err(item.refuse("an object with one of tracecontext, baggage")),
            }
        }
        if let Some(list) = object.get("composite_list") {
            match known(list.text()?) {
                Some(Propagation::TraceContext) => found = Propagation::TraceContext,
                Some(Propagation::None) => {}
                None => return Err(list.refuse(ACCEPTED)),
            }
        }
        if object.get("composite").is_some() || object.get("composite_list").is_some() {
            return Ok(found);
        }
    }
    let variable = environment.read("OTEL_PROPAGATORS", ACCEPTED, warnings, known);
    Ok(variable.unwrap_or(Propagation::TraceContext))
}

fn http(root: &Object<'_>) -> Result<HttpConfig, ConfigError> {
    let instrumentation = part(Some(root), "instrumentation/development", INSTRUMENTATION)?;
    let general = part(instrumentation.as_ref(), "general", GENERAL)?;
    let http = part(general.as_ref(), "http", HTTP)?;
    let server = part(http.as_ref(), "server", HTTP_SPAN)?;
    let client = part(http.as_ref(), "client", HTTP_SPAN)?;
    let sanitization = part(general.as_ref(), "sanitization", SANITIZATION)?;
    let url = part(sanitization.as_ref(), "url", URL)?;
    Ok(HttpConfig {
        server: http_span(server.as_ref())?,
        client: http_span(client.as_ref())?,
        sensitive_query_parameters: texts(url.as_ref(), "sensitive_query_parameters")?
            .unwrap_or_else(|| owned(SENSITIVE_QUERY_PARAMETERS)),
    })
}

/// The object at a key of an object, if both are there.
fn part<'a>(
    parent: Option<&Object<'a>>,
    key: &str,
    keys: Keys,
) -> Result<Option<Object<'a>>, ConfigError> {
    let child = parent.and_then(|parent| parent.get(key));
    child.map(|child| child.object(keys)).transpose()
}

fn http_span(settings: Option<&Object<'_>>) -> Result<HttpSpanConfig, ConfigError> {
    let headers = |key: &str| {
        let names = texts(settings, key)?.unwrap_or_default();
        Ok(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    };
    Ok(HttpSpanConfig {
        request_captured_headers: headers("request_captured_headers")?,
        response_captured_headers: headers("response_captured_headers")?,
        known_methods: texts(settings, "known_methods")?.unwrap_or_else(|| owned(KNOWN_METHODS)),
    })
}

/// A list of texts, without repetitions.
fn texts(object: Option<&Object<'_>>, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(list) = object.and_then(|object| object.get(key)) else { return Ok(None) };
    let mut texts: Vec<String> = Vec::new();
    for item in list.items()? {
        let text = item.non_empty_text()?;
        if texts.iter().all(|known| known != text) {
            texts.push(text.to_owned());
        }
    }
    Ok(Some(texts))
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn boolean(name: &str, environment: &Environment, warnings: &mut Vec<String>) -> Option<bool> {
    environment.read(name, "true, false", warnings, |value| {
        match value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    })
}
