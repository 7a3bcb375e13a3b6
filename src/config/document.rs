//! The document as a whole: its root, and the parts that are small.
//!
//! What has a file of its own is handed over to it, as the object that holds it.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::value::{Value, boolean};
use super::words::{Words, joined};
use super::{
    Config, batch, exporter, instrumentation, limits, outcome, propagator, resource, sampler,
};
use crate::semconv::{SpanKindSetting, TelemetryExports};
use log::LevelFilter;

/// The severities of OpenTelemetry's log data model. We log nothing that is fatal.
const LOG_LEVELS: &Words<LevelFilter> = &[
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

const SPAN_KINDS: &Words<SpanKindSetting> = &[
    ("auto", SpanKindSetting::Auto),
    ("server", SpanKindSetting::Server),
    ("client", SpanKindSetting::Client),
];
const PROCESSORS: &Words<()> = &[("batch", ())];

/// What all requests of a worker that are under way may hold, unless it is configured: some thirty thousand usual ones.
const OPEN_BYTES: usize = 32 << 20;
const MIN_OPEN_BYTES: usize = 64 << 10;
/// Half of what a VM may have.
const MAX_OPEN_BYTES: usize = 512 << 20;

pub(super) fn read(document: &Value, variables: &mut Variables<'_>) -> Result<Config, ConfigError> {
    let document = Cursor::root(document);
    if document.is_null() {
        return Err(document.refuse("an object"));
    }
    document.object(|root| read_root(root, variables))
}

fn read_root(root: &mut Object<'_>, variables: &mut Variables<'_>) -> Result<Config, ConfigError> {
    root.unsupported(&["meter_provider", "logger_provider"]);
    root.take_as("file_format", |format| file_format(format, variables))?;
    let disabled = root
        .take_as("disabled", Cursor::bool)?
        .or_else(|| variables.read(&["OTEL_SDK_DISABLED"], "true, false", boolean));
    let log_level = root.take_as("log_level", |level| level.word(LOG_LEVELS, &[]))?;
    let attribute_limits = root.take_or_null("attribute_limits");
    let resource = root.take_object("resource", |object| resource::read(object, variables))?;
    let propagators =
        root.take_object("propagator", |object| propagator::read(object, variables))?;
    let (processor, limits, sampler) = root.take_object("tracer_provider", |provider| {
        provider.unsupported(&["id_generator", "tracer_configurator/development"]);
        let processor = provider.take_as("processors", only_processor)?;
        let processor = processor.unwrap_or_else(Cursor::nowhere);
        let span_limits = provider.take_or_null("limits");
        let limits = limits::read(&attribute_limits, &span_limits, variables)?;
        Ok((processor, limits, sampler::read(provider, variables)?))
    })?;
    let mut http = root.take_object("instrumentation/development", instrumentation::read)?;
    let (span_kind, max_open_bytes, unsampled, outcome, telemetry_exports, batch, exporter) = root
        .take_object("envoy", |envoy| {
            envoy.unsupported(&[
                "incoming",
                "outgoing",
                "keep",
                "max_spans_per_second",
                "attributes",
                "routes",
                "semconv",
                "expose",
            ]);
            let cluster = exporter::cluster(envoy)?;
            let kind =
                envoy.take_as("span_kind", |kind| kind.word(SPAN_KINDS, &["server_and_client"]))?;
            let max_open_bytes = envoy
                .take_as("max_open_bytes", |bytes| bytes.count(MIN_OPEN_BYTES..=MAX_OPEN_BYTES))?;
            let unsampled = propagator::unsampled(envoy)?;
            let outcome = outcome::read(envoy)?;
            instrumentation::redact_common_secrets(envoy, &mut http)?;
            let exports = match envoy.take_as("trace_telemetry_exports", Cursor::bool)? {
                Some(true) => TelemetryExports::Traced,
                Some(false) | None => TelemetryExports::LeftAlone,
            };
            let (batch, exporter) = processor.object(|processor| {
                let batch = batch::read(processor, envoy, variables)?;
                Ok((batch, exporter::read(cluster, processor, envoy, variables)?))
            })?;
            let kind = kind.unwrap_or(SpanKindSetting::Auto);
            let max_open_bytes = max_open_bytes.unwrap_or(OPEN_BYTES);
            Ok((kind, max_open_bytes, unsampled, outcome, exports, batch, exporter))
        })?;
    // Other implementations find theirs there; editors find the schema.
    root.take_for_nothing(&["distribution"], Cursor::any_object)?;
    root.take_for_nothing(&["$schema"], Cursor::text)?;
    Ok(Config {
        disabled: disabled.unwrap_or_default(),
        log_level: log_level.unwrap_or(LevelFilter::Info),
        resource,
        propagators,
        sampler,
        limits,
        batch,
        exporter,
        http,
        max_open_bytes,
        span_kind,
        unsampled,
        outcome,
        telemetry_exports,
    })
}

/// The major version must be the one that we read; a later minor one may say what we don't know
/// (opentelemetry-configuration, VERSIONING, section File format).
fn file_format(cursor: &Cursor<'_>, variables: &mut Variables<'_>) -> Result<(), ConfigError> {
    let accepted = || cursor.refuse("a version 1, as text, such as \"1.1\"");
    let version = cursor.text().map_err(|_| accepted())?;
    let minor = version.strip_prefix("1.").ok_or_else(accepted)?;
    if minor.is_empty() || !minor.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(accepted());
    }
    if !["0", "1"].contains(&minor) {
        variables.warn(format!("{}: it is later than 1.1, which is read", cursor.path()));
    }
    Ok(())
}

/// What is said of the only processor; nothing if there is none.
fn only_processor<'a>(processors: &Cursor<'a>) -> Result<Cursor<'a>, ConfigError> {
    match processors.items()?.as_slice() {
        [] => Ok(Cursor::nowhere()),
        [processor] => {
            let named = processor.only_member(PROCESSORS, &["simple"])?;
            named.map(|((), settings)| settings).ok_or_else(|| {
                processor.refuse(&format!("an object with {}", joined(PROCESSORS, " or ")))
            })
        }
        _ => Err(processors.refuse("one processor")),
    }
}
