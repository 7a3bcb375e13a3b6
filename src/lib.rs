//! OpenTelemetry tracing for Envoy as one WebAssembly HTTP filter.
