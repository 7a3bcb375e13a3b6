//! JSON as values: what a configuration is written in, and what a collector may answer.
//!
//! Stricter than `serde_json::Value` in one thing: of a key that stands twice, none is silently lost. One reader for all
//! who read JSON, since each is several kilobytes of the module. What a value means is not known here.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::fmt;

/// A value, with strings of this type.
#[derive(Debug)]
pub enum Value<T = String> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(T),
    /// An array.
    List(Vec<Self>),
    /// An object: each key once, in the order in which they stand.
    Object(Vec<(String, Self)>),
}

/// Reads one value.
///
/// # Errors
/// Not JSON; a key that stands twice in an object, or more than 1024 keys; values within each other, deeper than 128. No error
/// holds a part of the text.
pub fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Strict(value)| value)
}

impl<T> Value<T> {
    /// The member of this name, if it is an object that has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The same value with other strings.
    pub fn map_texts<U>(self, map: &mut impl FnMut(T) -> U) -> Value<U> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::Text(map(text)),
            Self::List(items) => {
                Value::List(items.into_iter().map(|item| item.map_texts(map)).collect())
            }
            Self::Object(members) => {
                let member = |(key, value): (String, Self)| (key, value.map_texts(map));
                Value::Object(members.into_iter().map(member).collect())
            }
        }
    }

    /// As another library has it, for tests.
    #[cfg(test)]
    pub(crate) fn to_json(&self, text: impl Fn(&T) -> String + Copy) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(number) => number.clone().into(),
            Self::Text(it) => text(it).into(),
            Self::List(items) => items.iter().map(|item| item.to_json(text)).collect(),
            Self::Object(members) => {
                members.iter().map(|(key, member)| (key.clone(), member.to_json(text))).collect()
            }
        }
    }
}

/// How many keys an object may have, so that looking for one that stands twice ends.
const MOST_KEYS: usize = 1024;

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
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if members.len() == MOST_KEYS {
                return Err(Error::custom("an object of more than 1024 keys"));
            }
            if members.iter().any(|(known, _)| *known == key) {
                // Which one it is may be a secret.
                return Err(Error::custom("a key stands twice"));
            }
            let Strict(value) = entries.next_value()?;
            members.push((key, value));
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_serde_json_reads_it() {
        let complete = include_bytes!("config/tests/complete.json");
        let numbers = b"[0, -1, 1.5, 1e6, 18446744073709551615, true, null, \"\\u00e9\", {}]";
        for document in [complete.as_slice(), numbers] {
            let expected: serde_json::Value = serde_json::from_slice(document).expect("JSON");
            assert_eq!(read(document).expect("JSON").to_json(String::clone), expected);
        }
    }

    #[test]
    fn keys_stand_once_and_there_is_a_bound_to_them() {
        let with_keys = |count: usize| {
            let members: Vec<_> = (0..count).map(|key| format!("\"{key}\":0")).collect();
            read(format!("{{{}}}", members.join(",")).as_bytes())
        };
        assert!(with_keys(MOST_KEYS).is_ok(), "as many as there may be");
        let error = with_keys(MOST_KEYS + 1).expect_err("one too many").to_string();
        assert!(error.starts_with("an object of more than 1024 keys"), "{error}");
        let error = read(br#"{"s3cret": 1, "s3cret": 2}"#).expect_err("twice").to_string();
        assert_eq!(error, "a key stands twice at line 1 column 22", "and not which one");
        let inner = read(br#"[{"a": 1}, {"a": 2}]"#);
        assert!(inner.is_ok(), "in two objects");
    }

    #[test]
    fn members_are_found_by_their_names() {
        let value = read(br#"{"a": {"b": 1}, "": 2}"#).expect("JSON");
        assert!(matches!(value.get("a").and_then(|it| it.get("b")), Some(Value::Number(_))));
        assert!(value.get("b").is_none(), "it is further in");
        assert!(value.get("").is_some(), "an empty name");
        assert!(read(b"[1]").expect("JSON").get("a").is_none(), "no object");
    }
}
