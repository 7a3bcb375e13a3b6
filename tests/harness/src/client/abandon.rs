//! A client that leaves before the reply: it closes its connection (HTTP/1.1) or resets its stream
//! (HTTP/2, HTTP/3).

use super::{Call, Http, http3};
use crate::{PATIENCE, wait_for};
use anyhow::Result;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

impl Call {
    /// Sends the request and leaves as soon as `seen` says so. On HTTP/2 and HTTP/3 the connection
    /// stays: the proxy is told by the stream alone.
    ///
    /// # Errors
    /// The connection fails, or `seen` never says so.
    pub async fn abandon<F: Future<Output = Option<()>>>(
        &self,
        http: &Http,
        port: u16,
        seen: impl FnMut() -> F,
    ) -> Result<()> {
        let seen = wait_for("the request to arrive", seen);
        match http {
            Http::One => {
                let stream = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?);
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(stream).await?;
                let request = self.request_http1(port)?;
                let reply = async move { sender.send_request(request).await };
                // What is not polled any more is dropped, and the socket with it.
                tokio::select! {
                    seen = seen => seen,
                    ended = connection => anyhow::bail!("the connection ended: {ended:?}"),
                    reply = reply => anyhow::bail!("too late: {reply:?}"),
                }
            }
            Http::Two => {
                let stream = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?);
                let handshake =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
                let (mut sender, connection) = handshake;
                tokio::spawn(connection);
                let reply = sender.send_request(self.request("http", port)?);
                tokio::select! {
                    seen = seen => seen?,
                    reply = reply => anyhow::bail!("too late: {reply:?}"),
                }
                stay(sender);
                Ok(())
            }
            Http::Three(certificate) => {
                let connection = http3::Connection::open(certificate, port).await?;
                let sent = connection.send(self, port).await?;
                seen.await?;
                stay(sent.reset());
                Ok(())
            }
        }
    }
}

/// Keeps a connection open, so that it is not its end that the proxy learns first.
fn stay(connection: impl Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        drop(connection);
    });
}
