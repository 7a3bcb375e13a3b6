//! What tracing adds to a request: the CPU of the Envoy process, for this filter and for Envoy's own
//! OpenTelemetry tracer, in turn and under the same load.
//!
//! Times of one machine mean little; the ratios within one run are what counts. `BENCH_ROUNDS` and
//! `BENCH_SECONDS` set how long it takes.

use anyhow::{Context, Result, ensure};
use harness::Bootstrap;
use harness::{Envoy, Receiver};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::process::Command;

/// Longer than either tracer holds spans back.
const FLUSH: Duration = Duration::from_millis(1300);
/// The variant that the others are compared with.
const UNTRACED: &str = "untraced";
/// The core of the Envoy that is measured: it has it for itself.
const MEASURED: &str = "0";
/// The core of everything else.
const OTHERS: &str = "1";
/// Connections of the load.
const CONNECTIONS: &str = "16";

/// Sets a traceparent with a new trace id on each request; one in `every` is sampled.
const SCRIPT: &str = r#"
local n, every = 0, tonumber(os.getenv("SAMPLED_EVERY"))
request = function()
  n = n + 1
  if every == nil then return wrk.format() end
  local flags = (every > 0 and n % every == 0) and "01" or "00"
  wrk.headers["traceparent"] = string.format("00-4bf92f3577b34da6%016x-00f067aa0ba902b7-%s", n, flags)
  return wrk.format()
end
done = function(summary)
  local e = summary.errors
  print("REQUESTS " .. summary.requests .. " ERRORS " .. (e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

struct Variant {
    name: &'static str,
    /// Its listener.
    port: u16,
    sink: Receiver,
    /// One in so many requests is kept; none if zero; not traced if there is none.
    keeps: Option<u64>,
    /// One in so many parents is sampled. Envoy's tracer keeps its share of those that are.
    sampled_parents: u64,
}

/// A kind of load: without a parent, or with one that decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Load {
    Plain,
    WithParent,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let rounds: usize = setting("BENCH_ROUNDS", 16)?;
    let seconds: u64 = setting("BENCH_SECONDS", 1)?;
    pin(std::process::id(), OTHERS).await?;
    let upstream = Envoy::start(upstream()?).await?;
    let (envoy, variants) = variants(upstream.port("ingress")).await?;
    let id = envoy.id().context("Envoy runs")?;
    let folder = std::env::temp_dir().join(format!("overhead-{}.lua", std::process::id()));
    std::fs::write(&folder, SCRIPT)?;
    let script = folder.to_string_lossy().into_owned();
    // Nanoseconds per request above the untraced Envoy of the same round.
    let mut added: BTreeMap<(Load, &str), Vec<f64>> = BTreeMap::new();
    let mut untraced: BTreeMap<Load, Vec<f64>> = BTreeMap::new();
    for round in 0..=rounds {
        for load in [Load::Plain, Load::WithParent] {
            let mut costs = Vec::new();
            for variant in &variants {
                costs.push((variant.name, measure(id, variant, load, seconds, &script).await?));
            }
            let (_, base) = *costs.first().context("a variant")?;
            eprintln!("round {round} {load:?}: {}", shown(&costs));
            // The first round warms up.
            if round > 0 {
                untraced.entry(load).or_default().push(base);
                for (name, cost) in costs.into_iter().skip(1) {
                    added.entry((load, name)).or_default().push(cost - base);
                }
            }
        }
    }
    std::fs::remove_file(&folder)?;
    report(&added, &untraced, rounds);
    Ok(())
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(value) => value.parse().ok().with_context(|| format!("{name}={value}")),
    }
}

fn shown(costs: &[(&str, f64)]) -> String {
    costs
        .iter()
        .map(|(name, cost)| format!("{name} {:.2}", cost / 1000.0))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Runs the load against a variant; nanoseconds of CPU per request.
async fn measure(
    id: u32,
    variant: &Variant,
    load: Load,
    seconds: u64,
    script: &str,
) -> Result<f64> {
    variant.sink.clear();
    let before = cpu(id)?;
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", OTHERS, "wrk", "-t", "1", "-c", CONNECTIONS, "-d"])
        .arg(format!("{seconds}s"))
        .args(["-s", script]);
    if load == Load::WithParent {
        wrk.env("SAMPLED_EVERY", variant.sampled_parents.to_string());
    }
    wrk.arg(format!("http://127.0.0.1:{}/some/path?q=1", variant.port));
    let output = wrk.output().await.context("wrk is missing; `make bench` installs it")?;
    // What is sent later belongs to the requests, too; a few spans don't weigh.
    if variant.keeps == Some(1) {
        tokio::time::sleep(FLUSH).await;
    }
    let after = cpu(id)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("REQUESTS")).context(text.clone())?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [requests, errors] = numbers.as_slice() else { anyhow::bail!("{line}") };
    ensure!(*errors == 0, "{}: {errors} of {requests} requests failed", variant.name);
    check_spans(variant, *requests)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok((after - before) as f64 / *requests as f64)
}

/// A tracer that loses spans would be cheap.
fn check_spans(variant: &Variant, requests: u64) -> Result<()> {
    let spans = variant.sink.spans().len() as u64;
    let (least, most) = match variant.keeps {
        None | Some(0) => (0, 0),
        Some(1) => (requests * 99 / 100, requests + 64),
        // The last ones may still be on their way.
        Some(every) => (0, requests / every * 2 + 1024),
    };
    ensure!(
        (least..=most).contains(&spans),
        "{}: {spans} spans of {requests} requests, not {least} to {most}",
        variant.name
    );
    Ok(())
}

/// Ties all threads of a process to a core.
async fn pin(id: u32, core: &str) -> Result<()> {
    let taskset = Command::new("taskset").args(["-a", "-c", "-p", core, &id.to_string()]).output();
    let output = taskset.await.context("taskset is missing; install util-linux")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The CPU time of all threads of a process, in nanoseconds.
fn cpu(id: u32) -> Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        total += schedstat.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(total)
}

/// The service behind: an Envoy that answers by itself.
fn upstream() -> Result<Bootstrap> {
    let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}});
    Bootstrap::from_file("envoy/envoy.yaml")?.without_filter("ingress")?.route("ingress", route)
}

/// One Envoy with a listener for each variant: processes differ in where their memory lies, and that
/// alone is worth microseconds.
async fn variants(upstream: u16) -> Result<(Envoy, Vec<Variant>)> {
    let mut variants = Vec::new();
    let specifications: [(&str, Option<u64>, Option<Value>, &str); 7] = [
        (UNTRACED, None, None, "none"),
        ("Envoy's tracer, 100 %", Some(1), Some(json!(100.0)), "none"),
        ("Envoy's tracer, 1 %", Some(100), Some(json!(1.0)), "none"),
        ("this filter, 100 %", Some(1), None, "none"),
        ("this filter, 100 %, gzip", Some(1), None, "gzip"),
        ("this filter, 1 %", Some(100), None, "none"),
        ("this filter, 0 %", Some(0), None, "none"),
    ];
    let mut bootstrap = Bootstrap::edge(upstream, upstream)?.runtime(json!({
        "tracing.opentelemetry.min_flush_spans": 512,
        "tracing.opentelemetry.flush_interval_ms": 1000,
    }))?;
    for (name, keeps, native, compression) in specifications {
        let sink = Receiver::start().await?;
        bootstrap = bootstrap.copy_listener("ingress", name)?.cluster(name, sink.port())?;
        bootstrap = match (&native, keeps) {
            (Some(percent), _) => native_tracer(bootstrap.without_filter(name)?, name, percent)?,
            (None, None) => bootstrap.without_filter(name)?,
            (None, Some(every)) => {
                let configuration = configuration(name, every, compression).to_string();
                let vm = json!(name);
                bootstrap.filter(name, &configuration)?.wasm(
                    name,
                    "/config/vm_config",
                    "vm_id",
                    vm,
                )?
            }
        };
        let sampled_parents = if native.is_some() { 1 } else { keeps.unwrap_or(1) };
        variants.push(Variant { name, port: bootstrap.port(name), sink, keeps, sampled_parents });
    }
    let envoy = Envoy::start(bootstrap).await?;
    pin(envoy.id().context("Envoy runs")?, MEASURED).await?;
    Ok((envoy, variants))
}

/// The filter's configuration that keeps one in `every` requests, none for zero.
fn configuration(cluster: &str, every: u64, compression: &str) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "at most 100")]
    let ratio = if every == 0 { 0.0 } else { 1.0 / every as f64 };
    let root = json!({"trace_id_ratio_based": {"ratio": ratio}});
    let root = if every == 1 { json!({"always_on": null}) } else { root };
    let batch = json!({"exporter": {"otlp_http": {"compression": compression}}});
    json!({
        "tracer_provider": {
            "processors": [{"batch": batch}], "sampler": {"parent_based": {"root": root}},
        },
        "envoy": {"cluster": cluster},
    })
}

/// Envoy's own tracer, with its batch set to what this filter has.
fn native_tracer(bootstrap: Bootstrap, name: &str, percent: &Value) -> Result<Bootstrap> {
    let tracing = json!({
        "random_sampling": {"value": percent},
        "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "http_service": {"http_uri": {
                    "uri": "http://collector/v1/traces", "cluster": name, "timeout": "10s",
                }},
                "service_name": "edge",
            },
        },
    });
    bootstrap.connection_manager(name, "tracing", tracing)
}

fn report(
    added: &BTreeMap<(Load, &str), Vec<f64>>,
    untraced: &BTreeMap<Load, Vec<f64>>,
    rounds: usize,
) {
    let of = |load, name| added.get(&(load, name)).map_or(f64::NAN, |costs| quantile(costs, 0.5));
    println!(
        "\nCPU that tracing adds to a request, in µs: median (quartiles) of {rounds} rounds\n"
    );
    println!("| | no parent | with a parent |\n|---|---|---|");
    let base = |load| untraced.get(&load).map_or(f64::NAN, |costs| quantile(costs, 0.5) / 1000.0);
    println!(
        "| the untraced request itself | {:.1} | {:.1} |",
        base(Load::Plain),
        base(Load::WithParent)
    );
    let names: Vec<_> =
        added.keys().filter(|(load, _)| *load == Load::Plain).map(|(_, name)| *name).collect();
    for name in &names {
        let cell = |load| {
            let costs = &added[&(load, *name)];
            let at = |share| quantile(costs, share) / 1000.0;
            format!("{:.1} ({:.1} to {:.1})", at(0.5), at(0.25), at(0.75))
        };
        println!("| {name} | {} | {} |", cell(Load::Plain), cell(Load::WithParent));
    }
    for share in ["100 %", "1 %"] {
        // Each side is a median of differences within a round: the machine's speed drifts.
        let ratio = |load| {
            let find = |who: &str| {
                names
                    .iter()
                    .find(|name| name.starts_with(who) && name.ends_with(&format!(", {share}")))
            };
            let (Some(ours), Some(theirs)) = (find("this"), find("Envoy")) else { return f64::NAN };
            of(load, *ours) / of(load, *theirs)
        };
        println!(
            "| **ratio at {share}: filter over Envoy's tracer** | **{:.2}** | **{:.2}** |",
            ratio(Load::Plain),
            ratio(Load::WithParent)
        );
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index within a short list"
    )]
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
