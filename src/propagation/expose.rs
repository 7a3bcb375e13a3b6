//! What is told of a request's trace beside its headers: to Envoy's access logs, by filter state, and to browsers, by `Server-Timing`.
//!
//! How the host keeps filter state is not known here.

use super::trace_context::{TRACEPARENT_LENGTH, traceparent};
use crate::context::{SpanContext, TraceFlags};

/// `envoy.expose`: who is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Access logs.
    pub filter_state: bool,
    /// Browsers.
    pub server_timing: bool,
}

/// The ids and the flags of a request, for access logs.
#[derive(Debug)]
pub struct Exposed(Box<[u8; TRACEPARENT_LENGTH]>); // Invariant: a traceparent.

impl Exposed {
    /// Those of this context.
    #[must_use]
    pub fn new(context: &SpanContext) -> Self {
        // Invariant: it is one.
        Self(Box::new(traceparent(context)))
    }

    /// Names and texts, as OpenTelemetry calls and writes them (Trace Context in non-OTLP Log Formats).
    pub fn states(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let states =
            [("otel_trace_id", 3..35), ("otel_span_id", 36..52), ("otel_trace_flags", 53..55)];
        states.into_iter().filter_map(|(name, place)| Some((name, self.0.get(place)?)))
    }
}

/// The metric of `Server-Timing` by which browsers learn of the span of a request that is kept. They look for quotes, and for flags that say no
/// more than that it is sampled.
#[must_use]
pub fn server_timing(context: &SpanContext) -> Vec<u8> {
    let flags = TraceFlags::from_byte(0).sampled();
    let told = traceparent(&SpanContext { flags, ..context.clone() });
    [b"traceparent;desc=\"".as_slice(), &told, b"\""].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::TraceState;
    use crate::id::{SpanId, TraceId};

    #[test]
    fn a_context_is_told_in_the_words_of_those_who_read_it() {
        let context = SpanContext {
            trace_id: TraceId::from_hex(b"4bf92f3577b34da6a3ce929d0e0e4736").expect("valid"),
            span_id: SpanId::from_hex(b"00f067aa0ba902b7").expect("valid"),
            flags: TraceFlags::from_byte(3),
            trace_state: TraceState::default(),
        };
        let exposed = Exposed::new(&context);
        let expected = [
            ("otel_trace_id", b"4bf92f3577b34da6a3ce929d0e0e4736".as_slice()),
            ("otel_span_id", b"00f067aa0ba902b7"),
            ("otel_trace_flags", b"03"),
        ];
        assert!(exposed.states().eq(expected), "{exposed:?}");
        let expected =
            r#"traceparent;desc="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01""#;
        assert_eq!(server_timing(&context), expected.as_bytes());
    }
}
