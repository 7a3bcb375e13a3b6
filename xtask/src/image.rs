//! The module as an OCI image, a folder in the image layout of the OCI's image specification 1.1.
//!
//! One layer with `plugin.wasm`: what Istio and Envoy Gateway look for in an image, and what the
//! Dockerfile makes. The same module and commit give the same bytes: nothing here reads a clock, and
//! everything in the layer has the owner, mode and time zero. It pushes nothing: `crane` does.

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use tar::Header;

/// The commit that an image is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    /// Its id, as in `git rev-parse HEAD`.
    pub(crate) id: &'a str,
    /// When it was made, in RFC 3339.
    pub(crate) time: &'a str,
}

/// Writes the image of a module into a folder, in place of what is there.
pub(crate) fn write(module: &[u8], commit: Commit, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let blob = |media_type: &str, bytes: &[u8]| -> Result<Value> {
        let digest = sha256(bytes);
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        }))
    };

    let archive = archive(module)?;
    let layer = blob("layer.v1.tar+gzip", &gzip(&archive)?)?;
    let config = blob("config.v1+json", &bytes(&config(commit, &sha256(&archive))))?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let manifest = blob("manifest.v1+json", &bytes(&manifest))?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(folder.join("index.json"), bytes(&index))?;
    fs::write(folder.join("oci-layout"), bytes(&json!({"imageLayoutVersion": "1.0.0"})))?;
    println!("{}: {}", folder.display(), manifest["digest"].as_str().unwrap_or_default());
    Ok(())
}

/// The image's configuration, with the labels that say where it comes from.
fn config(commit: Commit, archive: &str) -> Value {
    json!({
        "architecture": "wasm",
        "os": "wasip1",
        "created": commit.time,
        "config": {"Labels": {
            "org.opencontainers.image.title": "otel-proxy-wasm",
            "org.opencontainers.image.description": "OpenTelemetry tracing for Envoy and Istio as one WebAssembly HTTP filter",
            "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.revision": commit.id,
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        }},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{archive}")]},
        "history": [{"created": commit.time, "created_by": "make image"}],
    })
}

fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    header.set_size(module.len().try_into()?);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "plugin.wasm", module)?;
    Ok(archive.into_inner()?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const COMMIT: Commit = Commit { id: "0123abc", time: "2026-01-02T03:04:05Z" };

    /// All files of a folder, by their names.
    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in [folder, &folder.join("blobs/sha256")].iter().flat_map(fs::read_dir).flatten()
        {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.strip_prefix(folder).expect("inside").display().to_string();
                files.insert(name, fs::read(path).expect("readable"));
            }
        }
        files
    }

    #[test]
    fn the_same_module_and_commit_give_the_same_bytes() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let image = folder.path().join("image");
        write(b"one", COMMIT, &image)?;
        let first = files(&image);
        assert_eq!(first.len(), 5, "index, layout, manifest, configuration and layer: {first:?}");
        write(b"one", COMMIT, &image)?;
        assert_eq!(files(&image), first);
        for (module, commit, reason) in [
            (b"two", COMMIT, "another module"),
            (b"one", Commit { id: "4567def", ..COMMIT }, "another commit"),
            (b"one", Commit { time: "2026-01-02T03:04:06Z", ..COMMIT }, "another time"),
        ] {
            write(module, commit, &image)?;
            assert_ne!(files(&image).get("index.json"), first.get("index.json"), "{reason}");
            assert_eq!(files(&image).len(), 5, "{reason}: nothing is left of the image before");
        }
        Ok(())
    }

    #[test]
    fn the_dockerfile_gives_the_same_labels() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
        let file = fs::read_to_string(file).expect("a Dockerfile");
        let labels = config(Commit { id: "${REVISION}", ..COMMIT }, "")["config"]["Labels"].clone();
        let labels = labels.as_object().expect("labels").clone();
        for (name, value) in &labels {
            let label = format!(r#"{name}="{}""#, value.as_str().unwrap_or_default());
            assert!(file.contains(&label), "{label}");
        }
        assert_eq!(file.matches("org.opencontainers.image.").count(), labels.len(), "no others");
    }

    #[test]
    fn every_blob_has_the_name_and_size_that_point_to_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        write(b"module", COMMIT, folder.path())?;
        let files = files(folder.path());
        let read = |descriptor: &Value| -> &Vec<u8> {
            let digest = descriptor["digest"].as_str().expect("a digest");
            let digest = digest.strip_prefix("sha256:").expect("SHA-256");
            let blob = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(sha256(blob), digest);
            assert_eq!(descriptor["size"], blob.len(), "{descriptor}");
            blob
        };
        let index: Value = serde_json::from_slice(&files["index.json"])?;
        let manifest: Value = serde_json::from_slice(read(&index["manifests"][0]))?;
        let config: Value = serde_json::from_slice(read(&manifest["config"]))?;
        let mut layer = Vec::new();
        std::io::copy(
            &mut flate2::read::GzDecoder::new(read(&manifest["layers"][0]).as_slice()),
            &mut layer,
        )?;
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&layer))]));
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut entries = archive.entries()?;
        let mut entry = entries.next().context("one file")??;
        assert_eq!(entry.path()?, Path::new("plugin.wasm"));
        let mut module = Vec::new();
        std::io::copy(&mut entry, &mut module)?;
        assert_eq!(module, b"module");
        assert!(entries.next().is_none(), "nothing else is in the layer");
        Ok(())
    }
}
