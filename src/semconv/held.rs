//! What is held of a header's value until its request ends.
//!
//! A long one is cut, but never so that what is read of it later is something else: above all no secret whose end is gone.
//! Which headers are held is not known here.

use super::address::first_entry;
use super::baggage;
use super::forwarded::Forwarded;
use super::redaction;
use super::target::Target;
use std::borrow::Cow;

/// Values of so many bytes are never cut: what is parsed could not be told any more.
const MIN_LIMIT: usize = 1024;

/// What has to be held of a value whose attributes have at most so many bytes each: the same attributes come of it. Where the header
/// is captured beside, this is what is captured.
#[must_use]
pub fn value<'a>(
    name: &[u8],
    value: &'a [u8],
    sensitive: &[String],
    limit: usize,
) -> Cow<'a, [u8]> {
    let limit = limit.max(MIN_LIMIT);
    if value.len() <= limit {
        return Cow::Borrowed(value);
    }
    match name {
        b":path" => Cow::Owned(target(value, sensitive, limit)),
        b"baggage" => Cow::Borrowed(baggage::held(value)),
        b":authority" => authority(value, limit),
        b"x-forwarded-host" => authority(first_entry(value), limit),
        // A part of an element would be malformed, or say something else.
        b"forwarded" => {
            let element = Forwarded::first_element(value).unwrap_or_default();
            Cow::Borrowed(if element.len() > limit { &[] } else { element })
        }
        _ => Cow::Borrowed(cut(value, limit)),
    }
}

/// A target without its secrets, and each part of it within the limit.
fn target(value: &[u8], sensitive: &[String], limit: usize) -> Vec<u8> {
    let Target { scheme, authority: of_target, path, query } = Target::parse(value);
    let mut held = Vec::new();
    if !scheme.is_empty() {
        held.extend_from_slice(scheme);
        held.extend_from_slice(b"://");
        held.extend_from_slice(&authority(of_target, limit));
    }
    held.extend_from_slice(cut(path, limit));
    if let Some(query) = query {
        held.push(b'?');
        held.extend_from_slice(cut(&redaction::query(query, sensitive), limit));
    }
    held
}

fn authority(value: &[u8], limit: usize) -> Cow<'_, [u8]> {
    match redaction::authority(value) {
        Cow::Borrowed(value) => Cow::Borrowed(cut(value, limit)),
        Cow::Owned(mut value) => {
            value.truncate(limit);
            Cow::Owned(value)
        }
    }
}

fn cut(value: &[u8], limit: usize) -> &[u8] {
    value.get(..limit).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(name: &str, value: &str, limit: usize) -> String {
        let value = super::value(name.as_bytes(), value.as_bytes(), &["sig".to_owned()], limit);
        String::from_utf8(value.into_owned()).expect("ASCII goes in")
    }

    #[test]
    fn a_long_value_is_cut_where_nothing_else_comes_of_it() {
        let xs = |count: usize| "x".repeat(count);
        let long = xs(MIN_LIMIT);
        let (wide, most) = (format!("{long}y"), MIN_LIMIT);
        let redacted = "REDACTED:REDACTED@";
        let cases = [
            ("user-agent", wide.clone(), long.clone(), "a text"),
            (":path", format!("/{long}"), format!("/{}", xs(MIN_LIMIT - 1)), "a path"),
            (":path", format!("/?a={long}"), format!("/?a={}", xs(MIN_LIMIT - 2)), "a query"),
            (":path", format!("/?sig={long}&b=1"), "/?sig=REDACTED&b=1".into(), "a secret in it"),
            (":path", format!("/?a=1#{long}?b=2"), "/?a=1".into(), "a fragment"),
            (":path", format!("/a#{long}?b=2"), "/a".into(), "no query, but a fragment's"),
            (
                ":path",
                format!("http://{long}:p@h/a?b"),
                format!("http://{redacted}h/a?b"),
                "user information longer than what is held",
            ),
            (":path", format!("http://h?{wide}"), format!("http://h/?{long}"), "no path"),
            (":path", format!("u:{long}@h"), String::new(), "what may be an authority"),
            (":authority", format!("{long}:p@h:1"), format!("{redacted}h:1"), "user information"),
            (
                ":authority",
                format!("u@{long}"),
                format!("{redacted}{}", xs(MIN_LIMIT - redacted.len())),
                "a long host",
            ),
            (":authority", wide.clone(), long.clone(), "a longer host"),
            ("x-forwarded-host", format!("a, {long}"), "a".into(), "the first entry"),
            ("x-forwarded-host", format!("{long}@h, b"), format!("{redacted}h"), "its secrets"),
            ("forwarded", format!("host=a;for=b, for={long}"), "host=a;for=b".into(), "the first"),
            ("forwarded", format!("host=a, for=\"{long}"), String::new(), "malformed at its end"),
            (
                "forwarded",
                format!("host={}, for=b", xs(MIN_LIMIT - "host=".len())),
                format!("host={}", xs(MIN_LIMIT - "host=".len())),
                "an element as long as may be",
            ),
            ("forwarded", format!("host={wide}"), String::new(), "an element that is too long"),
        ];
        for (name, value, expected, reason) in cases {
            assert_eq!(held(name, &value, most), expected, "{reason}");
            assert_eq!(held(name, &value, 0), expected, "{reason}, and no limit is smaller");
            assert_eq!(held(name, &value, value.len()), value, "{reason}, of what may be longer");
            assert_eq!(held(name, &expected, most), expected, "{reason}, once more");
        }
    }
}
