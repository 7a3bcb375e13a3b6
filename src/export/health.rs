//! What is logged of the collector: a line when it begins to fail, a line when it is back, and each complaint
//! of it once.
//!
//! What it says itself may change each time: for each of these there is at most a line in a minute. It reads no clock.

use super::ExporterConfig;
use super::answer::Failure;
use super::foreign::Foreign;
use super::protocol::GRPC_PATH;
use crate::otlp::response::PartialSuccess;
use std::time::Duration;

/// How long nothing is said after a line, though there were something new.
const QUIET: Duration = Duration::from_mins(1);

/// What was last logged of the collector.
#[derive(Debug)]
pub struct CollectorHealth {
    /// Its cluster, as it is shown.
    cluster: String,
    /// The path of a request, as it is shown.
    path: String,
    /// What was told to it and may stand in no line.
    secrets: Vec<Vec<u8>>,
    failing: Failing,
    /// The spans that were lost while it failed, since that was last said.
    lost: usize,
    /// Why it does not take spans.
    failure: Said,
    /// What it says of spans that it rejects.
    complaint: Said,
}

/// Whether the collector fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Failing {
    #[default]
    No,
    /// It does, but the last line is too young.
    Unsaid,
    Said,
}

/// The last line of a kind.
#[derive(Debug, Default)]
struct Said {
    text: String,
    quiet_until: Duration,
}

impl Said {
    /// Whether a text is to be logged now, and notes that it is.
    fn is_due(&mut self, text: &str, now: Duration) -> bool {
        let due = self.text != text && now >= self.quiet_until;
        if due {
            text.clone_into(&mut self.text);
            self.quiet_until = now.saturating_add(QUIET);
        }
        due
    }

    /// The same text would be new.
    fn forget(&mut self) {
        self.text.clear();
    }
}

impl CollectorHealth {
    /// That of the collector of this exporter.
    #[must_use]
    pub fn new(config: &ExporterConfig) -> Self {
        Self {
            cluster: Foreign::new(config.cluster.as_bytes()).to_string(),
            path: shown_path(&config.path),
            secrets: secrets(config),
            failing: Failing::No,
            lost: 0,
            failure: Said::default(),
            complaint: Said::default(),
        }
    }

    /// It did not take a batch. `reason` is what was answered, if anything was.
    pub fn failed(&mut self, failure: Failure, reason: &Foreign<'_>, now: Duration) {
        if let Some(line) = self.failure_line(failure, reason, now) {
            log::warn!("{line}");
        }
    }

    /// Spans were lost, maybe since it fails.
    pub fn lost(&mut self, spans: usize) {
        if self.failing != Failing::No {
            self.lost += spans;
        }
    }

    /// It took a batch of so many spans, maybe without some.
    pub fn took(&mut self, spans: usize, partial: &PartialSuccess, now: Duration) {
        if let Some(line) = self.recovery_line() {
            log::info!("{line}");
        }
        if let Some(line) = self.complaint_line(spans, partial, now) {
            log::warn!("{line}");
        }
    }

    fn failure_line(
        &mut self,
        failure: Failure,
        reason: &Foreign<'_>,
        now: Duration,
    ) -> Option<String> {
        if self.failing != Failing::Said {
            self.failing = Failing::Unsaid;
            self.failure.forget();
        }
        let Self { cluster, path, .. } = self;
        let mut why = match failure {
            Failure::NoCluster => format!("there is no cluster {cluster}"),
            Failure::NoUpstream => format!("cluster {cluster} has no healthy host or no room"),
            Failure::Timeout(None) => format!("no answer of {cluster} to {path} in time"),
            Failure::Timeout(Some(status)) => {
                format!("no answer of {cluster} to {path} in time ({status})")
            }
            Failure::Reset => format!("the connection to {cluster} broke"),
            Failure::Unavailable { status, .. } | Failure::Refused(status) => {
                format!("the answer of {cluster} to {path} was {status}")
            }
        };
        if !reason.is_empty() {
            why = format!("{why}: {}", reason.without(&self.secrets));
        }
        self.failure.is_due(&why, now).then(|| {
            self.failing = Failing::Said;
            format!("the collector does not take spans: {why}")
        })
    }

    fn recovery_line(&mut self) -> Option<String> {
        (std::mem::take(&mut self.failing) == Failing::Said).then(|| {
            let lost = std::mem::take(&mut self.lost);
            format!("the collector takes spans again; {lost} were lost")
        })
    }

    fn complaint_line(
        &mut self,
        spans: usize,
        partial: &PartialSuccess,
        now: Duration,
    ) -> Option<String> {
        let PartialSuccess { rejected_spans, error_message } = partial;
        let complaint = Foreign::new(error_message.as_bytes());
        if complaint.is_empty() {
            self.complaint.forget();
            return None;
        }
        let complaint = complaint.without(&self.secrets);
        self.complaint.is_due(&complaint, now).then(|| {
            format!("the collector rejected {rejected_spans} of {spans} spans: {complaint}")
        })
    }
}

/// The parts that many paths have.
const COMMON: [&str; 11] =
    ["", "api", "ingest", "opentelemetry", "otel", "otlp", "trace", "traces", "v1", "v2", "v3"];

/// A path as it may stand in the log: some vendors have a key in it. So only what many have stands there; of a query nothing.
fn shown_path(path: &str) -> String {
    if path == GRPC_PATH {
        return path.to_owned();
    }
    let (path, query) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "?…"));
    let shown = path.split('/').map(|part| if COMMON.contains(&part) { part } else { "…" });
    shown.collect::<Vec<_>>().join("/") + query
}

/// What of a request may be a secret: its headers' values and its path, and their parts.
fn secrets(config: &ExporterConfig) -> Vec<Vec<u8>> {
    /// What is shorter may be a part of any text.
    const SHORTEST: usize = 6;
    const SCHEMES: [&str; 2] = ["Bearer", "Digest"];
    /// A header's value as a whole; what a scheme of authentication, or a list, has in it; what a URL or a pair has in it.
    const OF_HEADER: &[&[u8]] = &[b"", b" ,;", b" ,;\"'/?&=:@"];
    const OF_PATH: &[&[u8]] = &[b"/?&="];
    let headers = config.headers.iter().map(|(_, value)| (value, OF_HEADER));
    let path = Some((&config.path, OF_PATH)).filter(|_| config.path != GRPC_PATH);
    let mut secrets = Vec::new();
    for (value, separators) in headers.chain(path) {
        for separators in separators {
            for part in value.as_bytes().split(|byte| separators.contains(byte)) {
                let is_known = COMMON.iter().chain(&SCHEMES).any(|known| known.as_bytes() == part);
                if part.len() >= SHORTEST && !is_known {
                    secrets.push(part.to_vec());
                }
            }
        }
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::answer::AnswerStatus;
    use crate::export::backoff::RetryPolicy;
    use crate::export::protocol::{Compression, Protocol};

    const REFUSED: Failure = Failure::Refused(AnswerStatus::Http(400));

    const NOTHING: Foreign<'static> = Foreign::NOTHING;

    fn health_of(cluster: &str, path: &str) -> CollectorHealth {
        let header = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = [
            ("authorization", "Bearer s3cret=="),
            ("x-tenant", "edge"),
            ("vendor-dsn", "https://t0ken-1@api.example?grpc=4317"),
            ("x-auth", "token=2ndT0ken"),
        ];
        CollectorHealth::new(&ExporterConfig {
            cluster: cluster.to_owned(),
            protocol: Protocol::HttpProtobuf,
            compression: Compression::None,
            path: path.to_owned(),
            authority: String::new(),
            headers: headers.map(header).to_vec(),
            timeout: at(1),
            retry: RetryPolicy::default(),
        })
    }

    fn health() -> CollectorHealth {
        health_of("otel", "/v1/traces")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn partial(rejected_spans: u64, error_message: &str) -> PartialSuccess {
        PartialSuccess { rejected_spans, error_message: error_message.to_owned() }
    }

    #[test]
    fn a_failure_is_said_when_it_begins_and_when_it_ends() {
        let mut health = health();
        assert_eq!(health.recovery_line(), None, "all is well");
        let fails =
            health.failure_line(Failure::Timeout(None), &NOTHING, at(0)).expect("it begins");
        assert_eq!(
            fails,
            "the collector does not take spans: no answer of otel to /v1/traces in time"
        );
        assert_eq!(
            health.failure_line(Failure::Timeout(None), &NOTHING, at(100)),
            None,
            "the same again"
        );
        health.lost(3);
        health.lost(4);
        let back = health.recovery_line().expect("it ends");
        assert_eq!(back, "the collector takes spans again; 7 were lost");
        health.lost(5);
        assert_eq!(health.recovery_line(), None, "once");
        assert!(
            health.failure_line(Failure::Timeout(None), &NOTHING, at(101)).is_some(),
            "it begins again"
        );
        let back = health.recovery_line().expect("it ends");
        assert_eq!(back, "the collector takes spans again; 0 were lost", "while it failed");
    }

    #[test]
    fn a_failure_that_changes_is_said_once_in_a_minute() {
        let mut health = health();
        assert!(health.failure_line(Failure::Timeout(None), &NOTHING, at(0)).is_some());
        assert_eq!(health.failure_line(REFUSED, &NOTHING, at(59)), None, "too soon");
        let changed = health.failure_line(REFUSED, &NOTHING, at(60)).expect("a minute later");
        assert_eq!(
            changed,
            "the collector does not take spans: the answer of otel to /v1/traces was 400"
        );
        assert_eq!(
            health.failure_line(Failure::Timeout(None), &NOTHING, at(61)),
            None,
            "too soon again"
        );
        assert_eq!(health.failure_line(REFUSED, &NOTHING, at(500)), None, "what was said last");
    }

    #[test]
    fn a_collector_that_comes_and_goes_is_said_once_in_a_minute() {
        let mut health = health();
        let mut lines = Vec::new();
        for second in 0..130 {
            lines.extend(health.failure_line(Failure::Reset, &NOTHING, at(second)).map(|_| second));
            health.lost(1);
            lines.extend(health.recovery_line().map(|_| second));
        }
        assert_eq!(lines, [0, 0, 60, 60, 120, 120]);
        assert_eq!(health.lost, 9, "what was lost since");
        // One that begins too soon is said when it lasts.
        assert_eq!(health.failure_line(Failure::Reset, &NOTHING, at(150)), None);
        assert_eq!(health.failure_line(Failure::Reset, &NOTHING, at(179)), None);
        assert!(health.failure_line(Failure::Reset, &NOTHING, at(180)).is_some());
        let back = health.recovery_line().expect("it ends");
        assert_eq!(back, "the collector takes spans again; 9 were lost");
    }

    #[test]
    fn a_complaint_is_said_once_and_another_one_a_minute_later() {
        let mut health = health();
        let mut line =
            |spans, partial: &PartialSuccess, now| health.complaint_line(spans, partial, at(now));
        assert_eq!(line(9, &partial(3, ""), 0), None, "it says nothing");
        let said = line(9, &partial(3, "too old"), 0).expect("it complains");
        assert_eq!(said, "the collector rejected 3 of 9 spans: too old");
        assert_eq!(line(9, &partial(4, "too old"), 100), None, "the same again");
        assert!(line(9, &partial(0, "slow down"), 100).is_some(), "another one");
        assert_eq!(line(9, &partial(3, "too old"), 159), None, "too soon");
        assert_eq!(line(9, &partial(3, ""), 159), None, "it says nothing");
        assert_eq!(line(9, &partial(0, "slow down"), 159), None, "too soon");
        assert!(line(9, &partial(0, "slow down"), 160).is_some(), "it was silent in between");
    }

    #[test]
    fn no_text_of_the_collector_makes_another_line() {
        let mut health = health();
        let forged = "no\n[2026-01-01][critical] \u{1b}[31mforged";
        let line = health.complaint_line(1, &partial(1, forged), at(0)).expect("a complaint");
        let expected =
            "the collector rejected 1 of 1 spans: no\\n[2026-01-01][critical] \\u{1b}[31mforged";
        assert_eq!(line, expected);
        let long = "x".repeat(31 << 20);
        let line = health.complaint_line(1, &partial(1, &long), at(60)).expect("a complaint");
        assert!(line.chars().count() < 300, "{} characters", line.len());
    }

    #[test]
    fn a_failure_says_where_and_why() {
        let unavailable = |status| Failure::Unavailable { status, retry_after: None };
        let refused = Failure::Refused;
        let (http, grpc) = (AnswerStatus::Http, AnswerStatus::Grpc);
        let cases = [
            (Failure::NoCluster, "", "there is no cluster otel"),
            (Failure::NoUpstream, "", "cluster otel has no healthy host or no room"),
            (Failure::Timeout(None), "", "no answer of otel to /v1/traces in time"),
            (
                Failure::Timeout(Some(http(504))),
                "down",
                "no answer of otel to /v1/traces in time (504): down",
            ),
            (
                Failure::Timeout(Some(grpc(4))),
                "",
                "no answer of otel to /v1/traces in time (gRPC status 4)",
            ),
            (Failure::Reset, "", "the connection to otel broke"),
            (refused(http(401)), "", "the answer of otel to /v1/traces was 401"),
            (refused(http(401)), "bad key", "the answer of otel to /v1/traces was 401: bad key"),
            (unavailable(http(503)), "x", "the answer of otel to /v1/traces was 503: x"),
            (unavailable(grpc(14)), "x", "the answer of otel to /v1/traces was gRPC status 14: x"),
            (refused(http(400)), "a\nb", "the answer of otel to /v1/traces was 400: a\\nb"),
        ];
        for (failure, reason, expected) in cases {
            let line = health().failure_line(failure, &Foreign::new(reason.as_bytes()), at(0));
            let expected = format!("the collector does not take spans: {expected}");
            assert_eq!(line, Some(expected), "{failure:?}");
        }
        let line =
            health_of("a\n[critical] b", "/").failure_line(Failure::NoCluster, &NOTHING, at(0));
        let line = line.expect("a line");
        assert!(line.ends_with("there is no cluster a\\n[critical] b"), "{line}");
    }

    #[test]
    fn of_a_path_what_many_have_is_shown() {
        let cases = [
            ("/v1/traces", "/v1/traces", "the usual one"),
            ("/", "/", "none"),
            ("/otlp/v1/traces", "/otlp/v1/traces", "a vendor's"),
            ("/api/v2/otlp/v1/traces", "/api/v2/otlp/v1/traces", "a vendor's"),
            (
                "/receiver/v1/otlp/ZaVnC4dhaV==/v1/traces",
                "/…/v1/otlp/…/v1/traces",
                "one with a key",
            ),
            ("/v1/traces?api-key=secret", "/v1/traces?…", "a query"),
            ("/?secret", "/?…", "a query alone"),
            (GRPC_PATH, GRPC_PATH, "the method of gRPC"),
        ];
        for (path, expected, reason) in cases {
            assert_eq!(shown_path(path), expected, "{reason}");
        }
    }

    #[test]
    fn what_the_collector_was_told_it_may_repeat_but_not_in_the_log() {
        let mut health = health_of("otel", "/receiver/ZaVnC4dhaV/v1/traces?key=t0pSecret");
        let refused = Failure::Refused(AnswerStatus::Http(403));
        let mut line = |reason: &str, now| {
            let line = health.failure_line(refused, &Foreign::new(reason.as_bytes()), at(now));
            line.expect("a line").split_once(" was 403: ").expect("a reason").1.to_owned()
        };
        let cases = [
            ("no such key: Bearer s3cret==", "no such key: …", "a header"),
            ("no such key: bearer s3cret", "no such key: bearer …", "a part of it"),
            ("no project of t0ken-1 at vendor", "no project of … at vendor", "of a URL"),
            ("token '2ndT0ken' (t=2ndT0ken)", "token '…' (t=…)", "of a pair"),
            ("no s3cret==, edge", "no …, edge", "a part of one, and what is short"),
            ("Cannot POST /receiver/ZaVnC4dhaV/v1/traces", "Cannot POST /…/…/v1/traces", "a path"),
            ("key t0pSecret is unknown", "key … is unknown", "a query"),
        ];
        for (now, (reason, expected, what)) in (0..).step_by(60).zip(cases) {
            assert_eq!(line(reason, now), expected, "{what}");
        }
        let complaint = partial(1, "s3cret== is over its quota");
        let line = health.complaint_line(1, &complaint, at(0)).expect("a line");
        assert!(line.ends_with(": … is over its quota"), "{line}");
    }
}
