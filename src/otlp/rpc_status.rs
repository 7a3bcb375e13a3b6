//! What a collector says of a call that failed, in a `google.rpc.Status`: why, and when to come back.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use prost::Message;
use std::time::Duration;

/// Padded or not (gRPC over HTTP2, section Requests: Binary-Header).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The most that is read, in bytes: of many small details little would become much.
const MAX_DETAILS: usize = 8 << 10;

/// How long to wait, of `google.rpc.RetryInfo` in the value of `grpc-status-details-bin` (OTLP/gRPC Throttling). None if that does
/// not say, or nothing that could be waited for.
#[must_use]
pub fn retry_delay(details: &[u8]) -> Option<Duration> {
    if details.len() > MAX_DETAILS {
        return None;
    }
    let bytes = BASE64.decode(details).ok()?;
    let status = RpcStatus::decode(bytes.as_slice()).ok()?;
    let info = status.details.iter().find(|it| it.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds, nanos))
}

/// Why a call failed, if a body is such a message (OTLP/HTTP, section Failures), and not a text: no text has its tags.
#[must_use]
pub fn message(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() > MAX_DETAILS {
        return None;
    }
    let status = RpcStatus::decode(body).ok()?;
    Some(status.message).filter(|message| !message.is_empty())
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    /// A string; not every collector writes UTF-8.
    #[prost(bytes = "vec", tag = "2")]
    message: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, Copy, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
    use proptest::prelude::*;

    fn details(type_url: &str, seconds: i64, nanos: i32) -> Vec<u8> {
        let delay = ProtoDuration { seconds, nanos };
        let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
        let other = Any { type_url: "type.googleapis.com/google.rpc.Help".into(), value: vec![1] };
        let info = Any { type_url: type_url.into(), value };
        RpcStatus { message: b"busy".to_vec(), details: vec![other, info] }.encode_to_vec()
    }

    #[test]
    fn the_delay_is_found_among_the_details() {
        const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
        let cases = [
            (RETRY_INFO, 7, 5_000_000, Some(Duration::from_millis(7005)), "seconds and less"),
            (RETRY_INFO, 0, 0, Some(Duration::ZERO), "at once"),
            (
                RETRY_INFO,
                i64::MAX,
                999_999_999,
                Some(Duration::new(i64::MAX as u64, 999_999_999)),
                "for ever",
            ),
            (RETRY_INFO, -1, 0, None, "the past"),
            (RETRY_INFO, 1, -1, None, "nanoseconds of the past"),
            (RETRY_INFO, 1, 1_000_000_000, None, "nanoseconds that are a second"),
            ("type.googleapis.com/google.rpc.ErrorInfo", 7, 0, None, "another detail"),
        ];
        for (type_url, seconds, nanos, expected, reason) in cases {
            let bytes = details(type_url, seconds, nanos);
            for text in [BASE64_STANDARD.encode(&bytes), BASE64_STANDARD_NO_PAD.encode(&bytes)] {
                assert_eq!(retry_delay(text.as_bytes()), expected, "{reason}: {text}");
            }
        }
        assert_eq!(retry_delay(b""), None, "no details");
        assert_eq!(retry_delay(b"*"), None, "no base64");
        assert_eq!(retry_delay(b"////"), None, "no message");
        // With a field of some two thousand bytes that is not known.
        let long = [details(RETRY_INFO, 7, 0), vec![0x7a, 0x90, 0x10], vec![0; 0x810]].concat();
        let long = BASE64_STANDARD.encode(long);
        assert!(retry_delay(long.as_bytes()).is_some(), "long, but not too long");
        // A message and a field that is not known, of so many bytes in all.
        let of_length = |length: usize| {
            let message = details(RETRY_INFO, 7, 0);
            let byte = |number: usize| u8::try_from(number).expect("below 128");
            let field = [0x7a, 0x80 | byte(length % 128), byte(length / 128)];
            [message.as_slice(), &field, &vec![0; length]].concat()
        };
        let most = MAX_DETAILS / 4 * 3 - details(RETRY_INFO, 7, 0).len() - 3;
        let long = BASE64_STANDARD.encode(of_length(most));
        assert_eq!((long.len(), retry_delay(long.as_bytes()).is_some()), (MAX_DETAILS, true));
        let longer = BASE64_STANDARD.encode(of_length(most + 3));
        assert_eq!(retry_delay(longer.as_bytes()), None, "too long by four characters");
    }

    #[test]
    fn the_reason_is_found_in_a_message_and_not_in_a_text() {
        let cases: &[(&[u8], Option<&[u8]>, &str)] = &[
            (b"\x08\x03\x12\x07bad key", Some(b"bad key"), "a code and a message"),
            (&details("", 1, 0), Some(b"busy"), "details, too"),
            (b"\x12\x02\xff\xfe", Some(b"\xff\xfe"), "no UTF-8"),
            (b"\x08\x03", None, "a code alone"),
            (b"\x12\x07bad", None, "cut"),
            (b"", None, "nothing"),
            (b"invalid API key: use header x-api-key", None, "a text"),
            (b"{\"code\": 3, \"message\": \"bad key\"}", None, "JSON"),
            (b"<html>\r\n<body>\t401 Unauthorized</body>", None, "a page"),
        ];
        for (body, expected, reason) in cases {
            assert_eq!(message(body).as_deref(), *expected, "{reason}");
        }
        let of =
            |length| RpcStatus { message: vec![b'x'; length], details: vec![] }.encode_to_vec();
        let longest = of(MAX_DETAILS - 3);
        assert_eq!((longest.len(), message(&longest).is_some()), (MAX_DETAILS, true));
        assert_eq!(message(&of(MAX_DETAILS - 2)), None, "too long by a byte");
    }

    proptest! {
        #[test]
        fn no_readable_text_is_a_message(text in "[\t\r\n -~]{0,60}") {
            prop_assert_eq!(message(text.as_bytes()), None);
        }

        #[test]
        fn no_details_are_too_strange(details: Vec<u8>) {
            let _ = [retry_delay(&details), retry_delay(BASE64_STANDARD.encode(&details).as_bytes())];
        }
    }
}
