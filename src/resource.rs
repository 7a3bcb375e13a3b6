//! Who sends the spans: the attributes of the resource, from the configuration and from what Envoy
//! and Istio say of themselves.
//!
//! (Semantic conventions 1.44.0, Resource; the order of sources is the configuration's first.)

use crate::id::hex_digits;

/// A value of a resource attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// A text.
    String(String),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any number.
    Double(f64),
    /// Texts.
    StringArray(Vec<String>),
    /// True or false, several times.
    BoolArray(Vec<bool>),
    /// Whole numbers.
    IntArray(Vec<i64>),
    /// Numbers.
    DoubleArray(Vec<f64>),
}

/// What Envoy's node says; Istio writes its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    cluster: Option<String>,
    canonical_name: Option<String>,
    canonical_revision: Option<String>,
    workload: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    host_name: Option<String>,
    cluster_id: Option<String>,
}

impl Node {
    /// Reads the node; `value` gives the text at an attribute's path, if there is one.
    pub fn read(mut value: impl FnMut(&[&str]) -> Option<String>) -> Self {
        let mut metadata = |name: &str| value(&["xds", "node", "metadata", name]);
        let (workload, pod, namespace, host_name, cluster_id) = (
            metadata("WORKLOAD_NAME"),
            metadata("NAME"),
            metadata("NAMESPACE"),
            metadata("NODE_NAME"),
            metadata("CLUSTER_ID"),
        );
        let mut label = |name: &str| value(&["xds", "node", "metadata", "LABELS", name]);
        Self {
            canonical_name: label("service.istio.io/canonical-name"),
            canonical_revision: label("service.istio.io/canonical-revision"),
            cluster: value(&["xds", "node", "cluster"]),
            workload,
            pod,
            namespace,
            host_name,
            cluster_id,
        }
    }
}

/// All attributes, each name once: what is configured, then what the node says, then what is ours.
/// Names of our SDK can't be configured away. `instance` tells this process from its siblings.
#[must_use]
pub fn attributes(
    configured: &[(String, AttributeValue)],
    node: &Node,
    instance: &str,
) -> Vec<(String, AttributeValue)> {
    let service_name = [&node.canonical_name, &node.workload, &node.cluster]
        .into_iter()
        .flatten()
        .next()
        .map_or("unknown_service:envoy", String::as_str);
    let ours = [
        ("telemetry.sdk.name", Some(env!("CARGO_PKG_NAME"))),
        ("telemetry.sdk.language", Some("rust")),
        ("telemetry.sdk.version", Some(env!("CARGO_PKG_VERSION"))),
    ];
    let found = [
        ("service.name", Some(service_name)),
        ("service.version", node.canonical_revision.as_deref().filter(|it| *it != "latest")),
        ("service.instance.id", Some(instance)),
        ("k8s.namespace.name", node.namespace.as_deref()),
        ("k8s.pod.name", node.pod.as_deref()),
        ("k8s.node.name", node.host_name.as_deref()),
        ("k8s.cluster.name", node.cluster_id.as_deref()),
    ];
    let text = |(name, value): (&str, Option<&str>)| {
        Some((name.to_owned(), AttributeValue::String(value?.to_owned())))
    };
    let mut attributes: Vec<_> = ours.into_iter().filter_map(text).collect();
    for (name, value) in configured.iter().cloned().chain(found.into_iter().filter_map(text)) {
        if attributes.iter().all(|(known, _)| *known != name) {
            attributes.push((name, value));
        }
    }
    attributes
}

/// A random UUID (RFC 9562, version 4) of sixteen random bytes, for `service.instance.id`.
#[must_use]
pub fn instance_id(random: [u8; 16]) -> String {
    let mut id = String::with_capacity(36);
    for (position, byte) in random.into_iter().enumerate() {
        let byte = match position {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => byte,
        };
        if matches!(position, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        id.extend(hex_digits(byte).map(char::from));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(values: &[(&str, &str)]) -> Node {
        Node::read(|path| {
            let path = path.join("/");
            values.iter().find(|(key, _)| *key == path).map(|(_, value)| (*value).to_owned())
        })
    }

    fn text(attributes: &[(String, AttributeValue)], name: &str) -> Option<String> {
        let value = attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
        match value {
            AttributeValue::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn the_service_name_has_an_order() {
        let cluster = ("xds/node/cluster", "of-envoy");
        let workload = ("xds/node/metadata/WORKLOAD_NAME", "of-workload");
        let canonical = ("xds/node/metadata/LABELS/service.istio.io/canonical-name", "of-istio");
        let cases: &[(&[(&str, &str)], Option<&str>, &str, &str)] = &[
            (
                &[cluster, workload, canonical],
                Some("configured"),
                "configured",
                "configuration first",
            ),
            (&[cluster, workload, canonical], None, "of-istio", "Istio's canonical name"),
            (&[cluster, workload], None, "of-workload", "the workload"),
            (&[cluster], None, "of-envoy", "Envoy's node"),
            (&[], None, "unknown_service:envoy", "nothing is known"),
        ];
        for (values, configured, expected, reason) in cases {
            let configured: Vec<_> = (configured.iter())
                .map(|name| ("service.name".to_owned(), AttributeValue::String((*name).to_owned())))
                .collect();
            let attributes = attributes(&configured, &node(values), "i");
            assert_eq!(text(&attributes, "service.name").as_deref(), Some(*expected), "{reason}");
        }
    }

    #[test]
    fn kubernetes_is_named_by_its_stable_names() {
        let node = node(&[
            ("xds/node/metadata/NAME", "pod-1"),
            ("xds/node/metadata/NAMESPACE", "shop"),
            ("xds/node/metadata/NODE_NAME", "node-1"),
            ("xds/node/metadata/CLUSTER_ID", "eu-1"),
        ]);
        let sdk = [("telemetry.sdk.name".to_owned(), AttributeValue::String("other".into()))];
        let attributes = attributes(&sdk, &node, "i");
        for (name, expected) in [
            ("k8s.pod.name", "pod-1"),
            ("k8s.namespace.name", "shop"),
            ("k8s.node.name", "node-1"),
            ("k8s.cluster.name", "eu-1"),
            ("service.instance.id", "i"),
            ("telemetry.sdk.name", "otel-proxy-wasm"),
            ("telemetry.sdk.language", "rust"),
        ] {
            assert_eq!(text(&attributes, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn an_instance_id_is_a_uuid_of_version_4() {
        assert_eq!(instance_id([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(instance_id([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
