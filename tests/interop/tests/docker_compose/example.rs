//! `examples/docker-compose` in a checkout of its own, and the images that it names.

use anyhow::{Context, Result, ensure};
use interop::docker::{Docker, Image, Project};
use interop::peer;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

const EXAMPLE: &str = "examples/docker-compose";

/// The file as it is here.
pub(crate) fn file() -> PathBuf {
    harness::root().join(EXAMPLE).join("compose.yaml")
}

/// The images that the file names.
pub(crate) async fn images(docker: &Docker) -> Result<()> {
    let envoy = harness::envoy::binary()?;
    let bash = PathBuf::from("/bin/bash");
    docker
        .image(&Image {
            name: "envoyproxy/envoy:v1.40.0",
            programs: vec![(envoy, "/usr/local/bin/envoy"), (bash, "/bin/bash")],
            instructions: &[r#"CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]"#],
        })
        .await?;
    docker
        .image(&Image {
            name: "node:24.11.1-slim",
            programs: vec![(peer("node", "node")?, "/usr/local/bin/node")],
            instructions: &[],
        })
        .await?;
    docker
        .image(&Image {
            name: "otel/opentelemetry-collector-contrib:0.165.0",
            programs: vec![(peer("collector", "collector")?, "/otelcol-contrib")],
            instructions: &[r#"ENTRYPOINT ["/otelcol-contrib"]"#, "USER 10001"],
        })
        .await?;
    docker
        .image(&Image {
            name: "jaegertracing/jaeger:2.13.0",
            programs: vec![(peer("jaeger", "jaeger")?, "/cmd/jaeger/jaeger-linux")],
            instructions: &[
                "ENV JAEGER_LISTEN_HOST=0.0.0.0",
                r#"ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]"#,
                "USER 10001",
            ],
        })
        .await
}

/// The example in a folder of its own, as in a checkout before `make build`.
pub(crate) struct Checkout {
    folder: TempDir,
}

impl Checkout {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::create_dir_all(folder.path().join(EXAMPLE))?;
        for entry in fs::read_dir(harness::root().join(EXAMPLE))? {
            let entry = entry?;
            fs::copy(entry.path(), folder.path().join(EXAMPLE).join(entry.file_name()))?;
        }
        // The Collector and Jaeger are not root.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// What `make build` does.
    pub(crate) fn build(&self) -> Result<()> {
        fs::create_dir_all(self.module().parent().context("a folder")?)?;
        fs::copy(harness::module()?, self.module()).map(drop).context("the module")
    }

    pub(crate) fn module(&self) -> PathBuf {
        self.folder.path().join("dist/otel-proxy-wasm.wasm")
    }

    /// Changes a file as a reader would.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) -> Result<()> {
        let path = self.folder.path().join(EXAMPLE).join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file} has no {from}");
        Ok(fs::write(path, text.replace(from, to))?)
    }

    pub(crate) fn project<'a>(&self, docker: &'a Docker) -> Project<'a> {
        docker.project(&self.folder.path().join(EXAMPLE).join("compose.yaml"))
    }
}

/// What a published port answers: its status, and its text.
pub(crate) async fn get(docker: &Docker, url: &str) -> Result<(u16, String)> {
    const SCRIPT: &str = "const it = await fetch(process.argv[1]); \
                          process.stdout.write(`${it.status} ${await it.text()}`)";
    let mut command = docker.command(&peer("node", "node")?)?;
    command.args(["--input-type=module", "--eval", SCRIPT, url]);
    let output = command.output().await?;
    ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (status, text) = text.split_once(' ').context("a status")?;
    Ok((status.parse()?, text.to_owned()))
}
