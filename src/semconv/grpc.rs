//! gRPC: the status codes, and what counts as an error.
//!
//! (Semantic conventions 1.44.0, gRPC; release candidate.)

use super::facts::Facts;
use crate::envoy::attributes::Outcome;
use crate::otlp::SpanKind;
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
    const OK: Self = Self(0);
    const CANCELLED: Self = Self(1);
    const UNKNOWN: Self = Self(2);
    const DEADLINE_EXCEEDED: Self = Self(4);
    const PERMISSION_DENIED: Self = Self(7);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
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
            _ if outcome.response_flags.left_by_caller() => Self::CANCELLED,
            None if outcome.response_flags.is_empty() => Self::UNKNOWN,
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

    /// Its name, or its number.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        let name = usize::try_from(self.0).ok().and_then(|code| NAMES.get(code));
        name.map_or_else(|| self.0.to_string().into(), |name| Cow::Borrowed(*name))
    }
}

/// The `error.type`: for a client everything but OK, unless its own caller has cancelled; for a server only what is its own fault.
#[must_use]
pub fn error_type(
    kind: SpanKind,
    facts: &Facts<'_>,
    status: StatusCode,
) -> Option<Cow<'static, str>> {
    let failed = match kind {
        SpanKind::Client if status == StatusCode::CANCELLED => !facts.is_cancelled(kind),
        SpanKind::Client => status != StatusCode::OK,
        SpanKind::Server => [
            StatusCode::UNKNOWN,
            StatusCode::DEADLINE_EXCEEDED,
            StatusCode::UNIMPLEMENTED,
            StatusCode::INTERNAL,
            StatusCode::UNAVAILABLE,
            StatusCode::DATA_LOSS,
        ]
        .contains(&status),
    };
    failed.then(|| status.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::flags::ResponseFlags;
    use crate::envoy::headers::Headers;

    #[test]
    fn statuses_have_names_and_meanings() {
        let cases = [
            ("0", "OK", false, false, "success"),
            ("1", "CANCELLED", true, false, "the caller's doing"),
            ("2", "UNKNOWN", true, true, "a server's fault"),
            ("4", "DEADLINE_EXCEEDED", true, true, "too late"),
            ("5", "NOT_FOUND", true, false, "an answer"),
            ("12", "UNIMPLEMENTED", true, true, "not there"),
            ("13", "INTERNAL", true, true, "broken"),
            ("14", "UNAVAILABLE", true, true, "gone"),
            ("15", "DATA_LOSS", true, true, "lost"),
            ("16", "UNAUTHENTICATED", true, false, "the last one"),
            ("17", "17", true, false, "a number that gRPC does not define"),
            ("abc", "UNKNOWN", true, true, "no number"),
            ("+1", "UNKNOWN", true, true, "a sign is no digit"),
            ("", "UNKNOWN", true, true, "empty"),
        ];
        for (value, name, client_error, server_error, reason) in cases {
            let status = StatusCode::parse(value.as_bytes());
            assert_eq!(status.name(), name, "{reason}");
            let expected = [client_error, server_error].map(|it| it.then_some(name.to_owned()));
            assert_eq!(errors(status, 0), expected, "client, server: {reason}");
        }
    }

    /// The `error.type` of a client and of a server, with these response flags.
    fn errors(status: StatusCode, flags: u64) -> [Option<String>; 2] {
        let headers = Headers::default();
        let response_flags = ResponseFlags::from_bits(flags);
        let outcome = Outcome { response_flags, ..Outcome::default() };
        let facts = Facts::read(&headers, &headers, Some(status), outcome);
        let error = |kind| error_type(kind, &facts, status).map(Cow::into_owned);
        [error(SpanKind::Client), error(SpanKind::Server)]
    }

    #[test]
    fn a_call_that_its_caller_cancels_is_no_error_of_a_client() {
        let (dc, dr, uc) = (1 << 14, 1 << 28, 1 << 6);
        let cases = [
            ("1", dc, [None, None], "the caller closed the connection"),
            ("1", dr, [None, None], "the caller reset the stream"),
            ("1", 0, [Some("CANCELLED"), None], "the server cancelled"),
            ("1", uc | dc, [Some("CANCELLED"), None], "the upstream broke off first"),
            ("5", dc, [Some("NOT_FOUND"), None], "the caller left after an answer"),
            ("13", dc, [Some("INTERNAL"), Some("INTERNAL")], "and this is an error of both"),
        ];
        for (status, flags, expected, reason) in cases {
            let status = StatusCode::parse(status.as_bytes());
            let expected = expected.map(|error| error.map(str::to_owned));
            assert_eq!(errors(status, flags), expected, "{reason}");
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
        let details = b"max_duration_timeout";
        let late = Outcome {
            response_code: Some(200),
            response_code_details: details,
            ..Outcome::default()
        };
        assert_eq!(StatusCode::of_outcome(&late).name(), "DEADLINE_EXCEEDED", "a stream's limit");
    }
}
