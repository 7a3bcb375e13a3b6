//! A round: each way is under load in turn, second by second, and when what they keep has arrived, it says what that cost, and what
//! is missing.
//!
//! Turns are as short as that so that whatever else the machine does meets all ways. What a process takes while there is nothing to do
//! is measured beforehand, and left out for the time in which the other ways have their turns.

use crate::load::Load;
use crate::service::HOLD;
use crate::settings::Settings;
use crate::ways::{PROXIES, Running};
use anyhow::{Context, Result, ensure};
use harness::process::cpu;
use harness::rounds::order;
use harness::truth::{Arrived, Logged, Share};
use harness::wait_for;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a way is under load at a time.
const TURN: Duration = Duration::from_secs(1);
/// How long processes that have started are left alone, until they have come to rest.
const REST: Duration = Duration::from_secs(2);
/// How long nothing is done, to see what that takes.
const IDLE: Duration = Duration::from_secs(10);

/// What a round says of a way.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Nanoseconds of CPU per request.
    pub(crate) proxies: f64,
    pub(crate) collector: f64,
    /// What the proxies sent to the Collector, per request.
    pub(crate) bytes: f64,
    pub(crate) exports: f64,
    /// The Collector's memory under load, in bytes.
    pub(crate) resident: f64,
    pub(crate) failing: Share,
    pub(crate) slow: Share,
    pub(crate) others: Share,
}

/// The CPU that a way has taken, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Cpu {
    proxies: f64,
    collector: f64,
}

impl Cpu {
    fn of(running: &Running) -> Result<Self> {
        let mut all = Self::default();
        for envoy in &running.proxies {
            all.proxies += real(cpu(envoy.id().context("Envoy runs")?)?);
        }
        if let Some(collector) = &running.collector {
            all.collector = real(cpu(collector.id()?)?);
        }
        Ok(all)
    }

    fn combine(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            proxies: with(self.proxies, other.proxies),
            collector: with(self.collector, other.collector),
        }
    }
}

/// What a way takes in a second in which there is nothing to do.
#[derive(Clone, Copy)]
pub(crate) struct Idle(Cpu);

/// Measures it, of all ways at once.
pub(crate) async fn idle(running: &[Running]) -> Result<Vec<Idle>> {
    tokio::time::sleep(REST).await;
    let read = || running.iter().map(Cpu::of).collect::<Result<Vec<_>>>();
    let (start, before) = (Instant::now(), read()?);
    tokio::time::sleep(IDLE).await;
    let (seconds, after) = (start.elapsed().as_secs_f64(), read()?);
    let each = before.into_iter().zip(after);
    Ok(each
        .map(|(before, after)| {
            Idle(after.combine(before, |after, before| (after - before) / seconds))
        })
        .collect())
}

/// What the proxies of a way have sent to the Collector: bytes and requests.
async fn sent(running: &Running) -> Result<[u64; 2]> {
    let mut sent = [0, 0];
    for envoy in &running.proxies {
        let stats = envoy.stats().await?;
        for (sum, name) in sent.iter_mut().zip(["upstream_cx_tx_bytes_total", "upstream_rq_total"])
        {
            let name = format!("cluster.otel_collector.{name}");
            *sum += stats.get(&name).copied().unwrap_or_default();
        }
    }
    Ok(sent)
}

/// A way in a round.
struct Part<'a> {
    running: &'a Running,
    idle: Idle,
    /// The length of its access log, in bytes.
    logged: u64,
    sent: [u64; 2],
    cpu: Cpu,
    loaded: Duration,
    resident: u64,
}

/// Puts all ways under load, and waits until what they keep has arrived.
pub(crate) async fn run(
    number: usize,
    running: &[Running],
    idle: &[Idle],
    settings: &Settings,
) -> Result<Vec<(&'static str, Outcome)>> {
    let load = Load { rate: settings.rate, duration: TURN };
    let mut parts = Vec::new();
    for (running, idle) in running.iter().zip(idle) {
        running.sink.clear();
        let (logged, sent) = (length(&running.log)?, sent(running).await?);
        let (cpu, loaded) = (Cpu::default(), Duration::ZERO);
        parts.push(Part { running, idle: *idle, logged, sent, cpu, loaded, resident: 0 });
    }
    // What is asked of the proxies costs them CPU, too: it is asked before and after.
    for part in &mut parts {
        part.cpu = Cpu::of(part.running)?;
    }
    let start = Instant::now();
    for turn in 0..settings.turns {
        for index in order(number + turn, parts.len()) {
            parts[index].load(load).await?;
        }
    }
    tokio::time::sleep(settings.drain()).await;
    let elapsed = start.elapsed();
    for part in &mut parts {
        part.cpu = Cpu::of(part.running)?.combine(part.cpu, |after, before| after - before);
    }
    let requests = load.requests() * settings.turns as u64;
    let mut outcomes = Vec::new();
    for part in parts {
        let name = part.running.way.name;
        let outcome = part.outcome(elapsed, requests).await;
        outcomes.push((name, outcome.with_context(|| name.to_owned())?));
    }
    Ok(outcomes)
}

impl Part<'_> {
    async fn load(&mut self, load: Load) -> Result<()> {
        let start = Instant::now();
        let running = self.running;
        running.client.send(load).await.with_context(|| running.way.name.to_owned())?;
        self.loaded += start.elapsed();
        if let Some(collector) = &running.collector {
            self.resident = self.resident.max(harness::resident(collector.id()?)?);
        }
        Ok(())
    }

    async fn outcome(self, elapsed: Duration, requests: u64) -> Result<Outcome> {
        let Self { running, idle, cpu, .. } = self;
        let sent_now = sent(running).await?;
        let logged = logged(&running.log, self.logged, requests).await?;
        ensure!(running.sink.undecodable() == 0, "what the Collector sent is no OTLP");
        let arrived = Arrived::of(&running.sink.take_spans());
        let is_slow = |request: &&Logged| u128::from(request.duration) >= HOLD.as_millis();
        let failing = logged.iter().filter(|request| request.has_failed());
        let fine = logged.iter().filter(|request| !request.has_failed());
        let at_rest = elapsed.saturating_sub(self.loaded).as_secs_f64();
        let cpu = cpu.combine(idle.0, |all, idle| (all - idle * at_rest) / real(requests));
        let [bytes, exports] =
            [0, 1].map(|index| real(sent_now[index] - self.sent[index]) / real(requests));
        Ok(Outcome {
            proxies: cpu.proxies,
            collector: cpu.collector,
            bytes,
            exports,
            resident: real(self.resident),
            failing: arrived.whole(failing, PROXIES),
            slow: arrived.whole(fine.clone().filter(is_slow), PROXIES),
            others: arrived.whole(fine.filter(|request| !is_slow(request)), PROXIES),
        })
    }
}
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn real(number: u64) -> f64 {
    number as f64
}

fn length(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.len())
}

/// What the access log says from there on, once it has so many requests.
async fn logged(path: &Path, start: u64, requests: u64) -> Result<Vec<Logged>> {
    let read = || -> Result<String> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    let all = || async { read().ok().filter(|text| text.lines().count() as u64 >= requests) };
    let text = wait_for("the access log to have all requests", all).await?;
    let logged = text.lines().map(Logged::parse).collect::<Result<Vec<_>>>()?;
    ensure!(logged.len() as u64 == requests, "{} requests of {requests}", logged.len());
    Ok(logged)
}
