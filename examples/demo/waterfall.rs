//! A trace as text: a line for each span, with its place in time, its outcome and the attributes
//! that matter. Colours on a terminal, unless `NO_COLOR` is set.

use crate::lines::{WIDTH, cut, wrap};
use harness::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::io::IsTerminal;

/// The columns of a bar.
const BAR: u64 = 12;
/// The columns of the label: as many as the longest one of a trace, between these.
const LABEL: (usize, usize) = (17, 34);
/// The columns of a duration.
const DURATION: usize = 8;
/// The fewest columns that a fact is cut to.
const LEAST: usize = 10;

/// The spans of one trace, in the order of their start.
#[derive(Debug)]
pub(crate) struct Trace(Vec<Span>);

impl Trace {
    /// The trace of these spans.
    pub(crate) fn new(mut spans: Vec<Span>) -> Self {
        spans.sort_by_key(|span| span.span.start_time_unix_nano);
        Self(spans)
    }

    /// The trace id in hexadecimal.
    pub(crate) fn id(&self) -> String {
        self.0.first().map(Span::trace_id).unwrap_or_default()
    }

    /// When its first span started, in nanoseconds since 1970.
    pub(crate) fn start(&self) -> u64 {
        self.0.first().map(|span| span.span.start_time_unix_nano).unwrap_or_default()
    }

    /// How many spans it has.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Each span, below its parent, with its depth.
    fn tree(&self) -> Vec<(usize, &Span)> {
        let is_there = |id: &[u8]| self.0.iter().any(|span| span.span.span_id == id);
        let roots = self.0.iter().filter(|span| !is_there(&span.span.parent_span_id));
        let mut tree = Vec::new();
        for root in roots {
            self.branch(root, 0, &mut tree);
        }
        tree
    }

    fn branch<'a>(&'a self, span: &'a Span, depth: usize, tree: &mut Vec<(usize, &'a Span)>) {
        tree.push((depth, span));
        for child in self.0.iter().filter(|it| it.span.parent_span_id == span.span.span_id) {
            self.branch(child, depth + 1, tree);
        }
    }
}

/// A line above a trace.
pub(crate) fn heading(text: &str) -> String {
    paint("1", &wrap(text, 2))
}

/// The waterfall of a trace, a line for each span.
pub(crate) fn draw(trace: &Trace) -> String {
    let start = trace.start();
    let end = trace.0.iter().map(|span| span.span.end_time_unix_nano).max().unwrap_or_default();
    let total = end.saturating_sub(start).max(1);
    let tree = trace.tree();
    let labels = tree.iter().map(|(depth, span)| label(*depth, span));
    let labels: Vec<_> = labels.map(|label| cut(&label, LABEL.1)).collect();
    let widest = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    let widest = widest.max(LABEL.0);
    let mut text = String::new();
    for ((_, span), label) in tree.iter().zip(labels) {
        text.push_str(&paint("36", &format!("{label:<widest$}")));
        text.push(' ');
        text.push_str(&paint(if span.is_error() { "31" } else { "32" }, &bar(span, start, total)));
        let duration = span.span.end_time_unix_nano.saturating_sub(span.span.start_time_unix_nano);
        let duration = format!(" {:>DURATION$} ", milliseconds(duration));
        text.push_str(&duration);
        let used = widest + 1 + usize::try_from(BAR).unwrap_or(0) + duration.chars().count();
        text.push_str(&paint("2", &facts(span, WIDTH.saturating_sub(used))));
        text.push('\n');
    }
    text
}

fn label(depth: usize, span: &Span) -> String {
    let kind = match span.span.kind() {
        SpanKind::Client => "CLIENT",
        _ => "SERVER",
    };
    let service = span.resource_text("service.name").unwrap_or_default();
    format!("{}{service} {kind} {}", "  ".repeat(depth), span.span.name)
}

/// When a span was, in a trace that starts then and takes so long.
fn bar(span: &Span, start: u64, total: u64) -> String {
    let place = |time: u64| {
        let place = u128::from(time.saturating_sub(start)) * u128::from(BAR) / u128::from(total);
        u64::try_from(place).unwrap_or(BAR)
    };
    // What is over at once is seen all the same.
    let from = place(span.span.start_time_unix_nano).min(BAR - 1);
    let to = place(span.span.end_time_unix_nano).max(from + 1);
    (0..BAR).map(|column| if (from..to).contains(&column) { '█' } else { '·' }).collect()
}

/// A duration in [`DURATION`] columns, if it is less than a day.
fn milliseconds(nanoseconds: u64) -> String {
    let (micros, millis) = (nanoseconds / 1_000, nanoseconds / 1_000_000);
    match millis {
        0..100 => format!("{millis}.{:02} ms", micros / 10 % 100),
        100..10_000 => format!("{millis} ms"),
        _ => format!("{} s", millis / 1_000),
    }
}

/// What one looks at first, in at most so many columns.
fn facts(span: &Span, width: usize) -> String {
    let mut facts = Vec::new();
    let code = span.int("http.response.status_code").map(|code| code.to_string());
    let code = code.or_else(|| span.text("rpc.response.status_code"));
    let error = span.text("error.type");
    // An error that is named after its code need not say so twice.
    let error = error.map(|it| match &code {
        Some(code) if *code == it => "error".to_owned(),
        _ => format!("error.type={it}"),
    });
    facts.extend(code);
    facts.extend(error);
    let path = span.text("url.path").map(|path| match span.text("url.query") {
        Some(query) => format!("{path}?{query}"),
        None => path,
    });
    facts.extend(path.or_else(|| span.text("url.full")));
    facts.extend(
        span.texts("envoy.response_flags").map(|flags| format!("flags={}", flags.join(","))),
    );
    facts.extend(span.text("envoy.upstream_address").map(|address| format!("-> {address}")));
    let mut text = String::new();
    for fact in facts {
        let fact = if text.is_empty() { fact } else { format!(" {fact}") };
        let room = width.saturating_sub(text.chars().count());
        let is_cut = fact.chars().count() > room;
        // The beginning of a fact says something if it is not too short.
        text.push_str(&if is_cut && room < LEAST { cut(" …", room) } else { cut(&fact, room) });
        if is_cut {
            break;
        }
    }
    text
}

fn paint(code: &str, text: &str) -> String {
    let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::span;

    #[test]
    fn a_span_stands_below_its_parent_with_its_place_in_time() {
        let root = span(1, 1, 0, &[("url.path", "/users"), ("url.query", "a=1")]);
        let mut child = span(1, 2, 1, &[("error.type", "timeout")]);
        child.span.start_time_unix_nano = 250_000_000;
        let drawn = draw(&Trace::new(vec![child, root]));
        assert_eq!(
            drawn,
            "edge SERVER GET   ████████████   498 ms /users?a=1\n  \
             edge SERVER GET ······█████·   248 ms error.type=timeout\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let long = "x".repeat(300);
        let attributes = [
            ("url.path", "/語/\u{1b}[2J"),
            ("url.query", &long),
            ("envoy.upstream_address", &long),
        ];
        for name in ["GET", "語語", &long] {
            let mut spans: Vec<_> = (1..=40).map(|id| span(1, id, id - 1, &attributes)).collect();
            for span in &mut spans {
                name.clone_into(&mut span.span.name);
            }
            let text = format!("{}\n{}", heading(&long), draw(&Trace::new(spans)));
            assert_eq!(text.lines().count(), 41, "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert!(!line.contains(['語', '\u{1b}']), "{line:?}");
            }
            assert!(text.contains('…'), "what is cut says so: {text}");
        }
    }

    #[test]
    fn facts_are_cut_where_there_is_no_room() {
        let attributes = [
            ("rpc.response.status_code", "NOT_FOUND"),
            ("error.type", "NOT_FOUND"),
            ("url.path", "/shop/cart"),
            ("envoy.upstream_address", "127.0.0.1:1"),
        ];
        let span = span(1, 1, 0, &attributes);
        for (width, expected) in [
            (80, "NOT_FOUND error /shop/cart -> 127.0.0.1:1"),
            (40, "NOT_FOUND error /shop/cart -> 127.0.0.1…"),
            (28, "NOT_FOUND error /shop/cart …"),
            (26, "NOT_FOUND error /shop/cart"),
            (25, "NOT_FOUND error /shop/ca…"),
            (24, "NOT_FOUND error …"),
            (9, "NOT_FOUND"),
            (0, ""),
        ] {
            assert_eq!(facts(&span, width), expected, "{width} columns");
        }
    }

    #[test]
    fn a_duration_fits_its_columns() {
        for (nanoseconds, expected) in [
            (0, "0.00 ms"),
            (1_239_999, "1.23 ms"),
            (99_999_999, "99.99 ms"),
            (150_300_000, "150 ms"),
            (9_999_999_999, "9999 ms"),
            (12_345_000_000, "12 s"),
            (86_400_000_000_000, "86400 s"),
        ] {
            assert_eq!(milliseconds(nanoseconds), expected);
            assert!(expected.len() <= DURATION, "{expected}");
        }
    }

    #[test]
    fn a_span_at_the_end_is_seen() {
        let mut last = span(1, 2, 1, &[]);
        last.span.start_time_unix_nano = 499_000_000;
        last.span.end_time_unix_nano = 499_000_000;
        assert_eq!(bar(&last, 1_000_000, 498_000_000), "···········█");
    }
}
