//! Each header format beside its own libraries: what those inject a filter extracts, and what a filter injects those extract.

use anyhow::{Context, Result, ensure};
use harness::client::{Call, Http};
use harness::{Stage, Upstream};
use interop::peer;
use serde_json::{Map, Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const FORMATS: [&str; 8] =
    ["tracecontext", "b3", "b3multi", "jaeger", "xray", "ottrace", "datadog", "google"];

/// The formats that OpenTelemetry has for each language.
const OPENTELEMETRY: [&str; 6] = ["tracecontext", "b3", "b3multi", "jaeger", "xray", "ottrace"];

/// A language's libraries.
struct Language {
    name: &'static str,
    /// Starts the program that uses them.
    command: fn() -> Result<Command>,
    /// Each by the name that the program knows it by, and its formats.
    libraries: &'static [(&'static str, &'static [&'static str])],
}

const LANGUAGES: [Language; 3] = [
    Language {
        name: "Python",
        command: python,
        libraries: &[
            ("OpenTelemetry", &OPENTELEMETRY),
            ("OpenTelemetry", &["google"]),
            ("Datadog", &["datadog"]),
            ("AWS X-Ray SDK", &["xray"]),
        ],
    },
    Language { name: "Go", command: go, libraries: &[("OpenTelemetry", &OPENTELEMETRY)] },
    Language {
        name: "Java",
        command: java,
        libraries: &[("OpenTelemetry", &OPENTELEMETRY), ("Brave", &["b3", "b3multi"])],
    },
];

fn python() -> Result<Command> {
    let mut command = Command::new(peer("propagators", "python/bin/python")?);
    command
        .arg(peer("propagators", "python/propagators.py")?)
        .env("DD_TRACE_PROPAGATION_STYLE", "datadog")
        .env("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false")
        .env("DD_REMOTE_CONFIGURATION_ENABLED", "false");
    Ok(command)
}

fn go() -> Result<Command> {
    Ok(Command::new(peer("propagators", "go/propagators")?))
}

fn java() -> Result<Command> {
    let class = peer("propagators", "java/Propagators.class")?;
    let folder = class.parent().context("a folder")?.display();
    let mut command = Command::new("java");
    command.arg("-cp").arg(format!("{folder}:{folder}/jars/*")).arg("Propagators");
    Ok(command)
}

/// A language's libraries, in a process of their own.
struct Libraries {
    /// Ends when this is dropped.
    _process: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Libraries {
    fn start(language: &Language) -> Result<Self> {
        let mut process = (language.command)()?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context(language.name)?;
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

/// The headers that a service got, one value each.
fn headers(upstream: &Upstream) -> Value {
    let seen = upstream.last();
    let text = |name: &str| (name.to_owned(), json!(seen.header(name)));
    Value::Object(seen.headers.keys().map(|name| text(name.as_str())).collect::<Map<_, _>>())
}

/// What the span of a sampled request has to be.
struct Expected {
    reason: String,
    trace: String,
    parent: &'static str,
    own: Value,
}

/// Sends each id through a filter, in a library's format, and compares what the library makes of what comes out.
async fn through(
    stage: &Stage,
    libraries: &mut Libraries,
    library: &str,
    format: &str,
) -> Result<Vec<Expected>> {
    let mut expected = Vec::new();
    for (index, (trace, parent)) in IDS.into_iter().enumerate() {
        for sampled in [true, false] {
            let reason = format!("{library}, {format}: {trace} {parent} {sampled}");
            let context = json!({"trace": trace, "span": parent, "sampled": sampled});
            let inject = json!({"library": library, "format": format, "inject": context});
            let sent = libraries.answer(inject).await?;
            let sent = sent.as_object().context("headers")?;
            ensure!(!sent.is_empty(), "{reason}: nothing is injected");
            let mut call = Call::get(&format!("/{index}"));
            for (name, value) in sent {
                call = call.header(name, value.as_str().context("a text")?);
            }
            let reply = call.send(&Http::One, stage.envoy.port(format)).await?;
            assert_eq!(reply.status, 200, "{reason}");
            let got = headers(&stage.upstream);
            let extract = json!({"library": library, "format": format, "extract": got});
            let found = libraries.answer(extract).await?;
            // Its trace ids have 64 bits.
            let trace = if format == "ottrace" {
                format!("{:0>32}", &trace[16..])
            } else {
                trace.to_owned()
            };
            assert_eq!(found["trace"], json!(trace), "{reason}: {got}");
            assert_eq!(found["sampled"], json!(sampled), "{reason}: {got}");
            assert_ne!(found["span"], json!(parent), "{reason}: an id of our own");
            if sampled {
                expected.push(Expected { reason, trace, parent, own: found["span"].clone() });
            }
        }
    }
    Ok(expected)
}

#[tokio::test]
async fn each_format_is_understood_by_its_own_libraries_and_understands_them() -> Result<()> {
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
    let mut expected = Vec::new();
    for language in LANGUAGES {
        let mut libraries = Libraries::start(&language)?;
        for (library, formats) in language.libraries {
            for format in *formats {
                let all = through(&stage, &mut libraries, library, format).await;
                expected.extend(all.context(language.name)?);
            }
        }
    }
    let spans = stage.collector.wait_for_spans(expected.len()).await?;
    assert_eq!(spans.len(), expected.len(), "of those that are sampled");
    for Expected { reason, trace, parent, own } in expected {
        let span = spans.iter().find(|span| json!(span.span_id()) == own);
        let span = span.with_context(|| format!("{reason}: no span {own}"))?;
        assert_eq!(
            (span.trace_id().as_str(), span.parent_id().as_str()),
            (trace.as_str(), parent),
            "{reason}"
        );
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
