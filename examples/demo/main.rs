//! The whole thing on one machine, without Docker: a client, a front proxy, a service with its sidecar,
//! and a collector that prints each trace as a waterfall.
//!
//! `once` sends a request of each kind and ends; `stay` keeps everything up until Ctrl-C. The Envoys
//! run the configurations that are in `envoy/`, on free ports.

mod waterfall;

use anyhow::{Context, Result, bail};
use harness::client::{Call, Http};
use harness::{Bootstrap, Envoy, Receiver, Span, Upstream};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Longer than a span waits for its batch.
const QUIET: Duration = Duration::from_millis(1500);
/// Where `stay` listens, if the port is free.
const FRONT_PORT: u16 = 10000;

struct Demo {
    front: Envoy,
    sidecar: Envoy,
    /// None if the spans go to a collector of one's own.
    receiver: Option<Receiver>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mode = std::env::args().nth(1);
    match mode.as_deref() {
        Some("once") => once().await,
        Some("stay") => stay().await,
        _ => bail!("usage: demo once|stay"),
    }
}

impl Demo {
    async fn start(front_port: Option<u16>) -> Result<Self> {
        let upstream = Upstream::start().await?;
        let (receiver, collector) = if let Ok(address) = std::env::var("COLLECTOR") {
            (None, host_and_port(&address)?)
        } else {
            let receiver = Receiver::start().await?;
            let port = receiver.port();
            (Some(receiver), ("127.0.0.1".to_owned(), port))
        };
        let sidecar = Bootstrap::from_file("envoy/sidecar.yaml")?
            .cluster("service", upstream.port())?
            .cluster("service_http2", upstream.port())?
            .cluster_at("otel_collector", &collector.0, collector.1)?;
        let gone =
            json!({"name": "gone", "match": {"prefix": "/gone"}, "route": {"cluster": "gone"}});
        let mut front = Bootstrap::edge(sidecar.port("inbound"), collector.1)?
            .cluster_at("otel_collector", &collector.0, collector.1)?
            .cluster("gone", harness::free_port()?)?
            .route("ingress", gone)?;
        if let Some(port) = front_port {
            front = front.listener_port("ingress", port)?;
        }
        let sidecar = sidecar
            .cluster("elsewhere", front.port("ingress"))?
            .cluster("elsewhere_http2", front.port("ingress"))?;
        let (front, sidecar) = (Envoy::start(front).await?, Envoy::start(sidecar).await?);
        Ok(Self { front, sidecar, receiver })
    }

    /// The calls of the demonstration: what it shows, the call, and the port that it goes to.
    fn calls(&self) -> Vec<(&'static str, Call, u16)> {
        let front = self.front.port("ingress");
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        vec![
            ("a request from outside", Call::get("/users"), front),
            (
                "a client that traces: its trace goes on",
                Call::get("/users").header("traceparent", parent),
                front,
            ),
            (
                "a call that the service makes: its sidecar adds a CLIENT span",
                Call::get("/invoices"),
                self.sidecar.port("outbound"),
            ),
            ("not found: no error of the server", Call::get("/status/404"), front),
            ("a failure behind both proxies", Call::get("/status/500"), front),
            ("a slow answer", Call::get("/delay/150"), front),
            ("an upstream that is gone", Call::get("/gone"), front),
            ("gRPC", Call::grpc("/shop.Cart/Get"), front),
            ("gRPC that fails", Call::grpc("/shop.Cart/Unavailable"), front),
            ("a secret in the query", Call::get("/files?sig=c2VjcmV0&page=2"), front),
        ]
    }

    /// Waits until the spans that are still on their way have come.
    async fn settled(receiver: &Receiver, count: usize) -> Vec<Span> {
        // Fewer than expected are shown as they are.
        let _ = receiver.wait_for_spans(count).await;
        tokio::time::sleep(QUIET).await;
        receiver.spans()
    }
}

async fn once() -> Result<()> {
    let demo = Demo::start(None).await?;
    let mut expected = 0;
    let mut sent = Vec::new();
    for (what, call, port) in demo.calls() {
        let version = if what.starts_with("gRPC") { Http::Two } else { Http::One };
        let reply = call.send(&version, port).await?;
        sent.push((what, reply.status));
        expected += 1;
    }
    let Some(receiver) = &demo.receiver else {
        tokio::time::sleep(QUIET).await;
        println!("{expected} requests were sent; look for their traces in your collector.");
        return Ok(());
    };
    // Each goes through two proxies; the one that is gone through one, the service's own call
    // through three.
    let spans = Demo::settled(receiver, expected * 2).await;
    let mut traces = waterfall::traces(&spans);
    for (what, status) in sent {
        println!("\n{}", waterfall::heading(&format!("{what} ({status})")));
        if traces.is_empty() {
            bail!("a trace is missing");
        }
        print!("{}", waterfall::draw(&traces.remove(0)));
    }
    if !traces.is_empty() {
        bail!("{} traces more than requests", traces.len());
    }
    println!(
        "\nTry next: `make run` keeps this up for requests of your own; `COLLECTOR=127.0.0.1:4318 make demo` \
         sends the spans to your collector; README.md says how to load the filter into your Envoy."
    );
    Ok(())
}

async fn stay() -> Result<()> {
    let free = std::net::TcpListener::bind(("127.0.0.1", FRONT_PORT)).is_ok();
    let demo = Demo::start(free.then_some(FRONT_PORT)).await?;
    println!(
        "The front proxy listens on http://127.0.0.1:{}; Ctrl-C ends all. Try /users, /status/500, /delay/300, /gone.",
        demo.front.port("ingress")
    );
    let mut shown = BTreeSet::new();
    loop {
        tokio::select! {
            end = tokio::signal::ctrl_c() => return end.context("waiting for Ctrl-C"),
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
        }
        let Some(receiver) = &demo.receiver else { continue };
        // A trace is shown when nothing came for a while: both proxies have sent their part.
        let before = receiver.spans().len();
        tokio::time::sleep(QUIET).await;
        let spans = receiver.spans();
        if spans.len() == before && !spans.is_empty() {
            for trace in waterfall::traces(&spans) {
                if shown.insert(trace.id()) {
                    println!("\n{}", waterfall::heading(&trace.id()));
                    print!("{}", waterfall::draw(&trace));
                }
            }
            receiver.clear();
        }
    }
}

/// Where a collector of one's own is.
fn host_and_port(address: &str) -> Result<(String, u16)> {
    let parts = address.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.with_context(|| format!("COLLECTOR={address}: host:port is accepted"))
}
