//! A JSON value and the way to it, so that every error can name its key.
//!
//! Types and ranges are checked here. Which keys an object has is not known here: it is what its
//! reader takes, and any other key is refused.

use super::error::ConfigError;
use super::shown::{self, Secrecy};
use super::value::{Text, Value};
use super::words::{Words, listed, meaning};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A place in the document.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    path: String,
    value: &'a Value,
    secrecy: Secrecy,
}

/// An object while it is read. Without members if nothing, or `null`, is there.
#[derive(Debug)]
pub(super) struct Object<'a> {
    path: String,
    members: &'a [(String, Value)],
    secrecy: Secrecy,
    /// The keys that were asked for, so far.
    taken: Vec<&'static str>,
    unsupported: &'static [&'static str],
}

/// What stands where nothing does.
const NOTHING: &Value = &Value::Null;

impl<'a> Cursor<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value, secrecy: Secrecy::Open }
    }

    #[inline(never)] // As `opened`.
    fn at(path: String, value: &'a Value, secrecy: Secrecy) -> Self {
        value.note_place(&path);
        Self { path, value, secrecy }
    }

    /// A place that is in no document.
    pub(super) fn nowhere() -> Self {
        Self::root(NOTHING)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The same place; what is in it may be secret, keys included.
    pub(super) fn secret(self) -> Self {
        Self { secrecy: Secrecy::Secret, ..self }
    }

    /// An error about this value: its type stands in it, for it may be a secret.
    #[inline(never)] // As `opened`.
    pub(super) fn refuse(&self, accepted: &str) -> ConfigError {
        self.refuse_found(shown::kind(self.value), accepted)
    }

    /// An error about this value where a number belongs: if it is one, it stands in it.
    #[inline(never)] // As `opened`.
    pub(super) fn refuse_number(&self, accepted: &str) -> ConfigError {
        self.refuse_found(&shown::number(self.value), accepted)
    }

    #[inline(never)] // As `opened`.
    fn refuse_found(&self, found: &str, accepted: &str) -> ConfigError {
        ConfigError::new(&self.path, &format!("found {found}; accepted: {accepted}"))
    }

    /// What `read` makes of the object that is here; `null` is one without members. A key that
    /// `read` does not take is refused.
    pub(super) fn object<T>(
        &self,
        read: impl FnOnce(&mut Object<'a>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let mut object = self.opened()?;
        let result = read(&mut object)?;
        object.finish()?;
        Ok(result)
    }

    #[inline(never)] // Read once: what makes the module smaller goes before what makes it faster.
    fn opened(&self) -> Result<Object<'a>, ConfigError> {
        let members = match self.value {
            Value::Null => &[],
            Value::Object(members) => members.as_slice(),
            _ => return Err(self.refuse("an object")),
        };
        let path = self.path.clone();
        Ok(Object { path, members, secrecy: self.secrecy, taken: Vec::new(), unsupported: &[] })
    }

    /// Of an object that names one of several things: which, and what is said of it, be it `null`.
    /// `None` if it names none of them, or more than one. The name alone is refused with the object to write instead.
    pub(super) fn only_member<T: Copy>(
        &self,
        things: &Words<T>,
        unsupported: &'static [&'static str],
    ) -> Result<Option<(T, Cursor<'a>)>, ConfigError> {
        if let Value::Text(Text::Written(word)) = self.value
            && let Some((name, _)) = things.iter().find(|(name, _)| name == word)
        {
            let object = format!("{{\"{name}\": {{}}}}");
            return Err(self.refuse_found(&format!("\"{name}\""), &object));
        }
        let named: Vec<_> = self.object(|object| {
            object.unsupported(unsupported);
            let named = things.iter().map(|(name, thing)| (*thing, object.take_even_null(name)));
            Ok(named.filter_map(|(thing, member)| Some((thing, member?))).collect())
        })?;
        Ok(<[_; 1]>::try_from(named).ok().map(|[only]| only))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn items(&self) -> Result<Vec<Cursor<'a>>, ConfigError> {
        let Value::List(items) = self.value else { return Err(self.refuse("a list")) };
        let items = items.iter().enumerate();
        let path = |index| format!("{}[{index}]", self.path);
        let item = |(index, value)| Cursor::at(path(index), value, self.secrecy);
        Ok(items.map(item).collect())
    }

    /// The items of a list that has some.
    #[inline(never)] // As `opened`.
    pub(super) fn some_items(&self) -> Result<Vec<Cursor<'a>>, ConfigError> {
        match self.items()? {
            items if items.is_empty() => Err(self.refuse("a list that is not empty")),
            items => Ok(items),
        }
    }

    /// Whether this is `null`.
    pub(super) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    #[inline(never)] // As `opened`.
    pub(super) fn text(&self) -> Result<&'a str, ConfigError> {
        self.value.as_text().ok_or_else(|| self.refuse("a string"))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn non_empty_text(&self) -> Result<&'a str, ConfigError> {
        match self.text()? {
            "" => Err(self.refuse("a string that is not empty")),
            text => Ok(text),
        }
    }

    /// Whatever an object holds; nothing in it is looked at.
    pub(super) fn any_object(&self) -> Result<(), ConfigError> {
        self.opened().map(drop)
    }

    /// What only says something in later versions: nothing.
    pub(super) fn nothing(&self) -> Result<(), ConfigError> {
        Err(self.refuse("null"))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn bool(&self) -> Result<bool, ConfigError> {
        self.value.as_bool().ok_or_else(|| self.refuse("true or false"))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn int(&self) -> Result<i64, ConfigError> {
        self.value.as_whole().ok_or_else(|| self.refuse("an integer"))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn double(&self) -> Result<f64, ConfigError> {
        self.value.as_double().ok_or_else(|| self.refuse("a number"))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn count(&self, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let number = self.value.as_whole().and_then(|number| usize::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            self.refuse_number(&format!("an integer from {} to {}", range.start(), range.end()))
        })
    }

    /// A time as a count of milliseconds.
    #[inline(never)] // As `opened`.
    pub(super) fn milliseconds(
        &self,
        range: RangeInclusive<usize>,
    ) -> Result<Duration, ConfigError> {
        self.count(range).map(|count| Duration::from_millis(count as u64))
    }

    /// What one of the accepted words stands for. The unsupported ones are known to the schema.
    pub(super) fn word<T: Copy>(
        &self,
        accepted: &Words<T>,
        unsupported: &[&str],
    ) -> Result<T, ConfigError> {
        match self.value.as_text() {
            Some(word) => self.meaning(word, accepted, unsupported),
            None => Err(self.refuse(&listed(accepted))),
        }
    }

    /// What a word in this text stands for.
    pub(super) fn meaning<T: Copy>(
        &self,
        word: &str,
        accepted: &Words<T>,
        unsupported: &[&str],
    ) -> Result<T, ConfigError> {
        meaning(accepted, word).ok_or_else(|| {
            let accepted = listed(accepted);
            // What a variable says is not shown, be it a word that is known.
            if !unsupported.contains(&word) || !matches!(self.value, Value::Text(Text::Written(_)))
            {
                return self.refuse(&accepted);
            }
            let problem =
                format!("\"{word}\" is not supported by this version; accepted: {accepted}");
            ConfigError::new(&self.path, &problem)
        })
    }
}

impl<'a> Object<'a> {
    /// Takes the member of this name. For all that has no meaning as `null`: that is as good as absent.
    #[must_use]
    #[inline(never)] // As `opened`.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.take_even_null(key).filter(|member| !member.is_null())
    }

    /// Takes the member of this name, if there is one.
    #[must_use]
    pub(super) fn take_even_null(&mut self, key: &'static str) -> Option<Cursor<'a>> {
        self.taken.push(key);
        let (_, value) = self.members.iter().find(|(known, _)| known == key)?;
        Some(Cursor::at(joined(&self.path, key), value, self.secrecy))
    }

    /// Takes the member of this name; `null` if there is none.
    #[must_use]
    #[inline(never)] // As `opened`.
    pub(super) fn take_or_null(&mut self, key: &'static str) -> Cursor<'a> {
        self.take_even_null(key).unwrap_or_else(Cursor::nowhere)
    }

    /// Takes the member of this name, which has to be there: if it is not, its place, without a value.
    #[must_use]
    #[inline(never)] // As `opened`.
    pub(super) fn take_needed(&mut self, key: &'static str) -> Cursor<'a> {
        let member = self.take_even_null(key);
        member.unwrap_or_else(|| Cursor::at(joined(&self.path, key), NOTHING, self.secrecy))
    }

    /// Takes the members of these names, which have nothing to say here: `check` looks at each.
    pub(super) fn take_for_nothing<T>(
        &mut self,
        keys: &[&'static str],
        check: impl Fn(&Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<(), ConfigError> {
        keys.iter().try_for_each(|key| self.take_as(key, &check).map(drop))
    }

    /// Takes the member of this name as `read` gives it.
    pub(super) fn take_as<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Cursor<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.take(key).as_ref().map(read).transpose()
    }

    /// Takes the member of this name, an object, as `read` gives it.
    pub(super) fn take_object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Object<'a>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        self.take_or_null(key).object(read)
    }

    /// Names the keys that the schema knows and this version does not support.
    pub(super) fn unsupported(&mut self, keys: &'static [&'static str]) {
        self.unsupported = keys;
    }

    /// Refuses what was not taken.
    #[inline(never)] // As `opened`.
    fn finish(self) -> Result<(), ConfigError> {
        let mut keys = self.members.iter().map(|(key, _)| key.as_str());
        let Some(key) = keys.find(|key| !self.taken.contains(key)) else { return Ok(()) };
        let accepted = match self.taken.as_slice() {
            [] => "no keys".to_owned(),
            taken => taken.join(", "),
        };
        Err(if self.unsupported.contains(&key) {
            let problem = format!("not supported by this version; accepted: {accepted}");
            ConfigError::new(&joined(&self.path, key), &problem)
        } else {
            let unknown = shown::unknown(key, &self.taken, self.secrecy);
            ConfigError::new(&self.path, &format!("{unknown}; accepted: {accepted}"))
        })
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests;
