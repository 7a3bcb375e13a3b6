//! What Envoy knows of a request beside OpenTelemetry's words: the attributes under `envoy.`.

use super::facts::{Facts, Sides};
use super::put;
use crate::otlp::SpanKind;
use crate::otlp::attributes::Attributes;

/// The name of the rule of `envoy.keep` that has kept a span.
pub const KEEP_RULE: &str = "envoy.keep_rule";
/// Says `open` of a request that has not ended.
pub(super) const STREAM_STATE: &str = "envoy.stream_state";
const CLUSTER_NAME: &str = "envoy.cluster_name";
const REQUEST_ATTEMPT_COUNT: &str = "envoy.request_attempt_count";
const RESPONSE_CODE_DETAILS: &str = "envoy.response_code_details";
const RESPONSE_FLAGS: &str = "envoy.response_flags";
const ROUTE_NAME: &str = "envoy.route_name";
const UPSTREAM_ADDRESS: &str = "envoy.upstream_address";

/// Of a request with a span for each side, each has what concerns it alone. The upstream's address is the CLIENT span's peer there, and a single
/// attempt is that span itself.
pub(super) fn write(kind: SpanKind, facts: &Facts<'_>, attributes: &mut Attributes) {
    let outcome = &facts.outcome;
    if !outcome.response_flags.is_empty() {
        let names = outcome.response_flags.names().map(str::as_bytes);
        attributes.strings(RESPONSE_FLAGS, names);
    }
    let (is_together, is_client) = (facts.sides == Sides::Together, kind == SpanKind::Client);
    if is_together || !is_client {
        put(attributes, RESPONSE_CODE_DETAILS, outcome.response_code_details);
        put(attributes, ROUTE_NAME, outcome.route_name);
    }
    if is_together || is_client {
        put(attributes, CLUSTER_NAME, outcome.cluster_name);
    }
    let usual = match facts.sides {
        Sides::Together => {
            put(attributes, UPSTREAM_ADDRESS, outcome.upstream_address);
            0
        }
        Sides::Apart => 1,
    };
    let attempts = outcome.request_attempt_count;
    if attempts > usual && (is_together || is_client) {
        attributes.int(REQUEST_ATTEMPT_COUNT, i64::from(attempts));
    }
}
