//! The header `baggage`: the value of one of its members.
//!
//! (W3C Baggage, Working Draft of 28 February 2024, sections Header Content and Limits.) Who asks for which member is not known here, and
//! nothing is written: the header goes on as it came.

use crate::context::trim_white_space;
use crate::envoy::headers::Headers;

/// The name of the header.
pub const BAGGAGE: &str = "baggage";
/// So many bytes are read, of all headers together: what everybody has to pass on.
pub const MAX_BYTES: usize = 8192;
/// And so many members.
pub const MAX_MEMBERS: usize = 64;

/// The value of a member, decoded; empty if there is none. Of several members with one key the last one counts, as in OpenTelemetry's own
/// libraries.
///
/// A member is ignored if it has no `=`, if its value has a character that Baggage does not have there, or a `%` without two hexadecimal
/// digits. Its properties are left out. What stands beyond the limits is not read: a member that does not fit in whole, and those behind it.
#[must_use]
pub fn member(headers: &Headers, key: &str) -> Vec<u8> {
    // A comma stands before each member but the first.
    let mut room = MAX_BYTES + 1;
    let mut count = 0;
    let mut found = Vec::new();
    for (name, header) in headers.iter() {
        let mut rest = (name == BAGGAGE.as_bytes()).then_some(header);
        while let Some(text) = rest {
            let (member, after) = split_at(text, b',');
            rest = after;
            count += usize::from(!trim_white_space(member).is_empty());
            let left = room.checked_sub(member.len() + 1).filter(|_| count <= MAX_MEMBERS);
            let (pair, _properties) = split_at(member, b';');
            let (known, value) = split_at(pair, b'=');
            if left.is_some()
                && trim_white_space(known) == key.as_bytes()
                && let Some(value) = value.and_then(decoded)
            {
                found = value;
            }
            // Behind one that does not fit nothing does.
            room = left.unwrap_or_default();
        }
    }
    found
}

/// What stands before a separator, and what behind it, if there is one.
#[inline(never)]
fn split_at(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let at = text.iter().position(|byte| *byte == separator).unwrap_or(text.len());
    (text.get(..at).unwrap_or_default(), text.get(at + 1..))
}

/// A value without percent-encoding, if it is well-formed.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::new();
    let mut bytes = trim_white_space(value).iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => u8::try_from(16 * digit(bytes.next())? + digit(bytes.next())?).ok()?,
            0x21 | 0x23..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E => *byte,
            _ => return None,
        });
    }
    Some(decoded)
}

/// What has to be held of a header so that each member in it says the same.
#[must_use]
pub fn held(value: &[u8]) -> &[u8] {
    let Some(first) = value.get(..=MAX_BYTES) else { return value };
    let end = first.iter().rposition(|byte| *byte == b',').unwrap_or_default();
    value.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    fn member(values: &[&[u8]], key: &str) -> Option<String> {
        let mut headers = Headers::default();
        for value in values {
            headers.add(b"x-other", b"a=0,b=0,c=0");
            headers.add(BAGGAGE.as_bytes(), value);
        }
        let value = super::member(&headers, key);
        (!value.is_empty()).then(|| String::from_utf8_lossy(&value).into_owned())
    }

    #[test]
    fn a_member_is_found_or_ignored() {
        let cases: &[(&[&str], Option<&str>, &str)] = &[
            (&["a=1"], Some("1"), "the only one"),
            (&["b=2,a=1,c=3"], Some("1"), "among others"),
            (&["b=2", "a=1"], Some("1"), "in a second header"),
            (&["a=1,a=2", "a=3"], Some("3"), "the last of several"),
            (&["a=1,a=\"2\""], Some("1"), "the last one that is well-formed"),
            (&[" a\t= 1 ; p=q"], Some("1"), "white space, and a property"),
            (&["a=1;p;q=2"], Some("1"), "properties"),
            (&["a=b=c"], Some("b=c"), "an equals sign in the value"),
            (&["a="], None, "an empty value"),
            (&["a=1,a="], None, "an empty one that is the last"),
            (&["a=x%20y%2C%C3%A4"], Some("x y,\u{e4}"), "percent-encoding"),
            (&["a=%ff"], Some("\u{fffd}"), "what is not UTF-8"),
            (&[",, ,a=1,"], Some("1"), "empty members"),
            (&[], None, "no header"),
            (&[""], None, "an empty header"),
            (&["ab=1"], None, "a longer key"),
            (&["A=1"], None, "case matters"),
            (&["a"], None, "no value"),
            (&["b=1;a=2"], None, "a property is no member"),
            (&["a=1 2"], None, "a space in the value"),
            (&["a=\"1\""], None, "a quotation mark"),
            (&["a=1\\2"], None, "a backslash"),
            (&["a=\u{e4}"], None, "a character that is not ASCII"),
            (&["a=%2"], None, "half of an encoded byte"),
            (&["a=%zz"], None, "no digits"),
        ];
        for (headers, expected, reason) in cases {
            let values: Vec<_> = headers.iter().map(|it| it.as_bytes()).collect();
            assert_eq!(member(&values, "a").as_deref(), *expected, "{reason}: {headers:?}");
        }
    }

    #[test]
    fn what_stands_beyond_the_limits_is_not_read() {
        let before = |count: usize| "b=1,".repeat(count);
        let long = |length: usize| format!("b={}", "x".repeat(length - 2));
        let last = ",a=1";
        let cases = [
            (before(MAX_MEMBERS - 1) + "a=1", true, "the last member of so many"),
            (before(MAX_MEMBERS) + "a=1", false, "one too many"),
            (before(MAX_MEMBERS - 1) + ",,,a=1", true, "empty ones don't count"),
            (long(MAX_BYTES - last.len()) + last, true, "to the last byte"),
            (long(MAX_BYTES - last.len() + 1) + last, false, "a byte too long"),
        ];
        for (header, expected, reason) in cases {
            let (one, two) = header.rsplit_once(',').expect("several");
            for values in [vec![header.as_str()], vec![one, two]] {
                let values: Vec<_> = values.iter().map(|it| it.as_bytes()).collect();
                assert_eq!(member(&values, "a").is_some(), expected, "{reason}: {}", values.len());
            }
            let held = super::held(header.as_bytes());
            assert_eq!(member(&[held], "a").is_some(), expected, "{reason}, held");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            members in prop::collection::btree_map("[a-z!#*.^_|~-]{1,9}", ".{1,9}", 1..20),
            property in "(;[a-z]{1,3}(=[a-z]{1,3})?)?",
            space in "[ \t]{0,2}",
            index: prop::sample::Index,
        ) {
            let encoded = |(key, value): (&String, &String)| {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                format!("{space}{key}{space}={space}{value}{space}{property}")
            };
            let header: Vec<_> = members.iter().map(encoded).collect();
            let (key, value) = members.iter().nth(index.index(members.len())).expect("some");
            let found = member(&[header.join(",").as_bytes()], key);
            prop_assert_eq!(found.as_ref(), Some(value));
        }

        #[test]
        fn what_is_held_says_the_same(members in prop::collection::vec("(a|b)=[a-z%0-9]{0,3000}", 0..9), more in 0..9000_usize) {
            let header = format!("{},c={}", members.join(","), "x".repeat(more));
            let held = super::held(header.as_bytes());
            prop_assert!(held.len() <= MAX_BYTES);
            for key in ["a", "b", "c"] {
                prop_assert_eq!(member(&[held], key), member(&[header.as_bytes()], key));
            }
        }

        #[test]
        fn any_bytes_are_survived(headers: Vec<Vec<u8>>, key: String) {
            let values: Vec<_> = headers.iter().map(Vec::as_slice).collect();
            let _ = member(&values, &key);
            prop_assert!(headers.iter().all(|it| super::held(it).len() <= it.len()));
        }
    }
}
