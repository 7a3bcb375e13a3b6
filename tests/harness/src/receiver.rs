//! A collector for tests: takes OTLP over HTTP, in protobuf or JSON, or over gRPC, decodes it with the official messages, keeps
//! all of it, and misbehaves when told to.

mod grpc;

use crate::tls::Certificate;
use crate::{Span, wait_for};
use anyhow::Result;
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::{StreamExt, stream};
pub use http::Version;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How the receiver answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Takes all.
    Ok,
    /// This status, taking nothing.
    Status(u16),
    /// Takes all but so many.
    PartialSuccess(i64),
    /// Takes all, but answers only after this time.
    Slow(Duration),
    /// Takes all, but says this, whatever it is.
    Body(Bytes),
    /// This status and this text, taking nothing.
    Text(u16, &'static str),
    /// This status and this Retry-After, taking nothing.
    RetryAfter(u16, &'static str),
    /// Takes all, but answers only when it is told to answer otherwise.
    Held,
    /// Takes nothing and never answers.
    Hang,
    /// Closes the connection instead of answering.
    Reset,
    /// Takes all, but closes the connection in the midst of its answer.
    CutOff,
    /// Takes all, but hands its answer out byte by byte, with this pause before each.
    Trickle(Duration),
    /// This status of gRPC, taking nothing. Over gRPC only, as the next.
    Grpc(i32),
    /// This status of gRPC and this `RetryInfo`, taking nothing.
    GrpcRetry(i32, Duration),
}

impl Answer {
    /// Whether the spans are taken, whatever their sender hears of it.
    fn takes(&self) -> bool {
        matches!(
            self,
            Self::Ok
                | Self::Body(_)
                | Self::PartialSuccess(_)
                | Self::Slow(_)
                | Self::Held
                | Self::CutOff
                | Self::Trickle(_)
        )
    }
}

const JSON: &str = "application/json";
/// The path of the method of OTLP over gRPC.
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub struct Export {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The version of HTTP.
    pub version: Version,
    /// The name of the server that the client asked for in TLS; none without TLS.
    pub server_name: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// How many spans it held.
    pub spans: usize,
}

/// What speaks HTTP.
type Server = auto::Builder<TokioExecutor>;

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    exports: Vec<Export>,
    spans: Vec<Span>,
    taken: usize,
    undecodable: usize,
}

/// A receiver on a port of its own. It ends with the runtime.
#[derive(Clone, Debug)]
pub struct Receiver {
    port: u16,
    state: Arc<Mutex<State>>,
    /// Changes when it is told how to answer.
    told: watch::Sender<()>,
}

impl Receiver {
    /// Starts a receiver on a free port.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Self> {
        Self::on(0).await
    }

    /// Starts a receiver on a port, zero for a free one.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn on(port: u16) -> Result<Self> {
        Self::listen(port, None, Server::new(TokioExecutor::new())).await
    }

    /// Starts a receiver on a free port that speaks HTTP/1.1 and nothing else, as a Collector does without TLS.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start_http1() -> Result<Self> {
        Self::listen(0, None, Server::new(TokioExecutor::new()).http1_only()).await
    }

    /// Starts a receiver on a free port, over TLS with this certificate. It offers these protocols, such
    /// as `h2`, by ALPN.
    ///
    /// # Errors
    /// No port is free, or TLS can't be had.
    pub async fn start_tls(certificate: &Certificate, protocols: &[&str]) -> Result<Self> {
        let tls = certificate.server(protocols)?;
        let server = Server::new(TokioExecutor::new());
        Self::listen(0, Some(TlsAcceptor::from(Arc::new(tls))), server).await
    }

    fn at(port: u16) -> Self {
        Self { port, state: Arc::default(), told: watch::Sender::default() }
    }

    async fn listen(port: u16, tls: Option<TlsAcceptor>, server: Server) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let receiver = Self::at(listener.local_addr()?.port());
        let shared = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (receiver, tls, server) = (shared.clone(), tls.clone(), server.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return receiver.serve(server, stream, None).await };
                    // A client that does not trust us is no concern of ours.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    receiver.serve(server, stream, Some(name.unwrap_or_default())).await;
                });
            }
        });
        Ok(receiver)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, answers so.
    pub fn answer(&self, answer: Answer) {
        self.with(|state| state.answer = Some(answer));
        self.told.send_replace(());
    }

    /// Waits until it is told to answer otherwise.
    async fn released(&self) {
        let mut told = self.told.subscribe();
        while self.with(|state| state.answer == Some(Answer::Held)) {
            if told.changed().await.is_err() {
                return;
            }
        }
    }

    /// All requests so far.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.with(|state| state.exports.clone())
    }

    /// How many requests could not be decoded.
    #[must_use]
    pub fn undecodable(&self) -> usize {
        self.with(|state| state.undecodable)
    }

    /// All spans that were taken so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.with(|state| state.spans.clone())
    }

    /// How many spans were taken so far, those that are forgotten included.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.with(|state| state.taken)
    }

    /// Gives all spans that were taken since this was last asked, and forgets them and all requests.
    #[must_use]
    pub fn take_spans(&self) -> Vec<Span> {
        self.with(|state| {
            state.exports.clear();
            std::mem::take(&mut state.spans)
        })
    }

    /// Forgets all spans and requests.
    pub fn clear(&self) {
        let _ = self.take_spans();
    }

    /// Waits for this many spans, and gives all that are there.
    ///
    /// # Errors
    /// They don't come in time.
    pub async fn wait_for_spans(&self, count: usize) -> Result<Vec<Span>> {
        let what = format!("{count} spans");
        let waited =
            wait_for(&what, || async { Some(self.spans()).filter(|spans| spans.len() >= count) });
        waited.await.map_err(|error| error.context(format!("{:#?}", self.names())))
    }

    fn names(&self) -> Vec<String> {
        self.spans().iter().map(|span| span.span.name.clone()).collect()
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a request, and says how it is answered.
    fn record(&self, export: Export, spans: Vec<Span>) -> Answer {
        self.with(|state| {
            let answer = state.answer.clone().unwrap_or(Answer::Ok);
            state.exports.push(export);
            if answer.takes() {
                state.taken += spans.len();
                state.spans.extend(spans);
            }
            answer
        })
    }

    async fn serve<S>(self, server: Server, stream: S, server_name: Option<String>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request| {
            let (receiver, server_name) = (self.clone(), server_name.clone());
            async move { receiver.handle(request, server_name).await }
        });
        // A client that goes away is no concern of ours.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        server_name: Option<String>,
    ) -> Result<Response<BoxBody<Bytes, std::io::Error>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let decoded = decode(&head.headers, &body);
        let spans = decoded.as_ref().map(Span::all_of).unwrap_or_default();
        let is_undecodable = usize::from(decoded.is_err());
        self.with(|state| state.undecodable += is_undecodable);
        let content_type = head.headers.get(CONTENT_TYPE).cloned();
        let content_type =
            content_type.unwrap_or(HeaderValue::from_static("application/x-protobuf"));
        let export = Export {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            version: head.version,
            server_name,
            headers: head.headers,
            body,
            spans: spans.len(),
        };
        let answer = self.record(export, spans);
        let mut message = ExportTraceServiceResponse::default();
        let mut retry_after = None;
        let status = match answer {
            Answer::Ok | Answer::Body(_) | Answer::CutOff | Answer::Trickle(_) => 200,
            Answer::Status(status) | Answer::Text(status, _) => status,
            Answer::RetryAfter(status, after) => {
                retry_after = Some(HeaderValue::from_static(after));
                status
            }
            Answer::Hang => std::future::pending().await,
            Answer::Held => {
                self.released().await;
                200
            }
            Answer::Reset => anyhow::bail!("told to close the connection"),
            Answer::Slow(time) => {
                tokio::time::sleep(time).await;
                200
            }
            Answer::PartialSuccess(rejected_spans) => {
                let error_message = "told to reject some".to_owned();
                message.partial_success =
                    Some(ExportTracePartialSuccess { rejected_spans, error_message });
                200
            }
            Answer::Grpc(_) | Answer::GrpcRetry(..) => anyhow::bail!("{answer:?} over HTTP"),
        };
        let mut response = Response::new(match answer {
            Answer::CutOff => {
                let parts =
                    [Ok(Frame::data(Bytes::from_static(b"\x0a"))), Err(ErrorKind::Other.into())];
                BodyExt::boxed(StreamBody::new(stream::iter(parts)))
            }
            Answer::Trickle(pause) => {
                let bytes =
                    stream::iter([0x0a_u8, 0x02, 0x12, 0x00]).then(move |byte| async move {
                        tokio::time::sleep(pause).await;
                        Ok(Frame::data(Bytes::from(vec![byte])))
                    });
                BodyExt::boxed(StreamBody::new(bytes))
            }
            Answer::Text(_, text) => Full::from(text).map_err(|never| match never {}).boxed(),
            Answer::Body(body) => Full::new(body).map_err(|never| match never {}).boxed(),
            _ => {
                let bytes = if content_type == JSON {
                    serde_json::to_vec(&message)?
                } else {
                    message.encode_to_vec()
                };
                Full::new(bytes.into()).map_err(|never| match never {}).boxed()
            }
        });
        *response.status_mut() = StatusCode::from_u16(status)?;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.extend(retry_after.map(|after| (RETRY_AFTER, after)));
        Ok(response)
    }
}

/// The message in a body, as its headers say.
fn decode(headers: &HeaderMap, body: &Bytes) -> Result<ExportTraceServiceRequest> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|it| it == value);
    let mut unpacked = Vec::new();
    let message = if is("content-encoding", "gzip") {
        GzDecoder::new(&body[..]).read_to_end(&mut unpacked)?;
        unpacked.as_slice()
    } else {
        body
    };
    if is("content-type", JSON) {
        return Ok(serde_json::from_slice(message)?);
    }
    Ok(ExportTraceServiceRequest::decode(message)?)
}
