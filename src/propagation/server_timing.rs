//! What an answer says of the trace: the metric `trace` of `Server-Timing`, and the header `traceresponse` of earlier drafts.
//!
//! (W3C Trace Context, Level 2, section "Trace Context Server Timing Metric Format".) Who says it, and who is told, is decided elsewhere.

use super::trace_context::{TRACEPARENT_LENGTH, TraceParent, traceparent};
use crate::context::{SpanContext, trim_white_space};
use crate::id::SpanId;

/// The header, or trailer, with the metric.
pub const SERVER_TIMING: &str = "server-timing";
/// The header of earlier drafts.
pub const TRACE_RESPONSE: &str = "traceresponse";

const METRIC: &[u8] = b"trace";
const DESCRIPTION: &[u8] = b"desc";

/// What of a `Server-Timing` concerns a request with this context.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whether it says that the request is kept.
    pub is_kept: bool,
    /// The header without what it says of this context, if it says something.
    pub rest: Option<Vec<u8>>,
}

/// The metric that says to the caller with this span that its request is kept. The draft has the id of the server's own span there; the
/// caller's shows that the answer is to what was sent. `context` is that of the request's own span.
#[must_use]
pub fn kept(context: &SpanContext, caller: SpanId) -> Vec<u8> {
    let mut value = Vec::with_capacity(METRIC.len() + 6 + TRACEPARENT_LENGTH);
    value.extend_from_slice(b"trace;desc=");
    let flags = context.flags.sampled();
    let told = SpanContext { span_id: caller, flags, ..context.clone() };
    value.extend_from_slice(&traceparent(&told));
    value
}

/// What a `Server-Timing` says to who has sent this context. Several headers come joined by commas.
#[must_use]
pub fn read(value: &[u8], sent: &SpanContext) -> Answered {
    let mut told = Answered { is_kept: false, rest: None };
    let mut rest = Vec::new();
    for metric in split(value, b',') {
        match description(metric).and_then(TraceParent::parse) {
            Some(answer) if is_of(answer, sent) => {
                told.is_kept |= answer.flags.is_sampled();
                told.rest = Some(Vec::new());
            }
            _ => rest.push(trim_white_space(metric)),
        }
    }
    Answered { rest: told.rest.map(|_| rest.join(b", ".as_slice())), ..told }
}

/// Whether a `traceresponse` says to who has sent this context that the request is kept.
#[must_use]
pub fn is_kept(trace_response: &[u8], sent: &SpanContext) -> bool {
    let answer = TraceParent::parse(trace_response);
    answer.is_some_and(|answer| is_of(answer, sent) && answer.flags.is_sampled())
}

/// Anybody can say anything: only who has got the request knows both.
fn is_of(answer: TraceParent, sent: &SpanContext) -> bool {
    answer.trace_id == sent.trace_id && answer.parent_id == sent.span_id
}

/// The description of a metric `trace`; none of another one.
fn description(metric: &[u8]) -> Option<&[u8]> {
    let mut parts = split(metric, b';').into_iter().map(trim_white_space);
    if !parts.next()?.eq_ignore_ascii_case(METRIC) {
        return None;
    }
    // Of several parameters of one name the first counts (Server Timing, section 3).
    parts.find_map(|parameter| {
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let (name, value) = parameter.split_at_checked(equals)?;
        let value = trim_white_space(value.get(1..)?);
        let is_description = trim_white_space(name).eq_ignore_ascii_case(DESCRIPTION);
        is_description.then(|| unquoted(value))
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// The parts between separators that stand in no quotes.
fn split(value: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = value.split(|byte| {
        let is_separator = *byte == separator && !is_quoted;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        is_separator
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{TraceFlags, TraceState};
    use crate::id::TraceId;
    use proptest::prelude::*;

    const OURS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn sent() -> SpanContext {
        SpanContext {
            trace_id: TraceId::from_hex(b"4bf92f3577b34da6a3ce929d0e0e4736").expect("valid"),
            span_id: SpanId::from_bytes([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7]).expect("valid"),
            flags: TraceFlags::from_byte(0),
            trace_state: TraceState::default(),
        }
    }

    #[test]
    fn only_an_answer_to_what_was_sent_is_believed() {
        let other_trace = OURS.replace("4bf9", "5bf9");
        let other_span = OURS.replace("00f0", "10f0");
        let cases = [
            (format!("trace;desc={OURS}"), true, Some(""), "it is kept"),
            (format!("Trace ; DESC = {OURS}"), true, Some(""), "in any case"),
            (format!("trace;desc=\"{OURS}\""), true, Some(""), "in quotes"),
            (format!("trace;dur=1;desc={OURS}"), true, Some(""), "after another parameter"),
            (format!("db;dur=5, trace;desc={OURS}, c"), true, Some("db;dur=5, c"), "among others"),
            (format!("a;desc=\"x, trace;desc={OURS}\""), false, None, "in another's quotes"),
            (
                format!("a;desc=\"\\\"\", trace;desc={OURS}"),
                true,
                Some("a;desc=\"\\\"\""),
                "behind",
            ),
            (format!("trace;desc={}", OURS.replace("-01", "-00")), false, Some(""), "it is not"),
            (format!("trace;desc={other_trace}"), false, None, "another trace"),
            (format!("trace;desc={other_span}"), false, None, "another span"),
            (format!("trace;desc={other_span}, trace;desc={OURS}"), true, Some(""), "both"),
            (format!("trace;dur={OURS}"), false, None, "another parameter"),
            (format!("tracer;desc={OURS}"), false, None, "another metric"),
            ("trace;desc".to_owned(), false, None, "no value"),
            ("trace".to_owned(), false, None, "no description"),
            (String::new(), false, None, "nothing"),
        ];
        for (value, is_kept, rest, reason) in cases {
            let told = read(value.as_bytes(), &sent());
            assert_eq!(told.is_kept, is_kept, "{reason}: {value}");
            let expected = rest.map(|rest| match reason {
                "both" => format!("trace;desc={other_span}").into_bytes(),
                _ => rest.as_bytes().to_vec(),
            });
            assert_eq!(told.rest, expected, "{reason}: {value}");
        }
        for (value, expected) in [(OURS, true), (other_span.as_str(), false), ("", false)] {
            assert_eq!(
                super::is_kept(value.as_bytes(), &sent()),
                expected,
                "traceresponse: {value}"
            );
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        let own = SpanContext { span_id: SpanId::from_bytes([9; 8]).expect("valid"), ..sent() };
        let value = kept(&own, sent().span_id);
        assert_eq!(value, format!("trace;desc={OURS}").into_bytes());
        assert_eq!(read(&value, &sent()), Answered { is_kept: true, rest: Some(Vec::new()) });
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(value: Vec<u8>) {
            let told = read(&value, &sent());
            prop_assert!(!told.is_kept && told.rest.is_none());
        }

        #[test]
        fn others_stay(metrics in prop::collection::vec("[a-z]{1,4}(;dur=[0-9]{1,3})?", 0..5), at: prop::sample::Index) {
            let mut all = metrics.clone();
            all.insert(at.index(metrics.len() + 1), format!("trace;desc={OURS}"));
            let told = read(all.join(",").as_bytes(), &sent());
            prop_assert_eq!(told, Answered { is_kept: true, rest: Some(metrics.join(", ").into_bytes()) });
        }
    }
}
