//! Jaeger: started as a child process or asked where it runs, by its query API.

use crate::{Process, peer};
use anyhow::Result;
use harness::{client, free_port, wait_for};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A running Jaeger that keeps spans in memory. It ends with this value.
#[derive(Debug)]
pub struct Jaeger {
    otlp_port: u16,
    query_port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Jaeger {
    /// Starts one on free ports.
    ///
    /// # Errors
    /// It was not built, or does not answer in time; what it logged stands in the error.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [otlp_port, query_port, grpc_port] = [free_port()?, free_port()?, free_port()?];
        let mut command = Command::new(peer("jaeger", "jaeger")?);
        command
            .arg("--config")
            .arg(harness::root().join("tests/interop/jaeger.yaml"))
            .env("OTLP_HTTP_PORT", otlp_port.to_string())
            .env("QUERY_HTTP_PORT", query_port.to_string())
            .env("QUERY_GRPC_PORT", grpc_port.to_string());
        let mut process = Process::start("jaeger", &mut command, folder.path())?;
        let poll = || client::is_well(query_port, "/api/services");
        process.wait_until("Jaeger to answer", poll).await?;
        Ok(Self { otlp_port, query_port, _process: process, _folder: folder })
    }

    /// The port of OTLP over HTTP.
    #[must_use]
    pub fn otlp_port(&self) -> u16 {
        self.otlp_port
    }

    /// Waits until a trace has this many spans.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn trace(&self, trace_id: &str, spans: usize) -> Result<Vec<Span>> {
        let query = format!("/api/traces/{trace_id}");
        let whole = || async {
            let reply = client::get(self.query_port, &query).await.ok()?;
            Span::traces(&reply.body)?.find(|trace| trace.len() == spans)
        };
        wait_for(&format!("a trace of {spans} spans in Jaeger"), whole).await
    }
}

/// A span as Jaeger's query API tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its id, in hexadecimal digits.
    pub id: String,
    /// The id of the span above it.
    pub parent: Option<String>,
    /// Whose span it is.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its attributes, and what Jaeger adds to them.
    pub tags: Value,
}

impl Span {
    /// The traces of an answer.
    pub fn traces(answer: &[u8]) -> Option<impl Iterator<Item = Vec<Self>> + use<>> {
        let reply: Value = serde_json::from_slice(answer).ok()?;
        let traces: Vec<_> = reply["data"].as_array()?.iter().filter_map(Self::all).collect();
        Some(traces.into_iter())
    }

    fn all(trace: &Value) -> Option<Vec<Self>> {
        trace["spans"].as_array()?.iter().map(|span| Self::read(span, trace)).collect()
    }

    fn read(span: &Value, trace: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let references = span["references"].as_array()?;
        let parent = references.iter().find(|it| it["refType"] == "CHILD_OF");
        let tags = span["tags"].as_array()?.iter();
        Some(Self {
            id: text(&span["spanID"])?,
            parent: parent.and_then(|it| text(&it["spanID"])),
            service: text(&trace["processes"][span["processID"].as_str()?]["serviceName"])?,
            name: text(&span["operationName"])?,
            tags: tags.filter_map(|tag| Some((text(&tag["key"])?, tag["value"].clone()))).collect(),
        })
    }

    /// What was answered: HTTP's status, a number for Jaeger as well, or gRPC's.
    #[must_use]
    pub fn status(&self) -> String {
        let http = self.tags["http.response.status_code"].as_u64().map(|it| it.to_string());
        let grpc = || self.tags["rpc.response.status_code"].as_str().map(str::to_owned);
        http.or_else(grpc).unwrap_or_default()
    }

    /// Whether it is an error.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.tags["error"] == true { Outcome::Error } else { Outcome::Unset }
    }
}

/// The status of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is said.
    Unset,
    /// It is an error.
    Error,
}

/// The way of a trace from its root down, where each span is the parent of the next.
#[must_use]
pub fn chain(spans: &[Span]) -> Vec<&Span> {
    let child = |parent: Option<&str>| spans.iter().find(|it| it.parent.as_deref() == parent);
    std::iter::successors(child(None), |last| child(Some(&last.id))).take(spans.len()).collect()
}
