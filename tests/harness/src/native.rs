//! Envoy's own OpenTelemetry tracer in place of the filter: what the filter is compared with.

use crate::Bootstrap;
use anyhow::Result;
use serde_json::{Value, json};

/// `tracing` of a connection manager: so many per cent of the requests, exported over HTTP to the cluster `otel_collector`.
#[must_use]
pub fn tracing(service_name: &str, percent: f64) -> Value {
    json!({
        "random_sampling": {"value": percent},
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "http_service": {"http_uri": {
                    "uri": "http://collector/v1/traces", "cluster": "otel_collector", "timeout": "10s",
                }},
                "service_name": service_name,
            },
        },
    })
}

impl Bootstrap {
    /// Has a listener traced by Envoy's own tracer instead of the filter, so many per cent of its requests.
    ///
    /// # Errors
    /// There is no such listener, or it has no filter.
    pub fn native_tracer(self, listener: &str, percent: f64) -> Result<Self> {
        let tracing = tracing("edge", percent);
        self.without_filter(listener)?.connection_manager(listener, "tracing", tracing)
    }
}
