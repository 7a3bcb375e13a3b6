//! The ratios over Envoy's tracer: those of this run are written to `target/bench.json`, and held against those of
//! `benches/ratios.json`, which has the same form.

use crate::costs::Measured;
use crate::report::shown_ratio;
use anyhow::{Context, Result, ensure};
use harness::statistics::Verdict;
use std::collections::BTreeMap;

/// By scenario and variant.
type Ratios = BTreeMap<String, BTreeMap<String, f64>>;

const WRITTEN: &str = "target/bench.json";
const KEPT: &str = "benches/ratios.json";

/// Writes the ratios of this run, but for those over what costs nothing.
pub(crate) fn write(measured: &[Measured]) -> Result<()> {
    let mut ratios = Ratios::new();
    for Measured { scenario, variant, ratio } in measured {
        if ratio.value.is_finite() {
            let rounded = (ratio.value * 1000.0).round() / 1000.0;
            ratios
                .entry((*scenario).to_owned())
                .or_default()
                .insert((*variant).to_owned(), rounded);
        }
    }
    let path = harness::root().join(WRITTEN);
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    Ok(std::fs::write(path, serde_json::to_string_pretty(&ratios)? + "\n")?)
}

/// Says of each ratio whether it is worse than the one that was kept.
///
/// # Errors
/// One is, by more than the noise of this run.
pub(crate) fn check(measured: &[Measured]) -> Result<()> {
    let text = std::fs::read_to_string(harness::root().join(KEPT)).context(KEPT)?;
    let kept: Ratios = serde_json::from_str(&text).context(KEPT)?;
    let mut worse = Vec::new();
    println!("\n## Beside {KEPT}\n");
    for Measured { scenario, variant, ratio } in measured {
        let kept = kept.get(*scenario).and_then(|scenario| scenario.get(*variant)).copied();
        let shown = shown_ratio(ratio);
        let line = match (ratio.against(kept), kept) {
            (Verdict::Worse, Some(kept)) => {
                let line = format!(
                    "{scenario}: {variant}: {shown} over Envoy's tracer, kept {kept:.2}: worse by more than noise"
                );
                worse.push(line.clone());
                line
            }
            (_, Some(kept)) => format!("{scenario}: {variant}: {shown}, kept {kept:.2}: holds"),
            (_, None) => format!("{scenario}: {variant}: {shown}, no ratio is kept: passes"),
        };
        println!("- {line}");
    }
    ensure!(worse.is_empty(), "{}", worse.join("\n"));
    Ok(())
}
