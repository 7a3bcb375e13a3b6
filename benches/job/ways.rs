//! The ways to do the job: each has two proxies in a row, an Envoy of one worker each, and a Collector of its own.

use crate::load::Client;
use crate::settings::Settings;
use anyhow::{Context, Result};
use harness::process::{MEASURED, pin};
use harness::{Bootstrap, Envoy, Receiver, TempDir, native, truth};
use interop::{Collector, peer};
use serde_json::{Value, json};
use std::path::PathBuf;
use tokio::process::Command;

/// A way to trace.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    tracer: Tracer,
    pub(crate) pipeline: Pipeline,
}

#[derive(Clone, Copy)]
enum Tracer {
    None,
    /// This filter, disabled: the same callbacks, which do nothing.
    Empty,
    /// Envoy's own, so many per cent.
    Native(f64),
    /// This filter: one per cent, and what its rules keep.
    Filter,
}

/// What the Collector does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipeline {
    /// There is none.
    None,
    /// Batches.
    Plain,
    /// It judges whole traces.
    TailSampling,
}

/// The way that says what requests cost by themselves.
pub(crate) const UNTRACED: &str = "untraced";
/// The way that says what a filter costs before it does anything.
pub(crate) const EMPTY: &str = "an empty filter";
pub(crate) const TAIL: &str = "Envoy's tracer, 100 %, tail sampling";
pub(crate) const FILTER: &str = "this filter, 1 % and keep rules";
pub(crate) const HEAD: &str = "Envoy's tracer, 1 %";

pub(crate) const WAYS: [Way; 5] = [
    Way { name: UNTRACED, tracer: Tracer::None, pipeline: Pipeline::None },
    Way { name: EMPTY, tracer: Tracer::Empty, pipeline: Pipeline::None },
    Way { name: TAIL, tracer: Tracer::Native(100.0), pipeline: Pipeline::TailSampling },
    Way { name: FILTER, tracer: Tracer::Filter, pipeline: Pipeline::Plain },
    Way { name: HEAD, tracer: Tracer::Native(1.0), pipeline: Pipeline::Plain },
];

/// How many proxies a request passes: so many spans a whole trace has.
pub(crate) const PROXIES: usize = 2;

/// What `envoy` says in the filter's configuration, of both proxies: above all, what keeps a request that the sampler let go.
pub(crate) fn envoy() -> Value {
    json!({"cluster": "otel_collector", "keep": [{"error": {}}, {"slower_than": 200}, {"callee_kept": {}}]})
}

impl Way {
    fn trace(&self, bootstrap: Bootstrap, listener: &str, place: &Place) -> Result<Bootstrap> {
        match self.tracer {
            Tracer::None => bootstrap.without_filter(listener),
            Tracer::Empty => bootstrap.filter(listener, &json!({"disabled": true}).to_string()),
            Tracer::Filter => {
                let root = json!({"trace_id_ratio_based": {"ratio": 0.01}});
                let provider = json!({"sampler": {"parent_based": {"root": root}}});
                let configuration = json!({"tracer_provider": provider, "envoy": place.envoy});
                bootstrap.filter(listener, &configuration.to_string())
            }
            Tracer::Native(percent) => {
                let tracing = native::tracing(listener, percent);
                let bootstrap = bootstrap.without_filter(listener)?;
                bootstrap.connection_manager(listener, "tracing", tracing)
            }
        }
    }
}

/// A way that runs.
pub(crate) struct Running {
    pub(crate) way: &'static Way,
    /// The proxy that clients call, and the one behind it.
    pub(crate) proxies: [Envoy; PROXIES],
    pub(crate) client: Client,
    pub(crate) collector: Option<Collector>,
    /// Where the Collector sends what it keeps.
    pub(crate) sink: Receiver,
    /// The access log of the first proxy.
    pub(crate) log: PathBuf,
    /// It holds the file, and goes with this.
    _folder: TempDir,
}

/// Where a way runs.
pub(crate) struct Place {
    /// The port of the service behind both proxies.
    service: u16,
    /// The port on which its Collector listens.
    pub(crate) collector: u16,
    /// `envoy` in the filter's configuration.
    envoy: Value,
}

impl Place {
    /// In front of this service, with a free port for the Collector.
    pub(crate) fn before(service: u16, envoy: Value) -> Result<Self> {
        Ok(Self { service, collector: harness::free_port()?, envoy })
    }
}

/// Starts a way.
pub(crate) async fn start(
    way: &'static Way,
    place: &Place,
    settings: &Settings,
) -> Result<Running> {
    let (sink, folder) = (Receiver::start_grpc().await?, harness::folder()?);
    let collector = collector(way.pipeline, place.collector, &sink, settings).await?;
    let log = folder.path().join("access.log");
    let batches = json!({
        // Those that this filter has.
        "tracing.opentelemetry.min_flush_spans": 512,
        "tracing.opentelemetry.flush_interval_ms": 1000,
    });
    // Without what the service calls: nobody calls it here.
    let second = Bootstrap::from_file("envoy/sidecar.yaml")?
        .without_filter("outbound")?
        .cluster("service", place.service)?
        .cluster("otel_collector", place.collector)?
        .runtime(batches.clone())?;
    let first = Bootstrap::edge(second.port("inbound"), place.collector)?
        .connection_manager("ingress", "access_log", truth::access_log(&log))?
        .runtime(batches)?;
    let first = way.trace(first, "ingress", place)?;
    let second = way.trace(second, "inbound", place)?;
    let mut proxies = Vec::new();
    for bootstrap in [first, second] {
        let envoy =
            Envoy::with_arguments(bootstrap, 1, &["--file-flush-interval-msec", "200"]).await?;
        pin(envoy.id().context("Envoy runs")?, MEASURED).await?;
        proxies.push(envoy);
    }
    let proxies: [Envoy; PROXIES] = proxies.try_into().ok().context("two proxies")?;
    let client = Client::of(proxies[0].port("ingress"));
    Ok(Running { way, proxies, client, collector, sink, log, _folder: folder })
}

/// A Collector that listens on this port.
pub(crate) async fn collector(
    pipeline: Pipeline,
    port: u16,
    sink: &Receiver,
    settings: &Settings,
) -> Result<Option<Collector>> {
    let file = match pipeline {
        Pipeline::None => return Ok(None),
        Pipeline::Plain => "benches/job/plain.yaml",
        Pipeline::TailSampling => "benches/job/tail-sampling.yaml",
    };
    // From the start on one core: by that it chooses how many threads it has.
    let mut command = Command::new("taskset");
    command.args(["-c", MEASURED]).arg(peer("collector-tiers", "collector")?);
    let variables = [
        ("OTLP_HTTP_PORT", port.to_string()),
        ("SINK_PORT", sink.port().to_string()),
        ("DECISION_WAIT", settings.decision_wait.as_secs().to_string()),
    ];
    Collector::run(command, &harness::root().join(file), &variables).await.map(Some)
}
