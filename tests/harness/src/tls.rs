//! A certificate for a test, made anew each time.

use anyhow::Result;

/// A self-signed certificate of `localhost`, in PEM.
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
    /// Makes one.
    ///
    /// # Errors
    /// The library does not succeed.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        Ok(Self {
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            der: made.cert.der().to_vec(),
        })
    }
}
