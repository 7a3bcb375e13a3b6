//! What is refused, with made-up parts; and what `make release` made.

use super::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// A changelog with this version.
fn changelog() -> String {
    format!("# Changelog\n\n## [Unreleased]\n\n## [{VERSION}] - 2026-01-31\n\n### Added\n- All.\n")
}

#[test]
fn only_the_versions_own_tag_can_be_released() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("CHANGELOG.md");
    fs::write(&path, changelog())?;
    let own = format!("v{VERSION}");
    for tag in ["", own.as_str()] {
        check(&path, tag).with_context(|| format!("{tag:?}"))?;
    }
    for tag in [VERSION, "v9.9.9", "v", "main"] {
        let error = check(&path, tag).expect_err(tag).to_string();
        assert!(error.ends_with(&format!("its tag is {own}")), "{tag}: {error}");
    }
    Ok(())
}

#[test]
fn a_version_that_the_changelog_does_not_know_is_no_release() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("CHANGELOG.md");
    fs::write(&path, changelog().replace(VERSION, "0.0.1"))?;
    let message = format!("CHANGELOG.md has no section \"## [{VERSION}] - DATE\"");
    assert_eq!(check(&path, "").expect_err("no section").to_string(), message);
    let parts = Parts { module: &path, image: &path, sbom: &path, changelog: &path };
    let release = folder.path().join("release");
    assert_eq!(write(parts, &release).expect_err("no section").to_string(), message);
    assert!(!release.exists(), "nothing is written");
    Ok(())
}

#[test]
fn an_index_is_no_image() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let one =
        r#"{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:a"}"#;
    let index = r#"{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:a"}"#;
    for (manifests, message) in [
        (format!("{one}, {one}"), "one image, not 2"),
        (String::new(), "one image, not 0"),
        (index.to_owned(), "an index in the index"),
    ] {
        fs::write(folder.path().join("index.json"), format!(r#"{{"manifests": [{manifests}]}}"#))?;
        let error = digest(folder.path()).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    Ok(())
}

#[test]
fn an_sbom_names_no_folder_and_is_of_this_version() -> Result<()> {
    let of = |name: &str, version: &str| {
        let own = format!("path+file:///home/someone/folder#{name}@{version}");
        format!(
            r#"{{"metadata": {{"component": {{"bom-ref": "{own}", "name": "{name}", "version": "{version}",
            "components": [{{"bom-ref": "{own} bin-target-0"}}]}}}}, "dependencies": [{{"ref": "{own}"}}]}}"#
        )
    };
    let text = String::from_utf8(sbom(&of("otel-proxy-wasm", VERSION))?)?;
    assert!(!text.contains("home"), "{text}");
    assert_eq!(text.matches(&format!("pkg:cargo/otel-proxy-wasm@{VERSION}")).count(), 3, "{text}");
    for (name, version) in [("otel-proxy-wasm", "0.0.1"), ("xtask", VERSION)] {
        let error = sbom(&of(name, version)).expect_err(name).to_string();
        assert!(error.starts_with("the SBOM is of "), "{error}");
    }
    Ok(())
}

/// A file of what `make release` made.
fn made(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/release").join(name);
    assert!(path.exists(), "{} is missing; run `make release`", path.display());
    path
}

#[test]
fn the_checksums_are_those_of_the_module_and_its_sbom() -> Result<()> {
    let sums = text(&made("SHA256SUMS"))?;
    let mut names = Vec::new();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").context("a sum, two spaces, a name")?;
        assert_eq!(sum, sha256(&read(&made(name))?), "{name}");
        names.push(name);
    }
    let name = format!("otel-proxy-wasm-{VERSION}");
    assert_eq!(names, [format!("{name}.wasm"), format!("{name}.cdx.json")]);
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/otel-proxy-wasm.wasm");
    assert_eq!(sums.get(..64), Some(&*sha256(&read(&deployed)?)), "run `make release` again");
    Ok(())
}

/// Names and versions of what the module depends on by such edges, as cargo says it.
fn dependencies(edges: &str) -> Result<BTreeSet<(String, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.current_dir(root).args(["tree", "--locked", "--package", "otel-proxy-wasm"]);
    cargo.args(["--target", "wasm32-wasip1", "--prefix", "none", "--no-dedupe", "--edges", edges]);
    let output = cargo.output()?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut found = BTreeSet::new();
    for line in text.lines().skip(1) {
        let (name, rest) = line.split_once(" v").with_context(|| line.to_owned())?;
        let version = rest.split(' ').next().unwrap_or_default();
        found.insert((name.to_owned(), version.to_owned()));
    }
    Ok(found)
}

#[test]
fn the_sbom_names_what_is_linked_and_nothing_that_only_tests_need() -> Result<()> {
    let sbom: Value =
        serde_json::from_slice(&read(&made(&format!("otel-proxy-wasm-{VERSION}.cdx.json")))?)?;
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = sbom["components"].as_array().context("components")?;
    let mut named = BTreeSet::new();
    for component in components {
        let text = |key: &str| component[key].as_str().unwrap_or_default().to_owned();
        let (name, version) = (text("name"), text("version"));
        let purl = format!("pkg:cargo/{name}@{version}");
        assert_eq!(text("purl"), purl, "{name}: from crates.io");
        assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{name}");
        assert!(component["licenses"].is_array(), "{name}: its licence");
        named.insert((name, version));
    }
    let linked = dependencies("normal,no-proc-macro")?;
    assert!(linked.iter().any(|(name, _)| name == "proxy-wasm"), "{linked:?}");
    assert!(linked.is_subset(&named), "missing: {:?}", linked.difference(&named));
    // Macros and build scripts run while it is built.
    let built_with = dependencies("normal,build")?;
    assert!(named.is_subset(&built_with), "too many: {:?}", named.difference(&built_with));
    Ok(())
}

#[test]
fn the_notes_are_those_of_the_version_and_name_the_image_by_digest() -> Result<()> {
    let notes = text(&made("notes.md"))?;
    let changelog = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../CHANGELOG.md"))?;
    assert!(notes.starts_with(changelog::notes(&changelog, VERSION)?), "{notes}");
    let image = format!("ghcr.io/otel-proxy-wasm/otel-proxy-wasm:{VERSION}@{}", said()?);
    assert!(notes.contains(&image), "{notes}");
    Ok(())
}

/// The image's digest, as the release says it.
fn said() -> Result<String> {
    Ok(text(&made("image-digest"))?.trim().to_owned())
}

#[test]
fn the_image_is_one_manifest_of_the_digest_said_and_has_the_released_module() -> Result<()> {
    let image = made("image");
    assert_eq!(digest(&image)?, said()?);
    let blob = |digest: &str| -> Result<Vec<u8>> {
        let name = digest.strip_prefix("sha256:").context("SHA-256")?;
        let bytes = read(&image.join("blobs/sha256").join(name))?;
        assert_eq!(sha256(&bytes), name);
        Ok(bytes)
    };
    let manifest: Value = serde_json::from_slice(&blob(&said()?)?)?;
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let layers = manifest["layers"].as_array().context("layers")?;
    let [layer] = layers.as_slice() else { panic!("one layer: {layers:?}") };
    let layer = blob(layer["digest"].as_str().context("a digest")?)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(layer.as_slice()));
    let mut entry = archive.entries()?.next().context("a file")??;
    let mut module = Vec::new();
    std::io::copy(&mut entry, &mut module)?;
    assert!(module == read(&made(&format!("otel-proxy-wasm-{VERSION}.wasm")))?, "its module");
    let config: Value =
        serde_json::from_slice(&blob(manifest["config"]["digest"].as_str().context("a digest")?)?)?;
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], VERSION);
    Ok(())
}
