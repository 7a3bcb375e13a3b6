//! One exchange over HTTP/3.

use super::{Call, Reply};
use crate::tls::Certificate;
use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

pub(super) async fn send(call: &Call, certificate: &Certificate, port: u16) -> Result<Reply> {
    let endpoint = endpoint(certificate)?;
    let connection = endpoint.connect(([127, 0, 0, 1], port).into(), "localhost")?.await?;
    let (mut driver, mut sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
    let driver = tokio::spawn(async move { driver.wait_idle().await });
    let (head, ()) = call.request("https", port)?.map(|_| ()).into_parts();
    let request = http::Request::from_parts(head, ());
    let mut stream = sender.send_request(request).await?;
    if !call.body.is_empty() {
        stream.send_data(Bytes::from(call.body.clone())).await?;
    }
    stream.finish().await?;
    let response = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut chunk) = stream.recv_data().await? {
        body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    let trailers = stream.recv_trailers().await?.unwrap_or_default();
    drop(sender);
    endpoint.close(0_u8.into(), b"");
    driver.abort();
    let (head, ()) = response.into_parts();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

fn endpoint(certificate: &Certificate) -> Result<quinn::Endpoint> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der.clone()))?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let quic = QuicClientConfig::try_from(tls).context("TLS for QUIC")?;
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into())?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
    Ok(endpoint)
}
