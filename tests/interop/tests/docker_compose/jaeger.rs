//! The Jaeger of `examples/docker-compose`, asked by its query API.

use crate::example::get;
use interop::Docker;
use serde_json::Value;

/// Where it is published.
pub(crate) struct Jaeger<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) url: &'a str,
}

impl Jaeger<'_> {
    /// A trace of this many spans in which a service was asked for a path.
    pub(crate) async fn trace(&self, service: &str, path: &str, spans: usize) -> Option<Vec<Span>> {
        let tags = format!("%7B%22url.path%22%3A%22{path}%22%7D");
        let query = format!("{}/api/traces?service={service}&tags={tags}", self.url);
        let (_, text) = get(self.docker, &query).await.ok()?;
        let reply: Value = serde_json::from_str(&text).ok()?;
        let traces = reply["data"].as_array()?.iter();
        traces.filter_map(Span::all).find(|trace| trace.len() == spans)
    }
}

/// A span as Jaeger's query API tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) tags: Value,
}

impl Span {
    /// Those of a trace.
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
    pub(crate) fn status(&self) -> String {
        let http = self.tags["http.response.status_code"].as_u64().map(|it| it.to_string());
        let grpc = || self.tags["rpc.response.status_code"].as_str().map(str::to_owned);
        http.or_else(grpc).unwrap_or_default()
    }

    /// Whether it is an error.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.tags["error"] == true { Outcome::Error } else { Outcome::Unset }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unset,
    Error,
}

/// The way of a trace from its root down, where each span is the parent of the next.
pub(crate) fn chain(spans: &[Span]) -> Vec<&Span> {
    let child = |parent: Option<&str>| spans.iter().find(|it| it.parent.as_deref() == parent);
    std::iter::successors(child(None), |last| child(Some(&last.id))).take(spans.len()).collect()
}
