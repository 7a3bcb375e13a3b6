//! Jaeger's own format, `uber-trace-id`.
//!
//! (Jaeger, Client Libraries, section "Trace/Span Identity".) Baggage in `uberctx-…` passes through untouched.

use super::changes::Changes;
use super::text::{hex, parent, set, split};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{Decision, SpanContext, TraceFlags};
use crate::probe::Known;

const HEADER: &str = "uber-trace-id";
const SAMPLED: u8 = 1;
const DEBUG: u8 = 2;

/// The format.
#[derive(Debug)]
pub struct Jaeger;

impl Propagator for Jaeger {
    fn description(&self) -> &'static Description {
        &Description { name: "jaeger", fields: &[HEADER], carriers: &[HEADER] }
    }

    /// Reads `TRACE:SPAN:PARENT:FLAGS`, where colons may be percent-encoded, all of them.
    ///
    /// `None` for: another number of fields; a trace id that is not up to 32 hexadecimal digits, or is zero; a span id that is not up to 16
    /// such digits, or is zero; flags that are not one or two such digits. The parent is not looked at.
    fn parse(&self, carrier: &[u8]) -> Option<TraceParent> {
        let (mut count, mut fields) = split(carrier, b':');
        if count == 1 {
            (count, fields) = split(carrier, b'%');
            for field in fields.iter_mut().skip(1) {
                *field = field.strip_prefix(b"3A").or_else(|| field.strip_prefix(b"3a"))?;
            }
        }
        let (4, [trace, span, _, bits]) = (count, fields) else { return None };
        let [.., bits] = hex(bits, 1, 2)?;
        let flags = match bits & (SAMPLED | DEBUG) {
            // Debug is said of what is sampled alone.
            0 | DEBUG => TraceFlags::decided(Decision::NotSampled),
            SAMPLED => TraceFlags::decided(Decision::Sampled),
            _ => TraceFlags::debug(),
        };
        parent(hex(trace, 1, 32), hex(span, 1, 16), Some(flags))
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        set(&[(HEADER, "%T:%S:0:%3")], context, known, changes);
    }
}
