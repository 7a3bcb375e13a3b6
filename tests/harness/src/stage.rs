//! The usual stage of a test: an Envoy with the filter between an upstream and a receiver.

use crate::{Bootstrap, Envoy, Receiver, Upstream};
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;

/// An Envoy from `envoy/envoy.yaml`, and what it talks to.
#[derive(Debug)]
pub struct Stage {
    /// The proxy.
    pub envoy: Envoy,
    /// The service behind it.
    pub upstream: Upstream,
    /// Who gets the spans.
    pub collector: Receiver,
}

/// The prefix that Envoy gives to a filter's counters.
const PREFIX: &str = "wasmcustom.otel.sdk.";

impl Stage {
    /// Starts all three; `change` may alter Envoy's configuration.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(change: impl FnOnce(Bootstrap) -> Result<Bootstrap>) -> Result<Self> {
        let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
        // Spans come soon where the configuration does not say when.
        let soon = json!({"key_values": {"OTEL_BSP_SCHEDULE_DELAY": "50"}});
        let edge = Bootstrap::edge(upstream.port(), collector.port())?;
        let edge = edge.wasm("ingress", "/config/vm_config", "environment_variables", soon)?;
        let bootstrap = change(edge)?;
        Ok(Self { envoy: Envoy::start(bootstrap).await?, upstream, collector })
    }

    /// The port of the listener that clients call.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.envoy.port("ingress")
    }

    /// Waits until nothing is queued or in flight and every kept span is accounted for, and gives
    /// the filter's counters without their prefix.
    ///
    /// # Errors
    /// The counters don't add up in time.
    pub async fn at_rest(&self, started: u64) -> Result<BTreeMap<String, u64>> {
        let condition = |stats: &BTreeMap<String, u64>| {
            let ours = ours(stats);
            let of = |name: &str| ours.get(name).copied().unwrap_or_default();
            let sum = |part: &str| {
                let parts = ours.iter().filter(|(name, _)| name.contains(part));
                parts.map(|(_, value)| value).sum::<u64>()
            };
            let settled = of("exporter.span.exported")
                + of("exporter.span.rejected")
                + sum("exporter.span.failed.")
                + sum("processor.span.dropped.");
            of("span.started") == started
                && of("exporter.span.queued") == 0
                && of("exporter.span.inflight") == 0
                && of("span.sampled") == settled
        };
        let stats = self.envoy.wait_for_stats("the counters to add up", condition).await?;
        Ok(ours(&stats))
    }
}

fn ours(stats: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let ours = stats
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), *value)));
    ours.collect()
}
