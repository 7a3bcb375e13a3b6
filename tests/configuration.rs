//! Configurations in a real Envoy: refused with a message that helps, or in effect.

mod conventions;

use anyhow::{Context, Result};
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
    let mut variables = variables.clone();
    // Spans come soon.
    variables["OTEL_BSP_SCHEDULE_DELAY"] = json!("50");
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
        (r#"{"envoy": {"span_kind": "both"}}"#, "envoy.span_kind: found a string; accepted: auto"),
        (r#"{"meter_provider": {}}"#, "meter_provider: not supported by this version"),
        (
            r#"{"envoy": {"keep": [{"condition": "response.code =="}]}}"#,
            "envoy.keep[0].condition: found a string; accepted: a CEL expression over Envoy's attributes",
        ),
        (r#"{"envoy": {"cluster": 5}}"#, "envoy.cluster: found a number; accepted: "),
        (r#"{"sampler": {}}"#, r#"unknown key "sampler"; accepted: "#),
        ("{", "not JSON"),
    ];
    for (configuration, message) in cases {
        let validation = Envoy::validate(&edge()?.filter("ingress", configuration)?).await?;
        assert!(!validation.status.success(), "{configuration} is refused");
        assert!(validation.output.contains(message), "{message}: {}", validation.output);
    }
    for exporter in [
        r#"{"otlp_http": [{"headers_list": "api-key=s3cret"}]}"#,
        r#"{"otlp_http": {"headers": {"s3cret": ""}}}"#,
        r#"{"otlp_http": {"endpoint": "https://user:s3cret%40vendor.example"}}"#,
    ] {
        let configuration = format!(
            r#"{{"tracer_provider": {{"processors": [{{"batch": {{"exporter": {exporter}}}}}]}}}}"#
        );
        let validation = Envoy::validate(&edge()?.filter("ingress", &configuration)?).await?;
        let output = &validation.output;
        assert!(!validation.status.success(), "{configuration} is refused");
        assert!(output.contains(".batch.exporter.otlp_http"), "with its place: {output}");
        assert!(!output.contains("s3cret"), "and without a secret: {output}");
    }
    let structure = json!({
        "@type": "type.googleapis.com/google.protobuf.Struct",
        "value": {"envoy": {"cluster": "otel_collector"}},
    });
    let edge = edge()?.wasm("ingress", "/config", "configuration", structure)?;
    let validation = Envoy::validate(&edge).await?;
    assert!(!validation.status.success(), "a Struct is refused");
    assert!(validation.output.contains("StringValue"), "and explained: {}", validation.output);
    let started =
        Stage::start(|edge| edge.filter("ingress", r#"{"envoy": {"clutser": "x"}}"#)).await;
    let error = started.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(error.contains(r#"envoy: unknown key "clutser""#), "nor does Envoy start: {error}");
    Ok(())
}

#[tokio::test]
async fn a_warning_stands_in_the_log_once() -> Result<()> {
    let configuration = r#"{"file_format": "1.9", "tracer_provider": {"processors": [{"batch": {
        "exporter": {"otlp_http": {"endpoint": "https://vendor.example/v1/traces"}}}}]}}"#;
    let variables = json!({"OTEL_TRACES_SAMPLER": "s3cret"});
    let bootstrap = with_variables(edge()?.filter("ingress", configuration)?, &variables)?;
    let envoy = Envoy::with_workers(bootstrap.copy_listener("ingress", "other")?, 4).await?;
    let complaints = envoy.complaints();
    let expected = [
        "configuration: file_format: it is later than 1.1, which is read",
        "configuration: OTEL_TRACES_SAMPLER=\"…\" is ignored; accepted: always_on, ",
        "configuration: the endpoint is https, which does nothing: the cluster decides",
    ];
    assert_eq!(complaints.len(), expected.len(), "once for all workers: {complaints:#?}");
    for warning in expected {
        assert!(complaints.iter().any(|it| it.contains(warning)), "{warning}: {complaints:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn values_hold_variables_of_the_vm() -> Result<()> {
    let exporter = json!({"otlp_http": {
        "headers": [{"name": "api-key", "value": "${API_KEY}"}, {"name": "cost", "value": "$$5"}],
        "headers_list": "x-tenant=${env:TENANT:-shop}",
    }});
    let configuration = json!({
        "resource": {"attributes_list": "team=${TEAM},zone=${ZONE}"},
        "tracer_provider": {
            "sampler": {"trace_id_ratio_based": {"ratio": "${SHARE}"}},
            "processors": [{"batch": {"schedule_delay": "${DELAY:-50}", "exporter": exporter}}],
        },
    });
    let variables = json!({"API_KEY": "s3cret ${TEAM}", "TEAM": "a%20b", "SHARE": "1.0"});
    let stage = Stage::start(|edge| {
        with_variables(edge.filter("ingress", &configuration.to_string())?, &variables)
    })
    .await?;
    let span = first_span(&stage, &Call::get("/")).await?;
    assert_eq!(span.resource_text("team").as_deref(), Some("a b"));
    assert_eq!(span.resource_text("zone").as_deref(), Some(""), "no such variable");
    let exports = stage.collector.exports();
    let export = exports.first().context("an export")?;
    for (name, value) in [("api-key", "s3cret ${TEAM}"), ("cost", "$5"), ("x-tenant", "shop")] {
        assert_eq!(export.headers[name], value, "{name}");
    }
    let complaints = stage.envoy.complaints();
    let [warning] = complaints.as_slice() else { panic!("one warning: {complaints:#?}") };
    assert!(warning.contains("resource.attributes_list: a variable in it is not set"), "{warning}");
    let malformed = r#"{"envoy": {"cluster": "${CLUSTER"}}"#;
    let validation = Envoy::validate(&edge()?.filter("ingress", malformed)?).await?;
    let refusal = "envoy.cluster: found a ${ that begins no reference to a variable";
    assert!(!validation.status.success(), "a reference without an end is refused");
    assert!(validation.output.contains(refusal), "{}", validation.output);
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
    let pod = json!({"NAME": "cart-1", "NAMESPACE": "shop", "NODE_NAME": "node-1"});
    let with = |pod: &Value, key: &str, value: Value| {
        let mut pod = pod.clone();
        pod[key] = value;
        pod
    };
    let workload = with(&pod, "WORKLOAD_NAME", json!("cart-v2"));
    // As YAML has it where nobody writes quotes.
    let number = with(&pod, "WORKLOAD_NAME", json!(9.7));
    let number = with(&number, "CLUSTER_ID", json!(true));
    let number = with(&number, "LABELS", json!({"service.istio.io/canonical-revision": 2.0}));
    let labels = json!({"service.istio.io/canonical-name": "cart"});
    let canonical = with(&workload, "LABELS", labels);
    let list = json!({"OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,service.name=of-list"});
    let name = with(&list, "OTEL_SERVICE_NAME", json!("of-variable"));
    let text = |resource: Value| json!({"resource": resource}).to_string();
    let listed = text(json!({"attributes_list": "service.name=of-attributes-list"}));
    let configured = text(json!({
        "attributes": [{"name": "service.name", "value": "configured"}],
        "attributes_list": "service.name=of-attributes-list",
    }));
    let unnamed = text(json!({"attributes": [{"name": "service.name", "value": ""}]}));
    // From the best source down to none at all.
    let cases = [
        (&canonical, &name, configured.as_str(), json!("edge"), "configured"),
        (&canonical, &name, &listed, json!("edge"), "of-attributes-list"),
        (&canonical, &name, "{}", json!("edge"), "of-variable"),
        (&canonical, &list, "{}", json!("edge"), "of-list"),
        (&canonical, &json!({}), "{}", json!("edge"), "cart"),
        (&workload, &json!({}), "{}", json!("edge"), "cart-v2"),
        (&number, &json!({}), "{}", json!("edge"), "edge"),
        (&pod, &json!({}), "{}", json!("edge"), "edge"),
        (&pod, &json!({}), &unnamed, json!("edge"), "edge"),
        (&pod, &json!({}), "{}", Value::Null, "unknown_service:envoy"),
    ];
    for (metadata, variables, configuration, cluster, name) in cases {
        let stage = Stage::start(|edge| {
            let edge = edge.node("metadata", metadata.clone())?.node("cluster", cluster)?;
            with_variables(edge.filter("ingress", configuration)?, variables)
        })
        .await?;
        let span = first_span(&stage, &Call::get("/")).await?;
        let of = |key: &str| span.resource_text(key);
        assert_eq!(of("service.name").as_deref(), Some(name));
        for namespace in ["service.namespace", "k8s.namespace.name"] {
            assert_eq!(of(namespace).as_deref(), Some("shop"), "{name}");
        }
        for absent in ["service.version", "k8s.cluster.name"] {
            assert_eq!(of(absent), None, "{name}: no text says so");
        }
        assert_eq!(of("k8s.pod.name").as_deref(), Some("cart-1"), "{name}");
        assert_eq!(of("k8s.node.name").as_deref(), Some("node-1"), "{name}");
        let team = variables.get("OTEL_RESOURCE_ATTRIBUTES").map(|_| "a b".to_owned());
        assert_eq!(of("team"), team, "{name}: the variable's list");
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "{name}");
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
        ("client", Some("INBOUND"), SpanKind::Client),
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
        stage.collector.clear();
        let call = Call::get("/status/404?sig=x").header("host", "shop.example:8080");
        let span = first_span(&stage, &call).await?;
        assert_eq!(span.is_error(), kind == SpanKind::Client, "{setting}: whose mistake a 404 is");
        assert_eq!(span.int("http.request.resend_count"), None, "{setting}: no retry, no count");
        assert_eq!(span.int("server.port"), Some(8080), "{setting}: as the client wrote it");
        let url = (kind == SpanKind::Client)
            .then(|| "http://shop.example:8080/status/404?sig=REDACTED".to_owned());
        assert_eq!(span.text("url.full"), url, "{setting}");
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
    assert!(flagged.windows(2).all(|pair| pair[0] != pair[1]), "each trace has its own id");
    assert_eq!(received, flagged, "the flagged ones are the spans, and no other");
    Ok(())
}

#[tokio::test]
async fn the_randomness_of_the_caller_decides() -> Result<()> {
    let sampler = json!({"trace_id_ratio_based": {"ratio": 0.25}});
    let configuration = json!({"tracer_provider": {"sampler": sampler}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    let mut expected = Vec::new();
    for n in 1..=400_u128 {
        // Distinct, and spread over all values: an odd number's multiples.
        let trace = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let (low, explicit) = (trace & ((1 << 56) - 1), (!trace >> 64) & ((1 << 56) - 1));
        // Whether the caller sampled is not asked here. Some callers have randomness of their own.
        let (flags, rv) = (n % 4, n.is_multiple_of(5));
        let mut call = Call::get("/");
        call = call.header("traceparent", format!("00-{trace:032x}-00f067aa0ba902b7-{flags:02x}"));
        let vendor = if rv { format!("vendor=1,ot=rv:{explicit:014x}") } else { "vendor=1".into() };
        call.header("tracestate", vendor).send(&Http::One, stage.port()).await?;
        let kept = if rv { explicit } else { low } >= 3 << 54;
        let seen = stage.upstream.last();
        let sent = seen.header("traceparent");
        assert!(sent.starts_with(&format!("00-{trace:032x}-")), "{sent}: the trace goes on");
        let flag = format!("-{:02x}", (flags & 2) | u128::from(kept));
        assert!(sent.ends_with(&flag), "{sent}: {flag} of {trace:032x}, {explicit:014x}");
        let members = seen.header("tracestate");
        assert_eq!(members.contains("th:c"), kept, "{members}: the threshold, if it holds");
        assert_eq!(members.contains(&format!("rv:{explicit:014x}")), rv, "{members}: is not lost");
        assert_eq!(members.matches("vendor=1").count(), 1, "{members}: a vendor's member stays");
        assert!(!kept || members.starts_with("ot="), "{members}: what we wrote is the first");
        if kept {
            expected.push(format!("{trace:032x}"));
        }
    }
    assert!((60..140).contains(&expected.len()), "{} of 400", expected.len());
    let stats = stage.at_rest(400).await?;
    assert_eq!(stats["span.sampled"], expected.len() as u64);
    let spans = stage.collector.spans();
    spans.iter().for_each(conventions::check);
    let mut received: Vec<_> = spans.iter().map(Span::trace_id).collect();
    received.sort();
    expected.sort();
    assert_eq!(received, expected, "the flagged ones are the spans, and no other");
    Ok(())
}

#[tokio::test]
async fn headers_are_captured_as_lists() -> Result<()> {
    let headers = json!({
        "request_captured_headers": ["X-Tag", "x-absent"],
        "response_captured_headers": ["content-type"],
    });
    let other = json!({"request_captured_headers": ["x-other"]});
    for (kind, others) in [("server", "client"), ("client", "server")] {
        let http = json!({kind: headers, others: other});
        let general = json!({"general": {"http": http}});
        let configuration =
            json!({"instrumentation/development": general, "envoy": {"span_kind": kind}});
        let configuration = configuration.to_string();
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
        let call = Call::get("/").header("x-tag", "a").header("x-tag", "b").header("x-other", "c");
        let span = first_span(&stage, &call).await?;
        let tags = span.texts("http.request.header.x-tag");
        assert_eq!(tags, Some(vec!["a".into(), "b".into()]), "{kind}: each value");
        let types = span.texts("http.response.header.content-type");
        assert_eq!(types, Some(vec!["text/plain".into()]), "{kind}");
        let attributes = span.attributes();
        assert!(!attributes.contains_key("http.request.header.x-absent"), "{kind}: not sent");
        assert!(!attributes.contains_key("http.request.header.x-other"), "{kind}: for {others}");
    }
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
        let stats = stage.envoy.stats().await?;
        let ours = stats.iter().find(|(name, _)| name.starts_with("wasmcustom."));
        assert_eq!(ours, None, "nothing is counted");
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
