//! The stream contexts: a request starts, is answered, ends.

use super::{FirstLook, NextTick, Running};
use crate::host;
use crate::host::wire::HeaderMap;
use crate::propagation::Propagation;
use crate::propagation::trace_context::{self, Incoming, TRACEPARENT, TRACESTATE};
use crate::span::StartedSpan;
use crate::tracer::{Decision, HeaderChange, Recording, Tracer};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;
use std::time::Duration;

/// When it looks next if a batch is full: only the root can send it.
const SOON: Duration = Duration::from_millis(1);

/// The context of one request.
#[derive(Debug)]
pub(super) struct Stream {
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

impl Stream {
    /// That of a request under this filter, none if it is disabled.
    pub(super) fn new(running: Option<Rc<Running>>) -> Self {
        Self { running, state: StreamState::Created }
    }
}

impl Running {
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
