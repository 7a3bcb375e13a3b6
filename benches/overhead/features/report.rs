//! What is said of the features: a table in Markdown, and `target/bench-features.json`.

use super::list::{BASE, Feature, PLAIN, UNTRACED};
use crate::costs::above;
use crate::report::microseconds;
use crate::scenarios::Scenario;
use anyhow::{Context, Result};
use harness::rounds::Rounds;
use harness::statistics::Ratio;
use serde_json::{Value, json};

const WRITTEN: &str = "target/bench-features.json";
/// Costs are nanoseconds: what is said of them are ratios over a microsecond.
const MICROSECOND: f64 = 1000.0;

/// What one variant costs above another one.
pub(crate) struct Row {
    name: String,
    /// Of each round, in nanoseconds.
    above: Vec<f64>,
    microseconds: Ratio,
}

/// A row for each feature, above `{}`.
pub(crate) fn rows(features: &[Feature], costs: &Rounds<f64>) -> Vec<Row> {
    let row = |name: String, variant: &str, other: &str| {
        let above = above(costs, variant, other);
        let microseconds = Ratio::of(&above, &vec![MICROSECOND; above.len()]);
        Row { name, above, microseconds }
    };
    let names = features.iter().map(|feature| feature.name);
    let each = names.filter_map(|name| match name {
        UNTRACED => None,
        PLAIN => Some(row(format!("{PLAIN}, above {UNTRACED}"), PLAIN, UNTRACED)),
        BASE => Some(row(format!("{PLAIN}, above {BASE}"), PLAIN, BASE)),
        name => Some(row(name.to_owned(), name, PLAIN)),
    });
    each.collect()
}

pub(crate) fn print(scenario: &Scenario, rows: &[Row], rounds: usize) {
    println!("\n## Features, {}\n", scenario.name);
    println!(
        "CPU that each adds to a request that is kept, above the filter with {PLAIN}, in µs: median (quartiles) of the differences within each of \
         {rounds} rounds, and the bounds of 95 % of resampled rounds.\n"
    );
    println!("| | adds | 95 % |\n|---|---|---|");
    for Row { name, above, microseconds: Ratio { low, high, .. } } in rows {
        let adds = microseconds(above);
        println!("| {name} | {adds} | {low:.1} to {high:.1} |");
    }
}

/// The rows of a scenario, in microseconds.
pub(crate) fn json(rows: &[Row]) -> Value {
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let row = |row: &Row| {
        let Ratio { value, low, high } = row.microseconds;
        let values = json!({
            "median": rounded(value), "low": rounded(low), "high": rounded(high)
        });
        (row.name.clone(), values)
    };
    Value::Object(rows.iter().map(row).collect())
}

/// Writes all scenarios.
pub(crate) fn write(scenarios: &Value) -> Result<()> {
    let path = harness::root().join(WRITTEN);
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    std::fs::write(path, serde_json::to_string_pretty(scenarios)? + "\n")?;
    println!("\nWritten to {WRITTEN}.");
    Ok(())
}
