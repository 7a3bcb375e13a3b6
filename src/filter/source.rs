//! What the host knows of a request that starts, and of itself, as the core asks for it.

use crate::envoy::node::Node;
use crate::envoy::wire::HeaderMap;
use crate::host;
use crate::probe::RequestSource;
use std::time::{Duration, Instant};

/// A clock whose zero is the start of a root context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// One that starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it started.
    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// The request of the current stream context.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostRequest(pub(super) Clock);

impl RequestSource for HostRequest {
    fn has_header(&self, name: &str) -> bool {
        host::has_request_header(name)
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::new(host::request_headers())
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        attribute(name)
    }

    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// The value of an attribute; empty if it is not set.
pub(super) fn attribute(name: &str) -> Vec<u8> {
    host::property(&name.replace('.', "\0")).unwrap_or_default()
}

/// What this Envoy says of itself.
pub(super) fn node() -> Node {
    Node::read(|path| host::property(&path.join("\0")))
}

/// The name that the plugin has in the host's configuration.
pub(super) fn plugin_name() -> String {
    String::from_utf8(attribute("plugin_name")).unwrap_or_default()
}
