//! The `Forwarded` header (RFC 7239, section 4): who called the first proxy, and how.
//!
//! Whether it is believed is not here, nor what a node or a host is (`address`).

use crate::context::trim_white_space;
use std::borrow::Cow;

/// What the first element of a `Forwarded` header says: that of the proxy that the original client called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// `for`: the original client.
    pub client: Option<Cow<'a, [u8]>>,
    /// `host`: the `Host` that it sent.
    pub host: Option<Cow<'a, [u8]>>,
    /// `proto`: the scheme that it used.
    pub proto: Option<Cow<'a, [u8]>>,
}

/// The header is not what RFC 7239 allows: it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Forwarded<'a> {
    /// Reads a header: elements joined by commas, each a list of `name=value` joined by semicolons, the value a token or a
    /// quoted string with quoted pairs (section 4; RFC 9110, section 5.6). Names ignore case; an empty value is none.
    ///
    /// More is taken than the grammar has where that is not ambiguous, since proxies write it: white space around separators, and
    /// `:`, `[` and `]` in a value without quotes.
    ///
    /// # Errors
    /// A name that is no token, a parameter without `=` or without a value, any other character in a value without quotes, a
    /// quote that stays open, a control character, text after a closing quote, or one of these three twice in an element;
    /// anywhere in the header.
    pub fn parse(header: &'a [u8]) -> Result<Self, Malformed> {
        let (Self { client, host, proto }, _) = first(header)?;
        let [client, host, proto] =
            [client, host, proto].map(|value| value.filter(|value| !value.is_empty()));
        Ok(Self { client, host, proto })
    }

    /// The element that counts, as it stands in the header: by itself it says the same.
    ///
    /// # Errors
    /// The header is malformed, anywhere.
    pub fn first_element(header: &[u8]) -> Result<&[u8], Malformed> {
        first(header).map(|(_, element)| element)
    }

    fn note(&mut self, name: &[u8], value: Cow<'a, [u8]>) -> Result<(), Malformed> {
        let fields =
            [("for", &mut self.client), ("host", &mut self.host), ("proto", &mut self.proto)];
        let named = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let Some((_, field)) = fields.into_iter().find(|(known, _)| named(known)) else {
            return Ok(());
        };
        match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(Malformed),
        }
    }
}

/// What the first element says that is not empty, and its text.
fn first(header: &[u8]) -> Result<(Forwarded<'_>, &[u8]), Malformed> {
    let mut first = None;
    let mut next = Some(header);
    while let Some(rest) = next {
        let (said, after) = element(rest)?;
        let length = rest.len() - after.map_or(0, |after| after.len() + 1);
        first = first.or(said.map(|said| (said, rest.get(..length).unwrap_or(rest))));
        next = after;
    }
    Ok(first.unwrap_or_default())
}

/// What the element at the start says, unless it is empty, and what follows its comma, if there is one.
fn element(mut rest: &[u8]) -> Result<(Option<Forwarded<'_>>, Option<&[u8]>), Malformed> {
    let mut said = None;
    loop {
        rest = trim_white_space(rest);
        if !matches!(rest, [] | [b';' | b',', ..]) {
            let (name, after) = span(rest, is_token);
            let after = trim_white_space(after).strip_prefix(b"=").ok_or(Malformed)?;
            let (value, after) = value(trim_white_space(after))?;
            if name.is_empty() {
                return Err(Malformed);
            }
            said.get_or_insert_with(Forwarded::default).note(name, value)?;
            rest = trim_white_space(after);
        }
        match rest {
            [] => return Ok((said, None)),
            [b',', after @ ..] => return Ok((said, Some(after))),
            [b';', after @ ..] => rest = after,
            _ => return Err(Malformed),
        }
    }
}

/// The value at the start, and what follows it.
fn value(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    if let [b'"', quoted @ ..] = text {
        return quoted_string(quoted);
    }
    let (value, rest) = span(text, |byte| is_token(byte) || b":[]".contains(&byte));
    if value.is_empty() { Err(Malformed) } else { Ok((Cow::Borrowed(value), rest)) }
}

/// What stands before the closing quote, and what follows that (RFC 9110, section 5.6.4).
fn quoted_string(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    let (plain, mut rest) = span(text, is_quotable);
    let mut value = Cow::Borrowed(plain);
    loop {
        match rest {
            [b'"', after @ ..] => return Ok((value, after)),
            [b'\\', escaped, after @ ..] if is_quotable(*escaped) || b"\"\\".contains(escaped) => {
                let (plain, after) = span(after, is_quotable);
                let value = value.to_mut();
                value.push(*escaped);
                value.extend_from_slice(plain);
                rest = after;
            }
            _ => return Err(Malformed),
        }
    }
}

/// `tchar` (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `qdtext` (RFC 9110, section 5.6.4): what stands for itself between quotes.
fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..) && !b"\"\\".contains(&byte)
}

/// The longest start that has only such bytes, and the rest.
fn span(text: &[u8], is_part: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !is_part(*byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is said of `for`, `host` and `proto`; `None` of a header that is malformed.
    fn read(header: &str) -> Option<[String; 3]> {
        let Forwarded { client, host, proto } = Forwarded::parse(header.as_bytes()).ok()?;
        Some(
            [client, host, proto].map(|value| {
                String::from_utf8(value.unwrap_or_default().into_owned()).expect("text")
            }),
        )
    }

    #[test]
    fn headers_are_read_as_rfc_7239_says() {
        let cases = [
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                ["192.0.2.60", "", "http"],
                "one element",
            ),
            (
                "for=192.0.2.43, for=198.51.100.17;host=h",
                ["192.0.2.43", "", ""],
                "the first of two",
            ),
            ("For=\"[2001:db8:cafe::17]:4711\"", ["[2001:db8:cafe::17]:4711", "", ""], "IPv6"),
            ("FOR=a;Host=b;pROTO=c", ["a", "b", "c"], "names ignore case"),
            (
                "for=192.0.2.43;ext=\"a,b\";host=\"shop.example:8443\";proto=https",
                ["192.0.2.43", "shop.example:8443", "https"],
                "a comma between quotes separates nothing",
            ),
            ("ext=\"x;for=203.0.113.9;host=evil.example\"", ["", "", ""], "nor does a semicolon"),
            (
                "ext=\"a\\\",for=evil\";for=b",
                ["b", "", ""],
                "a quote with a backslash closes nothing",
            ),
            ("host=\"\\s\\h\\\\o\\\"p\"", ["", "sh\\o\"p", ""], "quoted pairs"),
            ("for=\"a b\t\u{e9}\"", ["a b\t\u{e9}", "", ""], "white space and bytes over 0x7F"),
            ("for=a:80;host=h:8443", ["a:80", "h:8443", ""], "ports without quotes"),
            ("for=[::1]:80", ["[::1]:80", "", ""], "nor are there any around brackets"),
            ("proto=https ;\tfor = 10.0.0.1", ["10.0.0.1", "", "https"], "white space"),
            (";for=a;;", ["a", "", ""], "empty parameters"),
            (" , ;, for=a,,", ["a", "", ""], "empty elements"),
            ("for=\"\";host=h", ["", "h", ""], "an empty value"),
            ("for=!#$%&'*+-.^_`|~09AZaz", ["!#$%&'*+-.^_`|~09AZaz", "", ""], "all of a token"),
            ("", ["", "", ""], "nothing"),
        ];
        for (header, expected, reason) in cases {
            assert_eq!(read(header), Some(expected.map(str::to_owned)), "{reason}: {header}");
        }
    }

    #[test]
    fn a_malformed_header_says_nothing() {
        let cases = [
            ("for=a;host", "a parameter without a value"),
            ("for=a;host=", "nothing after the equals sign"),
            ("for=;host=h", "nothing before the semicolon"),
            ("=a", "no name"),
            ("f(r=a", "a name that is no token"),
            ("for=a b", "a space in a value"),
            ("for=a=b", "an equals sign in a value"),
            ("for=a/b", "a slash in a value without quotes"),
            ("for=a\"b\"", "a quote in a value"),
            ("for=\"a", "a quote that stays open"),
            ("for=\"", "a quote alone"),
            ("for=\"a\\\"", "a closing quote that is none"),
            ("for=\"a\\", "a backslash at the end"),
            ("for=\"a\"b", "text after the closing quote"),
            ("for=\"a\u{1}\"", "a control character"),
            ("for=\"\\\u{7f}\"", "one with a backslash before it"),
            ("for=\u{e9}", "bytes over 0x7F without quotes"),
            ("for=a;FOR=b", "a parameter twice"),
            ("for=a, for=\"b", "a later element that is malformed"),
            ("for=a, b", "a later element that is no parameter"),
        ];
        for (header, reason) in cases {
            assert_eq!(read(header), None, "{reason}: {header}");
        }
    }

    /// A value as a proxy may write it, and what it means.
    fn written() -> impl Strategy<Value = (String, String)> {
        let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}".prop_map(|text| (text.clone(), text));
        let quoted = prop::collection::vec(("[ -~\t\u{e9}]", any::<bool>()), 0..9);
        let quoted = quoted.prop_map(|characters| {
            let mut written = "\"".to_owned();
            let mut meant = String::new();
            for (character, escaped) in characters {
                if escaped && character.is_ascii() || ["\"", "\\"].contains(&character.as_str()) {
                    written.push('\\');
                }
                written.push_str(&character);
                meant.push_str(&character);
            }
            (written + "\"", meant)
        });
        prop_oneof![token, quoted]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            values in prop::array::uniform4(written()),
            order in Just([0, 1, 2, 3]).prop_shuffle(),
            separator in prop_oneof![Just(";"), Just(" ; "), Just(";;\t")],
            after in prop_oneof![Just(""), Just(","), Just(", for=\"x;,\";host=y ,proto=z")],
        ) {
            let names = ["for", "host", "proto", "ext"];
            let pairs = order.map(|it: usize| format!("{}={}", names[it], values[it].0));
            let header = pairs.join(separator) + after;
            let expected = [0, 1, 2].map(|it: usize| values[it].1.clone());
            prop_assert_eq!(read(&header), Some(expected), "{}", header);
        }

        #[test]
        fn any_bytes_are_survived(header: Vec<u8>) {
            let _ = Forwarded::parse(&header);
        }

        #[test]
        fn any_separators_are_survived(header in "[a\"\\\\,;= \t]{0,30}") {
            if let Ok(Forwarded { client: Some(client), .. }) = Forwarded::parse(header.as_bytes()) {
                prop_assert!(!client.is_empty());
            }
        }
    }
}
