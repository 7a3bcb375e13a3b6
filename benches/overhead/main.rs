//! What tracing adds to a request: the CPU of an Envoy process, for this filter and for Envoy's own OpenTelemetry tracer, each in a
//! process of its own, in turn and under the same load.
//!
//! Times of one machine mean little; the ratios within one run are what counts, and are written to `target/bench.json`. With the
//! argument `check` they are held against `benches/ratios.json`. `BENCH_SCENARIOS` says what is measured, all if it is not set;
//! `BENCH_ROUNDS` and `BENCH_SECONDS` how long it takes.

mod costs;
mod kept;
mod load;
mod report;
mod scenarios;
mod variants;

use anyhow::{Context, Result, ensure};
use harness::process::{OTHERS, pin};
use harness::rounds::{Rounds, order};
use harness::{Envoy, Upstream};
use load::Load;
use report::Memory;
use scenarios::{Protocol, Scenario};
use variants::Running;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let rounds: usize = setting("BENCH_ROUNDS", 12)?;
    let seconds: u64 = setting("BENCH_SECONDS", 1)?;
    ensure!(rounds > 0, "BENCH_ROUNDS=0 measures nothing");
    let scenarios = scenarios::chosen(std::env::var("BENCH_SCENARIOS").ok().as_deref())?;
    let is_check = std::env::args().any(|argument| argument == "check");
    pin(std::process::id(), OTHERS).await?;
    let upstream = Envoy::start(scenarios::upstream()?).await?;
    let grpc_upstream = Upstream::start().await?;
    let load = Load::new(seconds)?;
    let mut ratios = Vec::new();
    let mut memory = None;
    for scenario in scenarios {
        let port = match scenario.protocol {
            Protocol::Http1 | Protocol::Http2 => upstream.port("ingress"),
            Protocol::Grpc => grpc_upstream.port(),
        };
        let running = variants::start(scenario, port).await?;
        let idle = Memory::of(&running)?;
        let costs = measure(scenario, &running, &load, rounds, &grpc_upstream).await?;
        memory.get_or_insert((scenario.name, idle, Memory::of(&running)?));
        report::print_costs(scenario, &costs, rounds);
        ratios.extend(costs::ratios(&costs, scenario));
    }
    if let Some((scenario, idle, end)) = memory {
        report::print_memory(scenario, &idle, &end);
    }
    kept::write(&ratios)?;
    if is_check { kept::check(&ratios) } else { Ok(()) }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(value) => value.parse().ok().with_context(|| format!("{name}={value}")),
    }
}

/// All rounds of a scenario, each with all variants.
async fn measure(
    scenario: &Scenario,
    running: &[Running],
    load: &Load,
    rounds: usize,
    grpc_upstream: &Upstream,
) -> Result<Rounds<f64>> {
    let mut costs = Rounds::default();
    for round in 0..=rounds {
        let mut of_round = Vec::new();
        for turn in order(round, running.len()) {
            let running = &running[turn];
            let cost = load.measure(scenario, running).await?;
            grpc_upstream.clear();
            of_round.push((running.variant.name, cost));
        }
        eprintln!("{}, round {round}: {}", scenario.name, report::shown(&of_round));
        // The first round warms up.
        if round > 0 {
            for (variant, cost) in of_round {
                costs.add(variant, cost);
            }
        }
    }
    Ok(costs)
}
