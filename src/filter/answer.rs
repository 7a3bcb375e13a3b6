//! What the host has of an export call's answer, in its callback.

use crate::export::answer::Answer;
use crate::export::protocol::Protocol;
use crate::export::retry_after;
use crate::host;
use crate::otlp::rpc_status;
use std::time::SystemTime;

/// The most that is read of a body, in bytes: what a collector says of a batch is short.
const MAX_BODY: usize = 64 << 10;

/// The body of the current answer, or its start.
pub(super) fn body(size: usize) -> Vec<u8> {
    if size == 0 { Vec::new() } else { host::answer_body(size.min(MAX_BODY)) }
}

/// The current answer, with this body.
pub(super) fn read(protocol: Protocol, body: &[u8]) -> Answer<'_> {
    let grpc = match protocol {
        Protocol::Grpc => grpc_status(),
        Protocol::HttpProtobuf | Protocol::HttpJson => None,
    };
    if let Some((code, details)) = grpc {
        return Answer::Grpc { code, retry_delay: rpc_status::retry_delay(&details), body };
    }
    let retry_after = host::answer_header("retry-after").unwrap_or_default();
    let retry_after = retry_after::read(&retry_after, SystemTime::now());
    let status = host::answer_header(":status").and_then(|digits| number(&digits));
    Answer::Http { status: status.unwrap_or_default(), retry_after, body }
}

/// How the gRPC call ended that the current answer is about: its status code, and the value of `grpc-status-details-bin`. They are
/// trailers, or headers of an answer that has nothing else. None if it does not say.
fn grpc_status() -> Option<(u32, Vec<u8>)> {
    type Lookup = fn(&str) -> Option<Vec<u8>>;
    let places: [Lookup; 2] = [host::answer_trailer, host::answer_header];
    let (place, code) =
        places.into_iter().find_map(|place| Some((place, number(&place("grpc-status")?)?)))?;
    let details = if code == 0 { None } else { place("grpc-status-details-bin") };
    Some((code, details.unwrap_or_default()))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
