//! Where a request crosses a border: the context of a caller that is not trusted is worth nothing here, and ours is nothing to an upstream that
//! is not to have it.
//!
//! Which callers and upstreams these are is not known here (`trust`).

use super::Tracer;
use crate::context::TraceState;
use crate::envoy::headers::Headers;
use crate::otlp::Link;
use crate::probe::{Known, RequestSource};
use crate::semconv::RequestHeaders;
use crate::trust::headers::carries_context;
use crate::trust::{Borders, Leaving, Worth};

/// So many bytes of a stranger's tracestate are kept in a link: what everybody has to pass on (W3C Trace Context, section 3.3.1.5).
const LINKED_TRACE_STATE: usize = 512;

/// What a request crosses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Border {
    worth: Worth,
    leaving: Leaving,
}

impl Border {
    #[inline(never)]
    fn of(borders: &Borders, request: &impl RequestSource) -> Option<Self> {
        // What an attempt bears was written in this Envoy.
        let worth = if borders.incoming.others == Worth::Continue || request.attempt().is_some() {
            Worth::Continue
        } else {
            borders.incoming.worth(request)
        };
        let leaving = borders.outgoing.leaving(request);
        let is_open = worth == Worth::Continue && leaving == Leaving::Inject;
        (!is_open).then_some(Self { worth, leaving })
    }

    /// Whether the caller is trusted.
    pub(super) fn is_trusted(self) -> bool {
        self.worth == Worth::Continue
    }

    /// What is known of the headers that a context is written into; none if that is not to be.
    pub(super) fn known(self, headers: Option<&Headers>) -> Option<Known<'_>> {
        const NONE: &Headers = &Headers::NONE;
        match self {
            Self { leaving: Leaving::Strip, .. } => None,
            Self { worth: Worth::Continue, .. } => Some(headers.into()),
            // What came is gone.
            Self { .. } => Some(Known::Headers(NONE)),
        }
    }

    /// Has what the headers tell of the client count for nothing, if the caller is not trusted.
    pub(super) fn disbelieve(self, headers: Option<&mut Headers>, request: &impl RequestSource) {
        let Some(headers) = headers else { return };
        if self.is_trusted() || !headers.first(RequestHeaders::STRANGER).is_empty() {
            return;
        }
        let scheme: &[u8] = if is_over_tls(request) { b"https" } else { b"http" };
        headers.add(RequestHeaders::STRANGER.as_bytes(), scheme);
    }
}

/// Whether the connection of a request has TLS.
pub(super) fn is_over_tls(request: &impl RequestSource) -> bool {
    !request.attribute("connection.tls_version").is_empty()
}

impl Tracer {
    /// What a request crosses, if its context does not simply come in and go on.
    #[inline] // Mostly there is nothing to ask.
    pub(super) fn border(&self, request: &impl RequestSource) -> Option<Border> {
        Border::of(self.borders.as_deref()?, request)
    }

    /// The headers of a request at a border; those that carry any context go.
    pub(super) fn sweep(&mut self, request: &impl RequestSource) -> Headers {
        let headers = request.headers();
        for (name, _) in headers.pairs() {
            if carries_context(name) {
                self.changes.remove_named(name);
            }
        }
        self.probe.selected(headers)
    }

    /// The link to the context that a trace was not continued from.
    pub(super) fn links(&self, border: Border, headers: Option<&Headers>) -> Vec<Link> {
        let came = headers.filter(|_| border.worth == Worth::Restart);
        let Some(mut context) = came.and_then(|headers| self.propagators.extract(headers)) else {
            return Vec::new();
        };
        let state = &context.trace_state;
        if state.as_str().len() > LINKED_TRACE_STATE {
            context.trace_state = state.cut(LINKED_TRACE_STATE, TraceState::OPENTELEMETRY);
        }
        vec![Link { context }]
    }
}
