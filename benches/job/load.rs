//! The load: so many requests a second over HTTP/1.1, whether or not the earlier ones have been answered.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use harness::client::BROWSER;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often it looks how many requests are due.
const TICK: Duration = Duration::from_millis(1);
/// Who falls so far behind that the requests of so many seconds are under way does not keep up with the rate.
const MOST_SECONDS: u64 = 3;
const PATH: &str = "/some/path?q=1";

type Sender = SendRequest<Empty<Bytes>>;
/// Connections without a request under way.
type Idle = Arc<Mutex<Vec<Sender>>>;

/// Who calls a proxy: its connections are kept from one load to the next.
#[derive(Clone)]
pub(crate) struct Client {
    port: u16,
    idle: Idle,
}

/// A rate, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rate: u64,
    pub(crate) duration: Duration,
}

impl Load {
    /// How many requests it is.
    pub(crate) fn requests(self) -> u64 {
        self.due(self.duration)
    }

    /// How many are to be sent in this time.
    fn due(self, elapsed: Duration) -> u64 {
        let micros = u64::try_from(elapsed.min(self.duration).as_micros()).unwrap_or(u64::MAX);
        micros.saturating_mul(self.rate) / 1_000_000
    }
}

impl Client {
    /// Of a port of loopback.
    pub(crate) fn of(port: u16) -> Self {
        Self { port, idle: Idle::default() }
    }

    /// Sends a load, and waits for all answers, whatever they are.
    pub(crate) async fn send(&self, load: Load) -> Result<()> {
        let mut under_way = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (start, mut sent) = (Instant::now(), 0);
        while sent < load.requests() {
            ticks.tick().await;
            let due = load.due(start.elapsed());
            for _ in sent..due {
                under_way.spawn(self.clone().exchange());
            }
            sent = due;
            while let Some(ended) = under_way.try_join_next() {
                ended??;
            }
            let behind = under_way.len() as u64;
            ensure!(behind < MOST_SECONDS * load.rate, "{} a second are too many here", load.rate);
        }
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// A request over a connection that is idle, or a new one.
    async fn exchange(self) -> Result<()> {
        let exchange = async {
            let mut sender = match self.take() {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            sender.ready().await?;
            let mut request = Request::get(PATH).header("host", "localhost");
            for (name, value) in BROWSER {
                request = request.header(name, value);
            }
            let response = sender.send_request(request.body(Empty::new())?).await?;
            response.into_body().collect().await?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
            anyhow::Ok(())
        };
        tokio::time::timeout(harness::PATIENCE, exchange).await.context("no answer in time")?
    }

    fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The latest: the fewer connections are used, the longer each.
        std::iter::from_fn(|| idle.pop()).find(|sender| !sender.is_closed())
    }

    async fn connect(&self) -> Result<Sender> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}
