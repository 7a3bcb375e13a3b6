//! AWS X-Ray's format, `X-Amzn-Trace-Id`.
//!
//! (AWS X-Ray, Concepts, section "Tracing header".) What else stands in the header, such as `Self` and `Lineage`, goes on.

use super::changes::Changes;
use super::text::{find, flags, hex, known_value, parent, presence, push, push_others, split};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::SpanContext;
use crate::probe::{Known, Presence};

const HEADER: &str = "x-amzn-trace-id";
const ROOT: &[u8] = b"Root=";
const PARENT: &[u8] = b"Parent=";
const SAMPLED: &[u8] = b"Sampled=";

/// The format.
#[derive(Debug)]
pub struct XRay;

impl Propagator for XRay {
    fn description(&self) -> &'static Description {
        &Description { name: "xray", fields: &[HEADER], carriers: &[HEADER] }
    }

    /// Reads `Root=1-8DIGITS-24DIGITS;Parent=16DIGITS;Sampled=0|1|?`, in any order.
    ///
    /// `None` for: no root, or one that is not of version 1, or whose other parts are not 8 and 24 hexadecimal digits, or are zero; no parent,
    /// or one that is not 16 such digits, or is zero; `Sampled` other than `0`, `1` and `?`; one of these twice.
    fn parse(&self, carrier: &[u8]) -> Option<TraceParent> {
        let of = |key| find(carrier, b';', key);
        let (3, [b"1", time, unique, _]) = split(of(ROOT)?, b'-') else { return None };
        let sampled = match of(SAMPLED) {
            Some(b"?") => None,
            sampled @ (None | Some(b"0" | b"1")) => sampled,
            Some(_) => return None,
        };
        let [.., a, b, c, d] = hex(time, 8, 8)?;
        let mut trace = hex(unique, 24, 24)?;
        *trace.first_chunk_mut()? = [a, b, c, d];
        parent(Some(trace), hex(of(PARENT)?, 16, 16), flags(sampled))
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        let mut text = Vec::with_capacity(96);
        push(&mut text, "Root=1-%t-%u;Parent=%S;Sampled=%f", context);
        let came = known_value(known, HEADER).unwrap_or_default();
        // Of another trace nothing goes on.
        if self.parse(came).is_some_and(|it| it.trace_id == context.trace_id) {
            push_others(&mut text, came, b';', &[ROOT, PARENT, SAMPLED]);
        }
        changes.set(HEADER, &text, presence(known, HEADER, Presence::Absent));
    }
}
