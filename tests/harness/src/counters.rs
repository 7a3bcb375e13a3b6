//! The filter's counters, as an Envoy's admin interface gives them, and whether they add up.

use crate::{PATIENCE, client, wait_within};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// The prefix that Envoy gives to a filter's counters.
const PREFIX: &str = "wasmcustom.otel.sdk.";

/// The filter's counters and gauges, without their prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Those among all of an Envoy's counters.
    #[must_use]
    pub fn among(stats: &BTreeMap<String, u64>) -> Self {
        let ours = stats
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), *value)));
        Self(ours.collect())
    }

    /// Reads them.
    ///
    /// # Errors
    /// Envoy does not answer.
    pub async fn read(admin: u16) -> Result<Self> {
        Ok(Self::among(&stats(admin).await?))
    }

    /// Waits until nothing is queued or in flight and every kept span of so many requests is accounted for.
    ///
    /// # Errors
    /// They don't add up in time; they stand in the error.
    pub async fn at_rest(admin: u16, started: u64) -> Result<Self> {
        Self::at_rest_within(PATIENCE, admin, started).await
    }

    /// The same after an outage, which may take its time.
    ///
    /// # Errors
    /// They don't add up within `patience`; they stand in the error.
    pub async fn at_rest_within(patience: Duration, admin: u16, started: u64) -> Result<Self> {
        let poll = || async { Self::read(admin).await.ok().filter(|it| it.add_up(started)) };
        match wait_within(patience, "the counters to add up", poll).await {
            Ok(counters) => Ok(counters),
            Err(error) => Err(error).context(format!("{:#?}", Self::read(admin).await?.0)),
        }
    }

    /// One of them; zero if Envoy does not have it, or not yet.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The sum of those whose name has this part, such as all reasons of `exporter.span.failed.`.
    #[must_use]
    pub fn sum(&self, part: &str) -> u64 {
        let parts = self.0.iter().filter(|(name, _)| name.contains(part));
        parts.map(|(_, value)| value).sum()
    }

    /// All of them.
    #[must_use]
    pub fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }

    /// Whether so many requests have started, and every kept span is accounted for, at rest.
    fn add_up(&self, started: u64) -> bool {
        let settled = self.of("exporter.span.exported")
            + self.of("exporter.span.rejected")
            + self.sum("exporter.span.failed.")
            + self.sum("processor.span.dropped.");
        self.of("span.started") == started
            && self.of("exporter.span.queued") == 0
            && self.of("exporter.span.inflight") == 0
            && self.of("span.sampled") == settled
    }
}

/// All of an Envoy's counters and gauges.
///
/// # Errors
/// Envoy does not answer.
pub async fn stats(admin: u16) -> Result<BTreeMap<String, u64>> {
    let response = client::get(admin, "/stats").await?;
    let text = String::from_utf8(response.body)?;
    let stat = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(stat).collect())
}
