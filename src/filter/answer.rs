//! What the host has of an export call's answer, in its callback.

use crate::export::answer::Answer;
use crate::export::protocol::Protocol;
use crate::export::retry_after;
use crate::host;
use crate::otlp::rpc_status;
use std::time::SystemTime;

/// The most that is read of a body, in bytes: what a collector says of a batch is short.
const MAX_BODY: usize = 64 << 10;

/// What `take` makes of the current answer, which has so many headers, and a body of this size.
pub(super) fn with<T>(
    protocol: Protocol,
    headers: usize,
    body_size: usize,
    take: impl FnOnce(Answer<'_>) -> T,
) -> T {
    // Without headers there is no response, and the host has nothing that could be asked for.
    if headers == 0 {
        return take(Answer::Reset);
    }
    let body = if body_size == 0 { Vec::new() } else { host::answer_body(body_size.min(MAX_BODY)) };
    let grpc = match protocol {
        Protocol::Grpc => grpc_status(),
        Protocol::HttpProtobuf | Protocol::HttpJson => None,
    };
    if let Some(GrpcStatus { code, details, message }) = grpc {
        let retry_delay = rpc_status::retry_delay(&details);
        return take(Answer::Grpc { code, retry_delay, message: &message, body: &body });
    }
    let retry_after = host::answer_header("retry-after").unwrap_or_default();
    let retry_after = retry_after::read(&retry_after, SystemTime::now());
    let status = host::answer_header(":status").and_then(|digits| number(&digits));
    take(Answer::Http { status: status.unwrap_or_default(), retry_after, body: &body })
}

/// How a gRPC call ended.
struct GrpcStatus {
    code: u32,
    /// `grpc-status-details-bin`, if it failed.
    details: Vec<u8>,
    /// `grpc-message`, if it failed.
    message: Vec<u8>,
}

/// How the gRPC call ended that the current answer is about. That stands in trailers, or in headers of an answer that has nothing else.
/// None if it does not say.
fn grpc_status() -> Option<GrpcStatus> {
    type Lookup = fn(&str) -> Option<Vec<u8>>;
    let places: [Lookup; 2] = [host::answer_trailer, host::answer_header];
    let (place, code) =
        places.into_iter().find_map(|place| Some((place, number(&place("grpc-status")?)?)))?;
    // A success has neither.
    let of_failure = |name| if code == 0 { None } else { place(name) }.unwrap_or_default();
    let (details, message) = (of_failure("grpc-status-details-bin"), of_failure("grpc-message"));
    Some(GrpcStatus { code, details, message })
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
