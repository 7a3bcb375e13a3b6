//! The root context: configured, called back by the clock and by answers, told to go.

use super::stream::Stream;
use super::{FirstLook, LifeStage, NextTick, Running};
use crate::config::{Config, Environment};
use crate::export::answer::Answer;
use crate::export::protocol::Protocol;
use crate::export::retry_after;
use crate::handover::{NotLeft, Unsent};
use crate::host::shared::{self, SharedQueue};
use crate::host::{self, Metrics, OutcomeReader};
use crate::id::IdGenerator;
use crate::ledger::Ledger;
use crate::otlp::rpc_status;
use crate::resource;
use crate::succession::{Estate, Filters, Plugin, VmKind};
use crate::tracer::Tracer;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// How often a worker looks for work.
const TICK: Duration = Duration::from_millis(100);

/// How often it is tried to write where other workers write, before it is left to the next tick.
const MAX_TRIES: u32 = 8;

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
        let now = self.started.elapsed();
        if tracer.can_inherit()
            && let Some(message) = running.unsent.as_ref().and_then(SharedQueue::take)
        {
            tracer.inherit(Unsent::read(&message));
        }
        if tracer.has_work() {
            // A call that the host refuses makes room for the next batch; the queue ends this.
            while let Some(call) = tracer.poll_export(now) {
                match host::call(&call) {
                    Ok(call) => tracer.handle_called(call),
                    Err(failure) => tracer.handle_not_called(failure, now),
                }
            }
        }
        running.report(&mut tracer, now);
    }

    /// Goes once the last call has ended.
    fn linger(&self, running: &Running) {
        let mut tracer = running.tracer.borrow_mut();
        let now = self.started.elapsed();
        let waits = tracer.is_in_flight(now);
        if !waits {
            // What was not taken can be sent again by another filter.
            tracer.leave(|message| running.leave(message));
        }
        running.report(&mut tracer, now);
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
        let latest = shared::latest_kind(&running.name);
        let mut tracer = running.tracer.borrow_mut();
        let now = self.started.elapsed();
        match self.filters.estate(self.id, running.kind, latest) {
            Estate::Left => {
                tracer.leave_in_flight(|message| running.leave(message));
                tracer.leave(|message| running.leave(message));
            }
            Estate::LeftAndAwaited => {
                tracer.leave(|message| running.leave(message));
                if tracer.is_in_flight(now) {
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
        running.report(&mut tracer, now);
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
        let ledger = Ledger::new(ids.number());
        let instance = shared::agree_on_instance(&resource::instance_id(ids.bytes()));
        let node = host::node();
        let name = host::plugin_name();
        let kind = VmKind::new(&host::build_id(), std::env::vars_os());
        shared::note_kind(&name, kind);
        self.filters.remove(self.id);
        self.filters.add(self.id, Plugin { name: name.clone(), configuration: json });
        config.span_kind = config.span_kind.on(&node);
        let resource = resource::attributes(&config.resource, &node, &instance);
        self.running = Some(Rc::new(Running {
            tracer: RefCell::new(Tracer::new(config, &resource, ids)),
            outcomes: OutcomeReader::new(),
            metrics: Metrics::define(),
            first_look: Cell::new(FirstLook::TraceParent),
            next_tick: Cell::new(NextTick::Usual),
            unsent: SharedQueue::open(&format!("otel-proxy-wasm.unsent.{name}")),
            name,
            kind,
            stage: Cell::new(LifeStage::Serves),
            ledger: RefCell::new(ledger),
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
        Some(Box::new(Stream::new(self.running.clone())))
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
            running.report(&mut tracer, self.started.elapsed());
        }
    }
}

impl Running {
    /// Tells the host what was counted, and writes down what is held.
    fn report(&self, tracer: &mut Tracer, now: Duration) {
        let mut ledger = self.ledger.borrow_mut();
        let held = tracer.held();
        let mut tries = 0..MAX_TRIES;
        while ledger.is_due(held, now) && tries.next().is_some() {
            let (table, stamp) = shared::read_ledger();
            let turn = ledger.turn(&table, held, now);
            if turn.table.is_none_or(|table| shared::write_ledger(&table, stamp).is_ok()) {
                tracer.note(&turn.findings);
                *ledger = turn.ledger;
            }
        }
        self.metrics.record(tracer.take_stats());
    }

    /// Leaves a message to the filter that takes this one's place.
    fn leave(&self, message: &[u8]) -> Result<(), NotLeft> {
        self.unsent.as_ref().ok_or(NotLeft)?.push(message)
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
