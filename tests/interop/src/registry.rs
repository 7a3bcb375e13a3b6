//! A real image registry as a child process, with the image that `make image` makes.

use crate::{Process, peer};
use anyhow::{Context, Result, ensure};
use harness::{client, free_port};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::process::Command;

/// The name of the image in a registry.
pub const NAME: &str = concat!("otel-proxy-wasm:", env!("CARGO_PKG_VERSION"));

/// Where the image is once this version is released: what the examples name.
pub const RELEASED: &str =
    concat!("ghcr.io/otel-proxy-wasm/otel-proxy-wasm:", env!("CARGO_PKG_VERSION"));

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

    /// Pushes the built image as [`NAME`], as `make push` does, and gives its full name by digest,
    /// `HOST:PORT/otel-proxy-wasm@sha256:…`.
    ///
    /// # Errors
    /// The image was not built, or the push fails.
    pub async fn push(&self) -> Result<String> {
        push::image(&image()?, &self.image()).await.context("pushing the image")
    }

    /// The address of the pushed image: `HOST:PORT/otel-proxy-wasm:VERSION`.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{}/{NAME}", self.address())
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
