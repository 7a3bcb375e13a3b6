//! `envoy.semconv: legacy` beside Envoy's own tracer: in one Envoy, under the same requests, attribute by attribute, with the span's name and status.
//! What differs on purpose stands with the request that shows it, and why.

use anyhow::{Context, Result};
use harness::client::{Call, Http};
use harness::tls::Certificate;
use harness::{Bootstrap, Span, Stage, free_port};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a span says, with its name and its status; the listener's port is `PORT`.
type Said = BTreeMap<String, String>;

/// What this filter says and what Envoy's tracer says, where they differ on purpose.
struct Difference {
    name: &'static str,
    here: Option<&'static str>,
    envoy: Option<&'static str>,
    reason: &'static str,
}

struct Case {
    reason: &'static str,
    http: Http,
    call: Call,
    /// Whether the client waits for the response.
    client: Client,
    differences: Vec<Difference>,
}

#[derive(Clone, Copy, PartialEq)]
enum Client {
    Waits,
    Leaves,
}

/// What Envoy's tracer says there does not matter.
const ANYTHING: &str = "*";

/// A request over HTTP/1.1.
fn case(reason: &'static str, call: Call) -> Case {
    Case { reason, http: Http::One, call, client: Client::Waits, differences: Vec::new() }
}

impl Case {
    fn whose_client_leaves(self) -> Self {
        Self { client: Client::Leaves, ..self }
    }

    fn over(self, http: Http) -> Self {
        Self { http, ..self }
    }

    fn but(
        mut self,
        name: &'static str,
        here: impl Into<Option<&'static str>>,
        envoy: impl Into<Option<&'static str>>,
        reason: &'static str,
    ) -> Self {
        let (here, envoy) = (here.into(), envoy.into());
        self.differences.push(Difference { name, here, envoy, reason });
        self
    }
}

fn grpc(reason: &'static str, method: &str) -> Case {
    case(reason, Call::grpc(method)).over(Http::Two)
}

fn get(reason: &'static str, path: &str) -> Case {
    case(reason, Call::get(path))
}

/// Of an id that came with a request, Envoy's tracer marks a character: `b` says that `x-client-trace-id` asked for the trace.
const ID: &str = "6f0d8f5a-1b2c-4d3e-8f90-a1b2c3d4e5f6";
const MARKED_ID: &str = "6f0d8f5a-1b2c-bd3e-8f90-a1b2c3d4e5f6";

const ASKED: &str = "the filter has what the caller asked for; Envoy's URL has the path of that, and the host that it goes on to";
const SIZE: &str = "Envoy tells a filter the content-length of a request that has one, and its tracer what has come until then";

fn cases() -> Vec<Case> {
    let client = Call::get("/a?b=c").header("user-agent", "test");
    let client = client.header("x-request-id", ID);
    let long = format!("/{}?b=c", "x".repeat(400));
    let posted = Call::get("/echo").method("POST").body(vec![b'x'; 1000]);
    vec![
        case("a request with all that a client says", client).but(
            "guid:x-request-id",
            ID,
            MARKED_ID,
            "the filter leaves the id as it is: x-request-id decides nothing",
        ),
        get("over HTTP/2", "/a").over(Http::Two),
        case("a body", posted),
        get("a path that is too long for Envoy", &long),
        get("a secret", "/a?sig=c2VjcmV0&b=c").but(
            "http.url",
            "http://localhost:PORT/a?sig=REDACTED&b=c",
            "http://localhost:PORT/a?sig=c2VjcmV0&b=c",
            "secrets are replaced, whatever the names are",
        ),
        case("a proxy that Envoy trusts", Call::get("/a").header("x-forwarded-for", "203.0.113.9"))
            .but(
                "peer.address",
                None,
                "127.0.0.1",
                "a filter is told the client's address alone, as of network.peer.address",
            ),
        get("the caller's mistake", "/status/404"),
        get("the same over HTTP/2", "/status/404").over(Http::Two),
        get("the server's fault", "/status/503"),
        get("the upstream breaks off", "/reset"),
        get("the upstream is not there", "/dead"),
        get("a timeout", "/delay/60000"),
        get("the client leaves", "/together/9").whose_client_leaves(),
        get("the same over HTTP/2", "/together/9").over(Http::Two).whose_client_leaves(),
        get("a retry", "/flaky/2").but(
            "retry.count",
            "2",
            None,
            "Envoy has it on the spans of spawn_upstream_span; here is one span",
        ),
        get("Envoy answers by itself", "/direct"),
        get("the path and the host are rewritten", "/rewritten?b=c").but(
            "http.url",
            "http://localhost:PORT/rewritten?b=c",
            "http://rewritten.example/rewritten?b=c",
            ASKED,
        ),
        get("a route with a decorator", "/decorated").but(
            "name",
            "ingress",
            "decorated",
            "a filter is not told the route's decorator: envoy.span_name makes other names",
        ),
        get("a cluster with another name in statistics", "/renamed").but(
            "upstream_cluster.name",
            "renamed",
            "in_statistics",
            "a filter is told the cluster's name alone",
        ),
        grpc("a call", "/shop.Cart/Add"),
        case("a deadline", Call::grpc("/shop.Cart/Add").header("grpc-timeout", "9S"))
            .over(Http::Two),
        grpc("a call that fails by the caller's fault", "/shop.Cart/NotFound"),
        grpc("and by the server's", "/shop.Cart/Internal"),
        grpc("a call that has no room", "/shop.Cart/ResourceExhausted"),
        grpc("a call answered by headers alone", "/shop.Cart/TrailersOnly"),
        grpc("a call of which the upstream breaks off", "/reset/Add").but(
            "request_size",
            "5",
            ANYTHING,
            SIZE,
        ),
        grpc("a call that Envoy answers by itself", "/direct/Add").but(
            "request_size",
            "5",
            ANYTHING,
            SIZE,
        ),
        grpc("a call that is rewritten", "/rewritten/Add")
            .but("grpc.path", "/rewritten/Add", "/other/Add", ASKED)
            .but("grpc.authority", "localhost:PORT", "rewritten.example", ASKED)
            .but(
                "http.url",
                "http://localhost:PORT/rewritten/Add",
                "http://rewritten.example/rewritten/Add",
                ASKED,
            ),
    ]
}

/// What stands on one of the spans here, and on the upstream's span of `spawn_upstream_span` there.
const OF_THE_UPSTREAM: &str = "upstream_address";

fn said(span: &Span, port: u16) -> Said {
    let text = |value: &AnyValue| match value {
        AnyValue::StringValue(text) => text.replace(&format!(":{port}"), ":PORT"),
        other => panic!("{other:?} is no text"),
    };
    let mut said: Said = span.attributes().iter().map(|(k, v)| (k.clone(), text(v))).collect();
    said.insert("name".into(), span.span.name.replace(&format!(":{port}"), ":PORT"));
    said.insert("status".into(), if span.is_error() { "ERROR" } else { "UNSET" }.into());
    said.insert("kind".into(), span.span.kind().as_str_name().into());
    said
}

/// The routes that the cases ask for, before the file's own.
fn routed(edge: Bootstrap, listener: &str) -> Result<Bootstrap> {
    let to = |path: &str, action: Value| {
        let mut route = json!({"name": path, "match": {"prefix": format!("/{path}")}});
        for (key, value) in action.as_object().into_iter().flatten() {
            route[key] = value.clone();
        }
        route
    };
    let rewritten =
        json!({"prefix_rewrite": "/other", "host_rewrite_literal": "rewritten.example"});
    let rewritten = |cluster: &str| {
        let mut action = rewritten.clone();
        action["cluster"] = json!(cluster);
        json!({"route": action})
    };
    let mut of_calls = to("rewritten", rewritten("upstream_http2"));
    of_calls["match"]["grpc"] = json!({});
    let routes = [
        to("dead", json!({"route": {"cluster": "dead"}})),
        to("renamed", json!({"route": {"cluster": "renamed"}})),
        to("delay", json!({"route": {"cluster": "upstream", "timeout": "0.1s"}})),
        to("direct", json!({"direct_response": {"status": 418}})),
        to("rewritten", rewritten("upstream")),
        of_calls,
        to(
            "decorated",
            json!({
                "route": {"cluster": "upstream"}, "decorator": {"operation": "decorated"},
            }),
        ),
        to(
            "flaky",
            json!({
                "route": {"cluster": "upstream", "retry_policy": {"retry_on": "5xx", "num_retries": 3}},
            }),
        ),
    ];
    routes.into_iter().try_fold(edge, |edge, route| edge.route(listener, route))
}

/// An Envoy whose listener `ingress` is traced by the filter, with these names, and `native` by Envoy's own tracer.
async fn traced_by_both(direction: &str, semconv: &str) -> Result<Stage> {
    Stage::start(|edge| {
        let upstream = edge.cluster_port("upstream");
        let edge = edge
            .node("locality", json!({"zone": "zone-a"}))?
            .cluster("dead", free_port()?)?
            .cluster("renamed", upstream)?
            .cluster_part("renamed", "alt_stat_name", json!("in_statistics"))?
            .listener_part("ingress", "traffic_direction", json!(direction))?
            .connection_manager("ingress", "preserve_external_request_id", json!(true))?
            .connection_manager("ingress", "xff_num_trusted_hops", json!(1))?;
        let edge = routed(edge, "ingress")?.copy_listener("ingress", "native")?;
        let configuration = json!({"envoy": {"semconv": semconv}}).to_string();
        edge.filter("ingress", &configuration)?
            .native_tracer("native", 100.0)?
            .runtime(json!({"tracing.opentelemetry.min_flush_spans": 1}))
    })
    .await
}

/// What each of the two says of each request, by what its caller called it in `x-client-trace-id`.
async fn spans(stage: &Stage, cases: &[Case]) -> Result<[BTreeMap<String, Said>; 2]> {
    let mut all = [BTreeMap::new(), BTreeMap::new()];
    for (listener, said_by) in ["ingress", "native"].into_iter().zip(&mut all) {
        let port = stage.envoy.port(listener);
        for (number, case) in cases.iter().enumerate() {
            let call = case.call.clone().header("x-client-trace-id", number.to_string());
            match case.client {
                Client::Waits => drop(call.send(&case.http, port).await.context(case.reason)?),
                Client::Leaves => {
                    stage.upstream.clear();
                    let seen = || async { stage.upstream.seen().first().map(drop) };
                    call.abandon(&case.http, port, seen).await.context(case.reason)?;
                }
            }
        }
        for span in stage.collector.wait_for_spans(cases.len()).await? {
            let mut said = said(&span, port);
            let id = said.remove("guid:x-client-trace-id").context("its name")?;
            said_by.insert(id, said);
        }
        stage.collector.clear();
    }
    Ok(all)
}

#[tokio::test]
async fn the_legacy_names_are_those_of_envoys_own_tracer() -> Result<()> {
    let page = std::fs::read_to_string(harness::root().join("docs/migrate.md"))?;
    for (direction, name) in [("INBOUND", "ingress"), ("OUTBOUND", "egress localhost:PORT")] {
        let cases = cases();
        for difference in cases.iter().flat_map(|case| &case.differences) {
            let is_told = page.contains(&format!("`{}`", difference.name));
            assert!(is_told, "docs/migrate.md tells of {}", difference.name);
        }
        let stage = traced_by_both(direction, "legacy").await?;
        let [here, envoys] = spans(&stage, &cases).await?;
        let mut wrong = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            let mut here = here[&number.to_string()].clone();
            let mut envoys = envoys[&number.to_string()].clone();
            let upstream = here.remove(OF_THE_UPSTREAM).is_some();
            assert_eq!(upstream, envoys.contains_key("upstream_cluster"), "{}", case.reason);
            // Each request has an id of its own, unless it came with one.
            for said in [&mut here, &mut envoys] {
                let id = said.get_mut("guid:x-request-id").context(case.reason)?;
                if ![ID, MARKED_ID].contains(&id.as_str()) {
                    *id = "of its own".into();
                }
            }
            for Difference { name: tag, here: ours, envoy, reason } in &case.differences {
                let ours = ours.map(|ours| if ours == "ingress" { name } else { ours });
                let found = [here.remove(*tag), envoys.remove(*tag)];
                let envoy = if *envoy == Some(ANYTHING) { found[1].as_deref() } else { *envoy };
                let expected = [ours, envoy];
                if found.each_ref().map(Option::as_deref) != expected {
                    wrong.push(format!("{}: {tag}: {found:?}: {reason}", case.reason));
                }
            }
            for tag in here.keys().chain(envoys.keys()) {
                let both = [here.get(tag), envoys.get(tag)];
                if both[0] != both[1] {
                    wrong.push(format!("{direction}: {}: {tag}: {both:?}", case.reason));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    Ok(())
}

/// Envoy lets go of the filter there before it can ask for a header or a trailer of the response.
#[tokio::test]
async fn over_http3_a_call_has_no_message() -> Result<()> {
    let http3 = Http::Three(Certificate::new()?);
    let Http::Three(certificate) = &http3 else { anyhow::bail!("HTTP/3") };
    let stage = Stage::start(|edge| {
        let edge = edge.cluster("dead", free_port()?)?.http3("ingress", certificate)?;
        let dead = json!({"match": {"prefix": "/dead"}, "route": {"cluster": "dead"}});
        edge.route("ingress", dead)?.filter("ingress", r#"{"envoy": {"semconv": "legacy"}}"#)
    })
    .await?;
    for (call, size, status) in
        [(Call::get("/large/1000"), "1000", None), (Call::grpc("/dead/Add"), "0", Some("14"))]
    {
        call.send(&http3, stage.port()).await?;
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        assert_eq!(span.text("http.protocol").as_deref(), Some("HTTP/3"));
        assert_eq!(span.text("response_size").as_deref(), Some(size));
        assert_eq!(span.text("grpc.status_code").as_deref(), status);
        assert_eq!(span.text("grpc.message"), None);
        stage.collector.clear();
    }
    Ok(())
}
