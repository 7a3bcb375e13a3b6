//! Envoy's attributes that tell how a request ended: their names, and what their values say.
//!
//! Which of them are read is decided elsewhere (`outcome`).

use super::address;
use super::attempt::{ATTEMPT_NUMBER, Attempt, NoResponse};
use super::connections::{Connection, TrafficDirection};
use super::flags::ResponseFlags;
use super::wire::number;

/// When the request began, in nanoseconds since the Unix epoch.
pub const REQUEST_TIME: &str = "request.time";
/// How long it took, in nanoseconds.
pub const REQUEST_DURATION: &str = "request.duration";
/// The response's status; none if there was no response.
pub const RESPONSE_CODE: &str = "response.code";
/// The response flags.
pub const RESPONSE_FLAGS: &str = "response.flags";

/// What Envoy's own tracer writes beside: the sizes of the bodies of the request (its `content-length`, where it has one) and of the response, and
/// the message of a gRPC call's status, in the trailers, or in the headers of a response without any.
pub const TAGS: [&str; 4] = [
    "request.size",
    "response.size",
    "response.trailers.grpc-message",
    "response.headers.grpc-message",
];

/// What Envoy knows of a request beside the exchange itself. Each has its price: a host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// `response.code_details`.
    ResponseCodeDetails,
    /// `upstream.address`.
    UpstreamAddress,
    /// `upstream.request_attempt_count`.
    RequestAttemptCount,
    /// `xds.cluster_name`.
    ClusterName,
    /// `xds.route_name`.
    RouteName,
}

/// Some details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details(u8); // Invariant: a bit for each of `Detail::ALL`.

impl Detail {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::ResponseCodeDetails,
        Self::UpstreamAddress,
        Self::RequestAttemptCount,
        Self::ClusterName,
        Self::RouteName,
    ];

    /// Its attribute.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::ResponseCodeDetails => "response.code_details",
            Self::UpstreamAddress => "upstream.address",
            Self::RequestAttemptCount => ATTEMPT_NUMBER,
            Self::ClusterName => "xds.cluster_name",
            Self::RouteName => "xds.route_name",
        }
    }
}

impl Details {
    /// Not one.
    pub const NONE: Self = Self(0);
    /// Every one.
    pub const ALL: Self = Self(0b1_1111);

    /// These and one more.
    #[must_use]
    pub const fn with(self, detail: Detail) -> Self {
        Self(self.0 | 1 << detail as u8)
    }

    /// Those of them that tell of an attempt, and what tells whether they do: details of the response are the request's.
    #[must_use]
    pub fn of_attempt(self) -> Self {
        let tells = if self.contains(Detail::UpstreamAddress) {
            self.with(Detail::RequestAttemptCount)
        } else {
            self
        };
        Self(tells.0 & !(1 << Detail::ResponseCodeDetails as u8))
    }

    /// Whether it is among them.
    #[must_use]
    pub fn contains(self, detail: Detail) -> bool {
        self.0 >> detail as u8 & 1 == 1
    }
}

/// The details of a request that took longer than its route's or listener's `max_stream_duration`, or its `grpc-timeout`.
pub const MAX_DURATION_TIMEOUT: &str = "max_duration_timeout";

/// The details of a request that Envoy goes on with as another one.
pub const INTERNAL_REDIRECT: &[u8] = b"internal_redirect";

/// What was read of a request when it had ended.
#[derive(Clone, Debug, Default)]
pub struct OutcomeValues {
    /// The start, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// The duration, in nanoseconds.
    pub duration: u64,
    /// The status of the response, if there was one.
    pub response_code: Option<u16>,
    /// The response flags.
    pub response_flags: ResponseFlags,
    /// Why it has no response, if it is an attempt.
    pub no_response: NoResponse,
    /// The connection that it came over.
    pub connection: Connection,
    /// In the order of [`Detail::ALL`]; empty where nothing was read.
    pub details: [Vec<u8>; Detail::ALL.len()],
    /// In the order of [`TAGS`], as far as they were read.
    pub tags: Vec<Vec<u8>>,
}

/// What Envoy knows of a request when it has ended. Texts are empty where it knows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The start, in nanoseconds since the Unix epoch.
    pub start: u64,
    /// The duration, in nanoseconds.
    pub duration: u64,
    /// `response.code`, if there was a response.
    pub response_code: Option<u16>,
    /// `response.flags`.
    pub response_flags: ResponseFlags,
    /// Why it has no response, if it is an attempt.
    pub no_response: NoResponse,
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
    /// In the order of [`TAGS`], as far as they were read.
    pub tags: &'a [Vec<u8>],
}

impl OutcomeValues {
    /// The outcome that the values tell.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        let [response_code_details, upstream_address, attempts, cluster_name, route_name] =
            self.details.each_ref().map(Vec::as_slice);
        Outcome {
            start: self.start,
            duration: self.duration,
            response_code: self.response_code,
            response_flags: self.response_flags,
            no_response: self.no_response,
            response_code_details,
            protocol: &self.connection.protocol,
            source_address: address::within(&self.connection.source_address),
            upstream_address: address::within(upstream_address),
            request_attempt_count: u32::try_from(number(attempts)).unwrap_or_default(),
            cluster_name,
            route_name,
            listener_direction: self.connection.listener_direction,
            tags: &self.tags,
        }
    }
}

impl OutcomeValues {
    /// Keeps what belongs to this attempt. Envoy tells the address of the latest one.
    pub fn keep_own(&mut self, attempt: Attempt) {
        let own = u64::from(attempt.number.get());
        let [_, address, latest, ..] = &mut self.details;
        if number(latest) != own {
            address.clear();
        }
        *latest = own.to_le_bytes().to_vec();
    }
}

/// The status that the value of [`RESPONSE_CODE`] says.
#[must_use]
pub fn response_code(value: &[u8]) -> Option<u16> {
    u16::try_from(number(value)).ok().filter(|code| *code > 0)
}

impl Outcome<'_> {
    /// What cut the request off, if anything did: a response flag, or `max_duration_timeout`, for which Envoy has none.
    #[must_use]
    pub fn interruption(&self) -> Option<&'static str> {
        let too_long = self.response_code_details == MAX_DURATION_TIMEOUT.as_bytes();
        let interruption = self.response_flags.interruption();
        interruption.or(too_long.then_some(MAX_DURATION_TIMEOUT)).or(self.no_response.error())
    }

    /// Whether the caller ended the request. Over HTTP/3 Envoy has no flag yet when it lets go of the filter; there nothing
    /// but a caller that left ends a request without a response.
    #[must_use]
    pub fn left_by_caller(&self) -> bool {
        let is_unsaid = self.response_code.is_none()
            && self.interruption().is_none()
            && self.protocol == b"HTTP/3";
        self.response_flags.left_by_caller() || is_unsaid || self.is_superseded()
    }

    /// Whether another attempt was answered first.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.no_response == NoResponse::Superseded
    }

    /// Whether Envoy ended the request because it took too long.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        matches!(self.interruption(), Some("UT" | "UMSDR" | "DT" | MAX_DURATION_TIMEOUT))
    }

    /// Whether an upstream was asked: there was an attempt, and it was not the only one and without a host. While it waits for its
    /// connection, the number alone tells of it.
    #[must_use]
    pub fn has_asked_upstream(&self) -> bool {
        let has_begun = self.request_attempt_count > 0 || !self.upstream_address.is_empty();
        has_begun && !(self.request_attempt_count < 2 && self.response_flags.has_no_host())
    }

    /// Whether Envoy goes on with another request on behalf of this one.
    #[must_use]
    pub fn is_internal_redirect(&self) -> bool {
        self.response_code_details == INTERNAL_REDIRECT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: u64) -> Vec<u8> {
        value.to_le_bytes().to_vec()
    }

    #[test]
    fn each_detail_has_its_place() {
        let connection = Connection {
            source_address: b"10.0.0.1:80".as_slice().into(),
            protocol: b"HTTP/2".as_slice().into(),
            listener_direction: TrafficDirection::Outbound,
        };
        let value = |detail: Detail| match detail {
            Detail::RequestAttemptCount => bytes(3),
            text => text.attribute().into(),
        };
        let values = OutcomeValues {
            start: 1,
            duration: 7,
            response_code: Some(503),
            response_flags: ResponseFlags::from_bits(32),
            no_response: NoResponse::Reset,
            connection,
            details: Detail::ALL.map(value),
            tags: vec![bytes(8)],
        };
        let expected = Outcome {
            start: 1,
            duration: 7,
            response_code: Some(503),
            response_flags: ResponseFlags::from_bits(32),
            no_response: NoResponse::Reset,
            response_code_details: b"response.code_details",
            protocol: b"HTTP/2",
            source_address: b"10.0.0.1:80",
            upstream_address: b"upstream.address",
            request_attempt_count: 3,
            cluster_name: b"xds.cluster_name",
            route_name: b"xds.route_name",
            listener_direction: TrafficDirection::Outbound,
            tags: &[bytes(8)],
        };
        assert_eq!(values.outcome(), expected);
        assert_eq!(OutcomeValues::default().outcome(), Outcome::default(), "nothing was read");
    }

    #[test]
    fn details_are_told_apart() {
        let all = Detail::ALL.into_iter().fold(Details::NONE, Details::with);
        assert_eq!(all, Details::ALL, "each of them");
        for detail in Detail::ALL {
            let one = Details::NONE.with(detail);
            let contained: Vec<_> =
                Detail::ALL.into_iter().filter(|other| one.contains(*other)).collect();
            assert_eq!(contained, [detail]);
            assert_eq!(one.with(detail), one, "twice is once");
        }
    }

    #[test]
    fn details_of_an_attempt_are_its_own() {
        let (address, count) = (Detail::UpstreamAddress, Detail::RequestAttemptCount);
        let cases = [
            (Details::NONE, Details::NONE, "nothing"),
            (Details::NONE.with(Detail::ResponseCodeDetails), Details::NONE, "of the response"),
            (Details::NONE.with(address), Details::NONE.with(address).with(count), "whose it is"),
        ];
        for (details, expected, reason) in cases {
            assert_eq!(details.of_attempt(), expected, "{reason}");
        }
        assert!(!Details::ALL.of_attempt().contains(Detail::ResponseCodeDetails));
        assert!(Details::ALL.of_attempt().contains(Detail::ClusterName), "the others");
    }

    #[test]
    fn a_status_may_be_absent() {
        let cases = [(200, Some(200), "a status"), (0, None, "none"), (65_536, None, "no status")];
        for (value, expected, reason) in cases {
            assert_eq!(response_code(&bytes(value)), expected, "{reason}");
        }
        assert_eq!(response_code(b""), None, "not set");
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
}
