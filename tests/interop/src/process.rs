//! A part as a child process: started with its output in a file, waited for, ended.

use anyhow::{Context, Result, ensure};
use harness::wait_for;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::{Child, Command};

/// A running process. It ends with this value.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; what it prints goes to `NAME.log` in the folder.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until there is a value; what the process printed stands in the error.
    ///
    /// # Errors
    /// There is none in time, or the process ends before.
    pub async fn wait_until<T, F: Future<Output = Option<T>>>(
        &mut self,
        what: &str,
        mut poll: impl FnMut() -> F,
    ) -> Result<T> {
        let child = &mut self.child;
        let waited = wait_for(what, || {
            let ended = child.try_wait().ok().flatten();
            let polled = poll();
            async move {
                match ended {
                    Some(status) => Some(Err(status)),
                    None => polled.await.map(Ok),
                }
            }
        });
        match waited.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => anyhow::bail!("{} ended with {status}:\n{}", self.name, self.log()),
            Err(error) => Err(error.context(self.log())),
        }
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The number by which the system knows it.
    ///
    /// # Errors
    /// It has ended.
    pub fn id(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has already ended", self.name))
    }

    /// Ends it as an orchestrator does, by SIGTERM.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn quit(mut self) -> Result<ExitStatus> {
        let id = self.id()?;
        // The standard library sends no signal but SIGKILL.
        let kill = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        ensure!(kill.success(), "kill -TERM {id}: {kill}");
        let status = tokio::time::timeout(harness::PATIENCE, self.child.wait()).await;
        Ok(status.with_context(|| format!("{} did not end", self.name))??)
    }
}
