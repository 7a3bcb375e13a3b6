//! A JSON value and the way to it, so that every error can name its key.
//!
//! Types and ranges are checked here; which keys there are is the readers' knowledge.

use super::error::ConfigError;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// A place in the document.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    path: String,
    value: &'a Value,
    secrecy: Secrecy,
}

/// An object whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    path: String,
    /// `None` for `null`: nothing is said.
    members: Option<&'a Map<String, Value>>,
    secrecy: Secrecy,
}

/// Whether a value may stand in an error, which ends in a log.
#[derive(Clone, Copy, Debug)]
enum Secrecy {
    Open,
    /// Only its type.
    Secret,
}

/// What an object may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// Read by this version.
    pub accepted: &'static [&'static str],
    /// Known to the schema, not supported.
    pub unsupported: &'static [&'static str],
}

impl Keys {
    /// Of an object that is named and has nothing to set.
    pub(super) const NONE: Self = Self { accepted: &[], unsupported: &[] };
}

impl<'a> Cursor<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value, secrecy: Secrecy::Open }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The same place; neither its value nor what is in it will stand in an error.
    pub(super) fn secret(self) -> Self {
        Self { secrecy: Secrecy::Secret, ..self }
    }

    /// An error about this value: what was found stands in it.
    pub(super) fn refuse(&self, accepted: &str) -> ConfigError {
        let found = match self.secrecy {
            Secrecy::Open => shown(self.value),
            Secrecy::Secret => kind(self.value).to_owned(),
        };
        ConfigError::new(&self.path, format!("found {found}; accepted: {accepted}"))
    }

    /// An error about a word of this value that the schema knows.
    pub(super) fn not_supported(&self, word: &str, accepted: &str) -> ConfigError {
        let problem = format!("{word:?} is not supported by this version; accepted: {accepted}");
        ConfigError::new(&self.path, problem)
    }

    /// An object with these keys only. `null` is an object that says nothing.
    pub(super) fn object(&self, keys: Keys) -> Result<Object<'a>, ConfigError> {
        let members = match self.value {
            Value::Null => None,
            Value::Object(members) => Some(members),
            _ => return Err(self.refuse("an object")),
        };
        for key in members.into_iter().flat_map(Map::keys) {
            let accepted = || match keys.accepted {
                [] => "no keys".to_owned(),
                keys => keys.join(", "),
            };
            if keys.unsupported.contains(&key.as_str()) {
                let problem = format!("not supported by this version; accepted: {}", accepted());
                return Err(ConfigError::new(joined(&self.path, key), problem));
            }
            if !keys.accepted.contains(&key.as_str()) {
                let problem = format!("unknown key {key:?}; accepted: {}", accepted());
                return Err(ConfigError::new(&self.path, problem));
            }
        }
        Ok(Object { path: self.path.clone(), members, secrecy: self.secrecy })
    }

    pub(super) fn items(&self) -> Result<Vec<Cursor<'a>>, ConfigError> {
        let Value::Array(items) = self.value else { return Err(self.refuse("a list")) };
        let items = items.iter().enumerate();
        let path = |index| format!("{}[{index}]", self.path);
        let item = |(index, value)| Cursor { path: path(index), value, secrecy: self.secrecy };
        Ok(items.map(item).collect())
    }

    /// Whether this is `null`.
    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn text(&self) -> Result<&'a str, ConfigError> {
        self.value.as_str().ok_or_else(|| self.refuse("a string"))
    }

    pub(super) fn non_empty_text(&self) -> Result<&'a str, ConfigError> {
        match self.text()? {
            "" => Err(self.refuse("a string that is not empty")),
            text => Ok(text),
        }
    }

    pub(super) fn bool(&self) -> Result<bool, ConfigError> {
        self.value.as_bool().ok_or_else(|| self.refuse("true or false"))
    }

    pub(super) fn int(&self) -> Result<i64, ConfigError> {
        whole(self.value).ok_or_else(|| self.refuse("an integer"))
    }

    pub(super) fn double(&self) -> Result<f64, ConfigError> {
        self.value.as_f64().ok_or_else(|| self.refuse("a number"))
    }

    pub(super) fn count(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let number = whole(self.value).and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            self.refuse(&format!("an integer from {} to {}", range.start(), range.end()))
        })
    }

    /// What one of the accepted words stands for. The unsupported ones are known to the schema.
    pub(super) fn word<T: Copy>(
        &self,
        accepted: &[(&'static str, T)],
        unsupported: &[&str],
    ) -> Result<T, ConfigError> {
        let found = self.value.as_str();
        let known = accepted.iter().find(|(word, _)| Some(*word) == found);
        known.map(|(_, value)| *value).ok_or_else(|| {
            let words = accepted.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            match found {
                Some(word) if unsupported.contains(&word) => self.not_supported(word, &words),
                _ => self.refuse(&words),
            }
        })
    }
}

impl<'a> Object<'a> {
    /// The member of this name; absent and `null` alike for a value that has no meaning as `null`.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.member(key).filter(|member| !member.is_null())
    }

    /// The member of this name, also when it is `null`.
    pub(super) fn member(&self, key: &str) -> Option<Cursor<'a>> {
        self.members?.get(key).map(|value| self.at(key, value))
    }

    /// The only member, `null` or not; for an object that names one of several things.
    pub(super) fn only_member(&self) -> Option<(&'a str, Cursor<'a>)> {
        let mut members = self.members?.iter();
        let (key, value) = members.next()?;
        members.next().is_none().then(|| (key.as_str(), self.at(key, value)))
    }

    fn at(&self, key: &str, value: &'a Value) -> Cursor<'a> {
        Cursor { path: joined(&self.path, key), value, secrecy: self.secrecy }
    }
}

/// A whole number. `5.0` and `1e6` are whole too, as they are for JSON Schema: tools that make JSON
/// out of YAML are known to write 1000000 like that.
fn whole(value: &Value) -> Option<i64> {
    /// An `i64` holds the whole doubles from here to its negative, which is one too many.
    const LOWEST: f64 = -9_223_372_036_854_775_808.0;
    let double = value.as_f64().filter(|number| number.fract() == 0.0);
    let double = double.filter(|number| (LOWEST..-LOWEST).contains(number));
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    value.as_i64().or(double.map(|number| number as i64))
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A value as it stands in an error; a long one is cut.
fn shown(value: &Value) -> String {
    const LIMIT: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LIMIT) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// What stands in an error for a secret.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
