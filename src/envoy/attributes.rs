//! Envoy's attributes that tell how a request ended: their names, and what their values say.

use super::address;
use super::flags::ResponseFlags;
use super::wire::{elements, number};

/// The attributes, in the order in which [`Outcome::read`] takes their values.
pub const OUTCOME: [&str; 12] = [
    "request.time",
    "request.duration",
    "response.code",
    "response.flags",
    "response.code_details",
    "request.protocol",
    "source.address",
    "upstream.address",
    "upstream.request_attempt_count",
    "xds.cluster_name",
    "xds.route_name",
    "xds.listener_direction",
];

/// The details of a request that took longer than its route's or listener's `max_stream_duration`, or its `grpc-timeout`.
const MAX_DURATION_TIMEOUT: &str = "max_duration_timeout";

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

/// The values of [`OUTCOME`], as the host gave them.
#[derive(Debug)]
pub enum OutcomeValues {
    /// One answer for all: a CEL list.
    List(Vec<u8>),
    /// One answer each; empty where there is none.
    Single(Vec<Vec<u8>>),
}

/// What Envoy knows of a request when it has ended. Texts are empty where it knows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// `request.time`: the start, in nanoseconds since the Unix epoch.
    pub start: u64,
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
    /// `source.address`, with its port: zero of an address that was forwarded.
    pub source_address: &'a [u8],
    /// `upstream.address`, with its port.
    pub upstream_address: &'a [u8],
    /// `upstream.request_attempt_count`; zero if no upstream was tried.
    pub request_attempt_count: u32,
    /// `xds.cluster_name`.
    pub cluster_name: &'a [u8],
    /// `xds.route_name`.
    pub route_name: &'a [u8],
    /// `xds.listener_direction`.
    pub listener_direction: TrafficDirection,
}

impl OutcomeValues {
    /// The outcome that the values tell.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::List(bytes) => Outcome::read(elements(bytes)),
            Self::Single(values) => Outcome::read(values.iter().map(Vec::as_slice)),
        }
    }
}

impl<'a> Outcome<'a> {
    /// Reads values in the order of [`OUTCOME`]; those that are missing say nothing.
    fn read(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut next = || values.next().unwrap_or_default();
        // The fields are read in the order in which they are written here.
        Self {
            start: number(next()),
            duration: number(next()),
            response_code: u16::try_from(number(next())).ok().filter(|code| *code > 0),
            response_flags: ResponseFlags::from_bits(number(next())),
            response_code_details: next(),
            protocol: next(),
            source_address: address::within(next()),
            upstream_address: address::within(next()),
            request_attempt_count: u32::try_from(number(next())).unwrap_or_default(),
            cluster_name: next(),
            route_name: next(),
            listener_direction: match number(next()) {
                1 => TrafficDirection::Inbound,
                2 => TrafficDirection::Outbound,
                _ => TrafficDirection::Unspecified,
            },
        }
    }

    /// What cut the request off, if anything did: a response flag, or `max_duration_timeout`, for which Envoy has none.
    #[must_use]
    pub fn interruption(&self) -> Option<&'static str> {
        let too_long = self.response_code_details == MAX_DURATION_TIMEOUT.as_bytes();
        self.response_flags.interruption().or(too_long.then_some(MAX_DURATION_TIMEOUT))
    }

    /// Whether the caller ended the request. Over HTTP/3 Envoy has no flag yet when it lets go of the filter; there nothing
    /// but a caller that left ends a request without a response.
    #[must_use]
    pub fn left_by_caller(&self) -> bool {
        let is_unsaid = self.response_code.is_none()
            && self.interruption().is_none()
            && self.protocol == b"HTTP/3";
        self.response_flags.left_by_caller() || is_unsaid
    }

    /// Whether Envoy ended the request because it took too long.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        matches!(self.interruption(), Some("UT" | "UMSDR" | "DT" | MAX_DURATION_TIMEOUT))
    }

    /// Whether Envoy goes on with another request on behalf of this one.
    #[must_use]
    pub fn is_internal_redirect(&self) -> bool {
        self.response_code_details == b"internal_redirect"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: u64) -> Vec<u8> {
        value.to_le_bytes().to_vec()
    }

    #[test]
    fn values_are_read_in_the_order_of_the_attributes() {
        let value = |name: &&str| match *name {
            "request.time" => bytes(1),
            "request.duration" => bytes(7),
            "response.code" => bytes(503),
            "response.flags" => bytes(32),
            "upstream.request_attempt_count" => bytes(3),
            "xds.listener_direction" => bytes(2),
            text => text.as_bytes().to_vec(),
        };
        let values = OutcomeValues::Single(OUTCOME.iter().map(value).collect());
        let expected = Outcome {
            start: 1,
            duration: 7,
            response_code: Some(503),
            response_flags: ResponseFlags::from_bits(32),
            response_code_details: b"response.code_details",
            protocol: b"request.protocol",
            source_address: b"source.address",
            upstream_address: b"upstream.address",
            request_attempt_count: 3,
            cluster_name: b"xds.cluster_name",
            route_name: b"xds.route_name",
            listener_direction: TrafficDirection::Outbound,
        };
        assert_eq!(values.outcome(), expected);
    }

    #[test]
    fn what_took_too_long_is_known_by_a_flag_or_by_its_details() {
        let max = "max_duration_timeout";
        let cases = [
            (1 << 2, "response_timeout", Some("UT"), true, "a route's timeout"),
            (1 << 19, "upstream_max_stream_duration_reached", Some("UMSDR"), true, "an upstream's"),
            (1 << 22, "", Some("DT"), true, "a connection's"),
            (0, max, Some(max), true, "a stream's, without a flag"),
            (1 << 6, max, Some("UC"), false, "what broke off goes first"),
            (1 << 16, "stream_idle_timeout", Some("SI"), false, "nothing came for too long"),
            (0, "via_upstream", None, false, "in time"),
        ];
        for (flags, details, interruption, timed_out, reason) in cases {
            let outcome = Outcome {
                response_flags: ResponseFlags::from_bits(flags),
                response_code_details: details.as_bytes(),
                ..Outcome::default()
            };
            assert_eq!(outcome.interruption(), interruption, "{reason}");
            assert_eq!(outcome.timed_out(), timed_out, "{reason}");
        }
    }

    #[test]
    fn absent_values_are_no_values() {
        let values = OutcomeValues::Single(vec![Vec::new(); OUTCOME.len()]);
        assert_eq!(values.outcome(), Outcome::default(), "unset attributes");
        assert_eq!(OutcomeValues::List(Vec::new()).outcome(), Outcome::default(), "no list");
    }

    #[test]
    fn a_direction_is_one_of_two() {
        let cases = [
            (0, TrafficDirection::Unspecified, "not said"),
            (1, TrafficDirection::Inbound, "inbound"),
            (2, TrafficDirection::Outbound, "outbound"),
            (3, TrafficDirection::Unspecified, "a direction of a later Envoy"),
        ];
        for (value, expected, reason) in cases {
            let mut values = vec![Vec::new(); OUTCOME.len()];
            values[OUTCOME.len() - 1] = bytes(value);
            let values = OutcomeValues::Single(values);
            assert_eq!(values.outcome().listener_direction, expected, "{reason}");
        }
    }
}
