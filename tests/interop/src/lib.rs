//! What the tests beside real parts share: where those parts are, and how their processes are run.
//!
//! A part is built by `make peer-NAME` into `.tools/peers/NAME`, as its folder in `tests/peers`
//! says. It knows nothing of any one part; that is each test's own.

pub mod chromium;
pub mod collector;
pub mod docker;
pub mod envoy_gateway;
pub mod istio;
pub mod jaeger;
pub mod process;
pub mod registry;

pub use collector::Collector;
pub use docker::Docker;
pub use jaeger::Jaeger;
pub use process::Process;
pub use registry::Registry;

use anyhow::{Result, ensure};
use std::path::PathBuf;

/// A file of a part, such as `peer("collector", "collector")`.
///
/// # Errors
/// It was not built.
pub fn peer(name: &str, file: &str) -> Result<PathBuf> {
    let path = harness::root().join(".tools/peers").join(name).join(file);
    ensure!(path.exists(), "{} is missing; run `make peer-{name}`", path.display());
    Ok(path)
}
