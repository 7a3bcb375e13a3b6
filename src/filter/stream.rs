//! The stream contexts: a request starts, is answered, ends.

use super::running::Running;
use crate::host;
use crate::probe::Body;
use crate::span::OpenSpan;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

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

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if let Some(running) = &self.running {
            let body = if end_of_stream { Body::None } else { Body::Possible };
            let started = |span| StreamState::Started(Box::new(span));
            self.state = running.start(body).map_or(StreamState::Done, started);
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
            running.note_response_headers(span);
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
