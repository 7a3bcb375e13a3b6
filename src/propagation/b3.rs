//! B3 in one header, `b3`.
//!
//! (openzipkin/b3-propagation; OpenTelemetry, Propagators API, section "B3 Requirements".) It is read in several headers, too, and those
//! that came go, since they name another span than the one that is written.

use super::b3_headers::{self, B3_HEADER, CARRIERS, FIELDS, SEVERAL};
use super::changes::Changes;
use super::text::{presence, set};
use super::trace_context::TraceParent;
use super::{Description, Propagator};
use crate::context::{SpanContext, TraceFlags};
use crate::envoy::headers::Headers;
use crate::probe::{Known, Presence};

/// The format.
#[derive(Debug)]
pub struct B3;

impl Propagator for B3 {
    fn description(&self) -> &'static Description {
        &Description { name: "b3", fields: FIELDS, carriers: CARRIERS }
    }

    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        b3_headers::extract(headers)
    }

    fn flags_alone(&self, headers: &Headers) -> Option<TraceFlags> {
        b3_headers::flags_alone(headers)
    }

    fn parse(&self, carrier: &[u8]) -> Option<TraceParent> {
        b3_headers::parse(carrier)
    }

    fn inject(
        &self,
        context: &SpanContext,
        _: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        set(&[(B3_HEADER, "%T-%S-%d")], context, known, changes);
        // Where no carrier is there, what else there may be names no trace.
        for name in SEVERAL {
            changes.remove_stale(name, presence(known, name, Presence::Absent));
        }
    }
}
