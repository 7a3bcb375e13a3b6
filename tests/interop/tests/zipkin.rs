//! A trace of `examples/docker-compose` on a page: Zipkin stands where Jaeger does, a headless Chromium opens the trace.
//!
//! The example's files run here without containers, on free ports of loopback. Zipkin takes no OTLP, so an older Collector
//! translates for it; it writes names in lower case. Its pictures are left in `target/tmp/`; those of the documentation are copies.

use anyhow::{Context, Result, ensure};
use harness::client::{Call, Http};
use harness::{Bootstrap, Envoy, client, free_port, wait_for};
use interop::chromium::{Chromium, Window};
use interop::{Collector, Process, peer};
use serde_json::{Value, json};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

const EXAMPLE: &str = "examples/docker-compose";

/// Of the page and of a picture, which is shown some 830 pixels wide. The page leaves out the rows that it has no room for.
const WINDOW: Window = Window { width: 1060, height: 700, scale: 1.25 };

struct Case {
    reason: &'static str,
    /// What the customer asks the edge for, and what becomes of it.
    path: &'static str,
    status: u16,
    /// How many services have a part in it.
    services: &'static str,
    /// The page's rows: a service and the name of its span.
    rows: &'static [&'static str],
    /// What the page shows of the root's status.
    error: Option<&'static str>,
    /// What of it is kept as a picture.
    picture: Option<Picture>,
}

struct Picture {
    file: &'static str,
    /// The row whose attributes are shown, and its path among them; without, rows take the window's whole width.
    opened: Option<(&'static str, &'static str)>,
    /// From where to where, below the page's head.
    heights: Range<u32>,
}

const CASES: [Case; 4] = [
    Case {
        reason: "what the orders don't know goes no further",
        path: "/nowhere",
        status: 404,
        services: "2",
        rows: &["edge: get", "orders: get"],
        error: None,
        picture: None,
    },
    Case {
        reason: "one that asks the stock by gRPC",
        path: "/count",
        status: 200,
        services: "3",
        rows: &["edge: get", "orders: get", "orders: shop.stock/count", "stock: shop.stock/count"],
        error: None,
        picture: None,
    },
    Case {
        reason: "an order that goes well",
        path: "/orders/apple",
        status: 200,
        services: "3",
        rows: &["edge: get", "orders: get", "orders: get", "stock: get"],
        error: None,
        picture: Some(Picture { file: "trace-healthy.png", opened: None, heights: 70..332 }),
    },
    Case {
        reason: "an order that fails",
        path: "/orders/plum",
        status: 502,
        services: "3",
        rows: &["edge: get", "orders: get", "orders: get", "stock: get"],
        error: Some("true"),
        picture: Some(Picture {
            file: "trace.png",
            opened: Some(("stock: get", "/stock/plum")),
            heights: 70..657,
        }),
    },
];

#[tokio::test]
async fn the_page_shows_services_and_spans_in_order() -> Result<()> {
    let zipkin = Zipkin::start().await?;
    let collector = collector(&zipkin).await?;
    let shop = Shop::start(collector.http_port()).await?;
    let port = shop.edge.port("ingress");
    // The first requests take longer than those that a picture is to show.
    for _ in 0..20 {
        Call::get("/orders/unicorn").send(&Http::One, port).await?;
    }

    let mut chromium = Chromium::start(WINDOW).await?;
    for case in CASES {
        let reply = Call::get(case.path).send(&Http::One, port).await?;
        assert_eq!(reply.status, case.status, "{}", case.reason);
        let url = zipkin.page(case.path, case.rows.len()).await.context(case.reason)?;
        chromium.open(&url).await?;
        let texts = chromium.wait_for("url.path").await.context(case.reason)?;
        let (title, rows) = (case.rows[0], case.rows);
        assert_eq!(spans(&texts), [&[title], rows].concat(), "{}: {texts:#?}", case.reason);
        assert_eq!(after(&texts, "Services"), Some(case.services), "{}", case.reason);
        assert_eq!(after(&texts, "error"), case.error, "{}: {texts:#?}", case.reason);
        assert_eq!(after(&texts, "url.path"), Some(case.path), "{}", case.reason);
        if let Some(picture) = case.picture {
            take(picture, &mut chromium).await.context(case.reason)?;
        }
    }

    assert_eq!(shop.complaints(), Vec::<String>::new(), "the Envoys' logs are clean");
    assert_eq!(collector.complaints(), Vec::<String>::new(), "the Collector's log is clean");
    Ok(())
}

/// Takes a picture of the page.
async fn take(picture: Picture, chromium: &mut Chromium) -> Result<()> {
    chromium.click("Close mini timeline").await?;
    match picture.opened {
        Some((row, path)) => {
            chromium.click(row).await?;
            chromium.scroll_to("Tags").await?;
            let texts = chromium.texts().await?;
            assert_eq!(after(&texts, "url.path"), Some(path), "{texts:#?}");
        }
        None => chromium.click("Close span detail").await?,
    }
    let png = chromium.picture(picture.heights).await?;
    assert!(png.len() > 20_000, "{} bytes: a page with nothing on it", png.len());
    Ok(fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(picture.file), png)?)
}

/// The texts that name a span, `SERVICE: NAME`: the title, which is the root's, and the rows.
fn spans(texts: &[String]) -> Vec<&str> {
    let of_ours = |text: &&str| {
        let service = text.split_once(": ").map(|(service, _)| service);
        service.is_some_and(|it| ["edge", "orders", "stock"].contains(&it))
    };
    texts.iter().map(String::as_str).filter(of_ours).collect()
}

/// The text that follows a label.
fn after<'a>(texts: &'a [String], label: &str) -> Option<&'a str> {
    let place = texts.iter().position(|text| text == label)?;
    texts.get(place + 1).map(String::as_str)
}

/// Zipkin, and before it the Collector that it understands.
struct Zipkin {
    port: u16,
    otlp_grpc_port: u16,
    _processes: [Process; 2],
    _folder: TempDir,
}

impl Zipkin {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [port, otlp_grpc_port, health_port] = [free_port()?, free_port()?, free_port()?];
        let mut command = Command::new("java");
        command.arg("-Xmx512m").arg("-jar").arg(peer("zipkin", "zipkin.jar")?);
        command.arg("--armeria.ports[0].ip=127.0.0.1");
        command.arg(format!("--armeria.ports[0].port={port}"));
        command.arg("--armeria.ports[0].protocols[0]=http");
        let mut zipkin = Process::start("zipkin", &mut command, folder.path())?;
        zipkin.wait_until("Zipkin to be healthy", || healthy(port, "/health")).await?;

        let mut command = Command::new(peer("collector-zipkin", "collector")?);
        command.arg("--config").arg(harness::root().join("tests/interop/zipkin.yaml"));
        command.env("HEALTH_PORT", health_port.to_string());
        command.env("OTLP_GRPC_PORT", otlp_grpc_port.to_string());
        command.env("ZIPKIN_PORT", port.to_string());
        let mut collector = Process::start("collector-zipkin", &mut command, folder.path())?;
        let poll = || healthy(health_port, "/");
        collector.wait_until("Zipkin's Collector to be healthy", poll).await?;
        Ok(Self { port, otlp_grpc_port, _processes: [zipkin, collector], _folder: folder })
    }

    /// Waits until all spans of a request to the edge are there, and gives the URL of their trace.
    async fn page(&self, path: &str, spans: usize) -> Result<String> {
        let query = format!("/api/v2/traces?serviceName=edge&annotationQuery=url.path={path}");
        let whole = || async {
            let reply = client::get(self.port, &query).await.ok()?;
            let traces: Vec<Vec<Value>> = serde_json::from_slice(&reply.body).ok()?;
            let trace = traces.into_iter().find(|trace| trace.len() == spans)?;
            Some(trace[0]["traceId"].as_str()?.to_owned())
        };
        let trace = wait_for(&format!("a trace of {spans} spans in Zipkin"), whole).await?;
        Ok(format!("http://127.0.0.1:{}/zipkin/traces/{trace}", self.port))
    }
}

async fn healthy(port: u16, path: &str) -> Option<()> {
    let reply = client::get(port, path).await;
    reply.is_ok_and(|reply| reply.status == 200).then_some(())
}

/// The example's Collector, with Zipkin in Jaeger's place.
async fn collector(zipkin: &Zipkin) -> Result<Collector> {
    let folder = tempfile::tempdir()?;
    let jaeger = format!("127.0.0.1:{}", zipkin.otlp_grpc_port);
    let changes = [
        ("0.0.0.0:13133", "127.0.0.1:${env:HEALTH_PORT}"),
        ("0.0.0.0:4318", "127.0.0.1:${env:OTLP_HTTP_PORT}"),
        ("jaeger:4317", &jaeger),
        // Its own metrics would take a fixed port.
        ("service:\n", "service:\n  telemetry:\n    metrics:\n      level: none\n"),
    ];
    let file = changed("collector.yaml", &changes, folder.path())?;
    Collector::with(&file, &[]).await
}

/// The example's edge, and its two services with an Envoy beside each.
struct Shop {
    edge: Envoy,
    sidecars: [Envoy; 2],
    _services: [Process; 2],
    _folder: TempDir,
}

impl Shop {
    async fn start(collector: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let changes =
            [("0.0.0.0", "127.0.0.1"), ("/etc/envoy/otel-proxy-wasm", "dist/otel-proxy-wasm")];
        let bootstrap = |file: &str| -> Result<Bootstrap> {
            let file = changed(file, &changes, folder.path())?;
            let path = file.to_str().context("a path in UTF-8")?;
            Bootstrap::from_file(path)?.cluster("otel_collector", collector)
        };
        let sidecar = bootstrap("sidecar.yaml")?;
        let (stock, orders) = (sidecar.clone(), sidecar.beside()?);
        let port = stock.port("inbound");
        let (stock, stock_service) = beside("stock", stock, port, folder.path()).await?;
        let (orders, orders_service) = beside("orders", orders, port, folder.path()).await?;
        let edge = bootstrap("edge.yaml")?.cluster("orders", orders.port("inbound"))?;
        Ok(Self {
            edge: Envoy::start(edge).await?,
            sidecars: [orders, stock],
            _services: [orders_service, stock_service],
            _folder: folder,
        })
    }

    fn complaints(&self) -> Vec<String> {
        let [orders, stock] = &self.sidecars;
        [&self.edge, orders, stock].into_iter().flat_map(Envoy::complaints).collect()
    }
}

/// Starts a service and the Envoy beside it; `stock` is the port of the Envoy beside the stock.
async fn beside(
    name: &str,
    sidecar: Bootstrap,
    stock: u16,
    folder: &Path,
) -> Result<(Envoy, Process)> {
    let [http, grpc] = [free_port()?, free_port()?];
    let sidecar = sidecar.cluster("service", http)?.cluster("service_http2", grpc)?;
    let mut sidecar = sidecar.cluster("stock", stock)?.cluster("stock_http2", stock)?;
    for listener in ["inbound", "outbound"] {
        // In the example they are those of its container.
        let variables = json!({"key_values": {"OTEL_SERVICE_NAME": name}});
        let (parent, key) = ("/config/vm_config", "environment_variables");
        sidecar = sidecar.wasm(listener, parent, key, variables)?;
    }

    let outbound = format!("http://127.0.0.1:{}", sidecar.port("outbound"));
    let listen =
        [format!(r#"listen({http}, "127.0.0.1")"#), format!(r#"listen({grpc}, "127.0.0.1")"#)];
    let changes = [
        ("http://127.0.0.1:15001", outbound.as_str()),
        ("listen(8080)", &listen[0]),
        ("listen(8081)", &listen[1]),
    ];
    let mut command = Command::new(peer("node", "node")?);
    command.arg(changed("shop.js", &changes, folder)?).env("ROLE", name);
    let mut service = Process::start(name, &mut command, folder)?;
    service.wait_until("the service to be healthy", || healthy(http, "/health")).await?;
    Ok((Envoy::start(sidecar).await?, service))
}

/// A file of the example with other texts in some places, written to a folder under a name of its own.
fn changed(name: &str, changes: &[(&str, &str)], folder: &Path) -> Result<PathBuf> {
    let mut text = fs::read_to_string(harness::root().join(EXAMPLE).join(name))?;
    for (from, to) in changes {
        ensure!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    let file = tempfile::Builder::new().suffix(name).tempfile_in(folder)?;
    fs::write(&file, text)?;
    Ok(file.keep()?.1)
}
