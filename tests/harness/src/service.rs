//! A service of a test's own: what it answers is the test's business.

use crate::upstream::Seen;
use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// Starts a service on a free port, which it gives: `answer` says what is answered, over HTTP/1.1 and HTTP/2. It ends with the runtime.
///
/// # Errors
/// No port is free.
pub async fn serve<F, A>(answer: F) -> Result<u16>
where
    F: Fn(Seen) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Answer>> + Send + 'static,
{
    let answer = Arc::new(answer);
    listen(move |stream| {
        let answer = Arc::clone(&answer);
        async move {
            let service = service_fn(|request| {
                let answer = Arc::clone(&answer);
                async move { respond(answer.as_ref(), request).await }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is no concern of ours.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// Listens on a free port, which it gives, and has each connection served at the same time as the others.
///
/// # Errors
/// No port is free.
pub(crate) async fn listen<S>(serve: impl Fn(TcpStream) -> S + Send + 'static) -> Result<u16>
where
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(port)
}

async fn respond<F, A>(answer: &F, request: Request<Incoming>) -> Result<Response<Full<Bytes>>>
where
    F: Fn(Seen) -> A,
    A: Future<Output = Result<Answer>>,
{
    let (head, body) = request.into_parts();
    let length = body.collect().await?.to_bytes().len();
    let Answer { status, headers } =
        answer(Seen::of(&Request::from_parts(head, ()), length)).await?;
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(Bytes::from_static(b"hello")))?)
}

/// Starts a service on a free port, which it gives: it answers the first request of each connection with any bytes, which `answer` makes of the
/// request's head, and closes the connection. It ends with the runtime.
///
/// # Errors
/// No port is free.
pub async fn serve_bytes<F>(answer: F) -> Result<u16>
where
    F: Fn(&str) -> Vec<u8> + Send + Sync + 'static,
{
    let answer = Arc::new(answer);
    listen(move |stream| {
        let answer = Arc::clone(&answer);
        async move {
            // A client that goes away is no concern of ours.
            let _ = respond_bytes(answer.as_ref(), stream).await;
        }
    })
    .await
}

async fn respond_bytes(answer: &impl Fn(&str) -> Vec<u8>, mut stream: TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let answer = answer(&String::from_utf8_lossy(&head));
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    Ok(())
}
