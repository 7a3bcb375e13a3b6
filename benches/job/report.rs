//! What is printed, tables in Markdown and a line for each turn, and written to `target/bench-job.json`.

use crate::budget::{self, found};
use crate::results::Results;
use crate::round::Outcome;
use crate::settings::Settings;
use crate::storm::{AWAY, Account, LIMIT, STORM};
use crate::ways::{FILTER, HEAD, Pipeline, TAIL, UNTRACED, WAYS, Way};
use anyhow::{Context, Result};
use harness::statistics::{none_missed_of, quantile};
use harness::truth::Share;
use serde_json::{Map, Value, json};

const WRITTEN: &str = "target/bench-job.json";
const MIB: f64 = 1024.0 * 1024.0;

/// What a round says of a way, in a line.
pub(crate) fn shown(it: &Outcome) -> String {
    format!(
        "proxies {:.1} µs, Collector {:.1} µs; failing {}, slow {}, others {}",
        it.proxies / 1000.0,
        it.collector / 1000.0,
        found(it.failing),
        found(it.slow),
        found(it.others),
    )
}

/// What was measured with this share of failing requests.
pub(crate) fn print(failing: f64, results: &Results, settings: &Settings) {
    println!("\n## {failing} % of the requests fail, 1 % are slow\n");
    println!(
        "{} requests a second, {} s for each way in each of {} rounds; tail sampling waits {} s. CPU is what tracing adds to a request, in \
         µs: median (quartiles) of the differences to the untraced way within each round.\n",
        settings.rate,
        settings.turns,
        settings.rounds,
        settings.decision_wait.as_secs(),
    );
    println!(
        "| | both proxies | Collector | in sum | bytes a request | exports in 1000 requests | Collector's MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let untraced = microseconds(&results.rounds.each(UNTRACED, |it| it.proxies));
    println!("| the untraced request itself | {untraced} | | | | | |");
    for way in WAYS.iter().filter(|way| way.name != UNTRACED) {
        let proxies = microseconds(&results.rounds.above(way.name, UNTRACED, |it| it.proxies));
        if way.pipeline == Pipeline::None {
            println!("| {} | {proxies} | | {proxies} | | | |", way.name);
            continue;
        }
        let median = |measure: fn(&Outcome) -> f64| median(results, way, measure);
        println!(
            "| {} | {proxies} | {} | {} | {:.1} | {:.1} | {:.0} |",
            way.name,
            microseconds(&results.rounds.each(way.name, |it| it.collector)),
            microseconds(&results.added(way.name)),
            median(|it| it.bytes),
            median(|it| it.exports) * 1000.0,
            median(|it| it.resident) / MIB,
        );
    }
    println!(
        "\nRequests that arrived as whole traces, with the spans of both proxies. Of those in part, the span of one arrived: a request that \
         waits before the second proxy is slow for the first one alone, and fast for the second one.\n"
    );
    println!("| | failing | slow | others |\n|---|---|---|---|");
    for way in traced() {
        let share = |of: fn(&Outcome) -> Share| shown_share(results.share(way.name, of));
        println!(
            "| {} | {} | {} | {} |",
            way.name,
            share(|it| it.failing),
            share(|it| it.slow),
            share(|it| it.others)
        );
    }
    println!("\nRatios, with the bounds of 95 % of resampled rounds:\n");
    println!("| | CPU in sum | bytes |\n|---|---|---|");
    for (way, other) in RATIOS {
        let (cpu, bytes) = (results.cpu(way, other), results.bytes(way, other));
        println!("| {way} over {other} | {} | {} |", budget::shown(&cpu), budget::shown(&bytes));
    }
    println!("\n| budget | measured | |\n|---|---|---|");
    for line in budget::lines(results) {
        println!("| {} | {} | {} |", line.what, line.measured, verdict(line.is_met));
    }
}

const RATIOS: [(&str, &str); 2] = [(FILTER, TAIL), (FILTER, HEAD)];

fn traced() -> impl Iterator<Item = &'static Way> {
    WAYS.iter().filter(|way| way.pipeline != Pipeline::None)
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}

fn median(results: &Results, way: &Way, measure: impl Fn(&Outcome) -> f64) -> f64 {
    quantile(&results.rounds.each(way.name, measure), 0.5)
}

fn microseconds(nanoseconds: &[f64]) -> String {
    let at = |share| quantile(nanoseconds, share) / 1000.0;
    format!("{:.1} ({:.1} to {:.1})", at(0.5), at(0.25), at(0.75))
}

/// `2 of 200 (1.0 %)`.
fn shown_share(share: Share) -> String {
    let value = share.value().map(|value| format!(" ({:.1} %)", value * 100.0));
    found(share) + &value.unwrap_or_default()
}

/// What this filter found of all failing requests, whatever their share.
pub(crate) fn print_found(share: Share) {
    if share.all == 0 {
        return;
    }
    let certain = if share.whole == share.all {
        let bound = none_missed_of(share.all) * 100.0;
        format!(": none was missed, so that at least {bound:.3} % are found, with 95 % certainty")
    } else {
        String::new()
    };
    println!("\nOf all failing requests, {FILTER} has {} as whole traces{certain}.", found(share));
}

/// What became of the spans of the storm.
pub(crate) fn print_storm(accounts: &[Account]) {
    println!("\n## A storm\n");
    println!(
        "For {} s every request fails, and for {} s of these the Collector is away; what tail sampling has not decided by then goes with \
         it. Each proxy with this filter keeps {LIMIT} spans a second. Spans of both proxies, and the traces \
         that arrived:\n",
        STORM.as_secs(),
        AWAY.as_secs(),
    );
    println!(
        "| | requests | limited | kept | exported | rejected | failed | dropped | arrived | adds up | traces | whole |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for account in accounts {
        let shown = |number: Option<u64>| number.map_or("not told".to_owned(), |it| it.to_string());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            account.way,
            account.requests,
            account.limited,
            account.kept,
            account.exported,
            shown(account.rejected),
            shown(account.failed),
            account.dropped,
            account.arrived,
            if account.adds_up() { "yes" } else { "**no**" },
            account.traces,
            account.whole,
        );
    }
}

/// Writes all results.
pub(crate) fn write(
    all: &[(f64, Results)],
    accounts: &[Account],
    settings: &Settings,
) -> Result<()> {
    let mut shares = Map::new();
    for (failing, results) in all {
        shares.insert(failing.to_string(), of_share(results));
    }
    let document = json!({
        "requests_per_second": settings.rate,
        "seconds": settings.turns,
        "rounds": settings.rounds,
        "decision_wait_seconds": settings.decision_wait.as_secs(),
        "failing_percent": shares,
        "storm": accounts.iter().map(of_account).collect::<Vec<_>>(),
    });
    let path = harness::root().join(WRITTEN);
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    Ok(std::fs::write(path, serde_json::to_string_pretty(&document)? + "\n")?)
}

fn of_share(results: &Results) -> Value {
    let ways = WAYS.iter().map(|way| {
        let median = |measure: fn(&Outcome) -> f64| median(results, way, measure);
        let share = |of: fn(&Outcome) -> Share| {
            let Share { all, whole, partial } = results.share(way.name, of);
            json!({"all": all, "whole": whole, "partial": partial})
        };
        let value = json!({
            "proxies_ns": median(|it| it.proxies),
            "collector_ns": median(|it| it.collector),
            "added_ns": quantile(&results.added(way.name), 0.5),
            "bytes": median(|it| it.bytes),
            "exports": median(|it| it.exports),
            "collector_resident_bytes": median(|it| it.resident),
            "failing": share(|it| it.failing),
            "slow": share(|it| it.slow),
            "others": share(|it| it.others),
        });
        (way.name.to_owned(), value)
    });
    let ratios = RATIOS.map(|(way, other)| {
        let of = |ratio: harness::statistics::Ratio| {
            json!({"value": ratio.value, "low": ratio.low, "high": ratio.high})
        };
        let (cpu, bytes) = (of(results.cpu(way, other)), of(results.bytes(way, other)));
        (format!("{way} over {other}"), json!({"cpu": cpu, "bytes": bytes}))
    });
    let budget = budget::lines(results)
        .into_iter()
        .map(|line| json!({"what": line.what, "measured": line.measured, "met": line.is_met}));
    json!({
        "ways": ways.collect::<Map<_, _>>(),
        "ratios": ratios.into_iter().collect::<Map<_, _>>(),
        "budget": budget.collect::<Vec<_>>(),
    })
}

fn of_account(account: &Account) -> Value {
    json!({
        "way": account.way, "requests": account.requests, "limited": account.limited, "kept": account.kept, "exported": account.exported,
        "rejected": account.rejected, "failed": account.failed, "dropped": account.dropped, "arrived": account.arrived,
        "adds_up": account.adds_up(), "traces": account.traces, "whole": account.whole,
    })
}
