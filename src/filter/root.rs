//! The root context: configured, called back by the clock and by answers, told to go.

use super::process::{self, Unsent};
use super::running::{Release, Running, TICK};
use super::source::{self, Clock, HostZlib};
use super::stream::Stream;
use crate::config::{Config, Environment};
use crate::host;
use crate::id::IdGenerator;
use crate::lifecycle::departure::{self, Departure, Plugin};
use crate::lifecycle::destination::Destination;
use crate::lifecycle::registry::Registration;
use crate::resource;
use crate::tracer::Tracer;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::rc::Rc;

/// The filters of a VM.
pub type Filters = departure::Filters<Rc<Running>>;

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
}

impl Context for Root {
    /// The configuration was replaced, or the worker ends. What is not delivered is left to a filter with the same destination, or delivered
    /// before this one goes.
    fn on_done(&mut self) -> bool {
        let (departure, cut_off) = self.filters.depart(self.id);
        for other in cut_off {
            other.depart(Departure::AtOnce);
        }
        self.running.as_ref().is_none_or(|running| running.depart(departure) == Release::Now)
    }

    fn on_http_call_response(&mut self, call: u32, headers: usize, body_size: usize, _: usize) {
        if let Some(running) = &self.running
            && running.answered(call, headers, body_size) == Release::Now
        {
            host::done();
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let json = self.get_plugin_configuration().unwrap_or_default();
        let environment = Environment::from_os(std::env::vars_os());
        let parsed = match Config::parse(&json, &environment, &source::compile) {
            Ok(parsed) => parsed,
            Err(error) => {
                log::error!("configuration: {error}");
                return false;
            }
        };
        let mut config = parsed.config;
        log::set_max_level(config.log_level);
        // Each worker reads the same configuration.
        for warning in parsed.warnings.iter().filter(|warning| process::is_news(warning)) {
            log::warn!("configuration: {warning}");
        }
        let plugin = Plugin { name: source::plugin_name(), configuration: json };
        self.filters.remove(self.id);
        if config.disabled {
            self.filters.add(self.id, plugin, None);
            return true;
        }
        let mut seed = [0; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            log::error!("the host gives no random bytes: {error}");
            return false;
        }
        let mut ids = IdGenerator::from_seed(seed);
        let destination = Destination::of(&config.exporter);
        let registration = Registration::new(ids.number(), destination, source::unix_time());
        let unsent = Unsent::open(destination, config.batch.max_queue_bytes);
        let instance = process::agree_on_instance(&resource::instance_id(ids.bytes()));
        let mut node = source::node();
        config.span_kind = config.span_kind.on(&node);
        let resource = resource::attributes(&config.resource, &node, &instance);
        let mut tracer = Tracer::new(config, &resource, ids, Box::new(HostZlib));
        tracer.take_node(&mut node);
        let running = Rc::new(Running::new(tracer, self.clock, unsent, registration));
        self.filters.add(self.id, plugin, Some(Rc::clone(&running)));
        self.running = Some(running);
        source::declare_states();
        host::set_tick_period(TICK);
        true
    }

    fn on_tick(&mut self) {
        if let Some(running) = &self.running
            && running.tick(self.id) == Release::Now
        {
            host::done();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, self.running.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.filters.remove(self.id);
        if let Some(running) = &self.running {
            running.dropped();
        }
    }
}
