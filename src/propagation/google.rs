//! Google Cloud's format, `X-Cloud-Trace-Context`.
//!
//! (Google Cloud Trace, "Trace context".)

use super::changes::Changes;
use super::text::{decimal, hex, parent, set, split};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{Decision, SpanContext, TraceFlags};
use crate::probe::Known;

const HEADER: &str = "x-cloud-trace-context";

/// The format.
#[derive(Debug)]
pub struct Google;

impl Propagator for Google {
    fn description(&self) -> &'static Description {
        &Description { name: "google", fields: &[HEADER], carriers: &[HEADER] }
    }

    /// Reads `TRACE/SPAN[;o=OPTIONS]`.
    ///
    /// `None` for: a trace id that is not 32 hexadecimal digits, or is zero; no span id, or one that is not a decimal number of up to 64 bits,
    /// or is zero; options that are not such a number; anything else.
    fn parse(&self, carrier: &[u8]) -> Option<TraceParent> {
        let (count, [ids, options, ..]) = split(carrier, b';');
        let (2, [trace, span, ..]) = split(ids, b'/') else { return None };
        let decision = match count {
            1 => Decision::Deferred,
            2 => match decimal(options.strip_prefix(b"o=")?)? {
                [.., bits] if bits & 1 == 1 => Decision::Sampled,
                _ => Decision::NotSampled,
            },
            _ => return None,
        };
        parent(hex(trace, 32, 32), decimal(span), Some(TraceFlags::decided(decision)))
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        set(&[(HEADER, "%T/%s;o=%f")], context, known, changes);
    }
}
