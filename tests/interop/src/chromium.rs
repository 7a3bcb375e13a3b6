//! A headless Chromium with one page: what the page shows once its scripts have run, as texts and as a picture.
//!
//! It is driven by its own protocol, over a pipe. It remembers nothing.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::ops::Range;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A window, in pixels of the page.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How wide it is.
    pub width: u32,
    /// How high it is.
    pub height: u32,
    /// Pixels of a picture for each of them.
    pub scale: f64,
}

/// A running Chromium. It ends with this value.
#[derive(Debug)]
pub struct Chromium {
    window: Window,
    _child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// The page's, once it is there.
    session: Option<String>,
    last_id: u64,
    _profile: TempDir,
}

impl Chromium {
    /// Starts it with an empty page.
    ///
    /// # Errors
    /// It is not installed, or does not answer in time.
    pub async fn start(window: Window) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let mut command = Command::new("sh");
        // It reads commands from descriptor 3 and answers on 4. Its sandbox is not to be had for root.
        command.args(["-c", r#"exec chromium "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "chromium"]);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu"]);
        command.args(["--disable-background-networking", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        let commands = child.stdin.take().context("a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut this = Self {
            window,
            _child: child,
            commands,
            answers,
            session: None,
            last_id: 0,
            _profile: profile,
        };

        let target = this.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let target = target.context("run `make peer-chromium`")?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = this.call("Target.attachToTarget", attach).await?;
        this.session = attached["sessionId"].as_str().map(str::to_owned);
        let Window { width, height, scale } = window;
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false,
        });
        this.call("Emulation.setDeviceMetricsOverride", metrics).await?;
        Ok(this)
    }

    /// Goes to a page; what it shows comes later.
    ///
    /// # Errors
    /// There is no such page.
    pub async fn open(&mut self, url: &str) -> Result<()> {
        let page = self.call("Page.navigate", json!({"url": url})).await?;
        ensure!(page["errorText"].is_null(), "{url}: {page}");
        Ok(())
    }

    /// The texts that the page shows by now, from its top down.
    ///
    /// # Errors
    /// Chromium has ended.
    pub async fn texts(&mut self) -> Result<Vec<String>> {
        const SCRIPT: &str = "(() => {
            const texts = [], walker = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const { textContent, parentElement } = walker.currentNode;
                if (!['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(parentElement.tagName)) texts.push(textContent.trim());
            }
            return texts.filter((text) => text);
        })()";
        Ok(serde_json::from_value(self.evaluate(SCRIPT).await?)?)
    }

    /// The texts that the page shows once this one is among them.
    ///
    /// # Errors
    /// It does not come in time; those that are there stand in the error.
    pub async fn wait_for(&mut self, text: &str) -> Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let texts = self.texts().await?;
            if texts.iter().any(|it| it == text) {
                return Ok(texts);
            }
            ensure!(start.elapsed() < harness::PATIENCE, "waited for {text} among {texts:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Clicks the last element that has this text and nothing else, or this title.
    ///
    /// # Errors
    /// There is none.
    pub async fn click(&mut self, text: &str) -> Result<()> {
        self.call_last(text, "click").await
    }

    /// Scrolls until the last element that has this text and nothing else, or this title, is at the top.
    ///
    /// # Errors
    /// There is none.
    pub async fn scroll_to(&mut self, text: &str) -> Result<()> {
        self.call_last(text, "scrollIntoView").await
    }

    /// A picture of the window between two heights, a PNG.
    ///
    /// # Errors
    /// Chromium has ended.
    pub async fn picture(&mut self, heights: Range<u32>) -> Result<Vec<u8>> {
        let clip = json!({
            "x": 0, "y": heights.start, "width": self.window.width, "height": heights.len(), "scale": 1,
        });
        let picture = json!({"format": "png", "clip": clip});
        let picture = self.call("Page.captureScreenshot", picture).await?;
        Ok(BASE64_STANDARD.decode(picture["data"].as_str().context("a picture")?)?)
    }

    async fn call_last(&mut self, text: &str, method: &str) -> Result<()> {
        let text = json!(text);
        let script = format!(
            "[...document.querySelectorAll('body *')].findLast((it) => it.title === {text}
                || it.childElementCount === 0 && it.textContent === {text}).{method}()"
        );
        self.evaluate(&script).await.map(drop).with_context(|| text.to_string())
    }

    async fn evaluate(&mut self, script: &str) -> Result<Value> {
        let parameters = json!({"expression": script, "returnByValue": true});
        let mut reply = self.call("Runtime.evaluate", parameters).await?;
        ensure!(reply["exceptionDetails"].is_null(), "{reply:#}");
        Ok(reply["result"]["value"].take())
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        let exchange = self.exchange(method, parameters);
        let reply = tokio::time::timeout(harness::PATIENCE, exchange).await;
        reply
            .with_context(|| format!("Chromium does not answer {method}"))?
            .with_context(|| method.to_owned())
    }

    /// Each message ends with a zero byte; events between the answers are left alone.
    async fn exchange(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).await?;
        loop {
            let mut message = Vec::new();
            self.answers.read_until(0, &mut message).await?;
            ensure!(message.pop() == Some(0), "Chromium has ended");
            let mut message: Value = serde_json::from_slice(&message)?;
            if message["id"] == self.last_id {
                ensure!(message["error"].is_null(), "{message}");
                return Ok(message["result"].take());
            }
        }
    }
}
