//! How a request ends: rules are asked, and it becomes a span in the queue.
//!
//! A request that the host redirects internally ends with its second pass, or is given up.

use super::Tracer;
use super::redirect::{Mark, Redirected};
use crate::batch::Refused;
use crate::envoy::attributes::Outcome;
use crate::otlp::attributes::Attributes;
use crate::otlp::cut::Cut;
use crate::otlp::{Link, Span};
use crate::outcome::EndedRequest;
use crate::sampling::operator::FORCED;
use crate::semconv::envoy::KEEP_RULE;
use crate::semconv::facts::Sides;
use crate::semconv::{Description, Facts};
use crate::span::{OpenSpan, Part, Sampling};
use crate::stats::Metric;

impl Tracer {
    /// Ends a span and queues it. The span of a request that Envoy redirects internally waits for the second pass, which has to bear
    /// the mark that is returned.
    pub fn end(&mut self, mut span: OpenSpan, request: &dyn EndedRequest) -> Option<Mark> {
        self.open_bytes = self.open_bytes.saturating_sub(span.size());
        if !request.has_headers() {
            self.probe.note_unreadable();
        }
        let is_let_go = match span.sampling() {
            Sampling::Kept | Sampling::KeptBy(_) => false,
            Sampling::Undecided => !self.may_be_kept(&mut span, request),
            Sampling::Refused => true,
        };
        if is_let_go {
            return None;
        }
        self.read_headers(&mut span, request);
        let values = self.outcomes.read(&span, request);
        let outcome = values.outcome();
        if !outcome.is_internal_redirect() || span.attempt().is_some() {
            self.finish(span, outcome, request);
            return None;
        }
        span.note_upstream_asked();
        let mark = Mark(self.ids.number());
        self.open_bytes += span.size();
        self.redirected.push(Redirected { mark, span, values, since: None });
        Some(mark)
    }

    pub(super) fn finish(
        &mut self,
        mut span: OpenSpan,
        outcome: Outcome<'_>,
        request: &dyn EndedRequest,
    ) {
        let routes = self.conventions.routes();
        self.ask_rules(&mut span, outcome, request);
        if !span.is_kept() {
            return;
        }
        self.open = self.open.saturating_sub(1);
        let kind = self.kind_of(span.attempt()).kind(outcome.listener_direction);
        let (first, client) = span.parts(kind, || outcome.has_asked_upstream());
        let told = self.ask(&span, [Some(first.kind), client.map(|it| it.kind)], request);
        let mut facts = span.facts(outcome, &routes);
        facts.told = &told;
        if client.is_some() {
            facts.sides = Sides::Apart;
        }
        self.queue(first, &span, &facts);
        if let Some(client) = client {
            self.count_another(&span);
            self.queue(client, &span, &facts);
        }
    }

    /// Counts another span of a request that is kept.
    pub(super) fn count_another(&mut self, span: &OpenSpan) {
        self.stats.count(Metric::Sampled, 1);
        let by_rule = matches!(span.sampling(), Sampling::KeptBy(rule) if rule.as_ref() != FORCED);
        self.stats.count(Metric::KeptByRule, usize::from(by_rule));
    }

    /// Queues a finished span. One that is too large for any batch is cut.
    pub(super) fn queue(&mut self, part: Part<'_>, open: &OpenSpan, facts: &Facts<'_>) {
        let Self { conventions, queue, attributes, .. } = self;
        let links = open.links();
        let describe = |attributes: &mut Attributes| {
            attributes.note_dropped(open.dropped_attributes());
            if let Sampling::KeptBy(rule) = open.sampling() {
                attributes.string(KEEP_RULE, rule.as_bytes());
            }
            conventions.describe(part.kind, facts, attributes)
        };
        attributes.clear();
        let description = describe(attributes);
        let mut pushed = queue.push(&finished(part, links, facts, &description, attributes));
        if pushed == Err(Refused::TooLarge) {
            let cut = Cut::new(part.context, links, queue.max_span_len());
            let mut attributes = cut.attributes(attributes);
            let description = describe(&mut attributes);
            pushed = queue.push(&cut.of(finished(part, links, facts, &description, &attributes)));
            self.stats.count(Metric::Truncated, usize::from(pushed.is_ok()));
        }
        match pushed {
            Ok(dropped) => {
                self.stats.count(Metric::DroppedQueueFull, dropped);
                self.health.lost(dropped);
            }
            Err(reason) => {
                self.stats.count(Metric::from(reason), 1);
                self.health.lost(1);
            }
        }
    }
}

/// A finished span.
fn finished<'a>(
    part: Part<'a>,
    links: &'a [Link],
    facts: &Facts<'_>,
    description: &'a Description<'_>,
    attributes: &'a Attributes,
) -> Span<'a> {
    let Part { kind, context, parent } = part;
    let start = facts.outcome.start;
    Span {
        context,
        parent,
        links,
        dropped_links: 0,
        kind: (!facts.is_open).then_some(kind),
        name: &description.name,
        start,
        end: start.saturating_add(facts.outcome.duration),
        attributes,
        status: description.status,
    }
}
