//! A headless Chromium: what a page shows once its scripts have run, as text and as a picture.
//!
//! It opens one page at a time, clicks nothing, and remembers nothing.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// The size of the window, and of a picture, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How wide it is.
    pub width: u32,
    /// How high it is.
    pub height: u32,
}

/// The texts that a page shows, from its top down.
///
/// # Errors
/// Chromium is not installed, or fails.
pub async fn texts(url: &str, window: Size) -> Result<Vec<String>> {
    let page = open(url, window, "--dump-dom").await?;
    let shown = |part: &&str| !part.starts_with("style") && !part.starts_with("script");
    let texts = page.split('<').filter(shown);
    let texts = texts.filter_map(|part| Some(part.split_once('>')?.1.trim()));
    Ok(texts.filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

/// Takes a picture of a page, a PNG.
///
/// # Errors
/// Chromium is not installed, or fails, or the picture has another size than the window.
pub async fn picture(url: &str, window: Size, file: &Path) -> Result<()> {
    open(url, window, &format!("--screenshot={}", file.display())).await?;
    let png = std::fs::read(file).with_context(|| file.display().to_string())?;
    let size = [window.width.to_be_bytes(), window.height.to_be_bytes()].concat();
    // A PNG starts with its signature and its header, in which the size is first.
    ensure!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "{} is no PNG", file.display());
    ensure!(png.get(16..24) == Some(&size), "{} has another size", file.display());
    Ok(())
}

async fn open(url: &str, window: Size, what: &str) -> Result<String> {
    let profile = tempfile::tempdir()?;
    let mut command = Command::new("chromium");
    // Its sandbox is not to be had for root. The page's time goes on as long as something is being fetched, then it jumps.
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},{}", window.width, window.height))
        .args(["--virtual-time-budget=15000", what, url]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(harness::PATIENCE, output).await;
    let output = output.context("Chromium did not end")?.context("run `make peer-chromium`")?;
    let [page, error] = [output.stdout, output.stderr].map(String::from_utf8);
    ensure!(output.status.success(), "Chromium: {}\n{}", output.status, error?);
    Ok(page?)
}
