//! Addresses of headers and of sockets: what is read is part of what came, without user information,
//! and is read again as it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::semconv::RequestHeaders;
use otel_proxy_wasm::semconv::address::{
    HostPort, first_entry, first_forwarded_for, forwarded_for, forwarded_parameter,
};
use otel_proxy_wasm_fuzz::{holds, lines};

fuzz_target!(|input: &[u8]| {
    for (name, value) in lines(input) {
        check_host(value);
        match name {
            b"forwarded" => check_forwarded(value),
            b"x-forwarded-for" => check_client(value, first_forwarded_for(value)),
            _ => {}
        }
    }
    let request = RequestHeaders::read(lines(input));
    let original = request.original();
    for host in [original.server.host, request.client_address().unwrap_or_default()] {
        assert!(!host.contains(&b'@'), "user information in {}", host.escape_ascii());
        assert!(host.is_empty() || holds(input, host));
    }
    assert!(original.scheme.is_empty() || holds(input, original.scheme));
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

fn check_forwarded(header: &[u8]) {
    for name in ["for", "host", "proto"] {
        let Some(value) = forwarded_parameter(header, name) else { continue };
        assert!(!value.is_empty() && holds(first_entry(header), value), "of the first element");
        assert!(!value.contains(&b';') && !value.contains(&b','), "one parameter");
        let quoted = [name.to_uppercase().as_bytes(), b" = \"", value, b"\" ;x=y"].concat();
        assert_eq!(forwarded_parameter(&quoted, name), Some(value), "what is written is read");
    }
    check_client(header, forwarded_for(header));
}

fn check_client(header: &[u8], client: Option<&[u8]>) {
    let Some(client) = client else { return };
    assert!(holds(first_entry(header), client), "of the first entry");
    assert!(!client.starts_with(b"_"), "an obfuscated client is none");
    assert!(!client.eq_ignore_ascii_case(b"unknown"), "an unknown client is none");
}
