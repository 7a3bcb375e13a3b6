//! Envoy's response flags: their short names, and which of them mean an interruption.

/// What `response.flags` holds, a bit for each flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(u64);

/// Short names in the order of their bits (Envoy, access log operator `%RESPONSE_FLAGS%`).
const NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

/// What cuts a request off, the most telling first.
const INTERRUPTIONS: [&str; 15] =
    ["UF", "UC", "UR", "LR", "UT", "UMSDR", "UPE", "UO", "UH", "SI", "DT", "DPE", "OM", "DR", "DC"];

impl ResponseFlags {
    /// UF.
    pub const UPSTREAM_CONNECTION_FAILURE: Self = Self(1 << 5);
    /// UT.
    pub const UPSTREAM_REQUEST_TIMEOUT: Self = Self(1 << 2);
    /// UO, DC, DR: what ends all attempts of a request.
    const OF_ANY_ATTEMPT: u64 = 1 << 7 | 1 << 14 | 1 << 28;

    /// The flags as Envoy gives them.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Those that are true of any attempt of a request, if they are of the request.
    #[must_use]
    pub fn of_any_attempt(self) -> Self {
        Self(self.0 & Self::OF_ANY_ATTEMPT)
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The short names of the flags that are set. A flag that is newer than this list has none.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| *name)
    }

    /// The flag that says what interrupted the request, if anything did.
    #[must_use]
    pub fn interruption(self) -> Option<&'static str> {
        // Nearly all requests have none: to look for each of them would cost as much as a header.
        if self.is_empty() {
            return None;
        }
        INTERRUPTIONS.into_iter().find(|name| self.names().any(|set| set == *name))
    }

    /// Whether Envoy knew no route for it.
    #[must_use]
    pub fn has_no_route(self) -> bool {
        self.names().any(|name| name == "NR")
    }

    /// Whether an attempt ended before a host of the cluster was asked: none was healthy, or a circuit breaker was open.
    #[must_use]
    pub fn has_no_host(self) -> bool {
        !self.is_empty() && self.names().any(|name| matches!(name, "UH" | "UO"))
    }

    /// Whether the caller is the one who ended the request.
    #[must_use]
    pub fn left_by_caller(self) -> bool {
        matches!(self.interruption(), Some("DC" | "DR"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Envoy's documentation has them (access log, `%RESPONSE_FLAGS%`), in the order of its `CoreResponseFlag`.
    #[test]
    fn every_flag_has_its_bit() {
        let documented = "LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO";
        for (bit, name) in documented.split(' ').enumerate() {
            let names: Vec<_> = ResponseFlags::from_bits(1 << bit).names().collect();
            assert_eq!(names, [name], "bit {bit}");
        }
        let all = ResponseFlags::from_bits(u64::MAX).names().count();
        assert_eq!(all, documented.split(' ').count(), "each once");
    }

    #[test]
    fn the_most_telling_interruption_is_named() {
        let order = "UF UC UR LR UT UMSDR UPE UO UH SI DT DPE OM DR DC";
        let order: Vec<_> = order.split(' ').collect();
        let bit = |name: &str| 1_u64 << NAMES.iter().position(|known| *known == name).expect(name);
        for (place, name) in order.iter().enumerate() {
            let this_and_later = order.iter().skip(place).fold(0, |bits, name| bits | bit(name));
            let flags = ResponseFlags::from_bits(this_and_later);
            assert_eq!(flags.interruption(), Some(*name), "before all that follow");
            let caller = ["DC", "DR"].contains(name);
            assert_eq!(flags.left_by_caller(), caller, "{name}");
            let no_host = ["UH", "UO"].contains(name);
            assert_eq!(ResponseFlags::from_bits(bit(name)).has_no_host(), no_host, "{name}");
        }
        for name in NAMES.iter().filter(|name| !order.contains(name)) {
            let flags = ResponseFlags::from_bits(bit(name));
            assert_eq!(flags.interruption(), None, "{name} interrupts nothing");
            assert!(!flags.is_empty() && !flags.left_by_caller(), "{name}");
            assert_eq!(flags.has_no_route(), *name == "NR", "{name}");
            assert!(!flags.has_no_host(), "{name}");
        }
        assert!(ResponseFlags::default().is_empty(), "none");
    }

    #[test]
    fn flags_have_their_short_names() {
        let cases: &[(u64, &[&str], Option<&str>, &str)] = &[
            (0, &[], None, "none"),
            (1, &["LH"], None, "the first bit"),
            (1 << 8, &["NR"], None, "no route is no interruption"),
            (1 << 5 | 1 << 15, &["UF", "URX"], Some("UF"), "two flags"),
            (1 << 14, &["DC"], Some("DC"), "the caller left"),
            (1 << 6 | 1 << 14, &["UC", "DC"], Some("UC"), "the upstream says more than the caller"),
            (1 << 29, &["UDO"], None, "the last bit"),
            (1 << 40, &[], None, "a flag of a later Envoy"),
        ];
        for (bits, names, interruption, reason) in cases {
            let flags = ResponseFlags::from_bits(*bits);
            assert_eq!(flags.names().collect::<Vec<_>>(), *names, "{reason}");
            assert_eq!(flags.interruption(), *interruption, "{reason}");
        }
    }
}
