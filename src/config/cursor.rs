//! A JSON value and the way to it, so that every error can name its key.
//!
//! Types and ranges are checked here. Which keys an object has is not known here: it is what its
//! reader takes, and any other key is refused.

use super::error::ConfigError;
use super::shown::{self, Secrecy};
use super::words::{Words, listed, meaning};
use serde_json::{Map, Value};
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
    members: Option<&'a Map<String, Value>>,
    secrecy: Secrecy,
    /// The keys that were asked for, so far.
    taken: Vec<&'static str>,
    unsupported: &'static [&'static str],
}

/// What stands where nothing does.
static NOTHING: Value = Value::Null;

impl<'a> Cursor<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value, secrecy: Secrecy::Open }
    }

    /// A place that is in no document.
    pub(super) fn nowhere() -> Self {
        Self::root(&NOTHING)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The same place; what is in it may be secret, keys included.
    pub(super) fn secret(self) -> Self {
        Self { secrecy: Secrecy::Secret, ..self }
    }

    /// An error about this value: its type stands in it, for it may be a secret.
    pub(super) fn refuse(&self, accepted: &str) -> ConfigError {
        self.refuse_found(shown::kind(self.value), accepted)
    }

    /// An error about this value where a number belongs: if it is one, it stands in it.
    pub(super) fn refuse_number(&self, accepted: &str) -> ConfigError {
        self.refuse_found(&shown::number(self.value), accepted)
    }

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
            Value::Null => None,
            Value::Object(members) => Some(members),
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
        let word = self.value.as_str();
        if let Some((name, _)) = things.iter().find(|(name, _)| Some(*name) == word) {
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

    /// Whatever an object holds; nothing in it is looked at.
    pub(super) fn any_object(&self) -> Result<(), ConfigError> {
        self.opened().map(drop)
    }

    /// What only says something in later versions: nothing.
    pub(super) fn nothing(&self) -> Result<(), ConfigError> {
        Err(self.refuse("null"))
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
            self.refuse_number(&format!("an integer from {} to {}", range.start(), range.end()))
        })
    }

    /// A time as a count of milliseconds.
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
        match self.value.as_str() {
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
            if !unsupported.contains(&word) {
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
        let value = self.members?.get(key)?;
        Some(Cursor { path: joined(&self.path, key), value, secrecy: self.secrecy })
    }

    /// Takes the member of this name; `null` if there is none.
    #[must_use]
    #[inline(never)] // As `opened`.
    pub(super) fn take_or_null(&mut self, key: &'static str) -> Cursor<'a> {
        self.take_even_null(key).unwrap_or_else(Cursor::nowhere)
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
    fn finish(self) -> Result<(), ConfigError> {
        let mut keys = self.members.into_iter().flat_map(Map::keys).map(String::as_str);
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_taken_is_refused() {
        let document = json!({"a": 1, "b": null, "c": {}});
        let cases: &[(&[&str], &[&str], &str, &str)] = &[
            (&["c", "b", "a"], &[], "", "all"),
            (&["a", "b", "c", "d"], &["e"], "", "all, and what is not there"),
            (&["c", "a"], &[], r#"at: unknown key "b"; accepted: c, a"#, "in the order of taking"),
            (&[], &[], r#"at: unknown key "a"; accepted: no keys"#, "none is taken"),
            (&["b"], &["c"], r#"at: unknown key "a"; accepted: b"#, "the first one that is left"),
            (
                &["a", "b"],
                &["c"],
                "at.c: not supported by this version; accepted: a, b",
                "a key that is known",
            ),
        ];
        for (taken, unsupported, expected, reason) in cases {
            let cursor = Cursor { path: "at".to_owned(), ..Cursor::root(&document) };
            let result = cursor.object(|object| {
                object.unsupported(unsupported);
                Ok(taken.iter().filter_map(|key| object.take(key)).count())
            });
            let message = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(message, *expected, "{reason}");
        }
        let root = Cursor::root(&document);
        let error = root.object(|object| object.take_as("a", Cursor::text)).expect_err("a number");
        assert_eq!(
            error.to_string(),
            "a: found a number; accepted: a string",
            "the reader's error first"
        );
    }

    #[test]
    fn absent_and_null_are_told_apart_where_that_matters() {
        let document = json!({"null": null, "some": {"x": 1}});
        let root = Cursor::root(&document);
        let found = root.object(|object| {
            let null = (object.take("null").is_some(), object.take_even_null("null").is_some());
            let some = (object.take("some").is_some(), object.take_even_null("some").is_some());
            let none = (object.take("none").is_some(), object.take_even_null("none").is_some());
            let nulls = ["null", "none"].map(|key| object.take_or_null(key).is_null());
            let inner = object.take_object("some", |some| some.take_as("x", Cursor::int))?;
            let outer = object.take_object("none", |none| none.take_as("x", Cursor::int))?;
            Ok((null, some, none, nulls, inner, outer))
        });
        let expected =
            ((false, true), (true, true), (false, false), [true, true], Some(1), None::<i64>);
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn one_of_several_things_is_named() {
        const THINGS: &Words<i32> = &[("a", 1), ("b", 2)];
        let cases = [
            (json!({"a": 5}), Ok(Some((1, "5"))), "one"),
            (json!({"b": null}), Ok(Some((2, "null"))), "one of which nothing is said"),
            (json!({}), Ok(None), "none"),
            (json!(null), Ok(None), "nothing"),
            (json!({"a": 1, "b": 1}), Ok(None), "two"),
            (json!({"a": 1, "c": 1}), Err("unknown key \"c\"; accepted: a, b"), "an unknown one"),
            (
                json!({"d": 1}),
                Err("d: not supported by this version; accepted: a, b"),
                "a known one",
            ),
            (json!([]), Err("found a list; accepted: an object"), "no object"),
            (json!("a"), Err(r#"found "a"; accepted: {"a": {}}"#), "its name alone"),
            (json!("c"), Err("found a string; accepted: an object"), "another word"),
        ];
        for (document, expected, reason) in cases {
            let found = Cursor::root(&document).only_member(THINGS, &["d"]);
            let found = found.map(|one| one.map(|(thing, at)| (thing, at.value.to_string())));
            let found = found.map_err(|error| error.to_string());
            let expected = expected.map(|one| one.map(|(thing, at)| (thing, at.to_owned())));
            assert_eq!(found, expected.map_err(str::to_owned), "{reason}: {document}");
        }
    }

    #[test]
    fn of_what_was_found_the_type_stands_in_an_error() {
        let cases = [
            (json!(null), "null", "null"),
            (json!(true), "a boolean", "a boolean"),
            (json!(1.5), "a number", "1.5"),
            (json!(-7), "a number", "-7"),
            (json!("x"), "a string", "a string"),
            (json!([1]), "a list", "a list"),
            (json!({"a": 1}), "an object", "an object"),
        ];
        for (value, kind, number) in cases {
            let list = json!([value]);
            let items = Cursor::root(&list).items().expect("a list");
            let error = items[0].refuse("x").to_string();
            assert_eq!(error, format!("[0]: found {kind}; accepted: x"));
            let error = items[0].refuse_number("x").to_string();
            assert_eq!(error, format!("[0]: found {number}; accepted: x"), "for a number");
        }
    }

    #[test]
    fn what_is_in_a_secret_is_one() {
        let document = json!({"a": [{"secret": 1}]});
        let error = |cursor: Cursor<'_>| {
            let items = cursor.object(|root| root.take_or_null("a").items()).expect("a list");
            items[0].object(|_| Ok(())).expect_err("an unknown key").to_string()
        };
        let known = error(Cursor::root(&document));
        assert_eq!(known, "a[0]: unknown key \"secret\"; accepted: no keys");
        let secret = error(Cursor::root(&document).secret());
        assert_eq!(secret, "a[0]: unknown key; accepted: no keys");
    }
}
