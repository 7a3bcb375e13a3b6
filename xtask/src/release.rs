//! What a release consists of, but for what only the machine that publishes it can add: signatures.
//!
//! The module, its SBOM and their checksums, the image and its digest, and the notes, in one folder. It builds none of them.

use crate::changelog;
use crate::image::sha256;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// What a release is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// The module that people deploy.
    pub(crate) module: &'a Path,
    /// Its image, a folder in the OCI image layout.
    pub(crate) image: &'a Path,
    /// Its SBOM, as cargo-cyclonedx writes it.
    pub(crate) sbom: &'a Path,
    /// CHANGELOG.md.
    pub(crate) changelog: &'a Path,
}

/// Refuses a version that can't be released: its notes are missing, or the tag, if there is one, is another's.
///
/// # Errors
/// It is refused.
pub(crate) fn check(changelog: &Path, tag: &str) -> Result<()> {
    ensure!(
        tag.is_empty() || tag == format!("v{VERSION}"),
        "the tag is {tag}, but Cargo.toml has the version {VERSION}: its tag is v{VERSION}"
    );
    changelog::notes(&text(changelog)?, VERSION).map(drop)
}

/// Writes a release into a folder, in place of what is there.
///
/// # Errors
/// A part is missing or not what it should be, or the folder can't be written.
pub(crate) fn write(parts: Parts, folder: &Path) -> Result<()> {
    let changelog = text(parts.changelog)?;
    let notes = changelog::notes(&changelog, VERSION)?;
    let digest = digest(parts.image)?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    let mut sums = String::new();
    for (name, bytes) in [
        (format!("otel-proxy-wasm-{VERSION}.wasm"), read(parts.module)?),
        (format!("otel-proxy-wasm-{VERSION}.cdx.json"), sbom(&text(parts.sbom)?)?),
    ] {
        writeln!(sums, "{}  {name}", sha256(&bytes))?;
        fs::write(folder.join(name), bytes)?;
    }
    fs::write(folder.join("SHA256SUMS"), sums)?;
    copy(parts.image, &folder.join("image"))?;
    fs::write(folder.join("image-digest"), format!("{digest}\n"))?;
    fs::write(folder.join("notes.md"), with_image(notes, &digest))?;
    println!("{}: {VERSION}, its image is {digest}", folder.display());
    Ok(())
}

/// The notes, and what to pin.
fn with_image(notes: &str, digest: &str) -> String {
    let image = REPOSITORY.replace("https://github.com/", "ghcr.io/");
    format!(
        "{notes}\n\n### Image\n`{image}:{VERSION}@{digest}`\n\n\
        How to verify, pin, upgrade and roll back: [docs/releases.md]({REPOSITORY}/blob/v{VERSION}/docs/releases.md)\n"
    )
}

/// The digest of the one image that a folder has.
fn digest(image: &Path) -> Result<String> {
    let index: Value = serde_json::from_str(&text(&image.join("index.json"))?)?;
    let manifests = index["manifests"].as_array().context("an index has manifests")?;
    let [manifest] = manifests.as_slice() else {
        bail!("{}: one image, not {}", image.display(), manifests.len())
    };
    ensure!(
        manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json",
        "{}: an index in the index: {manifest}",
        image.display()
    );
    Ok(manifest["digest"].as_str().context("a digest")?.to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// The SBOM without the folder that it was made in: that is this machine's business, and would make other bytes of the
/// same commit elsewhere.
fn sbom(text: &str) -> Result<Vec<u8>> {
    let document: Value = serde_json::from_str(text).context("the SBOM")?;
    let component = &document["metadata"]["component"];
    ensure!(
        component["name"] == "otel-proxy-wasm" && component["version"] == VERSION,
        "the SBOM is of {} {}, not of otel-proxy-wasm {VERSION}",
        component["name"],
        component["version"]
    );
    let reference = component["bom-ref"].as_str().context("the SBOM's component has a bom-ref")?;
    Ok(text.replace(reference, &format!("pkg:cargo/otel-proxy-wasm@{VERSION}")).into_bytes())
}

#[cfg(test)]
mod tests;
