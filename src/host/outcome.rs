//! Which of Envoy's attributes tell a request's outcome, and how their values are read.

use super::wire::{elements, number};
use crate::semconv::Outcome;
use crate::semconv::flags::ResponseFlags;
use crate::semconv::outcome::TrafficDirection;

/// The attributes, in the order in which [`outcome`] reads their values.
pub const ATTRIBUTES: [&str; 12] = [
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

/// The values of [`ATTRIBUTES`], as the host gave them.
#[derive(Debug)]
pub enum OutcomeValues {
    /// One answer for all: a CEL list.
    List(Vec<u8>),
    /// One answer each; empty where there is none.
    Single(Vec<Vec<u8>>),
}

impl OutcomeValues {
    /// The outcome that the values tell.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::List(bytes) => outcome(elements(bytes)),
            Self::Single(values) => outcome(values.iter().map(Vec::as_slice)),
        }
    }
}

fn outcome<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Outcome<'a> {
    let mut next = || values.next().unwrap_or_default();
    // The fields are read in the order in which they are written here.
    Outcome {
        start: number(next()),
        duration: number(next()),
        response_code: u16::try_from(number(next())).ok().filter(|code| *code > 0),
        response_flags: ResponseFlags::from_bits(number(next())),
        response_code_details: next(),
        protocol: next(),
        source_address: next(),
        upstream_address: next(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_the_order_of_the_attributes() {
        let number = |value: u64| value.to_le_bytes().to_vec();
        let value = |name: &&str| match *name {
            "request.time" => number(1),
            "request.duration" => number(7),
            "response.code" => number(503),
            "response.flags" => number(32),
            "upstream.request_attempt_count" => number(3),
            "xds.listener_direction" => number(2),
            text => text.as_bytes().to_vec(),
        };
        let values = OutcomeValues::Single(ATTRIBUTES.iter().map(value).collect());
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
    fn absent_values_are_no_values() {
        let values = OutcomeValues::Single(vec![Vec::new(); ATTRIBUTES.len()]);
        assert_eq!(values.outcome(), Outcome::default(), "unset attributes");
        assert_eq!(OutcomeValues::List(Vec::new()).outcome(), Outcome::default(), "no list");
    }
}
