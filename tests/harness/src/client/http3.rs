//! An exchange over HTTP/3, on a connection of its own.

use super::{Call, Reply};
use crate::tls::Certificate;
use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::Code;
use h3_quinn::{BidiStream, OpenStreams};
use quinn::crypto::rustls::QuicClientConfig;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// A connection to the proxy.
pub(super) struct Connection {
    endpoint: quinn::Endpoint,
    driver: AbortHandle,
    sender: SendRequest<OpenStreams, Bytes>,
}

/// A request whose reply is still to be read.
pub(super) struct Sent {
    connection: Connection,
    stream: Stream,
}

type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

impl Connection {
    pub(super) async fn open(certificate: &Certificate, port: u16) -> Result<Self> {
        let endpoint = endpoint(certificate)?;
        let connection = endpoint.connect(([127, 0, 0, 1], port).into(), "localhost")?.await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
        let driver = tokio::spawn(async move { driver.wait_idle().await }).abort_handle();
        Ok(Self { endpoint, driver, sender })
    }

    /// The port of this end.
    pub(super) fn local_port(&self) -> Result<u16> {
        Ok(self.endpoint.local_addr()?.port())
    }

    pub(super) async fn send(mut self, call: &Call, port: u16) -> Result<Sent> {
        let stream = self.begin(call, port).await?;
        Ok(Sent { connection: self, stream })
    }

    /// Sends a request and reads its reply; others may follow.
    pub(super) async fn exchange(&mut self, call: &Call, port: u16) -> Result<Reply> {
        reply(self.begin(call, port).await?).await
    }

    async fn begin(&mut self, call: &Call, port: u16) -> Result<Stream> {
        let (head, _) = call.request("https", port)?.into_parts();
        let mut stream = self.sender.send_request(http::Request::from_parts(head, ())).await?;
        if !call.body.is_empty() {
            stream.send_data(Bytes::from(call.body.clone())).await?;
        }
        stream.finish().await?;
        Ok(stream)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.endpoint.close(0_u8.into(), b"");
        self.driver.abort();
    }
}

async fn reply(mut stream: Stream) -> Result<Reply> {
    let (head, ()) = stream.recv_response().await?.into_parts();
    let mut body = Vec::new();
    while let Some(mut chunk) = stream.recv_data().await? {
        body.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    let trailers = stream.recv_trailers().await?.unwrap_or_default();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

impl Sent {
    /// Tells the proxy that nobody waits for the reply. The connection ends with what is given back.
    pub(super) fn reset(mut self) -> impl Send + 'static {
        self.stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        self.stream.stop_sending(Code::H3_REQUEST_CANCELLED);
        self.connection
    }
}

pub(super) fn endpoint(certificate: &Certificate) -> Result<quinn::Endpoint> {
    let quic = QuicClientConfig::try_from(certificate.client("h3")?).context("TLS for QUIC")?;
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into())?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
    Ok(endpoint)
}
