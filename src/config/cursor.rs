//! A JSON value and the way to it, so that every error can name its key.
//!
//! Types and ranges are checked here. Which keys an object has is not known here: it is what its
//! reader takes, and any other key is refused.

use super::error::ConfigError;
use super::shown::{self, Secrecy};
use super::value::{Text, Value, push_key};
use super::words::{self, Names, Words};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A place in the document. The way to it is looked for when an error names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    document: &'a Value,
    value: &'a Value,
    /// Where nothing stands: the object that lacks it, and its key.
    lacking: Option<(&'a Value, &'static str)>,
    secrecy: Secrecy,
}

/// An object while it is read. Without members if nothing, or `null`, is there.
#[derive(Debug)]
pub(super) struct Object<'a> {
    place: Cursor<'a>,
    members: &'a [(String, Value)],
    /// The keys that were asked for, so far.
    taken: Vec<&'static str>,
    unsupported: &'static [&'static str],
}

/// What stands where nothing does.
const NOTHING: &Value = &Value::Null;

impl<'a> Cursor<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { document: value, value, lacking: None, secrecy: Secrecy::Open }
    }

    /// A place within this one.
    fn at(&self, value: &'a Value) -> Self {
        value.note_read();
        Self { value, lacking: None, ..*self }
    }

    /// A place that is in no document.
    pub(super) fn nowhere() -> Self {
        Self::root(NOTHING)
    }

    #[inline(never)] // As `opened`.
    pub(super) fn path(&self) -> String {
        let Some((object, key)) = self.lacking else { return self.document.path_to(self.value) };
        self.path_to_key(object, key)
    }

    fn path_to_key(&self, object: &Value, key: &str) -> String {
        let mut path = self.document.path_to(object);
        push_key(&mut path, key);
        path
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

    /// An error about what is wrong with this value; no part of it stands in that.
    #[inline(never)] // As `opened`.
    pub(super) fn refuse_found(&self, found: &str, accepted: &str) -> ConfigError {
        ConfigError::new(&self.path(), &format!("found {found}; accepted: {accepted}"))
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
        Ok(Object { place: *self, members, taken: Vec::new(), unsupported: &[] })
    }

    /// Of an object that names one of several things: which, and what is said of it, be it `null`.
    /// `None` if it names none of them, or more than one. The name alone is refused with the object to write instead.
    pub(super) fn only_member<T: Copy>(
        &self,
        things: &Words<T>,
        unsupported: &'static [&'static str],
    ) -> Result<Option<(T, Cursor<'a>)>, ConfigError> {
        let only = self.only_name(&|at| words::name(things, at), unsupported)?;
        Ok(only.and_then(|(at, member)| things.get(at).map(|(_, thing)| (*thing, member))))
    }

    /// As `only_member`: where it stands among the names.
    #[inline(never)] // As `opened`.
    fn only_name(
        &self,
        names: Names<'_>,
        unsupported: &'static [&'static str],
    ) -> Result<Option<(usize, Cursor<'a>)>, ConfigError> {
        if let Value::Text(Text::Written(word)) = self.value
            && words::position(names, word).is_some()
        {
            return Err(self.refuse_found(&format!("\"{word}\""), &format!("{{\"{word}\": {{}}}}")));
        }
        let mut object = self.opened()?;
        object.unsupported(unsupported);
        let mut only = None;
        let mut found = 0;
        for (at, name) in (0..).map_while(names).enumerate() {
            if let Some(member) = object.take_even_null(name) {
                only = Some((at, member));
                found += 1;
            }
        }
        object.finish()?;
        Ok(only.filter(|_| found == 1))
    }

    #[inline(never)] // As `opened`.
    pub(super) fn items(&self) -> Result<Vec<Cursor<'a>>, ConfigError> {
        let Value::List(items) = self.value else { return Err(self.refuse("a list")) };
        Ok(items.iter().map(|item| self.at(item)).collect())
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

    /// Whether this is an object.
    pub(super) fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
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
        let at = self.name(&|at| words::name(accepted, at), unsupported)?;
        let word = accepted.get(at).ok_or_else(|| self.refuse("a word"))?;
        Ok(word.1)
    }

    /// As `word`: where it stands among the accepted ones.
    #[inline(never)] // As `opened`.
    fn name(&self, accepted: Names<'_>, unsupported: &[&str]) -> Result<usize, ConfigError> {
        let word = self.value.as_text();
        let at = word.and_then(|word| words::position(accepted, word));
        at.ok_or_else(|| self.refuse_word(word, accepted, unsupported))
    }

    /// What a word in this text stands for.
    pub(super) fn meaning<T: Copy>(
        &self,
        word: &str,
        accepted: &Words<T>,
        unsupported: &[&str],
    ) -> Result<T, ConfigError> {
        words::meaning(accepted, word).ok_or_else(|| {
            self.refuse_word(Some(word), &|at| words::name(accepted, at), unsupported)
        })
    }

    /// An error about a word in this text, or about what is no text.
    #[inline(never)] // As `opened`.
    fn refuse_word(
        &self,
        word: Option<&str>,
        accepted: Names<'_>,
        unsupported: &[&str],
    ) -> ConfigError {
        let accepted = words::names_joined(accepted, ", ");
        let word = word.filter(|word| unsupported.contains(word));
        // What a variable says is not shown, be it a word that is known.
        let (Some(word), Value::Text(Text::Written(_))) = (word, self.value) else {
            return self.refuse(&accepted);
        };
        let problem = format!("\"{word}\" is not supported by this version; accepted: {accepted}");
        ConfigError::new(&self.path(), &problem)
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
        Some(self.place.at(value))
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
        let lacking = Some((self.place.value, key));
        self.take_even_null(key).unwrap_or(Cursor { value: NOTHING, lacking, ..self.place })
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

    /// Takes the member of this name, a whole number within a range.
    #[inline(never)] // As `opened`.
    pub(super) fn take_count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        self.take_as(key, |member| member.count(range))
    }

    /// Takes the member of this name, a time as a count of milliseconds.
    #[inline(never)] // As `opened`.
    pub(super) fn take_milliseconds(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<Duration>, ConfigError> {
        self.take_as(key, |member| member.milliseconds(range))
    }

    /// Takes the member of this name, `true` or `false`.
    #[inline(never)] // As `opened`.
    pub(super) fn take_bool(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        self.take_as(key, Cursor::bool)
    }

    /// Takes the member of this name, one of these words: what it stands for.
    pub(super) fn take_word<T: Copy>(
        &mut self,
        key: &'static str,
        accepted: &Words<T>,
        unsupported: &[&str],
    ) -> Result<Option<T>, ConfigError> {
        let word = self.take_name(key, &|at| words::name(accepted, at), unsupported)?;
        Ok(word.and_then(|at| accepted.get(at)).map(|(_, meaning)| *meaning))
    }

    /// As `take_word`: where it stands among the words.
    #[inline(never)] // As `opened`.
    fn take_name(
        &mut self,
        key: &'static str,
        accepted: Names<'_>,
        unsupported: &[&str],
    ) -> Result<Option<usize>, ConfigError> {
        self.take_as(key, |member| member.name(accepted, unsupported))
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
            ConfigError::new(&self.place.path_to_key(self.place.value, key), &problem)
        } else {
            let unknown = shown::unknown(key, &self.taken, self.place.secrecy);
            ConfigError::new(&self.place.path(), &format!("{unknown}; accepted: {accepted}"))
        })
    }
}

#[cfg(test)]
mod tests;
