//! The root and stream contexts: callbacks in, host calls out, no decisions.
//!
//! What happens in between is the tracer's. A callback never pauses a request.

mod answer;
mod metrics;
mod open;
mod process;
mod root;
mod running;
mod source;
mod stream;

pub use root::{Filters, Root};
