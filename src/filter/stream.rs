//! The stream contexts: a request starts, is answered, ends.

use super::source::HostRequest;
use super::{NextTick, Running};
use crate::envoy::wire::HeaderMap;
use crate::host;
use crate::propagation::changes::HeaderChange;
use crate::span::OpenSpan;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;
use std::time::Duration;

/// When it looks next if a batch is full: only the root can send it.
const SOON: Duration = Duration::from_millis(1);

/// The trailer, or header of a response without trailers, that says how a gRPC call ended.
const GRPC_STATUS: &str = "grpc-status";

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
    /// The request may be kept.
    Started(Box<OpenSpan>),
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
    /// Starts a request and carries out what becomes of its headers.
    fn start(&self) -> Option<OpenSpan> {
        let mut tracer = self.tracer.borrow_mut();
        let started = tracer.start(&HostRequest(self.clock));
        for change in started.changes.iter() {
            match change {
                HeaderChange::Add(name, value) => host::add_request_header(name, value),
                HeaderChange::Replace(name, value) => host::set_request_header(name, value),
                HeaderChange::Remove(name) => host::remove_request_header(name),
            }
        }
        started.span
    }

    fn end(&self, span: OpenSpan) {
        let values = self.outcomes.read();
        let mut tracer = self.tracer.borrow_mut();
        tracer.end(span, &values.outcome());
        if tracer.has_full_batch() && self.next_tick.replace(NextTick::Soon) == NextTick::Usual {
            host::set_tick_period(SOON);
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(running) = &self.running {
            let started = |span| StreamState::Started(Box::new(span));
            self.state = running.start().map_or(StreamState::Done, started);
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if let (Some(running), StreamState::Started(span)) = (&self.running, &mut self.state) {
            // "Trailers-only": the status is among the headers.
            if end_of_stream
                && span.is_grpc()
                && let Some(status) = host::response_header(GRPC_STATUS)
            {
                span.note_grpc_status(&status);
            }
            let tracer = running.tracer.borrow();
            if tracer.wants_response_headers() {
                tracer.note_response_headers(span, HeaderMap::new(host::response_headers()));
            }
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let StreamState::Started(span) = &mut self.state
            && span.is_grpc()
            && let Some(status) = host::response_trailer(GRPC_STATUS)
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
                let request = HostRequest(running.clock);
                let span = running.tracer.borrow_mut().start_late(&request);
                if let Some(span) = span {
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
