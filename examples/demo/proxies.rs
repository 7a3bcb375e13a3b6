//! The two Envoys: `edge`, a front proxy, and `shop`, the sidecar of a service. They run the configurations that are in `envoy/`, on
//! free ports; what is changed stands here.

use crate::settings::Collector;
use anyhow::Result;
use harness::client::{Call, Http};
use harness::{Bootstrap, Envoy};
use serde_json::json;
use std::time::Duration;

/// How long a span waits for its batch here. It would be a second.
pub(crate) const SCHEDULE_DELAY: Duration = Duration::from_millis(200);

/// A proxy of the demonstration.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its `service.name`.
    pub(crate) name: &'static str,
    pub(crate) envoy: Envoy,
    /// The listeners whose requests become spans, which their counters are named after.
    pub(crate) listeners: &'static [&'static str],
}

/// Both of them. They end with this value.
#[derive(Debug)]
pub(crate) struct Proxies {
    pub(crate) edge: Proxy,
    pub(crate) shop: Proxy,
}

impl Proxies {
    /// Starts them before this service. The spans go to this collector.
    pub(crate) async fn start(
        front_port: u16,
        service: u16,
        collector: &Collector,
    ) -> Result<Self> {
        let shop = Bootstrap::from_file("envoy/sidecar.yaml")?
            .cluster("service", service)?
            .cluster("service_http2", service)?
            .cluster("elsewhere", front_port)?
            .cluster("elsewhere_http2", front_port)?;
        let gone =
            json!({"name": "gone", "match": {"prefix": "/gone"}, "route": {"cluster": "gone"}});
        let edge = Bootstrap::edge(shop.port("inbound"), collector.port)?
            .listener_port("ingress", front_port)?
            .cluster("gone", harness::free_port()?)?
            .route("ingress", gone)?;
        let [edge_listeners, shop_listeners]: [&[&str]; 2] =
            [&["ingress"], &["inbound", "outbound"]];
        let edge = with_collector(edge, edge_listeners, collector)?;
        let shop = with_collector(shop, shop_listeners, collector)?;
        let (edge, shop) = tokio::try_join!(Envoy::in_own_group(edge), Envoy::in_own_group(shop))?;
        Ok(Self {
            edge: Proxy { name: "edge", envoy: edge, listeners: edge_listeners },
            shop: Proxy { name: "shop", envoy: shop, listeners: shop_listeners },
        })
    }

    /// Where requests come in from outside.
    pub(crate) fn front_port(&self) -> u16 {
        self.edge.envoy.port("ingress")
    }

    /// Where the calls of the service come in.
    pub(crate) fn service_port(&self) -> u16 {
        self.shop.envoy.port("outbound")
    }

    /// Both, from the outside in.
    pub(crate) fn all(&self) -> [&Proxy; 2] {
        [&self.edge, &self.shop]
    }

    /// The addresses whose requests become spans.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let ports = self
            .all()
            .into_iter()
            .flat_map(|it| it.listeners.iter().map(|listener| it.envoy.port(listener)));
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// No more requests come in from outside: nobody can connect, and the next answer on a connection closes it.
    pub(crate) async fn close(&self) -> Result<()> {
        for path in ["/healthcheck/fail", "/drain_listeners"] {
            Call::get(path).method("POST").send(&Http::One, self.edge.envoy.admin_port()).await?;
        }
        Ok(())
    }
}

fn with_collector(
    mut bootstrap: Bootstrap,
    listeners: &[&str],
    collector: &Collector,
) -> Result<Bootstrap> {
    let delay = SCHEDULE_DELAY.as_millis().to_string();
    let soon = json!({"key_values": {"OTEL_BSP_SCHEDULE_DELAY": delay}});
    for listener in listeners {
        let (parent, key) = ("/config/vm_config", "environment_variables");
        bootstrap = bootstrap.wasm(listener, parent, key, soon.clone())?;
    }
    let bootstrap = bootstrap.cluster_at("otel_collector", &collector.host, collector.port)?;
    // `localhost` is 127.0.0.1, though it be ::1 too.
    bootstrap.cluster_part("otel_collector", "dns_lookup_family", json!("V4_PREFERRED"))
}
