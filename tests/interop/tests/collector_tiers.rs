//! `examples/collector`: two agents balance by trace id over two collectors, which judge whole traces and count adjusted.
//!
//! The files are as users copy them; by variables they get other addresses, and shorter waits for the tier.

use anyhow::{Context, Result};
use harness::client::{Call, Http, load};
use harness::{
    Bootstrap, Counters, Envoy, Span, TempDir, Upstream, free_port, root, wait_for, wait_within,
};
use interop::{Collector, peer};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

/// The name under which the agents know the tier.
const TIER: &str = "otel-collectors.test";
/// The addresses of its collectors.
const ADDRESSES: [&str; 2] = ["127.0.0.2", "127.0.0.3"];

/// The collectors of the tier, and the file in which the agents look for their addresses.
struct Tier {
    collectors: Vec<Collector>,
    port: u16,
    hosts: PathBuf,
    _folder: TempDir,
}

impl Tier {
    /// Starts both. Of the traces without an error this share stays, in percent.
    async fn start(share: u32) -> Result<Self> {
        let (port, folder) = (free_port()?, TempDir::new()?);
        let mut collectors = Vec::new();
        for address in ADDRESSES {
            let variables = [
                ("HOST", address.to_owned()),
                ("OTLP_GRPC_PORT", port.to_string()),
                ("SHARE", share.to_string()),
                ("DECISION_WAIT", "3s".to_owned()),
                ("FLUSH", "100ms".to_owned()),
            ];
            let file = root().join("examples/collector/gateway.yaml");
            let command = Command::new(peer("collector-tiers", "collector")?);
            collectors.push(Collector::run(command, &file, &variables).await?);
        }
        let tier = Self { collectors, port, hosts: folder.path().join("hosts"), _folder: folder };
        tier.resolves_to(&ADDRESSES)?;
        Ok(tier)
    }

    /// From now on the name has these addresses.
    fn resolves_to(&self, addresses: &[&str]) -> Result<()> {
        let lines = addresses.iter().map(|address| format!("{address} {TIER}\n"));
        Ok(std::fs::write(&self.hosts, lines.collect::<String>())?)
    }

    async fn agent(&self) -> Result<Collector> {
        // With a hosts file of its own.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#]);
        command.arg(&self.hosts).arg(peer("collector-tiers", "collector")?);
        let variables = [
            ("TIER", TIER.to_owned()),
            ("TIER_PORT", self.port.to_string()),
            ("RESOLVE", "1s".to_owned()),
        ];
        Collector::run(command, &root().join("examples/collector/agent.yaml"), &variables).await
    }

    /// The spans that stayed, at each of its collectors.
    fn spans(&self) -> Result<Vec<Vec<Span>>> {
        self.collectors.iter().map(Collector::spans).collect()
    }
}

/// Two proxies behind each other, each with an agent of its own.
struct Proxies {
    front: Envoy,
    sidecar: Envoy,
    agents: [Collector; 2],
    _upstream: Upstream,
}

impl Proxies {
    async fn start(tier: &Tier, ratio: f64) -> Result<Self> {
        let agents = [tier.agent().await?, tier.agent().await?];
        let upstream = Upstream::start().await?;
        let sidecar = Bootstrap::from_file("envoy/sidecar.yaml")?
            .cluster("service", upstream.port())?
            .cluster("otel_collector", agents[1].http_port())?;
        let root = format!(r#"{{"trace_id_ratio_based": {{"ratio": {ratio}}}}}"#);
        let sampler = format!(r#"{{"sampler": {{"parent_based": {{"root": {root}}}}}}}"#);
        let front = Bootstrap::edge(sidecar.port("inbound"), agents[0].http_port())?
            .filter("ingress", &format!(r#"{{"tracer_provider": {sampler}}}"#))?;
        let (front, sidecar) = (Envoy::start(front).await?, Envoy::start(sidecar).await?);
        Ok(Self { front, sidecar, agents, _upstream: upstream })
    }

    fn port(&self) -> u16 {
        self.front.port("ingress")
    }

    /// Waits until both proxies have delivered every span that they kept of so many requests, and gives how many those are.
    async fn delivered(&self, requests: u64) -> Result<usize> {
        let mut spans = 0;
        for envoy in [&self.front, &self.sidecar] {
            let counters = Counters::at_rest(envoy.admin_port(), requests).await?;
            assert_eq!(counters.of("exporter.span.exported"), counters.of("span.sampled"));
            spans += counters.of("span.sampled");
        }
        Ok(usize::try_from(spans)?)
    }
}

fn by_trace(spans: &[Span]) -> BTreeMap<String, usize> {
    let mut traces = BTreeMap::new();
    for span in spans {
        *traces.entry(span.trace_id()).or_default() += 1;
    }
    traces
}

/// The calls of the connector's latest metrics.
fn calls(collector: &Collector) -> Result<i64> {
    let Some(latest) = collector.metrics()?.pop() else { return Ok(0) };
    let scopes = latest.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let mut calls = 0;
    for metric in scopes.flat_map(|scope| scope.metrics) {
        if let ("traces.span.metrics.calls", Some(Data::Sum(sum))) =
            (metric.name.as_str(), metric.data)
        {
            for point in sum.data_points {
                if let Some(Value::AsInt(count)) = point.value {
                    calls += count;
                }
            }
        }
    }
    Ok(calls)
}

fn all_calls(tier: &Tier) -> Result<i64> {
    tier.collectors.iter().map(calls).sum()
}

#[tokio::test]
async fn both_spans_of_a_trace_meet_and_count_for_those_not_kept() -> Result<()> {
    let tier = Tier::start(100).await?;
    let proxies = Proxies::start(&tier, 0.25).await?;
    load(proxies.port(), "/", 400, 4).await?;
    let kept = proxies.delivered(400).await?;
    assert!((2..800).contains(&kept), "a share is kept: {kept}");

    let all = || async {
        let spans = tier.spans().ok()?;
        (spans.iter().map(Vec::len).sum::<usize>() == kept).then_some(spans)
    };
    let spans = wait_for("all kept spans in the tier", all).await?;
    for spans in &spans {
        assert!(!spans.is_empty(), "each collector has some");
        for (trace, count) in by_trace(spans) {
            assert_eq!(count, 2, "spans of {trace} at one collector");
        }
    }
    let expected = 4 * i64::try_from(kept)?;
    let counted = || async { (all_calls(&tier).ok()? == expected).then_some(()) };
    let counted = wait_for("calls as the thresholds say", counted).await;
    counted.with_context(|| format!("{expected} expected, counted {:?}", all_calls(&tier)))?;
    for collector in proxies.agents.iter().chain(&tier.collectors) {
        assert_eq!(collector.complaints(), Vec::<String>::new(), "a clean log");
    }
    Ok(())
}

#[tokio::test]
async fn a_trace_with_an_error_stays_whole_and_the_others_go() -> Result<()> {
    let tier = Tier::start(0).await?;
    let proxies = Proxies::start(&tier, 1.0).await?;
    load(proxies.port(), "/", 40, 2).await?;
    for _ in 0..20 {
        Call::get("/status/500").send(&Http::One, proxies.port()).await?;
    }
    proxies.delivered(60).await?;
    let all = || async {
        let spans = tier.spans().ok()?.concat();
        (spans.len() >= 40 && all_calls(&tier).ok()? == 120).then_some(spans)
    };
    let spans = wait_for("the errors kept, and all counted", all).await?;
    assert!(spans.iter().all(Span::is_error), "only errors are kept");
    assert_eq!(by_trace(&spans).into_values().collect::<Vec<_>>(), [2; 20], "both spans of each");
    Ok(())
}

#[tokio::test]
async fn the_collector_that_is_left_gets_both_spans_of_each_new_trace() -> Result<()> {
    let mut tier = Tier::start(100).await?;
    let proxies = Proxies::start(&tier, 1.0).await?;
    load(proxies.port(), "/", 40, 2).await?;
    proxies.delivered(40).await?;
    let both = || async {
        let spans = tier.spans().ok()?;
        spans.iter().all(|spans| !spans.is_empty()).then_some(())
    };
    wait_for("spans at both", both).await?;

    let leaving = tier.collectors.pop().context("two collectors")?;
    drop(leaving);
    tier.resolves_to(&ADDRESSES[..1])?;
    let trace = |number: u32| format!("{:032x}", 0xabc0_0000 + number);
    for number in 0..40 {
        let parent = format!("00-{}-00f067aa0ba902b7-01", trace(number));
        let call = Call::get("/").header("traceparent", parent);
        assert_eq!(call.send(&Http::One, proxies.port()).await?.status, 200);
    }
    proxies.delivered(80).await?;
    // The agents ask again for the name each second, which Go takes from a cache of five, and try again after up to five. With what
    // failed they send what had been taken of the same batch, so that spans may come several times.
    let patience = Duration::from_mins(1);
    let whole = || async {
        let spans = tier.collectors[0].spans().ok()?;
        let ids = |trace: &str| -> BTreeSet<String> {
            spans.iter().filter(|it| it.trace_id() == trace).map(Span::span_id).collect()
        };
        (0..40).all(|number| ids(&trace(number)).len() == 2).then_some(())
    };
    let waited = wait_within(patience, "both spans of each new trace", whole).await;
    waited.with_context(|| {
        let logs: Vec<_> = proxies.agents.iter().map(Collector::log).collect();
        logs.join("\n\n")
    })?;
    Ok(())
}
