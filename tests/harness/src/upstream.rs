//! The service behind the proxy: HTTP/1.1 and HTTP/2, gRPC and WebSocket, by path. It notes what it
//! saw.

use anyhow::Result;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The length of the body, in bytes.
    pub length: usize,
}

/// An upstream on a port of its own. It ends with the runtime.
#[derive(Clone, Debug)]
pub struct Upstream {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    failures: Arc<AtomicUsize>,
    /// How many requests have come that wait for each other.
    together: watch::Sender<u64>,
}

type Body = BoxBody<Bytes, Infallible>;

impl Upstream {
    /// Starts an upstream on a free port.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let upstream = Self {
            port,
            seen: Arc::default(),
            failures: Arc::default(),
            together: watch::Sender::default(),
        };
        let shared = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let upstream = upstream.clone();
                        async move { upstream.handle(request).await }
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http2().enable_connect_protocol();
                    let io = TokioIo::new(stream);
                    // A client that goes away is no concern of ours.
                    let _ = server.serve_connection_with_upgrades(io, service).await;
                });
            }
        });
        Ok(upstream)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request.
    ///
    /// # Panics
    /// There was none.
    #[must_use]
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream saw a request")
    }

    /// Forgets all requests.
    pub fn clear(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn handle(&self, mut request: Request<Incoming>) -> Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let mut segments = path.trim_start_matches('/').split('/');
        let (first, second) = (segments.next().unwrap_or_default(), segments.next());
        if first == "reset" {
            self.note(&request, 0);
            anyhow::bail!("told to close the connection");
        }
        if first == "flaky" {
            let wanted = second.and_then(|count| count.parse().ok()).unwrap_or(1);
            if self.failures.fetch_add(1, Ordering::SeqCst) < wanted {
                self.note(&request, 0);
                return Ok(status(503));
            }
            self.failures.store(0, Ordering::SeqCst);
        }
        let tunnel = request.extensions().get::<Protocol>().is_some();
        if tunnel || request.headers().contains_key(header::UPGRADE) {
            self.note(&request, 0);
            return Ok(web_socket(&mut request));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = Request::from_parts(head, ());
        self.note(&request, body.len());
        let is_grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        if is_grpc {
            return Ok(match second.unwrap_or_default() {
                "Hang" => std::future::pending().await,
                method => grpc(method),
            });
        }
        if request.method() == http::Method::HEAD {
            return Ok(status(200));
        }
        let number = second.and_then(|second| second.parse::<u64>().ok()).unwrap_or_default();
        Ok(match first {
            "status" => status(u16::try_from(number)?),
            "delay" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                text("late")
            }
            "together" => {
                let mut come = self.together.subscribe();
                self.together.send_modify(|come| *come += 1);
                come.wait_for(|come| *come >= number).await?;
                text("all are there")
            }
            "large" => text("x".repeat(usize::try_from(number)?)),
            "echo" => text(body),
            "events" => events(),
            "redirect" => redirect(&request)?,
            _ => text("hello"),
        })
    }

    fn note<B>(&self, request: &Request<B>, length: usize) {
        let seen = Seen::of(request, length);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
}

impl Seen {
    /// A request whose body is so long.
    pub(crate) fn of<B>(request: &Request<B>, length: usize) -> Self {
        Self {
            method: request.method().to_string(),
            path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: request.headers().clone(),
            length,
        }
    }

    /// The value of a header; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(",")
    }
}

fn text(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// An event, and then nothing more for as long as the client stays.
fn events() -> Response<Body> {
    let mut response = Response::new(stalled(b"data: hello\n\n"));
    let events = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, events);
    response
}

/// A body that never ends.
fn stalled(first: &'static [u8]) -> Body {
    let frames = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(first)))]);
    BodyExt::boxed(StreamBody::new(frames.chain(futures_util::stream::pending())))
}

fn status(code: u16) -> Response<Body> {
    let mut response = text("");
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::IM_A_TEAPOT);
    response
}

/// To `/target`, under the scheme and the authority that the client used: a proxy follows absolute
/// locations only.
fn redirect<B>(request: &Request<B>) -> Result<Response<Body>> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let scheme = header("x-forwarded-proto").unwrap_or("http");
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let authority = authority.or_else(|| header("host")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("{scheme}://{authority}/target"))?;
    let mut response = status(302);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// The names of gRPC's statuses, as methods; the index is the code.
const STATUSES: [&str; 17] = [
    "Ok",
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A method named after a status answers with it in the trailers; `TrailersOnly` answers `NOT_FOUND`
/// without a body; `Stall` sends a message and then nothing more; `Hang` does not answer at all; anything else is a success.
fn grpc(method: &str) -> Response<Body> {
    let code = STATUSES.iter().position(|status| *status == method).unwrap_or_default();
    let mut response = if method == "TrailersOnly" {
        let mut response = Response::new(Full::default().boxed());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("5"));
        response
    } else if method == "Stall" {
        Response::new(stalled(&[0, 0, 0, 0, 0]))
    } else {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(code));
        let message = Bytes::from_static(&[0, 0, 0, 0, 0]);
        let frames = [Frame::data(message), Frame::trailers(trailers)].map(Ok);
        Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))))
    };
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// Accepts a WebSocket, an upgrade of HTTP/1.1 or a CONNECT of HTTP/2, and sends back what comes,
/// until the client closes it.
fn web_socket(request: &mut Request<Incoming>) -> Response<Body> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = derive_accept_key(key.map(HeaderValue::as_bytes).unwrap_or_default());
    let upgrade = hyper::upgrade::on(&mut *request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    });
    if request.version() == Version::HTTP_2 {
        return status(200);
    }
    let mut response = status(101);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
