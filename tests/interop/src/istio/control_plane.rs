//! etcd, kube-apiserver and istiod, and kubectl to talk to them.

use super::{CLUSTER, Proxy, Role, run};
use crate::{Process, peer};
use anyhow::{Context, Result};
use harness::{client, free_port};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;

/// A running control plane. It ends with this value.
#[derive(Debug)]
pub struct ControlPlane {
    xds_port: u16,
    istiod: Process,
    _api_server: Process,
    _etcd: Process,
    folder: TempDir,
}

/// The mesh, as far as stock Envoys can follow: they lack Istio's own filters. Its own tracing is on, as in many a mesh.
const MESH: &str = "\
enablePrometheusMerge: false
enableAutoMtls: false
defaultProviders: {metrics: [], tracing: [otel]}
extensionProviders:
  - name: otel
    opentelemetry: {service: otel-collector.observability.svc.cluster.local, port: 4317}
accessLogFile: /dev/stdout
";

impl ControlPlane {
    /// Starts one, with Istio's CRDs and the name space istio-system.
    ///
    /// # Errors
    /// A part of it was not built, or is not ready in time.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (etcd, etcd_port) = etcd(folder.path()).await?;
        let api_server = api_server(folder.path(), etcd_port).await?;
        let crds = peer("istio", "crd-all.gen.yaml")?;
        let kubectl = |arguments: &[&str]| kubectl(folder.path(), arguments);
        let apply = ["apply", "--server-side", "--validate=false", "--filename"];
        run(kubectl(&apply)?.arg(crds), "").await?;
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
        run(&mut kubectl(&wait)?, "").await?;
        run(&mut kubectl(&["create", "namespace", "istio-system"])?, "").await?;
        let (istiod, xds_port) = istiod(folder.path()).await?;
        Ok(Self { xds_port, istiod, _api_server: api_server, _etcd: etcd, folder })
    }

    /// Runs kubectl with this as its input, and gives what it prints.
    ///
    /// # Errors
    /// It fails; what it says stands in the error.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        run(&mut kubectl(self.folder.path(), arguments)?, input).await
    }

    /// Applies manifests, checked strictly.
    ///
    /// # Errors
    /// The API server refuses them.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        let arguments = ["apply", "--validate=strict", "--filename", "-"];
        self.kubectl(&arguments, manifests).await.map(drop)
    }

    /// Runs istioctl, and gives what it prints.
    ///
    /// # Errors
    /// It fails; what it says stands in the error.
    pub async fn istioctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(peer("istio", "istioctl")?);
        run(command.env("KUBECONFIG", self.folder.path().join("kubeconfig")).args(arguments), "")
            .await
    }

    /// Starts a proxy.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn proxy(&self, role: Role, name: &str, namespace: &str) -> Result<Proxy> {
        Proxy::start(self.xds_port, role, name, namespace).await
    }

    /// What istiod has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.istiod.log()
    }
}

async fn etcd(folder: &Path) -> Result<(Process, u16)> {
    let (clients, peers) = (free_port()?, free_port()?);
    let [clients_url, peers_url] = [clients, peers].map(|port| format!("http://127.0.0.1:{port}"));
    let mut command = Command::new(peer("kubernetes", "etcd")?);
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    command.args(["--listen-client-urls", &clients_url, "--advertise-client-urls", &clients_url]);
    command.args(["--listen-peer-urls", &peers_url, "--initial-advertise-peer-urls", &peers_url]);
    command.args(["--initial-cluster", &format!("default={peers_url}")]);
    let mut process = Process::start("etcd", &mut command, folder)?;
    process.wait_until("etcd to be healthy", || client::is_well(clients, "/health")).await?;
    Ok((process, clients))
}

async fn api_server(folder: &Path, etcd: u16) -> Result<Process> {
    let port = free_port()?;
    let path = |name: &str| folder.join(name).display().to_string();
    run(Command::new("openssl").args(["genrsa", "-out", &path("sa.key"), "2048"]), "").await?;
    let public = ["rsa", "-in", &path("sa.key"), "-pubout", "-out", &path("sa.pub")];
    run(Command::new("openssl").args(public), "").await?;
    fs::write(folder.join("tokens.csv"), "token,admin,admin,\"system:masters\"\n")?;
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true,
        }}],
        "users": [{"name": "test", "user": {"token": "token"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;

    let mut command = Command::new(peer("kubernetes", "kube-apiserver")?);
    command.args([
        &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        // It would not have its own address of loopback as an endpoint.
        "--endpoint-reconciler-type=none",
        &format!("--secure-port={port}"),
        &format!("--cert-dir={}", path("certificates")),
        "--service-account-issuer=https://kubernetes.default.svc",
        &format!("--service-account-key-file={}", path("sa.pub")),
        &format!("--service-account-signing-key-file={}", path("sa.key")),
        &format!("--token-auth-file={}", path("tokens.csv")),
        "--authorization-mode=AlwaysAllow",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--disable-admission-plugins=ServiceAccount",
        "--enable-priority-and-fairness=false",
    ]);
    let mut process = Process::start("kube-apiserver", &mut command, folder)?;
    let ready = || async {
        let mut readyz = kubectl(folder, &["get", "--raw", "/readyz"]).ok()?;
        run(&mut readyz, "").await.ok()
    };
    process.wait_until("the API server to be ready", ready).await?;
    Ok(process)
}

async fn istiod(folder: &Path) -> Result<(Process, u16)> {
    let mesh = folder.join("mesh.yaml");
    fs::write(&mesh, MESH)?;
    let home = folder.join("istiod");
    fs::create_dir(&home)?;
    let [http, https, xds, secure_xds, monitoring] =
        [free_port()?, free_port()?, free_port()?, free_port()?, free_port()?];
    let mut command = Command::new(peer("istio", "pilot-discovery")?);
    command
        .current_dir(&home)
        .env("POD_NAME", "istiod-0")
        .env("POD_NAMESPACE", "istio-system")
        .env("CLUSTER_ID", CLUSTER)
        // These are not in a stock Envoy.
        .env("PILOT_ENABLE_ALPN_FILTER", "false")
        .env("PILOT_ENABLE_METADATA_EXCHANGE", "false")
        .arg("discovery")
        .arg("--kubeconfig")
        .arg(folder.join("kubeconfig"))
        .arg("--meshConfig")
        .arg(&mesh)
        .args([
            &format!("--httpAddr=127.0.0.1:{http}"),
            &format!("--httpsAddr=127.0.0.1:{https}"),
            &format!("--grpcAddr=127.0.0.1:{xds}"),
            &format!("--secureGRPCAddr=127.0.0.1:{secure_xds}"),
            &format!("--monitoringAddr=127.0.0.1:{monitoring}"),
            "--ctrlz_address=127.0.0.1",
            "--ctrlz_port=0",
        ]);
    let mut process = Process::start("istiod", &mut command, folder)?;
    process
        .wait_until("istiod to be ready", || client::is_well(http, "/ready"))
        .await
        .context("istiod")?;
    Ok((process, xds))
}

fn kubectl(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(peer("kubernetes", "kubectl")?);
    command.arg("--kubeconfig").arg(folder.join("kubeconfig"));
    // It would keep what it learned of another test's API server.
    command.arg("--cache-dir").arg(folder.join("kubectl")).args(arguments);
    Ok(command)
}
