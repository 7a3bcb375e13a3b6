//! Which headers carry a context between services: a list of formats, one file each.
//!
//! Texts in, context out, and back. Asking for headers and changing them is the filter's part; what a context is worth
//! is decided elsewhere.

pub mod changes;
pub mod expose;
pub mod server_timing;
pub mod trace_context;

use crate::context::SpanContext;
use crate::envoy::headers::Headers;
use crate::probe::{HeaderNeeds, Known, Needs};
use crate::shown::{Shown, shown_by_name};
use changes::Changes;

shown_by_name!(Propagator);

/// A header format (OpenTelemetry, Propagators API, `TextMapPropagator`).
pub trait Propagator: Shown + Sync {
    /// Its name in `propagator` and `OTEL_PROPAGATORS`.
    fn name(&self) -> &'static str;

    /// The headers that it reads.
    fn fields(&self) -> &'static [&'static str];

    /// Those of its headers of which one is there if a context is: the others need not be looked for.
    fn carriers(&self) -> &'static [&'static str];

    /// The caller's context, if the headers hold a valid one.
    fn extract(&self, headers: &Headers) -> Option<SpanContext>;

    /// Whether this value of one of its carriers is all that has to be known: it holds a valid context that is not sampled.
    fn is_unsampled(&self, carrier: &[u8]) -> bool;

    /// Writes a context. `parent` is what the request came with, in whatever format.
    fn inject(
        &self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    );
}

/// `envoy.unsampled`: what a request that is let go goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsampled {
    /// A context of our own, not sampled.
    Inject,
    /// What came, untouched (W3C Trace Context, section 4.3: who takes no part); where no valid context came, one of our own, not sampled.
    PassThrough,
    /// What came, untouched. Where nothing came, nothing: whoever comes next decides.
    Defer,
}

impl Unsampled {
    /// Whether the headers stay as they are.
    #[must_use]
    pub fn leaves(self, parent: Option<&SpanContext>) -> bool {
        match self {
            Self::Inject => false,
            Self::PassThrough => parent.is_some(),
            Self::Defer => true,
        }
    }
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

    /// Whether this value of a carrier is all that has to be known: it holds a valid context that is not sampled, and no other format is
    /// read that might hold another one.
    #[must_use]
    pub fn is_unsampled(&self, carrier: &[u8]) -> bool {
        matches!(self.0.as_slice(), [format] if format.is_unsampled(carrier))
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
