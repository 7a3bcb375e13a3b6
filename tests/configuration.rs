//! Configurations in a real Envoy: refused with a message that helps, or in effect.

mod conventions;

use anyhow::Result;
use harness::client::{Call, Http};
use harness::{Bootstrap, Envoy, Span, Stage, client};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

fn edge() -> Result<Bootstrap> {
    Bootstrap::from_file("envoy/envoy.yaml")
}

async fn first_span(stage: &Stage, call: &Call) -> Result<Span> {
    call.send(&Http::One, stage.port()).await?;
    let span = stage.collector.wait_for_spans(1).await?.remove(0);
    conventions::check(&span);
    Ok(span)
}

fn with_variables(edge: Bootstrap, variables: &Value) -> Result<Bootstrap> {
    let variables = json!({"key_values": variables});
    edge.wasm("ingress", "/config/vm_config", "environment_variables", variables)
}

#[tokio::test]
async fn envoy_shows_what_is_wrong() -> Result<()> {
    let cases = [
        (
            r#"{"tracer_provider": {"sampler": {"always_onn": {}}}}"#,
            r#"tracer_provider.sampler: unknown key "always_onn"; accepted: always_on, always_off"#,
        ),
        (r#"{"envoy": {"span_kind": "both"}}"#, r#"envoy.span_kind: found "both"; accepted: auto"#),
        (r#"{"envoy": {"keep": []}}"#, "envoy.keep: not supported by this version"),
        ("{", "not JSON"),
    ];
    for (configuration, message) in cases {
        let validation = Envoy::validate(&edge()?.filter("ingress", configuration)?).await?;
        assert!(!validation.status.success(), "{configuration} is refused");
        assert!(validation.output.contains(message), "{message}: {}", validation.output);
    }
    let structure = json!({
        "@type": "type.googleapis.com/google.protobuf.Struct",
        "value": {"envoy": {"cluster": "otel_collector"}},
    });
    let edge = edge()?.wasm("ingress", "/config", "configuration", structure)?;
    let validation = Envoy::validate(&edge).await?;
    assert!(!validation.status.success(), "a Struct is refused");
    assert!(validation.output.contains("StringValue"), "and explained: {}", validation.output);
    Ok(())
}

#[tokio::test]
async fn every_file_of_envoy_is_valid() -> Result<()> {
    let mut files = 0;
    for entry in std::fs::read_dir(harness::root().join("envoy"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.strip_prefix(harness::root())?.to_string_lossy().into_owned();
            let validation = Envoy::validate(&Bootstrap::from_file(&name)?).await?;
            assert!(validation.status.success(), "{name}: {}", validation.output);
            files += 1;
        }
    }
    assert!(files >= 2, "{files} files");
    Ok(())
}

#[tokio::test]
async fn no_configuration_at_all_is_a_complete_one() -> Result<()> {
    let absent = Stage::start(|edge| edge.wasm("ingress", "/config", "configuration", Value::Null));
    let empty = Stage::start(|edge| edge.filter("ingress", ""));
    let object = Stage::start(|edge| edge.filter("ingress", "{}"));
    for stage in [absent.await?, empty.await?, object.await?] {
        let span = first_span(&stage, &Call::get("/")).await?;
        assert_eq!(span.resource_text("service.name").as_deref(), Some("edge"), "Envoy's node");
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test]
async fn the_service_is_named_by_the_best_source() -> Result<()> {
    let istio = json!({
        "NAME": "cart-1", "NAMESPACE": "shop", "NODE_NAME": "node-1", "WORKLOAD_NAME": "cart-v2",
        "LABELS": {"service.istio.io/canonical-name": "cart"},
    });
    let resource = json!({"attributes": [{"name": "service.name", "value": "configured"}]});
    let configured = json!({"resource": resource}).to_string();
    let variables = json!({
        "OTEL_SERVICE_NAME": "of-variable",
        "OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,service.name=other",
    });
    let mesh = |edge: Bootstrap| edge.node_metadata(istio.clone());
    let stages = [
        (Stage::start(mesh).await?, "cart"),
        (Stage::start(|edge| with_variables(mesh(edge)?, &variables)).await?, "of-variable"),
        (
            Stage::start(|edge| {
                with_variables(mesh(edge)?, &variables)?.filter("ingress", &configured)
            })
            .await?,
            "configured",
        ),
    ];
    for (stage, name) in stages {
        let span = first_span(&stage, &Call::get("/")).await?;
        let of = |key: &str| span.resource_text(key);
        assert_eq!(of("service.name").as_deref(), Some(name));
        assert_eq!(of("k8s.namespace.name").as_deref(), Some("shop"), "{name}");
        assert_eq!(of("k8s.pod.name").as_deref(), Some("cart-1"), "{name}");
        assert_eq!(of("k8s.node.name").as_deref(), Some("node-1"), "{name}");
        let team = (name != "cart").then(|| "a b".to_owned());
        assert_eq!(of("team"), team, "{name}: the variable's list");
    }
    Ok(())
}

#[tokio::test]
async fn the_kind_follows_the_setting_or_the_direction() -> Result<()> {
    let cases = [
        ("auto", None, SpanKind::Server),
        ("auto", Some("INBOUND"), SpanKind::Server),
        ("auto", Some("OUTBOUND"), SpanKind::Client),
        ("server", Some("OUTBOUND"), SpanKind::Server),
        ("client", None, SpanKind::Client),
    ];
    for (setting, direction, kind) in cases {
        let configuration = json!({"envoy": {"span_kind": setting}}).to_string();
        let retry = json!({
            "name": "default", "match": {"prefix": "/flaky"},
            "route": {"cluster": "upstream", "retry_policy": {"retry_on": "5xx", "num_retries": 3}},
        });
        let stage = Stage::start(|edge| {
            let edge = edge.filter("ingress", &configuration)?.route("ingress", retry)?;
            match direction {
                Some(direction) => {
                    edge.listener_part("ingress", "traffic_direction", json!(direction))
                }
                None => Ok(edge),
            }
        })
        .await?;
        let call = Call::get("/flaky/1?q=1").header("host", "shop.example");
        let span = first_span(&stage, &call).await?;
        assert_eq!(span.span.kind(), kind, "{setting}, {direction:?}");
        if kind == SpanKind::Client {
            let url = span.text("url.full");
            assert_eq!(url.as_deref(), Some("http://shop.example/flaky/1?q=1"));
            assert_eq!(span.int("server.port"), Some(80), "the scheme's");
            assert_eq!(span.int("http.request.resend_count"), Some(1), "one retry");
            let peer = span.int("network.peer.port");
            assert_eq!(peer, Some(i64::from(stage.upstream.port())), "the upstream is the peer");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_share_of_traces_is_kept_consistently() -> Result<()> {
    let sampler = json!({"parent_based": {"root": {"trace_id_ratio_based": {"ratio": 0.5}}}});
    let configuration = json!({"tracer_provider": {"sampler": sampler}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    client::load(stage.port(), "/", 400, 4).await?;
    let mut flagged = Vec::new();
    for seen in stage.upstream.seen() {
        let header = seen.header("traceparent");
        let parts: Vec<_> = header.split('-').collect();
        let randomness = u64::from_str_radix(&parts[1][18..], 16)?;
        let kept = randomness >= 1 << 55;
        assert_eq!(parts[3], if kept { "03" } else { "02" }, "{header}");
        let threshold = if kept { "ot=th:8" } else { "" };
        assert_eq!(seen.header("tracestate"), threshold, "{header}");
        if kept {
            flagged.push(parts[1].to_owned());
        }
    }
    assert!((100..300).contains(&flagged.len()), "{} of 400", flagged.len());
    let stats = stage.at_rest(400).await?;
    assert_eq!(stats["span.sampled"], flagged.len() as u64);
    let mut received: Vec<_> = stage.collector.spans().iter().map(Span::trace_id).collect();
    received.sort();
    flagged.sort();
    assert_eq!(received, flagged, "the flagged ones are the spans, and no other");
    Ok(())
}

#[tokio::test]
async fn headers_are_captured_as_lists() -> Result<()> {
    let server = json!({
        "request_captured_headers": ["X-Tag"], "response_captured_headers": ["content-type"],
    });
    let general = json!({"http": {"server": server}});
    let configuration = json!({"instrumentation/development": {"general": general}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    let call = Call::get("/").header("x-tag", "a").header("x-tag", "b");
    let span = first_span(&stage, &call).await?;
    assert_eq!(span.texts("http.request.header.x-tag"), Some(vec!["a".into(), "b".into()]));
    let expected = Some(vec!["text/plain".into()]);
    assert_eq!(span.texts("http.response.header.content-type"), expected);
    Ok(())
}

#[tokio::test]
async fn what_is_switched_off_stays_off() -> Result<()> {
    let disabled = Stage::start(|edge| edge.filter("ingress", r#"{"disabled": true}"#)).await?;
    let off = json!({"OTEL_SDK_DISABLED": "true"});
    let by_variable = Stage::start(|edge| with_variables(edge, &off)).await?;
    for stage in [disabled, by_variable] {
        let reply =
            Call::get("/").header("tracestate", "a=1").send(&Http::One, stage.port()).await?;
        assert_eq!(reply.status, 200);
        let seen = stage.upstream.last();
        assert_eq!(seen.header("traceparent"), "", "nothing is added");
        assert_eq!(seen.header("tracestate"), "a=1", "nothing is taken away");
    }
    let nothing = r#"{"propagator": {"composite_list": "none"}}"#;
    let silent = Stage::start(|edge| edge.filter("ingress", nothing)).await?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let span = first_span(&silent, &Call::get("/").header("traceparent", parent)).await?;
    assert_eq!(span.parent_id(), "", "no context is read");
    assert_eq!(silent.upstream.last().header("traceparent"), parent, "and none is written");
    let off = json!({"OTEL_TRACES_SAMPLER": "always_off"});
    let dropped = Stage::start(|edge| with_variables(edge, &off)?.filter("ingress", "{}")).await?;
    client::get(dropped.port(), "/").await?;
    let stats = dropped.at_rest(1).await?;
    assert_eq!(stats["span.sampled"], 0, "OTEL_TRACES_SAMPLER");
    Ok(())
}

#[tokio::test]
async fn prometheus_has_the_counters() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    client::get(stage.port(), "/").await?;
    stage.at_rest(1).await?;
    let text = stage.envoy.prometheus().await?;
    for (name, kind, value) in [
        ("otel_sdk_span_started", "counter", 1),
        ("otel_sdk_exporter_span_exported", "counter", 1),
        ("otel_sdk_exporter_span_queued", "gauge", 0),
    ] {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(name)).collect();
        assert!(lines.iter().any(|line| line.ends_with(&format!(" {kind}"))), "{name}: {lines:?}");
        assert!(
            lines.iter().any(|line| line.ends_with(&format!("}} {value}"))),
            "{name}: {lines:?}"
        );
    }
    Ok(())
}
