//! Networks in CIDR notation, and the addresses of peers that are in them.
//!
//! The standard library could read addresses, at 6 KB of the module.

/// An address, in groups of 16 bits. One of IPv4 is the IPv6 address that it is mapped to (RFC 4291, section 2.5.5.2), so that both ways to
/// write it are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address([u16; GROUPS]);

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Invariant: zero behind its first `bits`.
    first: Address,
    bits: u16,
}

const GROUPS: usize = 8;
/// What the mapped addresses of IPv4 begin with, and how many bits that is.
const MAPPED: [u16; 6] = [0, 0, 0, 0, 0, 0xffff];
const MAPPED_BITS: u16 = 96;

impl Network {
    /// Reads `10.0.0.0/8` or `fd00::/8`.
    ///
    /// `None` for: a text without `/`, or with anything but an address before it; a number of bits that is none, has zeros before it, or is
    /// larger than the address; a bit that is set behind them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let most = if address.contains(':') { 128 } else { 32 };
        let bits = numbers(bits.as_bytes(), &Notation { separator: b'/', most, ..DECIMAL })?;
        let [bits] = bits.as_slice() else { return None };
        let (first, bits) = (Address::parse(address.as_bytes())?, bits + 128 - most);
        // Invariant: that is checked.
        (first.masked(bits) == first).then_some(Self { first, bits })
    }

    /// Whether an address is in it. One of IPv4 is in no network of IPv6 that is larger than all of IPv4.
    #[must_use]
    pub fn contains(self, address: Address) -> bool {
        address.masked(self.bits) == self.first
            && (self.bits >= MAPPED_BITS || !address.0.starts_with(&MAPPED))
    }
}

/// Who is connected, of Envoy's `source.address`: `10.1.2.3:4567` or `[fd00::1]:4567`.
///
/// `None` for what is no such address, such as a Unix socket, and for one with the port zero: Envoy has taken that from a header, where
/// anybody can write what they like, unless proxies before it are as careful as Envoy is told to be.
#[must_use]
pub fn peer(socket: &[u8]) -> Option<Address> {
    let colon = socket.iter().rposition(|byte| *byte == b':')?;
    let (host, port) = socket.split_at_checked(colon)?;
    if port == b":0" {
        return None;
    }
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    Address::parse(host)
}

impl Address {
    /// Reads an address of either version, as RFC 4291 writes it (section 2.2).
    fn parse(text: &[u8]) -> Option<Self> {
        // IPv4 is written by itself, or in the place of the last two groups.
        let last = text.iter().rposition(|byte| *byte == b':').map_or(0, |colon| colon + 1);
        let (before, last) = text.split_at_checked(last)?;
        if !last.contains(&b'.') {
            return Self::of_groups(text);
        }
        let last = numbers(last, &Notation { separator: b'.', most: 255, ..DECIMAL })?;
        let [a, b, c, d] = last.as_slice() else { return None };
        let before = if before.is_empty() { b"::ffff:" } else { before };
        let Self([groups @ .., _, _]) = Self::of_groups(&[before, b"0:0"].concat())?;
        let [g, h, i, j, k, l] = groups;
        Some(Self([g, h, i, j, k, l, a << 8 | b, c << 8 | d]))
    }

    fn of_groups(text: &[u8]) -> Option<Self> {
        let gap = text.windows(2).position(|pair| pair == b"::");
        let (head, tail) = match gap {
            None => (text, &[][..]),
            Some(gap) => (text.get(..gap)?, text.get(gap + 2..)?),
        };
        let mut groups = numbers(head, &HEXADECIMAL)?;
        let tail = numbers(tail, &HEXADECIMAL)?;
        let zeros = GROUPS.checked_sub(groups.len() + tail.len())?;
        // A gap is one group at least.
        if gap.is_some() != (zeros > 0) {
            return None;
        }
        groups.resize(groups.len() + zeros, 0);
        groups.extend(tail);
        groups.try_into().ok().map(Self)
    }

    /// The same, zero behind so many bits.
    fn masked(mut self, mut bits: u16) -> Self {
        for group in &mut self.0 {
            let here = bits.min(16);
            *group &= !u16::MAX.checked_shr(here.into()).unwrap_or_default();
            bits -= here;
        }
        self
    }
}

/// How numbers are written.
struct Notation {
    separator: u8,
    radix: u32,
    /// So many at most.
    digits: usize,
    /// The largest one.
    most: u16,
}

const DECIMAL: Notation = Notation { separator: b'.', radix: 10, digits: 3, most: 255 };
const HEXADECIMAL: Notation = Notation { separator: b':', radix: 16, digits: 4, most: u16::MAX };

/// The numbers of a text, decimal ones without zeros before them. None in an empty one.
#[inline(never)] // It would be unrolled for each notation.
fn numbers(text: &[u8], notation: &Notation) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    if text.is_empty() {
        return Some(numbers);
    }
    for digits in text.split(|byte| *byte == notation.separator) {
        let is_padded = notation.radix == 10 && digits.len() > 1 && digits.starts_with(b"0");
        if digits.is_empty() || digits.len() > notation.digits || is_padded {
            return None;
        }
        let mut number = 0;
        for digit in digits {
            number = number * notation.radix + char::from(*digit).to_digit(notation.radix)?;
        }
        numbers.push(u16::try_from(number).ok().filter(|number| *number <= notation.most)?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn is_in(network: &str, address: &str) -> bool {
        let address = Address::parse(address.as_bytes()).expect(address);
        Network::parse(network).expect(network).contains(address)
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0", true, "the first one"),
            ("10.0.0.0/8", "10.255.255.255", true, "the last one"),
            ("10.0.0.0/8", "11.0.0.0", false, "the next one"),
            ("10.0.0.0/8", "9.255.255.255", false, "the one before"),
            ("10.1.2.3/32", "10.1.2.3", true, "one address"),
            ("10.1.2.3/32", "10.1.2.2", false, "and no other"),
            ("10.1.2.0/23", "10.1.3.9", false, "an odd one"),
            ("0.0.0.0/0", "203.0.113.9", true, "all of IPv4"),
            ("0.0.0.0/0", "::1", false, "and none of IPv6"),
            ("::/0", "2001:db8::1", true, "all of IPv6"),
            ("::/0", "203.0.113.9", false, "and none of IPv4"),
            ("::/80", "::ffff:203.0.113.9", false, "however it is written"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true, "IPv4 in IPv6"),
            ("10.0.0.0/8", "::ffff:a01:203", true, "in hexadecimal"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true, "and the other way round"),
            ("fd00::/8", "fdff::1", true, "a private address"),
            ("fd00::/8", "fe00::1", false, "another one"),
            ("2001:db8::1/128", "2001:DB8:0:0:0:0:0:1", true, "one address, written out"),
            ("::1/128", "0.0.0.1", false, "no mapped one"),
        ];
        for (network, address, expected, reason) in cases {
            assert_eq!(is_in(network, address), expected, "{reason}: {address} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_none() {
        for (text, reason) in [
            ("", "nothing"),
            ("10.0.0.0", "no bits"),
            ("10.0.0.0/", "empty bits"),
            ("/8", "no address"),
            ("10.0.0.0/33", "more bits than there are"),
            ("fd00::/129", "of IPv6, too"),
            ("10.0.0.0/08", "a zero before them"),
            ("10.0.0.0/+8", "a sign"),
            ("10.0.0.0/8 ", "a space"),
            ("10.0.0.0/8/8", "twice"),
            ("10.0.0.1/8", "a bit behind them"),
            ("fd00::1/8", "of IPv6, too"),
            ("10.0.0/8", "three numbers"),
            ("10.0.0.0.0/8", "five"),
            ("010.0.0.0/8", "a zero before a number"),
            ("256.0.0.0/8", "a number that is too large"),
            ("10..0.0/8", "an empty one"),
            ("localhost/8", "a name"),
            ("fd00:/8", "one colon"),
            (":fd00/16", "before it"),
            ("fd00::1::/16", "two gaps"),
            ("1:2:3:4:5:6:7:8:9/128", "nine groups"),
            ("1:2:3:4::5:6:7:8/128", "a gap of nothing"),
            ("12345::/16", "five digits"),
            ("fg00::/8", "no digit"),
            ("fd00::%eth0/8", "a zone"),
            ("[fd00::]/8", "brackets"),
            ("1.2.3.4::/128", "IPv4 at the start"),
            ("::ffff:1.2.3/128", "half of IPv4"),
        ] {
            assert_eq!(Network::parse(text), None, "{reason}: {text}");
        }
    }

    #[test]
    fn a_peer_is_who_is_connected() {
        let cases = [
            ("10.1.2.3:4567", Some("10.1.2.3"), "IPv4"),
            ("[fd00::1]:4567", Some("fd00::1"), "IPv6"),
            ("[::ffff:10.1.2.3]:80", Some("10.1.2.3"), "IPv4 in IPv6"),
            ("10.1.2.3:0", None, "what a header said"),
            ("[fd00::1]:0", None, "of IPv6, too"),
            ("10.1.2.3", None, "no port"),
            ("/run/envoy.sock", None, "a Unix socket"),
            ("@abstract:80", None, "one without a file"),
            ("envoy://connect_originate/10.1.2.3:80", None, "another part of Envoy"),
            ("", None, "nothing"),
        ];
        for (socket, expected, reason) in cases {
            let expected = expected.map(|it| Address::parse(it.as_bytes()).expect(it));
            assert_eq!(peer(socket.as_bytes()), expected, "{reason}: {socket}");
        }
    }

    fn groups_of(address: IpAddr) -> Address {
        Address(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().segments(),
            IpAddr::V6(address) => address.segments(),
        })
    }

    proptest! {
        #[test]
        fn addresses_are_those_of_the_standard_library(
            text in prop_oneof!["[0-9a-f:.]{0,24}", "(::)?([0-9a-f]{1,4}:){0,7}(:[0-9a-f]{1,4}){0,3}", "([0-9]{1,3}[.]){3}[0-9]{1,3}", "::[0-9a-f]{0,4}:([0-9]{1,3}[.]){3}[0-9]{1,2}"],
        ) {
            let expected = text.parse::<IpAddr>().ok().map(groups_of);
            prop_assert_eq!(Address::parse(text.as_bytes()), expected, "{}", text);
        }

        #[test]
        fn what_is_written_is_read(four: u32, six: u128, bits in 0..=32_u32) {
            let (four, six) = (Ipv4Addr::from_bits(four), Ipv6Addr::from_bits(six));
            for address in [IpAddr::V4(four), IpAddr::V6(six)] {
                let found = Address::parse(address.to_string().as_bytes());
                prop_assert_eq!(found, Some(groups_of(address)));
            }
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let first = Ipv4Addr::from_bits(four.to_bits() & mask);
            let network = Network::parse(&format!("{first}/{bits}")).expect("a network");
            prop_assert!(network.contains(groups_of(IpAddr::V4(four))));
            prop_assert!(bits == 0 || !network.contains(groups_of(IpAddr::V4(Ipv4Addr::from_bits(!four.to_bits())))));
        }

        #[test]
        fn any_text_is_survived(text: String, socket: Vec<u8>) {
            let _ = Network::parse(&text);
            let _ = peer(&socket);
        }
    }
}
