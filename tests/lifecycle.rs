//! Every way in which a request can go through Envoy, over each version of HTTP: exactly one span,
//! with the right status and kind, and counters that add up.

mod conventions;

use anyhow::{Context, Result};
use harness::bootstrap::{Bootstrap, Place};
use harness::client::{self, Call, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use serde_json::{Value, json};

/// What is expected of a span.
struct Case {
    reason: &'static str,
    call: Call,
    /// What the client gets.
    reply: u16,
    name: &'static str,
    /// `http.response.status_code`, or `rpc.response.status_code`.
    status: Status,
    error: Option<&'static str>,
    /// One of these is set; none at all if empty.
    flags: &'static [&'static str],
    /// How often an upstream was tried.
    attempts: i64,
}

#[derive(Clone, Copy)]
enum Status {
    Http(i64),
    Grpc(&'static str),
}

fn cases() -> Vec<Case> {
    let case = |reason, call, code: u16| Case {
        reason,
        call,
        reply: code,
        name: "GET",
        status: Status::Http(i64::from(code)),
        error: None,
        flags: &[],
        attempts: 1,
    };
    let grpc = |reason, method: &str, status, error| Case {
        name: "",
        status: Status::Grpc(status),
        error,
        ..case(reason, Call::grpc(method), 200)
    };
    let post = |path, length| Call::get(path).method("POST").body(vec![b'x'; length]);
    vec![
        case("headers only", Call::get("/"), 200),
        Case { name: "HEAD", ..case("no body", Call::get("/").method("HEAD"), 200) },
        Case { name: "POST", ..case("a large body up and down", post("/echo", 128 << 10), 200) },
        case("a large body down", Call::get("/large/1048576"), 200),
        case("a client's mistake is no error of a server", Call::get("/status/404"), 404),
        Case { error: Some("500"), ..case("a server's error", Call::get("/status/500"), 500) },
        Case { attempts: 0, ..case("a local reply of a route", Call::get("/direct"), 200) },
        Case {
            attempts: 0,
            flags: &["NR"],
            ..case("no route", Call::get("/").header("x-no-route", "1"), 404)
        },
        Case {
            error: Some("503"),
            flags: &["UF"],
            ..case("an upstream that refuses", Call::get("/refused"), 503)
        },
        Case {
            error: Some("503"),
            // A closed connection of HTTP/1.1, a reset stream of HTTP/2.
            flags: &["UC", "UR"],
            ..case("an upstream that breaks off", Call::get("/reset"), 503)
        },
        Case {
            error: Some("504"),
            flags: &["UT"],
            ..case("an upstream that is too slow", Call::get("/delay/5000"), 504)
        },
        Case { attempts: 3, ..case("retries", Call::get("/flaky/2"), 200) },
        case("an internal redirect", Call::get("/redirect"), 200),
        Case { attempts: 0, ..case("an earlier filter rejects", Call::get("/before"), 403) },
        Case { attempts: 0, ..case("a later filter rejects", Call::get("/after"), 403) },
        Case {
            name: "HTTP",
            ..case("a method that is not known", Call::get("/").method("PURGE"), 200)
        },
        grpc("gRPC with trailers", "/test.Echo/Unary", "OK", None),
        grpc("gRPC, an answer that is no error", "/test.Echo/NotFound", "NOT_FOUND", None),
        grpc("gRPC, a failure in trailers", "/test.Echo/Internal", "INTERNAL", Some("INTERNAL")),
        grpc("gRPC without trailers", "/test.Echo/TrailersOnly", "NOT_FOUND", None),
        Case {
            flags: &["UF"],
            ..grpc("gRPC, nobody there", "/test.Gone/Unary", "UNAVAILABLE", Some("UNAVAILABLE"))
        },
    ]
}

/// The edge with every kind of route and filter that the cases need.
fn bootstrap(edge: Bootstrap) -> Result<Bootstrap> {
    let closed = harness::free_port()?;
    let to = |prefix: &str, route: Value| json!({"name": "default", "match": {"prefix": prefix}, "route": route});
    let deny = |name: &str, path: &str| {
        json!({
            "name": name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": {"action": "DENY", "policies": {"deny": {
                    "permissions": [{"url_path": {"path": {"exact": path}}}],
                    "principals": [{"any": true}],
                }}},
            },
        })
    };
    let routable = json!({"prefix": "/", "headers": [{"name": "x-no-route", "present_match": true, "invert_match": true}]});
    let direct = json!({"name": "default", "match": {"path": "/direct"}, "direct_response": {"status": 200}});
    let redirect =
        json!({"cluster": "upstream", "internal_redirect_policy": {"max_internal_redirects": 1}});
    let retry =
        json!({"cluster": "upstream", "retry_policy": {"retry_on": "5xx", "num_retries": 3}});
    edge.cluster("closed", closed)?
        .default_route_match("ingress", routable)?
        .route("ingress", direct)?
        .route("ingress", to("/refused", json!({"cluster": "closed"})))?
        .route("ingress", to("/delay", json!({"cluster": "upstream", "timeout": "0.2s"})))?
        .route("ingress", to("/flaky", retry))?
        .route("ingress", to("/redirect", redirect))?
        .route("ingress", to("/test.Gone/", json!({"cluster": "closed"})))?
        .http_filter("ingress", Place::First, deny("before", "/before"))?
        .http_filter("ingress", Place::BeforeRouter, deny("after", "/after"))
}

/// The only span, held against the conventions.
async fn only_span(stage: &Stage, reason: &str) -> Result<Span> {
    let mut spans = stage.collector.wait_for_spans(1).await?;
    let span = spans.pop().expect("one at least");
    assert_eq!(spans.len(), 0, "{reason}: one span, not also {spans:#?}");
    conventions::check(&span);
    Ok(span)
}

fn check(case: &Case, version: &str, span: &Span) {
    let reason = format!("HTTP/{version}, {}: {:#?}", case.reason, span.attributes());
    let kind = opentelemetry_proto::tonic::trace::v1::span::SpanKind::Server;
    assert_eq!(span.span.kind(), kind, "{reason}");
    match case.status {
        Status::Http(code) => {
            assert_eq!(span.span.name, case.name, "{reason}");
            assert_eq!(span.int("http.response.status_code"), Some(code), "{reason}");
            assert_eq!(span.text("network.protocol.version").as_deref(), Some(version), "{reason}");
        }
        Status::Grpc(status) => {
            assert_eq!(span.text("rpc.response.status_code").as_deref(), Some(status), "{reason}");
            assert_eq!(Some(&span.span.name), span.text("rpc.method").as_ref(), "{reason}");
        }
    }
    assert_eq!(span.text("error.type").as_deref(), case.error, "{reason}");
    let flags = span.texts("envoy.response_flags").unwrap_or_default();
    match case.flags {
        [] => assert!(flags.is_empty(), "{flags:?}: {reason}"),
        some => {
            assert!(flags.iter().any(|flag| some.contains(&flag.as_str())), "{flags:?}: {reason}");
        }
    }
    assert_eq!(
        span.int("envoy.request_attempt_count").unwrap_or_default(),
        case.attempts,
        "{reason}"
    );
}

async fn every_case(version: &str, http: Http) -> Result<()> {
    let http3 = match &http {
        Http::Three(certificate) => Some(certificate.clone()),
        Http::One | Http::Two => None,
    };
    let stage = Stage::start(|edge| {
        let edge = bootstrap(edge)?;
        http3.iter().try_fold(edge, |edge, certificate| edge.http3("ingress", certificate))
    })
    .await?;
    let mut requests = 0;
    for case in cases() {
        let over_http3 = matches!(http, Http::Three(_));
        // HTTP/3 has no access log callback: a request that never reaches the filter leaves no trace.
        if over_http3 && case.reason == "an earlier filter rejects" {
            continue;
        }
        stage.collector.clear();
        let reply = case.call.send(&http, stage.port()).await.context(case.reason)?;
        requests += 1;
        assert_eq!(reply.status, case.reply, "HTTP/{version}, {}", case.reason);
        let span = only_span(&stage, case.reason).await.context(case.reason)?;
        check(&case, version, &span);
        let stats = stage.at_rest(requests).await?;
        assert_eq!(stats["span.sampled"], requests, "HTTP/{version}, {}", case.reason);
        assert_eq!(stats["exporter.span.exported"], requests, "HTTP/{version}, {}", case.reason);
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "HTTP/{version}: a clean log");
    Ok(())
}

#[tokio::test]
async fn every_case_over_http1() -> Result<()> {
    every_case("1.1", Http::One).await
}

#[tokio::test]
async fn every_case_over_http2() -> Result<()> {
    every_case("2", Http::Two).await
}

#[tokio::test]
async fn every_case_over_http3() -> Result<()> {
    every_case("3", Http::Three(Certificate::new()?)).await
}

#[tokio::test]
async fn a_client_that_leaves_is_a_span() -> Result<()> {
    let certificate = Certificate::new()?;
    for http in [Http::One, Http::Two, Http::Three(certificate.clone())] {
        let stage = Stage::start(|edge| match &http {
            Http::Three(certificate) => edge.http3("ingress", certificate),
            Http::One | Http::Two => Ok(edge),
        })
        .await?;
        let upstream = stage.upstream.clone();
        let seen = || async { upstream.seen().first().map(|_| ()) };
        Call::get("/delay/10000").abandon(&http, stage.port(), seen).await?;
        let span = only_span(&stage, "a client that leaves").await?;
        assert_eq!(span.int("http.response.status_code"), None, "{http}: there was no response");
        let error = match http {
            Http::One => "DC",
            Http::Two => "DR",
            // Envoy gives no flag before it lets go of the filter.
            Http::Three(_) => "_OTHER",
        };
        assert_eq!(span.text("error.type").as_deref(), Some(error), "{http}: why it ended");
        stage.at_rest(1).await?;
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "{http}: a clean log");
    }
    Ok(())
}

#[tokio::test]
async fn a_web_socket_is_one_span_when_it_ends() -> Result<()> {
    for http in [Http::One, Http::Two, Http::Three(Certificate::new()?)] {
        let upgrades = json!([{"upgrade_type": "websocket"}]);
        let stage = Stage::start(|edge| {
            let edge = edge.connection_manager("ingress", "upgrade_configs", upgrades)?;
            match &http {
                Http::One => Ok(edge),
                Http::Two => {
                    let connect = json!({"allow_connect": true});
                    edge.connection_manager("ingress", "http2_protocol_options", connect)
                }
                Http::Three(certificate) => {
                    let edge = edge.http3("ingress", certificate)?;
                    let connect = json!({"allow_extended_connect": true});
                    edge.connection_manager("ingress", "http3_protocol_options", connect)
                }
            }
        })
        .await?;
        let port = stage.port();
        match &http {
            Http::One => client::web_socket(port, "/ws").await?,
            Http::Two => client::web_socket_http2(port, "/ws").await?,
            Http::Three(certificate) => {
                client::web_socket_http3(certificate, port, "/ws").await?;
            }
        }
        let span = only_span(&stage, "a WebSocket").await?;
        assert_eq!(span.int("http.response.status_code"), Some(101), "{http}");
        assert_eq!(span.text("error.type"), None, "{http}: that it is closed is no error");
        stage.at_rest(1).await?;
        let mut complaints = stage.envoy.complaints();
        // Envoy's own word about the option that lets a WebSocket through over HTTP/3.
        complaints.retain(|line| !line.contains("allow_extended_connect' is marked as work-in-pr"));
        assert_eq!(complaints, Vec::<String>::new(), "{http}: a clean log");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_no_http_is_survived() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    let reply = client::raw(stage.port(), b"GET / HTTP/1.1\r\nbad header\r\n\r\n").await?;
    assert!(reply.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&reply));
    let reply = client::get(stage.port(), "/").await?;
    assert_eq!(reply.status, 200, "the next request goes well");
    stage.collector.wait_for_spans(1).await?;
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
