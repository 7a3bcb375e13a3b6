//! The format of the basic tracers of `OpenTracing`, `ot-tracer-…`.
//!
//! (OpenTelemetry, Propagators API: "OT Trace".) Its trace ids have 64 bits: of longer ones the high half is not sent. Baggage in `ot-baggage-…`
//! passes through untouched.

use super::changes::Changes;
use super::text::{flags, hex, parent, set, value};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::SpanContext;
use crate::envoy::headers::Headers;
use crate::probe::Known;

const TRACE_ID: &str = "ot-tracer-traceid";
const SPAN_ID: &str = "ot-tracer-spanid";
const SAMPLED: &str = "ot-tracer-sampled";

/// The format.
#[derive(Debug)]
pub struct OtTrace;

impl Propagator for OtTrace {
    fn description(&self) -> &'static Description {
        &Description {
            name: "ottrace",
            fields: &[TRACE_ID, SPAN_ID, SAMPLED],
            carriers: &[TRACE_ID],
        }
    }

    /// `None` for: a trace id that is not up to 32 hexadecimal digits, or is zero; a span id that is not up to 16 such digits, or is zero;
    /// `ot-tracer-sampled` other than `true`, `false`, `1`, `0` and `d`; one of these headers twice.
    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        let (trace, span) = (value(headers, TRACE_ID)?, value(headers, SPAN_ID)?);
        parent(hex(trace, 1, 32), hex(span, 1, 16), flags(value(headers, SAMPLED)))
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        let sampled = if context.flags.is_sampled() { "true" } else { "false" };
        set(&[(TRACE_ID, "%L"), (SPAN_ID, "%S"), (SAMPLED, sampled)], context, known, changes);
    }
}
