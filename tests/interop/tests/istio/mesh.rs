//! The mesh of the tests: a gateway, a service with a sidecar, a collector, and an image registry.
//!
//! A request goes from the gateway to the sidecar's outbound listener, as if a service behind the gateway had made
//! it, from there to its inbound listener, and to the service.

use anyhow::{Context, Result};
use harness::client::{Call, Http, Reply};
use harness::{Upstream, free_port, wait_for};
use interop::istio::{ControlPlane, Proxy, Role};
use interop::registry::RELEASED;
use interop::{Collector, Registry};
use serde_json::{Value, json};

/// A running mesh.
pub(crate) struct Mesh {
    pub(crate) control_plane: ControlPlane,
    pub(crate) gateway: Proxy,
    pub(crate) sidecar: Proxy,
    pub(crate) upstream: Upstream,
    pub(crate) collector: Collector,
    pub(crate) registry: Registry,
    pub(crate) port: u16,
}

/// A file of `examples/istio`.
pub(crate) fn example(name: &str) -> Result<String> {
    let path = harness::root().join("examples/istio").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

impl Mesh {
    /// Starts one with these files of `examples/istio` applied, and waits until requests pass.
    pub(crate) async fn start(plugins: &[&str]) -> Result<Self> {
        let upstream = Upstream::start().await?;
        let collector = Collector::start().await?;
        let registry = Registry::start().await?;
        registry.push().await?;
        let control_plane = ControlPlane::start().await?;
        for namespace in ["shop", "observability"] {
            control_plane.kubectl(&["create", "namespace", namespace], "").await?;
        }
        let ports = Ports {
            gateway: free_port()?,
            outbound: free_port()?,
            inbound: free_port()?,
            service: upstream.port(),
            collector: collector.http_port(),
        };
        for name in ["telemetry.yaml", "collector.yaml"] {
            // The name space is there already.
            control_plane.apply(&example(name)?).await.context(name.to_owned())?;
        }
        control_plane.apply(&topology(&ports)).await?;
        for name in plugins {
            let file = example(name)?;
            assert!(file.contains(&format!("oci://{RELEASED}")), "{name} names the image");
            let file = file.replace(RELEASED, &registry.image());
            // The service that is called.
            let file = file.replace("cart.shop.svc.cluster.local", "shop.example.com");
            control_plane.apply(&file).await.context((*name).to_owned())?;
        }
        let gateway = control_plane.proxy(Role::Gateway, "gateway", "istio-system").await?;
        let sidecar = control_plane.proxy(Role::Sidecar, "shop", "shop").await?;
        let port = ports.gateway;
        let mesh = Self { control_plane, gateway, sidecar, upstream, collector, registry, port };
        mesh.serves().await?;
        Ok(mesh)
    }

    /// Waits until requests pass through the filter of every proxy, and all that was counted until then has come.
    pub(crate) async fn serves(&self) -> Result<()> {
        let passes = || async {
            let call = Call::get("/warm-up").header("traceparent", UNSAMPLED);
            let reply = self.send(call).await.ok()?;
            let traced = self.upstream.seen().pop()?;
            let parent = traced.headers.get("traceparent")?.to_str().ok()?;
            (reply.status == 200 && parent != UNSAMPLED).then_some(())
        };
        let waited = wait_for("a request to pass", passes).await;
        waited.with_context(|| format!("{}\n{}", self.gateway.log(), self.sidecar.log()))
    }

    /// Sends a request to the gateway.
    pub(crate) async fn send(&self, call: Call) -> Result<Reply> {
        call.send(&Http::One, self.port).await
    }

    /// Changes the gateway's `WasmPlugin`, as `kubectl patch` does.
    pub(crate) async fn patch(&self, spec: Value) -> Result<()> {
        let patch = json!({"spec": spec}).to_string();
        let plugin = ["wasmplugin", "otel", "--namespace", "istio-system"];
        let arguments = [&["patch"], &plugin[..], &["--type", "merge", "--patch", &patch]].concat();
        self.control_plane.kubectl(&arguments, "").await.map(drop)
    }
}

/// A parent that is not sampled: what is sent before a test begins leaves no span.
pub(crate) const UNSAMPLED: &str = "00-00000000000000000000000000000001-0000000000000001-00";

struct Ports {
    gateway: u16,
    outbound: u16,
    inbound: u16,
    service: u16,
    collector: u16,
}

/// What a cluster would have, and the examples can't know.
fn topology(ports: &Ports) -> String {
    let entry = |name: &str, host: &str, port: u16, target: u16| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "hosts": [host], "location": "MESH_INTERNAL", "resolution": "STATIC",
                "ports": [{"number": port, "name": "http", "protocol": "HTTP", "targetPort": target}],
                "endpoints": [{"address": "127.0.0.1"}],
            },
        })
    };
    let manifests = [
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "gateway", "namespace": "istio-system"},
            "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
                "bind": "127.0.0.1", "hosts": ["*"],
                "port": {"number": ports.gateway, "name": "http", "protocol": "HTTP"},
            }]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "shop", "namespace": "istio-system"},
            "spec": {"hosts": ["*"], "gateways": ["gateway"], "http": [{
                "name": "to-the-shop",
                "rewrite": {"authority": "shop.example.com"},
                "route": [{"destination": {"host": "caller.example.com", "port": {"number": 80}}}],
            }]},
        }),
        // There is nobody here to issue certificates.
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": "istio-system"},
            "spec": {"mtls": {"mode": "DISABLE"}},
        }),
        // Who calls the shop from inside the mesh: its requests come to the sidecar's outbound listener.
        entry("caller", "caller.example.com", 80, ports.outbound),
        entry("shop", "shop.example.com", ports.outbound, ports.inbound),
        // No traffic is taken by iptables, so that the sidecar has to be told what to listen on.
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "workloadSelector": {"labels": {"app": "shop"}},
                "ingress": [{
                    "bind": "127.0.0.1", "captureMode": "NONE",
                    "port": {"number": ports.inbound, "name": "http", "protocol": "HTTP"},
                    "defaultEndpoint": format!("127.0.0.1:{}", ports.service),
                }],
                "egress": [
                    {
                        "bind": "127.0.0.1", "captureMode": "NONE", "hosts": ["./*"],
                        "port": {"number": ports.outbound, "name": "http", "protocol": "HTTP"},
                    },
                    {"captureMode": "NONE", "hosts": ["observability/*"]},
                ],
            },
        }),
        // The pod of the collector, which its Service selects.
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": "otel-collector", "namespace": "observability"},
            "spec": {
                "address": "127.0.0.1", "labels": {"app": "otel-collector"},
                "ports": {"http-otlp": ports.collector},
            },
        }),
    ];
    let manifests = manifests.iter().map(Value::to_string);
    manifests.collect::<Vec<_>>().join("\n---\n")
}
