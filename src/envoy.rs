//! Envoy's own words: the layouts in which it hands over values, its attributes, response flags and node.
//!
//! What they mean to OpenTelemetry is not here (`semconv`, `resource`), nor are the calls that ask for them (`host`).

pub mod address;
pub mod attempt;
pub mod attributes;
pub mod connections;
pub mod expression;
pub mod flags;
pub mod headers;
pub mod node;
pub mod wire;
