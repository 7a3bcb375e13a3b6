//! What README's table says of this filter and of Envoy's own OpenTelemetry tracer: both in the same Envoy's configuration, under the
//! same requests. Where a newer Envoy does better, a test fails, and the table has to follow.

#[path = "files/dynamic.rs"]
#[expect(dead_code, reason = "these tests write the files whole")]
mod dynamic;

use anyhow::{Context, Result};
use dynamic::{Dynamic, ecds, replace};
use harness::client::{self, Call, Http};
use harness::{Bootstrap, Receiver, Span, Stage, free_port};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

/// Who traces.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tracer {
    Filter,
    /// Envoy's own, which exports each span at once.
    Native,
}

const BOTH: [Tracer; 2] = [Tracer::Filter, Tracer::Native];

impl Tracer {
    fn on(self, edge: Bootstrap) -> Result<Bootstrap> {
        match self {
            Self::Filter => Ok(edge),
            Self::Native => edge
                .native_tracer("ingress", 100.0)?
                .runtime(json!({"tracing.opentelemetry.min_flush_spans": 1})),
        }
    }

    /// How many spans a tracer claims to have delivered.
    fn delivered(self, stats: &BTreeMap<String, u64>) -> usize {
        let name = match self {
            Self::Filter => "wasmcustom.otel.sdk.exporter.span.exported",
            Self::Native => "tracing.opentelemetry.spans_sent",
        };
        stats.get(name).map_or(0, |count| usize::try_from(*count).expect("few"))
    }
}

async fn requests(stage: &Stage, count: usize) -> Result<()> {
    for number in 0..count {
        assert_eq!(client::get(stage.port(), &format!("/{number}")).await?.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn of_an_outage_of_the_collector_the_filter_alone_delivers_the_spans() -> Result<()> {
    const EACH: usize = 30;
    for tracer in BOTH {
        let port = free_port()?;
        let mut stage =
            Stage::start(|edge| tracer.on(edge.cluster("otel_collector", port)?)).await?;
        let claims = |count: usize| {
            let claimed = move |stats: &BTreeMap<String, u64>| tracer.delivered(stats) >= count;
            stage.envoy.wait_for_stats("delivered spans", claimed)
        };
        requests(&stage, EACH).await?;
        let refused = |stats: &BTreeMap<String, u64>| {
            stats.get("cluster.otel_collector.upstream_cx_connect_fail") >= Some(&1)
        };
        stage.envoy.wait_for_stats("a refused connection", refused).await?;
        if tracer == Tracer::Native {
            claims(EACH).await?;
        }
        let collector = Receiver::on(port).await?;
        requests(&stage, EACH).await?;
        claims(2 * EACH).await?;
        let spans = match tracer {
            Tracer::Filter => collector.wait_for_spans(2 * EACH).await?,
            Tracer::Native => collector.wait_for_spans(EACH).await?,
        };
        let arrived: BTreeSet<_> = spans.iter().map(Span::span_id).collect();
        let stats = stage.envoy.stats().await?;
        assert_eq!(tracer.delivered(&stats), 2 * EACH, "{tracer:?}: what it says of itself");
        if tracer == Tracer::Native {
            let dropped = stats.get("tracing.opentelemetry.spans_dropped");
            assert_eq!(dropped, Some(&0), "and of what it lost");
        }
        let expected = match tracer {
            Tracer::Filter => 2 * EACH,
            Tracer::Native => EACH,
        };
        assert_eq!(arrived.len(), expected, "{tracer:?}: what arrived");
        stage.collector = collector;
    }
    Ok(())
}

/// The span of a request.
async fn span(tracer: Tracer, call: &Call) -> Result<Span> {
    let stage = Stage::start(|edge| tracer.on(edge)).await?;
    call.send(&Http::One, stage.port()).await?;
    Ok(stage.collector.wait_for_spans(1).await?.remove(0))
}

/// All values of a span's attributes.
fn values(span: &Span) -> String {
    format!("{:?}", span.attributes())
}

#[tokio::test]
async fn the_filter_alone_redacts_secrets() -> Result<()> {
    let call = Call::get("/files?sig=c2VjcmV0&page=2");
    let [ours, native] = [span(Tracer::Filter, &call).await?, span(Tracer::Native, &call).await?];
    assert!(!values(&ours).contains("c2VjcmV0"), "{}", values(&ours));
    assert_eq!(ours.text("url.query").as_deref(), Some("sig=REDACTED&page=2"));
    assert!(values(&native).contains("c2VjcmV0"), "{}", values(&native));
    Ok(())
}

#[tokio::test]
async fn names_and_types_are_those_of_the_conventions_with_the_filter_alone() -> Result<()> {
    let call = Call::get("/status/404");
    let [ours, native] = [span(Tracer::Filter, &call).await?, span(Tracer::Native, &call).await?];
    assert_eq!(
        (ours.span.name.as_str(), ours.int("http.response.status_code")),
        ("GET", Some(404))
    );
    assert_eq!(native.span.name, "ingress");
    assert_eq!(native.text("http.status_code").as_deref(), Some("404"), "a text, of an old name");
    assert_eq!(native.int("http.response.status_code"), None);
    let routes = json!({"envoy": {"routes": ["/users/{id}"]}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &routes)).await?;
    Call::get("/users/7").send(&Http::One, stage.port()).await?;
    let spans = stage.collector.wait_for_spans(1).await?;
    assert_eq!(spans[0].span.name, "GET /users/{id}", "with a template");
    Ok(())
}

#[tokio::test]
async fn a_grpc_call_is_one_of_the_conventions_with_the_filter_alone() -> Result<()> {
    for tracer in BOTH {
        let stage = Stage::start(|edge| tracer.on(edge)).await?;
        Call::grpc("/shop.Cart/Get").send(&Http::Two, stage.port()).await?;
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        let expected = (tracer == Tracer::Filter).then_some("shop.Cart/Get");
        assert_eq!(span.text("rpc.method").as_deref(), expected, "{tracer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_filter_alone_says_with_what_probability_it_has_kept() -> Result<()> {
    let ratio = json!({"tracer_provider": {"sampler": {"trace_id_ratio_based": {"ratio": 1}}}});
    for tracer in BOTH {
        let stage = Stage::start(|edge| match tracer {
            Tracer::Filter => edge.filter("ingress", &ratio.to_string()),
            Tracer::Native => tracer.on(edge),
        })
        .await?;
        requests(&stage, 1).await?;
        let expected = if tracer == Tracer::Filter { "ot=th:0" } else { "" };
        assert_eq!(stage.upstream.last().header("tracestate"), expected, "{tracer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_filter_alone_keeps_a_failure_that_was_not_sampled() -> Result<()> {
    const FAILURES: usize = 5;
    let rules = json!({
        "tracer_provider": {"sampler": {"parent_based": {"root": {"always_off": {}}}}},
        "envoy": {"keep": [{"error": {}}]},
    });
    for tracer in BOTH {
        let stage = Stage::start(|edge| match tracer {
            Tracer::Filter => edge.filter("ingress", &rules.to_string()),
            Tracer::Native => {
                let sampled = json!({
                    "name": "sampled", "match": {"path": "/sampled"}, "route": {"cluster": "upstream"},
                    "tracing": {"random_sampling": {"numerator": 100}},
                });
                let edge = edge.native_tracer("ingress", 0.0)?.route("ingress", sampled)?;
                edge.runtime(json!({"tracing.opentelemetry.min_flush_spans": 1}))
            }
        })
        .await?;
        for _ in 0..FAILURES {
            assert_eq!(client::get(stage.port(), "/status/503").await?.status, 503);
        }
        // The span of another request, whose caller has asked for it, comes after theirs.
        let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let call = Call::get("/sampled").header("traceparent", sampled);
        call.send(&Http::One, stage.port()).await?;
        let kept = if tracer == Tracer::Filter { FAILURES } else { 0 };
        let spans = stage.collector.wait_for_spans(kept + 1).await;
        assert_eq!(spans.with_context(|| format!("{tracer:?}"))?.len(), kept + 1, "{tracer:?}");
    }
    Ok(())
}

/// The filter of the listener among the filters of a cluster, too.
fn in_cluster(edge: &Bootstrap) -> Result<Value> {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let filter = edge.http_filter_of("ingress", "otel")?;
    let codec = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
    let mut options = json!({});
    options[OPTIONS] = json!({
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [filter, {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {"@type": format!("type.googleapis.com/{codec}")},
        }],
    });
    Ok(options)
}

#[tokio::test]
async fn both_have_a_span_for_each_try() -> Result<()> {
    const TRIES: usize = 3;
    let retry = json!({"retry_on": "5xx", "num_retries": TRIES});
    for tracer in BOTH {
        let stage = Stage::start(|edge| {
            let edge = edge.route(
                "ingress",
                json!({
                    "name": "default", "match": {"prefix": "/flaky"},
                    "route": {"cluster": "upstream", "retry_policy": retry},
                }),
            )?;
            let mut tracing = harness::native::tracing("edge", 100.0);
            tracing["spawn_upstream_span"] = true.into();
            match tracer {
                Tracer::Filter => {
                    let options = in_cluster(&edge)?;
                    edge.cluster_part("upstream", "typed_extension_protocol_options", options)
                }
                Tracer::Native => {
                    tracer.on(edge)?.connection_manager("ingress", "tracing", tracing)
                }
            }
        })
        .await?;
        assert_eq!(client::get(stage.port(), "/flaky/2").await?.status, 200);
        // Another request's spans come after those of the first.
        assert_eq!(client::get(stage.port(), "/").await?.status, 200);
        let (first, second) = (1 + TRIES, 1 + 1);
        let spans = stage.collector.wait_for_spans(first + second).await?;
        assert_eq!(spans.len(), first + second, "{tracer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn of_a_stream_that_is_open_the_filter_alone_tells() -> Result<()> {
    for tracer in BOTH {
        let long_streams = r#"{"envoy": {"long_streams": 1000}}"#;
        let stage = Stage::start(|edge| tracer.on(edge.filter("ingress", long_streams)?)).await?;
        let port = stage.port();
        let mut stream = JoinSet::new();
        stream.spawn(async move { Call::get("/events").send(&Http::One, port).await });
        let seen = || async { (!stage.upstream.seen().is_empty()).then_some(()) };
        harness::wait_for("the stream to begin", seen).await?;
        // Another request's span comes while the stream is open.
        requests(&stage, 1).await?;
        let expected = if tracer == Tracer::Filter { 2 } else { 1 };
        let spans = stage.collector.wait_for_spans(expected).await?;
        assert_eq!(spans.len(), expected, "{tracer:?}: {spans:#?}");
        stream.shutdown().await;
        stage.collector.wait_for_spans(expected + 1).await?;
    }
    Ok(())
}

/// `reload.rs` shows that the filter loses none then.
#[tokio::test]
async fn a_changed_configuration_loses_what_waits_in_envoys_own_tracer() -> Result<()> {
    const WAIT: usize = 10;
    let arguments = ["--drain-time-s", "1", "--drain-strategy", "immediate"];
    let dynamic = Dynamic::changed(1, &arguments, |bootstrap| {
        bootstrap.runtime(json!({
            // They leave when there is one more.
            "tracing.opentelemetry.min_flush_spans": WAIT + 1,
            "tracing.opentelemetry.flush_interval_ms": 600_000,
        }))
    })
    .await?;
    dynamic.write(
        "ecds.yaml",
        &replace(&ecds()?, "\"tracer_provider\"", "\"disabled\": true, \"tracer_provider\"")?,
    )?;
    dynamic.wait_for("update_success", 2).await?;
    let modified = |count: u64| {
        let done = move |stats: &BTreeMap<String, u64>| {
            let of = |name: &str| stats.get(&format!("listener_manager.{name}")).copied();
            of("listener_modified") == Some(count)
                && of("total_listeners_warming") == Some(0)
                && of("total_listeners_draining") == Some(0)
        };
        dynamic.stage.envoy.wait_for_stats("the listener's change", done)
    };
    for (count, (service, requests)) in (1..).zip([("old", WAIT), ("new", WAIT + 1)]) {
        let tracing = harness::native::tracing(service, 100.0);
        // JSON is YAML in one line.
        let next = "              http_filters:";
        let listeners = dynamic.listeners()?;
        let listeners =
            replace(&listeners, next, &format!("              tracing: {tracing}\n{next}"))?;
        dynamic.write("lds.yaml", &listeners)?;
        modified(count).await?;
        for _ in 0..requests {
            assert_eq!(client::get(dynamic.port, "/").await?.status, 200);
        }
    }
    let spans = dynamic.stage.collector.wait_for_spans(WAIT + 1).await?;
    let services: BTreeSet<_> = spans.iter().map(|it| it.resource_text("service.name")).collect();
    assert_eq!(services, [Some("new".to_owned())].into(), "those of the old one never come");
    assert_eq!(spans.len(), WAIT + 1);
    Ok(())
}
