//! An attempt of Envoy's router: what a filter sees that stands among a cluster's filters.
//!
//! Whether a filter stands there is found out elsewhere (`tracer`), and so is what becomes of an attempt's span.

use super::wire::{decimal, number};
use std::num::NonZeroU32;
use std::time::Duration;

/// Which attempt of a request it is; zero, or nothing, of a request in a listener's chain.
pub const ATTEMPT_NUMBER: &str = "upstream.request_attempt_count";
/// The header in which Envoy's router says how many milliseconds an attempt may take.
pub const EXPECTED_TIMEOUT: &str = "x-envoy-expected-rq-timeout-ms";

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
        Self {
            timeout: decimal(header).and_then(|it| NonZeroU32::new(it.try_into().ok()?)),
            ..self
        }
    }

    /// Whether it was given so long as it has taken.
    #[must_use]
    pub fn has_timed_out(self, took: Duration) -> bool {
        let timeout = self.timeout.map(|it| Duration::from_millis(it.get().into()));
        timeout.is_some_and(|timeout| took + Self::TOLERANCE >= timeout)
    }
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
    fn it_may_take_as_long_as_its_header_says() {
        let cases: [(&[u8], u64, bool, &str); 7] = [
            (b"200", 194, false, "in time"),
            (b"200", 195, true, "too slow, by a clock that may be ahead"),
            (b"0", u64::MAX, false, "no limit"),
            (b"", u64::MAX, false, "none is known"),
            (b"4294967295", u32::MAX.into(), true, "the longest"),
            (b"4294967296", u64::MAX, false, "too large"),
            (b"+1", u64::MAX, false, "no number"),
        ];
        for (header, milliseconds, expected, reason) in cases {
            let attempt = attempt(1).expecting(header);
            let took = Duration::from_millis(milliseconds);
            assert_eq!(attempt.has_timed_out(took), expected, "{reason}");
        }
    }
}
