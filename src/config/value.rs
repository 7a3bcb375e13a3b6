//! A document: JSON, and in its strings what variables stand for.
//!
//! What a string means is decided where it is read: what a variable says may be a number there, and is never shown.

use super::json::decimal;
use crate::json;
use std::cell::Cell;
use std::fmt::Write as _;

/// A value of a document.
pub(super) type Value = json::Value<Text>;

/// A string of a document.
#[derive(Debug)]
pub(super) enum Text {
    /// As it is written, but for escapes.
    Written(String),
    /// With variables in it.
    Substituted(Substituted),
    /// The start of a reference to a variable, and not its end.
    Broken,
}

/// A string in which variables were substituted.
#[derive(Debug)]
pub(super) struct Substituted {
    pub(super) text: String,
    /// Whether one of them is not set, and has no default.
    pub(super) is_unset: bool,
    /// Whether it was read.
    pub(super) is_read: Cell<bool>,
}

impl Value {
    /// Nothing, or a string of which nothing is left (OpenTelemetry, Configuration Data Model, section Environment variable
    /// substitution: that is null).
    pub(super) fn is_null(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(Text::Substituted(Substituted { text, .. })) => text.is_empty(),
            _ => false,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(Text::Written(text) | Text::Substituted(Substituted { text, .. })) => {
                Some(text)
            }
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Text(Text::Substituted(Substituted { text, .. })) => boolean(text),
            _ => None,
        }
    }

    pub(super) fn as_double(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            Self::Text(Text::Substituted(Substituted { text, .. })) => decimal(text),
            _ => None,
        }
    }

    /// A whole number. `5.0` and `1e6` are whole too, as they are for JSON Schema: tools that make JSON
    /// out of YAML are known to write 1000000 like that.
    pub(super) fn as_whole(&self) -> Option<i64> {
        /// An `i64` holds the whole doubles from here to its negative, which is one too many.
        const LOWEST: f64 = -9_223_372_036_854_775_808.0;
        let exact = match self {
            Self::Number(number) => number.as_i64(),
            Self::Text(Text::Substituted(Substituted { text, .. })) => text.trim().parse().ok(),
            _ => None,
        };
        exact.or_else(|| {
            let double = self.as_double().filter(|number| number.fract() == 0.0)?;
            let is_in_range = (LOWEST..-LOWEST).contains(&double);
            #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
            is_in_range.then_some(double as i64)
        })
    }

    /// The strings that were read and have a variable that is not set: where they stand.
    pub(super) fn unset(&self, found: &mut impl FnMut(&str)) {
        self.find(&mut String::new(), &mut |value, path| {
            if let Self::Text(Text::Substituted(Substituted { is_unset: true, is_read, .. })) =
                value
                && is_read.get()
            {
                found(path);
            }
            false
        });
    }

    /// Notes that it is read.
    pub(super) fn note_read(&self) {
        if let Self::Text(Text::Substituted(Substituted { is_read, .. })) = self {
            is_read.set(true);
        }
    }

    /// The way to a value that is in this one.
    pub(super) fn path_to(&self, sought: &Self) -> String {
        let mut path = String::new();
        self.find(&mut path, &mut |value, _| std::ptr::eq(value, sought));
        path
    }

    /// Whether it is this one or one in it; `path` then leads there.
    fn find(&self, path: &mut String, is_it: &mut dyn FnMut(&Self, &str) -> bool) -> bool {
        if is_it(self, path) {
            return true;
        }
        let end = path.len();
        match self {
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let _ = write!(path, "[{index}]");
                    if item.find(path, is_it) {
                        return true;
                    }
                    path.truncate(end);
                }
            }
            Self::Object(members) => {
                for (key, member) in members {
                    push_key(path, key);
                    if member.find(path, is_it) {
                        return true;
                    }
                    path.truncate(end);
                }
            }
            _ => {}
        }
        false
    }
}

/// Lengthens the path to an object by one of its keys.
pub(super) fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
impl Value {
    /// Of another library's, as it is written.
    pub(super) fn of_json(json: &serde_json::Value) -> Self {
        let value = json::read(json.to_string().as_bytes()).expect("JSON");
        value.map_texts(&mut Text::Written)
    }

    /// As another library has it.
    pub(super) fn as_json(&self) -> serde_json::Value {
        self.to_json(|text| match text {
            Text::Written(text) | Text::Substituted(Substituted { text, .. }) => text.clone(),
            Text::Broken => panic!("a reference is malformed"),
        })
    }
}

/// A boolean of a variable, in any case (Environment Variable Specification, section Boolean).
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituted(text: &str) -> Value {
        let text = text.to_owned();
        Value::Text(Text::Substituted(Substituted {
            text,
            is_unset: false,
            is_read: Cell::new(false),
        }))
    }

    #[test]
    fn what_a_variable_says_is_what_it_is_read_as() {
        let cases = [
            ("", None, None, None, "nothing"),
            ("5", None, Some(5), Some(5.0), "a whole number"),
            (" +7 ", None, Some(7), Some(7.0), "with a sign and white space"),
            ("-0.5", None, None, Some(-0.5), "a number"),
            ("1e3", None, Some(1000), Some(1000.0), "an exponent"),
            (
                "9223372036854775807",
                None,
                Some(i64::MAX),
                Some(9_223_372_036_854_775_807.0),
                "the largest",
            ),
            ("9223372036854775808", None, None, Some(9_223_372_036_854_775_808.0), "one more"),
            ("true", Some(true), None, None, "a boolean"),
            ("FALSE", Some(false), None, None, "in any case"),
            ("yes", None, None, None, "a word"),
            ("[1]", None, None, None, "no list"),
            ("null", None, None, None, "no null"),
        ];
        for (text, boolean, whole, double, reason) in cases {
            let value = substituted(text);
            assert_eq!(value.as_text(), Some(text), "{reason}");
            assert_eq!(value.as_bool(), boolean, "{reason}: {text:?}");
            assert_eq!(value.as_whole(), whole, "{reason}: {text:?}");
            assert_eq!(value.as_double(), double, "{reason}: {text:?}");
            assert_eq!(value.is_null(), text.is_empty(), "{reason}: {text:?}");
            let written = Value::Text(Text::Written(text.to_owned()));
            assert_eq!((written.as_bool(), written.as_whole()), (None, None), "as it is written");
            assert_eq!((written.as_double(), written.is_null()), (None, false), "as it is written");
        }
    }
}
