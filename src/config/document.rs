//! The document as a whole: its root, and the parts that are small.
//!
//! What has a file of its own is handed over to it, as the object that holds it.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::value::{Value, boolean};
use super::words::{Words, joined};
use super::{
    Config, attributes, batch, exporter, instrumentation, keep, limits, outcome, propagator,
    resource, routes, sampler, semconv, trust,
};
use crate::batch::BatchLimits;
use crate::envoy::expression::Compile;
use crate::export::ExporterConfig;
use crate::otlp::attributes::SpanLimits;
use crate::outcome::OutcomeConfig;
use crate::propagation::Unsampled;
use crate::sampling::Sampler;
use crate::semconv::route::Routes;
use crate::semconv::{HttpConfig, Semconv, SpanKindSetting, TelemetryExports};
use crate::trust::Borders;
use log::LevelFilter;
use std::time::Duration;

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
    ("server_and_client", SpanKindSetting::ServerAndClient),
];
const PROCESSORS: &Words<()> = &[("batch", ())];

/// What all requests of a worker that are under way may hold, unless it is configured: some thirty thousand usual ones.
const OPEN_BYTES: usize = 32 << 20;
/// The longest `long_streams`: a day.
const MAX_MILLISECONDS: usize = 86_400_000;
const MIN_OPEN_BYTES: usize = 64 << 10;
/// Half of what a VM may have.
const MAX_OPEN_BYTES: usize = 512 << 20;

pub(super) fn read(
    document: &Value,
    variables: &mut Variables<'_>,
    compile: &Compile<'_>,
) -> Result<Config, ConfigError> {
    let document = Cursor::root(document);
    if document.is_null() {
        return Err(document.refuse("an object"));
    }
    document.object(|root| read_root(root, variables, compile))
}

fn read_root(
    root: &mut Object<'_>,
    variables: &mut Variables<'_>,
    compile: &Compile<'_>,
) -> Result<Config, ConfigError> {
    root.unsupported(&["meter_provider", "logger_provider"]);
    root.take_as("file_format", |format| file_format(format, variables))?;
    let disabled = root
        .take_bool("disabled")?
        .or_else(|| variables.read(&["OTEL_SDK_DISABLED"], "true, false", boolean));
    let log_level = root
        .take_word("log_level", LOG_LEVELS, &[])?
        .or_else(|| variables.word(&["OTEL_LOG_LEVEL"], LOG_LEVELS));
    let attribute_limits = root.take_or_null("attribute_limits");
    let resource = root.take_object("resource", |object| resource::read(object, variables))?;
    let propagators =
        root.take_object("propagator", |object| propagator::read(object, variables))?;
    let provider = root.take_object("tracer_provider", |provider| {
        tracer_provider(provider, &attribute_limits, variables)
    })?;
    let mut http = root.take_object("instrumentation/development", instrumentation::read)?;
    let (envoy, attributes, kept) = root.take_object("envoy", |object| {
        let envoy = envoy(object, &provider.processor, &mut http, variables)?;
        Ok((envoy, attributes::read(object, compile)?, keep::read(object, compile)?))
    })?;
    // Other implementations find theirs there; editors find the schema.
    root.take_for_nothing(&["distribution"], Cursor::any_object)?;
    root.take_for_nothing(&["$schema"], Cursor::text)?;
    Ok(Config {
        disabled: disabled.unwrap_or_default(),
        log_level: log_level.unwrap_or(LevelFilter::Info),
        resource,
        propagators,
        sampler: provider.sampler,
        keep: kept.rules,
        max_spans_per_second: kept.max_spans_per_second,
        force: kept.force,
        explain: kept.explain,
        limits: provider.limits,
        batch: envoy.batch,
        exporter: envoy.exporter,
        http,
        routes: envoy.routes,
        semconv: envoy.semconv,
        attributes,
        max_open_bytes: envoy.max_open_bytes,
        span_kind: envoy.span_kind,
        unsampled: envoy.unsampled,
        borders: envoy.borders,
        outcome: envoy.outcome,
        long_streams: envoy.long_streams,
        telemetry_exports: envoy.telemetry_exports,
    })
}

/// What `tracer_provider` says.
struct TracerProvider<'a> {
    /// Its only processor, still to be read.
    processor: Cursor<'a>,
    limits: SpanLimits,
    sampler: Box<dyn Sampler>,
}

#[inline(never)] // As all readers of a room.
fn tracer_provider<'a>(
    provider: &mut Object<'a>,
    attribute_limits: &Cursor<'_>,
    variables: &mut Variables<'_>,
) -> Result<TracerProvider<'a>, ConfigError> {
    provider.unsupported(&["id_generator", "tracer_configurator/development"]);
    let processor = provider.take_as("processors", only_processor)?;
    let span_limits = provider.take_or_null("limits");
    let limits = limits::read(attribute_limits, &span_limits, variables)?;
    let processor = processor.unwrap_or_else(Cursor::nowhere);
    Ok(TracerProvider { processor, limits, sampler: sampler::read(provider, variables)? })
}

/// What `envoy` says, and the processor, of which it says a part.
struct EnvoyKey {
    routes: Routes,
    semconv: Semconv,
    span_kind: SpanKindSetting,
    max_open_bytes: usize,
    unsampled: Unsampled,
    borders: Option<Box<Borders>>,
    outcome: OutcomeConfig,
    long_streams: Option<Duration>,
    telemetry_exports: TelemetryExports,
    batch: BatchLimits,
    exporter: ExporterConfig,
}

#[inline(never)] // As all readers of a room.
fn envoy(
    envoy: &mut Object<'_>,
    processor: &Cursor<'_>,
    http: &mut HttpConfig,
    variables: &mut Variables<'_>,
) -> Result<EnvoyKey, ConfigError> {
    let cluster = exporter::cluster(envoy)?;
    let span_kind = envoy.take_word("span_kind", SPAN_KINDS, &[])?;
    let max_open_bytes = envoy.take_count("max_open_bytes", MIN_OPEN_BYTES..=MAX_OPEN_BYTES)?;
    let unsampled = propagator::unsampled(envoy)?;
    let borders = trust::read(envoy)?;
    let mut outcome = outcome::read(envoy)?;
    let routes = routes::read(envoy, http, &mut outcome)?;
    let semconv = semconv::read(envoy, &mut outcome)?;
    instrumentation::redact_common_secrets(envoy, http)?;
    let long_streams = envoy.take_milliseconds("long_streams", 1000..=MAX_MILLISECONDS)?;
    let telemetry_exports = match envoy.take_bool("trace_telemetry_exports")? {
        Some(true) => TelemetryExports::Traced,
        Some(false) | None => TelemetryExports::LeftAlone,
    };
    let (batch, exporter) = processor.object(|processor| {
        let batch = batch::read(processor, envoy, variables)?;
        Ok((batch, exporter::read(cluster, processor, envoy, variables)?))
    })?;
    Ok(EnvoyKey {
        routes,
        semconv,
        span_kind: span_kind.unwrap_or(SpanKindSetting::Auto),
        max_open_bytes: max_open_bytes.unwrap_or(OPEN_BYTES),
        unsampled,
        borders,
        outcome,
        long_streams,
        telemetry_exports,
        batch,
        exporter,
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
