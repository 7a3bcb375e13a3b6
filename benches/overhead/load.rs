//! The load, by wrk and h2load, and what it costs: the CPU of an Envoy's process. Spans are counted: a tracer that loses some
//! would be cheap.

use crate::scenarios::{Parent, Protocol, Scenario};
use crate::variants::{Kept, Running, Share};
use anyhow::{Context, Result, ensure};
use harness::TempDir;
use harness::process::cpu;
use harness::rounds::{Rounds, order};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Longer than either tracer holds spans back.
const FLUSH: Duration = Duration::from_millis(1300);
/// Connections of HTTP/1.1, which have a request each under way.
const CONNECTIONS: u64 = 16;
/// Connections of HTTP/2 that have as many requests under way together.
const HTTP2_CONNECTIONS: u64 = 4;
/// An empty message of gRPC.
const MESSAGE: [u8; 5] = [0; 5];

/// Sets a traceparent with a new trace id on each request, if there are flags for it.
const SCRIPT: &str = r#"
local n, flags = 0, os.getenv("TRACE_FLAGS")
if flags then
  request = function()
    n = n + 1
    wrk.headers["traceparent"] = string.format("00-4bf92f3577b34da6%016x-00f067aa0ba902b7-%s", n, flags)
    return wrk.format()
  end
end
done = function(summary)
  local e = summary.errors
  print("REQUESTS " .. summary.requests .. " ERRORS " .. (e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// What the load tools need.
pub(crate) struct Load {
    seconds: u64,
    /// The load tool runs there, as `taskset` names cores.
    cores: &'static str,
    /// It holds the files, and goes with this.
    _folder: TempDir,
    script: PathBuf,
    message: PathBuf,
}

/// What requests under load have cost in one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Nanoseconds of Envoy's CPU for each.
    pub(crate) cpu: f64,
    /// How many were answered.
    pub(crate) per_second: f64,
}

/// What a load tool says of its requests.
#[derive(Debug)]
struct Outcome {
    requests: u64,
    failed: u64,
}

impl Load {
    pub(crate) fn new(seconds: u64, cores: &'static str) -> Result<Self> {
        let folder = harness::folder()?;
        let (script, message) = (folder.path().join("wrk.lua"), folder.path().join("message"));
        std::fs::write(&script, SCRIPT)?;
        std::fs::write(&message, MESSAGE)?;
        Ok(Self { seconds, cores, _folder: folder, script, message })
    }

    /// So many rounds, each with all Envoys in turn. `after` follows each turn.
    pub(crate) async fn rounds(
        &self,
        rounds: usize,
        scenario: &Scenario,
        running: &[Running],
        after: impl Fn(),
    ) -> Result<Rounds<Turn>> {
        let mut all = Rounds::default();
        for round in 0..=rounds {
            let mut of_round = Vec::new();
            for turn in order(round, running.len()) {
                let running = &running[turn];
                of_round.push((running.name, self.measure(scenario, running).await?));
                after();
            }
            eprintln!("{}, round {round}: {}", scenario.name, shown(&of_round));
            // The first round warms up.
            if round > 0 {
                for (name, turn) in of_round {
                    all.add(name, turn);
                }
            }
        }
        Ok(all)
    }

    /// Runs the load against an Envoy.
    async fn measure(&self, scenario: &Scenario, running: &Running) -> Result<Turn> {
        let (name, kept) = (running.name, running.kept);
        running.sink.clear();
        let before = cpu(running.id)?;
        let begin = Instant::now();
        let Outcome { requests, failed } =
            self.run(scenario, running.envoy.port("ingress")).await?;
        let took = begin.elapsed();
        // What is sent later belongs to the requests, too; and whoever comes next finds the machine in the same state.
        tokio::time::sleep(FLUSH).await;
        let after = cpu(running.id)?;
        ensure!(requests > 0, "{name}: no request came back");
        ensure!(failed == 0, "{name}: {failed} of {requests} requests failed");
        check_spans(name, kept, running.sink.spans().len() as u64, requests)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Turn {
            cpu: (after - before) as f64 / requests as f64,
            per_second: requests as f64 / took.as_secs_f64(),
        })
    }

    async fn run(&self, scenario: &Scenario, port: u16) -> Result<Outcome> {
        let mut tool = Command::new("taskset");
        tool.args(["-c", self.cores]);
        let http1 = scenario.protocol == Protocol::Http1;
        let seconds = self.seconds.to_string();
        if http1 {
            tool.args(["wrk", "-t", "1", "-c", &CONNECTIONS.to_string(), "-d"])
                .arg(format!("{seconds}s"))
                .arg("-s")
                .arg(&self.script);
        } else {
            let streams = CONNECTIONS / HTTP2_CONNECTIONS;
            tool.args(["h2load", "-t", "1", "-c", &HTTP2_CONNECTIONS.to_string()]).args([
                "-m",
                &streams.to_string(),
                "-D",
                &seconds,
            ]);
        }
        match scenario.parent {
            Parent::None => {}
            Parent::Sampled => drop(tool.env("TRACE_FLAGS", "01")),
            Parent::Unsampled => drop(tool.env("TRACE_FLAGS", "00")),
        }
        for (name, value) in scenario.headers() {
            tool.arg("-H").arg(format!("{name}: {value}"));
        }
        if scenario.protocol == Protocol::Grpc {
            tool.args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"])
                .arg(&self.message);
        }
        tool.arg(format!("http://127.0.0.1:{port}{}", scenario.path()));
        let output = tool.output().await.context("taskset is missing; install util-linux")?;
        let (text, complaint) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let outcome = if http1 { of_wrk(&text) } else { of_h2load(&text) };
        outcome.with_context(|| format!("{text}{complaint}\n`make bench` installs wrk and h2load"))
    }
}

/// The costs of a round in microseconds.
fn shown(turns: &[(&str, Turn)]) -> String {
    let costs = turns.iter().map(|(name, turn)| format!("{name} {:.2}", turn.cpu / 1000.0));
    costs.collect::<Vec<_>>().join("; ")
}

/// `REQUESTS 16000 ERRORS 0`, as the script prints it.
fn of_wrk(text: &str) -> Option<Outcome> {
    let line = text.lines().find(|line| line.starts_with("REQUESTS"))?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [requests, failed] = *numbers.as_slice() else { return None };
    Some(Outcome { requests, failed })
}

/// `requests: 16016 total, 16016 started, 16000 done, 16000 succeeded, 0 failed, 0 errored, 0 timeout`, and a line for the statuses.
fn of_h2load(text: &str) -> Option<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let number = |what: &str| {
        let part = line.split(", ").find_map(|part| part.strip_suffix(what))?;
        part.trim().parse::<u64>().ok()
    };
    let failed = number("failed")? + number("errored")? + number("timeout")?;
    Some(Outcome { requests: number("done")?, failed })
}

/// A tracer that loses spans would be cheap, and one that keeps more than it should dear.
fn check_spans(name: &str, kept: Kept, spans: u64, requests: u64) -> Result<()> {
    // Requests that the load tool gave up at its end.
    let open = 4 * CONNECTIONS;
    let (least, most) = match kept.requests {
        Share::None => (0, 0),
        Share::All => (requests * 99 / 100, requests + open),
        Share::OneInHundred => {
            let mean = requests / 100;
            // Six times the standard deviation of a fair draw.
            let noise = 6 * (mean.isqrt() + 1);
            (mean.saturating_sub(noise), mean + noise + open)
        }
    };
    let (least, most) = (least * kept.spans, most * kept.spans);
    ensure!(
        (least..=most).contains(&spans),
        "{name}: {spans} spans of {requests} requests, not {least} to {most}"
    );
    Ok(())
}
