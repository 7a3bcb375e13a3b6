//! A real Envoy Gateway without a cluster: it reads its resources from a folder and runs Envoys as child processes.
//!
//! It has ports and folders that nobody can choose, so that there is one at a time. It knows nothing of the filter; the
//! tests apply what they test.

use crate::{Process, peer};
use anyhow::{Context, Result};
use harness::client;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

/// A running Envoy Gateway with the Envoy of one Gateway. It ends with this value.
#[derive(Debug)]
pub struct EnvoyGateway {
    admin_port: u16,
    process: Process,
    folder: TempDir,
}

/// What in Kubernetes it would find in its pod: its certificates, for Envoys to fetch modules from it by its name, and that name.
/// It makes the certificates, and the Secret of them that it looks for; all of it is in a name space of its own.
const START: &str = r#"
set -e
eg=$1 folder=$2
"$eg" certgen --local --config-home "$folder/config"
certificates=$folder/config/certs/envoy
value() { base64 --wrap=0 "$certificates/$1"; }
cat > "$folder/resources/secret.yaml" << END
apiVersion: v1
kind: Secret
metadata: {name: envoy, namespace: envoy-gateway-system}
type: kubernetes.io/tls
data: {ca.crt: $(value ca.crt), tls.crt: $(value tls.crt), tls.key: $(value tls.key)}
END
(cat /etc/hosts; echo 127.0.0.1 envoy-gateway.envoy-gateway-system.svc.cluster.local) > "$folder/hosts"
mkdir -p /certs
mount --bind "$folder/hosts" /etc/hosts
mount --bind "$certificates" /certs
exec "$eg" server --config-path "$folder/envoy-gateway.json"
"#;

impl EnvoyGateway {
    /// Starts one with these manifests, one Gateway among them, and waits until its Envoy is ready. In an `EnvoyProxy`,
    /// Envoy's version must be [`EnvoyGateway::VERSION`].
    ///
    /// # Errors
    /// It was not built, or is not ready in time; what it logged stands in the error.
    pub async fn start(manifests: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for name in ["resources", "config", "data", "state", "run", "home"] {
            fs::create_dir(path(name))?;
        }
        fs::write(path("resources/manifests.yaml"), manifests)?;
        let version = path("data").join("envoy-versions").join(Self::VERSION).join("bin");
        fs::create_dir_all(&version)?;
        std::os::unix::fs::symlink(harness::envoy::binary()?, version.join("envoy"))?;
        let host = json!({
            "configHome": path("config"), "dataHome": path("data"), "stateHome": path("state"),
            "runtimeDir": path("run"),
        });
        let configuration = json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyGateway",
            "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
            "provider": {"type": "Custom", "custom": {
                "resource": {"type": "File", "file": {"paths": [path("resources")]}},
                "infrastructure": {"type": "Host", "host": host},
            }},
            "extensionApis": {"enableBackend": true, "enableEnvoyPatchPolicy": true},
        });
        fs::write(path("envoy-gateway.json"), configuration.to_string())?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", START, "sh"]);
        command.arg(peer("envoy-gateway", "envoy-gateway")?).arg(folder.path());
        command.env("HOME", path("home"));
        let mut process = Process::start("envoy-gateway", &mut command, folder.path())?;
        let run = path("run");
        let ready = || async {
            let port = admin_port(&run)?;
            client::is_well(port, "/ready").await.map(|()| port)
        };
        let admin_port =
            process.wait_until("Envoy Gateway and its Envoy to be ready", ready).await?;
        Ok(Self { admin_port, process, folder })
    }

    /// The version of Envoy that it is told to run; the one that it gets is that of the tests.
    pub const VERSION: &str = "1.40.0";

    /// Replaces the manifests, as an editor does.
    ///
    /// # Errors
    /// They can't be written.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let new = self.folder.path().join("new.yaml");
        fs::write(&new, manifests)?;
        fs::rename(new, self.folder.path().join("resources/manifests.yaml")).context("manifests")
    }

    /// The port of its Envoy's admin interface.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// What it, and its Envoy, have logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The port that Envoy has written down, once it did.
fn admin_port(run: &Path) -> Option<u16> {
    let run: PathBuf = fs::read_dir(run).ok()?.next()?.ok()?.path();
    let address = fs::read_to_string(run.join("admin-address.txt")).ok()?;
    address.trim().rsplit_once(':')?.1.parse().ok()
}
