//! Steady traffic while something else happens: a few clients that send one request after the other until told to stop.
//!
//! A client keeps its connection as long as the proxy does. A request that fails is an error, not a number.

use crate::PATIENCE;
use anyhow::{Context, Result};
use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Requests that one client sends at the most.
const MOST: u64 = 100_000;
/// Between an answer and the next request of a client.
const PAUSE: Duration = Duration::from_millis(2);

/// Clients that are sending.
#[derive(Debug)]
pub struct Traffic {
    ended: Arc<AtomicBool>,
    clients: JoinSet<Result<BTreeMap<u16, u64>>>,
}

impl Traffic {
    /// Starts so many clients that get a path from a port of loopback, over HTTP/1.1.
    #[must_use]
    pub fn start(port: u16, path: &str, clients: usize) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let client = |_| send_until(Arc::clone(&ended), port, path.to_owned());
        let clients = (0..clients).map(client).collect();
        Self { ended, clients }
    }

    /// Ends it after the requests that are under way, and gives how often each status code was answered.
    ///
    /// # Errors
    /// A request got no whole answer in time, or its connection broke.
    pub async fn stop(mut self) -> Result<BTreeMap<u16, u64>> {
        self.ended.store(true, Ordering::Relaxed);
        let mut total: BTreeMap<u16, u64> = BTreeMap::new();
        while let Some(codes) = self.clients.join_next().await {
            for (code, count) in codes?? {
                *total.entry(code).or_default() += count;
            }
        }
        Ok(total)
    }
}

async fn send_until(ended: Arc<AtomicBool>, port: u16, path: String) -> Result<BTreeMap<u16, u64>> {
    let mut codes: BTreeMap<u16, u64> = BTreeMap::new();
    let mut connection = None;
    for number in 0..MOST {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let mut sender = match connection.take() {
            Some(sender) => sender,
            None => connect(port).await?,
        };
        let exchange = timeout(PATIENCE, exchange(&mut sender, &path)).await;
        let (code, keeps) = exchange
            .context("no answer in time")
            .and_then(|it| it)
            .with_context(|| format!("request {number} of a client"))?;
        *codes.entry(code).or_default() += 1;
        connection = (keeps == Keeps::Open && !sender.is_closed()).then_some(sender);
        sleep(PAUSE).await;
    }
    Ok(codes)
}

/// What the proxy says of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Open,
    Closes,
}

async fn connect(port: u16) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, path: &str) -> Result<(u16, Keeps)> {
    sender.ready().await?;
    let request = Request::get(path).header(HOST, "localhost").body(Full::default())?;
    let response = sender.send_request(request).await?;
    let code = response.status().as_u16();
    let closes = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
    response.into_body().collect().await?;
    Ok((code, if closes { Keeps::Closes } else { Keeps::Open }))
}
