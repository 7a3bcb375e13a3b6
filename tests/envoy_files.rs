//! Each file of `envoy/`, in a real Envoy, as people copy it: other ports and addresses, test
//! certificates, and nothing else. It carries a request, and its span arrives.

mod conventions;
mod files;

use anyhow::{Context, Result};
use files::dynamic::Dynamic;
use files::vendor::{self, REMINDER, VENDOR};
use harness::client::{self, Call};
use harness::tls::Certificate;
use harness::{Bootstrap, Envoy, Receiver, Span, Stage, Upstream, wait_for};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::Pin;
use std::process::Command;

/// Files, and the test that loads them.
type Case = (&'static [&'static str], fn() -> Pin<Box<dyn Future<Output = Result<()>>>>);

const CASES: [Case; 11] = [
    (&["envoy.yaml"], || Box::pin(edge())),
    (&["sidecar.yaml"], || Box::pin(sidecar())),
    (&["tls-api-key.yaml"], || Box::pin(tls_api_key())),
    (&["http2.yaml"], || Box::pin(http2())),
    (&["grpc.yaml"], || Box::pin(grpc())),
    (&["compressor.yaml"], || Box::pin(compressor())),
    (&["health-checks.yaml"], || Box::pin(health_checks())),
    (&["attempts.yaml"], || Box::pin(attempts())),
    (&["access-log.yaml"], || Box::pin(access_log())),
    (&["http3.yaml"], || Box::pin(http3())),
    (&["dynamic/bootstrap.yaml", "dynamic/ecds.yaml", "dynamic/lds.yaml"], || Box::pin(dynamic())),
];

#[tokio::test]
async fn each_file_carries_a_request() -> Result<()> {
    let mut loaded = BTreeSet::new();
    for (files, case) in CASES {
        case().await.context(files[0])?;
        loaded.extend(files.iter().map(|file| (*file).to_owned()));
    }
    assert_eq!(loaded, there(&harness::root().join("envoy"))?, "each file has a case");
    Ok(())
}

/// The YAML files of a folder and the folders in it, as the cases name them.
fn there(folder: &Path) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(there(&path)?.into_iter().map(|file| format!("{name}/{file}")));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.insert(name);
        }
    }
    Ok(files)
}

/// Waits for the spans of all requests, which all are kept; the counters add up and the log is clean.
async fn settled(stage: &Stage, requests: u64) -> Result<Vec<Span>> {
    let spans = stage.collector.wait_for_spans(usize::try_from(requests)?).await?;
    let stats = stage.at_rest(requests).await?;
    assert_eq!(stats["exporter.span.exported"], requests, "all are delivered");
    assert_eq!(spans.len() as u64, requests, "and each once");
    assert_eq!(stage.collector.undecodable(), 0);
    let mut complaints = stage.envoy.complaints();
    complaints.retain(|line| !line.contains(REMINDER));
    assert_eq!(complaints, Vec::<String>::new(), "a clean log");
    spans.iter().for_each(conventions::check);
    Ok(spans)
}

async fn start(file: &str, collector: Receiver) -> Result<Stage> {
    let upstream = Upstream::start().await?;
    let bootstrap = Bootstrap::from_file(file)?
        .cluster("upstream", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    Ok(Stage { envoy: Envoy::start(bootstrap).await?, upstream, collector })
}

async fn edge() -> Result<()> {
    let stage = start("envoy/envoy.yaml", Receiver::start().await?).await?;
    let (call, _) = from_caller("/a", "00");
    assert_eq!(call.send(&client::Http::One, stage.port()).await?.status, 200);
    let spans = settled(&stage, 1).await?;
    assert_eq!(spans[0].resource_text("service.name").as_deref(), Some("edge"));
    assert_eq!(spans[0].parent_id(), "", "strangers choose no trace, and not what is kept");
    Ok(())
}

async fn sidecar() -> Result<()> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let bootstrap = Bootstrap::from_file("envoy/sidecar.yaml")?
        .cluster("service", upstream.port())?
        .cluster("elsewhere", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    let stage = Stage { envoy: Envoy::start(bootstrap).await?, upstream, collector };
    for (listener, path) in [("inbound", "/in"), ("outbound", "/out")] {
        assert_eq!(client::get(stage.envoy.port(listener), path).await?.status, 200, "{path}");
    }
    let spans = settled(&stage, 2).await?;
    let kinds: BTreeSet<_> = spans.iter().map(|span| span.span.kind().as_str_name()).collect();
    assert_eq!(kinds, BTreeSet::from(["SPAN_KIND_CLIENT", "SPAN_KIND_SERVER"]), "one of each");
    Ok(())
}

async fn attempts() -> Result<()> {
    let stage = start("envoy/attempts.yaml", Receiver::start().await?).await?;
    assert_eq!(client::get(stage.port(), "/flaky/1").await?.status, 200);
    let spans = stage.collector.wait_for_spans(3).await?;
    spans.iter().for_each(conventions::check);
    let (servers, clients): (Vec<_>, Vec<_>) =
        spans.iter().partition(|span| span.parent_id().is_empty());
    assert_eq!((servers.len(), clients.len()), (1, 2), "one request, two attempts");
    assert_eq!(servers[0].span.kind().as_str_name(), "SPAN_KIND_SERVER");
    for span in clients {
        assert_eq!(span.span.kind().as_str_name(), "SPAN_KIND_CLIENT");
        assert_eq!(span.parent_id(), servers[0].span_id(), "below the request's");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

async fn tls_api_key() -> Result<()> {
    let certificate = Certificate::of(VENDOR)?;
    let key = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cr%20et")];
    let stage = vendor::stage(&certificate, &certificate, &key).await?;
    assert_eq!(client::get(stage.port(), "/a").await?.status, 200);
    settled(&stage, 1).await?;
    for export in stage.collector.exports() {
        assert_eq!(export.server_name.as_deref(), Some(VENDOR), "TLS, for the vendor's name");
        assert_eq!(export.headers["host"], VENDOR, "and a request for it");
        assert_eq!(export.path, "/v1/traces");
        assert_eq!(export.headers["api-key"], "s3cr et", "the key from the environment, decoded");
    }
    let log = stage.envoy.log();
    assert!(!log.contains("s3cr"), "the key is a secret");
    assert_eq!(log.matches(REMINDER).count(), 1, "that TLS is the cluster's affair");
    let dump = client::get(stage.envoy.admin_port(), "/config_dump").await?;
    let dump = String::from_utf8(dump.body)?;
    assert!(dump.contains(VENDOR) && !dump.contains("s3cr"), "in Envoy's configuration, too");
    Ok(())
}

async fn http2() -> Result<()> {
    let name = "otel-collector.example";
    let certificate = Certificate::of(name)?;
    let folder = harness::folder()?;
    let authority = folder.path().join("collector-ca.crt");
    std::fs::write(&authority, &certificate.chain)?;
    let collector = Receiver::start_tls(&certificate, &["h2", "http/1.1"]).await?;
    let upstream = Upstream::start().await?;
    let bootstrap = Bootstrap::from_file("envoy/http2.yaml")?
        .replace("collector-ca.crt", &authority.to_string_lossy())?
        .cluster("upstream", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    let stage = Stage { envoy: Envoy::start(bootstrap).await?, upstream, collector };
    // The second comes after the first export: on the same connection.
    for requests in 1..=2 {
        assert_eq!(client::get(stage.port(), "/a").await?.status, 200);
        settled(&stage, requests).await?;
    }
    for export in stage.collector.exports() {
        assert_eq!(export.version, harness::receiver::Version::HTTP_2);
        assert_eq!(export.server_name.as_deref(), Some(name), "over TLS");
    }
    let connections = stage.envoy.stat("cluster.otel_collector.upstream_cx_http2_total").await?;
    assert_eq!(connections, 1, "one connection for all exports of a worker");
    Ok(())
}

async fn grpc() -> Result<()> {
    let stage = start("envoy/grpc.yaml", Receiver::start_grpc().await?).await?;
    assert_eq!(client::get(stage.port(), "/a").await?.status, 200);
    settled(&stage, 1).await?;
    let exports = stage.collector.exports();
    assert_eq!(exports[0].headers["grpc-encoding"], "gzip", "compressed");
    Ok(())
}

async fn compressor() -> Result<()> {
    const FILE: &str = "envoy/compressor.yaml";
    const REQUESTS: u64 = 10;
    let checked = Envoy::validate(&Bootstrap::from_file(FILE)?).await?;
    // The file says from which version on.
    let version = Command::new(harness::envoy::binary()?).arg("--version").output()?.stdout;
    let version = String::from_utf8(version)?;
    let older = ["/1.36.", "/1.37.", "/1.38.", "/1.39."];
    let is_older = older.iter().any(|older| version.contains(older));
    assert_eq!(checked.status.success(), !is_older, "{version}: {}", checked.output);
    if is_older {
        return Ok(());
    }
    let stage = start(FILE, Receiver::start().await?).await?;
    for _ in 0..REQUESTS {
        assert_eq!(client::get(stage.port(), "/a").await?.status, 200);
    }
    settled(&stage, REQUESTS).await?;
    let mut compressed = 0;
    for export in stage.collector.exports() {
        let encoding = export.headers.get("content-encoding").map(|it| it.to_str()).transpose()?;
        compressed += usize::from(encoding == Some("gzip"));
    }
    assert!(compressed > 0, "{:#?}", stage.collector.exports());
    Ok(())
}

async fn health_checks() -> Result<()> {
    let stage = start("envoy/health-checks.yaml", Receiver::start().await?).await?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let check = |path| Call::get(path).header("traceparent", parent);
    let send = async |path| check(path).send(&client::Http::One, stage.port()).await;
    assert_eq!(send("/ready").await?.status, 200, "Envoy answers for itself");
    assert!(stage.upstream.seen().is_empty(), "without the service");
    assert_eq!(send("/healthz").await?.status, 200, "the service answers");
    assert_eq!(stage.upstream.last().header("traceparent"), parent, "to an untouched request");
    assert_eq!(send("/a").await?.status, 200);
    assert_ne!(stage.upstream.last().header("traceparent"), parent, "any other is traced");
    let spans = settled(&stage, 1).await?;
    assert_eq!(spans[0].text("url.path").as_deref(), Some("/a"));
    let fail = Call::get("/healthcheck/fail").method("POST");
    fail.send(&client::Http::One, stage.envoy.admin_port()).await?;
    assert_eq!(send("/ready").await?.status, 503, "an Envoy that is told to fail says so");
    stage.at_rest(1).await?;
    Ok(())
}

/// The last line of an access log in JSON that is about this path.
async fn logged(stage: &Stage, path: &str) -> Result<Value> {
    let line = || async {
        let log = stage.envoy.log();
        let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| line["path"] == path);
        lines.next()
    };
    wait_for(&format!("the access log of {path}"), line).await
}

/// An Envoy of `access-log.yaml`, changed, which writes its access log soon.
async fn logging(change: impl FnOnce(Bootstrap) -> Result<Bootstrap>) -> Result<Stage> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let bootstrap = Bootstrap::from_file("envoy/access-log.yaml")?
        .cluster("upstream", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    let soon = ["--file-flush-interval-msec", "50"];
    let envoy = Envoy::with_arguments(change(bootstrap)?, 1, &soon).await?;
    Ok(Stage { envoy, upstream, collector })
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A request of a caller's trace, and its traceparent.
fn from_caller(path: &str, flags: &str) -> (Call, String) {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    (Call::get(path).header("traceparent", &parent), parent)
}

async fn access_log() -> Result<()> {
    // Envoy's own tracing is off: its formatters print nothing.
    let stage = logging(|edge| edge.replace("%START_TIME%", "%TRACE_ID%")).await?;
    let calls = [
        // Sampled, and its trace id is random (Level 2).
        ("/root", (Call::get("/root"), String::new()), "03"),
        ("/kept", from_caller("/kept", "01"), "01"),
        ("/let-go", from_caller("/let-go", "00"), "00"),
    ];
    for (path, (call, parent), flags) in calls {
        assert_eq!(call.send(&client::Http::One, stage.port()).await?.status, 200, "{path}");
        let line = logged(&stage, path).await?;
        let sent = stage.upstream.last().header("traceparent");
        assert_eq!(line["traceparent"], sent.as_str(), "{path}: what the service got");
        assert_eq!(line["start_time"], Value::Null, "{path}: {line}");
        let parts = ["trace_id", "span_id", "trace_flags"].map(|key| line[key].as_str());
        assert_eq!(
            format!("00-{}", parts.map(Option::unwrap_or_default).join("-")),
            sent,
            "{path}"
        );
        assert!(sent.ends_with(&format!("-{flags}")), "{path}: {sent}");
        assert_ne!(sent, parent, "{path}: it is the filter's own");
        assert_eq!(sent.contains(TRACE), !parent.is_empty(), "{path}: of the caller's trace");
    }
    stage.at_rest(3).await?;
    let spans = stage.collector.wait_for_spans(2).await?;
    assert_eq!(spans.len(), 2, "of those that are kept");
    for span in spans {
        let path = span.text("url.path").context("a path")?;
        let ids = format!("00-{}-{}-", span.trace_id(), span.span_id());
        let line = logged(&stage, &path).await?;
        let named = line["traceparent"].as_str().is_some_and(|it| it.starts_with(&ids));
        assert!(named, "{path}: {ids}: {line}");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");

    let sampler = json!({"always_off": {}});
    for unsampled in ["inject", "pass_through", "defer"] {
        let configuration =
            json!({"tracer_provider": {"sampler": sampler}, "envoy": {"unsampled": unsampled}});
        let stage = logging(|edge| edge.filter("ingress", &configuration.to_string())).await?;
        let (call, parent) = from_caller("/caller", "01");
        for (path, call) in [("/caller", call), ("/root", Call::get("/root"))] {
            assert_eq!(call.send(&client::Http::One, stage.port()).await?.status, 200, "{path}");
        }
        let (caller, root) = (logged(&stage, "/caller").await?, logged(&stage, "/root").await?);
        let (caller, root) = (caller["traceparent"].as_str(), root["traceparent"].as_str());
        let is_let_go = |it: Option<&str>, flags| it.is_some_and(|it| it.ends_with(flags));
        match unsampled {
            "inject" => assert!(is_let_go(caller, "-00"), "{caller:?}"),
            _ => assert_eq!(caller, Some(parent.as_str()), "{unsampled}: what the caller sent"),
        }
        match unsampled {
            "defer" => assert_eq!(root, None, "nothing came"),
            _ => assert!(is_let_go(root, "-02"), "{unsampled}: {root:?}"),
        }
    }
    Ok(())
}

async fn http3() -> Result<()> {
    let certificate = Certificate::new()?;
    let folder = harness::folder()?;
    let (chain, key) = (folder.path().join("edge.crt"), folder.path().join("edge.key"));
    std::fs::write(&chain, &certificate.chain)?;
    std::fs::write(&key, &certificate.key)?;
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let bootstrap = Bootstrap::from_file("envoy/http3.yaml")?;
    let port = bootstrap.port("ingress");
    let bootstrap = bootstrap
        .listener_port("ingress_http3", port)?
        .replace(r#"h3=\":10000\""#, &format!(r#"h3=\":{port}\""#))?
        .replace("edge.crt", &chain.to_string_lossy())?
        .replace("edge.key", &key.to_string_lossy())?
        .cluster("upstream", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    let stage = Stage { envoy: Envoy::start(bootstrap).await?, upstream, collector };
    let reply = Call::get("/tcp").send_tls(&certificate, port).await?;
    assert_eq!(reply.status, 200);
    let service = format!(r#"h3=":{port}"; ma=86400"#);
    assert_eq!(reply.headers["alt-svc"], service, "clients are told of HTTP/3");
    let http3 = client::Http::Three(certificate);
    assert_eq!(Call::get("/udp").send(&http3, port).await?.status, 200);
    let spans = settled(&stage, 2).await?;
    let text = |span: &Span, name: &str| span.text(name).unwrap_or_default();
    let versions: BTreeMap<_, _> = spans
        .iter()
        .map(|span| (text(span, "url.path"), text(span, "network.protocol.version")))
        .collect();
    let expected = [("/tcp", "1.1"), ("/udp", "3")];
    assert_eq!(versions, expected.map(|(path, it)| (path.to_owned(), it.to_owned())).into());
    assert!(spans.iter().all(|span| text(span, "url.scheme") == "https"));
    Ok(())
}

async fn dynamic() -> Result<()> {
    const STARTED: &str = "wasmcustom.otel.sdk.span.started";
    let dynamic = Dynamic::start().await?;
    let (stage, port) = (&dynamic.stage, dynamic.port);
    assert_eq!(client::get(port, "/a").await?.status, 200);
    let spans = settled(stage, 1).await?;
    let name = |span: &Span| span.resource_text("service.name").unwrap_or_default();
    assert_eq!(name(&spans[0]), "edge", "as it started");

    let (changed, requests) = (Cell::new(false), Cell::new(1));
    let traffic = async {
        while !changed.get() {
            let codes = client::load(port, "/a", 200, 4).await?;
            assert_eq!(codes, BTreeMap::from([(200, 200)]), "no request is harmed");
            requests.set(requests.get() + 200);
        }
        anyhow::Ok(())
    };
    let change = async {
        let under_way = |stats: &BTreeMap<String, u64>| stats[STARTED] > 100;
        stage.envoy.wait_for_stats("traffic", under_way).await?;
        let renamed = r#""resource": {"attributes_list": "service.name=renamed"}, "envoy": {"#;
        dynamic.change(r#""envoy": {"#, renamed)?;
        dynamic.wait_for("update_success", 2).await?;
        changed.set(true);
        Ok(())
    };
    tokio::try_join!(traffic, change)?;
    assert_eq!(client::get(port, "/last").await?.status, 200);
    let stats = stage.at_rest(requests.get() + 1).await?;
    let spans = stage.collector.spans();
    assert_eq!(spans.len() as u64, stats["exporter.span.exported"], "what is counted did arrive");
    assert_eq!(stats["exporter.span.exported"], stats["span.sampled"], "nothing is lost");
    let last = spans.iter().find(|span| span.text("url.path").as_deref() == Some("/last"));
    assert_eq!(last.map(name).as_deref(), Some("renamed"), "the new configuration is in effect");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
