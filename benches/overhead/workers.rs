//! How many spans a second an Envoy makes with one worker and with two, and what each costs: where workers wait for each other, a span costs more
//! with two. Load tool, Envoy and collector share the cores, so that two workers never make twice as many.

use crate::load::Load;
use crate::report::microseconds;
use crate::scenarios;
use crate::variants::{Kept, Running, Share, rest};
use anyhow::{Context, Result};
use harness::statistics::quantile;
use harness::{Envoy, Receiver};

/// Both cores.
const CORES: &str = "0,1";
/// The variants, and how many workers each has.
const WORKERS: [(&str, usize); 2] = [("one worker", 1), ("two workers", 2)];

/// Measures so many rounds of so many seconds.
pub(crate) async fn run(rounds: usize, seconds: u64) -> Result<()> {
    let load = Load::new(seconds, CORES)?;
    let mut running = Vec::new();
    for (name, workers) in WORKERS {
        running.push(start(name, workers).await?);
    }
    rest().await;
    let turns = load.rounds(rounds, &scenarios::BASE, &running, || {}).await?;
    println!("| | spans a second | CPU of a request, µs |\n|---|---|---|");
    for (name, _) in WORKERS {
        let spans = turns.each(name, |it| it.per_second);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(&spans, share));
        let cpu = microseconds(&turns.each(name, |it| it.cpu));
        println!("| {name} | {median:.0} ({low:.0} to {high:.0}) | {cpu} |");
    }
    Ok(())
}

/// Starts an Envoy that answers each request itself and keeps its span.
async fn start(name: &'static str, workers: usize) -> Result<Running> {
    let sink = Receiver::start().await?;
    let envoy = Envoy::with_workers(scenarios::traced_upstream(sink.port())?, workers).await?;
    let id = envoy.id().context("Envoy runs")?;
    Ok(Running { name, kept: Kept { requests: Share::All, spans: 1 }, envoy, id, sink })
}
