//! Addresses of headers and of sockets: what is read is part of what came, without user information,
//! and is read again as it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::semconv::RequestHeaders;
use otel_proxy_wasm::semconv::address::{
    HostPort, first_entry, first_forwarded_for, forwarded_for,
};
use otel_proxy_wasm::trust::network::{Network, peer};
use otel_proxy_wasm_fuzz::{holds, lines};
use std::borrow::Cow;
use std::net::IpAddr;

fuzz_target!(|input: &[u8]| {
    for (name, value) in lines(input) {
        check_host(value);
        check_network(value);
        check_client(value, forwarded_for(&Cow::Borrowed(value)).as_deref());
        if name == b"x-forwarded-for" {
            let client = first_forwarded_for(value);
            check_client(value, client);
            assert!(client.is_none_or(|it| holds(first_entry(value), it)), "of the first entry");
        }
    }
    let request = RequestHeaders::read(lines(input));
    let forwarded = request.forwarded();
    let original = request.original(&forwarded);
    let client = request.client_address(&forwarded);
    for host in [original.server().host, client.as_deref().unwrap_or_default()] {
        assert!(!host.contains(&b'@'), "user information in {}", host.escape_ascii());
    }
    for origin in [&original, &request.called()] {
        assert!(!origin.scheme.iter().any(u8::is_ascii_uppercase), "a scheme is lower case");
    }
});

fn check_host(value: &[u8]) {
    let HostPort { host, port } = HostPort::parse(value);
    assert!(host.is_empty() || holds(value, host), "the host is part of the value");
    assert!(!host.contains(&b'@'), "without user information");
    if !host.contains(&b']') {
        let mut written = match host {
            [b'[', ..] => [b"[", host, b"]"].concat(),
            host if host.contains(&b':') => [b"[", host, b"]"].concat(),
            host => host.to_vec(),
        };
        written.extend(port.map(|port| format!(":{port}")).unwrap_or_default().into_bytes());
        assert_eq!(HostPort::parse(&written), HostPort { host, port }, "what is written is read");
    }
    let socket = HostPort::of_socket(value);
    if !matches!(value, [b'/' | b'@', ..]) {
        assert_eq!(socket, HostPort { host, port }, "no path");
    } else {
        assert_eq!(socket, HostPort { host: value, port: None }, "a path");
    }
}

/// A network holds the peers that the standard library says are in it.
fn check_network(value: &[u8]) {
    let first = value.split(|byte| *byte == b'/').next().unwrap_or_default();
    let address = std::str::from_utf8(first).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let socket = |address: &[u8]| [b"[", address, b"]:1"].concat();
    let found = peer(&socket(first));
    assert_eq!(found.is_some(), address.is_some(), "{}", first.escape_ascii());
    let Some(network) = Network::parse(value) else { return };
    assert!(found.is_some_and(|it| network.contains(it)), "its first address is in it");
    assert_eq!(peer(&socket(value)), None, "a network is no address");
}

fn check_client(header: &[u8], client: Option<&[u8]>) {
    let Some(client) = client else { return };
    assert!(holds(header, client), "it is part of what came");
    assert!(!client.starts_with(b"_"), "an obfuscated client is none");
    assert!(!client.eq_ignore_ascii_case(b"unknown"), "an unknown client is none");
}
