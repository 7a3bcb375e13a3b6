//! Puts spans together into traces, and says when one is complete: as far as can be told, each by itself, while others still come.
//!
//! It knows the proxies that send spans, holds a bounded number of spans, and reads no clock.

use crate::waterfall::Trace;
use harness::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most traces that are held. The oldest one has to go as it is when there are more.
const MAX_TRACES: usize = 1000;
/// The most spans of one trace that are held.
const MAX_SPANS: usize = 100;

/// How long a trace is waited for that does not look complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Since its latest span came.
    pub(crate) quiet: Duration,
    /// Since its first one came, though more come: many requests may have one trace id.
    pub(crate) longest: Duration,
}

/// The spans of the traces that are not complete yet.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// The addresses of the listeners whose requests become spans.
    listeners: BTreeSet<String>,
    patience: Patience,
    open: BTreeMap<String, Open>,
}

/// A trace that is not complete. Times are since any fixed moment.
#[derive(Debug)]
struct Open {
    // Invariant: there is at least one.
    spans: Vec<Span>,
    first: Duration,
    latest: Duration,
}

impl Assembly {
    /// An assembly of spans from the proxies that listen here.
    pub(crate) fn new(listeners: impl IntoIterator<Item = String>, patience: Patience) -> Self {
        Self { listeners: listeners.into_iter().collect(), patience, open: BTreeMap::new() }
    }

    /// Adds spans that came just now.
    pub(crate) fn add(&mut self, spans: Vec<Span>, now: Duration) {
        for span in spans {
            let open = self.open.entry(span.trace_id());
            let open = open.or_insert_with(|| Open { spans: Vec::new(), first: now, latest: now });
            open.spans.push(span);
            open.latest = now;
        }
    }

    /// Gives the traces that are complete, those that were waited for long enough, and those that there is no room for, in the
    /// order of their start.
    pub(crate) fn take_complete(&mut self, now: Duration) -> Vec<Trace> {
        let (listeners, patience) = (&self.listeners, self.patience);
        let complete = |open: &Open| {
            open.spans.len() >= MAX_SPANS
                || now.saturating_sub(open.latest) >= patience.quiet
                || now.saturating_sub(open.first) >= patience.longest
                || is_closed(&open.spans, listeners)
        };
        let mut taken: Vec<_> =
            self.open.extract_if(.., |_, open| complete(open)).map(|(_, open)| open).collect();
        while self.open.len() > MAX_TRACES {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.first);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { break };
            taken.extend(self.open.remove(&id));
        }
        sorted(taken)
    }

    /// Gives all traces as they are, in the order of their start.
    pub(crate) fn take_all(&mut self) -> Vec<Trace> {
        sorted(std::mem::take(&mut self.open).into_values().collect())
    }
}

/// Whether no more spans are to come: every parent is there, none is that of somebody else, and so is what each proxy
/// sends that a request went on to.
///
/// A parent that is not there may be a client's own, so that such a trace is never closed.
fn is_closed(spans: &[Span], listeners: &BTreeSet<String>) -> bool {
    let is_there = |id: &[u8]| spans.iter().any(|span| span.span.span_id == id);
    let has_child = |id: &[u8]| spans.iter().any(|span| span.span.parent_span_id == id);
    spans.iter().all(|span| {
        let (id, parent) = (&span.span.span_id, &span.span.parent_span_id);
        let goes_on = span.text("envoy.upstream_address").is_some_and(|it| listeners.contains(&it));
        (parent.is_empty() || is_there(parent)) && (!goes_on || has_child(id))
    })
}

fn sorted(open: Vec<Open>) -> Vec<Trace> {
    let mut traces: Vec<_> = open.into_iter().map(|open| Trace::new(open.spans)).collect();
    traces.sort_by_key(Trace::start);
    traces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::span;

    const EDGE: &str = "127.0.0.1:10000";
    const SHOP: &str = "127.0.0.1:15006";
    const SERVICE: &str = "127.0.0.1:8080";
    const QUIET: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(3);
    const NOW: Duration = Duration::from_hours(1);

    fn assembly() -> Assembly {
        let patience = Patience { quiet: QUIET, longest: LONGEST };
        Assembly::new([EDGE, SHOP].map(str::to_owned), patience)
    }

    /// A span of a trace: its number, its parent's or zero, and where its request went.
    fn to(trace: u8, id: u8, parent: u8, upstream: &str) -> Span {
        span(trace, id, parent, &[("envoy.upstream_address", upstream)])
    }

    /// How many spans each of the traces has that are complete.
    fn complete(assembly: &mut Assembly, now: Duration) -> Vec<usize> {
        assembly.take_complete(now).iter().map(Trace::len).collect()
    }

    #[test]
    fn a_trace_is_complete_when_each_proxy_on_its_way_has_sent_its_span() {
        for (reason, spans, closed) in [
            ("through both", vec![to(1, 1, 0, SHOP), to(1, 2, 1, SERVICE)], true),
            ("the sidecar's span is to come", vec![to(1, 1, 0, SHOP)], false),
            ("the front proxy's is to come", vec![to(1, 2, 1, SERVICE)], false),
            ("an upstream that sends none", vec![to(1, 1, 0, "127.0.0.1:9")], true),
            ("answered by the proxy", vec![span(1, 1, 0, &[])], true),
            (
                "a call of the service, the last one first",
                vec![to(1, 3, 2, SERVICE), to(1, 2, 1, SHOP), to(1, 1, 0, EDGE)],
                true,
            ),
            ("the middle of it is to come", vec![to(1, 3, 2, SERVICE), to(1, 1, 0, EDGE)], false),
            ("a parent of its client's own", vec![to(1, 1, 7, SHOP), to(1, 2, 1, SERVICE)], false),
        ] {
            let mut assembly = assembly();
            let count = spans.len();
            assembly.add(spans, NOW);
            let expected = if closed { vec![count] } else { Vec::new() };
            assert_eq!(complete(&mut assembly, NOW), expected, "{reason}");
        }
    }

    #[test]
    fn a_trace_is_complete_while_others_come() {
        let mut assembly = assembly();
        for trace in 1..=50 {
            let now = NOW + Duration::from_millis(u64::from(trace));
            assembly.add(vec![to(trace, 1, 0, SHOP)], now);
            assert_eq!(complete(&mut assembly, now), Vec::<usize>::new(), "{trace}");
            assembly.add(vec![to(trace, 2, 1, SERVICE), to(255, 9, 8, SHOP)], now);
            assert_eq!(complete(&mut assembly, now).first(), Some(&2), "{trace}");
        }
    }

    #[test]
    fn what_does_not_look_complete_is_waited_for_and_no_longer() {
        let mut assembly = assembly();
        assembly.add(vec![to(1, 1, 7, SHOP)], NOW);
        let later = NOW + QUIET / 2;
        assembly.add(vec![to(1, 2, 1, SERVICE), to(2, 1, 7, SHOP)], later);
        let almost = later + QUIET.mul_f64(0.999);
        assert_eq!(complete(&mut assembly, almost), Vec::<usize>::new(), "since the latest span");
        assert_eq!(complete(&mut assembly, later + QUIET), [2, 1]);
        assert_eq!(complete(&mut assembly, later + QUIET), Vec::<usize>::new(), "once");
    }

    #[test]
    fn requests_with_one_trace_id_without_end_are_shown_all_the_same() {
        let mut assembly = assembly();
        let mut now = NOW;
        for id in 1.. {
            assembly.add(vec![to(1, id, 200, SERVICE)], now);
            let complete = complete(&mut assembly, now);
            if now >= NOW + LONGEST {
                assert_eq!(complete, [usize::from(id)]);
                break;
            }
            assert_eq!(complete, Vec::<usize>::new());
            now += QUIET / 2;
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut assembly = assembly();
        let spans = |trace: u8| (1..=100).map(move |id| to(trace, id, 200, SERVICE));
        assembly.add(spans(1).skip(1).collect(), NOW);
        assert_eq!(complete(&mut assembly, NOW), Vec::<usize>::new());
        assembly.add(spans(1).take(1).collect(), NOW);
        assert_eq!(complete(&mut assembly, NOW), [MAX_SPANS], "of one trace");

        for number in 0..=MAX_TRACES {
            let mut span = to(1, 1, 200, SERVICE);
            span.span.trace_id = number.to_be_bytes().to_vec();
            let moment = Duration::from_micros(u64::try_from(number).unwrap());
            assembly.add(vec![span], NOW + moment);
        }
        let taken = assembly.take_complete(NOW + QUIET / 2);
        let [oldest] = taken.as_slice() else { panic!("{}", taken.len()) };
        assert_eq!(oldest.id(), "0".repeat(16), "the oldest goes");
        assert_eq!(assembly.take_all().len(), MAX_TRACES);
    }
}
