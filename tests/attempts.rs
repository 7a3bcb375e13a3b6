//! The filter among a cluster's filters: a CLIENT span for each attempt of Envoy's router, all of them children of the span that the request
//! has, whichever filter or tracer has made that.

mod clusters;
mod conventions;

use anyhow::{Context, Result};
use clusters::{OPTIONS, in_both, in_cluster_too, in_clusters_alone, manifest, retried, routes};
use harness::client::{Call, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use std::collections::BTreeMap;

/// An attempt as its span tells it: which one it is, its status, its `error.type`, its cluster.
type Attempt<'a> = (i64, Option<i64>, Option<&'a str>, &'a str);

fn told(span: &Span) -> (i64, Option<i64>, Option<String>, Option<String>) {
    let resend_count = span.int("http.request.resend_count").unwrap_or_default();
    let number = span.int("envoy.request_attempt_count").unwrap_or_default();
    // gRPC spans have no count of resends.
    if !span.attributes().contains_key("rpc.method") {
        assert_eq!(resend_count, number - 1, "{:#?}", span.attributes());
    }
    let status = span.int("http.response.status_code");
    (number, status, span.text("error.type"), span.text("envoy.cluster_name"))
}

/// The SERVER span, and the CLIENT spans in the order in which they began.
fn sorted(mut spans: Vec<Span>) -> (Vec<Span>, Vec<Span>) {
    spans.iter().for_each(conventions::check);
    spans.sort_by_key(|span| span.span.start_time_unix_nano);
    spans.into_iter().partition(|span| span.span.kind() == SpanKind::Server)
}

/// Makes a call and holds what becomes of it against what is expected.
async fn check(stage: &Stage, call: &Call, attempts: &[Attempt<'_>], reason: &str) -> Result<()> {
    stage.collector.clear();
    stage.upstream.clear();
    call.send(&Http::One, stage.port()).await.context(reason.to_owned())?;
    let spans =
        stage.collector.wait_for_spans(attempts.len() + 1).await.context(reason.to_owned())?;
    let (mut servers, clients) = sorted(spans);
    let all: Vec<_> = servers.iter().chain(&clients).map(Span::attributes).collect();
    assert_eq!(servers.len(), 1, "{reason}: {all:?}");
    let server = servers.remove(0);
    let found: Vec<_> = clients.iter().map(told).collect();
    let expected: Vec<_> = attempts
        .iter()
        .map(|(number, status, error, cluster)| {
            (*number, *status, error.map(str::to_owned), Some((*cluster).to_owned()))
        })
        .collect();
    assert_eq!(found, expected, "{reason}: {all:?}");
    for client in &clients {
        assert_eq!(client.span.kind(), SpanKind::Client, "{reason}");
        assert_eq!(client.trace_id(), server.trace_id(), "{reason}: one trace");
        assert_eq!(client.parent_id(), server.span_id(), "{reason}: siblings, below the request's");
        let (start, end) = (client.span.start_time_unix_nano, client.span.end_time_unix_nano);
        assert!(
            start >= server.span.start_time_unix_nano && start <= end,
            "{reason}: its own time"
        );
    }
    // Each upstream gets the context of its own attempt.
    let seen: Vec<_> = stage.upstream.seen().iter().map(|it| it.header("traceparent")).collect();
    for traceparent in &seen {
        let names = |client: &Span| traceparent.contains(&client.span_id());
        assert_eq!(clients.iter().filter(|it| names(it)).count(), 1, "{reason}: {seen:?}");
    }
    Ok(())
}

/// The calls, and the attempts that each of them becomes.
fn cases() -> Vec<(Call, Vec<Attempt<'static>>, &'static str)> {
    let up = "upstream";
    vec![
        (Call::get("/a"), vec![(1, Some(200), None, up)], "one attempt"),
        (
            Call::get("/flaky/1"),
            vec![(1, Some(503), Some("503"), up), (2, Some(200), None, up)],
            "a retry",
        ),
        (
            Call::get("/http2/flaky/1"),
            vec![
                (1, Some(503), Some("503"), "upstream_http2"),
                (2, Some(200), None, "upstream_http2"),
            ],
            "a retry over HTTP/2",
        ),
        (
            Call::get("/http3/flaky/1"),
            vec![
                (1, Some(503), Some("503"), "upstream_http3"),
                (2, Some(200), None, "upstream_http3"),
            ],
            "a retry over HTTP/3",
        ),
        (Call::get("/full"), vec![(1, None, Some("no_connection"), "full")], "a circuit breaker"),
        (Call::get("/crowded"), vec![], "one that lets no request wait: there is no attempt"),
        (Call::get("/status/404"), vec![(1, Some(404), Some("404"), up)], "a client's error"),
        (
            Call::get("/reset"),
            vec![(1, None, Some("reset"), up), (2, None, Some("reset"), up)],
            "closed connections",
        ),
        (
            Call::get("/refused"),
            vec![(1, None, Some("UF"), "closed"), (2, None, Some("UF"), "closed")],
            "no connection",
        ),
        (
            Call::get("/delay/60001"),
            vec![(1, None, Some("UT"), up), (2, None, Some("UT"), up)],
            "too slow, each",
        ),
        (Call::get("/delay/60002"), vec![(1, None, Some("UT"), up)], "too slow in all"),
        (
            Call::get("/delay/1000"),
            vec![(1, Some(200), None, up), (2, None, None, up)],
            "hedged: the second one was not needed",
        ),
        (
            Call::get("/redirect"),
            vec![(1, Some(302), None, up), (1, Some(200), None, up)],
            "an internal redirect",
        ),
        (
            Call::get("/mirrored"),
            vec![(1, Some(200), None, up), (1, Some(200), None, "mirror")],
            "a shadow request",
        ),
        (
            Call::grpc("/test.Echo/Hang"),
            vec![
                (1, None, Some("UNAVAILABLE"), "upstream_http2"),
                (2, None, Some("UNAVAILABLE"), "upstream_http2"),
            ],
            "gRPC, too slow",
        ),
    ]
}

#[tokio::test]
async fn each_attempt_is_a_span_below_that_of_its_request() -> Result<()> {
    let (certificate, folder) = (Certificate::new()?, harness::folder()?);
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, &certificate.chain)?;
    let stage = Stage::start(|edge| in_both(edge, &certificate, &authority)).await?;
    let up = "upstream";
    let mut all = 0;
    for (call, attempts, reason) in cases() {
        check(&stage, &call, &attempts, reason).await?;
        all += attempts.len() + 1;
    }
    // A caller that leaves has no error of the upstream's.
    stage.collector.clear();
    stage.upstream.clear();
    let arrived = || async { (!stage.upstream.seen().is_empty()).then_some(()) };
    Call::get("/delay/60003").abandon(&Http::One, stage.port(), arrived).await?;
    let (servers, clients) = sorted(stage.collector.wait_for_spans(2).await?);
    assert_eq!(
        clients.iter().map(told).collect::<Vec<_>>(),
        [(1, None, None, Some(up.to_owned()))]
    );
    assert_eq!(clients[0].parent_id(), servers[0].span_id());
    assert_eq!(clients[0].texts("envoy.response_flags").unwrap_or_default(), ["DC"]);
    all += 2;

    for counter in ["exporter.span.exported", "span.sampled"] {
        let name = format!("wasmcustom.otel.sdk.{counter}");
        counted(&stage, &name, u64::try_from(all)?).await?;
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// The filter's counters wherever they stand: up to Envoy 1.38, those of a filter in a cluster are under that cluster's name.
async fn counted(stage: &Stage, name: &str, count: u64) -> Result<()> {
    let sum = |stats: &BTreeMap<String, u64>| -> u64 {
        let ours = stats.iter().filter(|(known, _)| known.ends_with(name));
        ours.map(|(_, count)| count).sum()
    };
    stage.envoy.wait_for_stats(name, |stats| sum(stats) == count).await.map(drop)
}

#[tokio::test]
async fn each_attempt_is_a_span_below_that_of_envoys_own_tracer() -> Result<()> {
    let stage = Stage::start(|edge| {
        let edge = in_clusters_alone(edge, r#"{"envoy": {"cluster": "otel_collector"}}"#)?;
        let edge = edge.native_tracer("ingress", 100.0)?;
        edge.runtime(json!({"tracing.opentelemetry.min_flush_spans": 1}))
    })
    .await?;
    assert_eq!(Call::get("/flaky/1").send(&Http::One, stage.port()).await?.status, 200);
    let spans = stage.collector.wait_for_spans(3).await?;
    let (mut attempts, native): (Vec<_>, Vec<_>) =
        spans.into_iter().partition(|span| span.scope.name == "otel-proxy-wasm");
    attempts.sort_by_key(|span| span.span.start_time_unix_nano);
    let found: Vec<_> = attempts.iter().map(told).collect();
    let up = || Some("upstream".to_owned());
    let error = Some("503".to_owned());
    assert_eq!(found, [(1, Some(503), error, up()), (2, Some(200), None, up())]);
    assert_eq!(native.len(), 1, "Envoy's own is there, too");
    for (span, seen) in attempts.iter().zip(stage.upstream.seen()) {
        conventions::check(span);
        assert_eq!(span.span.kind(), SpanKind::Client);
        assert_eq!(span.trace_id(), native[0].trace_id(), "one trace");
        assert_eq!(span.parent_id(), native[0].span_id(), "below Envoy's own span");
        let expected = format!("00-{}-{}-01", span.trace_id(), span.span_id());
        assert_eq!(seen.header("traceparent"), expected, "the service goes on with the attempt");
    }
    counted(&stage, "wasmcustom.otel.sdk.exporter.span.exported", 2).await?;
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn rules_keep_the_attempts_that_failed() -> Result<()> {
    // In a listener's chain the second rule would hold of each request. An attempt is not asked for the caller's address: that of a shadow
    // request has none, and Envoy would crash.
    let rules = r#"{
        "tracer_provider": {"sampler": {"parent_based": {"root": {"always_off": {}}}}},
        "envoy": {"cluster": "otel_collector", "keep": [
            {"error": {}},
            {"name": "peer", "condition": "source.address != ''"},
            {"name": "here", "slower_than": 0, "attribute_values": {"key": "client.address", "values": ["127.0.0.1"]}}
        ]}
    }"#;
    let stage = Stage::start(|edge| in_clusters_alone(edge, rules)).await?;
    for path in ["/a", "/mirrored", "/flaky/1", "/flaky/2"] {
        let status = if path == "/flaky/2" { 503 } else { 200 };
        assert_eq!(Call::get(path).send(&Http::One, stage.port()).await?.status, status, "{path}");
    }
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let call = Call::get("/status/500").header("traceparent", unsampled);
    assert_eq!(call.send(&Http::One, stage.port()).await?.status, 500);
    let mut spans = stage.collector.wait_for_spans(4).await?;
    spans.sort_by_key(|span| span.span.start_time_unix_nano);
    let [hidden, first, second, last] = spans.as_slice() else { panic!("{spans:#?}") };
    for span in &spans {
        conventions::check(span);
        assert_eq!(span.span.kind(), SpanKind::Client);
        assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("error"));
    }
    assert_eq!(told(hidden).0, 1, "a failure that the retry has hidden from the caller");
    assert_eq!((told(first).0, told(second).0), (1, 2), "both attempts of a request that failed");
    assert_eq!(first.trace_id(), second.trace_id(), "of one trace");
    assert_eq!((first.parent_id(), second.parent_id()), (String::new(), String::new()));
    assert_eq!(last.int("http.response.status_code"), Some(500));
    assert_eq!(last.parent_id(), "00f067aa0ba902b7", "below the caller's, who had let it go");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// Istio sends the filter by its own way, and Envoy Gateway patches its own cluster: here both are files, and Envoy's own.
#[tokio::test]
async fn what_the_manifests_put_into_a_cluster_works_in_an_envoy() -> Result<()> {
    let folder = harness::folder()?;
    for path in ["examples/istio/attempts.yaml", "examples/envoy-gateway/attempts.yaml"] {
        let (mut options, extension) = manifest(path)?;
        let mut filter = options[OPTIONS]["http_filters"][0].clone();
        if let Some(mut extension) = extension {
            let module = json!({"local": {"filename": harness::module()?}});
            let config = &mut extension["typed_config"]["config"];
            config["vm_config"]["code"] = module;
            let to_collector = config["configuration"]["value"].as_str().context("a text")?;
            let collector = "outbound|4318||otel-collector.observability.svc.cluster.local";
            assert!(to_collector.contains(collector));
            config["configuration"]["value"] =
                json!(to_collector.replace(collector, "otel_collector"));
            extension["@type"] =
                json!("type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig");
            let file = folder.path().join("extension.json");
            std::fs::write(&file, json!({"resources": [extension]}).to_string())?;
            let discovery = &mut filter["config_discovery"];
            assert_eq!(discovery["config_source"]["ads"], json!({}));
            discovery["config_source"] = json!({"path_config_source": {"path": file}});
        }
        options[OPTIONS]["http_filters"][0] = filter;
        let stage = Stage::start(|edge| {
            let edge = routes(edge, [retried()])?;
            edge.cluster_part("upstream", "typed_extension_protocol_options", options)
        })
        .await?;
        let up = "upstream";
        let attempts = [(1, Some(503), Some("503"), up), (2, Some(200), None, up)];
        check(&stage, &Call::get("/flaky/1"), &attempts, path).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_has_a_client_span_in_the_chain_gets_no_other() -> Result<()> {
    let chain = r#"{"envoy": {"cluster": "otel_collector", "span_kind": "server_and_client"}}"#;
    let stage = Stage::start(|edge| in_cluster_too(edge, chain)).await?;
    Call::get("/flaky/1").send(&Http::One, stage.port()).await?;
    stage.collector.wait_for_spans(2).await?;
    // Whatever comes before this one's spans has come.
    Call::get("/last").send(&Http::One, stage.port()).await?;
    let spans = stage.collector.wait_for_spans(4).await?;
    let (servers, clients) = sorted(spans);
    assert_eq!((servers.len(), clients.len()), (2, 2), "no third span");
    let seen: Vec<_> = stage.upstream.seen().iter().map(|it| it.header("traceparent")).collect();
    let of = |number: usize| clients[number].span_id();
    for (traceparent, id) in seen.iter().zip([of(0), of(0), of(1)]) {
        assert!(traceparent.contains(&id), "the chain's CLIENT span is the parent: {seen:?}");
    }
    assert_eq!(seen.len(), 3, "a retry");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
