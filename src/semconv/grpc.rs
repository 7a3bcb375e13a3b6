//! gRPC's status codes: what an answer says, and what a caller makes of one that says nothing.
//!
//! What of them is an error is not here (`error`).

use crate::envoy::attributes::Outcome;
use std::borrow::Cow;

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The status of an RPC; a code that gRPC does not define keeps its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCode(u32);

impl StatusCode {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    pub(super) const CANCELLED: Self = Self(1);
    const UNKNOWN: Self = Self(2);
    const DEADLINE_EXCEEDED: Self = Self(4);
    const PERMISSION_DENIED: Self = Self(7);
    pub(super) const RESOURCE_EXHAUSTED: Self = Self(8);
    pub(super) const UNIMPLEMENTED: Self = Self(12);
    const INTERNAL: Self = Self(13);
    const UNAVAILABLE: Self = Self(14);
    const DATA_LOSS: Self = Self(15);
    const UNAUTHENTICATED: Self = Self(16);

    /// Reads a `grpc-status`; what is no number is UNKNOWN.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let digits = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        digits.and_then(|text| text.parse().ok()).map_or(Self::UNKNOWN, Self)
    }

    /// The status of an RPC whose peer gave none: what the caller's own library makes of it (gRPC,
    /// HTTP to gRPC Status Code Mapping).
    #[must_use]
    pub fn of_outcome(outcome: &Outcome<'_>) -> Self {
        match outcome.response_code {
            _ if outcome.left_by_caller() => Self::CANCELLED,
            None if outcome.response_flags.is_empty() && outcome.no_response.error().is_none() => {
                Self::UNKNOWN
            }
            None | Some(429 | 502..=504) => Self::UNAVAILABLE,
            Some(200) if outcome.timed_out() => Self::DEADLINE_EXCEEDED,
            Some(200) if outcome.interruption().is_some() => Self::UNAVAILABLE,
            Some(400) => Self::INTERNAL,
            Some(401) => Self::UNAUTHENTICATED,
            Some(403) => Self::PERMISSION_DENIED,
            Some(404) => Self::UNIMPLEMENTED,
            Some(_) => Self::UNKNOWN,
        }
    }

    /// Whether it is an error of the server's (gRPC conventions, section Span status).
    #[must_use]
    pub fn is_servers_fault(self) -> bool {
        [
            Self::UNKNOWN,
            Self::DEADLINE_EXCEEDED,
            Self::UNIMPLEMENTED,
            Self::INTERNAL,
            Self::UNAVAILABLE,
            Self::DATA_LOSS,
        ]
        .contains(&self)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Its name, or its number.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        let name = usize::try_from(self.0).ok().and_then(|code| NAMES.get(code));
        name.map_or_else(|| self.0.to_string().into(), |name| Cow::Borrowed(*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::flags::ResponseFlags;

    #[test]
    fn statuses_have_names() {
        let cases = [
            ("0", "OK", "the first one"),
            ("4", "DEADLINE_EXCEEDED", "one between"),
            ("16", "UNAUTHENTICATED", "the last one"),
            ("17", "17", "a number that gRPC does not define"),
            ("abc", "UNKNOWN", "no number"),
            ("+1", "UNKNOWN", "a sign is no digit"),
            ("", "UNKNOWN", "empty"),
        ];
        for (value, name, reason) in cases {
            assert_eq!(StatusCode::parse(value.as_bytes()).name(), name, "{reason}");
        }
    }

    #[test]
    fn an_answer_without_a_status_gets_one() {
        let (dc, uf, uc, ut) = (1 << 14, 1 << 5, 1 << 6, 1 << 2);
        let cases = [
            (None, dc, "CANCELLED", "the caller left"),
            (Some(200), dc, "CANCELLED", "the caller left in the middle"),
            (None, uf, "UNAVAILABLE", "nobody answered"),
            (None, 0, "UNKNOWN", "nobody knows"),
            (Some(200), uc, "UNAVAILABLE", "the upstream broke off"),
            (Some(200), ut, "DEADLINE_EXCEEDED", "the upstream was too slow"),
            (Some(200), 1 << 19, "DEADLINE_EXCEEDED", "its stream lasted too long"),
            (Some(200), 1 << 22, "DEADLINE_EXCEEDED", "so did the caller's connection"),
            (Some(200), 1 << 16, "UNAVAILABLE", "nothing came for too long"),
            (Some(200), 0, "UNKNOWN", "an answer without trailers"),
            (Some(503), 0, "UNAVAILABLE", "a plain 503"),
            (Some(400), 0, "INTERNAL", "a plain 400"),
            (Some(401), 0, "UNAUTHENTICATED", "a plain 401"),
            (Some(404), 0, "UNIMPLEMENTED", "a plain 404"),
            (Some(429), 0, "UNAVAILABLE", "a plain 429"),
            (Some(502), 0, "UNAVAILABLE", "a plain 502"),
            (Some(504), 0, "UNAVAILABLE", "a plain 504"),
            (Some(500), 0, "UNKNOWN", "a plain 500"),
            (Some(403), 0, "PERMISSION_DENIED", "a plain 403"),
        ];
        for (response_code, flags, name, reason) in cases {
            let response_flags = ResponseFlags::from_bits(flags);
            let outcome = Outcome { response_code, response_flags, ..Outcome::default() };
            assert_eq!(StatusCode::of_outcome(&outcome).name(), name, "{reason}");
        }
        for (protocol, name) in [(b"HTTP/3", "CANCELLED"), (b"HTTP/2", "UNKNOWN")] {
            let unsaid = Outcome { protocol, ..Outcome::default() };
            assert_eq!(StatusCode::of_outcome(&unsaid).name(), name, "no flag, and no response");
        }
        let details = b"max_duration_timeout";
        let late = Outcome {
            response_code: Some(200),
            response_code_details: details,
            ..Outcome::default()
        };
        assert_eq!(StatusCode::of_outcome(&late).name(), "DEADLINE_EXCEEDED", "a stream's limit");
    }
}
