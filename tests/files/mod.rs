//! How a test loads the files of `envoy/` that need more than other ports: a certificate, a key, files
//! that Envoy watches.

pub(crate) mod dynamic;
pub(crate) mod vendor;
