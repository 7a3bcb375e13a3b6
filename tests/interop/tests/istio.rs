//! `examples/istio` in a real Istio: control plane, API server, agents, image registry.

#[path = "istio/mesh.rs"]
mod mesh;

use anyhow::{Context, Result};
use harness::client::Call;
use harness::{Counters, Span, Traffic, wait_for};
use interop::istio::{CLUSTER, ControlPlane, NODE};
use mesh::{Mesh, UNSAMPLED, example};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use std::collections::BTreeSet;
use tokio::process::Command;

/// A caller's trace, which is kept.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn call(path: &str) -> Call {
    Call::get(path).header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
}

/// What the gateway is configured with where a test changes something. A patch merges: what shall go is null.
fn configuration(environment: &str) -> serde_json::Value {
    json!({
        "resource": {"attributes": [{"name": "deployment.environment.name", "value": environment}]},
        "tracer_provider": {"sampler": {"always_on": {}, "parent_based": null}},
        "envoy": {"cluster": "outbound|4318||otel-collector.observability.svc.cluster.local"},
    })
}

/// The gateway's environment, as a span of it says.
fn environment(span: &Span) -> Option<String> {
    (span.resource_text("service.name")? == "gateway")
        .then(|| span.resource_text("deployment.environment.name"))?
}

/// What istioctl says of every `EnvoyFilter`, whatever is in it.
const OF_EACH_ENVOY_FILTER: &str =
    ": EnvoyFilter exposes internal implementation details that may change at any time.";

#[tokio::test]
async fn each_file_passes_istioctl_and_the_api_server() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    for namespace in ["shop", "observability"] {
        control_plane.kubectl(&["create", "namespace", namespace], "").await?;
    }
    let folder = harness::root().join("examples/istio");
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let file = path.display().to_string();
        let said = control_plane.istioctl(&["validate", "--filename", &file]).await;
        let said = said.with_context(|| name.clone())?;
        let is_filter = example(&name)?.contains("kind: EnvoyFilter");
        let warned = said.lines().filter(|line| line.trim_start().starts_with('*'));
        let warned = warned.filter(|line| !is_filter || !line.contains(OF_EACH_ENVOY_FILTER));
        assert_eq!(warned.collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
        let verdict = if is_filter { "has warnings" } else { "is valid" };
        assert!(said.contains(verdict) && !said.contains("Warning"), "{name}: {said}");
        let apply = ["apply", "--dry-run=server", "--validate=strict", "--filename", "-"];
        control_plane.kubectl(&apply, &example(&name)?).await.context(name)?;
        files += 1;
    }
    assert!(files >= 8, "all files, not {files}");
    Ok(())
}

#[tokio::test]
async fn istio_knows_the_keys_of_its_telemetry_that_are_translated() -> Result<()> {
    let tracing = json!({
        "match": {"mode": "SERVER"}, "providers": [{"name": "a"}], "randomSamplingPercentage": 10,
        "disableSpanReporting": true, "useRequestIdForTraceSampling": false, "enableIstioTags": false,
        "disableContextPropagation": false, "customTags": {
            "a": {"literal": {"value": "a"}}, "b": {"environment": {"name": "A"}},
            "c": {"header": {"name": "a"}}, "d": {"formatter": {"value": "%PROTOCOL%"}},
        },
    });
    let page = std::fs::read_to_string(harness::root().join("docs/migrate.md"))?;
    let (_, section) = page.split_once("## From Istio's Telemetry API").context("the section")?;
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let translated: BTreeSet<_> = rows
        .filter_map(|row| row.strip_prefix("| `")?.split_once('`'))
        .filter(|(_, rest)| !rest.starts_with(" (provider)"))
        .map(|(key, _)| key.to_owned())
        .collect();
    let known = tracing.as_object().context("an object")?.keys().cloned().collect();
    assert_eq!(translated, known, "docs/migrate.md has the keys");
    let folder = harness::TempDir::new()?;
    let file = folder.path().join("telemetry.json");
    let telemetry = json!({
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
        "metadata": {"name": "a", "namespace": "istio-system"}, "spec": {"tracing": [tracing]},
    });
    std::fs::write(&file, telemetry.to_string())?;
    let mut istioctl = Command::new(interop::peer("istio", "istioctl")?);
    let checked = istioctl.args(["validate", "--filename"]).arg(&file).output().await?;
    let said = [checked.stdout, checked.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(checked.status.success() && said.concat().contains("is valid"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_request_through_the_mesh_is_one_trace() -> Result<()> {
    let ways: [&[&str]; 3] =
        [&["gateway.yaml", "sidecar.yaml"], &["mesh.yaml"], &["traffic-extension.yaml"]];
    for plugins in ways {
        let mesh = Mesh::start(plugins).await?;
        let reply = mesh.send(call("/some/path")).await?;
        assert_eq!(reply.status, 200, "{plugins:?}");

        let spans = mesh.collector.wait_for_spans(3).await?;
        assert_eq!(spans.len(), 3, "{plugins:?}: {spans:#?}");
        let mut parent = CALLER.to_owned();
        for (service, kind, namespace) in [
            ("gateway", SpanKind::Server, "istio-system"),
            ("shop", SpanKind::Client, "shop"),
            ("shop", SpanKind::Server, "shop"),
        ] {
            let span = spans.iter().find(|span| span.parent_id() == parent);
            let span = span.with_context(|| format!("{service} {kind:?}: {spans:#?}"))?;
            let reason = format!("{plugins:?}, {service} {kind:?}: {:#?}", span.resource);
            assert_eq!(span.trace_id(), TRACE, "{reason}");
            assert_eq!(span.span.kind(), kind, "{reason}");
            let resource = |name: &str| span.resource_text(name).unwrap_or_default();
            assert_eq!(resource("service.name"), service, "{reason}");
            assert_eq!(resource("k8s.namespace.name"), namespace, "{reason}");
            assert_eq!(resource("k8s.pod.name"), format!("{service}-0"), "{reason}");
            assert_eq!(resource("k8s.deployment.name"), service, "{reason}");
            assert_eq!(resource("k8s.node.name"), NODE, "{reason}");
            assert_eq!(resource("k8s.cluster.name"), CLUSTER, "{reason}");
            parent = span.span_id();
        }
        let seen = mesh.upstream.last();
        let expected = format!("00-{TRACE}-{parent}-01");
        assert_eq!(seen.header("traceparent"), expected, "{plugins:?}: the service's parent");

        for (proxy, sampled) in [(&mesh.gateway, 1), (&mesh.sidecar, 2)] {
            let counters = Counters::read(proxy.admin_port()).await?;
            let counters =
                Counters::at_rest(proxy.admin_port(), counters.of("span.started")).await?;
            assert_eq!(counters.of("span.sampled"), sampled, "{plugins:?}: {counters:?}");
            assert_eq!(counters.of("exporter.span.exported"), sampled, "{plugins:?}: {counters:?}");
        }
    }
    Ok(())
}

/// A call with two attempts: its CLIENT span and those of the attempts, each with the SERVER span of who was asked below it.
fn retried(spans: &[Span]) -> Option<(&Span, Vec<&Span>)> {
    let below = |parent: &Span, kind: SpanKind| -> Vec<&Span> {
        let is_it = |it: &&Span| it.parent_id() == parent.span_id() && it.span.kind() == kind;
        spans.iter().filter(is_it).collect()
    };
    let calls = spans.iter().map(|call| (call, below(call, SpanKind::Client)));
    let whole = |attempts: &[&Span]| {
        attempts.len() == 2 && attempts.iter().all(|it| below(it, SpanKind::Server).len() == 1)
    };
    calls.into_iter().find(|(_, attempts)| whole(attempts))
}

/// By itself Istio retries no 503.
const RETRIES: &str = r"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: retries, namespace: shop}
spec:
  hosts: [shop.example.com]
  http:
    - retries: {attempts: 1, retryOn: 5xx}
      route: [{destination: {host: shop.example.com}}]
";

#[tokio::test]
async fn in_a_cluster_each_attempt_is_a_span() -> Result<()> {
    let mesh = Mesh::start(&["sidecar.yaml", "attempts.yaml"]).await?;
    mesh.control_plane.apply(RETRIES).await?;
    // The agent may still be fetching the module for the cluster.
    let sent = || async {
        mesh.send(call("/flaky/1")).await.ok()?;
        mesh.collector.spans().ok().filter(|spans| retried(spans).is_some())
    };
    let spans = wait_for("a span for each attempt", sent).await;
    let spans = spans.with_context(|| mesh.sidecar.log())?;
    let (call, mut attempts) = retried(&spans).context("it was there")?;
    attempts.sort_by_key(|span| span.span.start_time_unix_nano);
    assert_eq!((call.span.kind(), call.parent_id()), (SpanKind::Client, CALLER.to_owned()));
    let told = |span: &Span| {
        (span.int("http.response.status_code"), span.int("http.request.resend_count"))
    };
    let found: Vec<_> = attempts.iter().map(|span| told(span)).collect();
    assert_eq!(found, [(Some(503), None), (Some(200), Some(1))], "{spans:#?}");
    for span in attempts {
        assert_eq!(span.trace_id(), TRACE);
        let cluster = span.text("envoy.cluster_name").unwrap_or_default();
        assert!(cluster.ends_with("||shop.example.com"), "{cluster}");
    }
    Ok(())
}

#[tokio::test]
async fn what_authentication_or_authorization_refuses_is_a_span() -> Result<()> {
    let mesh = Mesh::start(&["gateway.yaml"]).await?;
    mesh.control_plane.apply(POLICIES).await?;
    let cases = [
        ("/forbidden", None, 403, "rbac_access_denied_matched_policy"),
        ("/", Some("Bearer not.a.token"), 401, "jwt_authn_access_denied"),
    ];
    for (path, token, status, details) in cases {
        let unsampled = || Call::get(path).header("traceparent", UNSAMPLED);
        let with = |call: Call| match token {
            Some(token) => call.header("authorization", token),
            None => call,
        };
        let refused = || async {
            let reply = mesh.send(with(unsampled())).await.ok()?;
            (reply.status == status).then_some(())
        };
        wait_for(&format!("{path} to be refused with {status}"), refused).await?;

        assert_eq!(mesh.send(with(call(path))).await?.status, status, "{path}");
        let is_it = |span: &Span| span.int("http.response.status_code") == Some(i64::from(status));
        let what = format!("the span of a {status}");
        let spans = mesh.collector.wait_for(&what, |spans| spans.iter().any(is_it)).await?;
        let span = spans.iter().find(|span| is_it(span)).context("it was there")?;
        assert_eq!(span.span.kind(), SpanKind::Server, "{what}");
        assert_eq!((span.trace_id(), span.parent_id()), (TRACE.into(), CALLER.into()), "{what}");
        let said = span.text("envoy.response_code_details").unwrap_or_default();
        assert!(said.starts_with(details), "{what}: {said}");
    }
    Ok(())
}

/// The gateway takes no bad token, and nobody gets `/forbidden`.
const POLICIES: &str = r#"
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules:
    - issuer: https://issuer.example.com
      jwks: '{"keys": [{"kty": "oct", "alg": "HS256", "k": "c2VjcmV0LW9mLXRoZS10ZXN0cw"}]}'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: forbidden, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules:
    - to: [{operation: {paths: ["/forbidden"]}}]
"#;

#[tokio::test]
async fn a_patch_takes_effect_under_traffic() -> Result<()> {
    let mesh = Mesh::start(&["gateway.yaml"]).await?;
    mesh.patch(json!({"pluginConfig": configuration("before")})).await?;
    let traffic = Traffic::start(mesh.port, "/", 2);
    for name in ["before", "after"] {
        if name == "after" {
            mesh.patch(json!({"pluginConfig": configuration(name)})).await?;
        }
        let arrived =
            |spans: &[Span]| spans.iter().any(|it| environment(it).as_deref() == Some(name));
        mesh.collector.wait_for(&format!("spans with what was patched: {name}"), arrived).await?;
    }
    let codes = traffic.stop().await?;
    assert_eq!(codes.keys().collect::<Vec<_>>(), [&200], "no request failed: {codes:?}");

    // Those of the traffic, and those before it.
    let requests = mesh.upstream.seen().len();
    let counters = Counters::at_rest(mesh.gateway.admin_port(), u64::try_from(requests)?).await?;
    let exported = counters.of("exporter.span.exported");
    assert_eq!(exported, counters.of("span.sampled"), "nothing is lost: {counters:?}");
    let of_gateway = |spans: &[Span]| {
        spans
            .iter()
            .filter(|it| it.resource_text("service.name").as_deref() == Some("gateway"))
            .count()
    };
    let expected = usize::try_from(exported)?;
    let spans =
        mesh.collector.wait_for("what was exported", |it| of_gateway(it) >= expected).await?;
    assert_eq!(of_gateway(&spans), expected, "each once");
    Ok(())
}

#[tokio::test]
async fn a_wrong_configuration_leaves_the_old_one_working() -> Result<()> {
    const MESSAGE: &str = r#"configuration: envoy: unknown key "clutser"; accepted: cluster, "#;
    let mesh = Mesh::start(&["gateway.yaml"]).await?;
    mesh.patch(json!({"pluginConfig": {"envoy": {"clutser": "otel", "cluster": null}}})).await?;
    let told = || async { mesh.gateway.log().contains(MESSAGE).then_some(()) };
    wait_for("the proxy's log to say what is wrong", told).await?;
    let told = || async {
        let log = mesh.control_plane.log();
        let is_it = |line: &str| REJECTED.iter().all(|part| line.contains(part));
        log.lines().any(is_it).then_some(())
    };
    let waited = wait_for("istiod's log to say that it was refused", told).await;
    waited.with_context(|| mesh.control_plane.log())?;

    assert_eq!(mesh.send(call("/")).await?.status, 200);
    let spans = mesh.collector.wait_for_spans(1).await?;
    assert_eq!(spans[0].resource_text("service.name").as_deref(), Some("gateway"), "{spans:#?}");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_a_proxy_does_not_know_is_counted_and_told() -> Result<()> {
    const MESSAGE: &str = "the collector does not take spans: there is no cluster ";
    let mesh = Mesh::start(&["gateway.yaml"]).await?;
    let absent = "outbound|4318||absent.observability.svc.cluster.local";
    mesh.patch(json!({"pluginConfig": {"envoy": {"cluster": absent}}})).await?;
    let counted = || async {
        mesh.send(call("/")).await.ok()?;
        let counters = Counters::read(mesh.gateway.admin_port()).await.ok()?;
        (counters.of("exporter.span.failed.no_cluster") > 0).then_some(())
    };
    wait_for("spans to be counted as lost", counted).await?;
    assert!(mesh.gateway.log().contains(MESSAGE), "{}", mesh.gateway.log());
    Ok(())
}

/// What istiod logs of a configuration that a proxy refuses, around the number of the proxy's connection.
const REJECTED: [&str; 2] = [
    "ADS:ECDS: ACK ERROR gateway-0.istio-system-",
    " Internal:Unable to create Wasm plugin istio-system.otel",
];

#[tokio::test]
async fn a_missing_image_does_what_fail_strategy_says() -> Result<()> {
    let mesh = Mesh::start(&["gateway.yaml"]).await?;
    let image = |name: &str| format!("oci://{}/{name}", mesh.registry.address());
    let cases = [
        ("FAIL_OPEN", 200, "applying allow RBAC filter"),
        ("FAIL_CLOSE", 403, "applying deny RBAC filter"),
        ("FAIL_RELOAD", 403, "applying deny RBAC filter"),
    ];
    for (strategy, status, message) in cases {
        let name = format!("absent:{}", strategy.to_lowercase());
        mesh.patch(json!({"url": image(&name), "failStrategy": strategy})).await?;
        let so = || async {
            let reply = mesh.send(call("/missing")).await.ok()?;
            let seen = mesh.upstream.seen().pop()?;
            let parent = seen.headers.get("traceparent")?.to_str().ok()?.to_owned();
            let untraced = parent == format!("00-{TRACE}-{CALLER}-01");
            (reply.status == status && (status != 200 || untraced)).then_some(())
        };
        wait_for(&format!("{strategy}: requests get {status}, untraced"), so).await?;
        let log = mesh.gateway.log();
        let told = log.lines().any(|line| line.contains(&image(&name)) && line.ends_with(message));
        assert!(told, "{strategy}: {message}: {log}");
        mesh.patch(json!({"url": image(interop::registry::NAME)})).await?;
        mesh.serves().await.context(strategy)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_digest_pins_the_image() -> Result<()> {
    let mesh = Mesh::start(&["gateway.yaml"]).await?;
    let pinned = mesh.registry.push().await?;
    let pinned = json!({
        "url": format!("oci://{pinned}"), "failStrategy": "FAIL_CLOSE",
        "pluginConfig": configuration("pinned"),
    });
    mesh.patch(pinned).await?;
    let traced = || async {
        mesh.send(call("/")).await.ok()?;
        let spans = mesh.collector.spans().ok()?;
        spans.iter().any(|it| environment(it).as_deref() == Some("pinned")).then_some(())
    };
    wait_for("a span of the image with this digest", traced).await?;

    let other = "0".repeat(64);
    let url = format!("oci://{}", mesh.registry.image());
    mesh.patch(json!({"url": url, "sha256": other})).await?;
    let refused = || async {
        let reply = mesh.send(call("/")).await.ok()?;
        (reply.status == 403).then_some(())
    };
    wait_for("an image with another digest to be refused", refused).await?;
    let told = format!("which does not match: {other}");
    assert!(mesh.gateway.log().contains(&told), "{told}: {}", mesh.gateway.log());
    Ok(())
}
