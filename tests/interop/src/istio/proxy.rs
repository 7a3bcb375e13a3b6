//! A pilot-agent with the stock Envoy that it runs.

use super::{CLUSTER, NODE};
use crate::{Process, peer};
use anyhow::Result;
use harness::{client, free_port};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;
use tokio::process::Command;

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A gateway, at the edge of the mesh.
    Gateway,
    /// One beside a service.
    Sidecar,
}

/// A running proxy. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    admin_port: u16,
    process: Process,
    _folder: TempDir,
}

impl Proxy {
    pub(super) async fn start(
        xds_port: u16,
        role: Role,
        name: &str,
        namespace: &str,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let admin_port = free_port()?;
        let configuration = json!({
            "discoveryAddress": format!("127.0.0.1:{xds_port}"),
            "controlPlaneAuthPolicy": "NONE",
            "binaryPath": harness::envoy::binary()?,
            "proxyBootstrapTemplatePath": peer("istio", "envoy_bootstrap.json")?,
            "proxyAdminPort": admin_port,
            "statusPort": free_port()?,
            "configPath": folder.path().join("etc"),
            "concurrency": 1,
            "terminationDrainDuration": "0s",
        });
        // The agent does not end its Envoy when it is killed; a name space of processes does. And it keeps modules
        // in a folder whose name can't be changed: each has one of its own.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
        command.arg(
            "mkdir -p /var/lib/istio/data && mount -t tmpfs tmpfs /var/lib/istio/data && exec \"$@\"",
        );
        command.arg("agent").arg(peer("istio", "pilot-agent")?).arg("proxy").arg(match role {
            Role::Gateway => "router",
            Role::Sidecar => "sidecar",
        });
        command.args(["--domain", &format!("{namespace}.svc.cluster.local")]);
        command.args(["--proxyLogLevel=warning", "--proxyComponentLogLevel=wasm:info"]);
        command.args(["--log_output_level=default:info"]);
        command
            .current_dir(folder.path())
            .env("POD_NAME", format!("{name}-0"))
            .env("POD_NAMESPACE", namespace)
            .env("INSTANCE_IP", "127.0.0.1")
            .env("SERVICE_ACCOUNT", name)
            .env("ISTIO_META_WORKLOAD_NAME", name)
            .env(
                "ISTIO_META_OWNER",
                format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
            )
            .env("ISTIO_META_MESH_ID", "cluster.local")
            .env("ISTIO_META_CLUSTER_ID", CLUSTER)
            .env("ISTIO_META_NODE_NAME", NODE)
            .env("ISTIO_METAJSON_LABELS", labels(role, name).to_string())
            .env("JWT_POLICY", "none")
            .env("FILE_MOUNTED_CERTS", "true")
            .env("WASM_INSECURE_REGISTRIES", "*")
            .env("ENVOY_PROMETHEUS_PORT", free_port()?.to_string())
            .env("ENVOY_STATUS_PORT", free_port()?.to_string())
            .env("PROXY_CONFIG", configuration.to_string());
        if role == Role::Sidecar {
            // No traffic is taken by iptables: what the proxy listens on stands in a Sidecar resource.
            command.env("ISTIO_META_INTERCEPTION_MODE", "NONE");
        }
        fs::create_dir(folder.path().join("etc"))?;
        let mut process = Process::start(name, &mut command, folder.path())?;
        process
            .wait_until("the proxy to be ready", || client::is_well(admin_port, "/ready"))
            .await?;
        Ok(Self { admin_port, process, _folder: folder })
    }

    /// The port of Envoy's admin interface.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// What the agent and its Envoy have logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// What the labels of the pod would be.
fn labels(role: Role, name: &str) -> Value {
    match role {
        Role::Gateway => json!({
            "app": name, "istio": "ingressgateway", "service.istio.io/canonical-name": name,
        }),
        Role::Sidecar => json!({"app": name, "service.istio.io/canonical-name": name}),
    }
}
