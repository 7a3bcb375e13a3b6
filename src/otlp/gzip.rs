//! gzip (RFC 1952), with a compressor that keeps its memory: one request after the other goes through it.

use crc::{CRC_32_ISO_HDLC, Crc, Table};
use flate2::{Compress, Compression, FlushCompress, Status};

/// A compressor.
#[derive(Debug)]
pub struct Gzip(Compress);

/// With the smallest table: a larger one would be a thirtieth of the module.
static CHECKSUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// No name, no time; the method is deflate, the system is not known (RFC 1952, section 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

impl Default for Gzip {
    /// One that costs little: spans repeat themselves, so that the first level saves nearly what the others do.
    fn default() -> Self {
        Self(Compress::new(Compression::fast(), false))
    }
}

impl Gzip {
    /// Appends the compressed input to the output.
    pub fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.extend(HEADER);
        self.0.reset();
        let mut rest = input;
        loop {
            output.reserve(1024 + rest.len() / 4);
            let before = self.0.total_in();
            let status = self.0.compress_vec(rest, output, FlushCompress::Finish);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            // An error can't come of a stream that was just reset; it would end the output early.
            if !matches!(status, Ok(Status::Ok | Status::BufError)) {
                break;
            }
        }
        output.extend(CHECKSUM.checksum(input).to_le_bytes());
        // The size is modulo 2^32.
        #[expect(clippy::cast_possible_truncation, reason = "that is what the modulus means")]
        output.extend((input.len() as u32).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    fn unpack(packed: &[u8]) -> Vec<u8> {
        let mut unpacked = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut unpacked).expect("gzip");
        unpacked
    }

    #[test]
    fn what_repeats_gets_small() {
        let input = b"http.request.method GET ".repeat(1000);
        let mut output = b"before".to_vec();
        Gzip::default().compress(&input, &mut output);
        assert!(output.len() < input.len() / 50, "{} of {}", output.len(), input.len());
        assert_eq!(unpack(&output[6..]), input, "it is appended");
    }

    proptest! {
        #[test]
        fn one_compressor_serves_again_and_again(
            inputs in prop::collection::vec(prop::collection::vec(0_u8..8, 0..5000), 0..4),
        ) {
            let mut gzip = Gzip::default();
            for input in inputs {
                let mut output = Vec::new();
                gzip.compress(&input, &mut output);
                prop_assert_eq!(unpack(&output), input);
            }
        }
    }
}
