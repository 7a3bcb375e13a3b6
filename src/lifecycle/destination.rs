//! Where a filter's spans go, as a number: filters with the same one may deliver each other's.

use crate::export::ExporterConfig;

/// A digest of all that decides where spans arrive and under whose name: cluster, protocol, path, authority and headers. It tells no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination([u8; 16]);

impl Destination {
    /// The destination of an exporter.
    #[must_use]
    pub fn of(config: &ExporterConfig) -> Self {
        let ExporterConfig { cluster, protocol, path, authority, headers, .. } = config;
        let protocol = format!("{protocol:?}");
        let texts = [cluster, &protocol, path, authority].into_iter();
        let headers = headers.iter().flat_map(|(name, value)| [name, value]);
        Self(texts.chain(headers).fold(FNV_OFFSET, add).to_be_bytes())
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A digest that was read.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// FNV-1a, over a text and its length, so that no two lists of texts are the same bytes. Other builds get the same number.
fn add(digest: u128, text: &String) -> u128 {
    let length = (text.len() as u64).to_le_bytes();
    let step = |digest: u128, byte: &u8| (digest ^ u128::from(*byte)).wrapping_mul(FNV_PRIME);
    length.iter().chain(text.as_bytes()).fold(digest, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::backoff::RetryPolicy;
    use crate::export::protocol::{Compression, Protocol};
    use std::time::Duration;

    fn config() -> ExporterConfig {
        ExporterConfig {
            cluster: "c".into(),
            protocol: Protocol::HttpProtobuf,
            compression: Compression::None,
            path: "/v1/traces".into(),
            authority: "a".into(),
            headers: vec![("k".into(), "v".into())],
            timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
        }
    }

    #[test]
    fn whatever_decides_who_gets_the_spans_makes_another_destination() {
        type Change = fn(&mut ExporterConfig);
        let others: [(Change, &str); 7] = [
            (|it| it.cluster = "d".into(), "the cluster"),
            (|it| it.protocol = Protocol::Grpc, "the protocol"),
            (|it| it.path = "/v1/other".into(), "the path"),
            (|it| it.authority = "b".into(), "the authority"),
            (|it| it.headers = vec![("k".into(), "w".into())], "an API key"),
            (|it| it.headers = vec![("kv".into(), String::new())], "where a text ends"),
            (|it| it.headers.clear(), "no header"),
        ];
        let own = Destination::of(&config());
        for (change, reason) in others {
            let mut other = config();
            change(&mut other);
            assert_ne!(Destination::of(&other), own, "{reason}");
        }
        let how: [(Change, &str); 3] = [
            (|it| it.compression = Compression::Gzip, "compression"),
            (|it| it.timeout = Duration::ZERO, "the timeout"),
            (|it| it.retry.max_elapsed_time = Duration::ZERO, "retries"),
        ];
        for (change, reason) in how {
            let mut same = config();
            change(&mut same);
            assert_eq!(Destination::of(&same), own, "{reason} changes nothing of where");
        }
    }

    #[test]
    fn a_digest_is_the_same_in_each_build() {
        let digest = Destination::of(&config())
            .as_bytes()
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(digest, "5d42751ab1b7c8149739276c94248306", "FNV-1a of 128 bits");
        let bytes = [7; 16];
        assert_eq!(Destination::from_bytes(bytes).as_bytes(), &bytes);
    }
}
