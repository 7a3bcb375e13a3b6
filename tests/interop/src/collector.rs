//! A real OpenTelemetry Collector as a child process, and the spans that its file exporter wrote.
//!
//! It says nothing of how the Collector is configured: that is the test's file.

use crate::{Process, peer};
use anyhow::{Context, Result};
use harness::{Span, client, free_port, wait_for};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitStatus;
use tempfile::TempDir;
use tokio::process::Command;

/// A running Collector. It ends with this value.
#[derive(Debug)]
pub struct Collector {
    http_port: u16,
    grpc_port: u16,
    process: Process,
    folder: TempDir,
}

impl Collector {
    /// Starts one with `tests/interop/collector.yaml`: OTLP in, a file out.
    ///
    /// # Errors
    /// As [`Collector::with`].
    pub async fn start() -> Result<Self> {
        Self::with(&harness::root().join("tests/interop/collector.yaml"), &[]).await
    }

    /// Starts one with this configuration. Of it are expected: OTLP on the ports that `OTLP_HTTP_PORT`
    /// and `OTLP_GRPC_PORT` name, the health check on `HEALTH_PORT`, and the file exporter's
    /// `traces.json`, and `metrics.json` if there are metrics, in the folder `FOLDER`. Further
    /// variables may be given.
    ///
    /// # Errors
    /// It was not built, or is not healthy in time; what it logged stands in the error.
    pub async fn with(configuration: &Path, variables: &[(&str, String)]) -> Result<Self> {
        Self::run(Command::new(peer("collector", "collector")?), configuration, variables).await
    }

    /// Starts this command, which ends with the program of a Collector, as [`Collector::with`] does.
    ///
    /// # Errors
    /// It is not healthy in time; what it logged stands in the error.
    pub async fn run(
        mut command: Command,
        configuration: &Path,
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [http_port, grpc_port, health_port] = [free_port()?, free_port()?, free_port()?];
        command
            .arg("--config")
            .arg(configuration)
            .env("OTLP_HTTP_PORT", http_port.to_string())
            .env("OTLP_GRPC_PORT", grpc_port.to_string())
            .env("HEALTH_PORT", health_port.to_string())
            .env("FOLDER", folder.path())
            .envs(variables.iter().map(|(name, value)| (*name, value)));
        let mut process = Process::start("collector", &mut command, folder.path())?;
        process
            .wait_until("the Collector to be healthy", || client::is_well(health_port, "/"))
            .await?;
        Ok(Self { http_port, grpc_port, process, folder })
    }

    /// The port of OTLP over HTTP.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The port of OTLP over gRPC.
    #[must_use]
    pub fn grpc_port(&self) -> u16 {
        self.grpc_port
    }

    /// The number by which the system knows its process.
    ///
    /// # Errors
    /// It has ended.
    pub fn id(&self) -> Result<u32> {
        self.process.id()
    }

    /// Ends it as an orchestrator does: it passes on what it holds.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn quit(self) -> Result<ExitStatus> {
        self.process.quit().await
    }

    /// All spans that it has written so far.
    ///
    /// # Errors
    /// What it wrote is not OTLP in JSON.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let requests: Vec<ExportTraceServiceRequest> = self.written("traces.json")?;
        Ok(requests.iter().flat_map(Span::all_of).collect())
    }

    /// The metrics that it has written, the latest last.
    ///
    /// # Errors
    /// What it wrote is not OTLP in JSON.
    pub fn metrics(&self) -> Result<Vec<ExportMetricsServiceRequest>> {
        self.written("metrics.json")
    }

    /// Waits for this many spans, and gives all that are there.
    ///
    /// # Errors
    /// They don't come in time.
    pub async fn wait_for_spans(&self, count: usize) -> Result<Vec<Span>> {
        self.wait_for(&format!("{count} spans"), |spans| spans.len() >= count).await
    }

    /// Waits until a condition holds of all spans so far, and gives them.
    ///
    /// # Errors
    /// It does not hold in time; the names of the spans that came stand in the error.
    pub async fn wait_for(
        &self,
        what: &str,
        condition: impl Fn(&[Span]) -> bool,
    ) -> Result<Vec<Span>> {
        let poll = || async { self.spans().ok().filter(|spans| condition(spans)) };
        let waited = wait_for(what, poll).await;
        let names = || -> Result<Vec<String>> {
            Ok(self.spans()?.into_iter().map(|span| span.span.name).collect())
        };
        waited.or_else(|error| Err(error.context(format!("{:?}", names()?))))
    }

    /// The lines of its log that are warnings or worse.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.process.log();
        let bad = |line: &&str| ["\twarn\t", "\terror\t"].iter().any(|level| line.contains(level));
        log.lines().filter(bad).map(str::to_owned).collect()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Every whole line of a file; what has no end yet is still being written.
    fn written<T: DeserializeOwned>(&self, file: &str) -> Result<Vec<T>> {
        let text = match std::fs::read_to_string(self.folder.path().join(file)) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.context(file.to_owned())?,
        };
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}
