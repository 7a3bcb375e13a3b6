//! Text from outside, as it may stand in a line of the log: on that line, and short.

use std::borrow::Cow;
use std::fmt;

/// Bytes that somebody else has written, a text as a rule. Shown in at most [`Foreign::MAX`] characters, what controls a terminal or
/// breaks a line escaped, what is no UTF-8 replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign<'a>(Cow<'a, [u8]>);

impl<'a> Foreign<'a> {
    /// The most that is shown, in characters. What was cut off is one of them.
    pub const MAX: usize = 256;

    /// Nothing at all.
    pub const NOTHING: Self = Self(Cow::Borrowed(&[]));

    /// These bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self(bytes.into())
    }

    /// These bytes, percent-encoded (gRPC over HTTP2, section Responses: Status-Message). Where they are not, they stay as they are.
    #[must_use]
    pub fn percent_encoded(bytes: &'a [u8]) -> Self {
        Self(percent_encoding::percent_decode(bytes).into())
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.trim_ascii().is_empty()
    }

    /// As it is shown, with these texts in it replaced, of several at a place the longest: who was told a secret may repeat it.
    /// Empty ones stay.
    #[must_use]
    pub fn without(&self, secrets: &[Vec<u8>]) -> String {
        /// So many bytes show as much as all of them: a character takes up to four.
        const ENOUGH: usize = (Foreign::MAX + 1) * 4;
        let mut bytes = Vec::new();
        let mut rest = self.0.trim_ascii();
        while let [first, others @ ..] = rest
            && bytes.len() < ENOUGH
        {
            let secrets = secrets.iter().map(Vec::as_slice);
            let here = secrets.filter(|it| !it.is_empty() && rest.starts_with(it));
            if let Some(secret) = here.max_by_key(|it| it.len()) {
                bytes.extend_from_slice("…".as_bytes());
                rest = rest.get(secret.len()..).unwrap_or_default();
            } else {
                bytes.push(*first);
                rest = others;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut shown = String::new();
        for character in text.chars() {
            if is_hidden(character) {
                shown.extend(character.escape_default());
            } else {
                shown.push(character);
            }
        }
        let mut places = shown.char_indices().map(|(place, _)| place);
        let last = places.nth(Self::MAX - 1);
        if let (Some(last), Some(_)) = (last, places.next()) {
            shown.truncate(last);
            shown.push('…');
        }
        shown
    }
}

/// Whether a character is not what it looks like: controls, line and paragraph separators, directions, and what has no width.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.without(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(bytes: &[u8]) -> String {
        Foreign::new(bytes).to_string()
    }

    #[test]
    fn what_is_written_stays_on_its_line() {
        let cases: &[(&[u8], &str, &str)] = &[
            (b"quota exceeded", "quota exceeded", "a text"),
            (" für später, 日本語 🦀".as_bytes(), "für später, 日本語 🦀", "any letters"),
            (b"{\"message\": \"a\\b\"}", "{\"message\": \"a\\b\"}", "JSON"),
            (b"a\nb\r\nc\td", "a\\nb\\r\\nc\\td", "lines"),
            (b"\n text \r\n", "text", "white space around it"),
            (b"\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m", "a terminal's colours"),
            (b"a\0b\x07\x7f", "a\\u{0}b\\u{7}\\u{7f}", "other controls"),
            ("a\u{85}b\u{9b}".as_bytes(), "a\\u{85}b\\u{9b}", "those beyond ASCII"),
            ("a\u{2028}b\u{2029}c".as_bytes(), "a\\u{2028}b\\u{2029}c", "Unicode's lines"),
            ("a\u{202e}b\u{2066}".as_bytes(), "a\\u{202e}b\\u{2066}", "directions"),
            ("\u{feff}a\u{200b}\u{ad}".as_bytes(), "\\u{feff}a\\u{200b}\\u{ad}", "no width"),
            (b"a\xffb\xc3", "a\u{fffd}b\u{fffd}", "no UTF-8"),
            (b"", "", "nothing"),
            (b" \r\n", "", "nothing but white space"),
        ];
        for (bytes, expected, reason) in cases {
            assert_eq!(shown(bytes), *expected, "{reason}");
            assert_eq!(Foreign::new(*bytes).is_empty(), expected.is_empty(), "{reason}");
        }
    }

    #[test]
    fn a_text_is_decoded_before_it_is_escaped() {
        let cases = [
            ("no such key", "no such key", "nothing is encoded"),
            ("no%20such%20k%C3%A9y", "no such kéy", "UTF-8"),
            ("100%", "100%", "half of an encoded byte"),
            ("a%zzb%25", "a%zzb%", "no digits"),
            ("a%0Ab%1b[31m%e2%80%a8", "a\\nb\\u{1b}[31m\\u{2028}", "controls"),
            ("%ff", "\u{fffd}", "no UTF-8"),
        ];
        for (encoded, expected, reason) in cases {
            let foreign = Foreign::percent_encoded(encoded.as_bytes());
            assert_eq!(foreign.to_string(), expected, "{reason}");
        }
        let long = "%41".repeat(1000);
        let shown = Foreign::percent_encoded(long.as_bytes()).to_string();
        assert_eq!(shown, "A".repeat(255) + "…");
    }

    #[test]
    fn a_secret_that_is_repeated_is_not_shown() {
        let secrets = [b"s3cret".to_vec(), b"a\nbc".to_vec()];
        let shown = |text: &str| Foreign::new(text.as_bytes()).without(&secrets);
        assert_eq!(shown("key s3cret is not s3cretive"), "key … is not …ive");
        assert_eq!(shown("a\nbc"), "…", "before it is escaped");
        let long = "x".repeat(252) + "s3cret";
        assert_eq!(shown(&long), "x".repeat(252) + "…", "before it is cut");
        assert_eq!(shown("key"), "key");
        let many = "s3cret".repeat(1000);
        assert_eq!(shown(&many), "…".repeat(256), "each of them");
        let none = [Vec::new()];
        assert_eq!(Foreign::new("abc…".as_bytes()).without(&none), "abc…", "an empty one");
        let long = [b"k".repeat(1400), b"k".repeat(700)];
        for (length, expected) in [(1400, "…!"), (700, "…!"), (2100, "……!")] {
            let text = format!("{}!", "k".repeat(length));
            assert_eq!(Foreign::new(text.as_bytes()).without(&long), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        for letter in ["x", "é", "🦀"] {
            assert_eq!(shown(letter.repeat(256).as_bytes()), letter.repeat(256));
            let cut = letter.repeat(255) + "…";
            for length in [257, 258, 1000, 10_000_000] {
                assert_eq!(shown(letter.repeat(length).as_bytes()), cut, "{length} of {letter}");
            }
        }
        assert_eq!(shown(&[0x1b; 1000]).chars().count(), 256, "an escape counts as it is written");
    }

    proptest! {
        #[test]
        fn any_bytes_are_one_short_line(bytes: Vec<u8>, text: String) {
            let texts = [Foreign::new(&bytes), Foreign::percent_encoded(&bytes),
                Foreign::new(text.as_bytes()), Foreign::new(bytes.repeat(50))];
            for text in texts {
                let shown = text.to_string();
                prop_assert!(shown.chars().count() <= Foreign::MAX);
                let breaks = shown.contains(|it: char| it.is_control() || it == '\u{2028}');
                prop_assert!(!breaks && !shown.contains(is_hidden), "{:?}", shown);
            }
        }
    }
}
