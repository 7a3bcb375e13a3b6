//! The document as a whole: its root, and the parts that are small.

use super::cursor::{Cursor, Keys, Object};
use super::environment::Environment;
use super::error::ConfigError;
use super::{Config, envoy, exporter, instrumentation, propagator, resource, sampler};
use crate::otlp::attributes::SpanLimits;
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
/// The severities of OpenTelemetry's log data model. We log nothing that is fatal.
const LOG_LEVELS: &[(&str, LevelFilter)] = &[
    ("trace", LevelFilter::Trace),
    ("trace2", LevelFilter::Trace),
    ("trace3", LevelFilter::Trace),
    ("trace4", LevelFilter::Trace),
    ("debug", LevelFilter::Debug),
    ("debug2", LevelFilter::Debug),
    ("debug3", LevelFilter::Debug),
    ("debug4", LevelFilter::Debug),
    ("info", LevelFilter::Info),
    ("info2", LevelFilter::Info),
    ("info3", LevelFilter::Info),
    ("info4", LevelFilter::Info),
    ("warn", LevelFilter::Warn),
    ("warn2", LevelFilter::Warn),
    ("warn3", LevelFilter::Warn),
    ("warn4", LevelFilter::Warn),
    ("error", LevelFilter::Error),
    ("error2", LevelFilter::Error),
    ("error3", LevelFilter::Error),
    ("error4", LevelFilter::Error),
    ("fatal", LevelFilter::Off),
    ("fatal2", LevelFilter::Off),
    ("fatal3", LevelFilter::Off),
    ("fatal4", LevelFilter::Off),
];

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
        file_format(&format, warnings)?;
    }
    let disabled = match root.get("disabled") {
        Some(disabled) => disabled.bool()?,
        None => boolean("OTEL_SDK_DISABLED", environment, warnings).unwrap_or_default(),
    };
    let (envoy, export) = envoy::read(&root)?;
    let provider = root.get("tracer_provider").map(|it| it.object(TRACER_PROVIDER)).transpose()?;
    let of_provider = |key: &str| provider.as_ref().and_then(|provider| provider.get(key));
    let limits = limits(&root, of_provider("limits").as_ref(), environment, warnings)?;
    let sampler = match of_provider("sampler") {
        Some(cursor) => sampler::read(&cursor)?,
        None => sampler::from_environment(environment, warnings).unwrap_or_else(sampler::default),
    };
    let processors = of_provider("processors");
    let (batch, exporter) = exporter::read(processors.as_ref(), &export, environment, warnings)?;
    Ok(Config {
        disabled,
        log_level: log_level(&root)?,
        resource: resource::read(root.get("resource").as_ref(), environment, warnings)?,
        propagation: propagator::read(&root, environment, warnings)?,
        sampler,
        limits,
        batch,
        exporter,
        http: instrumentation::read(&root)?,
        envoy,
    })
}

/// The major version must be the one that we read; a later minor one may say what we don't know
/// (opentelemetry-configuration, VERSIONING, section File format).
fn file_format(cursor: &Cursor<'_>, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    let accepted = || cursor.refuse("a version 1, as text, such as \"1.1\"");
    let version = cursor.text().map_err(|_| accepted())?;
    let minor = version.strip_prefix("1.").ok_or_else(accepted)?;
    if minor.is_empty() || !minor.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(accepted());
    }
    if !["0", "1"].contains(&minor) {
        warnings.push(format!("{}: {version} is later than 1.1, which is read", cursor.path()));
    }
    Ok(())
}

fn log_level(root: &Object<'_>) -> Result<LevelFilter, ConfigError> {
    let Some(level) = root.get("log_level") else { return Ok(LevelFilter::Info) };
    level.word(LOG_LEVELS, &[])
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
        let mut configured = None;
        for source in sources.iter().flatten() {
            // Both are read, so that both are checked.
            let limit = source.get(key).map(|limit| limit.count(0..=MAX)).transpose()?;
            configured = configured.or(limit);
        }
        if configured.is_some() {
            return Ok(configured);
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

fn boolean(name: &str, environment: &Environment, warnings: &mut Vec<String>) -> Option<bool> {
    environment.read(name, "true, false", warnings, |value| {
        match value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    })
}
