//! What is printed: tables in Markdown, and a line for each round.

use crate::costs::{above, ratio};
use crate::scenarios::Scenario;
use crate::variants::{EMPTY, Running, UNTRACED, VARIANTS};
use anyhow::Result;
use harness::rounds::Rounds;
use harness::statistics::{Ratio, quantile};

/// A ratio and its noise.
pub(crate) fn shown_ratio(ratio: &Ratio) -> String {
    format!("{:.2} ({:.2} to {:.2})", ratio.value, ratio.low, ratio.high)
}

pub(crate) fn print_costs(scenario: &Scenario, costs: &Rounds<f64>, rounds: usize) {
    println!("\n## {}\n", scenario.name);
    println!(
        "CPU that tracing adds to a request, in µs: median (quartiles) of the differences within each of {rounds} rounds. Ratios are over \
         Envoy's tracer with the same share, where both keep as many requests, with the bounds of 95 % of resampled rounds.\n"
    );
    println!("| | adds | over Envoy's tracer | above the empty filter |\n|---|---|---|---|");
    println!("| the untraced request itself | {} | | |", microseconds(costs.of(UNTRACED)));
    for variant in VARIANTS.iter().filter(|variant| variant.name != UNTRACED) {
        let name = variant.name;
        let adds = microseconds(&above(costs, name, UNTRACED));
        let rival = variant.rival(scenario);
        let ratio = rival.map(|rival| shown_ratio(&ratio(costs, name, rival))).unwrap_or_default();
        let is_beside_empty = variant.is_beside_empty();
        let beside = is_beside_empty.then(|| microseconds(&above(costs, name, EMPTY)));
        println!("| {name} | {adds} | {ratio} | {} |", beside.unwrap_or_default());
    }
}

/// Their median and their quartiles in microseconds.
pub(crate) fn microseconds(nanoseconds: &[f64]) -> String {
    let at = |share| quantile(nanoseconds, share) / 1000.0;
    format!("{:.1} ({:.1} to {:.1})", at(0.5), at(0.25), at(0.75))
}

/// The memory of each variant's process, in bytes.
pub(crate) struct Memory(Vec<u64>);

impl Memory {
    pub(crate) fn of(running: &[Running]) -> Result<Self> {
        Ok(Self(
            running.iter().map(|running| harness::resident(running.id)).collect::<Result<_>>()?,
        ))
    }
}

pub(crate) fn print_memory(scenario: &str, idle: &Memory, end: &Memory) {
    println!("\n## Memory\n");
    println!(
        "Resident MiB of each Envoy, of one worker: before the load of \"{scenario}\", and after it.\n"
    );
    println!("| | idle | at the end |\n|---|---|---|");
    for ((variant, idle), end) in VARIANTS.iter().zip(&idle.0).zip(&end.0) {
        println!("| {} | {} | {} |", variant.name, idle >> 20, end >> 20);
    }
}
