//! One filter, two spans: `span_kind: server_and_client`. And streams that last: `long_streams`.

mod cases;
mod conventions;

use anyhow::{Context, Result};
use cases::Case;
use harness::bootstrap::Bootstrap;
use harness::client::{Call, Http};
use harness::{Span, Stage};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the filter tells a filter in the cluster: which sees it as this header.
const TOLD: &str = "x-told";

/// A filter in a cluster that shows the upstream what the filter in the chain has told.
fn show_told() -> Value {
    let value = "%FILTER_STATE(wasm.otel_proxy_wasm_client:PLAIN)%";
    let append = json!({"append": {"header": {"key": TOLD, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}});
    json!({
        "name": "show",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [append]},
        },
    })
}

/// The edge of the cases, and what only matters to a CLIENT span.
fn bootstrap(edge: Bootstrap) -> Result<Bootstrap> {
    let to = |prefix: &str, cluster: &str| json!({"name": "default", "match": {"prefix": prefix}, "route": {"cluster": cluster}});
    let codec = json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
    });
    let options = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "http_filters": [show_told(), codec],
        },
    });
    let refuses = json!({"thresholds": [{"max_pending_requests": 0, "max_requests": 0}]});
    cases::bootstrap(edge)?
        .cluster_part("upstream", "typed_extension_protocol_options", options)?
        .cluster("nobody", 1)?
        .cluster_part("nobody", "load_assignment", json!({"cluster_name": "nobody"}))?
        .cluster("full", 1)?
        .cluster_part("full", "circuit_breakers", refuses)?
        .route("ingress", to("/nobody", "nobody"))?
        .route("ingress", to("/full", "full"))
}

/// What else may become of a request: nobody is asked.
fn not_asked(reason: &'static str, path: &str, flag: &'static [&'static str]) -> Case {
    Case {
        reason,
        call: Call::get(path),
        reply: 503,
        name: "GET",
        status: cases::Status::Http(503),
        error: Some("503"),
        flags: flag,
        attempts: 0,
    }
}

/// Holds the CLIENT span of a case against what is expected of it.
fn check_client(case: &Case, server: &Span, client: &Span) {
    let reason = format!("{}: {:#?}", case.reason, client.attributes());
    conventions::check(client);
    assert_eq!(client.span.kind(), SpanKind::Client, "{reason}");
    assert_eq!(client.trace_id(), server.trace_id(), "{reason}");
    assert_eq!(client.parent_id(), server.span_id(), "{reason}");
    assert!(client.text("network.peer.address").is_some(), "{reason}");
    assert_eq!(client.text("envoy.route_name"), None, "that is of the SERVER span: {reason}");
    assert_eq!(client.int("http.response.status_code"), server.int("http.response.status_code"));
    let is_mistake = matches!(
        case.status,
        cases::Status::Http(400..)
            | cases::Status::Grpc("NOT_FOUND" | "INTERNAL" | "UNIMPLEMENTED" | "UNAVAILABLE")
    );
    assert_eq!(client.is_error(), is_mistake, "{reason}");
    if client.text("rpc.system.name").is_none() {
        let again = (case.attempts > 1).then(|| case.attempts - 1);
        assert_eq!(client.int("http.request.resend_count"), again, "{reason}");
    }
}

async fn two_spans(
    stage: &Stage,
    http: &Http,
    version: &str,
    sent: &mut u64,
    spans: &mut u64,
) -> Result<()> {
    let refused = [
        not_asked("no healthy upstream", "/nobody", &["UH"]),
        not_asked("a circuit breaker", "/full", &["UO"]),
    ];
    for case in cases::cases().into_iter().chain(refused) {
        stage.collector.clear();
        stage.upstream.clear();
        let reply = case.call.send(http, stage.port()).await.context(case.reason)?;
        assert_eq!(reply.status, case.reply, "HTTP/{version}, {}", case.reason);
        *sent += 1;
        let counters = stage.at_rest(*sent).await?;
        let found = stage.collector.spans();
        *spans += if case.attempts > 0 { 2 } else { 1 };
        assert_eq!(counters["span.sampled"], *spans, "HTTP/{version}, {}: {found:#?}", case.reason);
        assert_eq!(counters["exporter.span.exported"], *spans, "HTTP/{version}, {}", case.reason);
        let (server, client) = match found.as_slice() {
            [server] => (server, None),
            [server, client] => (server, Some(client)),
            other => panic!("{}: {other:#?}", case.reason),
        };
        conventions::check(server);
        // Envoy counts an attempt that had no host.
        let is_refused = matches!(case.flags, ["UH" | "UO"]);
        cases::check(&case, version, server, i64::from(is_refused));
        assert_eq!(client.is_some(), case.attempts > 0, "HTTP/{version}, {}", case.reason);
        let Some(client) = client else {
            assert_eq!(stage.upstream.seen().len(), 0, "{}: nobody was asked", case.reason);
            continue;
        };
        check_client(&case, server, client);
        for seen in stage.upstream.seen() {
            let parent = seen.header("traceparent");
            assert!(parent.contains(&client.span_id()), "{}: {parent}", case.reason);
            // That filter is in this cluster alone.
            if client.text("envoy.cluster_name").as_deref() == Some("upstream") {
                assert_eq!(seen.header(TOLD), client.span_id(), "told: {}", case.reason);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_kind_of_request_is_two_spans_where_an_upstream_was_asked() -> Result<()> {
    let stage = Stage::start(|edge| {
        bootstrap(edge)?.filter("ingress", r#"{"envoy": {"span_kind": "server_and_client"}}"#)
    })
    .await?;
    let (mut sent, mut spans) = (0, 0);
    for (version, http) in [("1.1", Http::One), ("2", Http::Two)] {
        two_spans(&stage, &http, version, &mut sent, &mut spans).await?;
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// The streams that last: the path of each, and how its span ends.
const STREAMS: [(&str, &str); 4] = [
    ("/ws", "a WebSocket"),
    ("/events/1", "server-sent events over HTTP/1.1"),
    ("/events/2", "server-sent events over HTTP/2"),
    ("/test.Echo/Stall", "a gRPC stream"),
];

/// Of these spans, that which tells that a stream is open, and that of its end.
fn told(span: &Span) -> bool {
    span.text("envoy.stream_state").as_deref() == Some("open")
}

/// Opens a WebSocket, and leaves it open.
async fn open_web_socket(port: u16) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = "GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

#[tokio::test]
async fn a_stream_that_lasts_is_told_of_once_before_its_end() -> Result<()> {
    let stage = Stage::start(|edge| {
        edge.connection_manager(
            "ingress",
            "upgrade_configs",
            json!([{"upgrade_type": "websocket"}]),
        )?
        .filter("ingress", r#"{"envoy": {"long_streams": 1000}}"#)
    })
    .await?;
    let port = stage.port();
    Call::get("/").send(&Http::One, port).await?;
    let socket = open_web_socket(port).await?;
    let mut calls = JoinSet::new();
    for (call, http) in [
        (Call::get("/events/1"), Http::One),
        (Call::get("/events/2"), Http::Two),
        (Call::grpc("/test.Echo/Stall"), Http::Two),
    ] {
        calls.spawn(async move { call.send(&http, port).await });
    }
    stage.collector.wait_for_spans(1 + STREAMS.len()).await?;
    calls.shutdown().await;
    drop(socket);
    let counters = stage.at_rest(5).await?;
    let spans = stage.collector.spans();
    assert_eq!(spans.len(), 9, "two of each stream, one of the request: {spans:#?}");
    assert_eq!(counters["span.sampled"], 9, "{counters:?}");
    for (path, reason) in STREAMS {
        let of_path = |span: &&Span| match span.text("rpc.method") {
            Some(method) => path[1..] == method,
            None => span.text("url.path").as_deref() == Some(path),
        };
        let (open, ended): (Vec<&Span>, Vec<&Span>) =
            spans.iter().filter(of_path).partition(|span| told(span));
        let ([open], [ended]) = (open.as_slice(), ended.as_slice()) else {
            panic!("{reason}: one of each: {spans:#?}");
        };
        let attributes = open.attributes();
        conventions::check(ended);
        assert_eq!(open.span.kind(), SpanKind::Internal, "{reason}");
        assert_eq!(open.span.name, format!("{} (open)", ended.span.name), "{reason}");
        assert_eq!(open.trace_id(), ended.trace_id(), "{reason}");
        assert_eq!(open.parent_id(), ended.span_id(), "{reason}: below the request");
        assert!(!open.is_error(), "{reason}: nobody knows yet: {attributes:#?}");
        assert_eq!(open.text("error.type"), None, "{reason}");
        assert_eq!(open.text("rpc.response.status_code"), None, "{reason}");
        assert_eq!(open.int("http.response.status_code"), ended.int("http.response.status_code"));
        for known in ["network.peer.address", "server.address", "envoy.upstream_address"] {
            assert_eq!(open.text(known), ended.text(known), "{reason}: {attributes:#?}");
            assert!(open.text(known).is_some(), "{reason}: {known}: {attributes:#?}");
        }
        let lasted = open.span.end_time_unix_nano - open.span.start_time_unix_nano;
        // When Envoy began to read a request, it says when that has ended.
        assert!(open.span.start_time_unix_nano >= ended.span.start_time_unix_nano, "{reason}");
        assert!(lasted >= 1_000_000_000, "{reason}: {lasted} ns");
        assert!(open.span.end_time_unix_nano <= ended.span.end_time_unix_nano, "{reason}");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
