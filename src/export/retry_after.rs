//! `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::{Duration, SystemTime};

/// How long a header's value asks to wait at this time. A date that is past asks for nothing, and what
/// is neither seconds nor a date says nothing.
#[must_use]
pub fn read(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time, too.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: Duration = Duration::from_secs(784_111_777);

    #[test]
    fn seconds_and_dates_are_read() {
        let cases: &[(&str, Option<u64>, &str)] = &[
            ("120", Some(120), "seconds"),
            ("0", Some(0), "at once"),
            (" 7\\t", Some(7), "with space around"),
            ("86401", Some(86_401), "longer than a day"),
            ("99999999999999999999999999", Some(u64::MAX), "more digits than a number has"),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10), "a date"),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10), "as RFC 850 wrote it"),
            ("Sun Nov  6 08:49:47 1994", Some(10), "as asctime writes it"),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0), "a date that is past"),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(252_618_189_022), "a date that is far"),
            ("Sun, 06 Nov 1994 08:49:47 CET", None, "another zone"),
            ("Sun, 32 Nov 1994 08:49:47 GMT", None, "no day"),
            ("-1", None, "a sign"),
            ("1.5", None, "a fraction"),
            ("soon", None, "a word"),
            ("", None, "nothing"),
            ("  ", None, "space"),
        ];
        for (value, seconds, reason) in cases {
            let value = value.replace("\\t", "\t");
            let found = read(value.as_bytes(), SystemTime::UNIX_EPOCH + NOW);
            assert_eq!(found, seconds.map(Duration::from_secs), "{reason}: {value:?}");
        }
        assert_eq!(read(b"\xff", SystemTime::UNIX_EPOCH), None, "no text");
    }

    proptest! {
        #[test]
        fn no_value_is_too_strange(value: Vec<u8>, now in 0_u64..1 << 40) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            let _ = read(&value, now);
        }
    }
}
