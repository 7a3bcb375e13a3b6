//! What the environment says of the demonstration: `COLLECTOR`, where the spans go, and `PORT`, where the front proxy listens. A value
//! that can't be right is refused, in words.

use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// Where the front proxy listens unless `PORT` says otherwise.
const FRONT_PORT: u16 = 10000;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// None for the collector of the demonstration itself.
    pub(crate) collector: Option<Collector>,
    port: Option<u16>,
}

/// A collector of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collector {
    /// A name or an address.
    pub(crate) host: String,
    /// The port of OTLP over HTTP.
    pub(crate) port: u16,
}

/// Where the front proxy listens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrontPort {
    pub(crate) port: u16,
    /// Which port it could not have.
    pub(crate) taken: Option<u16>,
}

impl Settings {
    /// Reads the environment. A variable without a value is none.
    pub(crate) fn from_environment() -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let collector = variable("COLLECTOR").map(|it| Collector::parse(&it)).transpose()?;
        let port = variable("PORT").map(|text| {
            let port = text.parse().ok().filter(|port| *port != 0);
            port.with_context(|| format!("PORT={text}: write a number from 1 to 65535"))
        });
        Ok(Self { collector, port: port.transpose()? })
    }

    /// The port that was asked for, or the usual one, or a free one if that is taken.
    pub(crate) fn front_port(&self) -> Result<FrontPort> {
        front_port(self.port, FRONT_PORT)
    }
}

fn front_port(asked: Option<u16>, usual: u16) -> Result<FrontPort> {
    let port = asked.unwrap_or(usual);
    let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
        return Ok(FrontPort { port, taken: None });
    };
    ensure!(asked.is_none() || error.kind() == ErrorKind::AddrInUse, "PORT={port}: {error}");
    ensure!(asked.is_none(), "PORT={port}: this port is taken; choose another one");
    Ok(FrontPort { port: harness::free_port()?, taken: Some(port) })
}

impl Collector {
    /// Reads `host:port`. An address of IPv6 stands in brackets.
    ///
    /// # Errors
    /// There is no port, or no host; it has a scheme, a path or a user.
    fn parse(text: &str) -> Result<Self> {
        let Some((host, port)) = text.rsplit_once(':') else { bail!(refusal(text)) };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_part = |it: u8| it.is_ascii_alphanumeric() || b".-_".contains(&it);
        let is_host = match address {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(is_part),
        };
        let port = port.parse().ok().filter(|port| *port != 0 && is_host);
        let port = port.with_context(|| refusal(text))?;
        Ok(Self { host: address.unwrap_or(host).to_owned(), port })
    }
}

fn refusal(text: &str) -> String {
    format!("COLLECTOR={text}: write host:port, such as COLLECTOR=localhost:4318")
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("localhost:4318", "localhost", 4318),
            ("10.0.0.7:80", "10.0.0.7", 80),
            ("otel_collector.example-1.com:65535", "otel_collector.example-1.com", 65535),
            ("[::1]:4318", "::1", 4318),
        ] {
            let collector = Collector::parse(text).unwrap();
            assert_eq!((collector.host.as_str(), collector.port), (host, port));
            assert_eq!(collector.to_string(), text, "it is shown as it was written");
        }
        for (text, reason) in [
            ("localhost", "no port"),
            (":4318", "no host"),
            ("localhost:", "an empty port"),
            ("localhost:0", "no port has this number"),
            ("localhost:65536", "nor this"),
            ("localhost:otlp", "no number"),
            ("http://localhost:4318", "a scheme"),
            ("localhost:4318/v1/traces", "a path"),
            ("me@localhost:4318", "a user"),
            ("::1:4318", "no brackets"),
            ("[localhost]:4318", "no address in brackets"),
            ("a b:4318", "a space"),
        ] {
            let error = Collector::parse(text).expect_err(reason).to_string();
            assert!(error.starts_with(&format!("COLLECTOR={text}: write host:port")), "{error}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        // Nobody else is given it once the listener has gone.
        let taken = harness::free_port().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken)).unwrap();
        let other = front_port(None, taken).unwrap();
        assert_eq!(other.taken, Some(taken));
        assert_ne!(other.port, taken);
        let error = front_port(Some(taken), 1).expect_err("it was asked for").to_string();
        assert_eq!(error, format!("PORT={taken}: this port is taken; choose another one"));
        let free = harness::free_port().unwrap();
        drop(listener);
        assert_eq!(front_port(Some(taken), free).unwrap(), FrontPort { port: taken, taken: None });
    }
}
