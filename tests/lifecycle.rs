//! Every way in which a request can go through Envoy, over each version of HTTP: exactly one span,
//! with the right status and kind, and counters that add up.

mod cases;
mod conventions;

use anyhow::{Context, Result};
use harness::bootstrap::Place;
use harness::client::{self, Call, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The only span, held against the conventions.
async fn only_span(stage: &Stage, reason: &str) -> Result<Span> {
    let mut spans = stage.collector.wait_for_spans(1).await?;
    let span = spans.pop().expect("one at least");
    assert_eq!(spans.len(), 0, "{reason}: one span, not also {spans:#?}");
    conventions::check(&span);
    Ok(span)
}

/// Keeps each request when it has ended.
const AT_THE_END: &str = r#"{"tracer_provider": {"sampler": {"always_off": {}}},
    "envoy": {"keep": [{"condition": "true"}]}}"#;

async fn every_case(version: &str, http: Http, configuration: &str) -> Result<()> {
    let http3 = match &http {
        Http::Three(certificate) => Some(certificate.clone()),
        Http::One | Http::Two => None,
    };
    let stage = Stage::start(|edge| {
        let edge = cases::bootstrap(edge)?.filter("ingress", configuration)?;
        http3.iter().try_fold(edge, |edge, certificate| edge.http3("ingress", certificate))
    })
    .await?;
    let mut requests = 0;
    // From then on headers are read when a request has ended, where they can be.
    for _ in 0..20 {
        Call::get("/").send(&http, stage.port()).await?;
        requests += 1;
    }
    stage.at_rest(requests).await?;
    for case in cases::cases() {
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
        cases::check(&case, version, &span, case.attempts);
        let stats = stage.at_rest(requests).await?;
        assert_eq!(stats["span.sampled"], requests, "HTTP/{version}, {}", case.reason);
        assert_eq!(stats["exporter.span.exported"], requests, "HTTP/{version}, {}", case.reason);
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "HTTP/{version}: a clean log");
    Ok(())
}

#[tokio::test]
async fn every_case_over_http1() -> Result<()> {
    every_case("1.1", Http::One, "{}").await
}

#[tokio::test]
async fn every_case_over_http2() -> Result<()> {
    every_case("2", Http::Two, "{}").await
}

#[tokio::test]
async fn every_case_over_http3() -> Result<()> {
    every_case("3", Http::Three(Certificate::new()?), "{}").await
}

#[tokio::test]
async fn every_case_kept_at_its_end_over_http1() -> Result<()> {
    every_case("1.1", Http::One, AT_THE_END).await
}

#[tokio::test]
async fn every_case_kept_at_its_end_over_http2() -> Result<()> {
    every_case("2", Http::Two, AT_THE_END).await
}

#[tokio::test]
async fn every_case_kept_at_its_end_over_http3() -> Result<()> {
    every_case("3", Http::Three(Certificate::new()?), AT_THE_END).await
}

/// What a call is that was left before there was a response: the only span behind a filter that makes spans of this kind.
async fn abandoned(http: &Http, kind: &str, call: Call) -> Result<Span> {
    let configuration = json!({"envoy": {"span_kind": kind}}).to_string();
    let stage = Stage::start(|edge| {
        let edge = edge.filter("ingress", &configuration)?;
        match http {
            Http::Three(certificate) => edge.http3("ingress", certificate),
            Http::One | Http::Two => Ok(edge),
        }
    })
    .await?;
    let upstream = stage.upstream.clone();
    let seen = || async { upstream.seen().first().map(|_| ()) };
    call.abandon(http, stage.port(), seen).await?;
    let span = only_span(&stage, "a client that leaves").await?;
    stage.at_rest(1).await?;
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "{http}: a clean log");
    Ok(span)
}

#[tokio::test]
async fn a_client_that_leaves_is_a_span() -> Result<()> {
    let certificate = Certificate::new()?;
    for http in [Http::One, Http::Two, Http::Three(certificate.clone())] {
        let span = abandoned(&http, "server", Call::get("/delay/10000")).await?;
        assert_eq!(span.int("http.response.status_code"), None, "{http}: there was no response");
        let error = match http {
            Http::One => "DC",
            Http::Two => "DR",
            // Envoy gives no flag before it lets go of the filter.
            Http::Three(_) => "_OTHER",
        };
        assert_eq!(span.text("error.type").as_deref(), Some(error), "{http}: why it ended");
    }
    Ok(())
}

#[tokio::test]
async fn a_call_that_its_own_caller_cancels_is_no_error() -> Result<()> {
    let three = Http::Three(Certificate::new()?);
    let cases: [(_, &[&str]); 3] =
        [(Http::One, &["DC"]), (Http::Two, &["DR"]), (three.clone(), &[])];
    for (http, expected) in cases {
        let span = abandoned(&http, "client", Call::get("/delay/10000")).await?;
        assert_eq!(span.int("http.response.status_code"), None, "{http}: there was no response");
        assert!(!span.is_error(), "{http}: {:#?}", span.attributes());
        let flags = span.texts("envoy.response_flags").unwrap_or_default();
        assert_eq!(flags, expected, "{http}: why it ended");
    }
    for http in [Http::Two, three] {
        for kind in ["client", "server"] {
            let span = abandoned(&http, kind, Call::grpc("/test.Echo/Hang")).await?;
            let status = span.text("rpc.response.status_code");
            assert_eq!(status.as_deref(), Some("CANCELLED"), "{http}: {:#?}", span.attributes());
            assert!(!span.is_error(), "{http}: {:#?}", span.attributes());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_deadline_that_strikes_after_the_headers_is_one() -> Result<()> {
    // Late enough for the headers to come before, however slow the machine.
    const SOON: &str = "3s";
    let to = |service: &str, route: Value| json!({"name": "default", "match": {"prefix": format!("/{service}/")}, "route": route});
    let stage = Stage::start(|edge| {
        let upstream = edge.cluster_port("upstream");
        let edge = edge.cluster("limited", upstream)?.http2_cluster("limited")?;
        let edge = edge.cluster_protocol("limited", json!({"max_stream_duration": SOON}))?;
        let deadline = json!({"grpc_timeout_header_max": "0s", "max_stream_duration": "0s"});
        let deadline =
            json!({"cluster": "upstream_http2", "timeout": "0s", "max_stream_duration": deadline});
        let edge = edge.route("ingress", to("test.Deadline", deadline))?;
        let duration = json!({"max_stream_duration": SOON});
        let duration = json!({"cluster": "upstream_http2", "max_stream_duration": duration});
        let edge = edge.route("ingress", to("test.Duration", duration))?;
        let edge = edge.route("ingress", to("test.Limited", json!({"cluster": "limited"})))?;
        let timeout = json!({"cluster": "upstream_http2", "timeout": SOON});
        let edge = edge.route("ingress", to("test.Timeout", timeout))?;
        let idle = json!({"cluster": "upstream_http2", "timeout": "0s", "idle_timeout": SOON});
        edge.route("ingress", to("test.Idle", idle))
    })
    .await?;
    let stalled = [
        ("Deadline", "DEADLINE_EXCEEDED", None),
        ("Duration", "DEADLINE_EXCEEDED", None),
        ("Limited", "DEADLINE_EXCEEDED", Some("UMSDR")),
        ("Timeout", "DEADLINE_EXCEEDED", Some("UT")),
        ("Idle", "UNAVAILABLE", Some("SI")),
    ];
    let (mut calls, port) = (JoinSet::new(), stage.port());
    for (service, ..) in stalled {
        let call = Call::grpc(&format!("/test.{service}/Stall")).header("grpc-timeout", "3S");
        calls.spawn(async move { (service, call.send(&Http::Two, port).await) });
    }
    while let Some(ended) = calls.join_next().await {
        // The reply breaks off after its headers: by an error, or in older Envoys as if it were whole.
        let (service, reply) = ended?;
        let is_whole = reply.is_ok_and(|reply| reply.trailers.contains_key("grpc-status"));
        assert!(!is_whole, "{service}: nobody gives a status");
    }
    stage.at_rest(stalled.len() as u64).await?;
    let spans = stage.collector.spans();
    assert_eq!(spans.len(), stalled.len(), "one of each call");
    spans.iter().for_each(conventions::check);
    for (service, status, flag) in stalled {
        let method = format!("test.{service}/Stall");
        let span = spans.iter().find(|span| span.span.name == method).context(method)?;
        let found = span.text("rpc.response.status_code");
        assert_eq!(found.as_deref(), Some(status), "{service}: {:#?}", span.attributes());
        let flags = span.texts("envoy.response_flags");
        assert_eq!(flags, flag.map(|flag| vec![flag.to_owned()]), "{service}");
    }
    stage.collector.clear();
    let call = Call::grpc("/test.Deadline/Hang").header("grpc-timeout", "200m");
    call.send(&Http::Two, stage.port()).await?;
    let span = only_span(&stage, "before the headers").await?;
    let status = span.text("rpc.response.status_code");
    assert_eq!(status.as_deref(), Some("DEADLINE_EXCEEDED"), "before the headers");
    Ok(())
}

#[tokio::test]
async fn of_grpc_web_the_headers_may_tell_the_status() -> Result<()> {
    let web = json!({
        "name": "envoy.filters.http.grpc_web",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"},
    });
    let (not_found, nothing) = (Some("NOT_FOUND"), None);
    for (place, [in_body, in_headers], reason) in [
        (None, [nothing, not_found], "passed through"),
        (Some(Place::BeforeRouter), [nothing, not_found], "translated behind this filter"),
        (Some(Place::First), [not_found, not_found], "translated before it"),
    ] {
        let stage = Stage::start(|edge| match place {
            Some(place) => edge.http_filter("ingress", place, web.clone()),
            None => Ok(edge),
        })
        .await?;
        for (method, status) in [("NotFound", in_body), ("TrailersOnly", in_headers)] {
            let name = format!("test.Echo/{method}");
            let call = Call::get(&format!("/{name}")).method("POST").body(vec![0; 5]);
            let call = call.header("content-type", "application/grpc-web+proto");
            let reply = call.send(&Http::One, stage.port()).await?;
            assert_eq!(reply.status, 200, "{reason}");
            let span = only_span(&stage, reason).await?;
            let of = |name: &str| span.text(name);
            assert_eq!(span.span.name, name, "{reason}");
            assert_eq!(of("rpc.system.name").as_deref(), Some("grpc"), "{reason}");
            assert_eq!(of("rpc.response.status_code").as_deref(), status, "{reason}: {method}");
            let code = status.is_none().then_some(200);
            assert_eq!(span.int("http.response.status_code"), code, "{reason}: {method}");
            stage.collector.clear();
        }
    }
    Ok(())
}

#[tokio::test]
async fn of_connect_the_headers_tell_the_method() -> Result<()> {
    let unary = |path: &str| {
        let call = Call::get(path).method("POST").header("content-type", "application/json");
        call.header("connect-protocol-version", "1").body(b"{}".to_vec())
    };
    let stream = Call::get("/shop.Cart/Watch").method("POST").body(vec![0; 5]);
    let stream = stream.header("content-type", "application/connect+proto");
    let get = Call::get("/shop.Cart/Get?connect=v1&encoding=json&message=%7B%7D");
    let cases = [
        (unary("/shop.Cart/Add"), "shop.Cart/Add", 200, None, "a unary call"),
        (unary("/status/503"), "status/503", 503, Some("503"), "that fails"),
        (unary("/status/409"), "status/409", 409, None, "by its caller's fault"),
        (unary("/status/404"), "connectrpc", 404, None, "or has no such method"),
        (unary("/reset/Add"), "reset/Add", 503, Some("503"), "or is cut off"),
        (stream, "shop.Cart/Watch", 200, None, "a stream"),
        (get, "shop.Cart/Get", 200, None, "a GET"),
    ];
    let stage = Stage::start(Ok).await?;
    for http in [Http::One, Http::Two] {
        for (call, name, code, error, reason) in &cases {
            call.send(&http, stage.port()).await?;
            let span = only_span(&stage, reason).await?;
            assert_eq!(span.span.name, *name, "{reason}");
            let system = span.text("rpc.system.name");
            assert_eq!(system.as_deref(), Some("connectrpc"), "{reason}");
            assert_eq!(span.int("http.response.status_code"), Some(*code), "{reason}");
            assert_eq!(span.text("rpc.response.status_code"), None, "{reason}");
            assert_eq!(span.text("error.type").as_deref(), *error, "{reason}");
            assert_eq!(span.text("url.query"), None, "{reason}");
            stage.collector.clear();
        }
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
