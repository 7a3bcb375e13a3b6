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
}

/// An object whose keys are all known.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    path: String,
    /// `None` for `null`: nothing is said.
    members: Option<&'a Map<String, Value>>,
}

/// What an object may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// Read by this version.
    pub accepted: &'static [&'static str],
    /// Known to the schema, not supported.
    pub unsupported: &'static [&'static str],
}

impl<'a> Cursor<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// An error about this value: what was found stands in it.
    pub(super) fn refuse(&self, accepted: &str) -> ConfigError {
        ConfigError::new(&self.path, format!("found {}; accepted: {accepted}", shown(self.value)))
    }

    /// An error about a value that must not be shown.
    pub(super) fn refuse_secret(&self, problem: &str) -> ConfigError {
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
            if keys.unsupported.contains(&key.as_str()) {
                let problem =
                    format!("not supported by this version; accepted: {}", one_of(keys.accepted));
                return Err(ConfigError::new(joined(&self.path, key), problem));
            }
            if !keys.accepted.contains(&key.as_str()) {
                let problem = format!("unknown key {key:?}; accepted: {}", one_of(keys.accepted));
                return Err(ConfigError::new(&self.path, problem));
            }
        }
        Ok(Object { path: self.path.clone(), members })
    }

    pub(super) fn items(&self) -> Result<Vec<Cursor<'a>>, ConfigError> {
        let Value::Array(items) = self.value else { return Err(self.refuse("a list")) };
        let item = |(index, value)| Cursor { path: format!("{}[{index}]", self.path), value };
        Ok(items.iter().enumerate().map(item).collect())
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
        self.value.as_i64().ok_or_else(|| self.refuse("an integer"))
    }

    pub(super) fn double(&self) -> Result<f64, ConfigError> {
        self.value.as_f64().ok_or_else(|| self.refuse("a number"))
    }

    pub(super) fn count(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let number = self.value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            self.refuse(&format!("an integer from {} to {}", range.start(), range.end()))
        })
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<T, ConfigError> {
        let found = self.value.as_str();
        let known = words.iter().find(|(word, _)| Some(*word) == found);
        known.map(|(_, value)| *value).ok_or_else(|| {
            self.refuse(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "))
        })
    }
}

impl<'a> Object<'a> {
    /// The member of this name; absent and `null` alike for a value that has no meaning as `null`.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        self.member(key).filter(|member| !member.value.is_null())
    }

    /// The member of this name, also when it is `null`.
    pub(super) fn member(&self, key: &str) -> Option<Cursor<'a>> {
        let value = self.members?.get(key)?;
        Some(Cursor { path: joined(&self.path, key), value })
    }

    /// The only member, `null` or not; for an object that names one of several things.
    pub(super) fn only_member(&self) -> Option<(&'a str, Cursor<'a>)> {
        let mut members = self.members?.iter();
        let (key, value) = members.next()?;
        let only = members.next().is_none();
        only.then(|| (key.as_str(), Cursor { path: joined(&self.path, key), value }))
    }
}

/// Words joined as a list for a message.
fn one_of(words: &[&str]) -> String {
    if words.is_empty() { "no keys".to_owned() } else { words.join(", ") }
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
