//! What really happened, as an Envoy's access log says of each request, and how much of that arrived at a collector, trace by trace.
//!
//! The access log has its format from here. It knows nothing of who traced the requests, but that the header traceparent names the
//! trace.

use crate::Span;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// An access log in this file, a line for each request: `00-…-…-01 200 3`.
#[must_use]
pub fn access_log(path: &Path) -> Value {
    let format = "%REQ(TRACEPARENT)% %RESPONSE_CODE% %DURATION%\n";
    json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"text_format_source": {"inline_string": format}},
        },
    }])
}

/// A request as the access log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// In hexadecimal; none if nobody traces.
    pub trace_id: Option<String>,
    /// The status that the client got.
    pub status: u16,
    /// How long it took, in milliseconds.
    pub duration: u64,
}

impl Logged {
    /// Reads a line of [`access_log`].
    ///
    /// # Errors
    /// It is none.
    pub fn parse(line: &str) -> Result<Self> {
        let parts: Vec<_> = line.split(' ').collect();
        let [traceparent, status, duration] = parts.as_slice() else {
            anyhow::bail!("no line of the access log: {line:?}")
        };
        let part = |text: &str| text.parse().with_context(|| format!("{text:?} in {line:?}"));
        Ok(Self {
            trace_id: traceparent.split('-').nth(1).filter(|id| id.len() == 32).map(str::to_owned),
            status: u16::try_from(part(status)?)?,
            duration: part(duration)?,
        })
    }

    /// Whether it failed on the side of the servers.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.status >= 500
    }
}

/// The spans that arrived, by trace.
#[derive(Debug, Default)]
pub struct Arrived(HashMap<String, HashSet<String>>);

impl Arrived {
    /// Those of these spans. One that arrived twice counts once.
    #[must_use]
    pub fn of(spans: &[Span]) -> Self {
        let mut arrived = Self::default();
        for span in spans {
            arrived.0.entry(span.trace_id()).or_default().insert(span.span_id());
        }
        arrived
    }

    /// How many spans there are of all traces.
    #[must_use]
    pub fn all_spans(&self) -> u64 {
        self.0.values().map(|spans| spans.len() as u64).sum()
    }

    /// How many traces there are with at least so many spans.
    #[must_use]
    pub fn traces(&self, spans: usize) -> u64 {
        self.0.values().filter(|trace| trace.len() >= spans).count() as u64
    }

    /// How many spans of a trace there are.
    #[must_use]
    pub fn spans(&self, trace_id: &str) -> usize {
        self.0.get(trace_id).map(HashSet::len).unwrap_or_default()
    }

    /// How many of these requests arrived with so many spans: one of each proxy.
    #[must_use]
    pub fn whole<'a>(&self, of: impl Iterator<Item = &'a Logged>, proxies: usize) -> Share {
        let mut share = Share::default();
        for request in of {
            share.all += 1;
            match request.trace_id.as_deref().map(|id| (id, self.spans(id))) {
                Some((_, spans)) if spans >= proxies => share.whole += 1,
                Some((_, 0)) | None => {}
                Some(_) => share.partial += 1,
            }
        }
        share
    }
}

/// How many of some requests arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// So many requests there were.
    pub all: u64,
    /// Of so many, the spans of all proxies arrived.
    pub whole: u64,
    /// Of so many, those of some.
    pub partial: u64,
}

impl Share {
    /// Of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            whole: self.whole + other.whole,
            partial: self.partial + other.partial,
        }
    }

    /// The share of those that arrived whole; none of no requests.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn value(self) -> Option<f64> {
        (self.all > 0).then(|| self.whole as f64 / self.all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1 as proto;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn span(trace_id: u8, span_id: u8) -> Span {
        let span = proto::Span {
            trace_id: vec![trace_id; 16],
            span_id: vec![span_id; 8],
            ..proto::Span::default()
        };
        Span {
            span,
            resource: Vec::new(),
            scope: opentelemetry_proto::tonic::common::v1::InstrumentationScope::default(),
            schema_urls: [String::new(), String::new()],
        }
    }

    fn logged(trace_id: u8) -> Logged {
        Logged { trace_id: Some(format!("{trace_id:02x}").repeat(16)), status: 500, duration: 1 }
    }

    #[test]
    fn a_line_says_trace_status_and_duration() -> Result<()> {
        let line = format!("00-{TRACE}-00f067aa0ba902b7-01 503 301");
        let request = Logged { trace_id: Some(TRACE.to_owned()), status: 503, duration: 301 };
        assert!(request.has_failed());
        assert_eq!(Logged::parse(&line)?, request);
        let untraced = Logged { trace_id: None, status: 404, duration: 0 };
        assert!(!untraced.has_failed());
        assert_eq!(Logged::parse("- 404 0")?, untraced);
        Ok(())
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in ["", "-", "- 200", "- 200 1 2", "- x 1", "- 200 x", "- 70000 1", "- -1 1"] {
            assert!(Logged::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_trace_is_whole_when_each_proxy_has_sent_its_span() {
        let arrived = Arrived::of(&[span(1, 1), span(1, 2), span(2, 1), span(2, 1), span(9, 1)]);
        let untraced = Logged { trace_id: None, ..logged(1) };
        let requests = [logged(1), logged(2), logged(3), untraced];
        assert_eq!(arrived.all_spans(), 4);
        assert_eq!([1, 2, 3].map(|spans| arrived.traces(spans)), [3, 1, 0]);
        assert_eq!(arrived.whole(requests.iter(), 2), Share { all: 4, whole: 1, partial: 1 });
        assert_eq!(arrived.whole(requests.iter(), 1), Share { all: 4, whole: 2, partial: 0 });
    }

    #[test]
    fn shares_add_up() {
        let share =
            Share { all: 3, whole: 2, partial: 1 }.and(Share { all: 1, whole: 1, partial: 0 });
        assert_eq!(share, Share { all: 4, whole: 3, partial: 1 });
        assert_eq!(share.value(), Some(0.75));
        assert_eq!(Share::default().value(), None, "of nothing there is no share");
    }
}
