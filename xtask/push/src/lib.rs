//! Pushes an image, a folder in the OCI image layout, into a registry: for people who have no Docker.
//!
//! The manifest goes as the bytes that it has in the folder, so that its digest stays the one that `make image` said. It
//! is the one that the tag names: no index is made. It makes no image: xtask does.

use anyhow::{Context, Result, bail, ensure};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Pushes the one image of a folder under an address such as `registry.example.com/otel-proxy-wasm:0.2.0`, and gives its
/// name by digest. `http://` before the address is a registry without TLS; one on this machine has none.
///
/// # Errors
/// The folder holds no image or several, the address is none, or the registry refuses.
pub async fn image(folder: &Path, address: &str) -> Result<String> {
    let (protocol, address) = protocol(address);
    let reference: Reference = address.parse().with_context(|| format!("the address {address}"))?;
    ensure!(reference.digest().is_none(), "an image is pushed under a tag: {address}");
    // No other is installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(ClientConfig { protocol, ..ClientConfig::default() });
    let registry = reference.resolve_registry();
    let credentials = credentials(docker_folder().as_deref(), registry)
        .with_context(|| format!("the credentials for {registry}, as `docker login` keeps them"))?;
    let who = match credentials {
        RegistryAuth::Anonymous => {
            format!("without credentials: `docker login {registry}` adds them")
        }
        _ => "with the credentials of `docker login`".to_owned(),
    };
    push(&client, folder, &reference, &credentials)
        .await
        .with_context(|| format!("pushing to {registry} {who}"))
}

async fn push(
    client: &Client,
    folder: &Path,
    reference: &Reference,
    credentials: &RegistryAuth,
) -> Result<String> {
    client.auth(reference, credentials, RegistryOperation::Push).await?;
    let index: Value = serde_json::from_slice(&read(&folder.join("index.json"))?)?;
    let manifests = index["manifests"].as_array().context("an index has manifests")?;
    let [descriptor] = manifests.as_slice() else {
        bail!("{}: one image, not {}", folder.display(), manifests.len())
    };
    let bytes = blob(folder, descriptor)?;
    let manifest: Value = serde_json::from_slice(&bytes)?;
    let layers = manifest["layers"].as_array().context("a manifest has layers")?;
    for descriptor in layers.iter().chain([&manifest["config"]]) {
        let digest = text(descriptor, "digest")?;
        if client.blob_exists(reference, digest).await? {
            continue;
        }
        match client.push_blob(reference, blob(folder, descriptor)?, digest).await {
            // It does not say where the blob is, as it should; it is there all the same.
            Err(OciDistributionError::RegistryNoLocationError)
                if client.blob_exists(reference, digest).await? => {}
            pushed => drop(pushed?),
        }
    }
    let media_type = text(descriptor, "mediaType")?.parse()?;
    client.push_manifest_raw(reference, bytes, media_type).await?;

    let digest = text(descriptor, "digest")?;
    let pushed = client.fetch_manifest_digest(reference, credentials).await?;
    ensure!(pushed == digest, "{reference} is {pushed} in the registry, not {digest}");
    Ok(format!("{}/{}@{digest}", reference.resolve_registry(), reference.repository()))
}

/// How the registry is spoken to, and the address without that.
fn protocol(address: &str) -> (ClientProtocol, &str) {
    if let Some(address) = address.strip_prefix("http://") {
        return (ClientProtocol::Http, address);
    }
    if let Some(address) = address.strip_prefix("https://") {
        return (ClientProtocol::Https, address);
    }
    let host = address.split(['/', ':']).next().unwrap_or_default();
    let is_here = host == "localhost" || host.starts_with("127.");
    (if is_here { ClientProtocol::Http } else { ClientProtocol::Https }, address)
}

/// Where `docker login` keeps what it was told.
fn docker_folder() -> Option<PathBuf> {
    let at_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(at_home)
}

/// What a registry is told. Whoever has never signed in to it speaks to it without a name.
fn credentials(folder: Option<&Path>, registry: &str) -> Result<RegistryAuth> {
    let path = folder.map(|folder| folder.join("config.json")).filter(|path| path.exists());
    let Some(path) = path else { return Ok(RegistryAuth::Anonymous) };
    match docker_credential::get_credential_from_reader(File::open(path)?, registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(_)) => bail!(
            "an identity token can't be used: sign in with a user name and a password or token"
        ),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // What Docker's credential helpers print when they have none.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(RegistryAuth::Anonymous)
        }
        Err(error) => Err(error.into()),
    }
}

fn blob(folder: &Path, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = text(descriptor, "digest")?;
    let name = digest.strip_prefix("sha256:").with_context(|| format!("the digest {digest}"))?;
    read(&folder.join("blobs/sha256").join(name))
}

fn text<'a>(descriptor: &'a Value, key: &str) -> Result<&'a str> {
    descriptor[key].as_str().with_context(|| format!("no {key} in {descriptor}"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_tls_unless_it_is_here_or_the_address_says_otherwise() {
        for (address, expected, rest) in [
            ("registry.example.com/a:1", ClientProtocol::Https, "registry.example.com/a:1"),
            ("https://registry.example.com/a:1", ClientProtocol::Https, "registry.example.com/a:1"),
            ("http://registry.example.com/a:1", ClientProtocol::Http, "registry.example.com/a:1"),
            ("https://localhost:5000/a:1", ClientProtocol::Https, "localhost:5000/a:1"),
            ("localhost:5000/a:1", ClientProtocol::Http, "localhost:5000/a:1"),
            ("127.0.0.1:5000/a:1", ClientProtocol::Http, "127.0.0.1:5000/a:1"),
            ("localhost.example.com/a:1", ClientProtocol::Https, "localhost.example.com/a:1"),
        ] {
            assert_eq!(protocol(address), (expected, rest), "{address}");
        }
    }

    #[test]
    fn credentials_are_those_of_docker_login() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let at = |registry: &str| credentials(Some(folder.path()), registry);
        assert_eq!(at("ghcr.io")?, RegistryAuth::Anonymous, "nobody has ever signed in");
        assert_eq!(credentials(None, "ghcr.io")?, RegistryAuth::Anonymous, "there is no home");
        let path = folder.path().join("config.json");
        // user:pass:word
        fs::write(
            &path,
            r#"{"auths": {"ghcr.io": {"auth": "dXNlcjpwYXNzOndvcmQ="},
                "azure.example.com": {"auth": "dXNlcjo=", "identitytoken": "token"}}}"#,
        )?;
        assert_eq!(at("ghcr.io")?, RegistryAuth::Basic("user".into(), "pass:word".into()));
        assert_eq!(at("registry.example.com")?, RegistryAuth::Anonymous, "only elsewhere");
        let error = at("azure.example.com").expect_err("a token").to_string();
        assert!(error.starts_with("an identity token can't be used"), "{error}");
        fs::write(&path, "{")?;
        at("ghcr.io").expect_err("no JSON");
        Ok(())
    }
}
