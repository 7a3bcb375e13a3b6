//! B3 in several headers, `X-B3-…`.
//!
//! (openzipkin/b3-propagation; OpenTelemetry, Propagators API, section "B3 Requirements".) It is read in the one header `b3` before, which
//! goes if it came, since it names another span than the one that is written. No parent's id is sent.

use super::b3_headers::{
    self, B3_HEADER, CARRIERS, FIELDS, FLAGS, PARENT_ID, SAMPLED, SPAN_ID, TRACE_ID,
};
use super::changes::Changes;
use super::text::{presence, set};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{SpanContext, TraceFlags};
use crate::envoy::headers::Headers;
use crate::probe::{Known, Presence};

/// The format.
#[derive(Debug)]
pub struct B3Multi;

impl Propagator for B3Multi {
    fn description(&self) -> &'static Description {
        &Description { name: "b3multi", fields: FIELDS, carriers: CARRIERS }
    }

    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        b3_headers::extract(headers)
    }

    fn flags_alone(&self, headers: &Headers) -> Option<TraceFlags> {
        b3_headers::flags_alone(headers)
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        // Debug implies that it is sampled, which is not said beside.
        let (said, unsaid) =
            if context.flags.is_debug() { (FLAGS, SAMPLED) } else { (SAMPLED, FLAGS) };
        set(&[(TRACE_ID, "%T"), (SPAN_ID, "%S"), (said, "%f")], context, known, changes);
        changes.remove(PARENT_ID, presence(known, PARENT_ID, Presence::Unknown));
        for name in [unsaid, B3_HEADER] {
            changes.remove_stale(name, presence(known, name, Presence::Absent));
        }
    }
}
