//! The variables of the VM: those that the document names, and the `OTEL_*` variables, which apply where it is silent.
//!
//! A value that can't be used is ignored with a warning, as the specification asks: it is as good as none, and so is
//! an empty one. Which variables there are is not known here.

use super::words::{self, Names, Words};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The variables that a VM was given.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Of all variables those that are in UTF-8 and not empty.
    pub fn from_os(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        variables.filter_map(text).collect()
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

/// The variables while a configuration is read, and the warnings that this gives.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    environment: &'a Environment,
    warnings: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self { environment, warnings: Vec::new() }
    }

    /// Adds what the writer of the configuration should know.
    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// The value of a variable that may be any text.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.environment.get(name)
    }

    /// What `read` makes of the first of these variables that it understands; what it does not understand is a warning.
    pub(super) fn read<T>(
        &mut self,
        names: &[&str],
        accepted: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read_by(names, accepted, &read)
    }

    #[inline(never)] // As `ignore`.
    fn read_by<T>(
        &mut self,
        names: &[&str],
        accepted: &str,
        read: &dyn Fn(&str) -> Option<T>,
    ) -> Option<T> {
        names.iter().find_map(|name| {
            let result = read(self.text(name)?);
            if result.is_none() {
                // Any variable may hold a secret, be it by mistake.
                self.ignore(name, "…", accepted);
            }
            result
        })
    }

    #[inline(never)] // Read once: what makes the module smaller goes before what makes it faster.
    fn ignore(&mut self, name: &str, value: &str, accepted: &str) {
        self.warn(format!("{name}=\"{value}\" is ignored; accepted: {accepted}"));
    }

    /// A whole number within a range.
    #[inline(never)] // As `ignore`.
    pub(super) fn count(&mut self, names: &[&str], range: RangeInclusive<usize>) -> Option<usize> {
        names.iter().find_map(|name| {
            let value = self.text(name)?.trim();
            let number = value.parse::<i64>().ok();
            let result = number.and_then(|number| usize::try_from(number).ok());
            let result = result.filter(|number| range.contains(number));
            if result.is_none() {
                let accepted = format!("a number from {} to {}", range.start(), range.end());
                self.ignore(name, number.map_or("…", |_| value), &accepted);
            }
            result
        })
    }

    /// A time as a count of milliseconds.
    pub(super) fn milliseconds(
        &mut self,
        names: &[&str],
        range: RangeInclusive<usize>,
    ) -> Option<Duration> {
        self.count(names, range).map(|count| Duration::from_millis(count as u64))
    }

    /// What one of a few words stands for, in any case (Environment Variable Specification, section Enum).
    pub(super) fn word<T: Copy>(&mut self, names: &[&str], words: &Words<T>) -> Option<T> {
        let at = self.name(names, &|at| words::name(words, at))?;
        words.get(at).map(|(_, meaning)| *meaning)
    }

    /// As `word`: where it stands among the words.
    #[inline(never)] // As `ignore`.
    fn name(&mut self, variables: &[&str], accepted: Names<'_>) -> Option<usize> {
        self.read(variables, &words::names_joined(accepted, ", "), |value| {
            words::position(accepted, &value.to_ascii_lowercase())
        })
    }
}
