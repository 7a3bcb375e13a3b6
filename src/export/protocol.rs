//! How a request is put on the wire: OTLP over HTTP in protobuf or JSON, or over gRPC; plain or compressed.
//!
//! All three are HTTP requests for the host. gRPC is made here, too, and not by the host's own gRPC client: that one neither
//! compresses nor hands over the trailers in which a collector says when to come back, and takes a cluster's name for
//! something else at times.

use crate::otlp::gzip::{Gzip, Zlib};
use crate::otlp::json;

/// `exporter.otlp_http` with its `encoding`, or `exporter.otlp_grpc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/HTTP, Binary Protobuf Encoding.
    HttpProtobuf,
    /// OTLP/HTTP, JSON Protobuf Encoding.
    HttpJson,
    /// OTLP/gRPC. The cluster must speak HTTP/2.
    Grpc,
}

/// `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
}

/// The method of OTLP/gRPC for traces.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Turns requests into bodies.
#[derive(Debug)]
pub struct Encoder {
    protocol: Protocol,
    gzip: Option<Gzip>,
    /// The last body, kept for its memory.
    body: Vec<u8>,
}

/// What goes over the wire for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// How many bytes compression has saved.
    pub saved: usize,
}

impl Encoder {
    /// An encoder, and the headers that say how it encodes. `zlib` compresses.
    #[must_use]
    pub fn new(
        protocol: Protocol,
        compression: Compression,
        zlib: Box<dyn Zlib>,
    ) -> (Self, Vec<(&'static str, &'static str)>) {
        let content_type = match protocol {
            Protocol::HttpProtobuf => "application/x-protobuf",
            Protocol::HttpJson => "application/json",
            Protocol::Grpc => "application/grpc",
        };
        let mut headers = vec![("content-type", content_type)];
        if protocol == Protocol::Grpc {
            headers.push(("te", "trailers"));
        }
        let gzip = match compression {
            Compression::None => None,
            Compression::Gzip => {
                headers.push(match protocol {
                    Protocol::HttpProtobuf | Protocol::HttpJson => ("content-encoding", "gzip"),
                    Protocol::Grpc => ("grpc-encoding", "gzip"),
                });
                Some(Gzip::new(zlib))
            }
        };
        (Self { protocol, gzip, body: Vec::new() }, headers)
    }

    /// The body for an `ExportTraceServiceRequest`.
    pub fn encode<'a>(&'a mut self, request: &'a [u8]) -> Body<'a> {
        let json;
        let message = match self.protocol {
            Protocol::HttpProtobuf | Protocol::Grpc => request,
            Protocol::HttpJson => {
                json = json::from_protobuf(request);
                &json
            }
        };
        // What needs no change is not copied.
        if self.protocol == Protocol::HttpProtobuf && self.gzip.is_none() {
            return Body { bytes: request, saved: 0 };
        }
        self.body.clear();
        if self.protocol == Protocol::Grpc {
            // Filled in below (gRPC over HTTP2, section Requests: Length-Prefixed-Message).
            self.body.extend([u8::from(self.gzip.is_some()), 0, 0, 0, 0]);
        }
        let start = self.body.len();
        match &self.gzip {
            Some(gzip) => gzip.compress(message, &mut self.body),
            None => self.body.extend_from_slice(message),
        }
        let length = self.body.len().saturating_sub(start);
        if let (Protocol::Grpc, Some(room)) = (self.protocol, self.body.get_mut(1..5)) {
            room.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
        Body { bytes: &self.body, saved: message.len().saturating_sub(length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::gzip::tests::Native;
    use flate2::read::GzDecoder;
    use std::io::Read;

    fn encoder_of(protocol: Protocol, compression: Compression) -> Encoder {
        Encoder::new(protocol, compression, Box::new(Native)).0
    }

    fn headers(protocol: Protocol, compression: Compression) -> Vec<(&'static str, &'static str)> {
        Encoder::new(protocol, compression, Box::new(Native)).1
    }

    #[test]
    fn headers_say_how_it_is_encoded() {
        let cases: &[(Protocol, Compression, &[(&str, &str)])] = &[
            (
                Protocol::HttpProtobuf,
                Compression::None,
                &[("content-type", "application/x-protobuf")],
            ),
            (
                Protocol::HttpJson,
                Compression::Gzip,
                &[("content-type", "application/json"), ("content-encoding", "gzip")],
            ),
            (
                Protocol::Grpc,
                Compression::Gzip,
                &[
                    ("content-type", "application/grpc"),
                    ("te", "trailers"),
                    ("grpc-encoding", "gzip"),
                ],
            ),
        ];
        for (protocol, compression, expected) in cases {
            assert_eq!(headers(*protocol, *compression), *expected, "{protocol:?}");
        }
    }

    #[test]
    fn bodies_are_what_the_headers_say() {
        // One resource without anything, and bytes of a field that is not known.
        let request = [&[0x0a, 0x00, 0x7a, 100][..], &[7; 100]].concat();
        let [plain, zipped] = [Compression::None, Compression::Gzip];
        let mut encoder = encoder_of(Protocol::HttpProtobuf, plain);
        assert_eq!(encoder.encode(&request), Body { bytes: &request, saved: 0 });

        let mut encoder = encoder_of(Protocol::HttpJson, plain);
        let body = encoder.encode(&request);
        assert_eq!(body.bytes, br#"{"resourceSpans":[{}]}"#);
        assert_eq!(body.saved, 0);

        let mut encoder = encoder_of(Protocol::Grpc, plain);
        let framed = [&[0, 0, 0, 0, 104][..], &request].concat();
        assert_eq!(encoder.encode(&request), Body { bytes: &framed, saved: 0 });

        let mut encoder = encoder_of(Protocol::Grpc, zipped);
        for pass in 0..2 {
            let body = encoder.encode(&request);
            let (head, message) = body.bytes.split_first_chunk::<5>().expect("a frame");
            assert_eq!(head[0], 1, "compressed, pass {pass}");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            assert_eq!(length as usize, message.len(), "its length");
            assert_eq!(body.saved, request.len() - message.len(), "what it saves");
            let mut unpacked = Vec::new();
            GzDecoder::new(message).read_to_end(&mut unpacked).expect("gzip");
            assert_eq!(unpacked, request, "pass {pass}");
        }
    }
}
