//! Whose addresses a span has, and what is known of a request that Envoy answers before it knows all of it.

mod conventions;

use anyhow::{Context, Result};
use harness::client::{self, Call, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

/// `client.address`, `network.peer.address` and `network.peer.port`.
fn ends(span: &Span) -> (Option<String>, Option<String>, Option<i64>) {
    let peer = span.text("network.peer.address");
    (span.text("client.address"), peer, span.int("network.peer.port"))
}

#[tokio::test]
async fn a_peer_is_the_peer_or_is_left_out() -> Result<()> {
    let (first, two, port) = ("203.0.113.9", "6.6.6.6, 203.0.113.9", "203.0.113.9:5678");
    // use_remote_address, xff_num_trusted_hops; X-Forwarded-For, the client, who is connected.
    let cases = [
        (true, 0, two, "6.6.6.6", true),
        (true, 0, first, first, true),
        (true, 1, two, "6.6.6.6", false),
        (true, 1, first, first, false),
        (true, 1, port, first, true),
        (true, 2, two, "6.6.6.6", false),
        (true, 2, first, first, true),
        (false, 0, two, "6.6.6.6", false),
        (false, 0, first, first, false),
        (false, 0, "unknown", "127.0.0.1", true),
        (false, 1, two, "6.6.6.6", false),
        (false, 1, "2001:db8::1", "2001:db8::1", true),
    ];
    let stage = Stage::start(|mut edge| {
        for (remote, hops) in [(true, 0), (true, 1), (true, 2), (false, 0), (false, 1)] {
            let name = format!("{remote} {hops}");
            edge = edge.copy_listener("ingress", &name)?;
            edge = edge.connection_manager(&name, "use_remote_address", json!(remote))?;
            edge = edge.connection_manager(&name, "xff_num_trusted_hops", json!(hops))?;
        }
        Ok(edge)
    })
    .await?;
    for (remote, hops, header, client, is_peer) in cases {
        let reason = format!("use_remote_address {remote}, {hops} hops, {header}");
        stage.collector.clear();
        let call = Call::get("/").header("x-forwarded-for", header);
        call.send(&Http::One, stage.envoy.port(&format!("{remote} {hops}"))).await?;
        let spans = stage.collector.wait_for_spans(1).await?;
        conventions::check(&spans[0]);
        let (address, peer, port) = ends(&spans[0]);
        assert_eq!(address.as_deref(), Some(client), "{reason}");
        assert_eq!(peer.as_deref(), is_peer.then_some("127.0.0.1"), "{reason}");
        assert_eq!(port.is_some(), is_peer, "{reason}: {port:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_part_of_envoy_is_no_address() -> Result<()> {
    for (endpoint, address) in
        [("10.244.0.10:80", Some("10.244.0.10")), ("pod-1", None), ("", None)]
    {
        let stage = Stage::start(|edge| {
            let upstream = edge.cluster_port("upstream");
            let edge = edge.filter("ingress", r#"{"envoy": {"span_kind": "client"}}"#)?;
            let edge = edge
                .copy_listener("ingress", "connect_originate")?
                .filter("connect_originate", "{}")?;
            let edge = edge.cluster("behind", upstream)?;
            let behind = json!({"match": {"prefix": "/"}, "route": {"cluster": "behind"}});
            edge.route("connect_originate", behind)?.internal(
                "connect_originate",
                "upstream",
                endpoint,
            )
        })
        .await?;
        let reply = Call::get("/").send(&Http::One, stage.port()).await?;
        assert_eq!(reply.status, 200, "{endpoint}");
        let spans = stage.collector.wait_for_spans(2).await?;
        spans.iter().for_each(conventions::check);
        let of = |kind| spans.iter().find(move |span| span.span.kind() == kind).context("a span");
        let (client, server) = (of(SpanKind::Client)?, of(SpanKind::Server)?);
        let port = address.map(|_| 80);
        assert_eq!(ends(client), (None, address.map(str::to_owned), port), "{endpoint}");
        let upstream = client.text("envoy.upstream_address");
        assert_eq!(upstream.as_deref(), address.map(|_| endpoint), "{endpoint}");
        let (_, peer, port) = ends(server);
        assert_eq!((peer, port), (None, None), "{endpoint}: it came from within");
        assert_ne!(server.text("client.address"), None, "{endpoint}: X-Forwarded-For tells");
    }
    Ok(())
}

/// A stage whose Envoy answers paths with escaped slashes itself, and takes HTTP/1.0.
async fn early(kind: &str, certificate: Option<&Certificate>) -> Result<Stage> {
    let configuration = json!({"envoy": {"span_kind": kind}}).to_string();
    Stage::start(|edge| {
        let edge = edge.filter("ingress", &configuration)?;
        let redirect = json!("UNESCAPE_AND_REDIRECT");
        let edge =
            edge.connection_manager("ingress", "path_with_escaped_slashes_action", redirect)?;
        let older = json!({"accept_http_10": true, "allow_absolute_url": false});
        let edge = edge.connection_manager("ingress", "http_protocol_options", older)?;
        certificate.into_iter().try_fold(edge, |edge, it| edge.tls("ingress", it))
    })
    .await
}

#[tokio::test]
async fn what_envoy_answers_early_is_told_as_far_as_it_is_known() -> Result<()> {
    // The request's start, the answer; url.path, and url.full.
    let cases = [
        ("GET /a%2Fb HTTP/1.1\r\nhost: h", 307, "/a/b", Some("http://h/a/b")),
        (
            "GET /a%2Fb HTTP/1.1\r\nhost: h:81\r\nx-forwarded-proto: HTTPS",
            307,
            "/a/b",
            Some("https://h:81/a/b"),
        ),
        ("OPTIONS * HTTP/1.1\r\nhost: h", 404, "*", Some("http://h")),
        ("GET https://h/x?y HTTP/1.1\r\nhost: other", 404, "/x", Some("https://h/x?y")),
        ("GET /x HTTP/1.0\r\nx-any: thing", 400, "/x", None),
    ];
    for kind in ["server", "client"] {
        let stage = early(kind, None).await?;
        for (start, code, path, url) in cases {
            stage.collector.clear();
            let request = format!("{start}\r\nconnection: close\r\n\r\n");
            client::raw(stage.port(), request.as_bytes()).await?;
            let span = stage.collector.wait_for_spans(1).await?.remove(0);
            let reason = format!("{kind}, {start}: {:#?}", span.attributes());
            assert_eq!(span.int("http.response.status_code"), Some(code), "{reason}");
            if kind == "server" {
                conventions::check(&span);
                assert_eq!(span.text("url.path").as_deref(), Some(path), "{reason}");
                let https = url.is_some_and(|url| url.starts_with("https"));
                let scheme = if https { "https" } else { "http" };
                assert_eq!(span.text("url.scheme").as_deref(), Some(scheme), "{reason}");
            } else {
                assert_eq!(span.text("url.full").as_deref(), url, "{reason}");
                if url.is_some() {
                    conventions::check(&span);
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_envoy_answers_early_over_tls_is_https() -> Result<()> {
    let certificate = Certificate::new()?;
    for (kind, name, expected) in
        [("server", "url.scheme", "https"), ("client", "url.full", "https://h/a/b")]
    {
        let stage = early(kind, Some(&certificate)).await?;
        let call = Call::get("/a%2Fb").header("host", "h");
        let reply = call.send_tls(&certificate, stage.port()).await?;
        assert_eq!(reply.status, 307, "{kind}");
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        conventions::check(&span);
        assert_eq!(span.text(name).as_deref(), Some(expected), "{kind}: {:#?}", span.attributes());
    }
    Ok(())
}
