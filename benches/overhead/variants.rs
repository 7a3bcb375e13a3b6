//! The ways to trace that are compared, each in an Envoy of its own, as in production: in one process they share caches and
//! allocators, and what is measured of one depends on the others.

use crate::scenarios::{Parent, Protocol, Scenario};
use anyhow::{Context, Result, ensure};
use harness::client::{Call, Http};
use harness::process::{MEASURED, pin};
use harness::{Bootstrap, Envoy, Receiver};
use serde_json::{Value, json};
use std::time::Duration;

/// A way to trace.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    tracer: Tracer,
    /// What is kept of requests without a parent.
    root: Share,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracer {
    None,
    Native,
    /// This filter, disabled: the same callbacks, which do nothing.
    Empty,
    /// This filter, its settings but for the sampler those that it has by default, or with one of them changed.
    Filter(Setting),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Default,
    DetailsOfFailures,
    Gzip,
    PassThrough,
}

/// What is kept.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) requests: Share,
    /// So many spans of each.
    pub(crate) spans: u64,
}

/// Which requests are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    None,
    OneInHundred,
    All,
}

/// The variant that all others are compared with.
pub(crate) const UNTRACED: &str = "untraced";
/// The variant that says what a filter costs before it does anything.
pub(crate) const EMPTY: &str = "an empty filter";

pub(crate) const VARIANTS: [Variant; 10] = [
    Variant { name: UNTRACED, tracer: Tracer::None, root: Share::None },
    Variant { name: "Envoy's tracer, 100 %", tracer: Tracer::Native, root: Share::All },
    Variant { name: "Envoy's tracer, 1 %", tracer: Tracer::Native, root: Share::OneInHundred },
    Variant { name: EMPTY, tracer: Tracer::Empty, root: Share::None },
    Variant {
        name: "this filter, 100 %, details of failures",
        tracer: Tracer::Filter(Setting::DetailsOfFailures),
        root: Share::All,
    },
    Variant {
        name: "this filter, 100 %",
        tracer: Tracer::Filter(Setting::Default),
        root: Share::All,
    },
    Variant {
        name: "this filter, 100 %, gzip",
        tracer: Tracer::Filter(Setting::Gzip),
        root: Share::All,
    },
    Variant {
        name: "this filter, 1 %",
        tracer: Tracer::Filter(Setting::Default),
        root: Share::OneInHundred,
    },
    Variant {
        name: "this filter, 0 %",
        tracer: Tracer::Filter(Setting::Default),
        root: Share::None,
    },
    Variant {
        name: "this filter, 0 %, pass_through",
        tracer: Tracer::Filter(Setting::PassThrough),
        root: Share::None,
    },
];

impl Variant {
    /// Which requests of a scenario it keeps. A sampled parent decides for this filter; Envoy's tracer keeps its share of those
    /// requests, too. Neither keeps one whose parent was let go.
    pub(crate) fn keeps(&self, scenario: &Scenario) -> Share {
        match (scenario.parent, self.tracer) {
            (Parent::Unsampled, _) | (_, Tracer::None | Tracer::Empty) => Share::None,
            (Parent::Sampled, Tracer::Filter(_)) => Share::All,
            (Parent::None, _) | (_, Tracer::Native) => self.root,
        }
    }

    /// Envoy's tracer with the same share, where both keep as many of the requests: another ratio would say nothing.
    pub(crate) fn rival(&self, scenario: &Scenario) -> Option<&'static str> {
        let is_filter = matches!(self.tracer, Tracer::Filter(_));
        let mut rivals = VARIANTS.iter().filter(|other| {
            other.tracer == Tracer::Native
                && other.root == self.root
                && other.keeps(scenario) == self.keeps(scenario)
        });
        rivals.next().filter(|_| is_filter).map(|rival| rival.name)
    }

    /// Whether it is compared with the empty filter: where little is kept, a filter's own price is most of what it costs.
    pub(crate) fn is_beside_empty(&self) -> bool {
        matches!(self.tracer, Tracer::Filter(_)) && self.root != Share::All
    }

    fn bootstrap(&self, scenario: &Scenario, upstream: u16, collector: u16) -> Result<Bootstrap> {
        let bootstrap = Bootstrap::edge(upstream, collector)?
            .routes("ingress", scenario.routes())?
            // The batches of Envoy's tracer are those that this filter has.
            .runtime(json!({
                "tracing.opentelemetry.min_flush_spans": 512,
                "tracing.opentelemetry.flush_interval_ms": 1000,
            }))?;
        match self.tracer {
            Tracer::None => bootstrap.without_filter("ingress"),
            Tracer::Native => {
                let percent = if self.root == Share::All { 100.0 } else { 1.0 };
                bootstrap.native_tracer("ingress", percent)
            }
            Tracer::Empty => bootstrap.filter("ingress", &json!({"disabled": true}).to_string()),
            Tracer::Filter(setting) => {
                bootstrap.filter("ingress", &configuration(self.root, setting).to_string())
            }
        }
    }
}

/// The filter's configuration.
fn configuration(root: Share, setting: Setting) -> Value {
    let root = match root {
        Share::All => json!({"always_on": null}),
        Share::OneInHundred => json!({"trace_id_ratio_based": {"ratio": 0.01}}),
        Share::None => json!({"trace_id_ratio_based": {"ratio": 0.0}}),
    };
    let compression = if setting == Setting::Gzip { "gzip" } else { "none" };
    let details = if setting == Setting::DetailsOfFailures { "failures" } else { "always" };
    let unsampled = if setting == Setting::PassThrough { "pass_through" } else { "inject" };
    json!({
        "tracer_provider": {
            "processors": [{"batch": {"exporter": {"otlp_http": {"compression": compression}}}}],
            "sampler": {"parent_based": {"root": root}},
        },
        "envoy": {"cluster": "otel_collector", "details": details, "unsampled": unsampled},
    })
}

/// An Envoy under load.
pub(crate) struct Running {
    pub(crate) name: &'static str,
    pub(crate) kept: Kept,
    pub(crate) envoy: Envoy,
    /// Its process.
    pub(crate) id: u32,
    /// Its collector.
    pub(crate) sink: Receiver,
}

impl Running {
    /// Starts an Envoy that sends its spans to this collector.
    pub(crate) async fn start(
        name: &'static str,
        kept: Kept,
        scenario: &Scenario,
        bootstrap: Bootstrap,
        sink: Receiver,
    ) -> Result<Self> {
        let envoy = Envoy::start(bootstrap).await.context(name)?;
        let id = envoy.id().context("Envoy runs")?;
        pin(id, MEASURED).await?;
        if scenario.protocol == Protocol::Grpc {
            answers_grpc(scenario, envoy.port("ingress")).await?;
        }
        Ok(Self { name, kept, envoy, id, sink })
    }
}

/// Starts all variants, and leaves them alone until they have come to rest.
pub(crate) async fn start(scenario: &Scenario, upstream: u16) -> Result<Vec<Running>> {
    let mut all = Vec::new();
    for variant in &VARIANTS {
        let sink = Receiver::start().await?;
        let bootstrap = variant.bootstrap(scenario, upstream, sink.port())?;
        let kept = Kept { requests: variant.keeps(scenario), spans: 1 };
        all.push(Running::start(variant.name, kept, scenario, bootstrap, sink).await?);
    }
    rest().await;
    Ok(all)
}

/// Processes that have started come to rest.
pub(crate) async fn rest() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// The load tool sees a status of HTTP alone, which is 200 for a call that failed, too.
async fn answers_grpc(scenario: &Scenario, port: u16) -> Result<()> {
    let reply = Call::grpc(scenario.path()).send(&Http::Two, port).await?;
    let is_ok = reply.trailers.get("grpc-status").is_some_and(|status| status == "0");
    ensure!(is_ok, "a call of gRPC failed: {reply:?}");
    Ok(())
}
