//! A real Envoy, an OTLP receiver and an upstream, for the tests, the benchmark and the demo.
