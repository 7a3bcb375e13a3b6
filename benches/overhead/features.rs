//! What each feature of the filter adds to a request: each in an Envoy of its own, beside one whose filter has the configuration `{}`, which
//! keeps every request. That one is there twice: what the second one adds is noise.

mod list;
mod report;

use crate::Bench;
use crate::scenarios::Scenario;
use crate::variants::{Kept, Running, Share, rest};
use anyhow::{Context, Result};
use harness::{Bootstrap, Receiver};
use list::{Feature, Place};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Measures all features.
pub(crate) async fn run(bench: &Bench, scenarios: &[&'static Scenario]) -> Result<()> {
    let base = std::env::var("BENCH_BASE").ok().filter(|path| !path.is_empty());
    let base = base.map(|path| std::fs::canonicalize(&path).context(path)).transpose()?;
    let features = list::all(base.is_some());
    let mut written = json!({});
    for scenario in scenarios {
        let mut running = Vec::new();
        for feature in &features {
            let of_base = feature.place == Place::ChainOfBase;
            let module = base.clone().filter(|_| of_base);
            running.push(start(feature, module, scenario, bench.upstream(scenario)).await?);
        }
        rest().await;
        let costs = bench.measure(scenario, &running).await?;
        let rows = report::rows(&features, &costs);
        report::print(scenario, &rows, bench.rounds);
        written[scenario.name] = report::json(&rows);
    }
    report::write(&written)
}

/// Starts the Envoy of a feature; with another module, if there is one.
async fn start(
    feature: &Feature,
    module: Option<PathBuf>,
    scenario: &Scenario,
    upstream: u16,
) -> Result<Running> {
    let sink = Receiver::start().await?;
    let mut bootstrap = bootstrap(feature, scenario, upstream, sink.port())?;
    if let Some(other) = module {
        let built = harness::module()?;
        bootstrap = bootstrap.replace(&built.to_string_lossy(), &other.to_string_lossy())?;
    }
    let requests = if feature.place == Place::Nowhere { Share::None } else { Share::All };
    let kept = Kept { requests, spans: feature.spans };
    Running::start(feature.name, kept, scenario, bootstrap, sink).await
}

fn bootstrap(
    feature: &Feature,
    scenario: &Scenario,
    upstream: u16,
    collector: u16,
) -> Result<Bootstrap> {
    let edge = Bootstrap::edge(upstream, collector)?.routes("ingress", scenario.routes())?;
    let edge = edge.filter("ingress", &feature.configuration.to_string())?;
    match feature.place {
        Place::Nowhere => edge.without_filter("ingress"),
        Place::Chain | Place::ChainOfBase => Ok(edge),
        Place::Cluster => in_clusters(edge)?.without_filter("ingress"),
        Place::ChainAndCluster => in_clusters(edge),
    }
}

/// Puts the filter with `{}` into the upstream's clusters, as `envoy/attempts.yaml` has it there.
fn in_clusters(mut edge: Bootstrap) -> Result<Bootstrap> {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    const CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
    let mut filter = edge.http_filter_of("ingress", "otel")?;
    let config = &mut filter["typed_config"]["config"];
    config["name"] = json!("otel-attempts");
    config["root_id"] = json!("otel-attempts");
    config["vm_config"]["vm_id"] = json!("otel-attempts");
    config["configuration"]["value"] = json!("{}");
    let codec = json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {"@type": format!("type.googleapis.com/{CODEC}")},
    });
    let clusters = [
        ("upstream", json!({"http_protocol_options": {}})),
        ("upstream_http2", json!({"http2_protocol_options": {}})),
    ];
    for (cluster, protocol) in clusters {
        let mut options = Value::default();
        options[OPTIONS] = json!({
            "@type": format!("type.googleapis.com/{OPTIONS}"),
            "explicit_http_config": protocol,
            "http_filters": [filter, codec],
        });
        edge = edge.cluster_part(cluster, "typed_extension_protocol_options", options)?;
    }
    Ok(edge)
}
