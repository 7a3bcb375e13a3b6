//! What Envoy knows of a request beside OpenTelemetry's words: the attributes under `envoy.`.

use super::put;
use crate::envoy::attributes::Outcome;
use crate::otlp::attributes::Attributes;

/// The name of the rule of `envoy.keep` that has kept a span.
pub const KEEP_RULE: &str = "envoy.keep_rule";
const CLUSTER_NAME: &str = "envoy.cluster_name";
const REQUEST_ATTEMPT_COUNT: &str = "envoy.request_attempt_count";
const RESPONSE_CODE_DETAILS: &str = "envoy.response_code_details";
const RESPONSE_FLAGS: &str = "envoy.response_flags";
const ROUTE_NAME: &str = "envoy.route_name";
const UPSTREAM_ADDRESS: &str = "envoy.upstream_address";

pub(super) fn write(outcome: &Outcome<'_>, attributes: &mut Attributes) {
    if !outcome.response_flags.is_empty() {
        let names = outcome.response_flags.names().map(str::as_bytes);
        attributes.strings(RESPONSE_FLAGS, names);
    }
    put(attributes, RESPONSE_CODE_DETAILS, outcome.response_code_details);
    put(attributes, ROUTE_NAME, outcome.route_name);
    put(attributes, CLUSTER_NAME, outcome.cluster_name);
    put(attributes, UPSTREAM_ADDRESS, outcome.upstream_address);
    if outcome.request_attempt_count > 0 {
        attributes.int(REQUEST_ATTEMPT_COUNT, i64::from(outcome.request_attempt_count));
    }
}
