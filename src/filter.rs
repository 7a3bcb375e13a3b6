//! The root and stream contexts: callbacks in, host calls out, no decisions.
//!
//! What happens in between is the tracer's. A callback never pauses a request.

mod metrics;
mod outcomes;
mod process;
mod root;
mod source;
mod stream;

pub use root::Root;

use crate::host::shared::SharedQueue;
use crate::lifecycle::crash::CrashAccounting;
use crate::lifecycle::successor::VmKind;
use crate::tracer::Tracer;
use metrics::Metrics;
use outcomes::OutcomeReader;
use source::Clock;
use std::cell::{Cell, RefCell};

/// A configured filter, shared with the requests that pass through it.
#[derive(Debug)]
struct Running {
    tracer: RefCell<Tracer>,
    clock: Clock,
    outcomes: OutcomeReader,
    metrics: Metrics,
    next_tick: Cell<NextTick>,
    /// What the host calls the plugin.
    name: String,
    /// That of its VM.
    kind: VmKind,
    /// What filters leave to those that take their place.
    unsent: Option<SharedQueue>,
    stage: Cell<LifeStage>,
    /// What would be lost if the VM crashed.
    accounting: RefCell<CrashAccounting>,
}

/// How far a filter is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LifeStage {
    Serves,
    /// It has handed over all that waited, and goes when the call in flight is answered.
    Leaving,
}

/// When the root looks for work next. Asked for once: each time that the period is set, the host
/// starts it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextTick {
    Usual,
    Soon,
}
