//! Names with values, one after the other: entries of a JSON list, or `key=value` pairs in one text;
//! `OTEL_RESOURCE_ATTRIBUTES`, `headers_list` and the like. A name counts where it stands first.
//!
//! (OpenTelemetry, Environment Variable Specification: the format of W3C Baggage, without
//! properties; values are percent-encoded; an error discards the whole list.)
//!
//! Which names and values are good is not known here.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use std::fmt;

/// Adds what has a name that is not there yet.
#[inline(never)] // Read once: what makes the module smaller goes before what makes it faster.
pub(super) fn add<T>(list: &mut Vec<(String, T)>, (name, value): (String, T)) {
    if list.iter().all(|(known, _)| *known != name) {
        list.push((name, value));
    }
}

/// The name and the value of an entry, which both must be there, and what `read` makes of the rest.
pub(super) fn entry<'a, T>(
    cursor: &Cursor<'a>,
    read: impl FnOnce(&mut Object<'a>) -> Result<T, ConfigError>,
) -> Result<(Cursor<'a>, Cursor<'a>, T), ConfigError> {
    let (name, value, rest) = cursor.object(|entry| {
        let (name, value) = (entry.take_even_null("name"), entry.take_even_null("value"));
        Ok((name, value, read(entry)?))
    })?;
    match (name, value) {
        (Some(name), Some(value)) => Ok((name, value, rest)),
        _ => Err(cursor.refuse("an object with name and value")),
    }
}

/// Why a list is refused: which of its entries is wrong, from one on. What that says may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListError {
    /// An entry without `=`, or with nothing before it.
    Entry(usize),
    /// An entry whose percent-encoding is broken, or does not decode to UTF-8.
    Encoding(usize),
}

impl fmt::Display for ListError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(entry) => write!(formatter, "entry {entry} is not key=value"),
            Self::Encoding(entry) => {
                write!(formatter, "entry {entry} is not percent-encoded UTF-8")
            }
        }
    }
}

impl std::error::Error for ListError {}

/// The pairs of a list, in order. White space around keys and values is stripped, empty entries are
/// ignored.
///
/// # Errors
/// The first entry that is not `key=value` with a percent-encoded value.
#[inline(never)] // As `add`.
pub(super) fn pairs(list: &str) -> Result<Vec<(String, String)>, ListError> {
    let mut pairs = Vec::new();
    for (number, entry) in (1..).zip(list.split(',')) {
        let entry = entry.trim();
        if !entry.is_empty() {
            pairs.push(pair(number, entry)?);
        }
    }
    Ok(pairs)
}

fn pair(number: usize, entry: &str) -> Result<(String, String), ListError> {
    let (key, value) = entry.split_once('=').ok_or(ListError::Entry(number))?;
    if key.trim().is_empty() {
        return Err(ListError::Entry(number));
    }
    let decoded = |text: &str| decoded(text.trim()).ok_or(ListError::Encoding(number));
    Ok((decoded(key)?, decoded(value)?))
}

fn decoded(text: &str) -> Option<String> {
    let well_formed = text.split('%').skip(1).all(|rest| {
        rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    });
    let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    well_formed.then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_whole_or_not_at_all() {
        let cases: &[(&str, Option<&[(&str, &str)]>, &str)] = &[
            ("", Some(&[]), "nothing"),
            ("a=1", Some(&[("a", "1")]), "one pair"),
            (" a = 1 , b=2,", Some(&[("a", "1"), ("b", "2")]), "white space and an empty entry"),
            ("a=b=c", Some(&[("a", "b=c")]), "an equals sign in the value"),
            ("a=%2C%20x", Some(&[("a", ", x")]), "percent-encoding"),
            ("a=", Some(&[("a", "")]), "an empty value"),
            ("a=1,b", None, "an entry without a value discards all"),
            ("=1", None, "an empty key"),
            ("a=%2", None, "half of an encoded byte"),
            ("a=%zz", None, "no digits"),
            ("a=%ff", None, "not UTF-8"),
        ];
        for (list, expected, reason) in cases {
            let read = pairs(list).ok();
            let expected = expected.map(|pairs| {
                pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>()
            });
            assert_eq!(read, expected, "{reason}");
        }
    }

    #[test]
    fn the_entry_that_is_wrong_is_counted() {
        let cases = [
            ("a=1,b", ListError::Entry(2), "entry 2 is not key=value"),
            ("=", ListError::Entry(1), "entry 1 is not key=value"),
            ("a=1,, ,%=2", ListError::Encoding(4), "entry 4 is not percent-encoded UTF-8"),
            ("a=%ff,b", ListError::Encoding(1), "entry 1 is not percent-encoded UTF-8"),
        ];
        for (list, error, text) in cases {
            assert_eq!(pairs(list), Err(error), "{list}");
            assert_eq!(error.to_string(), text, "{list}");
        }
    }

    proptest! {
        #[test]
        fn encoded_pairs_round_trip(pairs in prop::collection::vec(("[a-z.]{1,9}", ".{0,9}"), 0..5)) {
            let list = pairs.iter().map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            let list = list.collect::<Vec<_>>().join(",");
            prop_assert_eq!(super::pairs(&list).unwrap(), pairs);
        }

        #[test]
        fn any_text_is_survived(list: String) {
            let _ = super::pairs(&list);
        }
    }
}
