//! Edges with the filter among the filters of their clusters.

use anyhow::Result;
use harness::bootstrap::Bootstrap;
use harness::tls::Certificate;
use serde_json::{Value, json};
use std::path::Path;

pub(crate) const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Has a cluster speak this protocol, and puts a filter before its codec.
fn with_filter(
    edge: Bootstrap,
    cluster: &str,
    protocol: &Value,
    filter: &Value,
) -> Result<Bootstrap> {
    let codec = json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
        },
    });
    let mut options = json!({});
    options[OPTIONS] = json!({
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": protocol,
        "http_filters": [filter, codec],
    });
    edge.cluster_part(cluster, "typed_extension_protocol_options", options)
}

/// The filter of the listener with another plugin name, VM and configuration.
fn filter_of_its_own(edge: &Bootstrap, configuration: &str) -> Result<Value> {
    let mut filter = edge.http_filter_of("ingress", "otel")?;
    let config = &mut filter["typed_config"]["config"];
    config["name"] = json!("otel-attempts");
    config["root_id"] = json!("otel-attempts");
    config["vm_config"]["vm_id"] = json!("otel-attempts");
    config["configuration"]["value"] = json!(configuration);
    Ok(filter)
}

/// One more attempt, at once.
fn retry(on: &str) -> Value {
    let back_off = json!({"base_interval": "0.001s", "max_interval": "0.001s"});
    json!({"retry_on": on, "num_retries": 1, "retry_back_off": back_off})
}

/// The same where an attempt takes longer than a tenth of a second.
fn impatient() -> Value {
    let mut policy = retry("5xx");
    policy["per_try_timeout"] = json!("0.1s");
    policy
}

/// Adds routes, by the prefixes that they match.
pub(crate) fn routes<const N: usize>(
    edge: Bootstrap,
    routes: [(&str, Value); N],
) -> Result<Bootstrap> {
    routes.into_iter().try_fold(edge, |edge, (prefix, route)| {
        let route = json!({"name": "default", "match": {"prefix": prefix}, "route": route});
        edge.route("ingress", route)
    })
}

pub(crate) fn retried() -> (&'static str, Value) {
    ("/flaky", json!({"cluster": "upstream", "retry_policy": retry("5xx")}))
}

fn mirrored() -> (&'static str, Value) {
    let mirror = json!([{"cluster": "mirror"}]);
    ("/mirrored", json!({"cluster": "upstream", "request_mirror_policies": mirror}))
}

/// Routes to services that fail in every way: a policy for each.
fn failing(edge: Bootstrap) -> Result<Bootstrap> {
    let flaky = |cluster: &str| json!({"cluster": cluster, "prefix_rewrite": "/flaky", "retry_policy": retry("5xx")});
    let hedged = json!({"hedge_on_per_try_timeout": true});
    let redirects = json!({"max_internal_redirects": 1});
    let all = [
        retried(),
        mirrored(),
        ("/http2/flaky", flaky("upstream_http2")),
        ("/http3/flaky", flaky("upstream_http3")),
        ("/full", json!({"cluster": "full"})),
        ("/crowded", json!({"cluster": "crowded"})),
        ("/reset", json!({"cluster": "upstream", "retry_policy": retry("reset")})),
        ("/refused", json!({"cluster": "closed", "retry_policy": retry("connect-failure")})),
        ("/delay/60001", json!({"cluster": "upstream", "retry_policy": impatient()})),
        ("/delay/60002", json!({"cluster": "upstream", "timeout": "0.1s"})),
        (
            "/delay/1000",
            json!({"cluster": "upstream", "retry_policy": impatient(), "hedge_policy": hedged}),
        ),
        ("/redirect", json!({"cluster": "upstream", "internal_redirect_policy": redirects})),
        ("/test.Echo/Hang", json!({"cluster": "upstream_http2", "retry_policy": impatient()})),
    ];
    routes(edge, all)
}

/// The edge with the filter in each cluster, as it stands in the listener's chain: both share a root context, and nothing tells them apart.
pub(crate) fn in_both(
    edge: Bootstrap,
    certificate: &Certificate,
    authority: &Path,
) -> Result<Bootstrap> {
    let closed = harness::free_port()?;
    let filter = edge.http_filter_of("ingress", "otel")?;
    let port = edge.cluster_port("upstream");
    let breaker = |threshold: Value| json!({"thresholds": [threshold]});
    // An Envoy that speaks HTTP/3 to the service: another listener of this one, without the filter.
    let edge = edge.copy_listener("ingress", "http3")?.without_filter("http3")?;
    let to_service = json!({"match": {"prefix": "/"}, "route": {"cluster": "service"}});
    let edge = edge.http3("http3", certificate)?.routes("http3", vec![to_service])?;
    let http3 = edge.port("http3");
    let edge = edge
        .cluster("closed", closed)?
        .cluster("mirror", port)?
        .cluster("service", port)?
        .cluster("full", port)?
        .cluster_part("full", "circuit_breakers", breaker(json!({"max_requests": 0})))?
        .cluster("crowded", port)?
        .cluster_part("crowded", "circuit_breakers", breaker(json!({"max_pending_requests": 0})))?
        .cluster("upstream_http3", http3)?;
    let quic = json!({
        "name": "envoy.transport_sockets.quic",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport",
            "upstream_tls_context": {"sni": "localhost", "common_tls_context": {
                "validation_context": {"trusted_ca": {"filename": authority.to_string_lossy()}},
            }},
        },
    });
    let edge = edge.cluster_part("upstream_http3", "transport_socket", quic)?;
    let edge = failing(edge)?;
    let one = json!({"http_protocol_options": {}});
    let edge = ["upstream", "closed", "mirror", "full", "crowded"]
        .into_iter()
        .try_fold(edge, |edge, cluster| with_filter(edge, cluster, &one, &filter))?;
    let edge =
        with_filter(edge, "upstream_http2", &json!({"http2_protocol_options": {}}), &filter)?;
    with_filter(edge, "upstream_http3", &json!({"http3_protocol_options": {}}), &filter)
}

/// The edge without a filter in the listener's chain, and with one of this configuration in the upstream's cluster and in that of shadow requests.
pub(crate) fn in_clusters_alone(edge: Bootstrap, configuration: &str) -> Result<Bootstrap> {
    let filter = filter_of_its_own(&edge, configuration)?;
    let port = edge.cluster_port("upstream");
    let edge = edge.cluster("mirror", port)?.without_filter("ingress")?;
    let edge = routes(edge, [retried(), mirrored()])?;
    let one = json!({"http_protocol_options": {}});
    let edge = with_filter(edge, "upstream", &one, &filter)?;
    with_filter(edge, "mirror", &one, &filter)
}

/// The edge with a filter of this configuration in the listener's chain, and with one of its own in the upstream's cluster.
pub(crate) fn in_cluster_too(edge: Bootstrap, chain: &str) -> Result<Bootstrap> {
    let filter = filter_of_its_own(&edge, r#"{"envoy": {"cluster": "otel_collector"}}"#)?;
    let edge = routes(edge, [retried()])?.filter("ingress", chain)?;
    with_filter(edge, "upstream", &json!({"http_protocol_options": {}}), &filter)
}

/// What a manifest for a mesh puts into a cluster's options, and the filter that it has beside, if it has one.
pub(crate) fn manifest(path: &str) -> Result<(Value, Option<Value>)> {
    let text = std::fs::read_to_string(harness::root().join(path))?;
    let text = text.replace("/otel/otel-proxy-wasm.wasm", &harness::module()?.to_string_lossy());
    let manifest: Value = serde_yaml_ng::from_str(&text)?;
    if let Some(patch) = manifest.pointer("/spec/jsonPatches/0/operation") {
        assert_eq!(patch["path"], "/typed_extension_protocol_options");
        return Ok((patch["value"].clone(), None));
    }
    let value = |number: usize| manifest["spec"]["configPatches"][number]["patch"]["value"].clone();
    Ok((value(1)["typed_extension_protocol_options"].clone(), Some(value(0))))
}
