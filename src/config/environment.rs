//! The `OTEL_*` variables: they apply where the JSON is silent.
//!
//! A value that can't be used is ignored with a warning, as the specification asks. An empty value
//! is as good as none.

use std::ffi::OsString;
use std::str::FromStr;

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

    /// The value of a variable as `read` understands it; what it does not understand is a warning.
    pub(super) fn read<T>(
        &self,
        name: &str,
        accepted: &str,
        warnings: &mut Vec<String>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let result = read(value);
        if result.is_none() {
            // Headers may hold secrets, and a URL a password before an @.
            let secret = name.ends_with("_HEADERS") || value.contains('@');
            let value = if secret { "…" } else { value };
            warnings.push(format!("{name}={value:?} is ignored; accepted: {accepted}"));
        }
        result
    }

    /// The variable of the exporter for traces, or else the one for all signals, if it is set.
    pub(super) fn signal(&self, setting: &str) -> Option<String> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
            .map(|prefix| format!("{prefix}{setting}"))
            .into_iter()
            .find(|name| self.get(name).is_some())
    }

    /// A number within a range.
    pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<T>,
        warnings: &mut Vec<String>,
    ) -> Option<T> {
        let accepted = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, &accepted, warnings, |value| {
            value.trim().parse().ok().filter(|number| range.contains(number))
        })
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let ours =
            |(name, value): &(String, String)| name.starts_with("OTEL_") && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }
}
