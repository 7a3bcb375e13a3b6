//! A certificate for a test, made anew each time, and TLS that uses it.

use anyhow::{Result, anyhow};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// A self-signed certificate, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub chain: String,
    /// Its private key.
    pub key: String,
    /// The certificate in DER, for a client to trust.
    pub der: Vec<u8>,
}

impl Certificate {
    /// Makes one of `localhost`.
    ///
    /// # Errors
    /// The library does not succeed.
    pub fn new() -> Result<Self> {
        Self::of("localhost")
    }

    /// Makes one of this host.
    ///
    /// # Errors
    /// The library does not succeed.
    pub fn of(host: &str) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![host.to_owned()])?;
        Ok(Self {
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().to_vec(),
        })
    }

    /// Makes one of a workload: its subject, and its names as a host and as a URI.
    ///
    /// # Errors
    /// The library does not succeed.
    pub fn of_workload(subject: &str, host: &str, uri: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(vec![host.to_owned()])?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, subject);
        parameters.subject_alt_names.push(SanType::URI(uri.try_into()?));
        let key = KeyPair::generate()?;
        let made = parameters.self_signed(&key)?;
        Ok(Self { chain: made.pem(), key: key.serialize_pem(), der: made.der().to_vec() })
    }

    /// What a server needs to have this certificate.
    pub(crate) fn server(&self, protocols: &[&str]) -> Result<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let key = key.map_err(|error| anyhow!("the key: {error}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(self.der.clone())], key)?;
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(tls)
    }

    /// What a client needs to trust this certificate alone.
    pub(crate) fn client(&self, protocol: &str) -> Result<ClientConfig> {
        self.client_with(protocol, None)
    }

    /// The same, and what it needs to have a certificate of its own.
    pub(crate) fn client_with(&self, protocol: &str, own: Option<&Self>) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.der.clone()))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut tls = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes());
                let key = key.map_err(|error| anyhow!("the key: {error}"))?;
                builder.with_client_auth_cert(vec![CertificateDer::from(own.der.clone())], key)?
            }
        };
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(tls)
    }
}
