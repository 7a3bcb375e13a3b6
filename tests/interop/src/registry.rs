//! A real image registry as a child process, with the image that `make image` makes.

use crate::{Process, peer};
use anyhow::{Result, ensure};
use harness::{client, free_port};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::process::Command;

/// A running registry on loopback, without TLS. It ends with this value.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Registry {
    /// Starts an empty one.
    ///
    /// # Errors
    /// It was not built, or does not answer in time.
    pub async fn start() -> Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let mut command = Command::new(peer("crane", "crane")?);
        command.args(["registry", "serve", "--address", &format!("127.0.0.1:{port}")]);
        let mut process = Process::start("registry", &mut command, folder.path())?;
        let answers = || async { client::get(port, "/v2/").await.ok().map(drop) };
        process.wait_until("the registry to answer", answers).await?;
        Ok(Self { port, _process: process, _folder: folder })
    }

    /// Its address: host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes the built image under a name such as `otel-proxy-wasm:0.1.0`, and gives its full name by
    /// digest, `HOST:PORT/NAME@sha256:…`.
    ///
    /// # Errors
    /// The image was not built, or the push fails.
    pub async fn push(&self, name: &str) -> Result<String> {
        let image = image()?;
        let output = Command::new(peer("crane", "crane")?)
            .arg("push")
            .arg(image)
            .arg(format!("{}/{name}", self.address()))
            .output()
            .await?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "crane push: {error}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// The image that `make image` makes, a folder in the OCI image layout.
///
/// # Errors
/// It was not built.
pub fn image() -> Result<PathBuf> {
    let path = harness::root().join("dist/image");
    ensure!(path.join("index.json").exists(), "dist/image is missing; run `make image`");
    Ok(path)
}
