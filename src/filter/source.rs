//! What the host knows of a request, and of itself, as the core asks for it; and its zlib.

use super::process;
use crate::envoy::attempt::{ATTEMPT_NUMBER, Attempt};
use crate::envoy::expression::Expression;
use crate::envoy::node::Node;
use crate::envoy::wire::HeaderMap;
use crate::host::{self, Map};
use crate::id::{SpanId, TraceId, write_hex};
use crate::lifecycle::registry::UnixTime;
use crate::otlp::gzip::Zlib;
use crate::outcome::EndedRequest;
use crate::probe::{Body, BucketName, RequestSource, ResponsePart, ResponseSource, Shared};
use crate::propagation::expose::Exposed;
use crate::tracer::{Lineage, Mark};
use std::time::{Duration, Instant, SystemTime};

/// A clock whose zero is the start of a root context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// One that starts now.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it started.
    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// The time that all VMs have in common.
pub(super) fn unix_time() -> UnixTime {
    UnixTime::new(since_epoch())
}

fn since_epoch() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// The host's own zlib.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostZlib;

impl Zlib for HostZlib {
    fn compress(&self, input: &[u8]) -> Option<Vec<u8>> {
        host::foreign_function("compress", input)
    }
}

/// The request of the current stream context.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostRequest {
    pub(super) clock: Clock,
    pub(super) body: Body,
}

impl RequestSource for HostRequest {
    fn shared(&self) -> &dyn Shared {
        &ThisProcess
    }

    fn has_header(&self, name: &str) -> bool {
        host::first_header(Map::Request, name).is_some()
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        // By name the host gives the first value alone.
        let path = [b"request\0headers\0", name.as_bytes()].concat();
        host::property(&path)
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::new(host::headers(Map::Request))
    }

    fn body(&self) -> Body {
        self.body
    }

    #[inline(never)] // Not with the path for each name.
    fn attribute(&self, name: &str) -> Vec<u8> {
        attribute(name)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn unix_time(&self) -> Duration {
        since_epoch()
    }

    fn marks(&self) -> Vec<u8> {
        attribute(MARKS)
    }

    fn attempt(&self) -> Option<Attempt> {
        Attempt::read(&attribute(ATTEMPT_NUMBER))
    }

    fn lineage(&self) -> Vec<u8> {
        attribute(LINEAGE)
    }

    fn client_span(&self) -> Vec<u8> {
        attribute(CLIENT_SPAN)
    }
}

/// The headers, or trailers, of the response of the current stream context, in their callback.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostResponse {
    pub(super) clock: Clock,
    pub(super) part: ResponsePart,
}

/// Where a part of a response is.
pub(super) fn map_of(part: ResponsePart) -> Map {
    match part {
        ResponsePart::Headers | ResponsePart::HeadersOnly => Map::Response,
        ResponsePart::Trailers => Map::Trailers,
    }
}

impl ResponseSource for HostResponse {
    fn shared(&self) -> &dyn Shared {
        &ThisProcess
    }

    fn first(&self, name: &str) -> Option<Vec<u8>> {
        host::first_header(map_of(self.part), name)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let first = self.first(name)?;
        let map: &[u8] = match self.part {
            ResponsePart::Trailers => b"response\0trailers\0",
            ResponsePart::Headers | ResponsePart::HeadersOnly => b"response\0headers\0",
        };
        Some(host::property(&[map, name.as_bytes()].concat()).unwrap_or(first))
    }

    fn part(&self) -> ResponsePart {
        self.part
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }
}

/// What the filters of this process share, under one `vm_id`.
#[derive(Clone, Copy, Debug)]
struct ThisProcess;

impl Shared for ThisProcess {
    fn is_kept(&self, trace_id: TraceId) -> bool {
        process::is_kept_trace(trace_id, since_epoch())
    }

    fn note_kept(&self, trace_id: TraceId) {
        process::note_kept_trace(trace_id, since_epoch());
    }

    fn take_spans(&self, bucket: BucketName, per_second: u32, wanted: u32) -> u32 {
        process::take_spans(bucket, per_second, wanted, since_epoch())
    }
}

/// The callback in which a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastCallback {
    /// The access log's: everything can be read.
    Log,
    /// The context's drop, over HTTP/3: no headers any more.
    Drop,
}

/// The end of the request of the current stream context.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostOutcome {
    pub(super) clock: Clock,
    pub(super) callback: LastCallback,
}

impl EndedRequest for HostOutcome {
    fn shared(&self) -> &dyn Shared {
        &ThisProcess
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        attribute(name)
    }

    fn evaluate(&self, expression: Expression) -> Option<Vec<u8>> {
        host::foreign_function(EVALUATE, &expression.to_bytes())
    }

    fn is_empty(&self, expression: Expression) -> bool {
        host::foreign_function_size(EVALUATE, &expression.to_bytes()) == Some(0)
    }

    fn has_headers(&self) -> bool {
        self.callback == LastCallback::Log
    }

    fn headers(&self) -> HeaderMap {
        if self.has_headers() {
            HeaderMap::new(host::headers(Map::Request))
        } else {
            HeaderMap::default()
        }
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }
}

/// The host's function that evaluates an expression for the current request.
const EVALUATE: &str = "expr_evaluate";

/// Has the host compile an expression, for the root context.
pub(super) fn compile(text: &str) -> Option<Expression> {
    let token = host::foreign_function("expr_create", text.as_bytes())?;
    Some(Expression::from_bytes(&token)?.of(text))
}

/// The state of a request that its second pass gets, if the host redirects it internally. No caller can write it.
const MARKS: &str = "otel_proxy_wasm_passes";

/// The state of a request that its attempts leave each other. No caller can write it.
const LINEAGE: &str = "otel_proxy_wasm_attempt";

/// Has the host keep [`MARKS`] and [`LINEAGE`] for a whole request, not for one pass. For the root context, once.
pub(super) fn declare_states() {
    /// `DownstreamRequest`.
    const LIFE_SPAN: u8 = 1;
    for name in [MARKS, LINEAGE] {
        let length = u8::try_from(name.len()).unwrap_or_default();
        // DeclarePropertyArguments { name, span }
        let argument = [&[0x0a, length], name.as_bytes(), &[0x28, LIFE_SPAN]].concat();
        host::foreign_function("declare_property", &argument);
    }
}

/// Leaves the current request's next attempt what it has to know of this one.
pub(super) fn leave_lineage(lineage: Lineage) {
    host::set_property(LINEAGE, &lineage.to_bytes());
}

/// Leaves a mark on the current request.
pub(super) fn leave_mark(mark: Mark) {
    let mut marks = attribute(MARKS);
    marks.extend(mark.to_bytes());
    host::set_property(MARKS, &marks);
}

/// Tells access logs of the current request, which print it by `%FILTER_STATE(wasm.otel_trace_id:PLAIN)%` and the like.
#[inline(never)]
pub(super) fn expose(exposed: &Exposed) {
    for (name, value) in exposed.states() {
        host::set_property(name, value);
    }
}

/// The state of a request that has a CLIENT span in the chain: that span's id, as it stands in the traceparent. A filter in the cluster can read
/// it, since it has the same request; no caller can write it.
const CLIENT_SPAN: &str = "otel_proxy_wasm_client";

/// Tells a filter in the cluster that there is a CLIENT span.
pub(super) fn tell_client_span(id: SpanId) {
    let mut digits = [0; 16];
    write_hex(id.as_bytes(), &mut digits);
    host::set_property(CLIENT_SPAN, &digits);
}

/// The response's headers, in their callback.
pub(super) fn response_headers() -> HeaderMap {
    HeaderMap::new(host::headers(Map::Response))
}

/// The length of no attribute's name is more than this.
const LONGEST_ATTRIBUTE: usize = 64;

/// The value of an attribute; empty if it is not set.
pub(super) fn attribute(name: &str) -> Vec<u8> {
    path_of(name).get(..name.len()).and_then(host::property).unwrap_or_default()
}

/// The path of an attribute, as long as its name: a NUL for each dot. On the stack, and eight bytes at a time, since several are read of
/// each request that is kept.
fn path_of(name: &str) -> [u8; LONGEST_ATTRIBUTE] {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    const DOTS: u64 = EACH * b'.' as u64;
    let mut path = [0; LONGEST_ATTRIBUTE];
    if let Some(part) = path.get_mut(..name.len()) {
        part.copy_from_slice(name.as_bytes());
    }
    for word in path.as_chunks_mut::<8>().0.iter_mut().take(name.len().div_ceil(8)) {
        let text = u64::from_le_bytes(*word);
        // The highest bit of each byte that is a dot: of ASCII nothing but a slash behind one would be taken for another.
        let others = text ^ DOTS;
        let dots = others.wrapping_sub(EACH) & !others & (EACH << 7);
        *word = (text & !((dots >> 7) * 0xff)).to_le_bytes();
    }
    path
}

/// What this Envoy says of itself.
pub(super) fn node() -> Node {
    Node::read(|path| host::property(path.join("\0").as_bytes()))
}

/// The name that the plugin has in the host's configuration.
pub(super) fn plugin_name() -> String {
    String::from_utf8(attribute("plugin_name")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_become_nuls() {
        for name in [
            "",
            ".",
            "response.code",
            "xds.listener_direction",
            "a.b.c",
            "upstream.request_attempt_count",
            "plugin_name",
        ] {
            let expected = name.replace('.', "\0");
            assert_eq!(path_of(name)[..name.len()], *expected.as_bytes(), "{name}");
        }
    }
}
