//! The bytes that Envoy hands over, as JSON.
//!
//! Stricter than `serde_json::Value` in one thing: of a key that stands twice, none is silently lost.

use super::error::ConfigError;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The document; no bytes are an empty one.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ConfigError> {
    if bytes.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(bytes).map(|Strict(value)| value).map_err(|error| {
        let problem = if is_struct(bytes) {
            "not JSON: it looks like a google.protobuf.Struct, which arrives as protobuf bytes; give \
             the configuration as a google.protobuf.StringValue with JSON in it"
                .to_owned()
        } else {
            format!("not JSON: {error}")
        };
        ConfigError::new("", &problem)
    })
}

/// Whether the bytes may be a `google.protobuf.Struct`. Its first byte, the tag of `fields`, is also
/// JSON's line feed, and a length may be any character; but then come tags that no JSON text holds.
fn is_struct(bytes: &[u8]) -> bool {
    let binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    bytes.first() == Some(&0x0A) && bytes.iter().any(binary)
}

/// A value in which each key stands once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(Error::custom(format_args!("the key {key:?} stands twice")));
            }
            let Strict(value) = entries.next_value()?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_explained() {
        const STRUCT: &str = "not JSON: it looks like a google.protobuf.Struct";
        // The entries of a Struct: a tag and a length, then the key and the value with theirs.
        let cases: &[(&[u8], &str, &str)] = &[
            (b"\x0a\x0e\x0a\x08disabled\x12\x02\x20\x01", STRUCT, "a Struct"),
            (b"\x0a\x20\x0a\x09log_level\x12\x13", STRUCT, "lengths that are white space"),
            (b"\x0a\x7b\x0a\x05envoy\x12\x72", STRUCT, "a length that is a brace"),
            (b"\x0a\x0d\x0a\x05envoy\x12\x04\x2a\x02\xc3", STRUCT, "not UTF-8"),
            (b"yes", "not JSON: expected value at line 1 column 1", "some text"),
            (b"\n\n  yes", "not JSON: expected value at line 3 column 3", "text after empty lines"),
            (b"{\n\"a\": }", "not JSON: expected value at line 2 column 6", "line and column"),
            (b"{} {}", "not JSON: trailing characters at line 1 column 4", "more than one"),
            (b" ", "not JSON: EOF while parsing a value at line 1 column 1", "white space alone"),
            (b"\xef\xbb\xbf{}", "not JSON: expected value at line 1 column 1", "a byte order mark"),
            (
                b"{\"a\": 1e999}",
                "not JSON: number out of range at line 1 column 11",
                "a number that no double holds",
            ),
            (
                b"{\"envoy\": {},\n \"envoy\": {}}",
                "not JSON: the key \"envoy\" stands twice at line 2 column 8",
                "a key that would be lost",
            ),
        ];
        for (bytes, expected, reason) in cases {
            let error = read(bytes).expect_err(reason).to_string();
            assert!(error.starts_with(expected), "{reason}: {error}");
        }
        let deep = "[".repeat(100_000);
        let error = read(deep.as_bytes()).expect_err("too deep").to_string();
        assert!(
            error.starts_with("not JSON: recursion limit exceeded"),
            "the stack lasts: {error}"
        );
    }

    #[test]
    fn a_document_is_read_as_serde_json_reads_it() {
        let complete = include_bytes!("tests/complete.json");
        let numbers = b"[0, -1, 1.5, 1e6, 18446744073709551615, true, null, \"\\u00e9\", {}]";
        for document in [complete.as_slice(), numbers] {
            let expected: Value = serde_json::from_slice(document).expect("JSON");
            assert_eq!(read(document).expect("JSON"), expected);
        }
        assert_eq!(
            read(b"").expect("nothing"),
            serde_json::json!({}),
            "no bytes: Istio sends them"
        );
    }
}
