//! The whole path of a request that failed, at a head ratio of 0: each proxy that it has passed keeps its span, though none has known at the
//! start; and what strangers can do about it.

mod conventions;

use anyhow::{Context, Result};
use harness::client::{Call, Http};
use harness::service::{Answer, serve};
use harness::{Bootstrap, Counters, Envoy, Receiver, Seen, Span, Stage};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use tokio::task::JoinSet;

/// Lets every request go at first, keeps what failed, and what others have kept.
fn configuration(rules: &Value) -> String {
    json!({"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": {"keep": rules}})
        .to_string()
}

fn of_a_mesh() -> String {
    configuration(&json!([{"error": {}}, {"callee_kept": {"tell_caller": true}}]))
}

fn of_the_edge() -> String {
    configuration(&json!([{"error": {}}, {"callee_kept": {}}]))
}

/// A service: it calls the next one through its sidecar, if there is one, and answers as that does. What it is told to swallow it answers
/// with 200. The last one fails where it is told so.
#[derive(Clone, Debug)]
struct Service {
    name: &'static str,
    /// The port of its sidecar's outbound listener.
    outbound: Arc<OnceLock<u16>>,
}

impl Service {
    async fn start(name: &'static str) -> Result<(Self, u16)> {
        let service = Self { name, outbound: Arc::default() };
        let shared = service.clone();
        let port = serve(move |request| shared.clone().answer(request)).await?;
        Ok((service, port))
    }

    async fn answer(self, request: Seen) -> Result<Answer> {
        let status = match self.outbound.get() {
            Some(port) => {
                let mut call = Call::get(&request.path);
                for name in ["traceparent", "tracestate", "x-fails", "x-swallows"] {
                    let value = request.header(name);
                    if !value.is_empty() {
                        call = call.header(name, value);
                    }
                }
                call.send(&Http::One, *port).await?.status
            }
            None if request.header("x-fails").is_empty() => 200,
            None => 500,
        };
        let is_swallowed = request.header("x-swallows") == self.name;
        Ok(Answer { status: if is_swallowed { 200 } else { status }, headers: Vec::new() })
    }
}

/// Three services in a row, each behind a sidecar, and an edge before them.
struct Mesh {
    collector: Receiver,
    proxies: Vec<Envoy>,
    /// How many requests were sent.
    sent: u64,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let collector = Receiver::start().await?;
        let mut proxies = Vec::new();
        let mut next = None;
        for name in ["third", "second", "first"] {
            let (service, port) = Service::start(name).await?;
            let mut sidecar = Bootstrap::edge(port, collector.port())?
                .filter("ingress", &of_a_mesh())?
                .listener_part("ingress", "traffic_direction", json!("INBOUND"))?;
            if let Some(next) = next {
                let all = json!({"match": {"prefix": "/"}, "route": {"cluster": "next"}});
                sidecar = sidecar
                    .cluster("next", next)?
                    .copy_listener("ingress", "outbound")?
                    .listener_part("outbound", "traffic_direction", json!("OUTBOUND"))?
                    .routes("outbound", vec![all])?;
            }
            let sidecar = Envoy::start(sidecar).await?;
            if next.is_some() {
                service.outbound.set(sidecar.port("outbound")).ok().context("set once")?;
            }
            next = Some(sidecar.port("ingress"));
            proxies.push(sidecar);
        }
        let edge = Bootstrap::edge(next.context("a sidecar")?, collector.port())?;
        proxies.push(Envoy::start(edge.filter("ingress", &of_the_edge())?).await?);
        Ok(Self { collector, proxies, sent: 0 })
    }

    /// Sends so many requests, of which each of `calls` is sent in its turn, and gives the spans of each trace when all proxies are at rest.
    async fn send(&mut self, calls: &[Call], count: usize) -> Result<BTreeMap<String, Vec<Span>>> {
        let port = self.proxies.last().context("an edge")?.port("ingress");
        let mut senders = JoinSet::new();
        for sender in 0..16 {
            let calls = calls.to_vec();
            senders.spawn(async move {
                for number in (sender..count).step_by(16) {
                    calls[number % calls.len()].send(&Http::One, port).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(sent) = senders.join_next().await {
            sent??;
        }
        // The counters may tell of a start before they tell of the end.
        Call::get("/").header("traceparent", LAST).send(&Http::One, port).await?;
        self.sent += u64::try_from(count)? + 1;
        let sent = self.sent;
        for (proxy, requests) in self.proxies.iter().zip([sent, 2 * sent, 2 * sent, sent]) {
            Counters::at_rest(proxy.admin_port(), requests).await?;
            assert_eq!(proxy.complaints(), Vec::<String>::new());
        }
        let mut traces = BTreeMap::<_, Vec<_>>::new();
        for span in self.collector.take_spans() {
            conventions::check(&span);
            traces.entry(span.trace_id()).or_default().push(span);
        }
        Ok(traces)
    }
}

/// The spans are one chain, from the edge on.
fn assert_whole(spans: &[Span], reason: &str) {
    let ids: BTreeSet<_> = spans.iter().map(Span::span_id).collect();
    assert_eq!(ids.len(), 6, "{reason}: the edge, three inbound, two outbound: {spans:#?}");
    let roots = spans.iter().filter(|span| span.parent_id().is_empty()).count();
    let inner = spans.iter().filter(|span| ids.contains(&span.parent_id())).count();
    assert_eq!((roots, inner), (1, 5), "{reason}: each below another one: {spans:#?}");
}

#[tokio::test]
async fn each_trace_that_failed_is_whole_and_no_other_is_kept() -> Result<()> {
    let mut mesh = Mesh::start().await?;
    let mut calls = vec![Call::get("/"); 99];
    calls.push(Call::get("/").header("x-fails", "yes"));
    let traces = mesh.send(&calls, 5000).await?;
    assert_eq!(traces.len(), 50, "one of a hundred");
    for spans in traces.values() {
        assert_whole(spans, "a failure");
        assert!(spans.iter().all(Span::is_error), "each has seen it");
    }
    for (name, outer) in [("second", 4), ("first", 2)] {
        let fails = Call::get("/").header("x-fails", "yes").header("x-swallows", name);
        let mut calls = vec![Call::get("/"); 9];
        calls.push(fails);
        let traces = mesh.send(&calls, 500).await?;
        assert_eq!(traces.len(), 50, "one of ten");
        for spans in traces.values() {
            assert_whole(spans, name);
            let well = spans.iter().filter(|span| !span.is_error());
            let rules = well.map(|span| span.text("envoy.keep_rule").unwrap_or_default());
            let rules: Vec<_> = rules.collect();
            assert_eq!(rules, vec!["callee_kept"; outer], "{name} has answered 200");
        }
    }
    Ok(())
}

/// A proxy before an upstream that answers with these headers, of which `SENT` is the context that it got, sampled; and whether the
/// request was kept, and what the caller got of `server-timing`.
async fn answered(
    rules: &str,
    headers: Vec<(&'static str, &'static str)>,
) -> Result<(bool, String)> {
    let port = serve(move |request| {
        let sent = request.header("traceparent");
        let sent = sent.strip_suffix("00").map(|sent| format!("{sent}01"));
        let headers = headers.iter().map(|(name, value)| {
            ((*name).to_owned(), value.replace("SENT", sent.as_deref().unwrap_or_default()))
        });
        let headers = if request.path == "/told" { headers.collect() } else { Vec::new() };
        let answer = Answer { status: 200, headers };
        async move { Ok(answer) }
    })
    .await?;
    let stage =
        Stage::start(|edge| edge.cluster("upstream", port)?.filter("ingress", rules)).await?;
    let call = Call::get("/told").header("traceparent", PARENT);
    let reply = call.send(&Http::One, stage.port()).await?;
    let counters = stage.at_rest_by_rules(&Http::One, 1).await?;
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    let values = reply.headers.get_all("server-timing").iter();
    let values: Vec<_> = values.map(|value| value.to_str()).collect::<Result<_, _>>()?;
    Ok((counters["span.kept_by_rule"] == 1, values.join(" | ")))
}

/// The parent of a request that nobody keeps.
const LAST: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[tokio::test]
async fn only_an_answer_to_what_was_sent_counts() -> Result<()> {
    const TOLD: &str = "trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ff-01";
    let (mesh, edge) = (of_a_mesh(), of_the_edge());
    let only_errors = configuration(&json!([{"error": {}}]));
    let ours = || vec![("server-timing", "trace;desc=SENT")];
    let cases = [
        (&mesh, ours(), true, TOLD, "it is kept, and its caller is told"),
        (&edge, ours(), true, "", "an edge tells nothing"),
        (&only_errors, ours(), false, "trace;desc=00", "who does not ask does not listen"),
        (&mesh, vec![("server-timing", OTHER)], false, OTHER, "another span"),
        (&mesh, vec![("traceresponse", "SENT")], true, TOLD, "an earlier draft's header"),
        (
            &mesh,
            vec![("server-timing", "db;dur=1"), ("server-timing", "trace;desc=SENT, cache")],
            true,
            "db;dur=1, cache | TOLD",
            "other metrics stay",
        ),
        (
            &edge,
            vec![("server-timing", "db;dur=1, trace;desc=SENT")],
            true,
            "db;dur=1",
            "at an edge, too",
        ),
        (&mesh, vec![("server-timing", "db;dur=1")], false, "db;dur=1", "nobody has kept it"),
    ];
    for (rules, headers, expected, told, reason) in cases {
        let (is_kept, seen) = answered(rules, headers).await.context(reason)?;
        assert_eq!(is_kept, expected, "{reason}");
        let told = told.replace("TOLD", TOLD);
        if told == "trace;desc=00" {
            assert!(seen.starts_with(&told), "{reason}: {seen}");
        } else {
            assert_eq!(seen, told, "{reason}");
        }
    }
    Ok(())
}

/// What a response tells before the request has ended is not told of one that a rule before may decide on otherwise.
#[tokio::test]
async fn rules_keep_their_order_where_callers_are_told() -> Result<()> {
    let on = |path: &str| json!({"key": "url.path", "values": [path]});
    let rules = configuration(&json!([
        {"error": {}, "attribute_values": on("/status/501"), "name": "never", "ratio": 0},
        {"error": {}},
        {"callee_kept": {"tell_caller": true}},
    ]));
    let named = configuration(&json!([
        {"error": {}, "attribute_values": on("/status/501"), "name": "of its own"},
        {"error": {}},
        {"callee_kept": {"tell_caller": true}},
    ]));
    let cases = [
        (&rules, "/status/501", None, false, "the first rule keeps nothing"),
        (&rules, "/status/503", Some("error"), false, "the first might have"),
        (&named, "/status/501", Some("of its own"), true, "it is kept by either"),
        (&named, "/status/503", Some("error"), true, "the second"),
    ];
    for (rules, path, rule, is_told, reason) in cases {
        let stage = Stage::start(|edge| edge.filter("ingress", rules)).await?;
        // Another trace than that of the request that follows.
        let call = Call::get(path).header("traceparent", PARENT.replace("4bf9", "5bf9"));
        let reply = call.send(&Http::One, stage.port()).await?;
        assert_eq!(reply.headers.contains_key("server-timing"), is_told, "{reason}");
        stage.at_rest_by_rules(&Http::One, 1).await?;
        let spans = stage.collector.take_spans();
        let by: Vec<_> = spans.iter().map(|span| span.text("envoy.keep_rule")).collect();
        assert_eq!(by, Vec::from_iter(rule.map(|rule| Some(rule.to_owned()))), "{reason}");
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    }
    Ok(())
}
