//! What requests are like, and what Envoy has to do with them beside tracing.

use anyhow::{Context, Result};
use harness::Bootstrap;
use harness::client::BROWSER;
use serde_json::{Value, json};

/// Requests of one kind.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) parent: Parent,
    /// So many headers are sent, but for those that tracing needs.
    pub(crate) headers: usize,
    /// The last of so many routes is the one that matches.
    pub(crate) routes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
    Grpc,
}

/// The traceparent that each request comes with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    None,
    Sampled,
    Unsampled,
}

/// The usual kind.
pub(crate) const BASE: Scenario = Scenario {
    name: "base",
    protocol: Protocol::Http1,
    parent: Parent::None,
    headers: 10,
    routes: 1,
};

/// Each but the first differs from the first in one thing.
const SCENARIOS: [Scenario; 7] = [
    BASE,
    Scenario { name: "sampled parent", parent: Parent::Sampled, ..BASE },
    Scenario { name: "unsampled parent", parent: Parent::Unsampled, ..BASE },
    Scenario { name: "HTTP/2", protocol: Protocol::Http2, ..BASE },
    Scenario { name: "gRPC", protocol: Protocol::Grpc, ..BASE },
    Scenario { name: "40 headers", headers: 40, ..BASE },
    Scenario { name: "200 routes", routes: 200, ..BASE },
];

/// The scenarios with these names, separated by commas; all if there are no names.
pub(crate) fn chosen(names: Option<&str>) -> Result<Vec<&'static Scenario>> {
    let Some(names) = names else { return Ok(SCENARIOS.iter().collect()) };
    let find = |name: &str| {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
        scenario.with_context(|| {
            let known = SCENARIOS.map(|scenario| scenario.name).join(", ");
            format!("no scenario {name:?}; there are: {known}")
        })
    };
    names.split(',').map(|name| find(name.trim())).collect()
}

impl Scenario {
    /// The headers that a browser sends, and as many more as it takes. The host is one of them, and set by the load tool.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let usual = BROWSER.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let more = (1..).map(|number| (format!("x-header-{number}"), format!("value-{number}")));
        usual.into_iter().chain(more).take(self.headers - 1).collect()
    }

    /// The path of each request.
    pub(crate) fn path(&self) -> &'static str {
        match self.protocol {
            Protocol::Http1 | Protocol::Http2 => "/some/path?q=1",
            Protocol::Grpc => "/test.Service/Ok",
        }
    }

    /// The routes of `envoy/envoy.yaml` that these requests need, after those that never match.
    pub(crate) fn routes(&self) -> Vec<Value> {
        let others = (1..self.routes).map(|number| {
            let route = json!({"cluster": "upstream"});
            let name = format!("never-{number}");
            json!({"name": name, "match": {"prefix": format!("/never/{number}/")}, "route": route})
        });
        let matching = match self.protocol {
            Protocol::Http1 | Protocol::Http2 => {
                json!({"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "upstream"}})
            }
            Protocol::Grpc => json!({
                "name": "grpc", "match": {"prefix": "/", "grpc": {}},
                "route": {"cluster": "upstream_http2"},
            }),
        };
        others.chain([matching]).collect()
    }
}

/// The service behind, but for gRPC: an Envoy that answers by itself.
pub(crate) fn upstream() -> Result<Bootstrap> {
    answers(Bootstrap::from_file("envoy/envoy.yaml")?.without_filter("ingress")?)
}

/// The same, and it keeps a span of each request.
pub(crate) fn traced_upstream(collector: u16) -> Result<Bootstrap> {
    let configuration = json!({"envoy": {"cluster": "otel_collector"}});
    // Nobody is asked behind it.
    answers(Bootstrap::edge(collector, collector)?.filter("ingress", &configuration.to_string())?)
}

fn answers(bootstrap: Bootstrap) -> Result<Bootstrap> {
    let answer = json!({"status": 200, "body": {"inline_string": "ok"}});
    bootstrap.route("ingress", json!({"match": {"prefix": "/"}, "direct_response": answer}))
}
