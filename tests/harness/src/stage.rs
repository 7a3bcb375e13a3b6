//! The usual stage of a test: an Envoy with the filter between an upstream and a receiver.

use crate::client::{Call, Http};
use crate::{Bootstrap, Counters, Envoy, Receiver, Upstream};
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
        Ok(Counters::at_rest(self.envoy.admin_port(), started).await?.into_map())
    }

    /// As [`Stage::at_rest`], where rules keep requests when they have ended: the counters may tell of a start before they tell of the end, so
    /// one more request follows, which its caller has let go, of a trace of its own.
    ///
    /// # Errors
    /// As [`Stage::at_rest`], or that request is not answered.
    pub async fn at_rest_by_rules(&self, http: &Http, sent: u64) -> Result<BTreeMap<String, u64>> {
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";
        Call::get("/").header("traceparent", unsampled).send(http, self.port()).await?;
        self.at_rest(sent + 1).await
    }
}
