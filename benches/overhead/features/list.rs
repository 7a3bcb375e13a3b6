//! The features that are measured.

use serde_json::{Value, json};

/// A way to configure the filter.
pub(crate) struct Feature {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// The configuration of the filter in the listener's chain.
    pub(crate) configuration: Value,
    /// So many spans each request becomes.
    pub(crate) spans: u64,
}

/// Where the filter is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Nowhere,
    Chain,
    /// In the chain, of another module.
    ChainOfBase,
    Cluster,
    ChainAndCluster,
}

/// No filter.
pub(crate) const UNTRACED: &str = "no filter";
/// The filter that all others are compared with.
pub(crate) const PLAIN: &str = "`{}`";
/// The same of another module.
pub(crate) const BASE: &str = "`{}` of BASE";

/// So many templates `envoy.routes` has, of which one matches.
const TEMPLATES: usize = 200;

impl Feature {
    /// The filter in the chain, with this as `envoy`.
    fn of_envoy(name: &'static str, envoy: &Value) -> Self {
        Self::in_chain(name, json!({"envoy": envoy}))
    }

    fn in_chain(name: &'static str, configuration: Value) -> Self {
        Self { name, place: Place::Chain, configuration, spans: 1 }
    }

    /// `{}` elsewhere than in the chain alone.
    fn at(name: &'static str, place: Place, spans: u64) -> Self {
        Self { name, place, configuration: json!({}), spans }
    }
}

/// All of them; with `{}` of another module, if there is one. Those with the same configuration are far from each other: what is measured one
/// after the other finds the machine in the same state.
pub(crate) fn all(has_base: bool) -> Vec<Feature> {
    let of = Feature::of_envoy;
    let propagators = json!({"propagator": {"composite": [{"tracecontext": {}}, {"b3multi": {}}]}});
    let expression = json!({"name": "in.some", "type": "bool", "expression": "request.url_path.startsWith('/some/')"});
    let own = json!([
        {"name": "deployment.ring", "value": "one"},
        {"name": "caller.language", "header": "accept-language"},
    ]);
    let mut all = vec![
        Feature::at(UNTRACED, Place::Nowhere, 0),
        Feature::in_chain(PLAIN, json!({})),
        of("`routes`, 200 templates", &json!({"routes": templates()})),
        of("`attributes`: a literal and a header", &json!({"attributes": own})),
        of("`attributes`: `http.response.size`", &json!({"attributes": ["http.response.size"]})),
        of("`attributes`: a CEL expression", &json!({"attributes": [expression]})),
        of("`semconv: legacy`", &json!({"semconv": "legacy"})),
        of("`semconv: stable_and_legacy`", &json!({"semconv": "stable_and_legacy"})),
        Feature::in_chain("`{}` again, the noise", json!({})),
        of("`long_streams: 30000`", &json!({"long_streams": 30000})),
        Feature::in_chain("`b3multi` beside `tracecontext`", propagators),
        of("`incoming: restart`", &json!({"incoming": "restart"})),
        of("`outgoing: strip`", &json!({"outgoing": "strip"})),
        of("`expose: [filter_state]`", &json!({"expose": ["filter_state"]})),
        Feature {
            spans: 2,
            ..of("`span_kind: server_and_client`", &json!({"span_kind": "server_and_client"}))
        },
        Feature::at("in the cluster, not in the chain", Place::Cluster, 1),
        Feature::at("in the chain and in the cluster", Place::ChainAndCluster, 2),
    ];
    if has_base {
        all.insert(all.len() / 2, Feature::at(BASE, Place::ChainOfBase, 1));
    }
    all
}

/// Templates of which the last one matches the path of the requests.
fn templates() -> Vec<String> {
    let others = (1..TEMPLATES).map(|number| format!("/shop/{number}/items/{{item}}"));
    others.chain(["/some/{name}".to_owned()]).collect()
}
