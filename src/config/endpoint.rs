//! Where the collector is, as far as a request to it says: its authority and its path.
//!
//! Which host is really called, and whether by TLS, is the cluster's affair.

use super::cursor::Cursor;
use super::environment::Variables;
use super::error::ConfigError;
use crate::export::protocol::Protocol;

/// What a URL gives to the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `host[:port]`.
    pub authority: String,
    /// The path and the query.
    pub path: String,
    /// Whether the scheme asks for TLS.
    pub is_https: bool,
}

/// The path of OTLP/HTTP for traces (OTLP, section OTLP/HTTP Request).
const PATH: &str = "/v1/traces";

impl Endpoint {
    /// Reads an absolute URL. A URL without a path has the root path.
    ///
    /// None for another scheme than `http` and `https`, user info, a host or a port that can't be
    /// one, a fragment, and what is neither visible nor ASCII.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let rest = rest.strip_prefix("//")?;
        // In any case (RFC 3986, section 3.1).
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let visible = path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#');
        if !is_authority(authority) || !visible {
            return None;
        }
        let root = if path.starts_with('/') { "" } else { "/" };
        Some(Self { authority: authority.to_owned(), path: format!("{root}{path}"), is_https })
    }

    /// What the document says. gRPC has a path of its own.
    #[inline(never)]
    pub(super) fn of_document(
        cursor: &Cursor<'_>,
        protocol: Protocol,
    ) -> Result<Self, ConfigError> {
        let url = cursor.text()?;
        let endpoint = Self::parse(url);
        let (endpoint, example) = match protocol {
            Protocol::Grpc => (
                endpoint.filter(|endpoint| endpoint.path == "/"),
                "http://otel-collector:4317, without a path",
            ),
            Protocol::HttpProtobuf | Protocol::HttpJson => {
                (endpoint, "http://otel-collector:4318/v1/traces, without user and password")
            }
        };
        endpoint.ok_or_else(|| cursor.refuse(&format!("a URL such as {example}")))
    }

    /// The variable for traces as it is; or else the one for all signals, with the path added
    /// (OTLP Exporter, section Endpoint URLs for OTLP/HTTP).
    #[inline(never)]
    pub(super) fn of_variable(variables: &mut Variables<'_>) -> Option<Self> {
        let accepted = "a URL such as http://otel-collector:4318, without user and password";
        let of_traces = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        variables.read(&of_traces, accepted, Self::parse).or_else(|| {
            variables.read(&["OTEL_EXPORTER_OTLP_ENDPOINT"], accepted, |url| {
                Self::parse(url)?.with_path_of_traces()
            })
        })
    }

    /// The endpoint where none is configured: called by its cluster's name, if that can be a host.
    /// Istio's names of clusters can't, but hold one: `outbound|4318||collector.ns.svc`.
    pub(super) fn of_cluster(cluster: &str) -> Self {
        let mut parts = cluster.split('|');
        let authority = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(_), Some(port), Some(_), Some(host)) => format!("{host}:{port}"),
            _ => cluster.to_owned(),
        };
        let authority = Some(authority).filter(|authority| is_authority(authority));
        let authority = authority.unwrap_or_else(|| "localhost".to_owned());
        Self { authority, path: PATH.to_owned(), is_https: false }
    }

    fn with_path_of_traces(self) -> Option<Self> {
        // There is no path to add to behind a query.
        let base = Some(self.path.trim_end_matches('/')).filter(|path| !path.contains('?'))?;
        Some(Self { path: format!("{base}{PATH}"), ..self })
    }
}

/// `host[:port]` (RFC 3986, section 3.2): a name, an IPv4 address, or an IPv6 address in brackets.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => {
            address.contains(':')
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        }
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        }
    };
    // Parsing alone would accept a sign.
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_an_authority_and_a_path() {
        let cases: &[(&str, Option<(&str, &str)>, &str)] = &[
            ("http://c:4318/v1/traces", Some(("c:4318", "/v1/traces")), "the usual"),
            ("https://c.example/otlp", Some(("c.example", "/otlp")), "TLS, no port"),
            ("HTTP://c:4318/a", Some(("c:4318", "/a")), "a scheme in upper case"),
            ("Https://C/a", Some(("C", "/a")), "one in both"),
            ("http://c:4318", Some(("c:4318", "/")), "no path is the root path"),
            ("http://c/?a=b#", None, "an empty fragment"),
            ("http://c/v1?tenant=a", Some(("c", "/v1?tenant=a")), "a query"),
            ("http://c?tenant=a", Some(("c", "/?tenant=a")), "a query without a path"),
            ("http://10.0.0.1:4318/", Some(("10.0.0.1:4318", "/")), "an IPv4 address"),
            ("http://[::1]:4318/", Some(("[::1]:4318", "/")), "an IPv6 address"),
            ("http://[fe80::1]/", Some(("[fe80::1]", "/")), "an IPv6 address without a port"),
            ("http://otel_collector:1", Some(("otel_collector:1", "/")), "an underscore"),
            ("http://::1/", None, "an IPv6 address without brackets"),
            ("http://[c]/", None, "a name in brackets"),
            ("c:4318", None, "no scheme"),
            ("grpc://c:4317", None, "another scheme"),
            ("://c:4317", None, "an empty scheme"),
            ("http:/c/http://c", None, "a scheme elsewhere"),
            ("http://", None, "no host"),
            ("http:///v1/traces", None, "an empty host"),
            ("http://:4318", None, "a port alone"),
            ("http://c:", None, "an empty port"),
            ("http://c:0", None, "port 0"),
            ("http://c:65536", None, "a port over 65535"),
            ("http://c:+80", None, "a port with a sign"),
            ("http://user:password@c/", None, "user info: that belongs into a header"),
            ("http://c d/", None, "a space in the host"),
            ("http://c/a b", None, "a space in the path"),
            ("http://c/#top", None, "a fragment"),
            ("http://c/é", None, "not ASCII"),
        ];
        for (url, expected, reason) in cases {
            let endpoint = Endpoint::parse(url);
            let found = endpoint.as_ref().map(|it| (it.authority.as_str(), it.path.as_str()));
            assert_eq!(found, *expected, "{reason}: {url}");
        }
    }

    #[test]
    fn a_cluster_gives_an_authority_that_servers_accept() {
        let cases = [
            ("otel_collector", "otel_collector", "a name that can be a host"),
            ("outbound|4318||otel.ns.svc.cluster.local", "otel.ns.svc.cluster.local:4318", "Istio"),
            ("outbound|4318|v1|otel.ns.svc", "otel.ns.svc:4318", "Istio, with a subset"),
            ("outbound_.4318_._.otel.ns.svc", "outbound_.4318_._.otel.ns.svc", "Istio, for SNI"),
            ("httproute/default/otel/rule/0", "localhost", "Envoy Gateway"),
            ("a|b", "localhost", "no host"),
            ("outbound|http||c", "localhost", "no port"),
        ];
        for (cluster, authority, reason) in cases {
            assert_eq!(Endpoint::of_cluster(cluster).authority, authority, "{reason}");
        }
    }

    #[test]
    fn the_variable_for_all_signals_names_a_base() {
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let cases: &[(&[(&str, &str)], Option<&str>, &str)] = &[
            (&[(all, "http://c:4318")], Some("/v1/traces"), "the path is added"),
            (&[(all, "http://c:4318/")], Some("/v1/traces"), "to one slash"),
            (&[(all, "http://c/base")], Some("/base/v1/traces"), "to a base"),
            (&[(all, "http://c/?a=b")], None, "not to a query"),
            (&[(traces, "http://c/base")], Some("/base"), "the one for traces stands as it is"),
            (&[(traces, "http://c"), (all, "http://d/base")], Some("/"), "and goes before"),
            (
                &[(traces, "c"), (all, "http://d/base")],
                Some("/base/v1/traces"),
                "unless it can't be used",
            ),
            (&[], None, "neither"),
        ];
        for (variables, path, reason) in cases {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let environment = variables.iter().map(owned).collect();
            let endpoint = Endpoint::of_variable(&mut Variables::new(&environment));
            assert_eq!(endpoint.map(|it| it.path).as_deref(), *path, "{reason}");
        }
    }
}
