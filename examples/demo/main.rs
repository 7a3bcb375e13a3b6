//! The whole thing on one machine, without Docker: a client, a front proxy, a service with its sidecar,
//! and a collector that prints each trace as a waterfall.
//!
//! `once` sends a request of each kind and ends; `stay` keeps everything up until Ctrl-C. Both end with how many
//! spans were exported, and fail if not all were.

mod assembly;
mod delivery;
mod lines;
mod printer;
mod proxies;
mod settings;
#[cfg(test)]
mod spans;
mod waterfall;

use anyhow::{Context, Result, bail, ensure};
use assembly::{Assembly, Patience};
use delivery::Verdict;
use harness::client::{Call, Http};
use harness::{Receiver, Upstream};
use lines::wrap;
use printer::Printer;
use proxies::{Proxies, SCHEDULE_DELAY};
use settings::{Collector, Settings};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use waterfall::Trace;

/// How long a trace is waited for that does not look complete.
const PATIENCE: Patience = Patience {
    quiet: SCHEDULE_DELAY.saturating_add(Duration::from_millis(800)),
    longest: Duration::from_secs(3),
};
/// How long is waited at the end for news of spans that have not arrived. A collector that is not there is tried for a minute.
const DELIVERY: Duration = Duration::from_secs(5);
/// How often is looked for new spans.
const POLL: Duration = Duration::from_millis(50);

/// What to do after a demonstration.
const NEXT: &str = "
Try next:
  make run                             traces of requests of your own
  make demo COLLECTOR=localhost:4318   sends the spans to your collector
  README.md                            how to load the filter into your Envoy";

/// What a client sends that has a trace of its own.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode> {
    let mode = std::env::args().nth(1);
    let settings = Settings::from_environment()?;
    // The Envoys don't hear of a Ctrl-C: they end with what has started them.
    let mut signals = Signals::new()?;
    match mode.as_deref() {
        Some("once") => tokio::select! {
            code = once(&settings) => code,
            () = signals.end() => Ok(ExitCode::FAILURE),
        },
        Some("stay") => stay(&settings, &mut signals).await,
        _ => bail!("usage: demo once|stay"),
    }
}

/// What ends a program.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn end(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// All that runs.
struct Demo {
    proxies: Proxies,
    service: Upstream,
    /// None if the spans go to a collector of one's own.
    receiver: Option<Receiver>,
    assembly: Assembly,
    start: Instant,
}

impl Demo {
    async fn start(front_port: u16, settings: &Settings) -> Result<Self> {
        let service = Upstream::start().await?;
        let (receiver, collector) = if let Some(collector) = &settings.collector {
            (None, collector.clone())
        } else {
            let receiver = Receiver::start().await?;
            let port = receiver.port();
            (Some(receiver), Collector { host: "127.0.0.1".to_owned(), port })
        };
        let proxies = Proxies::start(front_port, service.port(), &collector).await?;
        let assembly = Assembly::new(proxies.addresses(), PATIENCE);
        Ok(Self { proxies, service, receiver, assembly, start: Instant::now() })
    }

    /// The traces that are complete by now.
    fn complete(&mut self) -> Vec<Trace> {
        // Nobody asks what the service saw.
        self.service.clear();
        let spans = self.receiver.as_ref().map(Receiver::take_spans).unwrap_or_default();
        let now = self.start.elapsed();
        self.assembly.add(spans, now);
        self.assembly.take_complete(now)
    }

    /// All other traces.
    fn rest(&mut self) -> Vec<Trace> {
        let spans = self.receiver.as_ref().map(Receiver::take_spans).unwrap_or_default();
        self.assembly.add(spans, self.start.elapsed());
        self.assembly.take_all()
    }

    async fn verdict(&self, settings: &Settings) -> Result<Verdict> {
        let accounts = delivery::settle(&self.proxies, DELIVERY).await?;
        Ok(delivery::verdict(&accounts, settings.collector.as_ref()))
    }

    /// What the demonstration shows.
    fn examples(&self) -> Vec<Example> {
        let (front, service) = (self.proxies.front_port(), self.proxies.service_port());
        let example = |what, call, port| Example { what, call, port, trace: None };
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        vec![
            example("a request from outside", Call::get("/users"), front),
            Example {
                trace: Some(TRACE),
                ..example(
                    "a client that traces: its trace goes on",
                    Call::get("/users").header("traceparent", parent),
                    front,
                )
            },
            example(
                "a call that the service makes: its sidecar adds a CLIENT span",
                Call::get("/invoices"),
                service,
            ),
            example("not found: no error of the server", Call::get("/status/404"), front),
            example("a failure behind both proxies", Call::get("/status/500"), front),
            example("a slow answer", Call::get("/delay/150"), front),
            example("an upstream that is gone", Call::get("/gone"), front),
            example("gRPC", Call::grpc("/shop.Cart/Get"), front),
            example("gRPC that fails", Call::grpc("/shop.Cart/Unavailable"), front),
            example("a secret in the query", Call::get("/files?sig=c2VjcmV0&page=2"), front),
        ]
    }
}

/// A request of the demonstration.
struct Example {
    /// What it shows.
    what: &'static str,
    call: Call,
    /// Where it goes.
    port: u16,
    /// The trace that the client is in, if it traces.
    trace: Option<&'static str>,
}

/// What stands before all else: who is who, and where the spans go.
fn introduction(settings: &Settings) -> String {
    let spans = match &settings.collector {
        Some(collector) => format!("Spans go to {collector}, over OTLP/HTTP: look at them there."),
        None => "Spans go to a collector in this program, which shows them as traces.".to_owned(),
    };
    let who = "edge is a front proxy, shop the sidecar of a service: Envoys with the filter.";
    format!("{}\n{}", wrap(who, 2), wrap(&spans, 2))
}

async fn once(settings: &Settings) -> Result<ExitCode> {
    say(&introduction(settings))?;
    let mut demo = Demo::start(harness::free_port()?, settings).await?;
    let mut sent = Vec::new();
    for example in demo.examples() {
        let version = if example.what.starts_with("gRPC") { Http::Two } else { Http::One };
        let reply = example.call.send(&version, example.port).await?;
        sent.push((example, reply.status));
    }
    let verdict = demo.verdict(settings).await?;
    if demo.receiver.is_some() {
        show(&sent, &demo.rest())?;
    } else {
        say("\nThese requests were sent:")?;
        for (example, status) in sent {
            say(&wrap(&format!("  {} ({status})", example.what), 4))?;
            if let Some(trace) = example.trace {
                say(&format!("    trace {trace}"))?;
            }
        }
    }
    say(&format!("\n{}", verdict.text))?;
    if !verdict.all_exported {
        return Ok(ExitCode::FAILURE);
    }
    say(NEXT)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the trace of each request that was sent, with the status that it got.
fn show(sent: &[(Example, u16)], traces: &[Trace]) -> Result<()> {
    let (requests, came) = (sent.len(), traces.len());
    ensure!(requests == came, "{requests} requests were sent, {came} traces came");
    for ((example, status), trace) in sent.iter().zip(traces) {
        let id = trace.id();
        let whose = match example.trace {
            Some(trace) => {
                ensure!(id == trace, "the client's trace was {trace}, the spans are of {id}");
                ", the one that the client sent"
            }
            None => "",
        };
        let heading = waterfall::heading(&format!("{} ({status})", example.what));
        let drawn = waterfall::draw(trace);
        say(&format!("\n{heading}\ntrace {id}{whose}\n{}", drawn.trim_end()))?;
    }
    Ok(())
}

async fn stay(settings: &Settings, signals: &mut Signals) -> Result<ExitCode> {
    let front = settings.front_port()?;
    say(&introduction(settings))?;
    if let Some(taken) = front.taken {
        let port = front.port;
        let taken = format!(
            "Port {taken} is taken: the front proxy listens on {port} (PORT=8000 chooses one)."
        );
        say(&wrap(&taken, 2))?;
    }
    let mut demo = tokio::select! {
        demo = Demo::start(front.port, settings) => demo?,
        () = signals.end() => return Ok(ExitCode::FAILURE),
    };
    let address = format!("http://127.0.0.1:{}", front.port);
    say(&format!(
        "The front proxy listens on {address}; Ctrl-C ends all.\n\
         Try: curl {address}/users  (or /status/500, /delay/300, /gone)"
    ))?;
    let mut printer = Printer::to(std::io::stdout());
    let mut complaints = BTreeMap::new();
    loop {
        tokio::select! {
            () = signals.end() => break,
            () = tokio::time::sleep(POLL) => {}
        }
        print_all(&mut printer, &demo.complete())?;
        let now = delivery::complaints(&demo.proxies);
        for (name, said) in &now {
            if complaints.get(name) != Some(said) {
                printer.print(wrap(&format!("the log of {name}: {said}"), 2))?;
            }
        }
        complaints = now;
    }
    demo.proxies.close().await?;
    let verdict = tokio::select! {
        verdict = demo.verdict(settings) => verdict?,
        // A second Ctrl-C.
        () = signals.end() => return Ok(ExitCode::FAILURE),
    };
    print_all(&mut printer, &demo.rest())?;
    printer.finish()?;
    say(&format!("\n{}", verdict.text))?;
    Ok(if verdict.all_exported { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_all(printer: &mut Printer, traces: &[Trace]) -> Result<()> {
    for trace in traces {
        let heading = waterfall::heading(&format!("trace {}", trace.id()));
        printer.print(format!("\n{heading}\n{}", waterfall::draw(trace).trim_end()))?;
    }
    Ok(())
}

/// Prints a text, for whoever still reads.
fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("nobody reads what is printed")
}
