//! Every way in which a request can go through Envoy, and what its span must say.
//!
//! The table, what Envoy must be to bring each case about, and the check; who sends the requests and where the
//! spans go is the tests' own.

use anyhow::Result;
use harness::Span;
use harness::bootstrap::{Bootstrap, Place};
use harness::client::Call;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

/// What is expected of a span.
pub(crate) struct Case {
    pub(crate) reason: &'static str,
    pub(crate) call: Call,
    /// What the client gets.
    pub(crate) reply: u16,
    pub(crate) name: &'static str,
    /// `http.response.status_code`, or `rpc.response.status_code`.
    pub(crate) status: Status,
    pub(crate) error: Option<&'static str>,
    /// One of these is set; none at all if empty.
    pub(crate) flags: &'static [&'static str],
    /// How often an upstream was tried.
    pub(crate) attempts: i64,
}

#[derive(Clone, Copy)]
pub(crate) enum Status {
    Http(i64),
    Grpc(&'static str),
}

/// Every kind of request.
pub(crate) fn cases() -> Vec<Case> {
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
            name: "grpc",
            ..grpc(
                "gRPC, no such method",
                "/test.Echo/Unimplemented",
                "UNIMPLEMENTED",
                Some("UNIMPLEMENTED"),
            )
        },
        Case {
            name: "grpc",
            attempts: 0,
            flags: &["NR"],
            call: Call::grpc("/test.Echo/Unary").header("x-no-route", "1"),
            ..grpc("gRPC, no route", "", "UNIMPLEMENTED", Some("UNIMPLEMENTED"))
        },
        Case { name: "POST", ..case("gRPC that calls no method", Call::grpc("/"), 200) },
        case("gRPC that is no POST", Call::grpc("/test.Echo/Unary").method("GET"), 200),
        Case {
            flags: &["UF"],
            ..grpc("gRPC, nobody there", "/test.Gone/Unary", "UNAVAILABLE", Some("UNAVAILABLE"))
        },
    ]
}

/// The edge with every kind of route and filter that the cases need.
pub(crate) fn bootstrap(edge: Bootstrap) -> Result<Bootstrap> {
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
    // The file's route for gRPC takes all of it.
    let grpc = json!([{"name": "x-no-route", "present_match": true, "invert_match": true}]);
    edge.cluster("closed", closed)?
        .default_route_match("ingress", routable)?
        .replace("\"grpc\":{}", &format!("\"grpc\":{{}},\"headers\":{grpc}"))?
        .route("ingress", direct)?
        .route("ingress", to("/refused", json!({"cluster": "closed"})))?
        .route("ingress", to("/delay", json!({"cluster": "upstream", "timeout": "0.2s"})))?
        .route("ingress", to("/flaky", retry))?
        .route("ingress", to("/redirect", redirect))?
        .route("ingress", to("/test.Gone/", json!({"cluster": "closed"})))?
        .http_filter("ingress", Place::First, deny("before", "/before"))?
        .http_filter("ingress", Place::BeforeRouter, deny("after", "/after"))
}

/// Holds the span of a case, sent over a version of HTTP, against what is expected of it; it says so many attempts.
pub(crate) fn check(case: &Case, version: &str, span: &Span, attempts: i64) {
    let reason = format!("HTTP/{version}, {}: {:#?}", case.reason, span.attributes());
    let kind = SpanKind::Server;
    assert_eq!(span.span.kind(), kind, "{reason}");
    match case.status {
        Status::Http(code) => {
            assert_eq!(span.span.name, case.name, "{reason}");
            assert_eq!(span.int("http.response.status_code"), Some(code), "{reason}");
            assert_eq!(span.text("network.protocol.version").as_deref(), Some(version), "{reason}");
        }
        Status::Grpc(status) => {
            assert_eq!(span.text("rpc.response.status_code").as_deref(), Some(status), "{reason}");
            let method = span.text("rpc.method").unwrap_or_default();
            let expected = if case.name.is_empty() { &method } else { case.name };
            assert_eq!(span.span.name, expected, "{reason}");
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
    assert_eq!(span.int("envoy.request_attempt_count").unwrap_or_default(), attempts, "{reason}");
}
