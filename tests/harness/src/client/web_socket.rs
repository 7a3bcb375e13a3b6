//! A WebSocket through the proxy: an upgrade of HTTP/1.1, or an extended CONNECT of HTTP/2.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Opens a WebSocket over HTTP/1.1, exchanges a message and closes it.
///
/// # Errors
/// The echo does not come back.
pub async fn web_socket(port: u16, path: &str) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let url = format!("ws://localhost:{port}{path}");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    exchange(socket).await
}

/// Opens a WebSocket over HTTP/2 (RFC 8441), exchanges a message and closes it.
///
/// # Errors
/// The proxy does not accept it, or the echo does not come back.
pub async fn web_socket_http2(port: u16, path: &str) -> Result<()> {
    let stream = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://localhost:{port}{path}"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == 200, "the proxy answered {}", response.status());
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await?);
    exchange(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await).await
}

pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: WebSocketStream<S>,
) -> Result<()> {
    socket.send(Message::text("hello")).await?;
    let echo = socket.next().await.context("no echo")??;
    ensure!(echo == Message::text("hello"), "the echo was {echo}");
    socket.close(None).await?;
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    Ok(())
}
