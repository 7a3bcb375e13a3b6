//! `examples/docker-compose`, brought up as it is: whole traces across its three Envoys come out of its Collector.
//!
//! The page to look at, Jaeger, is left out: its image is not to be had without pulling.

use anyhow::{Context, Result};
use harness::wait_for;
use interop::docker::{Docker, Image};
use interop::peer;
use std::collections::BTreeMap;
use std::path::PathBuf;

const FILE: &str = "examples/docker-compose/compose.yaml";

/// What is brought up; what they depend on comes along.
const SERVICES: &[&str] = &["traffic"];

/// A span as the Collector prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Printed {
    trace: String,
    id: String,
    parent: String,
    service: String,
    kind: String,
    name: String,
    status: String,
    attributes: BTreeMap<String, String>,
}

/// Reads what the debug exporter prints with `verbosity: detailed`.
fn printed(log: &str) -> Vec<Printed> {
    let mut spans: Vec<Printed> = Vec::new();
    let mut service = String::new();
    for line in log.lines().map(str::trim) {
        if line.starts_with("Span #") {
            spans.push(Printed { service: service.clone(), ..Printed::default() });
        } else if let Some((key, value)) =
            line.strip_prefix("-> ").and_then(|it| it.split_once(": "))
        {
            if key == "service.name" {
                service = inner(value);
            } else if let Some(span) = spans.last_mut() {
                span.attributes.insert(key.to_owned(), inner(value));
            }
        } else if let (Some((key, value)), Some(span)) = (line.split_once(':'), spans.last_mut()) {
            let value = value.trim().to_owned();
            match key.trim() {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" => span.name = value,
                "Kind" => span.kind = value,
                "Status code" => span.status = value,
                _ => {}
            }
        }
    }
    spans
}

/// The value in `Str(value)`.
fn inner(value: &str) -> String {
    let inner = value.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(value).to_owned()
}

/// The way of a trace from its root down, where each span is the parent of the next.
fn chain(spans: &[Printed], root: &Printed) -> Vec<Printed> {
    let mut chain = vec![root.clone()];
    while let Some(next) = chain
        .last()
        .and_then(|last| spans.iter().find(|it| it.trace == last.trace && it.parent == last.id))
    {
        chain.push(next.clone());
    }
    chain
}

struct Case {
    reason: &'static str,
    /// What the customer asks the edge for.
    path: &'static str,
    /// Name and status of each span, from the edge on.
    spans: &'static [(&'static str, &'static str)],
}

/// Who has a span, and of which kind, as far as a trace goes.
const WAY: [(&str, &str); 4] =
    [("edge", "Server"), ("orders", "Server"), ("orders", "Client"), ("stock", "Server")];

const CASES: [Case; 6] = [
    Case {
        reason: "an order that goes well",
        path: "/orders/apple",
        spans: &[("GET", "Unset"); 4],
    },
    Case { reason: "one that is slow", path: "/orders/pear", spans: &[("GET", "Unset"); 4] },
    Case {
        reason: "one that fails: an error all the way up",
        path: "/orders/plum",
        spans: &[("GET", "Error"); 4],
    },
    Case {
        reason: "a thing that there is not: an error only for whom asked",
        path: "/orders/unicorn",
        spans: &[("GET", "Unset"), ("GET", "Unset"), ("GET", "Error"), ("GET", "Unset")],
    },
    Case {
        reason: "what the orders don't know goes no further",
        path: "/nowhere",
        spans: &[("GET", "Unset"); 2],
    },
    Case {
        reason: "one that asks the stock by gRPC",
        path: "/count",
        spans: &[
            ("GET", "Unset"),
            ("GET", "Unset"),
            ("shop.Stock/Count", "Unset"),
            ("shop.Stock/Count", "Unset"),
        ],
    },
];

/// The images that the file names.
async fn images(docker: &Docker) -> Result<()> {
    let envoy = harness::envoy::binary()?;
    let bash = PathBuf::from("/bin/bash");
    docker
        .image(&Image {
            name: "envoyproxy/envoy:v1.40.0",
            programs: vec![(envoy, "/usr/local/bin/envoy"), (bash, "/bin/bash")],
            instructions: &[r#"CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]"#],
        })
        .await?;
    docker
        .image(&Image {
            name: "node:24.11.1-slim",
            programs: vec![(peer("node", "node")?, "/usr/local/bin/node")],
            instructions: &[],
        })
        .await?;
    docker
        .image(&Image {
            name: "otel/opentelemetry-collector-contrib:0.165.0",
            programs: vec![(peer("collector", "collector")?, "/otelcol-contrib")],
            instructions: &[r#"ENTRYPOINT ["/otelcol-contrib"]"#, "USER 10001"],
        })
        .await
}

#[tokio::test]
async fn images_have_versions_and_ports_stay_on_this_machine() -> Result<()> {
    let docker = Docker::start().await?;
    let file = docker.project(FILE).config().await?;
    for (name, service) in file["services"].as_object().context("services")? {
        let image = service["image"].as_str().context("an image")?;
        let version = image.rsplit_once(':').map(|(_, version)| version).unwrap_or_default();
        let exact = version.trim_start_matches('v').split('.').count() == 3;
        assert!(exact, "{name}: {image} is no exact version");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
    }
    Ok(())
}

/// Who needs whom; what these need in turn is up by then.
const NEEDS: [(&str, &[&str]); 4] = [
    ("traffic", &["edge"]),
    ("edge", &["orders-envoy"]),
    ("orders-envoy", &["orders", "stock-envoy"]),
    ("stock-envoy", &["collector-ready", "stock"]),
];

#[tokio::test]
async fn nothing_starts_before_what_it_needs() -> Result<()> {
    let docker = Docker::start().await?;
    let file = docker.project(FILE).config().await?;
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

#[tokio::test]
async fn whole_traces_cross_the_three_envoys() -> Result<()> {
    let docker = Docker::start().await?;
    images(&docker).await?;
    let project = docker.project(FILE);
    project.up(SERVICES).await?;

    for case in CASES {
        let whole = || async {
            let spans = printed(&project.logs("collector").await.ok()?);
            let roots = spans.iter().filter(|span| {
                span.service == "edge"
                    && span.attributes.get("url.path").is_some_and(|it| it == case.path)
            });
            roots.map(|root| chain(&spans, root)).find(|chain| chain.len() == case.spans.len())
        };
        let spans = wait_for("a whole trace", whole).await.context(case.reason)?;
        for ((span, who), what) in spans.iter().zip(WAY).zip(case.spans) {
            assert_eq!(
                (span.service.as_str(), span.kind.as_str()),
                who,
                "{}: {spans:#?}",
                case.reason
            );
            assert_eq!(
                (span.name.as_str(), span.status.as_str()),
                *what,
                "{}: {spans:#?}",
                case.reason
            );
        }
        assert_eq!(spans[0].parent, "", "{}: the edge is the root", case.reason);
    }

    for service in ["edge", "orders-envoy", "stock-envoy"] {
        let log = project.logs(service).await?;
        let complaints: Vec<_> = log
            .lines()
            .filter(|line| {
                ["[warning]", "[error]", "[critical]"].iter().any(|it| line.contains(it))
            })
            .collect();
        assert_eq!(complaints, Vec::<&str>::new(), "{service}: a clean log");
    }
    project.down().await
}
