//! Datadog's format, `x-datadog-…`.
//!
//! (dd-trace, "Trace context propagation".) Ids are decimal numbers of 64 bits; the high half of a trace id stands among the tags. The other
//! tags, the origin, and a priority that says the same as the decision go on as they came.

use super::changes::Changes;
use super::text::{
    decimal, find, hex, known_value, parent, presence, push, push_others, set, value,
};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{Decision, SpanContext, TraceFlags};
use crate::envoy::headers::Headers;
use crate::probe::{Known, Presence};

const TRACE_ID: &str = "x-datadog-trace-id";
const PARENT_ID: &str = "x-datadog-parent-id";
const PRIORITY: &str = "x-datadog-sampling-priority";
const TAGS: &str = "x-datadog-tags";
const ORIGIN: &str = "x-datadog-origin";
/// The tag with the high half of a trace id.
const HIGH: &[u8] = b"_dd.p.tid=";

/// The format.
#[derive(Debug)]
pub struct Datadog;

/// What a priority says: one over zero that the trace is kept.
fn flags(priority: Option<&[u8]>) -> Option<TraceFlags> {
    let decision = match priority {
        None => Decision::Deferred,
        Some([b'-', digits @ ..]) => decimal(digits).map(|_| Decision::NotSampled)?,
        Some(digits) if decimal(digits)? != [0; 16] => Decision::Sampled,
        Some(_) => Decision::NotSampled,
    };
    Some(TraceFlags::decided(decision))
}

impl Propagator for Datadog {
    fn description(&self) -> &'static Description {
        &Description {
            name: "datadog",
            fields: &[TRACE_ID, PARENT_ID, PRIORITY, TAGS, ORIGIN],
            carriers: &[TRACE_ID],
        }
    }

    /// `None` for: an id that is not a decimal number of up to 64 bits, or is zero; a priority that is not a whole number; one of these headers
    /// twice. A high half that is not 16 hexadecimal digits counts as none.
    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        let mut trace = decimal(value(headers, TRACE_ID)?)?;
        let tags = value(headers, TAGS).unwrap_or_default();
        let high = find(tags, b',', HIGH).and_then(|it| hex(it, 16, 16)).unwrap_or_default();
        // Datadog knows no trace whose low half is zero.
        if trace != [0; 16] {
            *trace.first_chunk_mut::<8>()? = *high.last_chunk()?;
        }
        let span = decimal(value(headers, PARENT_ID)?);
        parent(Some(trace), span, flags(value(headers, PRIORITY)))
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        let came = match known {
            Known::Headers(headers) => self.extract(headers),
            Known::NoCarrier => None,
        };
        let came = came.filter(|it| it.trace_id == context.trace_id);
        let mut headers = [(TRACE_ID, "%l"), (PARENT_ID, "%s"), (PRIORITY, "%f")].as_slice();
        let mut tags = Vec::with_capacity(64);
        if !context.trace_id.as_bytes().starts_with(&[0; 8]) {
            push(&mut tags, "_dd.p.tid=%H", context);
        }
        // Of another trace nothing goes on.
        if let Some(came) = came {
            if came.flags.decision() == context.flags.decision() {
                headers = headers.get(..2).unwrap_or_default();
            }
            push_others(&mut tags, known_value(known, TAGS).unwrap_or_default(), b',', &[HIGH]);
        } else {
            changes.remove_stale(ORIGIN, presence(known, ORIGIN, Presence::Unknown));
        }
        set(headers, context, known, changes);
        let came = presence(known, TAGS, Presence::Unknown);
        if tags.is_empty() {
            changes.remove(TAGS, came);
        } else {
            changes.set(TAGS, &tags, came);
        }
    }
}
