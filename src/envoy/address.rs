//! Envoy's socket addresses: which of them are addresses at all.

/// The address in a socket address of Envoy's; empty if there is none. One of an internal listener is
/// `envoy://LISTENER/ENDPOINT` (Envoy, `EnvoyInternalAddress`): only an endpoint that is an address itself tells of another end,
/// as where a mesh tunnels to `envoy://connect_originate/10.244.0.10:80`.
#[must_use]
pub fn within(socket: &[u8]) -> &[u8] {
    let Some(internal) = socket.strip_prefix(b"envoy://") else {
        return if socket == b"envoy" { b"" } else { socket };
    };
    // A listener's name may have slashes, an address has none.
    let endpoint = internal.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if is_ip_and_port(endpoint) { endpoint } else { b"" }
}

/// Whether a text looks like `10.1.2.3:80` or `[::1]:80`. The standard library could tell exactly, at 6 KB of the module.
fn is_ip_and_port(text: &[u8]) -> bool {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let mut parts = text.rsplitn(2, |byte| *byte == b':');
    let (Some(port), Some(host)) = (parts.next(), parts.next()) else { return false };
    is_number(port)
        && match host {
            [b'[', address @ .., b']'] => {
                let is_part = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
                address.contains(&b':') && address.iter().all(is_part)
            }
            address => {
                let mut numbers = address.split(|byte| *byte == b'.');
                numbers.clone().count() == 4 && numbers.all(is_number)
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_addresses_are_addresses() {
        let cases = [
            ("10.1.2.3:80", "10.1.2.3:80", "IPv4"),
            ("[::1]:80", "[::1]:80", "IPv6"),
            ("/run/a.sock", "/run/a.sock", "a Unix socket"),
            ("@abstract", "@abstract", "one without a file"),
            ("", "", "nothing"),
            ("envoy://connect_originate/10.244.0.10:80", "10.244.0.10:80", "where a tunnel leads"),
            ("envoy://a/b/[2001:db8::1]:80", "[2001:db8::1]:80", "by a listener with a slash"),
            ("envoy://internal_client_address/", "", "another part of Envoy"),
            ("envoy://connect_originate/pod-1", "", "an endpoint that is no address"),
            ("envoy://10.1.2.3:80", "10.1.2.3:80", "no listener"),
            ("envoy://a/10.1.2.3", "", "no port"),
            ("envoy://a/10.1.2.3:", "", "an empty one"),
            ("envoy://a/10.1.2.3:http", "", "one that is no number"),
            ("envoy://a/10.1.2:80", "", "three numbers"),
            ("envoy://a/10..2.3:80", "", "an empty number"),
            ("envoy://a/pod.in.a.mesh:80", "", "four names"),
            ("envoy://a/[80]:80", "", "a number in brackets"),
            ("envoy://a/[x::1]:80", "", "what is no IPv6"),
            ("envoy://a/[::ffff:10.1.2.3]:80", "[::ffff:10.1.2.3]:80", "IPv4 in IPv6"),
            ("envoy://a/\u{e9}", "", "no ASCII"),
            ("envoy", "", "Envoy itself"),
            ("envoys:80", "envoys:80", "another name"),
        ];
        for (socket, expected, reason) in cases {
            assert_eq!(within(socket.as_bytes()), expected.as_bytes(), "{reason}: {socket}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_found_again(socket in prop_oneof![any::<Vec<u8>>(), "envoy://.{0,20}".prop_map(String::into_bytes)]) {
            let address = within(&socket);
            prop_assert!(!address.starts_with(b"envoy://"));
            prop_assert_eq!(within(address), address);
        }
    }
}
