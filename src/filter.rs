//! The root and stream contexts: callbacks in, host calls out, no decisions.
//!
//! What happens in between is the tracer's. A callback never pauses a request.

use crate::config::{Config, Environment};
use crate::export::answer::Answer;
use crate::export::protocol::Protocol;
use crate::export::retry_after;
use crate::handover::Unsent;
use crate::host::wire::HeaderMap;
use crate::host::{self, Metrics, OutcomeReader, SharedQueue};
use crate::id::IdGenerator;
use crate::otlp::rpc_status;
use crate::propagation::Propagation;
use crate::propagation::trace_context::{self, Incoming, TRACEPARENT, TRACESTATE};
use crate::resource;
use crate::span::StartedSpan;
use crate::succession::{Estate, Filters, Plugin};
use crate::tracer::{Decision, HeaderChange, NotLeft, Recording, Tracer};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a worker looks for work.
const TICK: Duration = Duration::from_millis(100);
/// When it looks next if a batch is full: only the root can send it.
const SOON: Duration = Duration::from_millis(1);

/// The context of one configuration in one worker.
#[derive(Debug)]
pub struct Root {
    id: u32,
    /// Those of this VM, this one among them.
    filters: Filters,
    started: Instant,
    /// None until configured, and when disabled.
    running: Option<Rc<Running>>,
}

/// A configured filter, shared with the requests that pass through it.
#[derive(Debug)]
struct Running {
    tracer: RefCell<Tracer>,
    outcomes: OutcomeReader,
    metrics: Metrics,
    first_look: Cell<FirstLook>,
    next_tick: Cell<NextTick>,
    name: String,
    /// When it was configured, since the Unix epoch.
    configured: Duration,
    /// What filters leave to those that take their place.
    unsent: Option<SharedQueue>,
    stage: Cell<LifeStage>,
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

impl Root {
    /// A root that is not configured yet, of this id in the host. `filters` are those of its VM.
    #[must_use]
    pub fn new(id: u32, filters: Filters) -> Self {
        Self { id, filters, started: Instant::now(), running: None }
    }

    /// Sends what is due, unless a call is under way, and tells the host what was counted.
    fn export(&self, running: &Running) {
        if running.stage.get() == LifeStage::Lingers {
            return self.linger(running);
        }
        let mut tracer = running.tracer.borrow_mut();
        if tracer.can_inherit()
            && let Some(message) = running.unsent.as_ref().and_then(SharedQueue::take)
        {
            tracer.inherit(Unsent::read(&message));
        }
        if tracer.has_work() {
            let now = self.started.elapsed();
            // A call that the host refuses makes room for the next batch; the queue ends this.
            while let Some(call) = tracer.poll_export(now) {
                match host::call(&call) {
                    Ok(call) => tracer.handle_called(call),
                    Err(failure) => tracer.handle_not_called(failure, now),
                }
            }
        }
        running.metrics.record(tracer.take_stats());
    }

    /// Goes once the last call has ended.
    fn linger(&self, running: &Running) {
        let mut tracer = running.tracer.borrow_mut();
        let waits = tracer.is_in_flight(self.started.elapsed());
        if !waits {
            // What was not taken can be sent again by another filter.
            tracer.leave(|message| running.leave(message));
        }
        running.metrics.record(tracer.take_stats());
        drop(tracer);
        if !waits {
            host::done();
        }
    }
}

impl Context for Root {
    /// The configuration was replaced, or the worker ends. What is not delivered is left to the filter that takes this one's
    /// place.
    fn on_done(&mut self) -> bool {
        let Some(running) = &self.running else { return true };
        let latest = host::last_configured(&running.name);
        let mut tracer = running.tracer.borrow_mut();
        match self.filters.estate(self.id, running.configured, latest) {
            Estate::Left => {
                tracer.leave_in_flight(|message| running.leave(message));
                tracer.leave(|message| running.leave(message));
            }
            Estate::LeftAndAwaited => {
                tracer.leave(|message| running.leave(message));
                if tracer.is_in_flight(self.started.elapsed()) {
                    running.stage.set(LifeStage::Lingers);
                }
            }
            Estate::Lost => {
                // What was left to this one is lost with it.
                while let Some(message) = running.unsent.as_ref().and_then(SharedQueue::take) {
                    tracer.shut_down();
                    tracer.inherit(Unsent::read(&message));
                }
            }
        }
        running.metrics.record(tracer.take_stats());
        running.stage.get() == LifeStage::Serves
    }

    fn on_http_call_response(&mut self, call: u32, headers: usize, body_size: usize, _: usize) {
        let Some(running) = &self.running else { return };
        let body;
        // Without headers there is no response, and the host has nothing that could be asked for.
        let answer = if headers == 0 {
            Answer::Reset
        } else {
            body = match body_size {
                0 => Vec::new(),
                size => host::answer_body(size),
            };
            read_answer(running.tracer.borrow().protocol(), &body)
        };
        running.tracer.borrow_mut().handle_answer(call, answer, self.started.elapsed());
        self.export(running);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let json = self.get_plugin_configuration().unwrap_or_default();
        let environment = Environment::from_os(std::env::vars_os());
        let parsed = match Config::parse(&json, &environment) {
            Ok(parsed) => parsed,
            Err(error) => {
                log::error!("configuration: {error}");
                return false;
            }
        };
        let mut config = parsed.config;
        log::set_max_level(config.log_level);
        for warning in parsed.warnings {
            log::warn!("configuration: {warning}");
        }
        if config.disabled {
            return true;
        }
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            log::error!("the host gives no random bytes: {error}");
            return false;
        }
        let mut ids = IdGenerator::from_seed(seed);
        let instance = host::agree_on_instance(&resource::instance_id(ids.bytes()));
        let node = host::node();
        let name = host::plugin_name();
        let configured = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        host::note_configured(&name, configured);
        self.filters.remove(self.id);
        self.filters.add(self.id, Plugin { name: name.clone(), configuration: json });
        config.envoy.span_kind = config.envoy.span_kind.on(&node);
        let resource = resource::attributes(&config.resource, &node, &instance);
        self.running = Some(Rc::new(Running {
            tracer: RefCell::new(Tracer::new(config, &resource, ids)),
            outcomes: OutcomeReader::new(),
            metrics: Metrics::define(),
            first_look: Cell::new(FirstLook::TraceParent),
            next_tick: Cell::new(NextTick::Usual),
            unsent: SharedQueue::open(&format!("otel-proxy-wasm.unsent.{name}")),
            name,
            configured,
            stage: Cell::new(LifeStage::Serves),
        }));
        host::set_tick_period(TICK);
        true
    }

    fn on_tick(&mut self) {
        if let Some(running) = &self.running {
            if running.next_tick.replace(NextTick::Usual) == NextTick::Soon {
                host::set_tick_period(TICK);
            }
            self.export(running);
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { running: self.running.clone(), state: StreamState::Created }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for Root {
    /// No answer will come any more.
    fn drop(&mut self) {
        self.filters.remove(self.id);
        if let Some(running) = &self.running {
            let mut tracer = running.tracer.borrow_mut();
            tracer.shut_down();
            running.metrics.record(tracer.take_stats());
        }
    }
}

/// The context of one request.
#[derive(Debug)]
struct Stream {
    /// None when disabled.
    running: Option<Rc<Running>>,
    state: StreamState,
}

#[derive(Debug)]
enum StreamState {
    /// The request's headers were not seen.
    Created,
    /// The request is kept.
    Started(Box<StartedSpan>),
    /// Nothing is left to do.
    Done,
}

impl Running {
    /// Leaves a message to the filter that takes this one's place.
    fn leave(&self, message: &[u8]) -> Result<(), NotLeft> {
        self.unsent.as_ref().ok_or(NotLeft)?.push(message)
    }

    /// The headers of a request that starts, unless they can't matter yet.
    fn look(&self, tracer: &Tracer) -> Option<HeaderMap> {
        match (tracer.propagation(), self.first_look.get()) {
            (_, FirstLook::AllHeaders) => Some(host::request_headers()),
            (Propagation::None, FirstLook::TraceParent) => None,
            (Propagation::TraceContext, FirstLook::TraceParent) => {
                host::has_request_header(TRACEPARENT).then(host::request_headers)
            }
        }
    }

    /// Starts a request and writes its context into its headers.
    fn start(&self) -> StreamState {
        let mut tracer = self.tracer.borrow_mut();
        let headers = self.look(&tracer);
        let incoming = headers
            .as_ref()
            .map_or_else(Incoming::without_traceparent, |headers| extract(&tracer, headers));
        let has_parent = incoming.parent.is_some();
        if let Some(span) = tracer.resume(&incoming) {
            return StreamState::Started(Box::new(span));
        }
        let decision = tracer.decide(incoming);
        self.first_look.set(match decision.recording {
            Recording::Off if !has_parent => FirstLook::TraceParent,
            Recording::On | Recording::Off => FirstLook::AllHeaders,
        });
        let state = match decision.recording {
            Recording::Off => StreamState::Done,
            Recording::On => {
                let headers = headers.unwrap_or_else(host::request_headers);
                match tracer.begin(&decision, headers) {
                    Some(span) => StreamState::Started(Box::new(span)),
                    None => return StreamState::Done,
                }
            }
        };
        match tracer.propagation() {
            Propagation::TraceContext => inject(&decision),
            Propagation::None => {}
        }
        state
    }

    /// Starts a request that ends before it reached this filter.
    fn start_late(&self) -> Option<StartedSpan> {
        let mut tracer = self.tracer.borrow_mut();
        let headers = host::request_headers();
        let incoming = extract(&tracer, &headers);
        let decision = tracer.decide(incoming);
        match decision.recording {
            Recording::On => tracer.begin(&decision, headers),
            Recording::Off => None,
        }
    }

    fn end(&self, span: StartedSpan) {
        let values = self.outcomes.read();
        let mut tracer = self.tracer.borrow_mut();
        tracer.end(span, &values.outcome());
        if tracer.has_full_batch() && self.next_tick.replace(NextTick::Soon) == NextTick::Usual {
            host::set_tick_period(SOON);
        }
    }
}

/// What the current export call's answer says around its body.
fn read_answer(protocol: Protocol, body: &[u8]) -> Answer<'_> {
    let grpc = match protocol {
        Protocol::Grpc => host::answer_grpc_status(),
        Protocol::HttpProtobuf | Protocol::HttpJson => None,
    };
    if let Some((code, details)) = grpc {
        return Answer::Grpc { code, retry_delay: rpc_status::retry_delay(&details), body };
    }
    let retry_after = retry_after::read(&host::answer_retry_after(), SystemTime::now());
    Answer::Http { status: host::answer_status(), retry_after, body }
}

/// The context that came, if headers carry contexts.
fn extract(tracer: &Tracer, headers: &HeaderMap) -> Incoming {
    match tracer.propagation() {
        Propagation::TraceContext => trace_context::extract(headers.pairs()),
        Propagation::None => Incoming::default(),
    }
}

fn inject(decision: &Decision) {
    let traceparent = trace_context::traceparent(&decision.context);
    let tracestate = decision.context.trace_state.as_str().as_bytes();
    change(TRACEPARENT, decision.traceparent, &traceparent);
    change(TRACESTATE, decision.tracestate, tracestate);
}

/// Adding is cheaper than replacing: Envoy need not look the header up, for which it would index all.
fn change(name: &str, change: HeaderChange, value: &[u8]) {
    match change {
        HeaderChange::Keep => {}
        HeaderChange::Add => host::add_request_header(name, value),
        HeaderChange::Replace => host::set_request_header(name, value),
        HeaderChange::Remove => host::remove_request_header(name),
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(running) = &self.running {
            self.state = running.start();
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if let (Some(running), StreamState::Started(span)) = (&self.running, &mut self.state) {
            // "Trailers-only": the status is among the headers.
            if end_of_stream
                && span.is_grpc()
                && let Some(status) = host::grpc_status_of_headers()
            {
                span.note_grpc_status(&status);
            }
            if running.tracer.borrow().conventions().want_response_headers() {
                span.note_response_headers(host::response_headers());
            }
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let StreamState::Started(span) = &mut self.state
            && span.is_grpc()
            && let Some(status) = host::grpc_status_of_trailers()
        {
            span.note_grpc_status(&status);
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        let Some(running) = &self.running else { return };
        match std::mem::replace(&mut self.state, StreamState::Done) {
            StreamState::Started(span) => running.end(*span),
            StreamState::Created => {
                if let Some(span) = running.start_late() {
                    running.end(span);
                }
            }
            StreamState::Done => {}
        }
    }
}

impl Drop for Stream {
    /// HTTP/3 requests end without the access log's callback.
    fn drop(&mut self) {
        if let (Some(running), StreamState::Started(span)) =
            (&self.running, std::mem::replace(&mut self.state, StreamState::Done))
        {
            running.end(*span);
        }
    }
}
