//! A connection that is kept for several calls.

use super::{Call, Http, Reply, http3, reply};
use crate::PATIENCE;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// A connection to the proxy.
pub struct Connection {
    /// The port of this end.
    pub local_port: u16,
    /// The port of the other end.
    port: u16,
    sender: Sender,
}

enum Sender {
    One(conn::http1::SendRequest<Full<Bytes>>),
    Two(conn::http2::SendRequest<Full<Bytes>>),
    Three(http3::Connection),
}

impl Connection {
    /// Connects to a port of loopback.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn open(http: &Http, port: u16) -> Result<Self> {
        if let Http::Three(certificate) = http {
            let connection = http3::Connection::open(certificate, port).await?;
            let local_port = connection.local_port()?;
            return Ok(Self { local_port, port, sender: Sender::Three(connection) });
        }
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let local_port = stream.local_addr()?.port();
        let stream = TokioIo::new(stream);
        let sender = if let Http::One = http {
            let (sender, connection) = conn::http1::handshake(stream).await?;
            tokio::spawn(connection);
            Sender::One(sender)
        } else {
            let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Sender::Two(sender)
        };
        Ok(Self { local_port, port, sender })
    }

    /// Makes a call.
    ///
    /// # Errors
    /// No whole reply comes back in time.
    pub async fn send(&mut self, call: &Call) -> Result<Reply> {
        let exchange = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await?;
                    reply(sender.send_request(call.request_http1(self.port)?).await?).await
                }
                Sender::Two(sender) => {
                    sender.ready().await?;
                    reply(sender.send_request(call.request("http", self.port)?).await?).await
                }
                Sender::Three(connection) => connection.exchange(call, self.port).await,
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("no reply in time")?
    }
}
