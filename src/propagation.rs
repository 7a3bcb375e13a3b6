//! Which headers carry a context between services.
//!
//! One file per header format. Reading and writing the headers is the host's part.

pub mod trace_context;

/// What the filter does with the context of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// W3C Trace Context is read and written. W3C Baggage passes through untouched.
    TraceContext,
    /// No header is read or written: each request is a trace of its own.
    None,
}
