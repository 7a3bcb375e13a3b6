//! What people configure: JSON in the shape of OpenTelemetry's declarative configuration, one root
//! key `envoy` for what only a proxy has, variables in its values, and the `OTEL_*` variables where the JSON is silent.
//!
//! Read once, at the border: what comes out is valid. Nothing here asks the host. Each file reads what
//! one part of the filter takes; a key is written where it is read, and nowhere else.
//!
//! These readers are never inlined into each other: what the host takes to compile the module grows with its largest function, by 10 MiB
//! when all of this was one.

mod attributes;
mod batch;
mod cursor;
mod document;
mod endpoint;
mod environment;
mod error;
mod exporter;
mod headers;
mod instrumentation;
mod json;
mod keep;
mod limits;
mod list;
mod outcome;
mod propagator;
mod resource;
mod routes;
mod sampler;
mod semconv;
mod shown;
mod substitution;
mod trust;
mod value;
mod words;

pub use environment::Environment;
pub use error::ConfigError;
pub use list::ListError;

use crate::batch::BatchLimits;
use crate::envoy::expression::Compile;
use crate::export::ExporterConfig;
use crate::otlp::attributes::SpanLimits;
use crate::outcome::OutcomeConfig;
use crate::propagation::{Propagators, Unsampled};
use crate::resource::AttributeValue;
use crate::sampling::operator::OperatorHeader;
use crate::sampling::{KeepRules, Sampler};
use crate::semconv::configured::ConfiguredAttribute;
use crate::semconv::route::Routes;
use crate::semconv::{HttpConfig, Semconv, SpanKindSetting, TelemetryExports};
use crate::trust::Borders;
use environment::Variables;
use std::time::Duration;

/// A complete, valid configuration.
#[derive(Debug)]
pub struct Config {
    /// `disabled`, `OTEL_SDK_DISABLED`: requests pass untouched.
    pub disabled: bool,
    /// `log_level`: of the filter's own messages.
    pub log_level: log::LevelFilter,
    /// `resource`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`: what was configured, each name once.
    pub resource: Vec<(String, AttributeValue)>,
    /// `propagator`, `OTEL_PROPAGATORS`.
    pub propagators: Propagators,
    /// `tracer_provider.sampler`, `OTEL_TRACES_SAMPLER`.
    pub sampler: Box<dyn Sampler>,
    /// `envoy.keep`.
    pub keep: KeepRules,
    /// `envoy.max_spans_per_second`.
    pub max_spans_per_second: Option<u32>,
    /// `envoy.force`.
    pub force: Option<OperatorHeader>,
    /// `envoy.explain`.
    pub explain: Option<OperatorHeader>,
    /// `tracer_provider.limits`, `attribute_limits`, `OTEL_SPAN_*_LIMIT`, `OTEL_ATTRIBUTE_*_LIMIT`.
    pub limits: SpanLimits,
    /// `tracer_provider.processors[0].batch`, `envoy.max_*_bytes`, `envoy.queue_full`, `OTEL_BSP_*`.
    pub batch: BatchLimits,
    /// `tracer_provider.processors[0].batch.exporter`, `envoy.cluster`, `envoy.retry`,
    /// `OTEL_EXPORTER_OTLP_*`.
    pub exporter: ExporterConfig,
    /// `instrumentation/development.general`.
    pub http: HttpConfig,
    /// `envoy.routes`, `envoy.route_name_is_template`.
    pub routes: Routes,
    /// `envoy.semconv`.
    pub semconv: Semconv,
    /// `envoy.attributes`.
    pub attributes: Vec<ConfiguredAttribute>,
    /// `envoy.max_open_bytes`.
    pub max_open_bytes: usize,
    /// `envoy.span_kind`.
    pub span_kind: SpanKindSetting,
    /// `envoy.unsampled`.
    pub unsampled: Unsampled,
    /// `envoy.incoming`, `envoy.outgoing`, `envoy.expose`.
    pub borders: Option<Box<Borders>>,
    /// `envoy.details`, `envoy.start_time`.
    pub outcome: OutcomeConfig,
    /// `envoy.long_streams`.
    pub long_streams: Option<Duration>,
    /// `envoy.trace_telemetry_exports`.
    pub telemetry_exports: TelemetryExports,
}

/// A configuration, and what its writer should know although it is valid.
#[derive(Debug)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Variables that were ignored and why; parts of the document that may be meant otherwise.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads a configuration; no bytes at all are `{}`, and `{}` is complete. `compile` has the host compile the expressions in it.
    ///
    /// # Errors
    /// Not JSON; a reference to a variable that is none; a wrong type, an unknown key, a value out of range; a part of the schema that this
    /// version does not support. The error names the key, the type of what was found, and what is accepted; like a
    /// warning, it holds no value that may be a secret. A variable never is an error: it is ignored, with a warning.
    pub fn parse(
        json: &[u8],
        environment: &Environment,
        compile: &Compile<'_>,
    ) -> Result<Parsed, ConfigError> {
        let value = substitution::apply(json::read(json)?, environment);
        let mut variables = Variables::new(environment);
        let config = document::read(&value, &mut variables, compile)?;
        value.unset(&mut |place| {
            variables.warn(format!(
                "{place}: a variable in it is not set, which is as if it were empty; a VM has those of \
                 vm_config.environment_variables"
            ));
        });
        Ok(Parsed { config, warnings: variables.into_warnings() })
    }
}

#[cfg(test)]
mod tests;
