//! The root context: configured, called back by the clock and by answers, told to go.

use super::source::{self, Clock};
use super::stream::Stream;
use super::{LifeStage, Metrics, NextTick, OutcomeReader, Running, process};
use crate::config::{Config, Environment};
use crate::export::ExportCall;
use crate::export::answer::{Answer, Failure};
use crate::export::protocol::Protocol;
use crate::export::retry_after;
use crate::host::shared::SharedQueue;
use crate::host::{self, NotCalled};
use crate::id::IdGenerator;
use crate::lifecycle::crash::CrashAccounting;
use crate::lifecycle::handover::{NotTaken, Unsent};
use crate::lifecycle::successor::{Departure, Filters, Plugin, VmKind};
use crate::otlp::rpc_status;
use crate::resource;
use crate::tracer::Tracer;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

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
    clock: Clock,
    /// None until configured, and when disabled.
    running: Option<Rc<Running>>,
}

impl Root {
    /// A root that is not configured yet, of this id in the host. `filters` are those of its VM.
    #[must_use]
    pub fn new(id: u32, filters: Filters) -> Self {
        Self { id, filters, clock: Clock::start(), running: None }
    }

    /// Sends what is due, unless a call is under way, and tells the host what was counted.
    fn export(&self, running: &Running) {
        if running.stage.get() == LifeStage::Leaving {
            return self.leave(running);
        }
        let mut tracer = running.tracer.borrow_mut();
        let now = self.clock.now();
        if tracer.can_take_over()
            && let Some(message) = running.unsent.as_ref().and_then(SharedQueue::take)
        {
            tracer.take_over(Unsent::read(&message));
        }
        if tracer.has_work() {
            // A call that the host refuses makes room for the next batch; the queue ends this.
            while let Some(call) = tracer.poll_export(now) {
                match make(&call) {
                    Ok(call) => tracer.handle_called(call),
                    Err(failure) => tracer.handle_not_called(failure, now),
                }
            }
        }
        running.report(&mut tracer, now);
    }

    /// Goes, once the last call has ended.
    fn leave(&self, running: &Running) {
        let mut tracer = running.tracer.borrow_mut();
        let now = self.clock.now();
        let waits = tracer.is_in_flight(now);
        if !waits {
            // What was not taken can be sent again by another filter.
            tracer.hand_over(|message| running.hand_over(message));
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
        let latest = process::latest_kind(&running.name);
        let mut tracer = running.tracer.borrow_mut();
        let now = self.clock.now();
        match self.filters.depart(self.id, running.kind, latest) {
            Departure::HandOver => {
                tracer.hand_over_in_flight(|message| running.hand_over(message));
                tracer.hand_over(|message| running.hand_over(message));
            }
            Departure::HandOverAndWait => {
                tracer.hand_over(|message| running.hand_over(message));
                if tracer.is_in_flight(now) {
                    running.stage.set(LifeStage::Leaving);
                }
            }
            Departure::Lose => {
                // What was left to this one is lost with it.
                while let Some(message) = running.unsent.as_ref().and_then(SharedQueue::take) {
                    tracer.shut_down();
                    tracer.take_over(Unsent::read(&message));
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
        running.tracer.borrow_mut().handle_answer(call, answer, self.clock.now());
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
        let accounting = CrashAccounting::new(ids.number());
        let instance = process::agree_on_instance(&resource::instance_id(ids.bytes()));
        let node = source::node();
        let name = source::plugin_name();
        let kind = VmKind::new(&host::build_id(), std::env::vars_os());
        process::note_kind(&name, kind);
        self.filters.remove(self.id);
        self.filters.add(self.id, Plugin { name: name.clone(), configuration: json });
        config.span_kind = config.span_kind.on(&node);
        let resource = resource::attributes(&config.resource, &node, &instance);
        self.running = Some(Rc::new(Running {
            tracer: RefCell::new(Tracer::new(config, &resource, ids)),
            clock: self.clock,
            outcomes: OutcomeReader::new(),
            metrics: Metrics::define(),
            next_tick: Cell::new(NextTick::Usual),
            unsent: process::unsent(&name),
            name,
            kind,
            stage: Cell::new(LifeStage::Serves),
            accounting: RefCell::new(accounting),
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
            running.report(&mut tracer, self.clock.now());
        }
    }
}

impl Running {
    /// Tells the host what was counted, and writes down what is held.
    fn report(&self, tracer: &mut Tracer, now: Duration) {
        let mut accounting = self.accounting.borrow_mut();
        let held = tracer.held();
        let mut tries = 0..MAX_TRIES;
        while accounting.is_due(held, now) && tries.next().is_some() {
            let (table, stamp) = process::read_held();
            let update = accounting.update(&table, held, now);
            if update.table.is_none_or(|table| process::write_held(&table, stamp).is_ok()) {
                tracer.note(&update.findings);
                *accounting = update.accounting;
            }
        }
        self.metrics.record(tracer.take_stats());
    }

    /// Leaves a message to the filter that takes this one's place.
    fn hand_over(&self, message: &[u8]) -> Result<(), NotTaken> {
        self.unsent.as_ref().ok_or(NotTaken)?.push(message).map_err(|_| NotTaken)
    }
}

fn make(call: &ExportCall<'_>) -> Result<u32, Failure> {
    host::call(call.cluster, call.headers, call.body.bytes, call.timeout).map_err(|why| match why {
        NotCalled::NoCluster => Failure::NoCluster,
        NotCalled::NoUpstream => Failure::NoUpstream,
    })
}

/// What the current export call's answer says around its body.
fn read_answer(protocol: Protocol, body: &[u8]) -> Answer<'_> {
    let grpc = match protocol {
        Protocol::Grpc => grpc_status(),
        Protocol::HttpProtobuf | Protocol::HttpJson => None,
    };
    if let Some((code, details)) = grpc {
        return Answer::Grpc { code, retry_delay: rpc_status::retry_delay(&details), body };
    }
    let retry_after = host::answer_header("retry-after").unwrap_or_default();
    let retry_after = retry_after::read(&retry_after, SystemTime::now());
    let status = host::answer_header(":status").and_then(|digits| number(&digits));
    Answer::Http { status: status.unwrap_or_default(), retry_after, body }
}

/// How the gRPC call ended that the current answer is about: its status code, and the value of `grpc-status-details-bin`. They are
/// trailers, or headers of an answer that has nothing else. None if it does not say.
fn grpc_status() -> Option<(u32, Vec<u8>)> {
    type Lookup = fn(&str) -> Option<Vec<u8>>;
    let places: [Lookup; 2] = [host::answer_trailer, host::answer_header];
    let (place, code) =
        places.into_iter().find_map(|place| Some((place, number(&place("grpc-status")?)?)))?;
    let details = if code == 0 { None } else { place("grpc-status-details-bin") };
    Some((code, details.unwrap_or_default()))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
