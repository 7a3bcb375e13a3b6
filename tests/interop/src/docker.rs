//! A Docker daemon of a test's own, images made of what is on this machine, and Docker Compose.
//!
//! Nothing is pulled. An image has the program, the libraries that it is linked with and nothing else: under
//! the name that a file gives, that file can be run unchanged.

use crate::{Process, peer};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::Command;

/// A running daemon. It ends with this value, and its containers with it.
#[derive(Debug)]
pub struct Docker {
    socket: String,
    process: Process,
    folder: TempDir,
}

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// Its name and tag.
    pub name: &'a str,
    /// Programs: where each is here, and where it is in the image. Their libraries come along.
    pub programs: Vec<(PathBuf, &'a str)>,
    /// What a Dockerfile would say of it, such as `CMD ["envoy"]`.
    pub instructions: &'a [&'a str],
}

impl Docker {
    /// Starts a daemon without images.
    ///
    /// # Errors
    /// It is not installed, or does not answer in time; what it logged stands in the error.
    pub async fn start() -> Result<Self> {
        // The path of a socket is short.
        let folder = tempfile::Builder::new().prefix("docker").tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let socket = format!("unix://{}", path("socket"));
        // In name spaces of its own: its ports and networks meet nobody else's, and when it ends, in whatever way,
        // its containers and mounts end with it.
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", r#"ip link set lo up && exec dockerd "$@""#, "dockerd"]);
        command.args(["--storage-driver=vfs", "--bridge=none", "--log-level=warn"]);
        command.args(["--host", &socket, "--data-root", &path("data")]);
        command.args(["--exec-root", &path("run"), "--pidfile", &path("pid")]);
        let mut process = Process::start("dockerd", &mut command, folder.path())?;
        let answers = || async {
            let output = docker(&socket).arg("version").output().await.ok()?;
            output.status.success().then_some(())
        };
        process.wait_until("the Docker daemon to answer", answers).await?;
        Ok(Self { socket, process, folder })
    }

    /// Makes an image.
    ///
    /// # Errors
    /// A program or library of it is missing, or the daemon refuses it.
    pub async fn image(&self, image: &Image<'_>) -> Result<()> {
        let root = tempfile::tempdir_in(self.folder.path())?;
        for (program, place) in &image.programs {
            copy(program, &root.path().join(place.trim_start_matches('/')))?;
            for library in libraries(program).await? {
                copy(&library, &root.path().join(library.strip_prefix("/")?))?;
            }
        }
        fs::create_dir_all(root.path().join("tmp"))?;
        let archive = self.folder.path().join("image.tar");
        run(Command::new("tar").arg("-C").arg(root.path()).arg("-cf").arg(&archive).arg("."))
            .await?;
        let mut import = docker(&self.socket);
        import.arg("import");
        for instruction in image.instructions {
            import.args(["--change", instruction]);
        }
        run(import.arg(&archive).arg(image.name)).await?;
        Ok(fs::remove_file(archive)?)
    }

    /// Runs the command line against this daemon, and gives what it prints.
    ///
    /// # Errors
    /// It fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        run(docker(&self.socket).args(arguments)).await
    }

    /// A command in the daemon's network, where it publishes the ports of containers.
    ///
    /// # Errors
    /// The daemon has ended.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.process.id()?.to_string()).args(["--net", "--"]);
        command.arg(program).kill_on_drop(true);
        Ok(command)
    }

    /// A Compose file.
    #[must_use]
    pub fn project(&self, file: &Path) -> Project<'_> {
        Project { docker: self, file: file.to_owned(), variables: Vec::new() }
    }
}

/// What a Compose file describes.
#[derive(Clone, Debug)]
pub struct Project<'a> {
    docker: &'a Docker,
    file: PathBuf,
    variables: Vec<(String, String)>,
}

impl Project<'_> {
    /// The same with a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Brings all services up, with `docker compose up -d`; pulls and builds nothing. Arguments may name those to bring up, with
    /// what they depend on.
    ///
    /// # Errors
    /// One of them does not start, or does not become healthy; what Compose printed stands in the error.
    pub async fn up(&self, arguments: &[&str]) -> Result<()> {
        let up = ["up", "-d", "--pull", "never", "--quiet-pull"];
        self.compose(&[&up, arguments].concat()).await.map(drop)
    }

    /// Ends the containers of a service, which stay.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn stop(&self, service: &str) -> Result<()> {
        self.compose(&["stop", service]).await.map(drop)
    }

    /// Ends the containers of a service and starts them again.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn restart(&self, service: &str) -> Result<()> {
        self.compose(&["restart", service]).await.map(drop)
    }

    /// What the file says, once all of it is put together.
    ///
    /// # Errors
    /// It is not valid.
    pub async fn config(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.compose(&["config", "--format", "json"]).await?)?)
    }

    /// What a service has printed.
    ///
    /// # Errors
    /// There is no such service.
    pub async fn logs(&self, service: &str) -> Result<String> {
        self.compose(&["logs", "--no-log-prefix", "--no-color", service]).await
    }

    /// Ends all containers and removes them.
    ///
    /// # Errors
    /// One of them does not end.
    pub async fn down(&self) -> Result<()> {
        self.compose(&["down"]).await.map(drop)
    }

    async fn compose(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(peer("docker", "docker-compose")?);
        command.env("DOCKER_HOST", &self.docker.socket);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.arg("--file").arg(&self.file).args(arguments);
        run(&mut command).await
    }
}

fn docker(socket: &str) -> Command {
    let mut command = Command::new("docker");
    // BuildKit is a plug-in that Debian does not have.
    command.env("DOCKER_BUILDKIT", "0").args(["--host", socket]);
    command
}

async fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{:?}", command.as_std()))?;
    let [text, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    ensure!(output.status.success(), "{:?}: {}\n{text}{error}", command.as_std(), output.status);
    Ok(text.into_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("a folder")?)?;
    fs::copy(from, to).with_context(|| from.display().to_string()).map(drop)
}

/// The libraries that a program is linked with, the loader among them; none if it is linked statically.
async fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).filter(|path| path != program && path.is_file()).collect())
}
