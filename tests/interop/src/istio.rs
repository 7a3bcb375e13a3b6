//! A real Istio without a cluster: etcd, kube-apiserver and istiod as child processes, and pilot-agents that run stock
//! Envoys.
//!
//! There are no pods: what would be one is a proxy here, and what stands behind it a port of loopback. It knows
//! nothing of the filter; the tests apply what they test.

mod control_plane;
mod proxy;

pub use control_plane::ControlPlane;
pub use proxy::{Proxy, Role};

use anyhow::{Context, Result, ensure};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The name of the cluster.
pub const CLUSTER: &str = "eu-1";
/// The name of the machine that the proxies run on.
pub const NODE: &str = "node-1";

/// Runs a command to its end, with this as its input, and gives what it prints, its errors last.
///
/// # Errors
/// It fails; what it printed stands in the error.
async fn run(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("{:?}", command.as_std()))?;
    let mut stdin = child.stdin.take().context("an input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let [text, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    ensure!(output.status.success(), "{:?}: {text}{error}", command.as_std());
    Ok(format!("{text}{error}"))
}
