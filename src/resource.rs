//! Who sends the spans: the attributes of the resource, from the configuration and from what Envoy
//! and Istio say of themselves.
//!
//! (Semantic conventions 1.44.0, Resource; the order of sources is the configuration's first.)

use crate::envoy::node::Node;
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

/// The attributes for what a pod belongs to.
const OWNERS: [(&str, &str); 6] = [
    ("deployments", "k8s.deployment.name"),
    ("statefulsets", "k8s.statefulset.name"),
    ("daemonsets", "k8s.daemonset.name"),
    ("replicasets", "k8s.replicaset.name"),
    ("jobs", "k8s.job.name"),
    ("cronjobs", "k8s.cronjob.name"),
];

/// All attributes, each name once: what is configured, then what the node says, then what is ours.
/// Names of our SDK can't be configured away. `instance` tells this process from its siblings.
#[must_use]
pub fn attributes(
    configured: &[(String, AttributeValue)],
    node: &Node,
    instance: &str,
) -> Vec<(String, AttributeValue)> {
    let ours = [
        ("telemetry.sdk.name", Some(env!("CARGO_PKG_NAME"))),
        ("telemetry.sdk.language", Some("rust")),
        ("telemetry.sdk.version", Some(env!("CARGO_PKG_VERSION"))),
    ];
    let found = [
        ("service.name", Some(node.service_name().unwrap_or("unknown_service:envoy"))),
        ("service.namespace", node.namespace()),
        ("service.version", node.service_version()),
        ("service.instance.id", Some(instance)),
        ("k8s.namespace.name", node.namespace()),
        ("k8s.pod.name", node.pod_name()),
        ("k8s.node.name", node.machine()),
        ("k8s.cluster.name", node.cluster_name()),
    ];
    let owner = node.owner().and_then(|(kind, name)| {
        let (_, attribute) = OWNERS.into_iter().find(|(known, _)| *known == kind)?;
        Some((attribute, Some(name)))
    });
    let text = |(name, value): (&str, Option<&str>)| {
        Some((name.to_owned(), AttributeValue::String(value?.to_owned())))
    };
    let mut attributes: Vec<_> = ours.into_iter().filter_map(text).collect();
    let found = found.into_iter().chain(owner).filter_map(text);
    for (name, value) in configured.iter().cloned().chain(found) {
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
            let attributes = attributes(&configured, &Node::of(values), "i");
            assert_eq!(text(&attributes, "service.name").as_deref(), Some(*expected), "{reason}");
        }
    }

    #[test]
    fn kubernetes_is_named_by_its_stable_names() {
        let node = Node::of(&[
            ("xds/node/metadata/NAME", "cart-6d5f-x7x"),
            ("xds/node/metadata/NAMESPACE", "shop"),
            ("xds/node/metadata/NODE_NAME", "node-1"),
            ("xds/node/metadata/CLUSTER_ID", "eu-1"),
            (
                "xds/node/metadata/OWNER",
                "kubernetes://apis/apps/v1/namespaces/shop/deployments/cart",
            ),
            ("xds/node/metadata/LABELS/service.istio.io/canonical-name", "cart"),
            ("xds/node/metadata/LABELS/service.istio.io/canonical-revision", "v2"),
        ]);
        let attributes = attributes(&[], &node, "i");
        let expected = [
            ("telemetry.sdk.name", "otel-proxy-wasm"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
            ("service.name", "cart"),
            ("service.namespace", "shop"),
            ("service.version", "v2"),
            ("service.instance.id", "i"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "cart-6d5f-x7x"),
            ("k8s.node.name", "node-1"),
            ("k8s.cluster.name", "eu-1"),
            ("k8s.deployment.name", "cart"),
        ];
        let expected = expected
            .map(|(name, value)| (name.to_owned(), AttributeValue::String(value.to_owned())));
        assert_eq!(attributes, expected);
    }

    #[test]
    fn each_kind_of_owner_has_an_attribute() {
        for (path, attribute) in [
            ("apps/v1/namespaces/shop/deployments/cart", "k8s.deployment.name"),
            ("apps/v1/namespaces/shop/statefulsets/cart", "k8s.statefulset.name"),
            ("apps/v1/namespaces/shop/daemonsets/cart", "k8s.daemonset.name"),
            ("apps/v1/namespaces/shop/replicasets/cart", "k8s.replicaset.name"),
            ("batch/v1/namespaces/shop/jobs/cart", "k8s.job.name"),
            ("batch/v1/namespaces/shop/cronjobs/cart", "k8s.cronjob.name"),
        ] {
            let owner = format!("kubernetes://apis/{path}");
            let node = Node::of(&[("xds/node/metadata/OWNER", &owner)]);
            let attributes = attributes(&[], &node, "i");
            assert_eq!(text(&attributes, attribute).as_deref(), Some("cart"), "{path}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_said() {
        const OWNER: &str = "xds/node/metadata/OWNER";
        let cases = [
            (
                "xds/node/metadata/LABELS/service.istio.io/canonical-revision",
                "latest",
                "Istio's word for no version",
            ),
            ("xds/node/metadata/CLUSTER_ID", "Kubernetes", "Istio's word for no name"),
            ("xds/node/metadata/NAME", "vm-1", "a virtual machine is no pod"),
            (OWNER, "kubernetes://apis/v1/namespaces/shop/pods/cart", "a pod of its own"),
            (OWNER, "kubernetes://apis/argoproj.io/v1/namespaces/shop/rollouts/cart", "no name"),
            (OWNER, "kubernetes://apis/apps/v1/namespaces/shop/deployments/", "an empty name"),
            (OWNER, "deployments/cart", "not Istio's form"),
            (OWNER, "kubernetes://cart", "too short"),
        ];
        let nothing = attributes(&[], &Node::default(), "i");
        for (path, value, reason) in cases {
            assert_eq!(
                attributes(&[], &Node::of(&[(path, value)]), "i"),
                nothing,
                "{reason}: {value}"
            );
        }
    }

    #[test]
    fn what_is_configured_goes_before_the_node_but_not_before_the_sdk() {
        let configured = ["telemetry.sdk.name", "k8s.pod.name", "service.instance.id", "team"];
        let configured = configured
            .map(|name| (name.to_owned(), AttributeValue::String("configured".to_owned())));
        let pod =
            Node::of(&[("xds/node/metadata/NAME", "pod"), ("xds/node/metadata/NODE_NAME", "node")]);
        let attributes = attributes(&configured, &pod, "i");
        for (name, expected) in [
            ("telemetry.sdk.name", "otel-proxy-wasm"),
            ("k8s.pod.name", "configured"),
            ("service.instance.id", "configured"),
            ("team", "configured"),
        ] {
            assert_eq!(text(&attributes, name).as_deref(), Some(expected), "{name}");
            let times = attributes.iter().filter(|(known, _)| known == name).count();
            assert_eq!(times, 1, "{name} stands once");
        }
    }

    #[test]
    fn an_instance_id_is_a_uuid_of_version_4() {
        assert_eq!(instance_id([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(instance_id([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
