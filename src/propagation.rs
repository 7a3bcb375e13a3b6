//! Which headers carry a context between services: a list of formats, one file each.
//!
//! Texts in, context out, and back. Asking for headers and changing them is the filter's part; what a context is worth
//! is decided elsewhere.

pub mod changes;
pub mod trace_context;

use crate::context::SpanContext;
use crate::envoy::headers::Headers;
use crate::probe::{HeaderNeeds, Known, Needs};
use changes::Changes;
use std::fmt;

/// A header format (OpenTelemetry, Propagators API, `TextMapPropagator`).
pub trait Propagator: fmt::Debug + Sync {
    /// Its name in `propagator` and `OTEL_PROPAGATORS`.
    fn name(&self) -> &'static str;

    /// The headers that it reads.
    fn fields(&self) -> &'static [&'static str];

    /// Those of its headers of which one is there if a context is: the others need not be looked for.
    fn carriers(&self) -> &'static [&'static str];

    /// The caller's context, if the headers hold a valid one.
    fn extract(&self, headers: &Headers) -> Option<SpanContext>;

    /// Writes a context. `parent` is what the request came with, in whatever format.
    fn inject(
        &self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    );
}

/// All formats that there are.
pub static FORMATS: &[&dyn Propagator] = &[&trace_context::TraceContext];

/// The formats that are read, in this order, and written. Without any, no header is touched: each request is a trace of its own.
/// W3C Baggage passes through in any case.
#[derive(Clone, Debug, Default)]
pub struct Propagators(Vec<&'static dyn Propagator>);

impl Propagators {
    /// What has to be known of a request to find its context.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let carriers = self.0.iter().flat_map(|it| it.carriers()).copied();
        Needs { headers: HeaderNeeds::Presence(carriers.collect()), ..Needs::default() }
    }

    /// The headers that are read.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().flat_map(|it| it.fields()).copied()
    }

    /// The caller's context, in the first format that has a valid one.
    #[must_use]
    pub fn extract(&self, headers: &Headers) -> Option<SpanContext> {
        self.0.iter().find_map(|format| format.extract(headers))
    }

    /// Writes a context in each format.
    pub fn inject(
        &self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    ) {
        for format in &self.0 {
            format.inject(context, parent, known, changes);
        }
    }
}

impl FromIterator<&'static dyn Propagator> for Propagators {
    fn from_iter<I: IntoIterator<Item = &'static dyn Propagator>>(formats: I) -> Self {
        Self(formats.into_iter().collect())
    }
}
