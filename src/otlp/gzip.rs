//! gzip (RFC 1952) around what zlib makes. A compressor of our own would be a twentieth of the module, and slower.

use crate::shown::{Shown, shown_by_name};
use crc::{CRC_32_ISO_HDLC, Crc, Table};

shown_by_name!(Zlib);

/// zlib (RFC 1950), as whoever runs us may have it.
pub trait Zlib: Shown {
    /// The input, compressed. None if it can't be.
    fn compress(&self, input: &[u8]) -> Option<Vec<u8>>;
}

/// A compressor.
#[derive(Debug)]
pub struct Gzip(Box<dyn Zlib>);

/// With the smallest table: a larger one would be a thirtieth of the module.
static CHECKSUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// No name, no time; the method is deflate, the system is not known (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

impl Gzip {
    /// One that compresses by this.
    #[must_use]
    pub fn new(zlib: Box<dyn Zlib>) -> Self {
        Self(zlib)
    }

    /// Appends the compressed input to the output. Where it can't be compressed, it is gzip all the same: as large as it was.
    pub fn compress(&self, input: &[u8], output: &mut Vec<u8>) {
        output.extend(HEADER);
        let compressed = self.0.compress(input);
        match compressed.as_deref().and_then(deflated) {
            Some(deflated) => output.extend_from_slice(deflated),
            None => store(input, output),
        }
        output.extend(CHECKSUM.checksum(input).to_le_bytes());
        // The size is modulo 2^32.
        #[expect(clippy::cast_possible_truncation, reason = "that is what the modulus means")]
        output.extend((input.len() as u32).to_le_bytes());
    }
}

/// What zlib's format has between its header, of a stream without a dictionary, and its checksum (RFC 1950, section 2.2).
fn deflated(zlib: &[u8]) -> Option<&[u8]> {
    const METHOD: u8 = 0x0f;
    const DEFLATE: u8 = 8;
    const DICTIONARY: u8 = 0x20;
    let ([method, flags], rest) = zlib.split_first_chunk()?;
    let (deflated, _checksum) = rest.split_last_chunk::<4>()?;
    (method & METHOD == DEFLATE && flags & DICTIONARY == 0).then_some(deflated)
}

/// Deflate without compression (RFC 1951, section 3.2.4): blocks of the last one's mark, their length and its complement.
fn store(input: &[u8], output: &mut Vec<u8>) {
    const LAST: u8 = 1;
    let (blocks, last) = input.split_at(input.len() - input.len() % usize::from(u16::MAX));
    for block in blocks.chunks(usize::from(u16::MAX)) {
        store_block(0, block, output);
    }
    store_block(LAST, last, output);
}

fn store_block(mark: u8, block: &[u8], output: &mut Vec<u8>) {
    let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
    output.push(mark);
    output.extend(length.to_le_bytes());
    output.extend((!length).to_le_bytes());
    output.extend_from_slice(block);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::GzDecoder;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    /// What Envoy has.
    #[derive(Debug)]
    pub(crate) struct Native;

    impl Zlib for Native {
        fn compress(&self, input: &[u8]) -> Option<Vec<u8>> {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(input).ok()?;
            encoder.finish().ok()
        }
    }

    /// Gives what it has.
    #[derive(Debug)]
    struct Gives(Option<Vec<u8>>);

    impl Zlib for Gives {
        fn compress(&self, _: &[u8]) -> Option<Vec<u8>> {
            self.0.clone()
        }
    }

    fn packed(zlib: impl Zlib + 'static, input: &[u8]) -> Vec<u8> {
        let mut output = b"before".to_vec();
        Gzip::new(Box::new(zlib)).compress(input, &mut output);
        output.strip_prefix(b"before").expect("it is appended").to_vec()
    }

    fn unpack(packed: &[u8]) -> Vec<u8> {
        let mut unpacked = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut unpacked).expect("gzip");
        unpacked
    }

    #[test]
    fn what_repeats_gets_small() {
        let input = b"http.request.method GET ".repeat(1000);
        let output = packed(Native, &input);
        assert!(output.len() < input.len() / 50, "{} of {}", output.len(), input.len());
        assert_eq!(unpack(&output), input);
    }

    #[test]
    fn what_is_not_compressed_takes_few_blocks() {
        const HEAD_AND_TAIL: usize = 10 + 8;
        for (length, blocks) in [(0, 1), (1, 1), (65_534, 1), (65_536, 2), (100_000, 2)] {
            let output = packed(Gives(None), &vec![7; length]);
            assert_eq!(output.len(), HEAD_AND_TAIL + length + 5 * blocks, "{length}");
        }
    }

    #[test]
    fn what_is_no_zlib_is_not_sent() {
        let valid = Native.compress(b"input").expect("it compresses");
        let (mut method, mut dictionary) = (valid.clone(), valid.clone());
        method[0] = 0x79;
        assert_eq!(method[1] & 0x20, 0, "wrong in this alone");
        dictionary[1] |= 0x20;
        let cases: [(Option<Vec<u8>>, &str); 6] = [
            (None, "the host has none"),
            (Some(Vec::new()), "nothing"),
            (Some(valid[..5].to_vec()), "too short for a checksum"),
            (Some(method), "another method"),
            (Some(dictionary), "a dictionary that the collector does not have"),
            (Some(vec![b'x'; 5]), "no zlib at all"),
        ];
        for (given, reason) in cases {
            assert_eq!(unpack(&packed(Gives(given), b"input")), b"input", "{reason}");
        }
        assert_eq!(unpack(&packed(Gives(Some(valid)), b"input")), b"input", "zlib");
    }

    #[test]
    fn blocks_have_their_limits() {
        for length in [0, 1, 65_534, 65_535, 65_536, 131_070, 200_000] {
            let input = vec![b'x'; length];
            assert_eq!(unpack(&packed(Gives(None), &input)), input, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(input in prop::collection::vec(0_u8..8, 0..5000)) {
            prop_assert_eq!(unpack(&packed(Native, &input)), input.clone());
            prop_assert_eq!(unpack(&packed(Gives(None), &input)), input);
        }
    }
}
