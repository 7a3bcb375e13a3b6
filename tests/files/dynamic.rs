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
        Self::changed(1, &[], Ok).await
    }

    /// With so many workers, these arguments for Envoy, and another bootstrap.
    pub(crate) async fn changed(
        workers: usize,
        arguments: &[&str],
        change: impl FnOnce(Bootstrap) -> Result<Bootstrap>,
    ) -> Result<Self> {
        let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
        let (folder, port) = (harness::folder()?, harness::free_port()?);
        let place = folder.path().to_string_lossy().into_owned();
        std::fs::write(folder.path().join("lds.yaml"), lds(&place, port)?)?;
        std::fs::write(folder.path().join("ecds.yaml"), ecds()?)?;
        let bootstrap = Bootstrap::from_file("envoy/dynamic/bootstrap.yaml")?
            .replace("envoy/dynamic", &place)?
            .cluster("upstream", upstream.port())?
            .cluster("otel_collector", collector.port())?;
        let envoy = Envoy::with_arguments(change(bootstrap)?, workers, arguments).await?;
        Ok(Self { stage: Stage { envoy, upstream, collector }, port, folder })
    }

    /// Waits until a counter of the discovery of the filter's configuration has at least this value.
    pub(crate) async fn wait_for(&self, counter: &str, value: u64) -> Result<()> {
        self.wait_for_filter("otel", counter, value).await
    }

    /// The same, of a filter that the listener's chain calls so.
    pub(crate) async fn wait_for_filter(
        &self,
        name: &str,
        counter: &str,
        value: u64,
    ) -> Result<()> {
        let name = format!("extension_config_discovery.http_filter.{name}.{counter}");
        let reached = |stats: &BTreeMap<String, u64>| stats.get(&name) >= Some(&value);
        self.stage.envoy.wait_for_stats(&name, reached).await.map(drop)
    }

    /// Moves over `ecds.yaml` one in which a text is replaced.
    pub(crate) fn change(&self, from: &str, to: &str) -> Result<()> {
        self.write("ecds.yaml", &replace(&ecds()?, from, to)?)
    }

    /// Moves a text over a file of the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let folder: &Path = self.folder.path();
        std::fs::write(folder.join("new"), text)?;
        Ok(std::fs::rename(folder.join("new"), folder.join(name))?)
    }

    /// The listener of `lds.yaml`, as it was at the start.
    #[allow(dead_code, reason = "not every test that uses these files changes the listeners")]
    pub(crate) fn listeners(&self) -> Result<String> {
        lds(&self.folder.path().to_string_lossy(), self.port)
    }
}

/// The listener, on this port, whose files are in this folder.
fn lds(folder: &str, port: u16) -> Result<String> {
    let lds = replace(&file("lds.yaml")?, "port_value: 10000", &format!("port_value: {port}"))?;
    replace(&lds, "envoy/dynamic", folder)
}

fn file(name: &str) -> Result<String> {
    let path = harness::root().join("envoy/dynamic").join(name);
    std::fs::read_to_string(path).context(name.to_owned())
}

/// The filter's configuration.
pub(crate) fn ecds() -> Result<String> {
    let module = harness::module()?;
    replace(&file("ecds.yaml")?, "dist/otel-proxy-wasm.wasm", &module.to_string_lossy())
}

pub(crate) fn replace(text: &str, from: &str, to: &str) -> Result<String> {
    ensure!(text.contains(from), "no {from} in {text}");
    Ok(text.replace(from, to))
}
