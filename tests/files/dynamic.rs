//! The three files of `envoy/dynamic`, in a folder of the test's own, so that it can change one.

use anyhow::{Context, Result, ensure};
use harness::{Bootstrap, Envoy, Receiver, Stage, TempDir, Upstream};
use std::collections::BTreeMap;
use std::path::Path;

/// The stage, and the files that its Envoy watches.
pub(crate) struct Dynamic {
    pub(crate) stage: Stage,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Dynamic {
    pub(crate) async fn start() -> Result<Self> {
        let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
        let (folder, port) = (harness::folder()?, harness::free_port()?);
        let place = folder.path().to_string_lossy().into_owned();
        let lds = file("lds.yaml")?;
        let lds = replace(&lds, "port_value: 10000", &format!("port_value: {port}"))?;
        let lds = replace(&lds, "envoy/dynamic", &place)?;
        std::fs::write(folder.path().join("lds.yaml"), lds)?;
        std::fs::write(folder.path().join("ecds.yaml"), ecds()?)?;
        let bootstrap = Bootstrap::from_file("envoy/dynamic/bootstrap.yaml")?
            .replace("envoy/dynamic", &place)?
            .cluster("upstream", upstream.port())?
            .cluster("otel_collector", collector.port())?;
        let envoy = Envoy::start(bootstrap).await?;
        Ok(Self { stage: Stage { envoy, upstream, collector }, port, folder })
    }

    /// Waits until a counter of the discovery of the filter's configuration has at least this value.
    pub(crate) async fn wait_for(&self, counter: &str, value: u64) -> Result<()> {
        let name = format!("extension_config_discovery.http_filter.otel.{counter}");
        let reached = |stats: &BTreeMap<String, u64>| stats.get(&name) >= Some(&value);
        self.stage.envoy.wait_for_stats(&name, reached).await.map(drop)
    }

    /// Moves over `ecds.yaml` one in which a text is replaced.
    pub(crate) fn change(&self, from: &str, to: &str) -> Result<()> {
        let folder: &Path = self.folder.path();
        std::fs::write(folder.join("new"), replace(&ecds()?, from, to)?)?;
        Ok(std::fs::rename(folder.join("new"), folder.join("ecds.yaml"))?)
    }
}

fn file(name: &str) -> Result<String> {
    let path = harness::root().join("envoy/dynamic").join(name);
    std::fs::read_to_string(path).context(name.to_owned())
}

fn ecds() -> Result<String> {
    let module = harness::module()?;
    replace(&file("ecds.yaml")?, "dist/otel-proxy-wasm.wasm", &module.to_string_lossy())
}

fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "no {from} in {text}");
    Ok(text.replace(from, to))
}
