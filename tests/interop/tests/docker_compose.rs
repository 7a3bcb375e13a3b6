//! `examples/docker-compose`, brought up as docs/docker-compose.md tells it: whole traces across its three Envoys are in its Jaeger,
//! and what goes wrong says so.
//!
//! Jaeger's page is not looked at: what is built of its module has none.

#[path = "docker_compose/example.rs"]
mod example;

use anyhow::{Context, Result};
use example::{Checkout, file, get, images};
use harness::wait_for;
use interop::docker::{Docker, Project};
use interop::jaeger::Outcome::{self, Error, Unset};
use interop::jaeger::{Span, chain};
use interop::peer;
use serde_json::json;
use std::fs;

/// What is published, by which variable, and where if it says nothing.
const PORTS: [(&str, &str, &str); 3] = [
    ("edge", "EDGE_PORT", "8080"),
    ("edge", "EDGE_ADMIN_PORT", "9901"),
    ("jaeger", "JAEGER_PORT", "16686"),
];

struct Case {
    reason: &'static str,
    /// What the customers ask the edge for.
    path: &'static str,
    /// Name, outcome and status of each span, from the edge on.
    spans: &'static [(&'static str, Outcome, &'static str)],
}

/// Who has a span, and of which kind, as far as a trace goes.
const WAY: [(&str, &str); 4] =
    [("edge", "server"), ("orders", "server"), ("orders", "client"), ("stock", "server")];

const CASES: [Case; 6] = [
    Case {
        reason: "an order that goes well",
        path: "/orders/apple",
        spans: &[("GET", Unset, "200"); 4],
    },
    Case { reason: "one that is slow", path: "/orders/pear", spans: &[("GET", Unset, "200"); 4] },
    Case {
        reason: "one that fails: an error all the way up",
        path: "/orders/plum",
        spans: &[
            ("GET", Error, "502"),
            ("GET", Error, "502"),
            ("GET", Error, "503"),
            ("GET", Error, "503"),
        ],
    },
    Case {
        reason: "a thing that there is not: an error only for whom asked",
        path: "/orders/unicorn",
        spans: &[
            ("GET", Unset, "404"),
            ("GET", Unset, "404"),
            ("GET", Error, "404"),
            ("GET", Unset, "404"),
        ],
    },
    Case {
        reason: "what the orders don't know goes no further",
        path: "/nowhere",
        spans: &[("GET", Unset, "404"); 2],
    },
    Case {
        reason: "one that asks the stock by gRPC",
        path: "/count",
        spans: &[
            ("GET", Unset, "200"),
            ("GET", Unset, "200"),
            ("shop.Stock/Count", Unset, "OK"),
            ("shop.Stock/Count", Unset, "OK"),
        ],
    },
];

/// The lines of a log that complain.
fn complaints(log: &str) -> Vec<&str> {
    let levels = ["[warning]", "[error]", "[critical]", "\twarn\t", "\terror\t"];
    log.lines().filter(|line| levels.iter().any(|it| line.contains(it))).collect()
}

#[tokio::test]
async fn images_have_versions_and_ports_stay_on_this_machine() -> Result<()> {
    let docker = Docker::start().await?;
    let file = docker.project(&file()).config().await?;
    for (name, service) in file["services"].as_object().context("services")? {
        let image = service["image"].as_str().context("an image")?;
        let version = image.rsplit_once(':').map(|(_, version)| version).unwrap_or_default();
        let exact = version.trim_start_matches('v').split('.').count() == 3;
        assert!(exact, "{name}: {image} is no exact version");
        let ports: Vec<_> = service["ports"].as_array().into_iter().flatten().collect();
        for port in &ports {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
        let published: Vec<_> = ports.iter().map(|port| &port["published"]).collect();
        let expected = PORTS.iter().filter(|(service, ..)| service == name);
        assert_eq!(published, expected.map(|(_, _, port)| port).collect::<Vec<_>>(), "{name}");
    }
    Ok(())
}

/// Who needs whom; what these need in turn is up by then.
const NEEDS: [(&str, &[&str]); 5] = [
    ("traffic", &["edge"]),
    ("edge", &["orders-envoy"]),
    ("orders-envoy", &["orders", "stock-envoy"]),
    ("stock-envoy", &["collector-ready", "stock"]),
    ("collector", &["jaeger-ready"]),
];

#[tokio::test]
async fn nothing_starts_before_what_it_needs() -> Result<()> {
    let docker = Docker::start().await?;
    let file = docker.project(&file()).config().await?;
    for (name, needs) in NEEDS {
        let needed = file["services"][name]["depends_on"].as_object().context(name)?;
        assert_eq!(needed.keys().collect::<Vec<_>>(), needs, "{name}");
        for (need, how) in needed {
            let test = &file["services"][need]["healthcheck"]["test"];
            let condition = how["condition"].as_str().context("a condition")?;
            match condition {
                "service_healthy" => assert!(test.is_array(), "{need} has a health check"),
                _ => assert_eq!(condition, "service_completed_successfully", "{name}: {need}"),
            }
        }
    }
    Ok(())
}

/// The example's Jaeger, where it is published.
struct Published<'a> {
    docker: &'a Docker,
    url: &'a str,
}

impl Published<'_> {
    /// A trace of this many spans in which a service was asked for a path.
    async fn trace(&self, service: &str, path: &str, spans: usize) -> Option<Vec<Span>> {
        let tags = format!("%7B%22url.path%22%3A%22{path}%22%7D");
        let query = format!("{}/api/traces?service={service}&tags={tags}", self.url);
        let (_, text) = get(self.docker, &query).await.ok()?;
        Span::traces(text.as_bytes())?.find(|trace| trace.len() == spans)
    }
}

#[tokio::test]
async fn jaeger_has_whole_traces_across_the_three_envoys() -> Result<()> {
    let docker = Docker::start().await?;
    images(&docker).await?;
    let checkout = Checkout::new()?;
    checkout.build()?;
    // Other ports than those of the file.
    let ports = ["18080", "19901", "18686"];
    let variables = PORTS.iter().map(|(_, variable, _)| variable).zip(ports);
    let project =
        &variables.fold(checkout.project(&docker), |it, (name, port)| it.variable(name, port));
    let [edge, admin, jaeger] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    project.up(&[]).await?;

    let order = get(&docker, &format!("{edge}/orders/apple")).await?;
    assert_eq!(order, (200, "ordered: an apple\n".to_owned()), "an order of one's own");

    let jaeger = Published { docker: &docker, url: &jaeger };
    for case in CASES {
        let poll = || jaeger.trace("edge", case.path, case.spans.len());
        let trace = wait_for("a whole trace in Jaeger", poll).await.context(case.reason)?;
        let chain = chain(&trace);
        let whole = chain.len() == trace.len();
        assert!(whole, "{}: each span in the one above it: {trace:#?}", case.reason);
        for ((span, (service, kind)), (name, outcome, status)) in
            chain.iter().zip(WAY).zip(case.spans)
        {
            let found = (&*span.service, &span.tags["span.kind"], &*span.name);
            assert_eq!(found, (service, &json!(kind), *name), "{}: {trace:#?}", case.reason);
            let found = (span.outcome(), &*span.status());
            assert_eq!(found, (*outcome, *status), "{}: {trace:#?}", case.reason);
        }
    }

    let (_, counters) = get(&docker, &format!("{admin}/stats?filter=otel.sdk")).await?;
    let exported = counters.lines().find(|it| it.contains("sdk.exporter.span.exported: "));
    assert!(exported.is_some_and(|it| !it.ends_with(": 0")), "{counters}");
    for service in ["edge", "orders-envoy", "stock-envoy", "collector"] {
        let log = project.logs(service).await?;
        assert_eq!(complaints(&log), Vec::<&str>::new(), "{service}: a clean log");
    }
    let quiet = project.logs("collector").await?;
    assert!(!quiet.contains("/orders/"), "the Collector prints no spans: {quiet}");

    project.stop("collector").await?;
    let says = |text| {
        wait_for(text, move || async move {
            project.logs("edge").await.ok()?.contains(text).then_some(())
        })
    };
    says("the collector does not take spans: the answer of otel_collector to /v1/traces was 503: ")
        .await?;
    let (status, _) = get(&docker, &format!("{edge}/orders/apple")).await?;
    assert_eq!(status, 200, "requests go on as ever");

    // Spans as text, as the page tells it.
    checkout.edit("collector.yaml", "exporters: [otlp_grpc]", "exporters: [otlp_grpc, debug]")?;
    project.restart("collector").await?;
    says("the collector takes spans again").await?;
    let printed = || async {
        let log = project.logs("collector").await.ok()?;
        log.contains("url.path: Str(/orders/plum)").then_some(())
    };
    wait_for("the Collector to print spans", printed).await?;

    // A share of the traces: none.
    checkout.edit("edge.yaml", r#""ratio": 1.0"#, r#""ratio": 0.0"#)?;
    project.restart("edge").await?;
    let let_go = || async {
        let (_, counters) = get(&docker, &format!("{admin}/stats?filter=otel.sdk")).await.ok()?;
        let none = counters.contains("otel.sdk.span.started: 0\n");
        (!none && counters.contains("otel.sdk.span.sampled: 0\n")).then_some(())
    };
    wait_for("the edge to let requests go", let_go).await?;

    project.down().await?;
    let left = docker.run(&["ps", "--all", "--quiet"]).await?;
    assert_eq!(left, "", "containers that `down` leaves");
    Ok(())
}

/// What `up` says when it fails.
async fn refusal(project: &Project<'_>, arguments: &[&str]) -> Result<String> {
    let error = project.up(arguments).await.err().context("it comes up")?;
    Ok(format!("{error:#}"))
}

/// What Compose says of an Envoy that refuses its configuration.
const EXITED: &str =
    "dependency failed to start: container otel-proxy-wasm-stock-envoy-1 exited (1)";

#[tokio::test]
async fn what_goes_wrong_says_so() -> Result<()> {
    let docker = Docker::start().await?;
    images(&docker).await?;
    let checkout = Checkout::new()?;
    let project = checkout.project(&docker);

    let missing = refusal(&project, &[]).await?;
    let expected = format!("bind source path does not exist: {}", checkout.module().display());
    assert!(missing.contains(&expected), "{missing}");
    assert!(!checkout.module().exists(), "no folder in the module's place");
    assert_eq!(docker.run(&["ps", "--quiet"]).await?, "", "nothing has started");

    fs::create_dir_all(checkout.module())?;
    let folder = refusal(&project, &[]).await?;
    assert!(folder.contains(EXITED), "{folder}");
    let log = project.logs("stock-envoy").await?;
    assert!(log.contains("Plugin otel failed to load"), "{log}");
    assert!(!log.contains("configuration: "), "the configuration is not what is wrong: {log}");

    fs::remove_dir(checkout.module())?;
    checkout.build()?;
    checkout.edit("sidecar.yaml", r#""ratio": 1.0"#, r#""ratio": 2.0"#)?;
    let refused = refusal(&project, &["--force-recreate"]).await?;
    assert!(refused.contains(EXITED), "{refused}");
    let log = project.logs("stock-envoy").await?;
    let expected =
        "configuration: tracer_provider.sampler.parent_based.root.trace_id_ratio_based.ratio: ";
    assert!(log.contains(expected), "the log says why: {log}");
    project.down().await?;

    let mut taken = docker.command(&peer("node", "node")?)?;
    taken.args([
        "--eval",
        "require('http').createServer((_, it) => it.end()).listen(16686, '127.0.0.1')",
    ]);
    let taken = taken.spawn()?;
    let answers = || async { get(&docker, "http://127.0.0.1:16686").await.ok() };
    wait_for("the port to be taken", answers).await?;
    let taken_port = refusal(&project, &["jaeger"]).await?;
    assert!(taken_port.contains("127.0.0.1:16686"), "{taken_port}");
    assert!(taken_port.contains("address already in use"), "{taken_port}");
    drop(taken);
    project.down().await?;

    // A service that keeps the context to itself.
    checkout.edit("sidecar.yaml", r#""ratio": 2.0"#, r#""ratio": 1.0"#)?;
    checkout.edit("shop.js", "...(traceparent && { traceparent }),", "")?;
    project.up(&[]).await?;
    let jaeger = Published { docker: &docker, url: "http://127.0.0.1:16686" };
    let poll = || jaeger.trace("edge", "/orders/plum", 2);
    wait_for("a trace that ends at the orders", poll).await?;
    let poll = || jaeger.trace("stock", "/stock/plum", 2);
    let rest = wait_for("a trace of what they call", poll).await?;
    let services: Vec<_> = chain(&rest).iter().map(|span| &span.service).collect();
    assert_eq!(services, ["orders", "stock"], "a trace of its own: {rest:#?}");
    project.down().await
}
