//! What people configure: JSON in the shape of OpenTelemetry's declarative configuration, one root
//! key `envoy` for what only a proxy has, and the `OTEL_*` variables where the JSON is silent.
//!
//! Read once, at the border: what comes out is valid. Nothing here asks the host.

mod cursor;
mod document;
mod endpoint;
mod environment;
mod envoy;
mod error;
mod exporter;
mod headers;
mod instrumentation;
mod json;
mod list;
mod propagator;
mod resource;
mod sampler;

pub use environment::Environment;
pub use error::ConfigError;
pub use exporter::ExporterConfig;
pub use list::ListError;

use crate::propagation::Propagation;
use crate::resource::AttributeValue;
use crate::sampling::Sampler;
use std::time::Duration;

/// A complete, valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `disabled`, `OTEL_SDK_DISABLED`: requests pass untouched.
    pub disabled: bool,
    /// `log_level`: of the filter's own messages.
    pub log_level: log::LevelFilter,
    /// `resource`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`: what was configured, each name once.
    pub resource: Vec<(String, AttributeValue)>,
    /// `propagator`, `OTEL_PROPAGATORS`.
    pub propagation: Propagation,
    /// `tracer_provider.sampler`, `OTEL_TRACES_SAMPLER`.
    pub sampler: Sampler,
    /// `tracer_provider.limits`, `attribute_limits`, `OTEL_SPAN_*_LIMIT`, `OTEL_ATTRIBUTE_*_LIMIT`.
    pub limits: SpanLimits,
    /// `tracer_provider.processors[0].batch`, `OTEL_BSP_*`.
    pub batch: BatchLimits,
    /// `tracer_provider.processors[0].batch.exporter.otlp_http`, `OTEL_EXPORTER_OTLP_*`.
    pub exporter: ExporterConfig,
    /// `instrumentation/development.general`.
    pub http: HttpConfig,
    /// `envoy`.
    pub envoy: EnvoyConfig,
}

/// A configuration, and what its writer should know although it is valid.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Variables that were ignored and why; parts of the document that may be meant otherwise.
    pub warnings: Vec<String>,
}

/// Limits of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// How many attributes it may have.
    pub attribute_count: usize,
    /// How long a text may be, in characters; `None` is no limit.
    pub attribute_value_length: Option<usize>,
}

/// Limits of the queue and of what is sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// How long a span waits for its batch to fill.
    pub schedule_delay: Duration,
    /// How many spans may wait.
    pub max_queue_spans: usize,
    /// How many bytes may wait: spans, and the resource around each batch of them.
    pub max_queue_bytes: usize,
    /// How many spans go into one request.
    pub max_batch_spans: usize,
    /// How many bytes of spans go into one request.
    pub max_batch_bytes: usize,
    /// Which span is lost when the queue is full.
    pub queue_full: QueueFullPolicy,
}

/// `envoy.queue_full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFullPolicy {
    /// The one that comes.
    DropNewest,
    /// The one that has waited longest.
    DropOldest,
}

/// Which attributes are written of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// For SERVER spans.
    pub server: HttpSpanConfig,
    /// For CLIENT spans.
    pub client: HttpSpanConfig,
    /// Query parameters whose values are replaced. Case-sensitive.
    pub sensitive_query_parameters: Vec<String>,
}

/// What of [`HttpConfig`] differs between the kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSpanConfig {
    /// Request headers that become attributes, lowercase.
    pub request_captured_headers: Vec<String>,
    /// Response headers that become attributes, lowercase.
    pub response_captured_headers: Vec<String>,
    /// Methods that are known; any other is `_OTHER`. Case-sensitive.
    pub known_methods: Vec<String>,
}

/// What only a proxy has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyConfig {
    /// The cluster of the collector.
    pub cluster: String,
    /// Where the kind of spans comes from.
    pub span_kind: SpanKindSetting,
}

/// `envoy.span_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKindSetting {
    /// CLIENT on a listener whose direction is OUTBOUND, else SERVER.
    Auto,
    /// Always SERVER.
    Server,
    /// Always CLIENT.
    Client,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_secs(1),
            max_queue_spans: 2048,
            max_queue_bytes: 8 << 20,
            max_batch_spans: 512,
            max_batch_bytes: 1 << 20,
            queue_full: QueueFullPolicy::DropNewest,
        }
    }
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self { attribute_count: 128, attribute_value_length: None }
    }
}

impl Config {
    /// Reads a configuration; no bytes at all are `{}`, and `{}` is complete.
    ///
    /// # Errors
    /// Not JSON; a wrong type, an unknown key, a value out of range; a part of the schema that this
    /// version does not support. The error names the key, what was found and what is accepted. A
    /// variable never is an error: it is ignored, with a warning.
    pub fn parse(json: &[u8], environment: &Environment) -> Result<Parsed, ConfigError> {
        let value = json::read(json)?;
        let mut warnings = Vec::new();
        let config = document::read(&value, environment, &mut warnings)?;
        Ok(Parsed { config, warnings })
    }
}

#[cfg(test)]
mod tests;
