//! What an Envoy says of itself: its node, and the metadata that Istio writes there.
//!
//! Which attributes of a resource come of it is not here.

/// What Envoy's node says; Istio writes its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    local: LocalInfo,
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

/// What Envoy's own tracer says of its node; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalInfo {
    /// Its id.
    pub id: String,
    /// The zone of its locality.
    pub zone: String,
}

impl Node {
    /// Reads the node; `value` gives what is at an attribute's path, if there is anything.
    pub fn read(mut value: impl FnMut(&[&str]) -> Option<Vec<u8>>) -> Self {
        let mut value = |path: &[&str]| value(path).and_then(text);
        let mut metadata = |name: &str| value(&["xds", "node", "metadata", name]);
        let (workload, owner, pod, namespace, machine, cluster_id) = (
            metadata("WORKLOAD_NAME"),
            metadata("OWNER"),
            metadata("NAME"),
            metadata("NAMESPACE"),
            metadata("NODE_NAME"),
            metadata("CLUSTER_ID"),
        );
        let mut local = |path| value(path).unwrap_or_default();
        let (id, zone) =
            (local(&["xds", "node", "id"]), local(&["xds", "node", "locality", "zone"]));
        let cluster = value(&["xds", "node", "cluster"]);
        let mut label = |name: &str| value(&["xds", "node", "metadata", "LABELS", name]);
        Self {
            local: LocalInfo { id, zone },
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

    /// Takes what Envoy's own tracer says of it, and leaves this.
    pub fn swap_local(&mut self, other: &mut LocalInfo) {
        std::mem::swap(&mut self.local, other);
    }

    /// Whether this is a gateway or a waypoint of Istio, whose id starts with what the proxy is for.
    #[must_use]
    pub fn is_istio_gateway(&self) -> bool {
        let role = self.local.id.split_once('~');
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
            values.iter().find(|(key, _)| *key == path).map(|(_, value)| value.as_bytes().to_vec())
        })
    }
}

/// The text that a value is, if it is one and says something. The host gives a number as the eight bytes of a double, a boolean as one
/// byte, a list or an object as protobuf, and does not say which of these it is. A text has no control characters, almost
/// all others have some.
fn text(value: Vec<u8>) -> Option<String> {
    let is_text = !value.trim_ascii().is_empty() && !value.iter().any(u8::is_ascii_control);
    String::from_utf8(value).ok().filter(|text| is_text && !is_number(text.as_bytes()))
}

/// Whether these are the bytes of a number as people write it, below a thousand millions and with four decimals at most: 9.7 is
/// `ffffff#@`. A text of eight characters is, read as a number, hardly ever one of so few digits.
fn is_number(value: &[u8]) -> bool {
    const DECIMALS: f64 = 1e4;
    let Ok(bytes) = value.try_into() else { return false };
    let number = f64::from_le_bytes(bytes);
    let rounded = (number * DECIMALS).round_ties_even() / DECIMALS;
    number.abs() < 1e9 && rounded.to_bits() == number.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_texts_are_taken() {
        let bytes = |number: f64| number.to_le_bytes().to_vec();
        let cases = [
            (b"cart".to_vec(), Some("cart"), "a text"),
            (b"checkout".to_vec(), Some("checkout"), "a text as long as a number"),
            ("k\u{e4}se v2".as_bytes().to_vec(), Some("k\u{e4}se v2"), "in UTF-8, with a space"),
            (b"".to_vec(), None, "an empty text"),
            (bytes(2.0), None, "a number"),
            (bytes(0.0), None, "zero"),
            (bytes(-1.5), None, "a negative number"),
            (bytes(1.1), None, "one that is no UTF-8"),
            (bytes(20_240_131.0), None, "a date"),
            (bytes(9.7), None, "one whose bytes could be letters"),
            (b"CLUSTERA".to_vec(), Some("CLUSTERA"), "letters that could be a number"),
            (b"version@".to_vec(), Some("version@"), "others"),
            (vec![1], None, "true"),
            (vec![0], None, "false"),
            (b"\x0a\x06\x1a\x04cart".to_vec(), None, "a list"),
            (b"cart\x7f".to_vec(), None, "a text with a control character"),
            (b" ".to_vec(), None, "white space"),
        ];
        for (value, expected, reason) in cases {
            assert_eq!(text(value).as_deref(), expected, "{reason}");
        }
        let node = Node::read(|path| match path {
            [.., "WORKLOAD_NAME"] => Some(bytes(2.0)),
            [.., "NAMESPACE"] => Some(b"shop".to_vec()),
            [_, _, "cluster"] => Some(b"edge".to_vec()),
            _ => None,
        });
        assert_eq!((node.service_name(), node.namespace()), (Some("edge"), Some("shop")));
    }

    proptest! {
        #[test]
        fn names_are_texts(name in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?") {
            prop_assert_eq!(text(name.clone().into_bytes()), Some(name));
        }

        #[test]
        fn numbers_are_none(units: i64, decimals in 0..5_u32) {
            // Below a thousand millions.
            let units = units % (1_000_000_000 * 10_i64.pow(decimals));
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let number = units as f64 / f64::from(10_i32.pow(decimals));
            prop_assert_eq!(text(number.to_le_bytes().to_vec()), None);
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
            assert_eq!(Node::of(&[("xds/node/id", id)]).is_istio_gateway(), expected, "{reason}");
        }
    }
}
