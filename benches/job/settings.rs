//! What a run is told: by variables, which `make bench-job` sets.

use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// How many traces the Collector's tail sampling holds, by default.
const HELD: u64 = 50_000;

/// What a run is told.
pub(crate) struct Settings {
    /// Requests a second.
    pub(crate) rate: u64,
    /// How many turns each way has in a round: so many seconds it is under load.
    pub(crate) turns: usize,
    pub(crate) rounds: usize,
    /// The shares of failing requests, in per cent: for each there is a table.
    pub(crate) failing: Vec<f64>,
    /// So many failing requests, of all shares, this filter is to be asked for at least.
    pub(crate) errors: u64,
    /// How long tail sampling waits for the spans of a trace.
    pub(crate) decision_wait: Duration,
    /// Whether there is a storm at the end.
    pub(crate) storm: bool,
}

impl Settings {
    pub(crate) fn of_environment() -> Result<Self> {
        let settings = Self {
            rate: setting("RATE", 1000)?,
            turns: setting("SECONDS", 10)?,
            rounds: setting("ROUNDS", 5)?,
            failing: list(&setting("FAILING", "1".to_owned())?)?,
            errors: setting("ERRORS", 0)?,
            decision_wait: Duration::from_secs(setting("DECISION_WAIT", 5)?),
            storm: setting("STORM", 1_u8)? > 0,
        };
        ensure!(settings.rate > 0 && settings.turns > 0, "no requests measure nothing");
        ensure!(settings.rounds > 0, "BENCH_ROUNDS=0 measures nothing");
        let is_failing = settings.failing.last().is_some_and(|share| *share > 0.0);
        ensure!(settings.errors == 0 || is_failing, "ERRORS need a share of failing requests");
        let held = settings.rate * (settings.decision_wait.as_secs() + 2);
        ensure!(held < HELD, "{held} traces at once are more than tail sampling holds, {HELD}");
        Ok(settings)
    }

    /// How long what was kept may take to arrive: a second in a proxy, the wait for a decision and the second within which it is made,
    /// and what batches wait.
    pub(crate) fn drain(&self) -> Duration {
        self.decision_wait + Duration::from_secs(4)
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    let name = format!("BENCH_{name}");
    match std::env::var(&name) {
        Err(_) => Ok(default),
        Ok(value) => value.parse().ok().with_context(|| format!("{name}={value}")),
    }
}

/// `0.1,1,10`; nothing for the storm alone.
fn list(text: &str) -> Result<Vec<f64>> {
    let share = |text: &str| {
        let share: f64 = text.trim().parse().with_context(|| format!("BENCH_FAILING={text}"))?;
        ensure!((0.0..=99.0).contains(&share), "BENCH_FAILING={text}: per cent, 0 to 99");
        Ok(share)
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(share).collect()
}
