//! A trace as text: a line for each span, with its place in time, its outcome and the attributes
//! that matter. Colours on a terminal, unless `NO_COLOR` is set.

use harness::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::collections::BTreeMap;
use std::io::IsTerminal;

const WIDTH: u64 = 28;

/// The spans of one trace, in the order of their start.
#[derive(Debug)]
pub(crate) struct Trace(Vec<Span>);

impl Trace {
    /// The trace id in hexadecimal.
    pub(crate) fn id(&self) -> String {
        self.0.first().map(Span::trace_id).unwrap_or_default()
    }
}

/// Groups spans by trace, in the order of their start.
pub(crate) fn traces(spans: &[Span]) -> Vec<Trace> {
    let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(span.trace_id()).or_default().push(span.clone());
    }
    let mut traces: Vec<_> = traces.into_values().map(Trace).collect();
    for Trace(spans) in &mut traces {
        spans.sort_by_key(|span| span.span.start_time_unix_nano);
    }
    traces.sort_by_key(|trace| trace.0.first().map(|span| span.span.start_time_unix_nano));
    traces
}

/// A line above a trace.
pub(crate) fn heading(text: &str) -> String {
    paint("1", text)
}

/// The waterfall of a trace.
pub(crate) fn draw(Trace(spans): &Trace) -> String {
    let start = spans.iter().map(|span| span.span.start_time_unix_nano).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.span.end_time_unix_nano).max().unwrap_or_default();
    let total = end.saturating_sub(start).max(1);
    let mut text = String::new();
    let roots = spans
        .iter()
        .filter(|span| !spans.iter().any(|other| other.span.span_id == span.span.parent_span_id));
    for root in roots {
        branch(root, spans, 0, (start, total), &mut text);
    }
    text
}

fn branch(span: &Span, all: &[Span], depth: usize, (start, total): (u64, u64), text: &mut String) {
    let place = |time: u64| time.saturating_sub(start) * WIDTH / total;
    let (from, to) = (place(span.span.start_time_unix_nano), place(span.span.end_time_unix_nano));
    let bar: String = (0..WIDTH)
        .map(|column| if column >= from && (column < to || column == from) { '█' } else { '·' })
        .collect();
    let colour = if span.is_error() { "31" } else { "32" };
    let kind = match span.span.kind() {
        SpanKind::Client => "CLIENT",
        _ => "SERVER",
    };
    let service = span.resource_text("service.name").unwrap_or_default();
    let duration = span.span.end_time_unix_nano.saturating_sub(span.span.start_time_unix_nano);
    let label = format!("{}{service} {kind} {}", "  ".repeat(depth), span.span.name);
    let milliseconds = format!("{}.{:02} ms", duration / 1_000_000, duration / 10_000 % 100);
    text.push_str(&paint("36", &format!("{label:<38}")));
    for part in [" ", &paint(colour, &bar), &format!(" {milliseconds:>10}  ")] {
        text.push_str(part);
    }
    text.push_str(&paint("2", &facts(span)));
    text.push('\n');
    for child in all.iter().filter(|child| child.span.parent_span_id == span.span.span_id) {
        branch(child, all, depth + 1, (start, total), text);
    }
}

/// What one looks at first.
fn facts(span: &Span) -> String {
    let mut facts = Vec::new();
    let code = span.int("http.response.status_code").map(|code| code.to_string());
    facts.extend(code.or_else(|| span.text("rpc.response.status_code")));
    let path = span.text("url.path").map(|path| match span.text("url.query") {
        Some(query) => format!("{path}?{query}"),
        None => path,
    });
    facts.extend(path.or_else(|| span.text("url.full")));
    facts.extend(span.text("error.type").map(|error| format!("error.type={error}")));
    facts.extend(
        span.texts("envoy.response_flags").map(|flags| format!("flags={}", flags.join(","))),
    );
    facts.extend(span.text("envoy.upstream_address").map(|address| format!("-> {address}")));
    facts.join("  ")
}

fn paint(code: &str, text: &str) -> String {
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}
