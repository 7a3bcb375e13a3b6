//! `examples/prometheus` in a real Prometheus that scrapes a real Envoy: the alerts, and each query of the dashboard.

use anyhow::{Context, Result, ensure};
use harness::client::{self, Call, Http};
use harness::{Stage, TempDir, free_port, root};
use interop::Process;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::process::Command;

async fn promtool(arguments: &[&str]) -> Result<String> {
    let output = Command::new("promtool").args(arguments).output().await;
    let output = output.context("promtool; run `make peer-prometheus`")?;
    let [text, error] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "promtool {arguments:?}: {text}{error}");
    Ok(text)
}

#[tokio::test]
async fn the_alerts_fire_when_they_must_and_only_then() -> Result<()> {
    let alerts = root().join("examples/prometheus/alerts.yaml").display().to_string();
    let checked = promtool(&["check", "rules", &alerts]).await?;
    assert!(checked.contains("4 rules found"), "{checked}");
    let folder = TempDir::new()?;
    let test = std::fs::read_to_string(root().join("tests/interop/alerts_test.yaml"))?;
    let file = folder.path().join("test.yaml");
    let test = test.replace("ALERTS", &alerts).replace("VERSION", env!("CARGO_PKG_VERSION"));
    std::fs::write(&file, test)?;
    promtool(&["test", "rules", &file.display().to_string()]).await.map(drop)
}

/// A Prometheus that scrapes an Envoy, with the alerts.
struct Prometheus {
    port: u16,
    process: Process,
    _folder: TempDir,
}

impl Prometheus {
    async fn start(envoys: &[u16]) -> Result<Self> {
        let (port, folder) = (free_port()?, TempDir::new()?);
        let targets: Vec<_> = envoys.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let configuration = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [root().join("examples/prometheus/alerts.yaml")],
            "scrape_configs": [{
                "job_name": "envoy", "metrics_path": "/stats/prometheus",
                "static_configs": [{"targets": targets}],
            }],
        });
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration.to_string())?;
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&file);
        command.arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Process::start("prometheus", &mut command, folder.path())
            .context("prometheus; run `make peer-prometheus`")?;
        let ready = || client::is_well(port, "/-/ready");
        process.wait_until("Prometheus to be ready", ready).await?;
        Ok(Self { port, process, _folder: folder })
    }

    /// The result of a query: its series.
    async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let form = format!("query={}", encoded(query));
        let call = Call::get("/api/v1/query").method("POST").body(form.into_bytes());
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        let reply = call.send(&Http::One, self.port).await?;
        let answer: Value = serde_json::from_slice(&reply.body)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].as_array().context("a vector")?.clone())
    }
}

/// Percent-encoded, as forms are.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What stands under a key anywhere in a value.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => all(member, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_alert_on_untraced_proxies_means_one_without_the_filter() -> Result<()> {
    let traced = Stage::start(Ok).await?;
    let untraced = Stage::start(|edge| edge.without_filter("ingress")).await?;
    let admins = [&traced, &untraced].map(|stage| stage.envoy.admin_port());
    let prometheus = Prometheus::start(&admins).await?;
    let rules = client::get(prometheus.port, "/api/v1/rules").await?;
    let rules: Value = serde_json::from_slice(&rules.body)?;
    let rules = rules["data"]["groups"][0]["rules"].as_array().context("the rules")?.clone();
    let rule = rules.iter().find(|rule| rule["name"] == "OtelProxyUntraced").context("it")?;
    let query = rule["query"].as_str().context("its query")?;
    // A rate needs two scrapes between which something happens.
    let seen = || async {
        for stage in [&traced, &untraced] {
            client::get(stage.port(), "/").await.ok()?;
        }
        let rate = "rate(envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"ingress\"}[5m]) > 0";
        let rates = prometheus.query(rate).await.ok()?;
        let started = prometheus.query("rate(otel_sdk_span_started[5m]) > 0").await.ok()?;
        if rates.len() < 2 || started.is_empty() {
            return None;
        }
        prometheus.query(query).await.ok()
    };
    let series = harness::wait_for("rates of both", seen).await?;
    let instances: Vec<_> = series.iter().map(|it| &it["metric"]["instance"]).collect();
    let [_, admin] = admins;
    assert_eq!(instances, [&json!(format!("127.0.0.1:{admin}"))], "{series:#?}");
    Ok(())
}

#[tokio::test]
async fn each_query_of_the_dashboard_has_an_answer() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    let mut prometheus = Prometheus::start(&[stage.envoy.admin_port()]).await?;
    let mut requests = 0;
    // A rate needs two scrapes between which something happens.
    for _ in 0..2 {
        client::load(stage.port(), "/", 100, 2).await?;
        requests += 100;
        stage.at_rest(requests).await?;
        let port = prometheus.port;
        let scraped = || async {
            let path = "/api/v1/query?query=otel_sdk_span_started";
            let reply = client::get(port, path).await.ok()?;
            let answer: Value = serde_json::from_slice(&reply.body).ok()?;
            let value = answer["data"]["result"][0]["value"][1].as_str()?.parse::<u64>().ok()?;
            (value == requests).then_some(())
        };
        prometheus.process.wait_until("a scrape", scraped).await?;
    }
    let text = std::fs::read_to_string(root().join("examples/prometheus/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let mut queries = Vec::new();
    all(&dashboard, "expr", &mut queries);
    assert!(queries.len() >= 8, "queries are found: {queries:?}");
    for query in queries {
        let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
        let series = prometheus.query(&query).await?;
        assert!(!series.is_empty(), "{query} has no series");
    }
    let unaccounted = prometheus
        .query(
            r#"sum(otel_sdk_span_sampled) - sum({__name__=~"otel_sdk_exporter_span_(exported|rejected|queued|inflight|failed_.+)|otel_sdk_processor_span_dropped_.+"})"#,
        )
        .await?;
    assert_eq!(unaccounted[0]["value"][1], "0", "{unaccounted:?}");

    // Each counter is in the dashboard or in an alert, under its name in Prometheus.
    let reply = client::get(stage.envoy.admin_port(), "/stats/prometheus").await?;
    let metrics = String::from_utf8(reply.body)?;
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE otel_sdk_"));
    let names: BTreeSet<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    let alerts = std::fs::read_to_string(root().join("examples/prometheus/alerts.yaml"))?;
    for name in &names {
        let by_pattern =
            ["exporter_span_", "processor_span_dropped_"].iter().any(|it| name.starts_with(it));
        let is_used = text.contains(name) || alerts.contains(name) || by_pattern;
        assert!(is_used, "{name} is nowhere");
    }
    assert!(names.len() >= 16, "the counters are found: {names:?}");
    Ok(())
}
