//! A connection over TLS, for HTTP/1.1.

use crate::tls::Certificate;
use anyhow::Result;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(super) async fn connect(
    certificate: &Certificate,
    own: Option<&Certificate>,
    port: u16,
) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let connector = TlsConnector::from(Arc::new(certificate.client_with("http/1.1", own)?));
    Ok(connector.connect("localhost".try_into()?, stream).await?)
}
