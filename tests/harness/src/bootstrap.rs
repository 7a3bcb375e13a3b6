//! Envoy's configuration for a test: a file that people copy, with other ports and additions.
//!
//! It changes only what a test must change; what the file says otherwise stays.

use crate::tls::Certificate;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// A bootstrap as JSON, which Envoy takes as well as YAML.
#[derive(Clone, Debug)]
pub struct Bootstrap(Value);

/// Where the filters of the listener are.
const FILTERS: &str = "/filter_chains/0/filters/0/typed_config/http_filters";
const ENDPOINT: &str =
    "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
const ROUTES: &str = "/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes";

impl Bootstrap {
    /// Reads a YAML file, its path relative to the repository's root. The module is the built one.
    ///
    /// # Errors
    /// There is no such file, or no module.
    pub fn from_file(path: &str) -> Result<Self> {
        let text = std::fs::read_to_string(crate::root().join(path)).context(path.to_owned())?;
        let module = crate::module()?;
        let text = text.replace("dist/otel-proxy-wasm.wasm", &module.to_string_lossy());
        Self(serde_yaml_ng::from_str(&text)?).with_free_ports()
    }

    /// The configuration for a test of the filter: `envoy/envoy.yaml`, with these ports behind it. Callers are trusted.
    ///
    /// # Errors
    /// The file is not as it is expected to be.
    pub fn edge(upstream: u16, collector: u16) -> Result<Self> {
        let edge = Self::from_file("envoy/envoy.yaml")?;
        let edge = edge.replace(r#", \"incoming\": \"restart\""#, "")?;
        let edge = edge.cluster("upstream", upstream)?.cluster("upstream_http2", upstream)?;
        edge.cluster("otel_collector", collector)
    }

    fn with_free_ports(mut self) -> Result<Self> {
        let admin = crate::free_port()?;
        *self.at("/admin/address/socket_address/port_value")? = json!(admin);
        // There are none where listeners come from elsewhere.
        let listeners = self.0.pointer_mut("/static_resources/listeners");
        for listener in listeners.and_then(Value::as_array_mut).into_iter().flatten() {
            let port = listener.pointer_mut("/address/socket_address/port_value");
            *port.context("a listener's port")? = json!(crate::free_port()?);
        }
        Ok(self)
    }

    fn at(&mut self, pointer: &str) -> Result<&mut Value> {
        self.0.pointer_mut(pointer).with_context(|| format!("no {pointer}"))
    }

    fn listener(&mut self, name: &str) -> Result<&mut Value> {
        let listeners = self.at("/static_resources/listeners")?.as_array_mut();
        let mut listeners = listeners.into_iter().flatten();
        listeners.find(|it| it["name"] == name).with_context(|| format!("no listener {name}"))
    }

    fn in_listener(&mut self, name: &str, pointer: &str) -> Result<&mut Value> {
        let value = self.listener(name)?.pointer_mut(pointer);
        value.with_context(|| format!("no {pointer} in {name}"))
    }

    /// The port of the admin interface.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        port(self.0.pointer("/admin/address/socket_address/port_value"))
    }

    /// The port of a listener; zero if there is no such listener.
    #[must_use]
    pub fn port(&self, listener: &str) -> u16 {
        let listeners = self.0.pointer("/static_resources/listeners").and_then(Value::as_array);
        let listener = listeners.into_iter().flatten().find(|it| it["name"] == listener);
        port(listener.and_then(|it| it.pointer("/address/socket_address/port_value")))
    }

    /// The text that Envoy reads.
    #[must_use]
    pub fn json(&self) -> String {
        self.0.to_string()
    }

    /// Replaces a text, such as the name of a file, wherever it stands.
    ///
    /// # Errors
    /// It stands nowhere.
    pub fn replace(self, from: &str, to: &str) -> Result<Self> {
        let text = self.json();
        ensure!(text.contains(from), "no {from}");
        Ok(Self(serde_json::from_str(&text.replace(from, to))?))
    }

    /// Sends a cluster's requests to a port of loopback. A cluster that is not there is added.
    ///
    /// # Errors
    /// The cluster has no address.
    pub fn cluster(self, name: &str, port: u16) -> Result<Self> {
        self.cluster_at(name, "127.0.0.1", port)
    }

    /// Sends a cluster's requests to any host. A cluster that is not there is added.
    ///
    /// # Errors
    /// The cluster has no address.
    pub fn cluster_at(mut self, name: &str, host: &str, port: u16) -> Result<Self> {
        let clusters = self.at("/static_resources/clusters")?.as_array_mut().context("clusters")?;
        if let Some(cluster) = clusters.iter_mut().find(|it| it["name"] == name) {
            let address =
                "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
            *cluster.pointer_mut(address).context("an endpoint")? =
                json!({"address": host, "port_value": port});
        } else {
            clusters.push(cluster(name, host, port));
        }
        Ok(self)
    }

    /// The port that a cluster's requests go to; zero if there is no such cluster.
    #[must_use]
    pub fn cluster_port(&self, name: &str) -> u16 {
        let clusters = self.0.pointer("/static_resources/clusters").and_then(Value::as_array);
        let cluster = clusters.into_iter().flatten().find(|it| it["name"] == name);
        port(cluster.and_then(|it| it.pointer(ENDPOINT)?.get("port_value")))
    }

    /// Speaks HTTP/2 to a cluster.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn http2_cluster(self, name: &str) -> Result<Self> {
        let options = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        });
        self.cluster_part(name, "typed_extension_protocol_options", options)
    }

    /// Sets a part of a cluster.
    ///
    /// # Errors
    /// There is no such cluster.
    pub fn cluster_part(mut self, name: &str, key: &str, value: Value) -> Result<Self> {
        self.cluster_mut(name)?[key] = value;
        Ok(self)
    }

    fn cluster_mut(&mut self, name: &str) -> Result<&mut Value> {
        let clusters = self.at("/static_resources/clusters")?.as_array_mut().context("clusters")?;
        clusters.iter_mut().find(|it| it["name"] == name).context("no such cluster")
    }

    /// Sets options that a cluster has for each version of HTTP, such as `max_stream_duration`. It speaks what it was told to.
    ///
    /// # Errors
    /// There is no such cluster, or it was not told what to speak.
    pub fn cluster_protocol(mut self, name: &str, options: Value) -> Result<Self> {
        let extensions = &mut self.cluster_mut(name)?["typed_extension_protocol_options"];
        let protocol = extensions.get_mut("envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
        protocol.context("no protocol")?["common_http_protocol_options"] = options;
        Ok(self)
    }

    /// Takes a cluster away.
    ///
    /// # Errors
    /// There are no clusters.
    pub fn without_cluster(mut self, name: &str) -> Result<Self> {
        let clusters = self.at("/static_resources/clusters")?.as_array_mut().context("clusters")?;
        clusters.retain(|cluster| cluster["name"] != name);
        Ok(self)
    }

    /// Gives the filter of a listener this configuration: any bytes, in a `StringValue`.
    ///
    /// # Errors
    /// The listener has no Wasm filter.
    pub fn filter(mut self, listener: &str, configuration: &str) -> Result<Self> {
        let filters = self.in_listener(listener, FILTERS)?.as_array_mut().context("filters")?;
        let filter = filters.iter_mut().find(|filter| filter["name"] == "otel");
        filter.context("no filter otel")?["typed_config"]["config"]["configuration"] = json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration,
        });
        Ok(self)
    }

    /// Gives the filter of a listener this part of its Wasm configuration, such as
    /// `/config/configuration`; `null` takes it away.
    ///
    /// # Errors
    /// The listener has no Wasm filter, or the filter no such parent.
    pub fn wasm(mut self, listener: &str, parent: &str, key: &str, value: Value) -> Result<Self> {
        let filters = self.in_listener(listener, FILTERS)?.as_array_mut().context("filters")?;
        let filter = filters.iter_mut().find(|filter| filter["name"] == "otel");
        let config = filter.context("no filter otel")?["typed_config"].pointer_mut(parent);
        let config = config.and_then(Value::as_object_mut).context("no such part")?;
        if value.is_null() {
            config.remove(key);
        } else {
            config.insert(key.to_owned(), value);
        }
        Ok(self)
    }

    /// Takes the filter away: how Envoy answers without it.
    ///
    /// # Errors
    /// The listener has no filters.
    pub fn without_filter(mut self, listener: &str) -> Result<Self> {
        let filters = self.in_listener(listener, FILTERS)?.as_array_mut().context("filters")?;
        filters.retain(|filter| filter["name"] != "otel");
        Ok(self)
    }

    /// Puts a filter into a listener's chain: at the start, or right before the router.
    ///
    /// # Errors
    /// The listener has no filters.
    pub fn http_filter(mut self, listener: &str, place: Place, filter: Value) -> Result<Self> {
        let filters = self.in_listener(listener, FILTERS)?.as_array_mut().context("filters")?;
        let index = match place {
            Place::First => 0,
            Place::BeforeRouter => filters.len().saturating_sub(1),
        };
        filters.insert(index, filter);
        Ok(self)
    }

    /// A filter of a listener's chain, as it stands there, to put it there again under another name.
    ///
    /// # Errors
    /// The listener has no such filter.
    pub fn http_filter_of(&self, listener: &str, name: &str) -> Result<Value> {
        let mut bootstrap = self.clone();
        let filters = bootstrap.in_listener(listener, FILTERS)?.as_array().context("filters")?;
        let filter = filters.iter().find(|filter| filter["name"] == name);
        let mut filter = filter.with_context(|| format!("no filter {name}"))?.clone();
        filter["name"] = json!(format!("{name}_again"));
        Ok(filter)
    }

    /// Puts a route before all others.
    ///
    /// # Errors
    /// The listener has no routes.
    pub fn route(mut self, listener: &str, route: Value) -> Result<Self> {
        let routes = self.in_listener(listener, ROUTES)?.as_array_mut().context("routes")?;
        routes.insert(0, route);
        Ok(self)
    }

    /// Puts these in the place of all routes.
    ///
    /// # Errors
    /// The listener has no routes.
    pub fn routes(mut self, listener: &str, routes: Vec<Value>) -> Result<Self> {
        *self.in_listener(listener, ROUTES)? = Value::Array(routes);
        Ok(self)
    }

    /// Sets what the last route, the file's own, matches.
    ///
    /// # Errors
    /// The listener has no routes.
    pub fn default_route_match(mut self, listener: &str, matches: Value) -> Result<Self> {
        let routes = self.in_listener(listener, ROUTES)?.as_array_mut().context("routes")?;
        routes.last_mut().context("a route")?["match"] = matches;
        Ok(self)
    }

    /// Sets a part of a listener's connection manager.
    ///
    /// # Errors
    /// The listener has none.
    pub fn connection_manager(mut self, listener: &str, key: &str, value: Value) -> Result<Self> {
        let manager = self.in_listener(listener, "/filter_chains/0/filters/0/typed_config")?;
        manager[key] = value;
        Ok(self)
    }

    /// Sets a part of Envoy's node, such as the `metadata` that Istio writes; `null` takes it away.
    ///
    /// # Errors
    /// The configuration has no node.
    pub fn node(mut self, key: &str, value: Value) -> Result<Self> {
        self.at("/node")?[key] = value;
        Ok(self)
    }

    /// Sets runtime values.
    ///
    /// # Errors
    /// The configuration is no object.
    pub fn runtime(mut self, values: Value) -> Result<Self> {
        let root = self.0.as_object_mut().context("an object")?;
        let mut layer = json!({"name": "static"});
        layer["static_layer"] = values;
        root.insert("layered_runtime".to_owned(), json!({"layers": [layer]}));
        Ok(self)
    }

    /// Adds a listener that is like another, on a port of its own.
    ///
    /// # Errors
    /// There is no such listener, or no free port.
    pub fn copy_listener(mut self, from: &str, to: &str) -> Result<Self> {
        let mut listener = self.listener(from)?.clone();
        listener["name"] = json!(to);
        let listeners = self.at("/static_resources/listeners")?.as_array_mut();
        listeners.context("listeners")?.push(listener);
        self.listener_port(to, crate::free_port()?)
    }

    /// Makes a listener use this port.
    ///
    /// # Errors
    /// There is no such listener.
    pub fn listener_port(mut self, listener: &str, port: u16) -> Result<Self> {
        *self.in_listener(listener, "/address/socket_address/port_value")? = json!(port);
        Ok(self)
    }

    /// Sets a part of a listener.
    ///
    /// # Errors
    /// There is no such listener.
    pub fn listener_part(mut self, listener: &str, key: &str, value: Value) -> Result<Self> {
        self.listener(listener)?[key] = value;
        Ok(self)
    }

    /// Makes a listener speak TLS.
    ///
    /// # Errors
    /// There is no such listener.
    pub fn tls(mut self, name: &str, certificate: &Certificate) -> Result<Self> {
        self.in_listener(name, "/filter_chains/0")?["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": tls_context(certificate),
            },
        });
        Ok(self)
    }

    /// Has a listener that speaks TLS ask clients for a certificate, which they may leave out, and accept this one alone.
    ///
    /// # Errors
    /// There is no such listener, or it does not speak TLS.
    pub fn client_certificates(mut self, name: &str, accepted: &Certificate) -> Result<Self> {
        let tls = self.in_listener(name, "/filter_chains/0/transport_socket/typed_config")?;
        tls["require_client_certificate"] = json!(false);
        tls["common_tls_context"]["validation_context"] =
            json!({"trusted_ca": {"inline_string": accepted.chain}});
        Ok(self)
    }

    /// Makes a listener one for other parts of Envoy alone, and sends a cluster's requests to it, for an endpoint that is known by
    /// this id.
    ///
    /// # Errors
    /// There is no such listener, or no such cluster.
    pub fn internal(mut self, listener: &str, cluster: &str, endpoint_id: &str) -> Result<Self> {
        let part = self.listener(listener)?;
        part["address"] = Value::Null;
        part["internal_listener"] = json!({});
        let clusters = self.at("/static_resources/clusters")?.as_array_mut().context("clusters")?;
        let part = clusters.iter_mut().find(|it| it["name"] == cluster);
        let part = part.context("no such cluster")?;
        let address = json!({"server_listener_name": listener, "endpoint_id": endpoint_id});
        part["type"] = json!("STATIC");
        part["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] =
            json!({"envoy_internal_address": address});
        self.0["bootstrap_extensions"] = json!([{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            },
        }]);
        Ok(self)
    }

    /// Makes a listener speak HTTP/3, over QUIC.
    ///
    /// # Errors
    /// There is no such listener.
    pub fn http3(mut self, name: &str, certificate: &Certificate) -> Result<Self> {
        self = self.connection_manager(name, "codec_type", json!("HTTP3"))?;
        self = self.connection_manager(name, "http3_protocol_options", json!({}))?;
        let listener = self.listener(name)?;
        listener["address"]["socket_address"]["protocol"] = json!("UDP");
        listener["udp_listener_config"] = json!({
            "quic_options": {}, "downstream_socket_config": {"prefer_gro": true},
        });
        listener["filter_chains"][0]["transport_socket"] = json!({
            "name": "envoy.transport_sockets.quic",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
                "downstream_tls_context": {"common_tls_context": tls_context(certificate)},
            },
        });
        Ok(self)
    }

    /// The same configuration under new ports, to run beside.
    ///
    /// # Errors
    /// No port is free.
    pub fn beside(self) -> Result<Self> {
        self.with_free_ports()
    }

    /// Writes the configuration where Envoy can read it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        match self.admin_port() {
            0 => bail!("the configuration has no admin interface"),
            _ => Ok(std::fs::write(path, self.json())?),
        }
    }
}

/// A place in a chain of filters.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Before the tracing filter.
    First,
    /// After it.
    BeforeRouter,
}

fn tls_context(certificate: &Certificate) -> Value {
    json!({"tls_certificates": [{
        "certificate_chain": {"inline_string": certificate.chain},
        "private_key": {"inline_string": certificate.key},
    }]})
}

fn cluster(name: &str, host: &str, port: u16) -> Value {
    json!({
        "name": name, "type": "STRICT_DNS", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {
            "address": {"socket_address": {"address": host, "port_value": port}}
        }}]}]},
    })
}

fn port(value: Option<&Value>) -> u16 {
    value.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or_default()
}
