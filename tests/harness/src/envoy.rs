//! A real Envoy as a child process: started, waited for, asked for its counters, ended.

use crate::{Bootstrap, PATIENCE, client, counters, wait_for};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A running Envoy. It ends with this value.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    bootstrap: Bootstrap,
    folder: TempDir,
}

/// What Envoy said of a configuration.
#[derive(Debug)]
pub struct Validation {
    /// How `envoy --mode validate` ended.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
}

/// The Envoy of `ENVOY`, or the one that `make envoy` provides.
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("ENVOY").map(PathBuf::from);
    let path = path.unwrap_or_else(|| crate::root().join(".tools/envoy/1.40.0/envoy"));
    ensure!(path.exists(), "{} is missing; run `make envoy` or set ENVOY", path.display());
    Ok(path)
}

impl Envoy {
    /// Starts Envoy with one worker and waits until it is ready.
    ///
    /// # Errors
    /// It is not ready in time, or ends; the log says why.
    pub async fn start(bootstrap: Bootstrap) -> Result<Self> {
        Self::with_workers(bootstrap, 1).await
    }

    /// Starts Envoy with several workers.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn with_workers(bootstrap: Bootstrap, workers: usize) -> Result<Self> {
        Self::spawn(bootstrap, workers, |command| command).await
    }

    /// Starts Envoy with one worker, out of reach of the Ctrl-C that ends whoever starts it: so that can still ask it for its
    /// counters, and has to end it.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn in_own_group(bootstrap: Bootstrap) -> Result<Self> {
        Self::spawn(bootstrap, 1, |command| command.process_group(0)).await
    }

    /// Starts Envoy with one worker and these variables in its environment.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn with_environment(
        bootstrap: Bootstrap,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        Self::spawn(bootstrap, 1, |command| command.envs(variables.iter().copied())).await
    }

    /// Starts Envoy with so many workers and these arguments beside the usual ones.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn with_arguments(
        bootstrap: Bootstrap,
        workers: usize,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::spawn(bootstrap, workers, |command| command.args(arguments)).await
    }

    async fn spawn(
        bootstrap: Bootstrap,
        workers: usize,
        change: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        bootstrap.write(&folder.path().join("envoy.json"))?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(binary()?);
        command
            .args(["--disable-hot-restart", "--log-level", "info", "--concurrency"])
            .arg(workers.to_string())
            .arg("-c")
            .arg(folder.path().join("envoy.json"));
        let child = change(&mut command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let mut envoy = Self { child, bootstrap, folder };
        let admin = envoy.bootstrap.admin_port();
        let ready = wait_for("Envoy to be ready", || {
            let ended = envoy.child.try_wait().ok().flatten();
            async move {
                let ready = client::is_well(admin, "/ready").await;
                (ready.is_some() || ended.is_some()).then_some(ended)
            }
        });
        match ready.await {
            Ok(None) => Ok(envoy),
            Ok(Some(status)) => anyhow::bail!("Envoy ended with {status}:\n{}", envoy.log()),
            Err(error) => Err(error.context(envoy.log())),
        }
    }

    /// Checks a configuration as `envoy --mode validate` does.
    ///
    /// # Errors
    /// There is no Envoy.
    pub async fn validate(bootstrap: &Bootstrap) -> Result<Validation> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("envoy.json");
        bootstrap.write(&path)?;
        let output = Command::new(binary()?)
            .args(["--mode", "validate", "-c"])
            .arg(path)
            .stdin(Stdio::null())
            .output()
            .await?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Validation {
            status: output.status,
            output: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    /// The port of a listener.
    #[must_use]
    pub fn port(&self, listener: &str) -> u16 {
        self.bootstrap.port(listener)
    }

    /// The port of the admin interface.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.bootstrap.admin_port()
    }

    /// The process, to measure it.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What Envoy has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The lines of the log that are warnings or worse. Requests and upstreams that fail are not
    /// among them: Envoy does not log these at such a level.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.log();
        let level = |line: &&str| {
            ["[warning]", "[error]", "[critical]"].iter().any(|level| line.contains(level))
        };
        // QUIC sends again what a full socket buffer of the machine lost.
        let expected = |line: &&str| line.contains("] Kernel dropped ");
        log.lines().filter(level).filter(|line| !expected(line)).map(str::to_owned).collect()
    }

    /// All counters and gauges.
    ///
    /// # Errors
    /// Envoy does not answer.
    pub async fn stats(&self) -> Result<BTreeMap<String, u64>> {
        counters::stats(self.bootstrap.admin_port()).await
    }

    /// One counter or gauge; zero if Envoy does not have it, or not yet.
    ///
    /// # Errors
    /// Envoy does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        Ok(self.stats().await?.get(name).copied().unwrap_or_default())
    }

    /// Ends Envoy as an orchestrator does, by SIGTERM, and gives the status and the whole log.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn quit(mut self) -> Result<(ExitStatus, String)> {
        let id = self.child.id().context("Envoy has already ended")?.to_string();
        // The standard library sends no signal but SIGKILL.
        let kill = Command::new("kill").args(["-TERM", &id]).status().await?;
        ensure!(kill.success(), "kill -TERM {id}: {kill}");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok((status.context("Envoy did not end")??, self.log()))
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// Envoy does not answer.
    pub async fn prometheus(&self) -> Result<String> {
        let response = client::get(self.bootstrap.admin_port(), "/stats/prometheus").await?;
        Ok(String::from_utf8(response.body)?)
    }

    /// Waits until a condition holds of the counters, and gives them.
    ///
    /// # Errors
    /// It does not hold in time; the counters of the filter stand in the error.
    pub async fn wait_for_stats(
        &self,
        what: &str,
        condition: impl Fn(&BTreeMap<String, u64>) -> bool,
    ) -> Result<BTreeMap<String, u64>> {
        let waited =
            wait_for(what, || async { self.stats().await.ok().filter(|stats| condition(stats)) });
        match waited.await {
            Ok(stats) => Ok(stats),
            Err(error) => {
                let stats = self.stats().await?;
                let ours = stats.into_iter().filter(|(name, _)| name.starts_with("wasmcustom"));
                Err(error).with_context(|| format!("{:#?}", ours.collect::<BTreeMap<_, _>>()))
            }
        }
    }
}
