//! The demonstration as people run it: what it prints, how it ends, and what make says before it builds anything.

use anyhow::{Context, Result, ensure};
use harness::{Answer, PATIENCE, Receiver, client};
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// What a client of the demonstration sends.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The spans of the demonstration: two of most requests.
const SPANS: usize = 20;
/// From the start of a demonstration to its end.
const WHOLE: Duration = Duration::from_mins(5);

/// The demonstration as `make` runs it, with these variables.
async fn demo(mode: &str, variables: &[(&str, String)]) -> Result<Command> {
    let cargo = |command: &str| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([command, "--quiet", "--locked", "--example", "demo"]);
        cargo.current_dir(harness::root());
        // What cargo tells a test of its package: some build scripts would run again for it.
        let of_this_test = |name: &str| {
            ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
        };
        for (name, _) in std::env::vars().filter(|(name, _)| of_this_test(name)) {
            cargo.env_remove(name);
        }
        cargo
    };
    let built = cargo("build").status().await?;
    ensure!(built.success(), "the demonstration is built: {built}");
    // Cargo becomes what it runs: signals reach the demonstration.
    let mut demo = cargo("run");
    demo.args(["--", mode]).env_remove("COLLECTOR").env_remove("PORT");
    demo.envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    demo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(demo)
}

/// A process that is not left behind: it ends with this value, by a signal that a demonstration hears, which then ends its Envoys.
struct Running(u32);

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.0.to_string();
        let _ =
            std::process::Command::new("kill").args(["-TERM", &id]).stderr(Stdio::null()).status();
    }
}

async fn output(mut command: Command) -> Result<Output> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let running = Running(child.id().context("it runs")?);
    let output = timeout(WHOLE, child.wait_with_output()).await.context("it ends")??;
    std::mem::forget(running);
    Ok(output)
}

async fn once(variables: &[(&str, String)]) -> Result<(Output, String)> {
    let output = output(demo("once", variables).await?).await?;
    let text = String::from_utf8(output.stdout.clone())?;
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "a line of a terminal: {line}");
    }
    assert!(text.starts_with("edge is a front proxy, shop the sidecar of a service"), "{text}");
    Ok((output, text))
}

#[tokio::test]
async fn each_kind_of_request_is_shown() -> Result<()> {
    let (output, text) = once(&[]).await?;
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("\nSpans go to a collector in this program"), "{text}");
    assert_eq!(text.matches("\ntrace ").count(), 10, "{text}");
    let traced = "\na client that traces: its trace goes on (200)\n";
    let shown = text.split_once(traced).context("the client's trace")?.1;
    assert!(shown.starts_with(&format!("trace {TRACE}, the one that the client sent\n")), "{text}");
    assert!(text.contains(&format!("\nexported {SPANS} of {SPANS} spans\n")), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_collector_of_ones_own_gets_all_spans() -> Result<()> {
    let collector = Receiver::start().await?;
    let address = format!("127.0.0.1:{}", collector.port());
    let (output, text) = once(&[("COLLECTOR", address.clone())]).await?;
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains(&format!("\nSpans go to {address}, over OTLP/HTTP")), "{text}");
    assert!(
        text.contains(&format!("\nexported {SPANS} of {SPANS} spans to {address}\n")),
        "{text}"
    );
    assert!(text.contains(&format!("goes on (200)\n    trace {TRACE}\n")), "to look for: {text}");
    assert_eq!(collector.taken(), SPANS);
    Ok(())
}

#[tokio::test]
async fn spans_that_do_not_arrive_are_a_failure_with_its_reason() -> Result<()> {
    let nobody = harness::free_port()?;
    let (text, address) = fails(nobody).await?;
    for part in [
        format!("exported 0 of {SPANS} spans to {address} "),
        " still wait to be sent (exporter.span.queued) ".to_owned(),
        "the log of edge and shop: the collector does not take spans: the answer of otel_collector to /v1/traces was 503"
            .to_owned(),
        format!("Does {address} take OTLP over HTTP? Most collectors do on port 4318"),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    for (answer, parts) in [
        (
            Answer::Text(404, "no such page"),
            [
                " lost (exporter.span.failed.refused)",
                "the collector does not take spans: the answer of otel_collector to /v1/traces was 404: no such page",
            ],
        ),
        (
            Answer::PartialSuccess(1),
            [" lost (exporter.span.rejected)", "the collector rejected 1 of "],
        ),
        (
            Answer::Hang,
            [" have no answer yet (exporter.span.inflight)", "exported 0 of 20 spans to "],
        ),
    ] {
        let collector = Receiver::start().await?;
        collector.answer(answer.clone());
        let (text, _) = fails(collector.port()).await?;
        for part in parts {
            assert!(text.contains(part), "{answer:?}: {part}: {text}");
        }
    }
    Ok(())
}

/// The words of a demonstration whose spans this port does not take, and its address.
async fn fails(port: u16) -> Result<(String, String)> {
    let address = format!("127.0.0.1:{port}");
    let (output, text) = once(&[("COLLECTOR", address.clone())]).await?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // However the lines are broken.
    Ok((text.split_whitespace().collect::<Vec<_>>().join(" "), address))
}

/// A demonstration that stays, and what it prints.
struct Stay {
    child: Child,
    running: Running,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Stay {
    async fn start(variables: &[(&str, String)]) -> Result<Self> {
        let mut child = demo("stay", variables).await?.process_group(0).spawn()?;
        let running = Running(child.id().context("it runs")?);
        let output = child.stdout.take().context("its output")?;
        Ok(Self { child, running, lines: BufReader::new(output).lines() })
    }

    /// The next line that begins so, without that.
    async fn line(&mut self, start: &str) -> Result<String> {
        let found = async {
            while let Some(line) = self.lines.next_line().await? {
                assert!(line.chars().count() <= 80, "a line of a terminal: {line}");
                if let Some(rest) = line.strip_prefix(start) {
                    return Ok(rest.to_owned());
                }
            }
            anyhow::bail!("it has ended")
        };
        let found = timeout(PATIENCE, found).await.map_err(Into::into).and_then(|it| it);
        found.with_context(|| format!("a line that starts with {start:?}"))
    }

    /// Where the front proxy listens.
    async fn port(&mut self) -> Result<u16> {
        let rest = self.line("The front proxy listens on http://127.0.0.1:").await?;
        Ok(rest.split(';').next().unwrap_or_default().parse()?)
    }

    /// Ends it as Ctrl-C does, which reaches all that it has started in its group. Gives its exit code, and what of how many spans was exported.
    async fn interrupt(mut self) -> Result<(Option<i32>, String)> {
        let group = format!("-{}", self.child.id().context("it runs")?);
        let kill = Command::new("kill").args(["-INT", "--", &group]).status().await?;
        ensure!(kill.success(), "kill -INT -- {group}: {kill}");
        let exported = self.line("exported ").await?;
        let status = timeout(PATIENCE, self.child.wait()).await.context("it ends")??;
        std::mem::forget(self.running);
        Ok((status.code(), exported))
    }
}

#[tokio::test]
async fn traces_are_shown_while_requests_come() -> Result<()> {
    let mut demo = Stay::start(&[("PORT", harness::free_port()?.to_string())]).await?;
    let port = demo.port().await?;
    let traffic = tokio::spawn(async move {
        // Never a pause, until the proxy takes no more; and not so many that they crowd each other out.
        let mut answered = 0;
        while client::get(port, "/delay/100").await.is_ok() {
            answered += 1;
        }
        answered
    });
    for _ in 0..10 {
        demo.line("trace ").await?;
        let edge = demo.line("edge SERVER GET ").await?;
        assert!(edge.contains(" 200 /delay/100"), "{edge}");
        demo.line("  shop SERVER GET ").await?;
    }
    assert!(!traffic.is_finished(), "requests still come");
    let (code, exported) = demo.interrupt().await?;
    let answered: usize = timeout(PATIENCE, traffic).await.context("no more requests")??;
    let (count, all) = exported.split_once(" of ").context("n of n")?;
    assert_eq!(all, format!("{count} spans"), "all of them");
    assert!(count.parse::<usize>()? >= 2 * answered, "{exported} of {answered} requests");
    assert_eq!(code, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told_at_once_and_at_the_end() -> Result<()> {
    let collector = format!("127.0.0.1:{}", harness::free_port()?);
    let port = harness::free_port()?.to_string();
    let mut demo = Stay::start(&[("COLLECTOR", collector.clone()), ("PORT", port)]).await?;
    let port = demo.port().await?;
    assert_eq!(client::get(port, "/users").await?.status, 200);
    demo.line("the log of edge: the collector does not take spans: ").await?;
    let (code, exported) = demo.interrupt().await?;
    assert_eq!(exported, format!("0 of 2 spans to {collector}"));
    assert_eq!(code, Some(1));
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() -> Result<()> {
    // If somebody else has it, it is taken as well.
    let _held = TcpListener::bind("127.0.0.1:10000");
    let mut stay = Stay::start(&[]).await?;
    let rest = stay.line("Port 10000 is taken: the front proxy listens on ").await?;
    let port = stay.port().await?;
    assert!(rest.starts_with(&format!("{port} ")), "{rest}: {port}");
    assert_eq!(stay.interrupt().await?, (Some(0), "0 of 0 spans".to_owned()));

    let held = TcpListener::bind("127.0.0.1:0")?;
    let port = held.local_addr()?.port().to_string();
    let output = output(demo("stay", &[("PORT", port.clone())]).await?).await?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(error, format!("PORT={port}: this port is taken; choose another one\n"));
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

/// Runs make, which has to fail before it builds anything: gives what it says.
async fn refused(arguments: &[&str], path: Option<&str>) -> Result<String> {
    let which = Command::new("sh").args(["-c", "command -v make"]).output().await?;
    ensure!(which.status.success(), "there is no make: install it");
    let mut make = Command::new(String::from_utf8(which.stdout)?.trim());
    make.args(arguments).current_dir(harness::root()).stdin(Stdio::null());
    for name in
        ["COLLECTOR", "PORT", "ENVOY", "ENVOY_VERSION", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES"]
    {
        make.env_remove(name);
    }
    make.envs(path.map(|path| ("PATH", path)));
    let output = output(make).await?;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    assert_eq!(String::from_utf8(output.stdout)?, "", "{arguments:?}: nothing is done");
    Ok(String::from_utf8(output.stderr)?)
}

#[tokio::test]
async fn what_make_can_not_do_is_said_before_anything_is_built() -> Result<()> {
    for target in [
        "demo",
        "run",
        "test",
        "compare",
        "w3c",
        "bench",
        "bench-check",
        "bench-features",
        "bench-workers",
        "soak",
        "interop",
        "envoy",
    ] {
        let error = refused(&[target, "ENVOY=/nope"], None).await?;
        assert!(error.starts_with("ENVOY=/nope: there is no such file\n"), "{target}: {error}");
    }
    let error = refused(&["demo", "ENVOY=/etc/passwd"], None).await?;
    assert!(error.starts_with("ENVOY=/etc/passwd: this is no Envoy that runs here\n"), "{error}");
    for collector in ["localhost", "http://localhost:4318", ":4318", "localhost:"] {
        for target in ["demo", "run"] {
            let argument = format!("COLLECTOR={collector}");
            let error = refused(&[target, &argument], None).await?;
            assert!(error.starts_with(&format!("{argument}: write host:port")), "{error}");
        }
    }
    let empty = harness::folder()?;
    let error = refused(&["build"], Some(&empty.path().to_string_lossy())).await?;
    assert!(
        error.starts_with("rustup is missing: install it as https://rustup.rs says"),
        "{error}"
    );
    Ok(())
}
