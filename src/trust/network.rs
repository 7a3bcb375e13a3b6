//! Networks in CIDR notation, and the addresses of peers that are in them.
//!
//! The standard library could read addresses, at 6 KB of the module.

/// An address. One of IPv4 is the IPv6 address that it is mapped to (RFC 4291, section 2.5.5.2), so that both ways to write it are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(u128);

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Invariant: zero where `mask` is.
    first: u128,
    /// Ones, then zeros.
    mask: u128,
}

/// The first of the addresses that IPv4 is mapped to, and their mask.
const MAPPED: u128 = 0xffff << 32;
const MAPPED_MASK: u128 = !0 << 32;

impl Network {
    /// Reads `10.0.0.0/8` or `fd00::/8`.
    ///
    /// `None` for: a text without `/`, or with anything but an address before it; a number of bits that is none, has zeros before it, or is
    /// larger than the address; a bit that is set behind them.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let slash = text.iter().position(|byte| *byte == b'/')?;
        let (address, bits) = text.split_at_checked(slash)?;
        let most = if address.contains(&b':') { 128 } else { 32 };
        let mut number = Number::default();
        for byte in bits.get(1..)? {
            number.add(*byte)?;
        }
        let behind = most - number.decimal(most)?;
        let mask = u128::MAX.checked_shl(behind).unwrap_or_default();
        let Address(first) = Address::parse(address)?;
        // Invariant: that is checked.
        (first & !mask == 0).then_some(Self { first, mask })
    }

    /// Whether an address is in it. One of IPv4 is in no network of IPv6 that is larger than all of IPv4.
    #[must_use]
    pub fn contains(self, Address(address): Address) -> bool {
        address & self.mask == self.first
            && (self.mask >= MAPPED_MASK || address & MAPPED_MASK != MAPPED)
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

/// An address that is being read.
#[derive(Default)]
struct Reading {
    /// What was read before `::`, and how many bits that is.
    head: Option<(u128, u32)>,
    /// What was read since.
    address: u128,
    bits: u32,
    /// The octets of IPv4, and how many there were.
    octets: u32,
    count: u32,
    number: Number,
}

impl Address {
    /// Reads an address of either version, as RFC 4291 writes it (section 2.2): IPv4 by itself, or in the place of the last two groups.
    #[inline(never)]
    fn parse(text: &[u8]) -> Option<Self> {
        let mut reading = Reading::default();
        let mut before = None;
        for byte in text {
            match (byte, before) {
                (b':', Some(b':')) if reading.head.is_none() => {
                    reading.head = Some((reading.address, reading.bits));
                    (reading.address, reading.bits) = (0, 0);
                }
                (b':', None) if text.starts_with(b"::") => {}
                (b':', _) => reading.end_group()?,
                (b'.', _) => reading.end_octet()?,
                _ => reading.number.add(*byte)?,
            }
            before = Some(*byte);
        }
        reading.end()
    }
}

impl Reading {
    #[inline(never)]
    fn end_group(&mut self) -> Option<()> {
        if self.number.digits == 0 || self.count > 0 || self.bits >= 128 {
            return None;
        }
        self.push(16, self.number.hexadecimal.into());
        self.number = Number::default();
        Some(())
    }

    #[inline(never)]
    fn end_octet(&mut self) -> Option<()> {
        self.octets = self.octets << 8 | self.number.decimal(255)?;
        self.count += 1;
        self.number = Number::default();
        Some(())
    }

    fn push(&mut self, bits: u32, value: u32) {
        self.address = self.address << bits | u128::from(value);
        self.bits += bits;
    }

    fn end(mut self) -> Option<Address> {
        if self.count > 0 {
            self.end_octet()?;
            if self.count != 4 || self.bits > 96 {
                return None;
            }
            if self.bits == 0 && self.head.is_none() {
                self.push(96, 0xffff);
            }
            self.push(32, self.octets);
        } else if self.number.digits > 0 || self.head.is_none() || self.bits > 0 {
            self.end_group()?;
        }
        match self.head {
            None => (self.bits == 128).then_some(Address(self.address)),
            // What is left out is one group at least.
            Some((_, bits)) if bits + self.bits > 112 => None,
            Some((head, bits)) => {
                Some(Address(head.checked_shl(128 - bits).unwrap_or_default() | self.address))
            }
        }
    }
}

/// A number that is being read, of up to four digits.
#[derive(Default)]
struct Number {
    hexadecimal: u16,
    digits: u32,
}

impl Number {
    fn add(&mut self, digit: u8) -> Option<()> {
        let value = u16::try_from(char::from(digit).to_digit(16)?).ok()?;
        self.hexadecimal = self.hexadecimal << 4 | value;
        self.digits += 1;
        (self.digits <= 4).then_some(())
    }

    /// What its digits are in decimal, at most so much. None if one of them is no decimal digit, or if zeros are before them.
    #[inline(never)]
    fn decimal(&self, most: u32) -> Option<u32> {
        let digit = |place: u32| u32::from(self.hexadecimal >> (4 * place) & 15);
        let [ones, tens, hundreds] = [digit(0), digit(1), digit(2)];
        let is_padded = self.digits > 1 && digit(self.digits - 1) == 0;
        let is_decimal =
            (1..=3).contains(&self.digits) && [ones, tens, hundreds].iter().all(|it| *it < 10);
        let value = 100 * hundreds + 10 * tens + ones;
        (is_decimal && !is_padded && value <= most).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn is_in(network: &str, address: &str) -> bool {
        let address = Address::parse(address.as_bytes()).expect(address);
        Network::parse(network.as_bytes()).expect(network).contains(address)
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
            ("10.1.2.0/23", "10.1.3.9", true, "bits that end within a number"),
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
            assert_eq!(Network::parse(text.as_bytes()), None, "{reason}: {text}");
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

    fn bits_of(address: IpAddr) -> Address {
        Address(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        })
    }

    proptest! {
        #[test]
        fn addresses_are_those_of_the_standard_library(
            text in prop_oneof!["[0-9a-f:.]{0,24}", "(::)?([0-9a-f]{1,4}:){0,7}(:[0-9a-f]{1,4}){0,3}", "([0-9]{1,3}[.]){3}[0-9]{1,3}", "::[0-9a-f]{0,4}:([0-9]{1,3}[.]){3}[0-9]{1,2}"],
        ) {
            let expected = text.parse::<IpAddr>().ok().map(bits_of);
            prop_assert_eq!(Address::parse(text.as_bytes()), expected, "{}", text);
        }

        #[test]
        fn what_is_written_is_read(four: u32, six: u128, bits in 0..=32_u32) {
            let (four, six) = (Ipv4Addr::from_bits(four), Ipv6Addr::from_bits(six));
            for address in [IpAddr::V4(four), IpAddr::V6(six)] {
                let found = Address::parse(address.to_string().as_bytes());
                prop_assert_eq!(found, Some(bits_of(address)));
            }
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let first = Ipv4Addr::from_bits(four.to_bits() & mask);
            let network = Network::parse(format!("{first}/{bits}").as_bytes()).expect("a network");
            prop_assert!(network.contains(bits_of(IpAddr::V4(four))));
            prop_assert!(bits == 0 || !network.contains(bits_of(IpAddr::V4(Ipv4Addr::from_bits(!four.to_bits())))));
        }

        #[test]
        fn any_text_is_survived(text: Vec<u8>, socket: Vec<u8>) {
            let _ = Network::parse(&text);
            let _ = peer(&socket);
        }
    }
}
