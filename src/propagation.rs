//! Which headers carry a context between services: a list of formats, one file each.
//!
//! Texts in, context out, and back. Asking for headers and changing them is the filter's part; what a context is worth
//! is decided elsewhere.

pub mod b3;
mod b3_headers;
pub mod b3multi;
pub mod changes;
pub mod datadog;
pub mod expose;
pub mod google;
pub mod jaeger;
pub mod ottrace;
pub mod server_timing;
mod text;
pub mod trace_context;
pub mod xray;

use crate::context::{Decision, SpanContext, TraceFlags, TraceState};
use crate::envoy::headers::Headers;
use crate::probe::{HeaderNeeds, Known, Needs};
use crate::shown::{Shown, shown_by_name};
use changes::Changes;
use trace_context::TraceParent;

shown_by_name!(Propagator);

/// A header format (OpenTelemetry, Propagators API, `TextMapPropagator`).
pub trait Propagator: Shown + Sync {
    /// What is the same for all requests.
    fn description(&self) -> &'static Description;

    /// The caller's ids and flags, if the headers hold valid ones. A format of one carrier that holds them all needs but [`Self::parse`].
    fn extract(&self, headers: &Headers) -> Option<TraceParent> {
        let carrier = self.description().carriers.first()?;
        self.parse(text::value(headers, carrier)?)
    }

    /// The tracestate beside them.
    fn trace_state(&self, _: &Headers) -> TraceState {
        TraceState::default()
    }

    /// What the caller has decided where it gives no ids.
    fn flags_alone(&self, _: &Headers) -> Option<TraceFlags> {
        None
    }

    /// The caller's ids and flags, if this value of one of the carriers holds them all.
    fn parse(&self, _: &[u8]) -> Option<TraceParent> {
        None
    }

    /// Writes a context. `parent` is what the request came with, in whatever format.
    fn inject(
        &self,
        context: &SpanContext,
        parent: Option<&SpanContext>,
        known: Known<'_>,
        changes: &mut Changes,
    );
}

/// What is the same for all requests in a format.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name in `propagator` and `OTEL_PROPAGATORS`.
    pub name: &'static str,
    /// The headers that are its own.
    pub fields: &'static [&'static str],
    /// Those of its headers of which one is there if a context is: the others need not be looked for.
    pub carriers: &'static [&'static str],
}

impl dyn Propagator + '_ {
    /// Its name in `propagator` and `OTEL_PROPAGATORS`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.description().name
    }

    /// The headers that are its own.
    #[must_use]
    pub fn fields(&self) -> &'static [&'static str] {
        self.description().fields
    }

    /// Those of its headers of which one is there if a context is: the others need not be looked for.
    #[must_use]
    pub fn carriers(&self) -> &'static [&'static str] {
        self.description().carriers
    }
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
pub static FORMATS: &[&dyn Propagator] = &[
    &trace_context::TraceContext,
    &b3::B3,
    &b3multi::B3Multi,
    &jaeger::Jaeger,
    &xray::XRay,
    &ottrace::OtTrace,
    &datadog::Datadog,
    &google::Google,
];

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
    #[inline(never)] // It is called in two places, and a call is little beside what it does.
    pub fn extract(&self, headers: &Headers) -> Option<SpanContext> {
        self.0.iter().find_map(|format| {
            let TraceParent { trace_id, parent_id, flags } = format.extract(headers)?;
            let trace_state = format.trace_state(headers);
            Some(SpanContext { trace_id, span_id: parent_id, flags, trace_state })
        })
    }

    /// The flags of a trace that starts here: as the caller has decided, if one of the formats says that.
    #[must_use]
    #[inline(never)] // As `extract`.
    pub fn flags_of_new_trace(&self, headers: &Headers) -> TraceFlags {
        let said = self.0.iter().find_map(|format| format.flags_alone(headers));
        said.map_or_else(TraceFlags::new_trace, TraceFlags::random)
    }

    /// Whether this value of a carrier is all that has to be known: it holds a valid context that is not sampled, and no other format is
    /// read that might hold another one.
    #[must_use]
    pub fn is_unsampled(&self, carrier: &[u8]) -> bool {
        let [format] = self.0.as_slice() else { return false };
        format.parse(carrier).is_some_and(|it| it.flags.decision() == Decision::NotSampled)
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

#[cfg(test)]
mod tests;
