//! `envoy.force` and `envoy.explain`: headers by which an operator asks for something, with a secret that strangers don't have.

use std::fmt;

/// The rule of a span that an operator has asked for.
pub const FORCED: &str = "force";

/// A header with a value that only operators know.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorHeader {
    /// Its name, in lowercase.
    pub name: Box<str>,
    /// Its value.
    pub secret: Box<[u8]>,
}

impl OperatorHeader {
    /// Whether a value is the secret. How long that takes depends on the length of the value alone, not on where the two differ.
    #[must_use]
    pub fn is_said(&self, value: &[u8]) -> bool {
        let differing = |all: u8, (one, other): (&u8, &u8)| std::hint::black_box(all | one ^ other);
        let differing = value.iter().zip(self.secret.iter().cycle()).fold(0, differing);
        value.len() == self.secret.len() && differing == 0
    }
}

impl fmt::Debug for OperatorHeader {
    /// Without the secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OperatorHeader").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_one() {
        let header = OperatorHeader { name: "x-force".into(), secret: (*b"s3cret").into() };
        let cases: [(&[u8], bool, &str); 8] = [
            (b"s3cret", true, "itself"),
            (b"", false, "nothing"),
            (b"s3cre", false, "its beginning"),
            (b"s3crets", false, "and more"),
            (b"s3crets3cret", false, "twice"),
            (b"t3cret", false, "another first byte"),
            (b"s3creT", false, "another last byte"),
            (b"s3cret,s3cret", false, "two headers"),
        ];
        for (value, expected, reason) in cases {
            assert_eq!(header.is_said(value), expected, "{reason}");
        }
        let shown = format!("{header:?}");
        assert!(shown.contains("x-force") && !shown.contains("s3cret"), "{shown}");
    }
}
