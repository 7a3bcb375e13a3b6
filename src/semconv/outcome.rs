//! How a request ended, in Envoy's words, and the `envoy.` attributes that say so.

use super::flags::ResponseFlags;
use crate::otlp::attributes::Attributes;

const CLUSTER_NAME: &str = "envoy.cluster_name";
const REQUEST_ATTEMPT_COUNT: &str = "envoy.request_attempt_count";
const RESPONSE_CODE_DETAILS: &str = "envoy.response_code_details";
const RESPONSE_FLAGS: &str = "envoy.response_flags";
const ROUTE_NAME: &str = "envoy.route_name";
const UPSTREAM_ADDRESS: &str = "envoy.upstream_address";

/// Which side of the mesh a listener faces (Envoy, `TrafficDirection`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// Requests come in from elsewhere.
    Inbound,
    /// Requests go out from the service beside.
    Outbound,
}

/// What Envoy knows of a request when it has ended. Texts are empty where it knows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// `request.time`: the start, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// `xds.listener_direction`.
    pub listener_direction: TrafficDirection,
    /// `request.duration`, in nanoseconds.
    pub duration: u64,
    /// `response.code`, if there was a response.
    pub response_code: Option<u16>,
    /// `response.flags`.
    pub response_flags: ResponseFlags,
    /// `response.code_details`.
    pub response_code_details: &'a [u8],
    /// `request.protocol`, such as `HTTP/1.1`.
    pub protocol: &'a [u8],
    /// `source.address`, with its port.
    pub source_address: &'a [u8],
    /// `upstream.address`, with its port.
    pub upstream_address: &'a [u8],
    /// `upstream.request_attempt_count`; zero if no upstream was tried.
    pub request_attempt_count: u32,
    /// `xds.cluster_name`.
    pub cluster_name: &'a [u8],
    /// `xds.route_name`.
    pub route_name: &'a [u8],
}

impl Outcome<'_> {
    /// Whether Envoy goes on with another request on behalf of this one.
    #[must_use]
    pub fn is_internal_redirect(&self) -> bool {
        self.response_code_details == b"internal_redirect"
    }

    pub(super) fn write(&self, attributes: &mut Attributes) {
        if !self.response_flags.is_empty() {
            attributes.strings(RESPONSE_FLAGS, self.response_flags.names().map(str::as_bytes));
        }
        super::put(attributes, RESPONSE_CODE_DETAILS, self.response_code_details);
        super::put(attributes, ROUTE_NAME, self.route_name);
        super::put(attributes, CLUSTER_NAME, self.cluster_name);
        super::put(attributes, UPSTREAM_ADDRESS, self.upstream_address);
        if self.request_attempt_count > 0 {
            attributes.int(REQUEST_ATTEMPT_COUNT, i64::from(self.request_attempt_count));
        }
    }
}
