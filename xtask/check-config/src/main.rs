//! What the filter says of a configuration, without an Envoy: for CI, before a cluster sees it.
//!
//! It reads files, finds the filter's configurations in them, gives each to the parser that the module has, and ends with status 1 if
//! one is refused, or 2 if there is none. It asks nobody: of clusters it knows those that stand in the same file.

mod found;

use anyhow::{Context, Result, ensure};
use found::Found;
use otel_proxy_wasm::config::{Config, Environment};
use otel_proxy_wasm::envoy::expression::Expression;
use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    match run(&files) {
        Ok(refused) => ExitCode::from(u8::from(refused > 0)),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Says what is thought of each configuration in these files, and gives how many are refused.
fn run(files: &[String]) -> Result<usize> {
    ensure!(!files.is_empty(), "usage: check-config FILE...\n       check-config - < FILE");
    let mut refused = 0;
    for file in files {
        let text = read(file).with_context(|| file.clone())?;
        let found = found::configurations(file, &text).with_context(|| file.clone())?;
        ensure!(!found.is_empty(), "{file}: no configuration of a Wasm filter is in it");
        for configuration in found {
            refused += usize::from(!is_taken(file, configuration));
        }
    }
    Ok(refused)
}

fn read(file: &str) -> Result<String> {
    if file != "-" {
        return Ok(std::fs::read_to_string(file)?);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Whether the filter takes a configuration. What it logs of it, it says here.
fn is_taken(file: &str, Found { name, json, variables, clusters }: Found) -> bool {
    let place = if name.is_empty() { file.to_owned() } else { format!("{file}: {name}") };
    let environment: Environment = variables.into_iter().collect();
    // Nothing but an Envoy knows the expressions that it takes.
    match Config::parse(&json, &environment, &|_| Expression::from_bytes(&[0; 4])) {
        Ok(parsed) => {
            for warning in parsed.warnings {
                println!("{place}: warning: configuration: {warning}");
            }
            if let Some(warning) = of_cluster(&parsed.config.exporter.cluster, &clusters) {
                println!("{place}: warning: {warning}");
            }
            let defaults =
                if json.is_empty() { ": no configuration, the defaults apply" } else { "" };
            println!("{place}: ok{defaults}");
            true
        }
        Err(error) => {
            eprintln!("{place}: configuration: {error}");
            false
        }
    }
}

/// What is wrong with the cluster of the collector, as far as its name says. `known` are those of the file, if it has some.
fn of_cluster(cluster: &str, known: &[String]) -> Option<String> {
    const ISTIOS: &str = "outbound|";
    if !known.is_empty() && !known.iter().any(|it| it == cluster) {
        return Some(format!("the file has no cluster {cluster}; it has {}", known.join(", ")));
    }
    let is_istios = !cluster.starts_with(ISTIOS) || cluster.split('|').count() == 4;
    (!is_istios).then(|| format!("{cluster} is no cluster of Istio: outbound|PORT||HOST is one"))
}
