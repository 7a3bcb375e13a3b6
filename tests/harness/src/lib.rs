//! What the tests, the benchmark and the demo run the filter in: a real Envoy, an OTLP receiver that
//! decodes with a library that isn't ours, an upstream that notes what it saw, and clients.
//!
//! It knows nothing of the filter but its file. Everything listens on loopback, on free ports; what
//! is waited for is polled, within bounds.

pub mod bootstrap;
pub mod client;
pub mod counters;
pub mod envoy;
pub mod native;
pub mod process;
pub mod receiver;
pub mod rounds;
pub mod service;
pub mod span;
pub mod stage;
pub mod statistics;
pub mod tls;
pub mod traffic;
pub mod truth;
pub mod upstream;

pub use bootstrap::Bootstrap;
pub use counters::Counters;
pub use envoy::Envoy;
pub use process::resident;
pub use receiver::{Answer, Receiver};
pub use span::Span;
pub use stage::Stage;
pub use tempfile::TempDir;
pub use traffic::Traffic;
pub use upstream::{Seen, Upstream};

use anyhow::Result;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// The longest that anything is waited for: what does not come by then does not come, however slow the machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.ancestors().nth(2).map(PathBuf::from).unwrap_or(folder)
}

/// The module of `OTEL_PROXY_WASM`, or the one that `make build` makes and people deploy.
///
/// # Errors
/// It was not built.
pub fn module() -> Result<PathBuf> {
    let path = std::env::var_os("OTEL_PROXY_WASM").map(PathBuf::from);
    let path = path.unwrap_or_else(|| root().join("dist/otel-proxy-wasm.wasm"));
    anyhow::ensure!(
        path.exists(),
        "{} is missing; run `make build` or set OTEL_PROXY_WASM",
        path.display()
    );
    Ok(path)
}

/// A new folder for a test's files. It goes with the value.
///
/// # Errors
/// It can't be made.
pub fn folder() -> Result<TempDir> {
    Ok(tempfile::tempdir()?)
}

/// A port of loopback that nobody listens on, for TCP and UDP, and that nobody is given by chance
/// before this process ends. Whoever asks for it by number may listen.
///
/// # Errors
/// None is free.
pub fn free_port() -> Result<u16> {
    const PORTS: u64 = 8192;
    let end = first_by_chance().max(20_000);
    for _ in 0..PORTS {
        let below = 1 + RandomState::new().hash_one(end) % PORTS;
        let port = end - u16::try_from(below)?;
        // Bound, not listening: a connection is refused, and nobody else who looks for a free port gets it.
        let holder = TcpSocket::new_v4()?;
        if holder.bind((Ipv4Addr::LOCALHOST, port).into()).is_err() {
            continue;
        }
        // With these options, whoever sets one of them as servers do can bind it as well.
        holder.set_reuseaddr(true)?;
        holder.set_reuseport(true)?;
        if std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            std::mem::forget(holder);
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

/// The first of the ports that the kernel gives to whoever asks for any: for UDP there is no way to hold one of these for others.
fn first_by_chance() -> u16 {
    // Where the kernel does not say, those that are registered as dynamic.
    const DYNAMIC: u16 = 49_152;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    first.unwrap_or(DYNAMIC)
}

/// Polls until there is a value.
///
/// # Errors
/// There is none within [`PATIENCE`]; `what` says what was waited for.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(
    what: &str,
    poll: impl FnMut() -> F,
) -> Result<T> {
    wait_within(PATIENCE, what, poll).await
}

/// Polls until there is a value, for something that takes its time.
///
/// # Errors
/// There is none within `patience`; `what` says what was waited for.
pub async fn wait_within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut poll: impl FnMut() -> F,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = poll().await {
            return Ok(value);
        }
        anyhow::ensure!(start.elapsed() < patience, "waited {patience:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
