//! HTTP: the names of the attributes, versions, and what counts as an error.
//!
//! (Semantic conventions 1.44.0, HTTP spans.)

use super::Outcome;
use crate::otlp::SpanKind;
use std::borrow::Cow;

pub(super) const CLIENT_ADDRESS: &str = "client.address";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub(super) const NETWORK_PEER_PORT: &str = "network.peer.port";
pub(super) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const REQUEST_HEADER: &str = "http.request.header.";
pub(super) const REQUEST_METHOD: &str = "http.request.method";
pub(super) const REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
pub(super) const REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
pub(super) const RESPONSE_HEADER: &str = "http.response.header.";
pub(super) const RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const URL_FULL: &str = "url.full";
pub(super) const URL_PATH: &str = "url.path";
pub(super) const URL_QUERY: &str = "url.query";
pub(super) const URL_SCHEME: &str = "url.scheme";
pub(super) const USER_AGENT_ORIGINAL: &str = "user_agent.original";

/// `network.protocol.version` of Envoy's `HTTP/1.1`; empty if there is none.
#[must_use]
pub fn protocol_version(protocol: &[u8]) -> &[u8] {
    protocol.strip_prefix(b"HTTP/").unwrap_or_default()
}

/// The port that a scheme implies.
#[must_use]
pub fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme {
        b"http" => Some(80),
        b"https" => Some(443),
        _ => None,
    }
}

/// The `error.type` of a request that failed: its status code, or the response flag that says what
/// cut it off.
///
/// 5xx is an error for both kinds; 4xx for a client only, and nothing more is asked of it for a
/// server. Below that, and without a response, an interruption is one. A tunnel (`CONNECT` or an
/// upgrade) ends when either side closes: that is not an interruption.
#[must_use]
pub fn error_type(
    kind: SpanKind,
    connect: bool,
    outcome: &Outcome<'_>,
) -> Option<Cow<'static, str>> {
    match outcome.response_code {
        Some(code @ 500..) => Some(code.to_string().into()),
        Some(code @ 400..) if kind == SpanKind::Client => Some(code.to_string().into()),
        Some(400.. | 101) => None,
        Some(200..300) if connect => None,
        Some(_) => outcome.response_flags.interruption().map(Cow::Borrowed),
        None => Some(outcome.response_flags.interruption().unwrap_or("_OTHER").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semconv::flags::ResponseFlags;

    #[test]
    fn errors_are_what_the_conventions_say() {
        use SpanKind::{Client, Server};
        let dc = 1 << 14;
        let uc = 1 << 6;
        let nr = 1 << 8;
        let cases = [
            (Server, false, Some(200), 0, None, "success"),
            (Client, false, Some(302), 0, None, "a redirect"),
            (Server, false, Some(404), nr, None, "the caller's mistake, for a server"),
            (Client, false, Some(404), 0, Some("404"), "a client's error"),
            (Server, false, Some(500), 0, Some("500"), "a server's error"),
            (Client, false, Some(503), uc, Some("503"), "a status goes before a flag"),
            (Server, false, Some(200), uc, Some("UC"), "cut off in the body"),
            (Server, false, None, dc, Some("DC"), "the caller left before a response"),
            (Server, false, None, 0, Some("_OTHER"), "no response, nobody knows why"),
            (Server, false, Some(101), dc, None, "a WebSocket that was closed"),
            (Server, true, Some(200), dc, None, "a CONNECT tunnel that was closed"),
            (Server, true, Some(503), 0, Some("503"), "a CONNECT that failed"),
        ];
        for (kind, connect, response_code, flags, expected, reason) in cases {
            let outcome = Outcome {
                response_code,
                response_flags: ResponseFlags::from_bits(flags),
                ..Outcome::default()
            };
            assert_eq!(error_type(kind, connect, &outcome).as_deref(), expected, "{reason}");
        }
    }
}
