//! `examples/envoy-gateway` in a real Envoy Gateway.

use anyhow::{Context, Result};
use harness::client::{Call, Http, Reply};
use harness::{Counters, TempDir, Upstream, client, free_port, wait_for};
use interop::envoy_gateway::EnvoyGateway;
use interop::registry::RELEASED;
use interop::{Collector, Process, Registry};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::process::Command;

/// A caller's trace, which is kept.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
/// A parent that is not sampled: what is sent before a test begins leaves no span.
const UNSAMPLED: &str = "00-00000000000000000000000000000001-0000000000000001-00";

const MODULE: &str = "https://downloads.example.com/otel-proxy-wasm.wasm";

/// A file of the example with some of its text replaced, each of which it must hold once.
fn example(name: &str, changes: &[(&str, &str)]) -> Result<String> {
    let path = harness::root().join("examples/envoy-gateway").join(name);
    let mut text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{name} holds {from}");
        text = text.replace(from, to);
    }
    Ok(text)
}

/// A web server that has the module.
struct Modules {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Modules {
    async fn start() -> Result<Self> {
        let (port, folder) = (free_port()?, harness::TempDir::new()?);
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
        command.arg("--directory").arg(harness::root().join("dist"));
        let mut process = Process::start("modules", &mut command, folder.path())?;
        let answers = || async { client::get(port, "/").await.ok().map(drop) };
        process.wait_until("the web server to answer", answers).await?;
        Ok(Self { port, _process: process, _folder: folder })
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }
}

/// Envoy Gateway between an upstream and a collector.
struct Stage {
    gateway: EnvoyGateway,
    upstream: Upstream,
    collector: Collector,
    port: u16,
    /// All manifests but the policy.
    manifests: String,
}

impl Stage {
    async fn start(policy: &str) -> Result<Self> {
        let (upstream, collector, port) =
            (Upstream::start().await?, Collector::start().await?, free_port()?);
        let backend = format!("ip: {{address: 127.0.0.1, port: {}}}", upstream.port());
        let to = format!("{{address: 127.0.0.1, port_value: {}}}", collector.http_port());
        let envoy = EnvoyGateway::VERSION;
        let provider = format!(
            "spec:\n  provider: {{type: Host, host: {{envoyVersion: {envoy}}}}}\n  bootstrap:"
        );
        let manifests = example(
            "gateway.yaml",
            &[
                ("spec:\n  bootstrap:", &provider),
                (
                    "{address: otel-collector.observability.svc.cluster.local, port_value: 4318}",
                    &to,
                ),
                ("protocol: HTTP, port: 8080}", &format!("protocol: HTTP, port: {port}}}")),
                ("fqdn: {hostname: shop.shop.svc.cluster.local, port: 8080}", &backend),
            ],
        )?;
        let gateway = EnvoyGateway::start(&format!("{manifests}---\n{policy}")).await?;
        Ok(Self { gateway, upstream, collector, port, manifests })
    }

    async fn send(&self, parent: &str) -> Result<Reply> {
        let call = Call::get("/some/path?q=1").header("host", "shop.example.com");
        call.header("traceparent", parent).send(&Http::One, self.port).await
    }

    /// Waits until a request gets this status, traced or not.
    async fn answers(&self, status: u16, traced: Traced) -> Result<()> {
        let so = || async {
            let reply = self.send(UNSAMPLED).await.ok()?;
            let seen = self.upstream.seen().pop();
            let parent = seen.and_then(|it| Some(it.headers.get("traceparent")?.clone()));
            let is_traced = parent.is_some_and(|parent| parent != UNSAMPLED);
            (reply.status == status && (status != 200 || is_traced == (traced == Traced::Yes)))
                .then_some(())
        };
        let waited = wait_for(&format!("an answer {status}, traced: {traced:?}"), so).await;
        waited.with_context(|| self.gateway.log())
    }

    async fn logs(&self, message: &str) -> Result<()> {
        let told = || async { self.gateway.log().contains(message).then_some(()) };
        let waited = wait_for(&format!("the log to say: {message}"), told).await;
        waited.with_context(|| self.gateway.log())
    }

    fn apply(&self, policy: &str) -> Result<()> {
        self.gateway.apply(&format!("{}---\n{policy}", self.manifests))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traced {
    Yes,
    No,
}

#[tokio::test]
async fn a_request_through_the_gateway_is_a_span_with_the_routes_name() -> Result<()> {
    let (registry, modules) = (Registry::start().await?, Modules::start().await?);
    registry.push().await?;
    let policies = [
        example("image.yaml", &[(RELEASED, &registry.image())])?,
        example("http.yaml", &[(MODULE, &modules.url("otel-proxy-wasm.wasm"))])?,
    ];
    for policy in policies {
        let stage = Stage::start(&policy).await?;
        stage.answers(200, Traced::Yes).await?;
        let reply = stage.send(&format!("00-{TRACE}-{CALLER}-01")).await?;
        assert_eq!(reply.status, 200, "{policy}");

        let spans = stage.collector.wait_for_spans(1).await?;
        let [span] = spans.as_slice() else { panic!("one span, not {spans:#?}: {policy}") };
        assert_eq!((span.trace_id(), span.parent_id()), (TRACE.into(), CALLER.into()), "{policy}");
        assert_eq!(span.span.kind(), SpanKind::Server, "{policy}");
        assert_eq!(span.resource_text("service.name").as_deref(), Some("edge"), "{policy}");
        assert_eq!(
            span.text("envoy.route_name").as_deref(),
            Some("httproute/default/shop/rule/0/match/0/shop_example_com"),
            "{policy}"
        );
        let sent = stage.upstream.last().header("traceparent");
        assert_eq!(sent, format!("00-{TRACE}-{}-01", span.span_id()), "{policy}");

        let requests = u64::try_from(stage.upstream.seen().len())?;
        let admin = stage.gateway.admin_port();
        let counters = Counters::read(admin).await?;
        // Before the policy took effect, requests passed untraced.
        assert!(counters.of("span.started") <= requests, "{counters:?}");
        let counters = Counters::at_rest(admin, counters.of("span.started")).await?;
        assert_eq!(counters.of("exporter.span.exported"), 1, "{counters:?}");
        let log = stage.gateway.log();
        let errors: Vec<_> = log.lines().filter(|line| is_error(line)).collect();
        assert_eq!(errors, Vec::<&str>::new(), "{policy}");
    }
    Ok(())
}

/// Two attempts, where the first one is answered 503.
const RETRY: &str = r"
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: retry, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: eg}]
  retry: {numRetries: 1, retryOn: {httpStatusCodes: [503]}}
";

#[tokio::test]
async fn each_attempt_to_call_what_a_route_leads_to_is_a_span() -> Result<()> {
    let modules = Modules::start().await?;
    let policy = example("http.yaml", &[(MODULE, &modules.url("otel-proxy-wasm.wasm"))])?;
    let module = harness::module()?.display().to_string();
    let attempts = example("attempts.yaml", &[("/otel/otel-proxy-wasm.wasm", &module)])?;
    let stage = Stage::start(&format!("{policy}---\n{attempts}---\n{RETRY}")).await?;
    stage.answers(200, Traced::Yes).await?;
    let call = Call::get("/flaky/1").header("host", "shop.example.com");
    let call = call.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(call.send(&Http::One, stage.port).await?.status, 200, "{}", stage.gateway.log());
    let spans = stage.collector.wait_for_spans(3).await?;
    let (above, attempts): (Vec<_>, Vec<_>) =
        spans.iter().partition(|span| span.span.kind() == SpanKind::Server);
    assert_eq!((above.len(), attempts.len()), (1, 2), "{spans:#?}");
    for span in attempts {
        assert_eq!(span.parent_id(), above[0].span_id(), "below the request's");
        assert_eq!(span.resource_text("service.name").as_deref(), Some("edge"));
    }
    Ok(())
}

/// Whether a line of the log is an error. That of a Gateway class without a status is always there.
fn is_error(line: &str) -> bool {
    (line.contains("\terror\t") && !line.contains("no status field"))
        || line.contains("][error]")
        || line.contains("][critical]")
}

#[tokio::test]
async fn a_module_that_can_t_be_had_does_what_fail_open_says() -> Result<()> {
    let modules = Modules::start().await?;
    let there = example("http.yaml", &[(MODULE, &modules.url("otel-proxy-wasm.wasm"))])?;
    let stage = Stage::start(&there).await?;
    stage.answers(200, Traced::Yes).await?;
    let absent = modules.url("absent.wasm");
    let wrong = "0".repeat(64);
    let checked = format!("{:?}, sha256: \"{wrong}\"", modules.url("otel-proxy-wasm.wasm"));
    let cases = [
        (MODULE, absent.as_str(), "wasm module download request failed: status code 404"),
        (
            "\"https://downloads.example.com/otel-proxy-wasm.wasm\"",
            &checked,
            ", which does not match: 0000",
        ),
    ];
    for (from, to, message) in cases {
        for (open, status) in [("true", 200), ("false", 500)] {
            let fail_open = format!("failOpen: {open}");
            stage.apply(&example("http.yaml", &[(from, to), ("failOpen: true", &fail_open)])?)?;
            stage.answers(status, Traced::No).await.context(fail_open)?;
            stage.logs(message).await?;
            stage.apply(&there)?;
            stage.answers(200, Traced::Yes).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_configuration_leaves_the_old_one_working() -> Result<()> {
    const MESSAGE: &str = r#"configuration: envoy: unknown key "clutser"; accepted: cluster, "#;
    const REJECTED: &str = "Envoy rejected the last update for type \
        type.googleapis.com/envoy.config.listener.v3.Listener on node default-eg-e41e7b31 with code 13 and message \
        Error adding/updating listener(s) default/eg/http: Unable to create Wasm plugin otel";
    let modules = Modules::start().await?;
    let url = modules.url("otel-proxy-wasm.wasm");
    let stage = Stage::start(&example("http.yaml", &[(MODULE, &url)])?).await?;
    stage.answers(200, Traced::Yes).await?;
    for open in ["failOpen: true", "failOpen: false"] {
        let wrong = ("{cluster: otel_collector}", "{clutser: otel_collector}");
        let times = |message: &str| stage.gateway.log().matches(message).count();
        let before = [MESSAGE, REJECTED].map(times);
        stage.apply(&example("http.yaml", &[(MODULE, &url), wrong, ("failOpen: true", open)])?)?;
        let told = || async {
            let now = [MESSAGE, REJECTED].map(times);
            now.iter().zip(before).all(|(now, before)| *now > before).then_some(())
        };
        let waited = wait_for("the logs of Envoy and Envoy Gateway to tell", told).await;
        waited.with_context(|| format!("{open}: {}", stage.gateway.log()))?;
        stage.answers(200, Traced::Yes).await.context(open)?;
    }
    Ok(())
}
