//! Hosts and ports as they occur in headers and in Envoy's socket addresses, and where a request is for.
//!
//! No names are resolved, and addresses are passed on as they are written.

use crate::context::trim_white_space;
use std::borrow::Cow;

/// A host and maybe a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostPort<'a> {
    /// A name or an address, IPv6 without brackets; empty if unknown.
    pub host: &'a [u8],
    /// The port, if one is given.
    pub port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; user information
    /// before `@` is passed over.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Self {
        let start = value.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
        Self::without_user(value.get(start..).unwrap_or_default())
    }

    fn without_user(value: &'a [u8]) -> Self {
        if let [b'[', rest @ ..] = value {
            let (host, rest) = split_once(rest, b']').unwrap_or((rest, b""));
            return Self { host, port: rest.strip_prefix(b":").and_then(port) };
        }
        match split_once(value, b':') {
            Some((host, digits)) if !digits.contains(&b':') => Self { host, port: port(digits) },
            _ => Self { host: value, port: None },
        }
    }

    /// The other end of a connection, of Envoy's `source.address`: nothing where that is a forwarded one, which its port, zero, says.
    #[must_use]
    pub fn unless_forwarded(self) -> Self {
        if self.port == Some(0) { Self::default() } else { self }
    }

    /// Reads an address as Envoy writes it: `10.1.2.3:80`, `[::1]:80`, or a path of a Unix socket.
    #[must_use]
    pub fn of_socket(value: &'a [u8]) -> Self {
        match value {
            [b'/' | b'@', ..] => Self { host: value, port: None },
            _ => Self::without_user(value),
        }
    }
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.split_first()?.1))
}

/// Where a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// `http`, `https` or another one, in lower case; `http` if nobody knows better.
    pub scheme: Cow<'a, [u8]>,
    /// The authority, as it came.
    pub authority: Cow<'a, [u8]>,
}

impl Origin<'_> {
    /// Its host, and its port if it names one.
    #[must_use]
    pub fn server(&self) -> HostPort<'_> {
        HostPort::parse(&self.authority)
    }
}

/// The port that a scheme implies.
#[must_use]
pub fn default_port(scheme: &[u8]) -> Option<u16> {
    match scheme {
        b"http" | b"ws" => Some(80),
        b"https" | b"wss" => Some(443),
        _ => None,
    }
}

/// The original client in `X-Forwarded-For`: the first entry.
#[must_use]
pub fn first_forwarded_for(header: &[u8]) -> Option<&[u8]> {
    node(first_entry(header))
}

/// The client that a node of `Forwarded` is (RFC 7239, section 6); an obfuscated or unknown one is none.
#[must_use]
pub fn forwarded_for<'a>(value: &Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
    match value {
        Cow::Borrowed(value) => node(value).map(Cow::Borrowed),
        Cow::Owned(value) => node(value).map(|host| Cow::Owned(host.to_vec())),
    }
}

/// The first entry of a list in one header.
#[must_use]
pub fn first_entry(header: &[u8]) -> &[u8] {
    trim_white_space(header.split(|byte| *byte == b',').next().unwrap_or_default())
}

fn node(value: &[u8]) -> Option<&[u8]> {
    let host = HostPort::parse(crate::envoy::address::within(value)).host;
    let known =
        !host.is_empty() && !host.starts_with(b"_") && !host.eq_ignore_ascii_case(b"unknown");
    known.then_some(host)
}

fn port(digits: &[u8]) -> Option<u16> {
    let add = |port: u16, digit: &u8| {
        let value = digit.is_ascii_digit().then(|| digit.wrapping_sub(b'0'))?;
        port.checked_mul(10)?.checked_add(u16::from(value))
    };
    digits.iter().try_fold(0, add).filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scheme_implies_a_port() {
        let cases: [(&[u8], _); 5] = [
            (b"http", Some(80)),
            (b"https", Some(443)),
            (b"ws", Some(80)),
            (b"wss", Some(443)),
            (b"ftp", None),
        ];
        for (scheme, port) in cases {
            assert_eq!(default_port(scheme), port, "{}", scheme.escape_ascii());
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let cases = [
            ("example.com", "example.com", None, "a name"),
            ("example.com:8080", "example.com", Some(8080), "a name and a port"),
            ("10.1.2.3:80", "10.1.2.3", Some(80), "an address and a port"),
            ("[::1]:443", "::1", Some(443), "IPv6 and a port"),
            ("[::1]", "::1", None, "IPv6 in brackets"),
            ("2001:db8::1", "2001:db8::1", None, "IPv6 without brackets"),
            ("example.com:", "example.com", None, "an empty port"),
            ("example.com:99999", "example.com", None, "a port out of range"),
            ("example.com:+80", "example.com", None, "a sign is no digit"),
            ("me:secret@example.com:80", "example.com", Some(80), "user information"),
            ("[::1", "::1", None, "a bracket that stays open"),
            ("", "", None, "nothing"),
        ];
        for (value, host, port, reason) in cases {
            let expected = HostPort { host: host.as_bytes(), port };
            assert_eq!(HostPort::parse(value.as_bytes()), expected, "{reason}");
        }
        let path = HostPort { host: b"/run/a:1.sock".as_slice(), port: None };
        assert_eq!(HostPort::of_socket(b"/run/a:1.sock"), path, "a Unix socket has no port");
    }

    #[test]
    fn the_original_client_is_the_first() {
        let cases: &[(&str, Option<&str>, &str)] = &[
            ("192.0.2.60", Some("192.0.2.60"), "an address"),
            ("192.0.2.60:4711", Some("192.0.2.60"), "and a port"),
            ("[2001:db8:cafe::17]:4711", Some("2001:db8:cafe::17"), "IPv6"),
            ("unknown", None, "an unknown client"),
            ("Unknown:80", None, "in any case"),
            ("_hidden", None, "an obfuscated client"),
            ("envoy", None, "Envoy itself"),
            ("envoy://internal_client_address/", None, "a part of it"),
            ("envoy://a/10.1.2.3:80", Some("10.1.2.3"), "the end of a tunnel"),
            ("", None, "an empty value"),
        ];
        for (value, expected, reason) in cases {
            let expected = expected.map(str::as_bytes);
            for value in [Cow::Borrowed(value.as_bytes()), Cow::Owned(value.as_bytes().to_vec())] {
                assert_eq!(forwarded_for(&value).as_deref(), expected, "{reason}");
            }
        }
        assert_eq!(
            first_forwarded_for(b" 10.0.0.1 , 10.0.0.2"),
            Some(b"10.0.0.1".as_slice()),
            "first"
        );
        assert_eq!(first_forwarded_for(b", 10.0.0.2"), None, "an empty first entry");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(value: Vec<u8>) {
            let _ = HostPort::parse(&value);
            let _ = HostPort::of_socket(&value);
            let _ = forwarded_for(&Cow::Borrowed(&value));
            let _ = first_forwarded_for(&value);
        }
    }
}
