//! Where the filter's configurations stand in a file: Istio's and Envoy Gateway's resources, Envoy's own configuration, or the
//! configuration alone. Other resources are passed over.
//!
//! Of the Wasm filters in a file nobody says which are this one: all of them are taken for it.

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

/// A configuration, as the filter would get it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it stands; empty if it is the whole file.
    pub(crate) name: String,
    /// The bytes that the filter reads.
    pub(crate) json: Vec<u8>,
    /// The variables of its VM, as far as they are known here.
    pub(crate) variables: Vec<(String, String)>,
    /// The clusters of the file, if it has some: a proxy may get others from elsewhere.
    pub(crate) clusters: Vec<String>,
}

impl Found {
    fn new(name: &str, json: Vec<u8>, variables: Vec<(String, String)>) -> Self {
        Self { name: name.to_owned(), json, variables, clusters: Vec::new() }
    }
}

const WASM_FILTER: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";
/// The first bytes of a `google.protobuf.Struct`, of which the filter says what is wrong.
const STRUCT: &[u8] = b"\x0a\x01\x00";

/// All configurations in a text.
pub(crate) fn configurations(file: &str, text: &str) -> Result<Vec<Found>> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| file.to_lowercase().ends_with(end));
    // As it stands: the parser has its own words for what is no JSON.
    let alone = || Found::new("", text.as_bytes().to_vec(), Vec::new());
    let documents = match documents(text) {
        Ok(documents) => documents,
        Err(_) if !is_yaml => return Ok(vec![alone()]),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for document in &documents {
        if !is_alone(document) {
            let before = found.len();
            search(document, &mut found);
            let clusters = clusters(document);
            found.iter_mut().skip(before).for_each(|it| it.clusters.clone_from(&clusters));
        } else if is_yaml || !text.trim_start().starts_with('{') {
            let json = document.to_string().into_bytes();
            found.push(Found::new("", json, Vec::new()));
        } else {
            found.push(alone());
        }
    }
    Ok(found)
}

/// The names of the clusters in an Envoy's own configuration.
fn clusters(document: &Value) -> Vec<String> {
    let resources = ["static_resources", "staticResources"].map(|key| &document[key]["clusters"]);
    let clusters = resources.into_iter().filter_map(Value::as_array).flatten();
    clusters.filter_map(|cluster| Some(cluster["name"].as_str()?.to_owned())).collect()
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Whether a document is the filter's configuration, and not what holds one.
fn is_alone(document: &Value) -> bool {
    const OF_OTHERS: [&str; 6] =
        ["kind", "apiVersion", "static_resources", "staticResources", "resources", "@type"];
    !OF_OTHERS.iter().any(|key| document.get(key).is_some())
}

/// Looks for configurations in a value.
fn search(value: &Value, found: &mut Vec<Found>) {
    let spec = &value["spec"];
    match value["kind"].as_str() {
        Some("WasmPlugin") => return found.push(of_istio(value, spec)),
        Some("TrafficExtension") if spec["wasm"].is_object() => {
            return found.push(of_istio(value, &spec["wasm"]));
        }
        Some("EnvoyExtensionPolicy") => {
            let filters = spec["wasm"].as_array().into_iter().flatten();
            return found.extend(filters.map(|filter| of_envoy_gateway(value, filter)));
        }
        _ => {}
    }
    if value["@type"] == WASM_FILTER {
        return found.push(of_envoy(&value["config"]));
    }
    // Istio's EnvoyFilter, among others, has a typed struct in place of the message.
    if value["type_url"] == WASM_FILTER {
        return found.push(of_envoy(&value["value"]["config"]));
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| search(member, found)),
        Value::Array(items) => items.iter().for_each(|item| search(item, found)),
        _ => {}
    }
}

/// The kind, name space and name of a resource.
fn name(resource: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &resource["metadata"];
    let (kind, name) = (text(&resource["kind"]), text(&metadata["name"]));
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// What a plugin of Istio hands over: nothing at all where it has no configuration.
fn of_istio(resource: &Value, plugin: &Value) -> Found {
    let mut variables = Vec::new();
    for variable in plugin["vmConfig"]["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        if variable["valueFrom"] == "HOST" {
            variables.extend(of_host(&name));
        } else {
            variables.push((name, variable["value"].as_str().unwrap_or_default().to_owned()));
        }
    }
    Found::new(&name(resource), bytes(&plugin["pluginConfig"]), variables)
}

fn of_envoy_gateway(policy: &Value, filter: &Value) -> Found {
    let keys = filter["env"]["hostKeys"].as_array().into_iter().flatten();
    let variables = keys.filter_map(Value::as_str).filter_map(of_host).collect();
    let name = format!("{} {}", name(policy), filter["name"].as_str().unwrap_or_default());
    Found::new(name.trim_end(), bytes(&filter["config"]), variables)
}

fn of_envoy(config: &Value) -> Found {
    let either = |value: &Value, keys: [&str; 2]| {
        keys.iter().find_map(|key| value.get(key)).cloned().unwrap_or_default()
    };
    let vm = either(config, ["vm_config", "vmConfig"]);
    let environment = either(&vm, ["environment_variables", "environmentVariables"]);
    let mut variables: Vec<_> = either(&environment, ["host_env_keys", "hostEnvKeys"])
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter_map(of_host)
        .collect();
    let values = either(&environment, ["key_values", "keyValues"]);
    for (name, value) in values.as_object().into_iter().flatten() {
        variables.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
    }
    let configuration = &config["configuration"];
    let json = match &configuration["@type"] {
        Value::Null => Vec::new(),
        kind if kind == STRING_VALUE => {
            configuration["value"].as_str().unwrap_or_default().as_bytes().to_vec()
        }
        _ => STRUCT.to_vec(),
    };
    let name = config["name"].as_str().unwrap_or_default();
    Found::new(format!("Wasm filter {name}").trim_end(), json, variables)
}

/// A variable that a proxy takes from its own environment, if this process has it.
fn of_host(name: &str) -> Option<(String, String)> {
    std::env::var(name).ok().map(|value| (name.to_owned(), value))
}

fn bytes(configuration: &Value) -> Vec<u8> {
    match configuration {
        Value::Null => Vec::new(),
        configuration => configuration.to_string().into_bytes(),
    }
}
