//! The attributes of a span, encoded as they become known.
//!
//! Limits are kept here (OpenTelemetry, Common, section Attribute Limits); names and meanings are
//! the conventions' (`semconv`).

use super::wire::{self, field_len, put_bytes, put_head, put_varint};
use std::borrow::Cow;

/// Field 9 of `Span`.
const ATTRIBUTES: u8 = wire::length_delimited(9);
const KEY: u8 = wire::length_delimited(1);
const VALUE: u8 = wire::length_delimited(2);
const STRING_VALUE: u8 = wire::length_delimited(1);
const BOOL_VALUE: u8 = wire::varint(2);
const INT_VALUE: u8 = wire::varint(3);
const DOUBLE_VALUE: u8 = wire::fixed64(4);
const ARRAY_VALUE: u8 = wire::length_delimited(5);
const ARRAY_VALUES: u8 = wire::length_delimited(1);

/// Room for a request's usual attributes, in bytes.
const USUAL_LENGTH: usize = 768;

/// Limits of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanLimits {
    /// How many attributes it may have.
    pub attribute_count: usize,
    /// How long a text may be, in characters; `None` is no limit.
    pub attribute_value_length: Option<usize>,
}

/// A list of attributes under limits. A name is written once: callers don't repeat themselves.
#[derive(Debug)]
pub struct Attributes {
    bytes: Vec<u8>,
    count: usize,
    dropped: u32,
    limits: SpanLimits,
    /// How many bytes they may take.
    room: usize,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self { attribute_count: 128, attribute_value_length: None }
    }
}

impl Attributes {
    /// None yet.
    #[must_use]
    pub fn new(limits: SpanLimits) -> Self {
        let bytes = Vec::with_capacity(USUAL_LENGTH);
        Self { bytes, count: 0, dropped: 0, limits, room: usize::MAX }
    }

    /// None yet, under the same limits, but with texts of at most so many characters, and in so many bytes.
    #[must_use]
    pub fn within(&self, length: usize, room: usize) -> Self {
        let limit = self.limits.attribute_value_length.map_or(length, |limit| limit.min(length));
        let limits = SpanLimits { attribute_value_length: Some(limit), ..self.limits };
        Self { room, ..Self::new(limits) }
    }

    /// Forgets all of them, but keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.dropped = 0;
    }

    /// Counts attributes that others had to leave out.
    pub fn note_dropped(&mut self, attributes: u32) {
        self.dropped = self.dropped.saturating_add(attributes);
    }

    /// The encoded entries of `Span.attributes`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many were refused because the count was reached, or there was no room.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Adds a text. What is not UTF-8 becomes U+FFFD; what is longer than the limit is cut.
    pub fn string(&mut self, key: &str, value: &[u8]) {
        let value = limited(value, self.limits.attribute_value_length);
        if self.open(key, field_len(value.len())) {
            put_bytes(&mut self.bytes, STRING_VALUE, value.as_bytes());
        }
    }

    /// Adds a number.
    pub fn int(&mut self, key: &str, value: i64) {
        let bits = value.cast_unsigned();
        if self.open(key, 1 + prost::encoding::encoded_len_varint(bits)) {
            self.bytes.push(INT_VALUE);
            put_varint(&mut self.bytes, bits);
        }
    }

    /// Adds a number with a fraction.
    pub fn double(&mut self, key: &str, value: f64) {
        if self.open(key, 1 + size_of::<f64>()) {
            self.bytes.push(DOUBLE_VALUE);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Adds true or false.
    pub fn bool(&mut self, key: &str, value: bool) {
        if self.open(key, 2) {
            self.bytes.extend_from_slice(&[BOOL_VALUE, u8::from(value)]);
        }
    }

    /// Forgets the attribute of this name, if there is one.
    pub fn remove(&mut self, key: &str) {
        let mut name = Vec::new();
        put_bytes(&mut name, KEY, key.as_bytes());
        let mut start = 0;
        while let Some(rest) = self.bytes.get(start..) {
            // Nearly all are short.
            let (head, length) = match rest {
                [] => return,
                [_, content @ ..0x80, ..] => (2, 2 + usize::from(*content)),
                _ => {
                    let head = rest.iter().skip(1).position(|byte| *byte < 0x80);
                    (2 + head.unwrap_or_default(), wire::field_at(rest).unwrap_or(rest.len()))
                }
            };
            let is_it = rest.get(head + 1) == name.get(1)
                && rest.get(head..length).is_some_and(|entry| entry.starts_with(&name));
            if is_it {
                self.bytes.copy_within(start + length.., start);
                self.bytes.truncate(self.bytes.len() - length);
                self.count -= 1;
                return;
            }
            start += length;
        }
    }

    /// Adds a list of texts.
    pub fn strings<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a [u8]> + Clone) {
        let limit = self.limits.attribute_value_length;
        let values = values.map(|value| limited(value, limit));
        let array = values.clone().map(|value| field_len(field_len(value.len()))).sum();
        if self.open(key, field_len(array)) {
            put_head(&mut self.bytes, ARRAY_VALUE, array);
            for value in values {
                put_head(&mut self.bytes, ARRAY_VALUES, field_len(value.len()));
                put_bytes(&mut self.bytes, STRING_VALUE, value.as_bytes());
            }
        }
    }

    /// Opens a `KeyValue` whose `AnyValue` takes `any_value` bytes, if there is room.
    fn open(&mut self, key: &str, any_value: usize) -> bool {
        let length = field_len(key.len()) + field_len(any_value);
        let fits = self.bytes.len() + field_len(length) <= self.room;
        let is_admitted = fits && self.count < self.limits.attribute_count;
        if is_admitted {
            self.count += 1;
            self.bytes.reserve(field_len(length));
            // Nearly all are short: one write instead of two.
            let short = (u8::try_from(length), u8::try_from(key.len()));
            if let (Ok(length @ ..0x80), Ok(key)) = short {
                self.bytes.extend_from_slice(&[ATTRIBUTES, length, KEY, key]);
            } else {
                put_head(&mut self.bytes, ATTRIBUTES, length);
                put_head(&mut self.bytes, KEY, key.len());
            }
            self.bytes.extend_from_slice(key.as_bytes());
            put_head(&mut self.bytes, VALUE, any_value);
        } else {
            self.dropped += 1;
        }
        is_admitted
    }
}

/// The text under a limit in characters, and one in bytes, cut at a character.
#[must_use]
pub fn limited_in_bytes(text: &str, characters: usize, bytes: usize) -> &str {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(end, _)| end);
    text.get(..text.floor_char_boundary(end.min(bytes))).unwrap_or(text)
}

/// The text under a limit in characters, cut at a character. What is not UTF-8 becomes U+FFFD.
#[must_use]
pub fn limited(value: &[u8], limit: Option<usize>) -> Cow<'_, str> {
    // Nearly all values are UTF-8, and that alone is quicker to tell.
    let text = std::str::from_utf8(value).map(Cow::Borrowed);
    let text = text.unwrap_or_else(|_| String::from_utf8_lossy(value));
    let end = limit.and_then(|limit| text.char_indices().nth(limit)).map(|(end, _)| end);
    match (end, text) {
        (None, text) => text,
        (Some(end), Cow::Borrowed(text)) => Cow::Borrowed(text.get(..end).unwrap_or(text)),
        (Some(end), Cow::Owned(mut text)) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character() {
        let cases: &[(&[u8], Option<usize>, &str, &str)] = &[
            (b"abc", None, "abc", "no limit"),
            (b"abc", Some(3), "abc", "at the limit"),
            (b"abcd", Some(3), "abc", "over the limit"),
            ("äöü".as_bytes(), Some(2), "äö", "characters, not bytes"),
            (b"a\xffb", None, "a\u{fffd}b", "a byte that is not UTF-8"),
            (b"a\xffb", Some(2), "a\u{fffd}", "replaced and cut"),
            (b"abc", Some(0), "", "nothing is left"),
        ];
        for (value, limit, expected, reason) in cases {
            assert_eq!(limited(value, *limit), *expected, "{reason}");
        }
        let cases = [
            ("abc", 9, 9, "abc", "no limit is reached"),
            ("abcd", 3, 9, "abc", "characters"),
            ("abcd", 9, 3, "abc", "bytes"),
            ("\u{e4}\u{f6}", 9, 3, "\u{e4}", "at a character"),
            ("\u{e4}\u{f6}", 1, 4, "\u{e4}", "characters, not bytes"),
            ("\u{e4}", 9, 1, "", "nothing is left"),
        ];
        for (text, characters, bytes, expected, reason) in cases {
            assert_eq!(limited_in_bytes(text, characters, bytes), expected, "{reason}");
        }
    }

    #[test]
    fn an_attribute_can_be_forgotten() {
        let names = ["short", "a", "long", "aa", "texts", "twelve"];
        let all = |without: &str| {
            let mut attributes = Attributes::new(SpanLimits::default());
            for name in names.into_iter().filter(|name| *name != without) {
                match name {
                    "long" => attributes.string(name, &[b'a'; 300]),
                    "texts" => attributes.strings(name, [b"a".as_slice(), b"\n\x01a"].into_iter()),
                    "aa" => attributes.double(name, 1.5),
                    "a" => attributes.bool(name, true),
                    _ => attributes.int(name, 12),
                }
            }
            attributes
        };
        for name in names.into_iter().chain(["none", ""]) {
            let (mut attributes, expected) = (all("?"), all(name));
            attributes.remove(name);
            assert_eq!(attributes.as_bytes(), expected.as_bytes(), "{name}");
            assert_eq!(attributes.count, expected.count, "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped() {
        let limits = SpanLimits { attribute_count: 9, attribute_value_length: Some(5) };
        let usual = Attributes::new(limits);
        let mut attributes = usual.within(3, 30);
        attributes.string("a", b"abcdef");
        assert_eq!(attributes.as_bytes().len(), 12, "its text is cut");
        attributes.strings("b", [b"abc".as_slice(), b"d"].into_iter());
        assert_eq!((attributes.as_bytes().len(), attributes.dropped()), (12, 1), "21 bytes");
        attributes.int("c", 1);
        assert_eq!((attributes.as_bytes().len(), attributes.dropped()), (21, 1), "9 bytes");
        attributes.int("c", 1);
        assert_eq!(
            (attributes.as_bytes().len(), attributes.dropped()),
            (30, 1),
            "to the last byte"
        );
        attributes.int("c", 1);
        assert_eq!((attributes.as_bytes().len(), attributes.dropped()), (30, 2), "no more");
    }
}
