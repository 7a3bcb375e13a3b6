//! Where the border of trust is: what the context of a caller is worth, and whether ours goes on to an upstream.
//!
//! It decides on the request that starts. What follows from that for headers and spans is the tracer's part.

pub mod headers;
pub mod network;

use crate::probe::RequestSource;
use crate::propagation::expose::Exposure;
use crate::sampling::Pattern;
use network::Network;

/// The attribute that says whether the peer of the connection has presented a certificate.
const MTLS: &str = "connection.mtls";
/// The other end of the connection, or what a header said of it.
const SOURCE_ADDRESS: &str = "source.address";
/// The cluster that the route of the request leads to.
const CLUSTER_NAME: &str = "xds.cluster_name";

/// What the context that a request came with is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Worth {
    /// It is continued, and what headers tell of the client is believed.
    #[default]
    Continue,
    /// A new trace is linked to it.
    Restart,
    /// Nothing.
    Ignore,
}

/// Both sides of the border, and who beside is told.
#[derive(Debug, Default)]
pub struct Borders {
    /// Where requests come from.
    pub incoming: Incoming,
    /// Where they go on to.
    pub outgoing: Outgoing,
    /// `envoy.expose`.
    pub exposure: Exposure,
}

/// `envoy.incoming`: whose contexts are worth what. Those of callers that are trusted are continued.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Callers that have presented a client certificate, which the listener's TLS context has to validate, are trusted.
    pub trusts_certificates: bool,
    /// Callers that are connected from one of these are trusted.
    pub trusted_networks: Vec<Network>,
    /// What the contexts of all others are worth.
    pub others: Worth,
}

/// `envoy.outgoing`: which upstreams get a context.
#[derive(Debug, Default)]
pub enum Outgoing {
    /// All of them.
    #[default]
    Inject,
    /// None: no header of any known format goes on.
    Strip,
    /// All but the clusters with such names.
    StripClusters(Vec<Pattern>),
}

/// Whether a request goes on with a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It does.
    Inject,
    /// It does not.
    Strip,
}

impl Borders {
    /// Whether all contexts come in and go on, and nobody is told.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.incoming.others == Worth::Continue
            && matches!(self.outgoing, Outgoing::Inject)
            && self.exposure == Exposure::default()
    }
}

impl Incoming {
    /// What the context of this request is worth. Costs a host call for each kind of trust that has to be asked for.
    pub fn worth(&self, request: &impl RequestSource) -> Worth {
        let is_trusted = self.trusts_certificates && request.attribute(MTLS) == [1]
            || !self.trusted_networks.is_empty() && self.trusts(&request.attribute(SOURCE_ADDRESS));
        if is_trusted { Worth::Continue } else { self.others }
    }

    fn trusts(&self, socket: &[u8]) -> bool {
        let Some(peer) = network::peer(socket) else { return false };
        self.trusted_networks.iter().any(|network| network.contains(peer))
    }
}

impl Outgoing {
    /// Whether this request goes on with a context. Costs a host call where that depends on its cluster.
    pub fn leaving(&self, request: &impl RequestSource) -> Leaving {
        let is_stripped = match self {
            Self::Inject => false,
            Self::Strip => true,
            Self::StripClusters(clusters) => {
                let cluster = request.attribute(CLUSTER_NAME);
                clusters.iter().any(|it| it.matches(&cluster))
            }
        };
        if is_stripped { Leaving::Strip } else { Leaving::Inject }
    }
}
