//! The service behind both proxies: it answers at once, but for a share of the requests that it fails and a share that it holds.

use anyhow::Result;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long it holds a slow request.
pub(crate) const HOLD: Duration = Duration::from_millis(300);

/// What becomes of the requests, as shares.
#[derive(Clone, Copy)]
pub(crate) struct Trouble {
    pub(crate) failing: f64,
    pub(crate) slow: f64,
}

/// Starts it on a free port, which it gives. It ends with the runtime.
pub(crate) async fn start(trouble: Trouble) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let requests = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let requests = Arc::clone(&requests);
            let service = service_fn(move |_| {
                let number = requests.fetch_add(1, Ordering::Relaxed);
                answer(trouble, draw(number))
            });
            // A proxy that goes away is no concern of ours.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(port)
}

async fn answer(trouble: Trouble, draw: f64) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from("ok"));
    if draw < trouble.failing {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    } else if draw < trouble.failing + trouble.slow {
        tokio::time::sleep(HOLD).await;
    }
    Ok(response)
}

/// A number from 0 up to 1 that looks as if it were drawn, by `SplitMix64`: another one for each request.
#[expect(clippy::cast_precision_loss, reason = "53 bits are left")]
fn draw(number: u64) -> f64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
