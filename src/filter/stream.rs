//! The stream contexts: a request starts, is answered, ends.

use super::open::Open;
use super::running::Running;
use super::source::LastCallback;
use crate::host::{self, Map};
use crate::probe::{Body, ResponsePart};
use crate::span::OpenSpan;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

/// The context of one request.
#[derive(Debug)]
pub(super) struct Stream {
    /// None when disabled.
    running: Option<Rc<Running>>,
    state: StreamState,
    /// Why it is kept or not, if an operator has asked and was not told.
    explanation: Option<String>,
    /// In the host.
    id: u32,
    /// Where its span is between callbacks, if the root can reach it.
    open: Option<Rc<Open>>,
}

/// The header that tells an operator why a request is kept or not.
const EXPLANATION: &str = "x-otel-sampling";

#[derive(Debug)]
enum StreamState {
    /// The request's headers were not seen.
    Created,
    /// The request may be kept, and its span is here.
    Started(Box<OpenSpan>),
    /// Nothing is left to do here.
    Done,
}

impl Stream {
    /// That of a request under this filter, none if it is disabled; of this id in the host.
    pub(super) fn new(id: u32, running: Option<Rc<Running>>) -> Self {
        Self { running, state: StreamState::Created, explanation: None, id, open: None }
    }

    /// Leaves the span where the root can reach it, or takes it back.
    fn swap(&mut self) {
        if self.open.is_some() {
            self.swap_with_root();
        }
    }

    #[inline(never)] // Mostly the root can reach none.
    fn swap_with_root(&mut self) {
        let Some(open) = &self.open else { return };
        self.state = match std::mem::replace(&mut self.state, StreamState::Done) {
            StreamState::Started(span) => {
                open.span.replace(Some(span));
                StreamState::Done
            }
            other => open.span.take().map_or(other, StreamState::Started),
        };
    }

    /// Takes the span back for good.
    fn take_back(&mut self) {
        if self.open.is_some() {
            self.take_from_root();
        }
    }

    #[inline(never)] // As the swap.
    fn take_from_root(&mut self) {
        if let (Some(running), Some(open)) = (&self.running, self.open.take()) {
            running.forget(&open);
            if let Some(span) = open.span.take() {
                self.state = StreamState::Started(span);
            }
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if let Some(running) = &self.running {
            let body = if end_of_stream { Body::None } else { Body::Possible };
            let started = |span| StreamState::Started(Box::new(span));
            let (span, explanation) = running.start(body);
            self.state = span.map_or(StreamState::Done, started);
            if let StreamState::Started(span) = &self.state {
                self.open = running.announce(span, self.id);
            }
            self.explanation = explanation;
        }
        self.swap();
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.swap();
        if let (Some(running), StreamState::Started(span)) = (&self.running, &mut self.state) {
            let part =
                if end_of_stream { ResponsePart::HeadersOnly } else { ResponsePart::Headers };
            running.respond(span, part);
            running.note_response_headers(span);
        }
        if let Some(mut explanation) = self.explanation.take() {
            if let StreamState::Started(span) = &self.state {
                span.explain(&mut explanation);
            }
            host::add_header(Map::Response, EXPLANATION, explanation.as_bytes());
        }
        self.swap();
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.swap();
        if let (Some(running), StreamState::Started(span)) = (&self.running, &mut self.state) {
            running.respond(span, ResponsePart::Trailers);
        }
        self.swap();
        Action::Continue
    }

    fn on_log(&mut self) {
        self.take_back();
        let Some(running) = &self.running else { return };
        match std::mem::replace(&mut self.state, StreamState::Done) {
            StreamState::Started(span) => running.end(*span, LastCallback::Log),
            StreamState::Created => {
                if let Some(span) = running.start_late() {
                    running.end(span, LastCallback::Log);
                }
            }
            StreamState::Done => {}
        }
    }
}

impl Drop for Stream {
    /// HTTP/3 requests end without the access log's callback.
    fn drop(&mut self) {
        self.take_back();
        if let (Some(running), StreamState::Started(span)) =
            (&self.running, std::mem::replace(&mut self.state, StreamState::Done))
        {
            running.end(*span, LastCallback::Drop);
        }
    }
}
