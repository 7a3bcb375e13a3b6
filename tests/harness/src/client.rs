//! Who calls the proxy: over HTTP/1.1, HTTP/2 and HTTP/3, with any headers, politely or not.

mod abandon;
mod connection;
mod http3;
mod https;
mod web_socket;
mod web_socket_http3;

pub use connection::Connection;
pub use web_socket::{web_socket, web_socket_http2};
pub use web_socket_http3::web_socket_http3;

use crate::PATIENCE;
use crate::tls::Certificate;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::fmt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A version of HTTP to call with.
#[derive(Clone, Debug)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2, without TLS.
    Two,
    /// HTTP/3, trusting this certificate.
    Three(Certificate),
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
            Self::Three(_) => "HTTP/3",
        })
    }
}

/// The headers that a browser sends, but for the host.
pub const BROWSER: [(&str, &str); 9] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("authorization", "Bearer 6b1f9c0d5e7a48b2"),
    ("cache-control", "no-cache"),
    ("cookie", "session=4f8a0c2e9d1b; theme=dark"),
    ("referer", "https://example.com/start"),
    ("sec-fetch-mode", "navigate"),
];

/// A request to make.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Call {
    /// A GET of a path.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self { method: "GET".into(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A unary gRPC call with an empty message.
    #[must_use]
    pub fn grpc(method: &str) -> Self {
        let call = Self::get(method).method("POST").body(vec![0; 5]);
        call.header("content-type", "application/grpc").header("te", "trailers")
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// With one more header; names may repeat, values may be any bytes that HTTP allows.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    fn request(&self, scheme: &str, port: u16) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(format!("{scheme}://localhost:{port}{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value.as_slice());
        }
        Ok(request.body(Full::new(self.body.clone().into()))?)
    }

    /// Makes the call to a port of loopback, on a connection of its own.
    ///
    /// # Errors
    /// No whole reply comes back in time.
    pub async fn send(&self, http: &Http, port: u16) -> Result<Reply> {
        let opened = tokio::time::timeout(PATIENCE, Connection::open(http, port)).await;
        opened.context("no connection in time")??.send(self).await
    }

    /// Makes the call over HTTP/1.1 with TLS, as [`Call::send`] does without.
    ///
    /// # Errors
    /// No whole reply comes back in time, or `localhost` does not have this certificate.
    pub async fn send_tls(&self, certificate: &Certificate, port: u16) -> Result<Reply> {
        self.send_tls_as(certificate, None, port).await
    }

    /// The same, with a client certificate.
    ///
    /// # Errors
    /// As [`Call::send_tls`], or the client's certificate is refused.
    pub async fn send_tls_as(
        &self,
        certificate: &Certificate,
        own: Option<&Certificate>,
        port: u16,
    ) -> Result<Reply> {
        let reply = async { self.over(https::connect(certificate, own, port).await?, port).await };
        tokio::time::timeout(PATIENCE, reply).await.context("no reply in time")?
    }

    async fn over<S>(&self, stream: S, port: u16) -> Result<Reply>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        reply(sender.send_request(self.request_http1(port)?).await?).await
    }

    /// HTTP/1.1 has the host in a header and the path alone in the request line.
    fn request_http1(&self, port: u16) -> Result<Request<Full<Bytes>>> {
        let mut request = self.request("http", port)?;
        let host = format!("localhost:{port}").parse()?;
        request.headers_mut().entry(http::header::HOST).or_insert(host);
        *request.uri_mut() = self.path.parse()?;
        Ok(request)
    }
}

async fn reply(response: http::Response<hyper::body::Incoming>) -> Result<Reply> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes().to_vec(),
        trailers,
    })
}

/// A GET over HTTP/1.1.
///
/// # Errors
/// No whole reply comes back in time.
pub async fn get(port: u16, path: &str) -> Result<Reply> {
    Call::get(path).send(&Http::One, port).await
}

/// Whether a GET over HTTP/1.1 is answered with 200, as by a health check: nothing if not, or not yet.
pub async fn is_well(port: u16, path: &str) -> Option<()> {
    let reply = get(port, path).await.ok()?;
    (reply.status == 200).then_some(())
}

/// Sends bytes as they are over a new connection, and reads what comes until it is closed.
///
/// # Errors
/// The connection fails, or is not closed in time.
pub async fn raw(port: u16, bytes: &[u8]) -> Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(bytes).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        anyhow::Ok(reply)
    };
    tokio::time::timeout(PATIENCE, exchange).await.context("not closed in time")?
}

/// Sends a GET over HTTP/1.1 and closes the connection as soon as `seen` says so.
///
/// # Errors
/// As [`Call::abandon`].
pub async fn abandon<F: Future<Output = Option<()>>>(
    port: u16,
    path: &str,
    seen: impl FnMut() -> F,
) -> Result<()> {
    Call::get(path).abandon(&Http::One, port, seen).await
}

/// Makes `count` GETs over a few kept connections and counts the status codes.
///
/// # Errors
/// A connection fails.
pub async fn load(
    port: u16,
    path: &str,
    count: usize,
    connections: usize,
) -> Result<BTreeMap<u16, usize>> {
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..connections {
        let share = count / connections + usize::from(worker < count % connections);
        let path = path.to_owned();
        workers.spawn(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let mut codes: BTreeMap<u16, usize> = BTreeMap::new();
            for _ in 0..share {
                let request = Request::get(path.as_str()).header("host", "localhost");
                let response = sender.send_request(request.body(Full::<Bytes>::default())?).await?;
                *codes.entry(response.status().as_u16()).or_default() += 1;
                response.into_body().collect().await?;
                sender.ready().await?;
            }
            anyhow::Ok(codes)
        });
    }
    let mut total: BTreeMap<u16, usize> = BTreeMap::new();
    while let Some(codes) = workers.join_next().await {
        for (code, count) in codes?? {
            *total.entry(code).or_default() += count;
        }
    }
    Ok(total)
}
