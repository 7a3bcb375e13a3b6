//! `envoy/tls-api-key.yaml`, with a vendor on loopback.

use anyhow::Result;
use harness::tls::Certificate;
use harness::{Bootstrap, Envoy, Receiver, Stage, Upstream};

/// The vendor, as the file calls it.
pub(crate) const VENDOR: &str = "otlp.vendor.example";

/// What the filter says of an endpoint such as the file's, once.
pub(crate) const REMINDER: &str = "configuration: the endpoint is https, which does nothing";

/// Starts the Envoy of the file. The vendor has this certificate, Envoy trusts that one and has these
/// variables in its environment.
pub(crate) async fn stage(
    vendor: &Certificate,
    trusted: &Certificate,
    variables: &[(&str, &str)],
) -> Result<Stage> {
    let upstream = Upstream::start().await?;
    let collector = Receiver::start_tls(vendor, &["http/1.1"]).await?;
    let folder = harness::folder()?;
    let authorities = folder.path().join("authorities.crt");
    std::fs::write(&authorities, &trusted.chain)?;
    let bootstrap = Bootstrap::from_file("envoy/tls-api-key.yaml")?
        .replace("/etc/ssl/certs/ca-certificates.crt", &authorities.to_string_lossy())?
        .cluster("upstream", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    let envoy = Envoy::with_environment(bootstrap, variables).await?;
    Ok(Stage { envoy, upstream, collector })
}
