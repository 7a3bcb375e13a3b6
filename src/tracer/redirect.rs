//! Requests that the host redirects internally: their second passes go on with the spans of the first ones, or these are given up.

use super::Tracer;
use crate::envoy::attributes::OutcomeValues;
use crate::envoy::expression::Expression;
use crate::envoy::wire::HeaderMap;
use crate::outcome::EndedRequest;
use crate::probe::{Alone, RequestSource, Shared};
use crate::span::OpenSpan;
use std::time::Duration;

/// How long the second pass of a request is waited for: filters before this one may hold it up.
const MAX_REDIRECT_WAIT: Duration = Duration::from_secs(2);

/// A span that waits for the second pass of its request.
#[derive(Debug)]
pub(super) struct Redirected {
    pub(super) mark: Mark,
    pub(super) span: OpenSpan,
    /// How the first pass ended.
    pub(super) values: OutcomeValues,
    /// When a look first found it.
    pub(super) since: Option<Duration>,
}

/// What tells the second pass of a request: whoever holds the request has to keep it, where no caller can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub(super) u64);

impl Mark {
    /// As it is kept.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

/// A request of which the host knows nothing any more.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// When it ended.
    at: Duration,
}

impl EndedRequest for Gone {
    fn shared(&self) -> &dyn Shared {
        &Alone
    }

    fn attribute(&self, _: &str) -> Vec<u8> {
        Vec::new()
    }

    fn evaluate(&self, _: Expression) -> Option<Vec<u8>> {
        None
    }

    fn has_headers(&self) -> bool {
        false
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::default()
    }

    fn now(&self) -> Duration {
        self.at
    }
}

impl Tracer {
    /// The span that this request goes on with, if it is the second pass of an internal redirect. Its headers are those that the first
    /// pass has written.
    pub(super) fn resume(&mut self, request: &impl RequestSource) -> Option<OpenSpan> {
        if self.redirected.is_empty() {
            return None;
        }
        let marks = request.marks();
        // Filters that stand in the same chain leave one each: the first that waits is this one's.
        let (marks, _) = marks.as_chunks::<8>();
        let mut marks = marks.iter().map(|mark| Mark(u64::from_le_bytes(*mark)));
        let place = marks.find_map(|mark| self.redirected.iter().position(|it| it.mark == mark))?;
        // A filter in a cluster may share this one's root context.
        if request.attempt().is_some() {
            return None;
        }
        let span = self.redirected.remove(place).span;
        self.expose(span.entry());
        Some(span)
    }

    fn give_up(&mut self, redirected: Redirected) {
        let Redirected { span, values, .. } = redirected;
        self.open_bytes = self.open_bytes.saturating_sub(span.size());
        let outcome = values.outcome();
        let start = span.start().map(|start| start.at).unwrap_or_default();
        let gone = Gone { at: start + Duration::from_nanos(outcome.duration) };
        self.finish(span, outcome, &gone);
        // There is no request any more that an access log could tell of.
        self.exposed = None;
    }

    /// Ends the spans whose second pass has not come in time: the first one's outcome is all there is.
    pub(super) fn give_up_redirected(&mut self, now: Duration) {
        let waits = |it: &mut Redirected| {
            now.saturating_sub(*it.since.get_or_insert(now)) < MAX_REDIRECT_WAIT
        };
        let given_up: Vec<_> = self.redirected.extract_if(.., |it| !waits(it)).collect();
        for redirected in given_up {
            self.give_up(redirected);
        }
    }

    /// Ends all spans that wait for a second pass.
    pub(super) fn finish_redirected(&mut self) {
        for redirected in std::mem::take(&mut self.redirected) {
            self.give_up(redirected);
        }
    }
}
