//! The harness without the filter: each client through a real Envoy to the upstream, and back.

use anyhow::{Context, Result};
use harness::bootstrap::Place;
use harness::client::{self, Call, Http};
use harness::tls::Certificate;
use harness::{Bootstrap, Envoy, Receiver, Upstream, free_port};
use http::HeaderValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An Envoy without the filter, and the upstream behind it.
async fn stage(
    change: impl FnOnce(Bootstrap) -> Result<Bootstrap>,
) -> Result<(Envoy, Upstream, Receiver)> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let edge = Bootstrap::edge(upstream.port(), collector.port())?.without_filter("ingress")?;
    Ok((Envoy::start(change(edge)?).await?, upstream, collector))
}

fn route(prefix: &str, route: &Value) -> Value {
    json!({"match": {"prefix": prefix}, "route": route})
}

/// Routes and filters of every kind that the clients and the upstream are made for.
fn routes(edge: Bootstrap) -> Result<Bootstrap> {
    let upstream = edge.cluster_port("upstream");
    let retry = json!({"retry_on": "5xx", "num_retries": 3});
    let redirect = json!({"max_internal_redirects": 1});
    let deny = json!({
        "name": "deny",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"deny": {
                "permissions": [{"url_path": {"path": {"exact": "/denied"}}}],
                "principals": [{"any": true}],
            }}},
        },
    });
    edge.cluster("closed", free_port()?)?
        .cluster("http2", upstream)?
        .http2_cluster("http2")?
        .route("ingress", route("/closed", &json!({"cluster": "closed"})))?
        .route("ingress", route("/test.Echo/", &json!({"cluster": "http2"})))?
        .route("ingress", route("/flaky", &json!({"cluster": "upstream", "retry_policy": retry})))?
        .route(
            "ingress",
            route(
                "/redirect",
                &json!({"cluster": "upstream", "internal_redirect_policy": redirect}),
            ),
        )?
        .route(
            "ingress",
            json!({"match": {"path": "/direct"}, "direct_response": {"status": 204}}),
        )?
        .http_filter("ingress", Place::First, deny)
}

/// Every call gives the expected answer, and reaches the upstream so many times.
async fn each_call(http: Http, certificate: Option<&Certificate>) -> Result<()> {
    let (envoy, upstream, _collector) = stage(|edge| {
        let edge = routes(edge)?;
        certificate.into_iter().try_fold(edge, |edge, it| edge.http3("ingress", it))
    })
    .await?;
    let port = envoy.port("ingress");
    let cases = [
        ("headers only", Call::get("/"), 200, 1),
        ("a status", Call::get("/status/418"), 418, 1),
        ("a slow answer", Call::get("/delay/1"), 200, 1),
        ("a large answer", Call::get("/large/1000000"), 200, 1),
        ("a large body", Call::get("/echo").method("POST").body(vec![b'x'; 1_000_000]), 200, 1),
        ("a local reply of a route", Call::get("/direct"), 204, 0),
        ("nobody listens", Call::get("/closed"), 503, 0),
        ("the upstream breaks off", Call::get("/reset"), 503, 1),
        ("retries until it works", Call::get("/flaky/2"), 200, 3),
        ("a redirect that the proxy follows", Call::get("/redirect"), 200, 2),
        ("a filter rejects", Call::get("/denied"), 403, 0),
    ];
    for (reason, call, status, seen) in cases {
        upstream.clear();
        let reply = call.send(&http, port).await.context(reason)?;
        assert_eq!(reply.status, status, "{http}, {reason}");
        assert_eq!(upstream.seen().len(), seen, "{http}, {reason}: {:?}", upstream.seen());
        let large = reason.contains("large");
        assert_eq!(reply.body.len() == 1_000_000, large, "{http}, {reason}: the whole body");
    }
    // Envoy drops trailers where the client speaks HTTP/1.1, which gRPC does not.
    let trailers = !matches!(http, Http::One);
    let grpc = [("Unary", "0", 5), ("NotFound", "5", 5), ("DataLoss", "15", 5)];
    for (method, code, length) in grpc {
        let call = Call::grpc(&format!("/test.Echo/{method}"));
        let reply = call.send(&http, port).await.context(method)?;
        let status = reply.trailers.get("grpc-status").map(HeaderValue::as_bytes);
        assert_eq!(status, trailers.then_some(code.as_bytes()), "{http}, {method}");
        assert_eq!(reply.body.len(), length, "{http}, {method}: an empty message");
    }
    let reply =
        Call::grpc("/test.Echo/TrailersOnly").send(&http, port).await.context("TrailersOnly")?;
    assert_eq!(reply.headers["grpc-status"], "5", "{http}: among the headers");
    assert_eq!((reply.body.len(), reply.trailers.len()), (0, 0), "{http}: nothing else");

    let call = Call::get("/").header("x-many", "a").header("x-many", "b").header("x", "c");
    call.send(&http, port).await.context("headers that repeat")?;
    let headers = upstream.last().headers;
    let many: Vec<_> = headers.get_all("x-many").iter().collect();
    assert_eq!(many, ["a", "b"], "{http}: both values, in order");
    let reply = Call::get("/").header("x-bytes", b"\xff\xfe").send(&http, port).await;
    if certificate.is_some() {
        let error = reply.map(|_| ()).expect_err("Envoy takes ASCII alone over HTTP/3");
        assert!(format!("{error:#}").contains("H3_FRAME_ERROR"), "{error:#}");
    } else {
        reply.context("a header that is no UTF-8")?;
        let bytes = &upstream.last().headers["x-bytes"];
        assert_eq!(bytes.as_bytes(), b"\xff\xfe", "{http}: as they were sent");
    }
    assert_eq!(envoy.complaints(), Vec::<String>::new(), "{http}");
    Ok(())
}

#[tokio::test]
async fn each_call_over_http1() -> Result<()> {
    each_call(Http::One, None).await
}

#[tokio::test]
async fn each_call_over_http2() -> Result<()> {
    each_call(Http::Two, None).await
}

#[tokio::test]
async fn each_call_over_http3() -> Result<()> {
    let certificate = Certificate::new()?;
    each_call(Http::Three(certificate.clone()), Some(&certificate)).await
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_to_leave() -> Result<()> {
    let certificate = Certificate::new()?;
    for http in [Http::One, Http::Two, Http::Three(certificate.clone())] {
        let (envoy, upstream, _collector) = stage(|edge| match &http {
            Http::Three(certificate) => edge.http3("ingress", certificate),
            Http::One | Http::Two => Ok(edge),
        })
        .await?;
        let arrived = || async { upstream.seen().first().map(|_| ()) };
        Call::get("/delay/60000").abandon(&http, envoy.port("ingress"), arrived).await?;
        let reset = "http.ingress.downstream_rq_rx_reset";
        let closed = "http.ingress.downstream_cx_destroy_remote_active_rq";
        let name = if matches!(http, Http::One) { closed } else { reset };
        let what = format!("{name}, {http}");
        let active = "cluster.upstream.upstream_rq_active";
        let left = |stats: &BTreeMap<String, u64>| {
            stats.get(name) == Some(&1) && stats.get(active) == Some(&0)
        };
        envoy.wait_for_stats(&what, left).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_web_socket_is_carried() -> Result<()> {
    let upgrades = json!([{"upgrade_type": "websocket"}]);
    let (envoy, upstream, _collector) = stage(|edge| {
        edge.connection_manager("ingress", "upgrade_configs", upgrades)?.connection_manager(
            "ingress",
            "http2_protocol_options",
            json!({"allow_connect": true}),
        )
    })
    .await?;
    client::web_socket(envoy.port("ingress"), "/ws").await?;
    client::web_socket_http2(envoy.port("ingress"), "/ws").await?;
    assert_eq!(upstream.seen().len(), 2, "both reached the upstream");
    Ok(())
}

#[tokio::test]
async fn a_load_is_counted_by_status() -> Result<()> {
    let (envoy, _upstream, _collector) = stage(Ok).await?;
    let codes = client::load(envoy.port("ingress"), "/status/201", 101, 4).await?;
    assert_eq!(codes, BTreeMap::from([(201, 101)]));
    assert_eq!(envoy.stat("http.ingress.downstream_rq_2xx").await?, 101);
    assert_eq!(envoy.stat("no.such.counter").await?, 0);
    let text = envoy.prometheus().await?;
    assert!(text.contains("envoy_http_downstream_rq_xx"), "Prometheus's names: {text}");
    Ok(())
}

#[tokio::test]
async fn malformed_bytes_are_answered_by_envoy() -> Result<()> {
    let (envoy, upstream, _collector) = stage(Ok).await?;
    let reply = client::raw(envoy.port("ingress"), b"no HTTP at all\r\n\r\n").await?;
    assert!(reply.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&reply));
    assert!(upstream.seen().is_empty(), "it went no further");
    Ok(())
}

#[tokio::test]
async fn envoy_ends_on_sigterm() -> Result<()> {
    let (envoy, _upstream, _collector) = stage(Ok).await?;
    let (status, log) = envoy.quit().await?;
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("ENVOY_SIGTERM"), "the whole log: {log}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_its_reason() -> Result<()> {
    let edge = Bootstrap::edge(1, 1)?.without_filter("ingress")?;
    let validation = Envoy::validate(&edge).await?;
    assert!(validation.status.success(), "{}", validation.output);
    let wrong = edge.connection_manager("ingress", "no_such_key", json!(1))?;
    let validation = Envoy::validate(&wrong).await?;
    assert!(!validation.status.success(), "{}", validation.output);
    assert!(validation.output.contains("no_such_key"), "{}", validation.output);
    let error = Envoy::start(wrong).await.map(|_| ()).expect_err("it does not start");
    assert!(format!("{error:#}").contains("no_such_key"), "the log says why: {error:#}");
    Ok(())
}
