//! What an Envoy says of itself: its node, and the metadata that Istio writes there.
//!
//! Which attributes of a resource come of it is not here.

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
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        let names = [&self.canonical_name, &self.workload, &self.cluster];
        names.into_iter().flatten().next().map(String::as_str)
    }

    /// The service's version. Where a workload has no label for it, Istio says `latest`.
    #[must_use]
    pub fn service_version(&self) -> Option<&str> {
        self.canonical_revision.as_deref().filter(|version| *version != "latest")
    }

    /// The name space of Kubernetes.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The machine's name, as Kubernetes has it.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        self.machine.as_deref()
    }

    /// The pod's name. A virtual machine in a mesh has a name too, but no Kubernetes node.
    #[must_use]
    pub fn pod_name(&self) -> Option<&str> {
        self.machine.as_ref().and(self.pod.as_deref())
    }

    /// The cluster's name. One that was given none is called `Kubernetes` by Istio.
    #[must_use]
    pub fn cluster_name(&self) -> Option<&str> {
        self.cluster_id.as_deref().filter(|name| *name != "Kubernetes")
    }

    /// What the pod belongs to: Kubernetes' plural for its kind, such as `deployments`, and its name. Istio writes
    /// `kubernetes://apis/apps/v1/namespaces/shop/deployments/cart`.
    #[must_use]
    pub fn owner(&self) -> Option<(&str, &str)> {
        let mut path = self.owner.as_deref()?.strip_prefix("kubernetes://")?.rsplit('/');
        let (name, kind) = (path.next().filter(|name| !name.is_empty())?, path.next()?);
        Some((kind, name))
    }

    /// A node of which this is known, for tests: texts at paths joined by `/`.
    #[cfg(test)]
    pub(crate) fn of(values: &[(&str, &str)]) -> Self {
        Self::read(|path| {
            let path = path.join("/");
            values.iter().find(|(key, _)| *key == path).map(|(_, value)| (*value).to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Node::of(&[("xds/node/id", id)]).is_istio_gateway(), expected, "{reason}");
        }
    }
}
