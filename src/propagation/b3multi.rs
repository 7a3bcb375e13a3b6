//! B3 in several headers, `X-B3-…`.
//!
//! (openzipkin/b3-propagation; OpenTelemetry, Propagators API, section "B3 Requirements".) It is read in the one header `b3` before, which
//! goes if it came, since it names another span than the one that is written. No parent's id is sent.

use super::b3::{self, B3_HEADER, CARRIERS, FIELDS, ids};
use super::changes::Changes;
use super::text::{flags, presence, set, value};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{SpanContext, TraceFlags};
use crate::envoy::headers::Headers;
use crate::probe::{Known, Presence};

const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const PARENT_ID: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

/// The headers.
pub(super) const SEVERAL: [&str; 5] = [TRACE_ID, SPAN_ID, PARENT_ID, SAMPLED, FLAGS];

/// The format.
#[derive(Debug)]
pub struct B3Multi;

/// The caller's ids and flags in several headers.
///
/// `None` for: a trace id that is not 16 or 32 hexadecimal digits, or is zero; a span id that is not 16 such digits, or is zero; `X-B3-Sampled`
/// other than `0`, `1`, `true`, `false` and `d`, unless `X-B3-Flags` is `1`; one of these headers twice.
pub(super) fn extract(headers: &Headers) -> Option<TraceParent> {
    ids(value(headers, TRACE_ID)?, value(headers, SPAN_ID)?, said(headers))
}

/// What the caller has decided, without ids.
pub(super) fn flags_alone(headers: &Headers) -> Option<TraceFlags> {
    if value(headers, TRACE_ID).is_some() { None } else { said(headers) }
}

fn said(headers: &Headers) -> Option<TraceFlags> {
    let is_debug = value(headers, FLAGS) == Some(b"1");
    flags(if is_debug { Some(b"d") } else { value(headers, SAMPLED) })
}

impl Propagator for B3Multi {
    fn description(&self) -> &'static Description {
        &Description { name: "b3multi", fields: FIELDS, carriers: CARRIERS }
    }

    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        b3::extract(headers)
    }

    fn flags_alone(&self, headers: &Headers) -> Option<TraceFlags> {
        b3::flags_alone(headers)
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
