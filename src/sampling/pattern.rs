//! Patterns of texts: `*` for any characters, `?` for one.

/// A pattern (OpenTelemetry configuration, `attribute_patterns`). Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Any text is one: without `*` and `?` it matches itself alone.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Whether it matches a whole text. It takes at most as many steps as both lengths multiplied.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut pattern, mut text) = (self.0.as_bytes(), text);
        // What stands behind the last `*`, and what that may still take: a shorter part is tried first.
        let mut retry: Option<(&[u8], &[u8])> = None;
        loop {
            let step = match (pattern.split_first(), text.split_first()) {
                (Some((b'*', rest)), _) => {
                    retry = Some((rest, text));
                    Some((rest, text))
                }
                (Some((b'?', rest)), Some(_)) => Some((rest, after_character(text))),
                (Some((expected, rest)), Some((found, after))) if expected == found => {
                    Some((rest, after))
                }
                (None, None) => return true,
                _ => None,
            };
            (pattern, text) = match (step, retry) {
                (Some(step), _) => step,
                (None, Some((rest, taken))) if !taken.is_empty() => {
                    let taken = after_character(taken);
                    retry = Some((rest, taken));
                    (rest, taken)
                }
                (None, _) => return false,
            };
        }
    }
}

/// A text without its first character; of what is no UTF-8, without its first byte.
fn after_character(text: &[u8]) -> &[u8] {
    let Some((first, rest)) = text.split_first() else { return text };
    let most = match first {
        0xc2..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        _ => 0,
    };
    let is_within = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    let within = rest.iter().take(most).take_while(is_within).count();
    rest.get(within..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_matches_whole_texts() {
        let cases = [
            ("/healthz", "/healthz", true, "itself"),
            ("/healthz", "/healthz/", false, "and nothing longer"),
            ("/healthz", "/health", false, "nor shorter"),
            ("/Healthz", "/healthz", false, "case matters"),
            ("", "", true, "nothing"),
            ("", "a", false, "which is not something"),
            ("*", "", true, "any, and none"),
            ("*", "/a/b", true, "a slash, too"),
            ("/api/*", "/api/", true, "none at the end"),
            ("/api/*", "/api", false, "what stands before it has to be there"),
            ("*.css", "/a.css/b.css", true, "the last one"),
            ("*.css", "/a.css/b", false, "not in the middle"),
            ("/a*b*c", "/aXbYbZc", true, "two, of which the first takes less"),
            ("/a*b*c", "/aXcYb", false, "in their order"),
            ("**", "x", true, "two beside each other"),
            ("a*", "ba", false, "from the first character on"),
            ("/v?/x", "/v1/x", true, "one character"),
            ("/v?/x", "/v/x", false, "which has to be there"),
            ("/v?/x", "/v12/x", false, "and is one alone"),
            ("?", "é", true, "a character of two bytes"),
            ("?", "€", true, "of three"),
            ("?", "𝄞", true, "of four"),
            ("??", "é", false, "is no two"),
            ("*é", "éé", true, "a character is not cut"),
            ("a*?", "a", false, "one is wanted behind any"),
            ("a*?", "ab", true, "and is there"),
        ];
        for (pattern, text, expected, reason) in cases {
            let found = Pattern::new(pattern).matches(text.as_bytes());
            assert_eq!(found, expected, "{reason}: {pattern} {text}");
        }
        assert!(Pattern::new("??").matches(b"\xff\x80"), "bytes that are no UTF-8");
    }

    proptest! {
        #[test]
        fn it_is_as_a_regular_expression(pattern in "[ab*?]{0,8}", text in "[abé]{0,12}") {
            /// The same, in as many steps as it takes.
            fn matches(pattern: &[char], text: &[char]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    ['*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
                    ['?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
                    [first, rest @ ..] => text.first() == Some(first) && matches(rest, &text[1..]),
                }
            }
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = matches(&characters(&pattern), &characters(&text));
            prop_assert_eq!(Pattern::new(pattern.as_str()).matches(text.as_bytes()), expected);
        }

        #[test]
        fn any_bytes_are_taken(pattern in ".{0,12}", text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Pattern::new(pattern.as_str()).matches(&text);
            prop_assert!(Pattern::new("*").matches(&text));
        }
    }
}
