//! An attempt of Envoy's router: what a filter sees that stands among a cluster's filters.
//!
//! Whether a filter stands there is found out elsewhere (`tracer`), and so is what becomes of an attempt's span.

use super::attributes::{RESPONSE_CODE, RESPONSE_FLAGS};
use super::flags::ResponseFlags;
use super::wire::number;
use std::num::NonZeroU32;
use std::time::Duration;

/// Which attempt of a request it is; zero, or nothing, of a request in a listener's chain.
pub const ATTEMPT_NUMBER: &str = "upstream.request_attempt_count";
/// The header in which Envoy's router says how many milliseconds an attempt may take.
pub const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";
/// This end of the connection to the upstream; none where there was no connection.
pub const UPSTREAM_LOCAL_ADDRESS: &str = "upstream.local_address";
/// Why there was no connection; none where it took too long, or a circuit breaker was open.
const FAILURE_REASON: &str = "upstream.transport_failure_reason";

/// An attempt of Envoy's router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The first one is 1.
    pub number: NonZeroU32,
    /// How many milliseconds it may take, as far as Envoy tells.
    timeout: Option<NonZeroU32>,
}

/// Why an attempt has no response of its own, where no response flag says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoResponse {
    /// It has one, or it is no attempt.
    #[default]
    Unsaid,
    /// The upstream closed the connection, or reset the stream.
    Reset,
    /// It took too long to connect, or a circuit breaker was open: Envoy does not tell which.
    NoConnection,
    /// Another attempt was answered first.
    Superseded,
}

impl Attempt {
    /// Envoy's clock may be behind the one that the filter reads.
    const TOLERANCE: Duration = Duration::from_millis(5);

    /// The attempt that the value of [`ATTEMPT_NUMBER`] says.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let number = NonZeroU32::new(u32::try_from(number(value)).ok()?)?;
        Some(Self { number, timeout: None })
    }

    /// The same, and its header [`EXPECTED_TIMEOUT`] has this value.
    #[must_use]
    pub fn expecting(self, header: &[u8]) -> Self {
        Self { timeout: decimal(header).and_then(NonZeroU32::new), ..self }
    }

    /// Why it has ended without a response, by what Envoy says of its request: so much of that belongs to other attempts. `took` is how long
    /// it has taken. A flag that is returned is the attempt's own.
    pub fn without_response(
        self,
        took: Duration,
        attribute: impl Fn(&str) -> Vec<u8>,
    ) -> (ResponseFlags, NoResponse) {
        let flags = ResponseFlags::from_bits(number(&attribute(RESPONSE_FLAGS))).of_any_attempt();
        if !flags.is_empty() {
            return (flags, NoResponse::Unsaid);
        }
        if !attribute(RESPONSE_CODE).is_empty() {
            return (flags, NoResponse::Superseded);
        }
        let timeout = self.timeout.map(|it| Duration::from_millis(it.get().into()));
        if timeout.is_some_and(|timeout| took + Self::TOLERANCE >= timeout) {
            return (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, NoResponse::Unsaid);
        }
        // What Envoy says of the upstream is about the latest attempt.
        let is_latest =
            Self::read(&attribute(ATTEMPT_NUMBER)).is_some_and(|it| it.number == self.number);
        if !is_latest || !attribute(UPSTREAM_LOCAL_ADDRESS).is_empty() {
            (flags, NoResponse::Reset)
        } else if attribute(FAILURE_REASON).is_empty() {
            (flags, NoResponse::NoConnection)
        } else {
            (ResponseFlags::UPSTREAM_CONNECTION_FAILURE, NoResponse::Unsaid)
        }
    }
}

/// The number that is written so, if it is one: digits alone, and not too large.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u32> {
    let mut number = text.first().map(|_| 0_u32)?;
    for digit in text {
        let digit = digit.wrapping_sub(b'0');
        number = number.checked_mul(10)?.checked_add((digit < 10).then(|| digit.into())?)?;
    }
    Some(number)
}

impl NoResponse {
    /// What an error is called that is known by nothing else.
    #[must_use]
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::Unsaid | Self::Superseded => None,
            Self::Reset => Some("reset"),
            Self::NoConnection => Some("no_connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u64) -> Attempt {
        Attempt::read(&number.to_le_bytes()).expect("an attempt")
    }

    #[test]
    fn a_request_in_a_chain_is_no_attempt() {
        let cases: [(&[u8], Option<u32>, &str); 4] = [
            (&[], None, "nothing"),
            (&[0; 8], None, "not yet"),
            (&[1, 0, 0, 0, 0, 0, 0, 0], Some(1), "the first one"),
            (&[0xff; 8], None, "no number of an attempt"),
        ];
        for (value, expected, reason) in cases {
            assert_eq!(Attempt::read(value).map(|it| it.number.get()), expected, "{reason}");
        }
    }

    #[test]
    fn a_number_is_digits_alone() {
        let cases: [(&[u8], Option<u32>); 8] = [
            (b"503", Some(503)),
            (b"0", Some(0)),
            (b"4294967295", Some(u32::MAX)),
            (b"4294967296", None),
            (b"99999999999", None),
            (b"+1", None),
            (b"1:", None),
            (b"", None),
        ];
        for (text, expected) in cases {
            assert_eq!(decimal(text), expected, "{text:?}");
        }
    }

    /// What is seen of the second attempt of a request, which had a connection and has no response.
    #[derive(Clone, Copy)]
    struct Seen {
        timeout: &'static str,
        milliseconds: u64,
        flags: u64,
        response_code: &'static str,
        latest: u64,
        local_address: &'static str,
        failure_reason: &'static str,
    }

    #[test]
    fn why_there_is_no_response() {
        let seen = Seen {
            timeout: "",
            milliseconds: 9000,
            flags: 0,
            response_code: "",
            latest: 2,
            local_address: "10.0.0.1:1",
            failure_reason: "",
        };
        let (uo, dc, urx) = (1 << 7, 1 << 14, 1 << 15);
        let (ut, uf) = (1 << 2, 1 << 5);
        let [said, reset, none, superseded] = [
            NoResponse::Unsaid,
            NoResponse::Reset,
            NoResponse::NoConnection,
            NoResponse::Superseded,
        ];
        let timed = Seen { timeout: "200", ..seen };
        let unconnected = Seen { local_address: "", ..seen };
        let cases = [
            (Seen { flags: dc, ..timed }, dc, said, "the caller left"),
            (Seen { flags: uo | urx, ..unconnected }, uo, said, "a circuit breaker, as Envoy says"),
            (
                Seen { response_code: "200", latest: 3, ..timed },
                0,
                superseded,
                "the next one was faster",
            ),
            (Seen { milliseconds: 195, flags: urx, ..timed }, ut, said, "too slow"),
            (Seen { milliseconds: 194, ..timed }, 0, reset, "in time"),
            (seen, 0, reset, "no timeout is known"),
            (Seen { failure_reason: "refused", ..unconnected }, uf, said, "nobody is there"),
            (unconnected, 0, none, "nobody says why"),
            (
                Seen { latest: 3, ..unconnected },
                0,
                reset,
                "it is the next one that has no connection yet",
            ),
        ];
        for (seen, flags, no_response, reason) in cases {
            let attribute = |name: &str| match name {
                RESPONSE_FLAGS => seen.flags.to_le_bytes().to_vec(),
                RESPONSE_CODE => seen.response_code.into(),
                ATTEMPT_NUMBER => seen.latest.to_le_bytes().to_vec(),
                UPSTREAM_LOCAL_ADDRESS => seen.local_address.into(),
                FAILURE_REASON => seen.failure_reason.into(),
                _ => panic!("{name}"),
            };
            let found = attempt(2)
                .expecting(seen.timeout.as_bytes())
                .without_response(Duration::from_millis(seen.milliseconds), attribute);
            assert_eq!(found, (ResponseFlags::from_bits(flags), no_response), "{reason}");
        }
    }
}
