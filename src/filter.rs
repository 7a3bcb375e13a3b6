//! The root and stream contexts: callbacks in, host calls out, no decisions.
//!
//! What happens in between is the tracer's. A callback never pauses a request.

mod root;
mod stream;

pub use root::Root;

use crate::host::shared::SharedQueue;
use crate::host::{Metrics, OutcomeReader};
use crate::ledger::Ledger;
use crate::succession::VmKind;
use crate::tracer::Tracer;
use std::cell::{Cell, RefCell};

/// A configured filter, shared with the requests that pass through it.
#[derive(Debug)]
struct Running {
    tracer: RefCell<Tracer>,
    outcomes: OutcomeReader,
    metrics: Metrics,
    first_look: Cell<FirstLook>,
    next_tick: Cell<NextTick>,
    /// What the host calls the plugin.
    name: String,
    /// That of its VM.
    kind: VmKind,
    /// What filters leave to those that take their place.
    unsent: Option<SharedQueue>,
    stage: Cell<LifeStage>,
    /// What would be lost if the VM crashed.
    ledger: RefCell<Ledger>,
}

/// How far a filter is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LifeStage {
    Serves,
    /// It has left all that waited, and goes when the call in flight is answered.
    Lingers,
}

/// When the root looks for work next. Asked for once: each time that the period is set, the host
/// starts it anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextTick {
    Usual,
    Soon,
}

/// What is asked of the host first when a request starts. All headers in one call are dear, yet
/// cheaper than one header and then all: most proxies see the same kind of requests again and
/// again, so the last one tells what the next will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLook {
    /// Whether there is a traceparent.
    TraceParent,
    /// All headers.
    AllHeaders,
}
