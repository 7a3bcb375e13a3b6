//! What strangers and hostile upstreams can do to `envoy.keep`: nothing is kept that the configuration does not allow, and nothing breaks.

use anyhow::Result;
use harness::client::{self, Call, Http};
use harness::service::serve_bytes;
use harness::{Bootstrap, Stage};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SECRET: &str = "0123456789abcdef";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Lets every request go at first, whatever its caller says.
fn configuration(envoy: &Value) -> String {
    json!({"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": envoy}).to_string()
}

fn with_secret(edge: Bootstrap) -> Result<Bootstrap> {
    let variables = json!({"key_values": {"SECRET": SECRET, "OTEL_BSP_SCHEDULE_DELAY": "50"}});
    edge.wasm("ingress", "/config/vm_config", "environment_variables", variables)
}

/// No VM failed, and the log is clean.
async fn is_unharmed(stage: &Stage) -> Result<()> {
    let stats = stage.envoy.stats().await?;
    let vms = |what: &str| stats[&format!("wasm.envoy.wasm.runtime.v8.{what}")];
    // The one that is gone tried the configuration out.
    assert_eq!(vms("created"), vms("active") + 1, "no VM was replaced");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_a_stranger_sends_keeps_nothing() -> Result<()> {
    let header = |name: &str| json!({"header": name, "value": "${SECRET}"});
    let wanted = json!({"key": "url.path", "included": ["/status/503"]});
    let configuration = configuration(&json!({
        "force": header("x-force"),
        "explain": header("x-explain"),
        "keep": [
            {"error": {}, "attribute_patterns": wanted},
            {"slower_than": 600_000},
            {"callee_kept": {"tell_caller": true}},
        ],
    }));
    let stage = Stage::start(|edge| with_secret(edge.filter("ingress", &configuration)?)).await?;
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let told = format!("trace;desc={sampled}");
    let long = format!("ot=th:0;rv:ffffffffffffff,{}", "a=b,".repeat(2000));
    let headers: &[&[(&str, &str)]] = &[
        &[("traceparent", &sampled)],
        &[("traceparent", &sampled), ("tracestate", "ot=th:0")],
        &[("traceparent", &sampled), ("tracestate", "ot=th:0;rv:ffffffffffffff")],
        &[("traceparent", &sampled), ("tracestate", "ot=rv:ffffffffffffff;th:0;th:0")],
        &[("traceparent", &sampled), ("tracestate", "ot=th:;rv:x,ot=th:0")],
        &[("traceparent", &sampled), ("tracestate", &long)],
        &[("traceparent", &sampled), ("server-timing", &told), ("traceresponse", &sampled)],
        &[("tracestate", "ot=th:0;rv:ffffffffffffff")],
        &[("server-timing", &told), ("traceresponse", &sampled)],
        &[("grpc-status", "13")],
        &[("x-force", "0123456789abcdeF")],
        &[("x-force", "${SECRET}")],
        &[("x-force", "x"), ("x-force", SECRET)],
        &[("x-explain", "${SECRET}")],
        &[("x-envoy-original-path", "/status/503"), ("x-envoy-original-host", "elsewhere")],
        &[("x-envoy-attempt-count", "9"), ("x-envoy-upstream-service-time", "700000")],
        &[("x-otel-sampling", "sampler=keep"), ("envoy.keep_rule", "error")],
    ];
    let mut sent = 0;
    for path in ["/", "/status/500"] {
        for headers in headers {
            let call = headers
                .iter()
                .fold(Call::get(path), |call, (name, value)| call.header(name, value));
            let reply = call.send(&Http::One, stage.port()).await?;
            assert_eq!(reply.status, if path == "/" { 200 } else { 500 }, "{headers:?}");
            for name in ["server-timing", "traceresponse", "x-otel-sampling"] {
                assert_eq!(reply.headers.get(name), None, "{headers:?}: nothing is told");
            }
            sent += 1;
        }
    }
    // What the configuration keeps is kept, whatever its caller says.
    let hidden = Call::get("/status/503")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-00"))
        .header("tracestate", "ot=th:ffffffffffffff;rv:00000000000001")
        .header("x-envoy-original-path", "/elsewhere");
    assert_eq!(hidden.send(&Http::One, stage.port()).await?.status, 503);
    let counters = stage.at_rest_by_rules(&Http::One, sent + 1).await?;
    assert_eq!(counters["span.sampled"], 1, "{:#?}", stage.collector.spans());
    let span = stage.collector.spans().remove(0);
    assert_eq!(span.text("url.path").as_deref(), Some("/status/503"));
    assert_eq!(span.span.trace_state, "ot=th:0;rv:00000000000001", "what decided");
    is_unharmed(&stage).await
}

/// `callee_kept` goes by the trace, and a stranger can repeat one that was kept; but not where each trace begins at the edge.
#[tokio::test]
async fn who_repeats_a_trace_has_it_kept_where_traces_come_from_outside() -> Result<()> {
    let remove = json!([{
        "name": "strangers",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            "mutations": [{"remove": "traceparent"}, {"remove": "tracestate"}],
        },
    }]);
    let configuration = configuration(&json!({"keep": [{"error": {}}, {"callee_kept": {}}]}));
    let cases = [(json!([]), 11, "all of the trace"), (remove, 1, "the one that failed")];
    for (mutations, kept, reason) in cases {
        let stage = Stage::start(|edge| {
            let edge = edge.filter("ingress", &configuration)?;
            edge.connection_manager("ingress", "early_header_mutation_extensions", mutations)
        })
        .await?;
        let sampled = format!("00-{TRACE}-{PARENT}-01");
        for path in std::iter::once("/status/500").chain(std::iter::repeat_n("/", 10)) {
            let call = Call::get(path).header("traceparent", &sampled);
            call.send(&Http::One, stage.port()).await?;
        }
        let counters = stage.at_rest_by_rules(&Http::One, 11).await?;
        assert_eq!(counters["span.sampled"], kept, "{reason}");
        is_unharmed(&stage).await?;
    }
    Ok(())
}

/// An upstream that answers `/NUMBER` with the lines of that number, in which `SENT` is the context that came, sampled.
#[derive(Clone, Debug)]
struct Hostile {
    answers: Arc<Vec<Vec<Vec<u8>>>>,
    /// The lines of the last answer.
    told: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Hostile {
    fn answer(&self, head: &str) -> Vec<u8> {
        let number = head.split([' ', '/']).nth(2).and_then(|number| number.parse().ok());
        let lines = number.and_then(|number: usize| self.answers.get(number));
        let traceparent = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
        let sent = traceparent.and_then(|it| it.rsplit_once('-')).map_or("", |it| it.0);
        let sent = format!("{sent}-01");
        let lines = lines.into_iter().flatten();
        let lines: Vec<_> = lines.map(|line| with(line, b"SENT", sent.as_bytes())).collect();
        let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n".to_vec();
        for line in &lines {
            answer.extend([line.as_slice(), b"\r\n"].concat());
        }
        answer.extend_from_slice(b"content-length: 5\r\n\r\nhello");
        *self.told.lock().expect("no panic") = lines;
        answer
    }
}

/// A text with another one in the place of a part of it.
fn with(text: &[u8], part: &[u8], other: &[u8]) -> Vec<u8> {
    match text.windows(part.len()).position(|window| window == part) {
        Some(at) => [&text[..at], other, &text[at + part.len()..]].concat(),
        None => text.to_vec(),
    }
}

/// Sends a request of the answer of this number, and gives the lines of what came back.
async fn ask(stage: &Stage, number: usize) -> Result<Vec<Vec<u8>>> {
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n");
    let request = format!("GET /{number} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{parent}\r\n");
    let reply = client::raw(stage.port(), request.as_bytes()).await?;
    Ok(reply.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()).collect())
}

/// Lets answers pass that Envoy refuses by default.
fn with_large_answers(edge: Bootstrap) -> Result<Bootstrap> {
    let large = json!({"max_headers_count": 2000, "max_response_headers_kb": 1024});
    let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": large,
    }});
    edge.cluster_part("upstream", "typed_extension_protocol_options", options)
}

fn lines(lines: &[&[u8]]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.to_vec()).collect()
}

/// Answers that say nothing of what was sent.
fn hostile() -> Vec<Vec<Vec<u8>>> {
    let other = format!("trace;desc=00-{TRACE}-00000000000000ff-01");
    let many = |count: usize| vec![other.as_str(); count].join(", ");
    let guesses =
        (0..1000).map(|number| format!("server-timing: trace;desc=00-{TRACE}-{number:016x}-01"));
    vec![
        guesses.map(String::into_bytes).collect(),
        (0..1000).map(|_| b"server-timing: db;dur=1".to_vec()).collect(),
        vec![format!("server-timing: {}", many(900)).into_bytes()],
        vec![format!("server-timing: db;desc=\"{}\"", "x".repeat(60_000)).into_bytes()],
        vec![format!("server-timing: trace;desc=\"{}", "\\".repeat(60_000)).into_bytes()],
        vec![format!("server-timing: {}", ",;=".repeat(20_000)).into_bytes()],
        vec![format!("traceresponse: {}", "00-".repeat(20_000)).into_bytes()],
        lines(&[b"server-timing: \xff\xfe;desc=\xc3\x28, trace;desc=\xff", b"traceresponse: \xff"]),
        lines(&[b"server-timing: a;desc=\"x, trace;desc=SENT"]),
        lines(&[b"server-timing: a;desc=\"x\\\", trace;desc=SENT"]),
        lines(&[b"server-timing: a;desc=\"", b"server-timing: trace;desc=SENT"]),
        lines(&[b"server-timing: trace;desc=x;desc=SENT"]),
        lines(&[b"server-timing: trace;desc=\"SENT"]),
        lines(&[b"server-timing: trace;desc=SENT-00"]),
        lines(&[b"server-timing: trace;desc", b"server-timing: trace", b"server-timing:"]),
        lines(&[b"traceresponse: SENT", b"traceresponse: SENT"]),
        vec![format!("traceresponse: 00-{TRACE}-{PARENT}-01").into_bytes()],
        vec![format!("server-timing: trace;desc=00-{TRACE}-{PARENT}-01").into_bytes()],
    ]
}

#[tokio::test]
async fn an_upstream_that_guesses_is_not_believed() -> Result<()> {
    let mut answers = hostile();
    let guesses = answers.len();
    // Among a thousand others the one that is ours is found.
    let mut true_one = answers[0].clone();
    true_one.insert(500, b"server-timing: db;dur=1, trace;desc=SENT, cache".to_vec());
    answers.push(true_one);
    for rules in [json!([{"callee_kept": {}}]), json!([{"callee_kept": {"tell_caller": true}}])] {
        let upstream = Hostile { answers: Arc::new(answers.clone()), told: Arc::default() };
        let shared = upstream.clone();
        let port = serve_bytes(move |head| shared.answer(head)).await?;
        let configuration = configuration(&json!({"keep": rules}));
        let stage = Stage::start(|edge| {
            with_large_answers(edge.cluster("upstream", port)?.filter("ingress", &configuration)?)
        })
        .await?;
        for number in 0..guesses {
            let reply = ask(&stage, number).await?;
            let told = upstream.told.lock().expect("no panic").clone();
            let is_one = |line: &&Vec<u8>| {
                line.starts_with(b"server-timing:") || line.starts_with(b"traceresponse:")
            };
            let reply: Vec<_> = reply.iter().filter(is_one).collect();
            assert!(reply == told.iter().collect::<Vec<_>>(), "{number}: as it came");
        }
        ask(&stage, guesses).await?;
        let counters = stage.at_rest_by_rules(&Http::One, answers.len() as u64).await?;
        assert_eq!(counters["span.kept_by_rule"], 1, "{:#?}", stage.collector.spans());
        let path = stage.collector.spans()[0].text("url.path");
        assert_eq!(path, Some(format!("/{guesses}")), "the true one");
        is_unharmed(&stage).await?;
    }
    Ok(())
}

/// What Envoy refuses is a failure like any other.
#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error() -> Result<()> {
    let upstream = Hostile { answers: Arc::new(hostile()), told: Arc::default() };
    let port = serve_bytes(move |head| upstream.answer(head)).await?;
    let configuration = configuration(&json!({"keep": [{"error": {}}, {"callee_kept": {}}]}));
    let stage =
        Stage::start(|edge| edge.cluster("upstream", port)?.filter("ingress", &configuration))
            .await?;
    for number in 0..2 {
        let reply = ask(&stage, number).await?;
        assert!(reply[0].starts_with(b"HTTP/1.1 50"), "a thousand headers");
    }
    let counters = stage.at_rest_by_rules(&Http::One, 2).await?;
    assert_eq!(counters["span.kept_by_rule"], 2);
    for span in stage.collector.spans() {
        assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("error"));
    }
    is_unharmed(&stage).await
}
