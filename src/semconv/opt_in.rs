//! Attributes that spans have if they are asked for: those that the conventions have as Opt-In, and what Envoy knows beside.
//!
//! Names are those of semantic conventions 1.44.0, or Envoy's own below `envoy.`. Which of them are wanted is the configuration's affair.

use super::address::HostPort;
use super::facts::Facts;
use super::value::ValueType;
use crate::envoy::address;
use crate::envoy::wire::number;
use crate::otlp::SpanKind;

/// An attribute that a span has if it is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct OptIn {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: ValueType,
    /// The attributes of Envoy's that a SERVER and a CLIENT span have it from; empty where such a span does not have it.
    attributes: [&'static str; 2],
    reading: Reading,
}

/// What becomes of Envoy's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing.
    Plain,
    /// The port of the peer, if that is the client.
    ClientPort,
    /// Hexadecimal digits in upper case.
    Digest,
    /// The host of an address.
    Host,
    /// Its port.
    Port,
    /// Nanoseconds become seconds.
    Seconds,
    /// What kind of program the user agent is.
    Synthetic,
    /// `TLSv1.3` becomes `1.3`.
    TlsVersion,
    /// With its headers, of which Envoy knows nothing any more when a request over HTTP/3 ends.
    TotalSize,
    /// What the protocol goes over.
    Transport,
}

/// Of both kinds of spans.
const fn both(
    name: &'static str,
    kind: ValueType,
    attribute: &'static str,
    reading: Reading,
) -> OptIn {
    OptIn { name, kind, attributes: [attribute, attribute], reading }
}

/// Of each kind of spans.
const fn each(name: &'static str, attributes: [&'static str; 2], reading: Reading) -> OptIn {
    OptIn { name, kind: ValueType::String, attributes, reading }
}

/// All there are, in the order of the alphabet.
pub static OPT_IN: [OptIn; 19] = {
    use Reading::{
        ClientPort, Digest, Host, Plain, Port, Seconds, Synthetic, TlsVersion, TotalSize, Transport,
    };
    use ValueType::{Double, Int};
    [
        OptIn {
            name: "client.port",
            kind: Int,
            attributes: ["source.address", ""],
            reading: ClientPort,
        },
        both("envoy.backend_latency", Double, "response.backend_latency", Seconds),
        both("envoy.cx_pool_ready_duration", Double, "upstream.cx_pool_ready_duration", Seconds),
        each(
            "envoy.dns_san_peer_certificate",
            ["connection.dns_san_peer_certificate", "upstream.dns_san_peer_certificate"],
            Plain,
        ),
        each("envoy.requested_server_name", ["connection.requested_server_name", ""], Plain),
        each(
            "envoy.uri_san_peer_certificate",
            ["connection.uri_san_peer_certificate", "upstream.uri_san_peer_certificate"],
            Plain,
        ),
        both("http.request.body.size", Int, "request.size", Plain),
        both("http.request.size", Int, "request.total_size", TotalSize),
        both("http.response.body.size", Int, "response.size", Plain),
        both("http.response.size", Int, "response.total_size", TotalSize),
        each("network.local.address", ["destination.address", "upstream.local_address"], Host),
        OptIn {
            name: "network.local.port",
            kind: Int,
            attributes: ["destination.address", "upstream.local_address"],
            reading: Port,
        },
        each("network.transport", ["destination.address", ""], Transport),
        each("tls.client.hash.sha256", ["connection.sha256_peer_certificate_digest", ""], Digest),
        each(
            "tls.client.subject",
            ["connection.subject_peer_certificate", "upstream.subject_local_certificate"],
            Plain,
        ),
        each(
            "tls.protocol.version",
            ["connection.tls_version", "upstream.tls_version"],
            TlsVersion,
        ),
        each("tls.server.hash.sha256", ["", "upstream.sha256_peer_certificate_digest"], Digest),
        each(
            "tls.server.subject",
            ["connection.subject_local_certificate", "upstream.subject_peer_certificate"],
            Plain,
        ),
        each("user_agent.synthetic.type", ["", ""], Synthetic),
    ]
};

impl OptIn {
    /// The attribute of Envoy's that a span of this kind has it from; empty if none is.
    #[must_use]
    pub fn attribute(&self, kind: SpanKind) -> &'static str {
        let [server, client] = self.attributes;
        match kind {
            SpanKind::Server => server,
            SpanKind::Client => client,
        }
    }

    /// Gives its value, as the host writes it; none if there is none. `told` is what Envoy's attribute says.
    #[inline(never)] // Most configurations have none.
    pub(super) fn read(&self, kind: SpanKind, facts: &Facts<'_>, told: &[u8], value: &mut Vec<u8>) {
        let version = facts.protocol_version;
        let mut socket = HostPort::of_socket(address::within(told));
        if self.reading == Reading::ClientPort {
            let is_client = facts.downstream.host == &*facts.client;
            socket.port = facts.downstream.port.filter(|_| is_client);
        }
        #[expect(clippy::cast_precision_loss, reason = "less than a microsecond of a year")]
        let number = match self.reading {
            Reading::Seconds => (number(told) as f64 / 1e9).to_bits(),
            _ => socket.port.map_or(0, u64::from),
        }
        .to_le_bytes();
        value.extend_from_slice(match self.reading {
            Reading::Plain | Reading::Digest => told,
            Reading::TotalSize if version != b"3" => told,
            Reading::Host => socket.host,
            Reading::TlsVersion => told.strip_prefix(b"TLSv").unwrap_or_default(),
            Reading::Seconds if !told.is_empty() => &number,
            Reading::Port | Reading::ClientPort if socket.port.is_some() => &number,
            Reading::Transport => match (told, version) {
                ([b'/' | b'@', ..], _) => b"unix",
                (_, b"3") => b"quic",
                _ if socket.port.is_some() => b"tcp",
                _ => b"",
            },
            Reading::Synthetic if kind == SpanKind::Server => synthetic(facts.user_agent),
            _ => &[],
        });
        if self.reading == Reading::Digest {
            value.make_ascii_uppercase();
        }
    }
}

/// What a user agent is, if it is a program that nobody sits before: a guess by what such programs write.
fn synthetic(user_agent: &[u8]) -> &'static [u8] {
    /// Tests, whose names may have `bot` in them; behind an empty word bots. One text, since the loop over an array would be unrolled.
    const WORDS: &[u8] = b"alwayson elb-healthchecker googlehc kube-probe pingdom synthetic uptimerobot  bot crawler spider";
    let mut kind: &[u8] = b"test";
    for word in WORDS.split(|byte| *byte == b' ') {
        if word.is_empty() {
            kind = b"bot";
        } else if user_agent.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)) {
            return kind;
        }
    }
    b""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::attributes::Outcome;
    use crate::envoy::headers::Headers;
    use crate::semconv::request::RequestProtocol;

    /// The value of an attribute of a span of this kind: of a request from 10.0.0.1 with this user agent, over this protocol.
    fn value(name: &str, kind: SpanKind, told: &[u8], agent: &str, protocol: &str) -> Vec<u8> {
        let mut headers = Headers::default();
        headers.add(b"user-agent", agent.as_bytes());
        if agent == "forwarded" {
            headers.add(b"x-forwarded-for", b"10.9.9.9");
        }
        let outcome = Outcome {
            protocol: protocol.as_bytes(),
            source_address: b"10.0.0.1:4711",
            ..Outcome::default()
        };
        let response = Headers::default();
        let facts = Facts::read(RequestProtocol::Http, &headers, &response, None, outcome);
        let known = OPT_IN.iter().find(|it| it.name == name).expect(name);
        let mut value = Vec::new();
        known.read(kind, &facts, told, &mut value);
        value
    }

    #[test]
    fn values_are_made_of_what_envoy_says() {
        use SpanKind::{Client, Server};
        let number = |it: u64| it.to_le_bytes().to_vec();
        let text = |it: &str| it.as_bytes().to_vec();
        let nanoseconds = 1_500_000_000_u64.to_le_bytes();
        let cases: [(&str, SpanKind, &[u8], &str, &str, Vec<u8>, &str); 28] = [
            ("client.port", Server, b"", "", "HTTP/1.1", number(4711), "the peer is the client"),
            ("client.port", Server, b"", "forwarded", "HTTP/1.1", text(""), "it is not"),
            ("http.request.size", Server, &number(7), "", "HTTP/2", number(7), "with headers"),
            ("http.request.size", Server, &number(7), "", "HTTP/3", text(""), "without"),
            ("http.response.size", Client, &number(7), "", "HTTP/3", text(""), "without"),
            ("http.request.body.size", Server, &number(7), "", "HTTP/3", number(7), "a body's"),
            (
                "envoy.backend_latency",
                Server,
                &nanoseconds,
                "",
                "",
                1.5_f64.to_le_bytes().into(),
                "seconds",
            ),
            ("envoy.backend_latency", Server, b"", "", "", text(""), "no upstream answered"),
            ("network.local.address", Server, b"10.0.0.2:80", "", "", text("10.0.0.2"), "IPv4"),
            ("network.local.address", Client, b"[::1]:80", "", "", text("::1"), "IPv6"),
            ("network.local.address", Server, b"/run/a", "", "", text("/run/a"), "a socket's file"),
            ("network.local.address", Server, b"envoy://a/b", "", "", text(""), "a part of Envoy"),
            ("network.local.port", Server, b"10.0.0.2:80", "", "", number(80), "IPv4"),
            ("network.local.port", Client, b"/run/a", "", "", text(""), "a socket's file"),
            ("network.transport", Server, b"10.0.0.2:80", "", "HTTP/2", text("tcp"), "TCP"),
            ("network.transport", Server, b"10.0.0.2:80", "", "HTTP/3", text("quic"), "QUIC"),
            ("network.transport", Server, b"/run/a", "", "HTTP/1.1", text("unix"), "a file"),
            ("network.transport", Server, b"@a", "", "HTTP/1.1", text("unix"), "none"),
            ("network.transport", Server, b"envoy://a/b", "", "HTTP/1.1", text(""), "within Envoy"),
            ("tls.client.hash.sha256", Server, b"0aff", "", "", text("0AFF"), "upper case"),
            ("tls.protocol.version", Server, b"TLSv1.3", "", "", text("1.3"), "TLS"),
            ("tls.protocol.version", Client, b"", "", "", text(""), "no TLS"),
            ("tls.client.subject", Server, b"CN=a", "", "", text("CN=a"), "as it is"),
            ("user_agent.synthetic.type", Server, b"", "Googlebot/2.1", "", text("bot"), "a bot"),
            (
                "user_agent.synthetic.type",
                Server,
                b"",
                "UptimeRobot/2.0",
                "",
                text("test"),
                "a test",
            ),
            (
                "user_agent.synthetic.type",
                Server,
                b"",
                "kube-probe/1.3",
                "",
                text("test"),
                "a probe",
            ),
            ("user_agent.synthetic.type", Server, b"", "Firefox/140", "", text(""), "a browser"),
            (
                "user_agent.synthetic.type",
                Client,
                b"",
                "Googlebot/2.1",
                "",
                text(""),
                "SERVER alone",
            ),
        ];
        for (name, kind, told, agent, protocol, expected, reason) in cases {
            assert_eq!(value(name, kind, told, agent, protocol), expected, "{name}: {reason}");
        }
    }

    #[test]
    fn the_page_says_what_each_is_read_from() {
        let page = include_str!("../../docs/spans.md");
        let (_, section) = page.split_once("## Further attributes").expect("the section");
        let rows = section.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let rows: Vec<_> = rows.filter(|cells| cells.len() > 5).collect();
        for OptIn { name, kind, attributes: [server, client], .. } in &OPT_IN {
            let code =
                |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
            let kind = format!("{kind:?}").to_lowercase();
            let expected = [code(name), kind, code(server), code(client)];
            let is_there = rows.iter().any(|cells| cells[1..5] == expected);
            assert!(is_there, "docs/spans.md has no row of {expected:?}");
        }
    }

    #[test]
    fn names_stand_once_and_in_order() {
        assert!(OPT_IN.is_sorted_by(|one, other| one.name < other.name));
        for known in &OPT_IN {
            let names = [known.attribute(SpanKind::Server), known.attribute(SpanKind::Client)];
            assert!(names.iter().all(|name| name.len() <= 64), "as the host is asked: {names:?}");
        }
    }
}
