//! What is wrong with a configuration, for the person who wrote it. What may stand in it is `cursor`'s affair.

use std::fmt;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// `problem` says what was found and what is accepted.
    pub(super) fn new(path: &str, problem: &str) -> Self {
        Self(if path.is_empty() { problem.to_owned() } else { format!("{path}: {problem}") })
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
