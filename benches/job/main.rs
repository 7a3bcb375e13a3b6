//! The same job, to keep every failing and every slow request as a whole trace, done in several ways, side by side: what it costs the
//! proxies and the Collector, and what is missed.
//!
//! Two proxies in a row, and a service that fails some of the requests and holds some others. The load has a fixed rate. Truth is the
//! access log of the first proxy, joined by trace id with what the Collector passed on. Times of one machine mean little; the ratios
//! within one run are what counts, and are written to `target/bench-job.json`.

mod budget;
mod load;
mod report;
mod results;
mod round;
mod service;
mod settings;
mod storm;
mod ways;

use anyhow::{Context, Result};
use harness::process::{OTHERS, pin};
use harness::truth::Share;
use results::Results;
use service::Trouble;
use settings::Settings;
use ways::{FILTER, Place, Running, WAYS};

/// The share of the requests that the service holds.
const SLOW: f64 = 0.01;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let settings = Settings::of_environment()?;
    pin(std::process::id(), OTHERS).await?;
    let (mut all, mut found) = (Vec::new(), Share::default());
    for failing in &settings.failing {
        let service = service::start(Trouble { failing: failing / 100.0, slow: SLOW }).await?;
        let mut running = Vec::new();
        for way in &WAYS {
            let place = Place::before(service, ways::envoy())?;
            running.push(ways::start(way, &place, &settings).await?);
        }
        let mut results = Results::default();
        measure(&running, &settings, &mut results).await?;
        found = found.and(results.share(FILTER, |it| it.failing));
        // The last share is the one that brings the errors which are still wanted.
        if settings.failing.last() == Some(failing) {
            found = search(&running, &settings, &mut results, found).await?;
        }
        report::print(*failing, &results, &settings);
        all.push((*failing, results));
    }
    report::print_found(found);
    // What was measured stays, whatever a storm does.
    report::write(&all, &[], &settings)?;
    if settings.storm {
        let accounts = storm::run(&settings).await?;
        report::print_storm(&accounts);
        report::write(&all, &accounts, &settings)?;
    }
    Ok(())
}

/// All rounds, each with all ways.
async fn measure(running: &[Running], settings: &Settings, results: &mut Results) -> Result<()> {
    let idle = round::idle(running).await?;
    for number in 0..=settings.rounds {
        for (way, outcome) in round::run(number, running, &idle, settings).await? {
            eprintln!("round {number}: {way}: {}", report::shown(&outcome));
            // The first round warms up.
            if number > 0 {
                results.rounds.add(way, outcome);
            }
        }
    }
    Ok(())
}

/// Rounds of this filter alone, until enough requests have failed.
async fn search(
    running: &[Running],
    settings: &Settings,
    results: &mut Results,
    mut found: Share,
) -> Result<Share> {
    let place = running.iter().position(|it| it.way.name == FILTER).context("this filter runs")?;
    let alone = &running[place..=place];
    let idle = round::idle(alone).await?;
    while found.all < settings.errors {
        for (way, outcome) in round::run(0, alone, &idle, settings).await? {
            found = found.and(outcome.failing);
            eprintln!("{} of {} errors: {}", found.all, settings.errors, report::shown(&outcome));
            results.more.add(way, outcome);
        }
    }
    Ok(found)
}
