//! A storm: every request fails, and in the midst of it the Collector is away. What became of every span, as the proxies tell it, and
//! as it arrived.

use crate::load::Load;
use crate::service::{self, Trouble};
use crate::settings::Settings;
use crate::ways::{self, FILTER, PROXIES, Pipeline, Place, Running, TAIL, WAYS, Way};
use anyhow::{Context, Result};
use harness::Counters;
use harness::truth::Arrived;
use serde_json::json;
use std::time::Duration;

/// How long the Collector is away.
pub(crate) const AWAY: Duration = Duration::from_secs(30);
/// How long the storm lasts before that.
const BEFORE: Duration = Duration::from_secs(5);
/// How long it lasts in all.
pub(crate) const STORM: Duration = Duration::from_secs(45);
/// What each proxy with this filter keeps in a second, at most.
pub(crate) const LIMIT: u32 = 100;
/// How long it may take until nothing is sent again.
const PATIENCE: Duration = Duration::from_mins(6);

/// What became of the spans of both proxies.
pub(crate) struct Account {
    pub(crate) way: &'static str,
    pub(crate) requests: u64,
    /// What a limit took away.
    pub(crate) limited: u64,
    /// What was to be sent.
    pub(crate) kept: u64,
    /// What the proxies say of it. Envoy's tracer has no word for some.
    pub(crate) exported: u64,
    pub(crate) rejected: Option<u64>,
    pub(crate) failed: Option<u64>,
    pub(crate) dropped: u64,
    /// What the Collector passed on, once per span.
    pub(crate) arrived: u64,
    /// The traces of these, and those of them that are whole.
    pub(crate) traces: u64,
    pub(crate) whole: u64,
}

impl Account {
    /// Whether what the proxies say explains every request, each of which has failed, and every span.
    pub(crate) fn adds_up(&self) -> bool {
        let lost =
            self.rejected.unwrap_or_default() + self.failed.unwrap_or_default() + self.dropped;
        PROXIES as u64 * self.requests == self.limited + self.kept
            && self.kept == self.exported + lost
            && self.arrived == self.exported
    }
}

/// The accounts of this filter, and of Envoy's tracer with tail sampling.
pub(crate) async fn run(settings: &Settings) -> Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for way in WAYS.iter().filter(|way| [FILTER, TAIL].contains(&way.name)) {
        accounts.push(of(way, settings).await.with_context(|| format!("storm: {}", way.name))?);
    }
    Ok(accounts)
}

async fn of(way: &'static Way, settings: &Settings) -> Result<Account> {
    let service = service::start(Trouble { failing: 1.0, slow: 0.0 }).await?;
    let mut envoy = ways::envoy();
    envoy["max_spans_per_second"] = json!(LIMIT);
    let place = Place::before(service, envoy)?;
    let mut running = ways::start(way, &place, settings).await?;
    let load = Load { rate: settings.rate, duration: STORM };
    let client = running.client.clone();
    let storm = tokio::spawn(async move { client.send(load).await });
    tokio::time::sleep(BEFORE).await;
    let collector = running.collector.take().context("it has a Collector")?;
    collector.quit().await?;
    tokio::time::sleep(AWAY).await;
    running.collector =
        ways::collector(way.pipeline, place.collector, &running.sink, settings).await?;
    storm.await??;
    let mut account = told(way, &running, load.requests()).await?;
    tokio::time::sleep(settings.drain()).await;
    let arrived = Arrived::of(&running.sink.take_spans());
    account.arrived = arrived.all_spans();
    account.traces = arrived.traces(1);
    account.whole = arrived.traces(PROXIES);
    Ok(account)
}

/// What the proxies say once nothing waits any more.
async fn told(way: &Way, running: &Running, requests: u64) -> Result<Account> {
    let mut account = Account {
        way: way.name,
        requests,
        limited: 0,
        kept: 0,
        exported: 0,
        rejected: None,
        failed: None,
        dropped: 0,
        arrived: 0,
        traces: 0,
        whole: 0,
    };
    for proxy in &running.proxies {
        if way.pipeline == Pipeline::Plain {
            let counters = Counters::at_rest_within(PATIENCE, proxy.admin_port(), requests).await?;
            account.limited += counters.sum("span.limited.");
            account.kept += counters.of("span.sampled");
            account.exported += counters.of("exporter.span.exported");
            add(&mut account.rejected, counters.of("exporter.span.rejected"));
            add(&mut account.failed, counters.sum("exporter.span.failed."));
            account.dropped += counters.sum("processor.span.dropped.");
        } else {
            account.kept += requests;
            let stats = proxy.stats().await?;
            let of = |name: &str| stats.get(&format!("tracing.opentelemetry.{name}")).copied();
            account.exported += of("spans_sent").unwrap_or_default();
            account.dropped += of("spans_dropped").unwrap_or_default();
        }
    }
    Ok(account)
}

fn add(sum: &mut Option<u64>, more: u64) {
    *sum = Some(sum.unwrap_or_default() + more);
}
