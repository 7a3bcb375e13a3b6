//! The image of the module in a real registry: it can be pushed and pulled, is valid, and holds the module.
//!
//! Who loads it from there is the business of the tests of Istio and Envoy Gateway.

use anyhow::{Context, Result, ensure};
use interop::docker::Image;
use interop::{Docker, Registry, peer};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use tokio::process::Command;

async fn crane(arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(peer("crane", "crane")?).args(arguments).output().await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "crane {}: {error}", arguments.join(" "));
    Ok(output.stdout)
}

#[tokio::test]
async fn the_image_is_pushed_and_holds_the_module() -> Result<()> {
    let registry = Registry::start().await?;
    let name = registry.push().await?;
    crane(&["validate", "--remote", &name]).await.context("the image is whole")?;

    let manifest: Value = serde_json::from_slice(&crane(&["manifest", &name]).await?)?;
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json", "one image");
    let layers = manifest["layers"].as_array().context("layers")?;
    assert_eq!(layers.len(), 1, "{layers:?}");
    let archive = crane(&["export", &name, "-"]).await?;
    let module = fs::read(harness::module()?)?;
    let found = archive.windows(module.len()).any(|window| window == module);
    assert!(found, "the module is in it");

    let config: Value = serde_json::from_slice(&crane(&["config", &name]).await?)?;
    let labels = config["config"]["Labels"].as_object().context("labels")?;
    let label = |name: &str| {
        let value = labels.get(&format!("org.opencontainers.image.{name}"));
        value.and_then(Value::as_str).unwrap_or_default()
    };
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "Apache-2.0");
    assert!(label("source").starts_with("https://"), "{labels:?}");
    assert!(!label("revision").is_empty(), "{labels:?}");
    Ok(())
}

#[tokio::test]
async fn the_dockerfile_makes_an_image_of_the_module() -> Result<()> {
    let docker = Docker::start().await?;
    let root = harness::root().display().to_string();
    let arguments = ["--target", "prebuilt", "--tag", "otel-proxy-wasm"];
    let arguments = [&["build"], &arguments[..], &["--build-arg", "REVISION=abc", &root]].concat();
    docker.run(&arguments).await?;

    let image = docker.run(&["image", "inspect", "otel-proxy-wasm"]).await?;
    let image: Value = serde_json::from_str(&image)?;
    let labels = &image[0]["Config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.revision"], "abc");
    assert_eq!(image[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1), "one layer");

    let module = plugin(&docker, "otel-proxy-wasm").await?;
    assert!(module == fs::read(harness::module()?)?, "the module is in it");
    Ok(())
}

/// What the image has as its plugin.
async fn plugin(docker: &Docker, image: &str) -> Result<Vec<u8>> {
    docker.run(&["create", "--name", "otel", image, "none"]).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("plugin.wasm").display().to_string();
    docker.run(&["cp", "otel:/plugin.wasm", &file]).await?;
    Ok(fs::read(file)?)
}

/// In place of the one in Rust's image, which can't be pulled: it looks whether it has what it would build from.
const MAKE: &str = r#"#!/bin/sh
set -e
test "$*" = build
for file in Cargo.lock Cargo.toml rust-toolchain.toml src/lib.rs xtask/src/main.rs xtask/push/src/lib.rs tests/harness/src/lib.rs \
  tests/interop/src/lib.rs benches/soak.rs examples/demo/main.rs tests/peers/crane/peer.mk
do test -f "$file" || { echo "$file is missing"; exit 1; }; done
for folder in .git .tools target; do test ! -e "$folder" || { echo "$folder is there"; exit 1; }; done
mkdir -p dist
echo built > dist/otel-proxy-wasm.wasm
"#;

#[tokio::test]
async fn the_dockerfile_builds_the_module_from_a_clone() -> Result<()> {
    let docker = Docker::start().await?;
    let folder = tempfile::tempdir()?;
    let make = folder.path().join("make");
    fs::write(&make, MAKE)?;
    fs::set_permissions(&make, Permissions::from_mode(0o755))?;
    let file = fs::read_to_string(harness::root().join("Dockerfile"))?;
    let stage = file.lines().find_map(|line| line.strip_prefix("FROM ")?.strip_suffix(" AS build"));
    let rust = Image {
        name: stage.context("a stage that builds")?,
        programs: vec![
            ("/bin/sh".into(), "/bin/sh"),
            ("/bin/mkdir".into(), "/bin/mkdir"),
            (make, "/bin/make"),
        ],
        instructions: &["ENV PATH=/bin"],
    };
    docker.image(&rust).await?;
    let root = harness::root().display().to_string();
    docker.run(&["build", "--tag", "from-a-clone", &root]).await?;
    assert_eq!(plugin(&docker, "from-a-clone").await?, b"built\n");
    let image = docker.run(&["image", "inspect", "from-a-clone"]).await?;
    let image: Value = serde_json::from_str(&image)?;
    let version = &image[0]["Config"]["Labels"]["org.opencontainers.image.version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert_eq!(image[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1), "one layer");
    Ok(())
}
