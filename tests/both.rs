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
        cases::check(&case, version, server, if is_refused { 1 } else { 0 });
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
