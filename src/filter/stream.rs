//! The stream contexts: a request starts, is answered, ends.

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
}

/// The header that tells an operator why a request is kept or not.
const EXPLANATION: &str = "x-otel-sampling";

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
        Self { running, state: StreamState::Created, explanation: None }
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
            self.explanation = explanation;
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
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
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let (Some(running), StreamState::Started(span)) = (&self.running, &mut self.state) {
            running.respond(span, ResponsePart::Trailers);
        }
        Action::Continue
    }

    fn on_log(&mut self) {
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
        if let (Some(running), StreamState::Started(span)) =
            (&self.running, std::mem::replace(&mut self.state, StreamState::Done))
        {
            running.end(*span, LastCallback::Drop);
        }
    }
}
