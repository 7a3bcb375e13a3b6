//! What counts as an error, of an HTTP exchange and of a gRPC call.
//!
//! (Semantic conventions 1.44.0, HTTP spans; gRPC, a release candidate.)

use super::facts::Facts;
use super::grpc::StatusCode;
use crate::otlp::SpanKind;
use std::borrow::Cow;

/// The `error.type` of a request that failed, whatever it is.
#[must_use]
pub fn of(kind: SpanKind, facts: &Facts<'_>) -> Option<Cow<'static, str>> {
    match facts.rpc.and_then(|rpc| rpc.status) {
        _ if facts.is_open => None,
        Some(status) => of_grpc(kind, facts, status),
        None => of_http(kind, facts),
    }
}

/// The `error.type` of a request that failed: its status code, or the response flag, or what else Envoy says, that
/// cut it off. Of a call whose own code is in the body alone, too: Connect's codes that are a server's fault are 5xx, and no others are.
///
/// 5xx is an error for both kinds; 4xx for a client only, and nothing more is asked of it for a
/// server. Below that, and without a response, an interruption is one, unless it is a client's own caller who
/// cancels (section Status). A tunnel (`CONNECT` or an upgrade) ends when either side closes: that is not an
/// interruption.
fn of_http(kind: SpanKind, facts: &Facts<'_>) -> Option<Cow<'static, str>> {
    match facts.status {
        Some(code @ 500..) => Some(code.to_string().into()),
        Some(code @ 400..) if kind == SpanKind::Client => Some(code.to_string().into()),
        _ if facts.is_cancelled(kind) => None,
        Some(400.. | 101) => None,
        Some(200..300) if facts.method == b"CONNECT" => None,
        Some(_) => facts.interruption.map(Cow::Borrowed),
        None => Some(facts.interruption.unwrap_or("_OTHER").into()),
    }
}

/// The `error.type` of a call that failed: for a client everything but OK, unless its own caller has cancelled; for a server only what is its own fault.
fn of_grpc(kind: SpanKind, facts: &Facts<'_>, status: StatusCode) -> Option<Cow<'static, str>> {
    let failed = match kind {
        SpanKind::Client if status == StatusCode::CANCELLED => !facts.is_cancelled(kind),
        SpanKind::Client => status != StatusCode::OK,
        SpanKind::Server => status.is_servers_fault(),
    };
    failed.then(|| status.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::attributes::Outcome;
    use crate::envoy::flags::ResponseFlags;
    use crate::envoy::headers::Headers;
    use crate::envoy::wire::HeaderMap;
    use crate::semconv::request::RequestProtocol;

    #[test]
    fn errors_are_what_the_conventions_say() {
        use SpanKind::{Client, Server};
        let dc = 1 << 14;
        let dr = 1 << 28;
        let uc = 1 << 6;
        let nr = 1 << 8;
        let cases = [
            (Server, "GET", Some(200), 0, None, "success"),
            (Client, "GET", Some(302), 0, None, "a redirect"),
            (Server, "GET", Some(404), nr, None, "the caller's mistake, for a server"),
            (Client, "GET", Some(404), 0, Some("404"), "a client's error"),
            (Server, "GET", Some(500), 0, Some("500"), "a server's error"),
            (Client, "GET", Some(503), uc, Some("503"), "a status goes before a flag"),
            (Server, "GET", Some(200), uc, Some("UC"), "cut off in the body"),
            (Server, "GET", None, dc, Some("DC"), "the caller left before a response"),
            (Server, "GET", None, 0, Some("_OTHER"), "no response, nobody knows why"),
            (Client, "GET", None, 0, Some("_OTHER"), "the same for a client"),
            (Client, "GET", None, dc, None, "a client's caller closed the connection"),
            (Client, "GET", None, dr, None, "or reset the stream"),
            (Client, "GET", Some(200), dr, None, "in the middle of the response"),
            (Client, "GET", Some(503), dc, Some("503"), "after an error"),
            (Client, "GET", Some(404), dc, Some("404"), "or after its own mistake"),
            (Client, "GET", Some(200), dc | uc, Some("UC"), "the upstream broke off first"),
            (Server, "GET", Some(200), dr, Some("DR"), "a server was left in the middle"),
            (Server, "GET", Some(101), dc, None, "a WebSocket that was closed"),
            (Server, "CONNECT", Some(200), dc, None, "a CONNECT tunnel that was closed"),
            (Server, "CONNECT", Some(503), 0, Some("503"), "a CONNECT that failed"),
        ];
        for (kind, method, response_code, flags, expected, reason) in cases {
            let names = [":method"].into_iter().collect();
            let request = Headers::select(HeaderMap::of(&[(":method", method)]), &names);
            let response = Headers::default();
            let outcome = Outcome {
                response_code,
                response_flags: ResponseFlags::from_bits(flags),
                ..Outcome::default()
            };
            let facts = Facts::read(RequestProtocol::Http, &request, &response, None, outcome);
            assert_eq!(of_http(kind, &facts).as_deref(), expected, "{reason}");
        }
        // What Envoy says of a request that was left, before it lets go of the filter.
        let left = [
            (Client, "HTTP/3", None, None, "a client's caller left"),
            (Server, "HTTP/3", None, Some("_OTHER"), "the same, of a server"),
            (Client, "HTTP/2", None, Some("_OTHER"), "where there would be a flag"),
            (Client, "HTTP/3", Some(503), Some("503"), "an answer"),
        ];
        for (kind, protocol, response_code, expected, reason) in left {
            let outcome =
                Outcome { response_code, protocol: protocol.as_bytes(), ..Outcome::default() };
            let headers = Headers::default();
            let facts = Facts::read(RequestProtocol::Http, &headers, &headers, None, outcome);
            assert_eq!(of_http(kind, &facts).as_deref(), expected, "{reason}");
        }
    }

    /// The `error.type` of a client and of a server, with these response flags.
    fn errors(status: StatusCode, flags: u64) -> [Option<String>; 2] {
        let headers = Headers::default();
        let response_flags = ResponseFlags::from_bits(flags);
        let outcome = Outcome { response_flags, ..Outcome::default() };
        let facts = Facts::read(RequestProtocol::Grpc, &headers, &headers, Some(status), outcome);
        let error = |kind| of_grpc(kind, &facts, status).map(Cow::into_owned);
        [error(SpanKind::Client), error(SpanKind::Server)]
    }

    #[test]
    fn a_status_is_an_error_of_a_client_or_of_both() {
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
            ("16", "UNAUTHENTICATED", true, false, "the caller's mistake"),
            ("17", "17", true, false, "a number that gRPC does not define"),
            ("abc", "UNKNOWN", true, true, "no number"),
        ];
        for (value, name, client_error, server_error, reason) in cases {
            let expected = [client_error, server_error].map(|it| it.then_some(name.to_owned()));
            let status = StatusCode::parse(value.as_bytes());
            assert_eq!(errors(status, 0), expected, "client, server: {reason}");
        }
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
}
