//! Each header format beside its own library: what that injects a filter extracts, and what a filter injects that extracts.

use anyhow::{Context, Result, ensure};
use harness::client::{Call, Http};
use harness::{Stage, Upstream};
use interop::peer;
use serde_json::{Map, Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The libraries, in a process of their own.
struct Libraries {
    /// Ends when this is dropped.
    _process: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Libraries {
    fn start() -> Result<Self> {
        let mut process = Command::new(peer("propagators", "bin/python")?)
            .arg(peer("propagators", "propagators.py")?)
            .env("DD_TRACE_PROPAGATION_STYLE", "datadog")
            .env("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false")
            .env("DD_REMOTE_CONFIGURATION_ENABLED", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let ask = process.stdin.take().context("an input")?;
        let answers = BufReader::new(process.stdout.take().context("an output")?).lines();
        Ok(Self { _process: process, ask, answers })
    }

    async fn answer(&mut self, question: Value) -> Result<Value> {
        self.ask.write_all(format!("{question}\n").as_bytes()).await?;
        let answer = self.answers.next_line().await?.context("the libraries have ended")?;
        Ok(serde_json::from_str(&answer)?)
    }
}

/// Trace ids and span ids: whole ones, short ones, and those that are on the edge of what a number can be.
const IDS: [(&str, &str); 6] = [
    ("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7"),
    ("4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331"),
    ("00000000000000008448eb211c80319c", "0000000000000001"),
    ("000000000000000a000000000000000b", "000000000000000c"),
    ("ffffffffffffffffffffffffffffffff", "ffffffffffffffff"),
    ("80000000000000008000000000000000", "8000000000000000"),
];

const FORMATS: [&str; 8] =
    ["tracecontext", "b3", "b3multi", "jaeger", "xray", "ottrace", "datadog", "google"];

/// The headers that a service got, one value each.
fn headers(upstream: &Upstream) -> Value {
    let seen = upstream.last();
    let text = |name: &str| (name.to_owned(), json!(seen.header(name)));
    Value::Object(seen.headers.keys().map(|name| text(name.as_str())).collect::<Map<_, _>>())
}

#[tokio::test]
async fn each_format_is_understood_by_its_own_library_and_understands_it() -> Result<()> {
    let mut libraries = Libraries::start()?;
    let stage = Stage::start(|mut edge| {
        for format in FORMATS {
            let configuration = json!({"propagator": {"composite": [{format: {}}]}});
            edge = edge
                .copy_listener("ingress", format)?
                .filter(format, &configuration.to_string())?;
        }
        Ok(edge)
    })
    .await?;
    for format in FORMATS {
        stage.collector.clear();
        let mut extracted = Vec::new();
        for (index, (trace, span)) in IDS.into_iter().enumerate() {
            for sampled in [true, false] {
                let reason = format!("{format}: {trace} {span} {sampled}");
                let context = json!({"trace": trace, "span": span, "sampled": sampled});
                let sent = libraries.answer(json!({"format": format, "inject": context})).await?;
                let sent = sent.as_object().context("headers")?;
                ensure!(!sent.is_empty(), "{reason}: nothing is injected");
                let mut call = Call::get(&format!("/{index}"));
                for (name, value) in sent {
                    call = call.header(name, value.as_str().context("a text")?);
                }
                let reply = call.send(&Http::One, stage.envoy.port(format)).await?;
                assert_eq!(reply.status, 200, "{reason}");
                let got = headers(&stage.upstream);
                let found = libraries.answer(json!({"format": format, "extract": got})).await?;
                // Its trace ids have 64 bits.
                let whole = if format == "ottrace" {
                    format!("{:0>32}", &trace[16..])
                } else {
                    trace.to_owned()
                };
                assert_eq!(found["trace"], json!(whole), "{reason}: {got}");
                assert_eq!(found["sampled"], json!(sampled), "{reason}: {got}");
                assert_ne!(found["span"], json!(span), "{reason}: an id of our own");
                if sampled {
                    extracted.push((whole, span, found["span"].clone()));
                }
            }
        }
        let spans = stage.collector.wait_for_spans(IDS.len()).await?;
        assert_eq!(spans.len(), IDS.len(), "{format}: of those that are sampled");
        for (trace, parent, own) in extracted {
            let span = spans.iter().find(|span| json!(span.span_id()) == own);
            let span = span.with_context(|| format!("{format}: no span {own}"))?;
            assert_eq!((span.trace_id(), span.parent_id().as_str()), (trace, parent), "{format}");
        }
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
