//! Any document and any variables give a configuration or an error, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::config::{Config, Environment};
use otel_proxy_wasm::envoy::expression::Expression;

const VARIABLES: [&str; 9] = [
    "A",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_PROPAGATORS",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
];

fuzz_target!(|input: (&[u8], Vec<(u8, String)>)| {
    let (json, variables) = input;
    let variable = |(index, value): (u8, String)| {
        (VARIABLES[usize::from(index) % VARIABLES.len()].to_owned(), value)
    };
    let environment: Environment = variables.into_iter().map(variable).collect();
    if let Err(error) = Config::parse(json, &environment, &|_| Expression::from_bytes(&[0; 4])) {
        assert!(!error.to_string().is_empty());
    }
});
