//! The `OTEL_*` variables: they apply where the JSON is silent.
//!
//! A value that can't be used is ignored with a warning, as the specification asks. An empty value
//! is as good as none. Which variables there are is not known here.

use super::words::{Words, listed, meaning};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The variables that a VM was given.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Of all variables, those that concern us: `OTEL_*`, in UTF-8, not empty.
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
        let ours =
            |(name, value): &(String, String)| name.starts_with("OTEL_") && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
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

    /// The value of a variable as `read` understands it; what it does not understand is a warning.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        accepted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let result = read(self.text(name)?);
        if result.is_none() {
            // Any variable may hold a secret, be it by mistake.
            self.ignore(name, "…", accepted);
        }
        result
    }

    fn ignore(&mut self, name: &str, value: &str, accepted: &str) {
        self.warn(format!("{name}=\"{value}\" is ignored; accepted: {accepted}"));
    }

    /// A whole number within a range.
    pub(super) fn count(&mut self, name: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let value = self.text(name)?.trim();
        let number = value.parse::<i64>().ok();
        let result = number.and_then(|number| usize::try_from(number).ok());
        let result = result.filter(|number| range.contains(number));
        if result.is_none() {
            let accepted = format!("a number from {} to {}", range.start(), range.end());
            self.ignore(name, number.map_or("…", |_| value), &accepted);
        }
        result
    }

    /// A time as a count of milliseconds.
    pub(super) fn milliseconds(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Option<Duration> {
        self.count(name, range).map(|count| Duration::from_millis(count as u64))
    }

    /// What one of a few words stands for.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &Words<T>) -> Option<T> {
        self.read(name, &listed(words), |value| meaning(words, value))
    }

    /// The name of a variable of the exporter: the one for traces if that is set, or else the one
    /// for all signals.
    pub(super) fn of_exporter(&self, setting: &str) -> String {
        let of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_{setting}");
        match self.text(&of_traces) {
            Some(_) => of_traces,
            None => format!("OTEL_EXPORTER_OTLP_{setting}"),
        }
    }
}
