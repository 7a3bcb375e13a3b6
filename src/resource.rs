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
    id: Option<String>,
    cluster: Option<String>,
    canonical_name: Option<String>,
    canonical_revision: Option<String>,
    workload: Option<String>,
    owner: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    machine: Option<String>,
    cluster_id: Option<String>,
}

impl Node {
    /// Reads the node; `value` gives the text at an attribute's path, if there is one.
    pub fn read(mut value: impl FnMut(&[&str]) -> Option<String>) -> Self {
        let mut metadata = |name: &str| value(&["xds", "node", "metadata", name]);
        let (workload, owner, pod, namespace, machine, cluster_id) = (
            metadata("WORKLOAD_NAME"),
            metadata("OWNER"),
            metadata("NAME"),
            metadata("NAMESPACE"),
            metadata("NODE_NAME"),
            metadata("CLUSTER_ID"),
        );
        let id = value(&["xds", "node", "id"]);
        let cluster = value(&["xds", "node", "cluster"]);
        let mut label = |name: &str| value(&["xds", "node", "metadata", "LABELS", name]);
        Self {
            id,
            canonical_name: label("service.istio.io/canonical-name"),
            canonical_revision: label("service.istio.io/canonical-revision"),
            cluster,
            workload,
            owner,
            pod,
            namespace,
            machine,
            cluster_id,
        }
    }

    /// Whether this is a gateway or a waypoint of Istio, whose id starts with what the proxy is for.
    #[must_use]
    pub fn is_istio_gateway(&self) -> bool {
        let role = self.id.as_deref().and_then(|id| id.split_once('~'));
        role.is_some_and(|(role, _)| matches!(role, "router" | "waypoint"))
    }

    /// The service's name, if the node has one.
    fn service_name(&self) -> Option<&str> {
        let names = [&self.canonical_name, &self.workload, &self.cluster];
        names.into_iter().flatten().next().map(String::as_str)
    }

    /// The service's version. Where a workload has no label for it, Istio says `latest`.
    fn service_version(&self) -> Option<&str> {
        self.canonical_revision.as_deref().filter(|version| *version != "latest")
    }

    /// The pod's name. A virtual machine in a mesh has a name too, but no Kubernetes node.
    fn pod_name(&self) -> Option<&str> {
        self.machine.as_ref().and(self.pod.as_deref())
    }

    /// The cluster's name. One that was given none is called `Kubernetes` by Istio.
    fn cluster_name(&self) -> Option<&str> {
        self.cluster_id.as_deref().filter(|name| *name != "Kubernetes")
    }

    /// What the pod belongs to: the attribute for its kind, and its name. Istio writes
    /// `kubernetes://apis/apps/v1/namespaces/shop/deployments/cart`.
    fn owner(&self) -> Option<(&'static str, &str)> {
        const KINDS: [(&str, &str); 6] = [
            ("deployments", "k8s.deployment.name"),
            ("statefulsets", "k8s.statefulset.name"),
            ("daemonsets", "k8s.daemonset.name"),
            ("replicasets", "k8s.replicaset.name"),
            ("jobs", "k8s.job.name"),
            ("cronjobs", "k8s.cronjob.name"),
        ];
        let mut path = self.owner.as_deref()?.strip_prefix("kubernetes://")?.rsplit('/');
        let (name, kind) = (path.next().filter(|name| !name.is_empty())?, path.next()?);
        let (_, attribute) = KINDS.into_iter().find(|(known, _)| *known == kind)?;
        Some((attribute, name))
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
    let ours = [
        ("telemetry.sdk.name", Some(env!("CARGO_PKG_NAME"))),
        ("telemetry.sdk.language", Some("rust")),
        ("telemetry.sdk.version", Some(env!("CARGO_PKG_VERSION"))),
    ];
    let found = [
        ("service.name", Some(node.service_name().unwrap_or("unknown_service:envoy"))),
        ("service.version", node.service_version()),
        ("service.instance.id", Some(instance)),
        ("k8s.namespace.name", node.namespace.as_deref()),
        ("k8s.pod.name", node.pod_name()),
        ("k8s.node.name", node.machine.as_deref()),
        ("k8s.cluster.name", node.cluster_name()),
    ];
    let owner = node.owner().map(|(name, value)| (name, Some(value)));
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
    fn istio_says_what_a_proxy_is_for() {
        let cases = [
            (
                "router~10.0.0.1~gateway-0.istio-system~istio-system.svc.cluster.local",
                true,
                "a gateway",
            ),
            ("waypoint~10.0.0.1~waypoint-0.shop~shop.svc.cluster.local", true, "a waypoint"),
            ("sidecar~10.0.0.1~cart-0.shop~shop.svc.cluster.local", false, "a sidecar"),
            ("router", false, "an id that is not Istio's"),
            ("", false, "no id"),
        ];
        for (id, expected, reason) in cases {
            assert_eq!(node(&[("xds/node/id", id)]).is_istio_gateway(), expected, "{reason}");
        }
    }

    #[test]
    fn kubernetes_is_named_by_its_stable_names() {
        let node = node(&[
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
            assert_eq!(attributes(&[], &node(&[(path, value)]), "i"), nothing, "{reason}: {value}");
        }
    }

    #[test]
    fn what_is_configured_goes_before_the_node_but_not_before_the_sdk() {
        let configured = ["telemetry.sdk.name", "k8s.pod.name", "service.instance.id", "team"];
        let configured = configured
            .map(|name| (name.to_owned(), AttributeValue::String("configured".to_owned())));
        let pod =
            node(&[("xds/node/metadata/NAME", "pod"), ("xds/node/metadata/NODE_NAME", "node")]);
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
