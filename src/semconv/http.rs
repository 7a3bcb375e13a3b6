//! HTTP: default ports, and what counts as an error.
//!
//! (Semantic conventions 1.44.0, HTTP spans.)

use super::facts::{Facts, Interruption};
use crate::otlp::SpanKind;
use std::borrow::Cow;

/// The port that a scheme implies.
#[must_use]
pub fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme {
        b"http" | b"ws" => Some(80),
        b"https" | b"wss" => Some(443),
        _ => None,
    }
}

/// The `error.type` of a request that failed: its status code, or the response flag, or what else Envoy says, that
/// cut it off.
///
/// 5xx is an error for both kinds; 4xx for a client only, and nothing more is asked of it for a
/// server. Below that, and without a response, an interruption is one, unless it is a client's own caller who
/// cancels (section Status). A tunnel (`CONNECT` or an upgrade) ends when either side closes: that is not an
/// interruption.
#[must_use]
pub fn error_type(kind: SpanKind, facts: &Facts<'_>) -> Option<Cow<'static, str>> {
    let interruption = facts.interruption.map(Interruption::flag);
    match facts.status {
        Some(code @ 500..) => Some(code.to_string().into()),
        Some(code @ 400..) if kind == SpanKind::Client => Some(code.to_string().into()),
        _ if facts.is_cancelled(kind) => None,
        Some(400.. | 101) => None,
        Some(200..300) if facts.method == b"CONNECT" => None,
        Some(_) => interruption.map(Cow::Borrowed),
        None => Some(interruption.unwrap_or("_OTHER").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::attributes::Outcome;
    use crate::envoy::flags::ResponseFlags;
    use crate::envoy::headers::Headers;
    use crate::envoy::wire::HeaderMap;

    #[test]
    fn a_scheme_implies_a_port() {
        let cases: [(&[u8], _); 5] = [
            (b"http", Some(80)),
            (b"https", Some(443)),
            (b"ws", Some(80)),
            (b"wss", Some(443)),
            (b"ftp", None),
        ];
        for (scheme, port) in cases {
            assert_eq!(default_port(scheme), port, "{}", scheme.escape_ascii());
        }
    }

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
            let facts = Facts::read(&request, &response, None, outcome);
            assert_eq!(error_type(kind, &facts).as_deref(), expected, "{reason}");
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
            let facts = Facts::read(&headers, &headers, None, outcome);
            assert_eq!(error_type(kind, &facts).as_deref(), expected, "{reason}");
        }
    }
}
