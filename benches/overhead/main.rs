//! What tracing adds to a request: the CPU of an Envoy process, for this filter and for Envoy's own OpenTelemetry tracer, each in a
//! process of its own, in turn and under the same load.
//!
//! Times of one machine mean little; the ratios within one run are what counts, and are written to `target/bench.json`. With the
//! argument `check` they are held against `benches/ratios.json`. With the argument `features` it measures what each feature of the filter
//! adds to the filter without it, and writes that to `target/bench-features.json`; with `workers`, how spans per second grow with an Envoy's
//! workers. `BENCH_SCENARIOS` says what is measured; `BENCH_ROUNDS` and `BENCH_SECONDS` how long it takes.

mod costs;
mod features;
mod kept;
mod load;
mod report;
mod scenarios;
mod variants;
mod workers;

use anyhow::{Context, Result, ensure};
use harness::process::{OTHERS, pin};
use harness::rounds::Rounds;
use harness::{Envoy, Upstream};
use load::Load;
use report::Memory;
use scenarios::{Protocol, Scenario};
use variants::Running;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let is_told = |what: &str| std::env::args().any(|argument| argument == what);
    let chosen = std::env::var("BENCH_SCENARIOS").ok();
    if is_told("features") {
        // One kind of request is enough to compare features by.
        let scenarios = scenarios::chosen(Some(chosen.as_deref().unwrap_or("base")))?;
        return features::run(&Bench::start().await?, &scenarios).await;
    }
    if is_told("workers") {
        return workers::run(rounds()?, seconds()?).await;
    }
    let scenarios = scenarios::chosen(chosen.as_deref())?;
    let ratios = overhead(&Bench::start().await?, &scenarios).await?;
    kept::write(&ratios)?;
    if is_told("check") { kept::check(&ratios) } else { Ok(()) }
}

/// Measures all ways to trace.
async fn overhead(bench: &Bench, scenarios: &[&Scenario]) -> Result<Vec<costs::Measured>> {
    let mut ratios = Vec::new();
    let mut memory = None;
    for scenario in scenarios {
        let running = variants::start(scenario, bench.upstream(scenario)).await?;
        let idle = Memory::of(&running)?;
        let costs = bench.measure(scenario, &running).await?;
        memory.get_or_insert((scenario.name, idle, Memory::of(&running)?));
        report::print_costs(scenario, &costs, bench.rounds);
        ratios.extend(costs::ratios(&costs, scenario));
    }
    if let Some((scenario, idle, end)) = memory {
        report::print_memory(scenario, &idle, &end);
    }
    Ok(ratios)
}

/// What all Envoys under load need.
struct Bench {
    rounds: usize,
    load: Load,
    upstream: Envoy,
    grpc_upstream: Upstream,
}

impl Bench {
    async fn start() -> Result<Self> {
        let rounds = rounds()?;
        let load = Load::new(seconds()?, OTHERS)?;
        pin(std::process::id(), OTHERS).await?;
        let upstream = Envoy::start(scenarios::upstream()?).await?;
        Ok(Self { rounds, load, upstream, grpc_upstream: Upstream::start().await? })
    }

    /// The port of the service behind.
    fn upstream(&self, scenario: &Scenario) -> u16 {
        match scenario.protocol {
            Protocol::Http1 | Protocol::Http2 => self.upstream.port("ingress"),
            Protocol::Grpc => self.grpc_upstream.port(),
        }
    }

    /// All rounds of a scenario, each with all Envoys.
    async fn measure(&self, scenario: &Scenario, running: &[Running]) -> Result<Rounds<f64>> {
        let turns = self.load.rounds(self.rounds, scenario, running, || self.grpc_upstream.clear());
        Ok(turns.await?.map(|turn| turn.cpu))
    }
}

/// What `BENCH_ROUNDS` says.
fn rounds() -> Result<usize> {
    let rounds = setting("BENCH_ROUNDS", 12)?;
    ensure!(rounds > 0, "BENCH_ROUNDS=0 measures nothing");
    Ok(rounds)
}

/// What `BENCH_SECONDS` says.
fn seconds() -> Result<u64> {
    setting("BENCH_SECONDS", 1)
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(value) => value.parse().ok().with_context(|| format!("{name}={value}")),
    }
}
