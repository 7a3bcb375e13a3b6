//! Two proxies in a row that share nothing, at a head ratio of 0: what the second one keeps, the first one does, over each version of HTTP,
//! with and without a body, and where a client leaves. And what it cannot know.

mod conventions;

use anyhow::{Context, Result};
use harness::client::{Call, Http, Reply};
use harness::service::{Answer, serve, serve_bytes};
use harness::tls::Certificate;
use harness::{Bootstrap, Counters, Envoy, Receiver, Span, Upstream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longer than any request takes, in ms.
const NEVER: u64 = 600_000;
/// A trace that its caller has let go.
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A front proxy before a second one: two processes.
struct Row {
    front: Envoy,
    second: Envoy,
    collector: Receiver,
    http: Http,
}

impl Row {
    /// Starts both, with the rules of each; clients speak `http`. `change` may alter the configuration of the one of this name.
    async fn start(
        http: &Http,
        rules: [&Value; 2],
        upstream: u16,
        change: impl Fn(Bootstrap, &str) -> Result<Bootstrap>,
    ) -> Result<Self> {
        let collector = Receiver::start().await?;
        let proxy = |name: &str, rules: &Value, port: u16| {
            let configuration = json!({"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": {"keep": rules}});
            let soon = json!({"key_values": {"OTEL_BSP_SCHEDULE_DELAY": "50"}});
            let edge = Bootstrap::edge(port, collector.port())?.node("cluster", json!(name))?;
            let edge = edge.wasm("ingress", "/config/vm_config", "environment_variables", soon)?;
            let edge = edge.filter("ingress", &configuration.to_string())?;
            change(edge, name)
        };
        // An answer of 1xx is passed on, but not over HTTP/3: the client does not know them there.
        let passing =
            |edge: Bootstrap| edge.connection_manager("ingress", "proxy_100_continue", json!(true));
        let second = Envoy::start(passing(proxy("second", rules[1], upstream)?)?).await?;
        let front = proxy("front", rules[0], second.port("ingress"))?;
        let front = match http {
            Http::Three(certificate) => front.http3("ingress", certificate)?,
            Http::One | Http::Two => passing(front)?,
        };
        let front = Envoy::start(front).await?;
        Ok(Self { front, second, collector, http: http.clone() })
    }

    async fn send(&self, call: &Call) -> Result<Reply> {
        let reply = call.send(&self.http, self.front.port("ingress")).await?;
        for told in [&reply.headers, &reply.trailers] {
            assert_eq!(told.get("server-timing"), None, "the front tells strangers nothing");
        }
        Ok(reply)
    }

    /// The spans of so many requests, when both proxies are at rest: one more request follows, which nobody keeps.
    async fn spans(&self, at_front: u64, at_second: u64) -> Result<Vec<Span>> {
        let unsampled = format!("00-{OTHER}-00f067aa0ba902b7-00");
        self.send(&Call::get("/").header("traceparent", unsampled)).await?;
        for (proxy, sent) in [(&self.front, at_front), (&self.second, at_second)] {
            Counters::at_rest(proxy.admin_port(), sent + 1).await?;
            assert_eq!(proxy.complaints(), Vec::<String>::new());
        }
        let mut spans = self.collector.take_spans();
        spans.retain(|span| span.trace_id() != OTHER);
        spans.iter().for_each(conventions::check);
        Ok(spans)
    }
}

/// What a proxy behind the front keeps, and tells it.
fn told() -> Value {
    json!([{"error": {}}, {"callee_kept": {"tell_caller": true}}])
}

/// The span of one of the two proxies among these.
fn of<'a>(proxy: &str, spans: &'a [Span]) -> Result<&'a Span> {
    let span =
        spans.iter().find(|span| span.resource_text("service.name").as_deref() == Some(proxy));
    span.with_context(|| format!("{proxy}: {spans:#?}"))
}

/// The rules that each request was kept by, at the front and behind it, by its path or method. Each trace is whole.
fn kept(spans: &[Span]) -> Result<BTreeMap<String, (String, String)>> {
    let mut traces = BTreeMap::<_, Vec<_>>::new();
    for span in spans {
        traces.entry(span.trace_id()).or_default().push(span.clone());
    }
    let mut kept = BTreeMap::new();
    for spans in traces.values() {
        assert_eq!(spans.len(), 2, "one each: {spans:#?}");
        let (front, second) = (of("front", spans)?, of("second", spans)?);
        assert_eq!((front.parent_id(), second.parent_id()), (String::new(), front.span_id()));
        let rules = [front, second].map(|it| it.text("envoy.keep_rule").unwrap_or_default());
        let place = front.text("url.path").or(front.text("rpc.method")).context("a place")?;
        kept.insert(place, rules.into());
    }
    Ok(kept)
}

/// Answers by the path: a status, and the form that the answer has.
fn in_any_form(head: &str) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let mut parts = path.trim_start_matches("/bytes/").split('/');
    let (status, form) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let before = match form {
        "continue" => "HTTP/1.1 100 Continue\r\n\r\n",
        "hints" => "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n",
        _ => "",
    };
    let rest = match form {
        "head" => "content-length: 5\r\n\r\n",
        "empty" => "content-length: 0\r\n\r\n",
        "chunked" => "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        _ => "content-length: 5\r\n\r\nhello",
    };
    format!("{before}HTTP/1.1 {status} Told\r\nconnection: close\r\n{rest}").into_bytes()
}

async fn what_the_second_keeps_the_front_does(http: Http) -> Result<()> {
    let (upstream, forms) = (Upstream::start().await?, serve_bytes(in_any_form).await?);
    let get = |status: u16, form: &str| Call::get(&format!("/bytes/{status}/{form}"));
    let mut calls = vec![
        Call::get("/status/404"),
        Call::get("/status/500"),
        Call::get("/gone"),
        Call::grpc("/test.Echo/Ok"),
        Call::grpc("/test.Echo/NotFound"),
        Call::grpc("/test.Echo/TrailersOnly"),
        Call::grpc("/test.Echo/Internal"),
        Call::grpc("/test.Echo/Unavailable"),
        // The second proxy answers itself, without trailers.
        Call::grpc("/test.Gone/Unary"),
    ];
    for status in [200, 503] {
        let forms = ["continue", "hints", "empty", "chunked"];
        calls.extend(forms.map(|form| get(status, form)));
        calls.push(get(status, "head").method("HEAD"));
    }
    let expected = [
        "/bytes/503/chunked",
        "/bytes/503/continue",
        "/bytes/503/empty",
        "/bytes/503/head",
        "/bytes/503/hints",
        "/gone",
        "/status/500",
        "test.Echo/Internal",
        "test.Echo/Unavailable",
        "test.Gone/Unary",
    ];
    let (all, none) = (json!({"slower_than": NEVER}), json!({"callee_kept": {}}));
    // A front that does not ask for errors knows from the answer alone: of gRPC from its trailers.
    for (rules, rule) in
        [(json!([{"error": {}}, all, none]), "error"), (json!([all, none]), "callee_kept")]
    {
        let row = Row::start(&http, [&rules, &told()], upstream.port(), |edge, name| {
            if name == "front" {
                return Ok(edge);
            }
            let to = |prefix: &str, cluster: &str| json!({"match": {"prefix": prefix}, "route": {"cluster": cluster}});
            let edge = edge.cluster("forms", forms)?.cluster("closed", harness::free_port()?)?;
            let edge = edge.route("ingress", to("/bytes/", "forms"))?;
            edge.route("ingress", to("/gone", "closed"))?
                .route("ingress", to("/test.Gone/", "closed"))
        })
        .await?;
        for call in &calls {
            row.send(call).await.with_context(|| format!("{http}: {call:?}"))?;
        }
        let sent = calls.len() as u64;
        let kept = kept(&row.spans(sent, sent).await?)?;
        let by = (rule.to_owned(), "error".to_owned());
        let expected = expected.map(|place| (place.to_owned(), by.clone()));
        assert_eq!(kept, BTreeMap::from(expected), "{http}: {rule}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_second_keeps_the_front_does_over_http1() -> Result<()> {
    what_the_second_keeps_the_front_does(Http::One).await
}

#[tokio::test]
async fn what_the_second_keeps_the_front_does_over_http2() -> Result<()> {
    what_the_second_keeps_the_front_does(Http::Two).await
}

#[tokio::test]
async fn what_the_second_keeps_the_front_does_over_http3() -> Result<()> {
    what_the_second_keeps_the_front_does(Http::Three(Certificate::new()?)).await
}

/// Nobody answers a client that has left: each proxy sees for itself that the request was cut off.
#[tokio::test]
async fn both_see_that_a_client_has_left() -> Result<()> {
    let rules = json!([{"error": {}}, {"slower_than": NEVER}, {"callee_kept": {}}]);
    for http in [Http::One, Http::Two, Http::Three(Certificate::new()?)] {
        let upstream = Upstream::start().await?;
        let row = Row::start(&http, [&rules, &told()], upstream.port(), |edge, _| Ok(edge)).await?;
        let leave = async |call: Call| {
            upstream.clear();
            let seen = || async { upstream.seen().first().map(|_| ()) };
            call.abandon(&http, row.front.port("ingress"), seen).await?;
            for proxy in [&row.front, &row.second] {
                let active = "http.ingress.downstream_rq_active";
                proxy.wait_for_stats("the request to end", |stats| stats[active] == 0).await?;
            }
            anyhow::Ok(())
        };
        leave(Call::get("/delay/600000")).await?;
        let spans = row.spans(1, 1).await?;
        let by = ("error".to_owned(), "error".to_owned());
        assert_eq!(kept(&spans)?, BTreeMap::from([("/delay/600000".to_owned(), by)]), "{http}");
        let expected = match http {
            Http::One => "DC",
            Http::Two => "DR",
            // Envoy gives no flag before it lets go of the filter.
            Http::Three(_) => "_OTHER",
        };
        let errors =
            ["front", "second"].map(|name| of(name, &spans).map(|it| it.text("error.type")));
        let [front, second] = errors;
        assert_eq!((front?.as_deref(), second?.as_deref()), (Some(expected), Some("DC")), "{http}");
        if !matches!(http, Http::One) {
            leave(Call::grpc("/test.Echo/Hang")).await?;
            let spans = row.spans(3, 3).await?;
            assert!(spans.is_empty(), "{http}: CANCELLED is no fault of a server: {spans:#?}");
        }
    }
    Ok(())
}

/// An upstream that fails once, late, and then answers well.
async fn flaky() -> Result<u16> {
    let attempts = AtomicU64::new(0);
    serve(move |request| {
        let fails = request.path == "/flaky" && attempts.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if fails {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(Answer { status: if fails { 503 } else { 200 }, headers: Vec::new() })
        }
    })
    .await
}

/// The proxy that tries again does not see the answer of the attempt that failed. It hears of it with the answer that it passes on, if that
/// comes from a process that has kept the other one.
#[tokio::test]
async fn a_retry_that_succeeds_is_no_error_at_the_front() -> Result<()> {
    let callee = json!([{"error": {}}, {"slower_than": NEVER}, {"callee_kept": {}}]);
    let slow = json!([{"error": {}}, {"slower_than": 50}, {"callee_kept": {}}]);
    let retried = json!({"condition": "upstream.request_attempt_count > 1", "name": "retried"});
    let retried = json!([{"error": {}}, retried, {"callee_kept": {}}]);
    let (told, silent) = (told(), json!([{"error": {}}]));
    let cases = [
        (&callee, &told, "callee_kept", "the second attempt's answer tells of the trace"),
        (&slow, &told, "slower_than", "the first rule that matches"),
        (&callee, &silent, "", "nobody tells"),
        (&slow, &silent, "slower_than", "it knows by itself that it was slow"),
        (&retried, &silent, "retried", "or that it has tried twice"),
    ];
    for (rules, behind, expected, reason) in cases {
        let row = Row::start(&Http::One, [rules, behind], flaky().await?, |edge, name| {
            let retry = json!({"retry_on": "5xx", "num_retries": 3});
            let route = json!({"cluster": "upstream", "retry_policy": retry});
            let route = json!({"match": {"path": "/flaky"}, "route": route});
            if name == "front" { edge.route("ingress", route) } else { Ok(edge) }
        })
        .await?;
        assert_eq!(row.send(&Call::get("/flaky")).await?.status, 200);
        let mut kept = BTreeMap::new();
        for span in row.spans(1, 2).await? {
            let name = span.resource_text("service.name").context("a name")?;
            let status = span.int("http.response.status_code").context("a status")?;
            let rule = span.text("envoy.keep_rule").context("a rule")?;
            kept.insert((name, status), (rule, span));
        }
        let mut all = BTreeSet::from([("second", 503, "error")]);
        if !expected.is_empty() {
            all.insert(("front", 200, expected));
        }
        if *behind == told {
            all.insert(("second", 200, "callee_kept"));
        }
        let found = kept.iter().map(|((name, status), (rule, _))| (&**name, *status, &**rule));
        assert_eq!(found.collect::<BTreeSet<_>>(), all, "{reason}");
        if let Some((_, front)) = kept.get(&("front".to_owned(), 200)) {
            let attempts = kept.iter().filter(|((name, _), _)| name == "second");
            for (_, (_, attempt)) in attempts {
                assert_eq!(attempt.parent_id(), front.span_id(), "{reason}");
            }
        }
    }
    Ok(())
}
