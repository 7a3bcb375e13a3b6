//! `envoy.attributes` on a real Envoy, over HTTP/1.1, HTTP/2 and HTTP/3, between two parts that show each other certificates: each source, each
//! attribute that is asked for by name, and what becomes of what has no value.

use anyhow::{Context, Result};
use harness::bootstrap::{Bootstrap, Place};
use harness::client::{Call, Connection, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

/// An attribute, and its value: of requests whose headers can be read at their end, and over HTTP/3, where they can't.
struct Case {
    asked: Value,
    expected: [Value; 2],
}

/// Of a value that does not fit its type, and is counted.
fn dropped() -> Value {
    json!(["dropped"])
}

fn case(asked: Value, expected: Value) -> Case {
    Case { asked, expected: [expected.clone(), expected] }
}

/// Of an expression of this type.
fn cel(name: &str, kind: &str, text: &str, expected: Value) -> Case {
    case(json!({"name": name, "type": kind, "expression": text}), expected)
}

/// Of an expression over headers.
fn cel_of_headers(name: &str, kind: &str, text: &str, expected: Value) -> Case {
    let asked = json!({"name": name, "type": kind, "expression": text});
    Case { asked, expected: [expected, Value::Null] }
}

fn cases() -> Vec<Case> {
    let none = || Value::Null;
    vec![
        case(json!({"name": "literal", "value": "edge"}), json!("edge")),
        case(json!({"name": "literal.int", "value": -7, "type": "int"}), json!(-7)),
        case(json!({"name": "literal.double", "value": 1.5, "type": "double"}), json!(1.5)),
        case(json!({"name": "literal.bool", "value": false, "type": "bool"}), json!(false)),
        case(json!({"name": "literal.variable", "value": "in ${REGION:-eu}"}), json!("in eu")),
        case(json!({"name": "header", "header": "X-Tenant"}), json!("shop")),
        case(json!({"name": "header.int", "header": "x-number", "type": "int"}), json!(12_345_678)),
        case(json!({"name": "header.no_int", "header": "x-tenant", "type": "int"}), dropped()),
        case(json!({"name": "header.none", "header": "x-none"}), none()),
        case(
            json!({"name": "header.default", "header": "x-none", "default": "none"}),
            json!("none"),
        ),
        case(
            json!({"name": "response", "response_header": "content-length", "type": "int"}),
            json!(5),
        ),
        case(json!({"name": "baggage", "baggage": "tenant"}), json!("a b")),
        case(json!({"name": "baggage.none", "baggage": "TENANT"}), none()),
        case(
            json!({"name": "baggage.default", "baggage": "other", "default": 3, "type": "int"}),
            json!(3),
        ),
        case(json!({"name": "envoy.route_name", "value": "mine"}), json!("mine")),
        cel("cel.int", "int", "response.code", json!(200)),
        cel("cel.uint", "int", "uint(7)", json!(7)),
        cel("cel.int_as_double", "double", "response.code", json!(200.0)),
        cel("cel.int_as_text", "string", "response.code", dropped()),
        cel("cel.double", "double", "1.5", json!(1.5)),
        cel("cel.bool", "bool", "response.code == 200", json!(true)),
        cel("cel.bool_as_text", "string", "response.code == 200", dropped()),
        cel("cel.comment", "string", "'x' // why", json!("x")),
        cel("cel.empty", "string", "''", none()),
        cel("cel.node", "string", "xds.node.metadata['stage']", json!("canary")),
        cel("cel.node_number", "double", "xds.node.metadata['number']", json!(7.0)),
        cel("cel.request", "string", "metadata.filter_metadata['shop']['team']", json!("dynamic")),
        cel("cel.none", "string", "metadata.filter_metadata['shop']['other']", none()),
        case(
            json!({"name": "cel.default", "expression": "metadata.filter_metadata['a']['b']", "default": "x"}),
            json!("x"),
        ),
        cel_of_headers(
            "cel.header",
            "string",
            "request.headers['x-tenant']",
            json!("shop,a second one"),
        ),
        cel_of_headers(
            "cel.header_int",
            "int",
            "int(request.headers['x-number'])",
            json!(12_345_678),
        ),
        cel_of_headers("cel.header_text", "int", "request.headers['x-number']", json!(12_345_678)),
        cel("cel.no_header", "string", "request.headers['x-none']", none()),
    ]
}

/// Those that have a value where a route, a cluster and a host have metadata, as on the way to the other part.
const METADATA: [(&str, &str); 3] = [
    ("cel.route", "xds.route_metadata.filter_metadata['shop']['team']"),
    ("cel.cluster", "xds.cluster_metadata.filter_metadata['shop']['team']"),
    ("cel.host", "xds.upstream_host_metadata.filter_metadata['shop']['team']"),
];

const BY_NAME: [&str; 19] = [
    "client.port",
    "envoy.backend_latency",
    "envoy.cx_pool_ready_duration",
    "envoy.dns_san_peer_certificate",
    "envoy.requested_server_name",
    "envoy.uri_san_peer_certificate",
    "http.request.body.size",
    "http.request.size",
    "http.response.body.size",
    "http.response.size",
    "network.local.address",
    "network.local.port",
    "network.transport",
    "tls.client.hash.sha256",
    "tls.client.subject",
    "tls.protocol.version",
    "tls.server.hash.sha256",
    "tls.server.subject",
    "user_agent.synthetic.type",
];

fn configuration(kind: &str) -> String {
    let mut attributes: Vec<Value> = cases().into_iter().map(|case| case.asked).collect();
    attributes.extend(METADATA.map(|(name, text)| json!({"name": name, "expression": text})));
    attributes.extend(BY_NAME.map(|name| json!(name)));
    assert!(attributes.len() <= 64, "as many as there may be: {}", attributes.len());
    json!({"envoy": {"span_kind": kind, "attributes": attributes}}).to_string()
}

/// A filter that gives a request metadata.
fn dynamic_metadata() -> Value {
    json!({"name": "set_metadata", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
        "metadata": [{"metadata_namespace": "shop", "value": {"team": "dynamic"}}],
    }})
}

/// `ingress` calls `inner` over TLS with the client's certificate; `three` is a listener for HTTP/3.
fn parts(edge: Bootstrap, server: &Certificate, client: &Certificate) -> Result<Bootstrap> {
    let shop = json!({"filter_metadata": {"shop": {"team": "cart"}}});
    let edge = edge.node("metadata", json!({"stage": "canary", "number": 7}))?;
    let edge = edge.http_filter("ingress", Place::First, dynamic_metadata())?;
    let edge = edge.copy_listener("ingress", "inner")?.copy_listener("ingress", "three")?;
    let port = edge.port("inner");
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let host = json!({"endpoint": {"address": address}, "metadata": shop});
    let hosts = json!({"cluster_name": "inner", "endpoints": [{"lb_endpoints": [host]}]});
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "inner.shop",
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": {"inline_string": client.chain},
                    "private_key": {"inline_string": client.key},
                }],
                "validation_context": {"trusted_ca": {"inline_string": server.chain}},
            },
        },
    });
    let edge = edge.cluster("inner", port)?.cluster_part("inner", "load_assignment", hosts)?;
    let edge = edge.cluster_part("inner", "metadata", shop.clone())?;
    let edge = edge.cluster_part("inner", "transport_socket", tls)?;
    let to_inner = json!({
        "name": "inner", "match": {"prefix": "/"}, "metadata": shop, "route": {"cluster": "inner"},
    });
    let edge = edge.route("ingress", to_inner)?.filter("ingress", &configuration("client"))?;
    let edge = edge.tls("inner", server)?.client_certificates("inner", client)?;
    // Else nobody looks at the name that the caller asks for.
    let inspector = json!([{"name": "tls_inspector", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    }}]);
    let edge = edge.listener_part("inner", "listener_filters", inspector)?;
    let edge = edge.filter("inner", &configuration("server"))?;
    // Else Envoy takes another address of this machine for that of a client on loopback.
    let edge = edge.connection_manager("three", "use_remote_address", json!(false))?;
    edge.filter("three", &configuration("server"))?.http3("three", server)
}

/// An attribute of a span; null if it has none of this name.
fn value(span: &Span, name: &str) -> Value {
    match span.attributes().remove(name) {
        None => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BoolValue(truth)) => json!(truth),
        Some(other) => panic!("{name} is {other:?}"),
    }
}

/// What was asked for by name.
fn by_name(span: &Span, expected: &[(&str, Value)], http: &Http) {
    for name in BY_NAME {
        let found = value(span, name);
        let expected = expected.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let what = format!("{name}, {http}, {:?}: {found}", span.span.kind());
        match expected.and_then(Value::as_str) {
            Some("any") => assert!(!found.is_null(), "{what}"),
            Some("duration") => {
                assert!((0.0..60.0).contains(&found.as_f64().expect(&what)), "{what}");
            }
            Some("digest") => {
                let text = found.as_str().unwrap_or_default();
                let is_digit = |it: char| it.is_ascii_digit() || ('A'..='F').contains(&it);
                assert!(text.len() == 64 && text.chars().all(is_digit), "{what}");
            }
            _ => assert_eq!(&found, expected.unwrap_or(&Value::Null), "{what}"),
        }
    }
    // What everybody has is still there, whatever became of an expression.
    assert_eq!(span.int("http.response.status_code"), Some(200), "{http}");
    assert!(span.text("envoy.cluster_name").is_some(), "{http}");
}

fn cases_hold(span: &Span, http: &Http) {
    let at_end = usize::from(matches!(http, Http::Three(_)));
    let mut count = 0;
    for case in cases() {
        let expected = case.expected[at_end].clone();
        let is_dropped = expected == dropped();
        count += u32::from(is_dropped);
        let name = case.asked["name"].as_str().expect("a name");
        let expected = if is_dropped { Value::Null } else { expected };
        assert_eq!(value(span, name), expected, "{name}, {http}, {:?}", span.span.kind());
    }
    assert_eq!(span.span.dropped_attributes_count, count, "{http}: those that do not fit");
    let kind = span.span.kind();
    let team = if kind == SpanKind::Client { json!("cart") } else { Value::Null };
    for (name, _) in METADATA {
        assert_eq!(value(span, name), team, "{name}, {http}, {kind:?}");
    }
}

#[tokio::test]
async fn spans_have_what_they_are_asked_for() -> Result<()> {
    let server = Certificate::of_workload("server", "localhost", "spiffe://shop/server")?;
    let client = Certificate::of_workload("client", "client.shop", "spiffe://shop/client")?;
    let stage = Stage::start(|edge| parts(edge, &server, &client)).await?;
    let call = Call::get("/a").method("POST").body(vec![7; 1000]);
    let call = call.header("user-agent", "Googlebot/2.1").header("x-number", "12345678");
    let call = call.header("x-tenant", "shop").header("x-tenant", "a second one");
    let call = call.header("baggage", "other").header("baggage", "x=1,tenant=a%20b;property=1");
    let (any, duration, digest) = (json!("any"), json!("duration"), json!("digest"));
    let local = json!("127.0.0.1");
    let exchange = [
        ("envoy.backend_latency", duration.clone()),
        ("envoy.cx_pool_ready_duration", duration),
        ("http.request.body.size", json!(1000)),
        ("http.response.body.size", json!(5)),
        ("network.local.address", local),
    ];
    let sizes = [("http.request.size", any.clone()), ("http.response.size", any.clone())];
    let seen = [("network.transport", json!("tcp")), ("user_agent.synthetic.type", json!("bot"))];
    let certificates = [
        ("tls.client.subject", json!("CN=client")),
        ("tls.server.subject", json!("CN=server")),
        ("tls.protocol.version", json!("1.2")),
    ];
    let of_server = [
        &exchange[..],
        &sizes,
        &seen,
        &certificates,
        &[
            ("network.local.port", json!(stage.envoy.port("inner"))),
            ("envoy.dns_san_peer_certificate", json!("client.shop")),
            ("envoy.uri_san_peer_certificate", json!("spiffe://shop/client")),
            ("envoy.requested_server_name", json!("inner.shop")),
            ("tls.client.hash.sha256", digest.clone()),
        ],
    ]
    .concat();
    let of_client = [
        &exchange[..],
        &sizes,
        &certificates,
        &[
            ("network.local.port", any),
            ("envoy.dns_san_peer_certificate", json!("localhost")),
            ("envoy.uri_san_peer_certificate", json!("spiffe://shop/server")),
            ("tls.server.hash.sha256", digest),
        ],
    ]
    .concat();
    for http in [Http::One, Http::Two] {
        stage.collector.clear();
        assert_eq!(call.send(&http, stage.port()).await?.status, 200);
        for span in stage.collector.wait_for_spans(2).await? {
            let expected = match span.span.kind() {
                SpanKind::Client => &of_client,
                _ => &of_server,
            };
            by_name(&span, expected, &http);
            let size = span.int("http.request.size").context("its size")?;
            assert!((1001..3000).contains(&size), "with its headers: {size}");
            cases_hold(&span, &http);
        }
    }
    let http = Http::Three(server.clone());
    stage.collector.clear();
    let mut connection = Connection::open(&http, stage.envoy.port("three")).await?;
    assert_eq!(connection.send(&call).await?.status, 200);
    let span = stage.collector.wait_for_spans(1).await?.remove(0);
    let of_three = [
        &exchange[..],
        &[
            ("client.port", json!(connection.local_port)),
            ("envoy.requested_server_name", json!("localhost")),
            ("network.local.port", json!(stage.envoy.port("three"))),
            ("network.transport", json!("quic")),
            ("tls.protocol.version", json!("1.3")),
            ("user_agent.synthetic.type", json!("bot")),
        ],
    ]
    .concat();
    by_name(&span, &of_three, &http);
    cases_hold(&span, &http);
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn an_expression_that_envoy_cannot_compile_is_refused() -> Result<()> {
    let attributes = json!([{"name": "a", "expression": "response.code == (5"}]);
    let configuration = json!({"envoy": {"attributes": attributes}}).to_string();
    let edge = Bootstrap::from_file("envoy/envoy.yaml")?.filter("ingress", &configuration)?;
    let checked = harness::Envoy::validate(&edge).await?;
    let expected = "envoy.attributes[0].expression: found a string; accepted: a CEL expression over \
                    Envoy's attributes that this Envoy can compile";
    assert!(!checked.status.success() && checked.output.contains(expected), "{}", checked.output);
    Ok(())
}
