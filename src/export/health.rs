//! What is logged of the collector: a line when it begins to fail, a line when it is back, and each complaint
//! of it once.
//!
//! What it says itself may change each time: for each of these there is at most a line in a minute. It reads no clock.

use super::answer::Failure;
use super::foreign::Foreign;
use crate::otlp::response::PartialSuccess;
use std::time::Duration;

/// How long nothing is said after a line, though there were something new.
const QUIET: Duration = Duration::from_mins(1);

/// What was last logged of the collector.
#[derive(Debug, Default)]
pub struct CollectorHealth {
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
    /// It did not take a batch.
    pub fn failed(&mut self, failure: Failure, now: Duration) {
        if let Some(line) = self.failure_line(failure, now) {
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

    fn failure_line(&mut self, failure: Failure, now: Duration) -> Option<String> {
        if self.failing != Failing::Said {
            self.failing = Failing::Unsaid;
            self.failure.forget();
        }
        let why = failure.to_string();
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
        let complaint = complaint.to_string();
        self.complaint.is_due(&complaint, now).then(|| {
            format!("the collector rejected {rejected_spans} of {spans} spans: {complaint}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::answer::AnswerStatus;

    const REFUSED: Failure = Failure::Refused(AnswerStatus::Http(400));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn partial(rejected_spans: u64, error_message: &str) -> PartialSuccess {
        PartialSuccess { rejected_spans, error_message: error_message.to_owned() }
    }

    #[test]
    fn a_failure_is_said_when_it_begins_and_when_it_ends() {
        let mut health = CollectorHealth::default();
        assert_eq!(health.recovery_line(), None, "all is well");
        let fails = health.failure_line(Failure::Timeout, at(0)).expect("it begins");
        assert_eq!(fails, "the collector does not take spans: no answer in time");
        assert_eq!(health.failure_line(Failure::Timeout, at(100)), None, "the same again");
        health.lost(3);
        health.lost(4);
        let back = health.recovery_line().expect("it ends");
        assert_eq!(back, "the collector takes spans again; 7 were lost");
        health.lost(5);
        assert_eq!(health.recovery_line(), None, "once");
        assert!(health.failure_line(Failure::Timeout, at(101)).is_some(), "it begins again");
        let back = health.recovery_line().expect("it ends");
        assert_eq!(back, "the collector takes spans again; 0 were lost", "while it failed");
    }

    #[test]
    fn a_failure_that_changes_is_said_once_in_a_minute() {
        let mut health = CollectorHealth::default();
        assert!(health.failure_line(Failure::Timeout, at(0)).is_some());
        assert_eq!(health.failure_line(REFUSED, at(59)), None, "too soon");
        let changed = health.failure_line(REFUSED, at(60)).expect("a minute later");
        assert_eq!(changed, "the collector does not take spans: the answer was 400");
        assert_eq!(health.failure_line(Failure::Timeout, at(61)), None, "too soon again");
        assert_eq!(health.failure_line(REFUSED, at(500)), None, "what was said last");
    }

    #[test]
    fn a_collector_that_comes_and_goes_is_said_once_in_a_minute() {
        let mut health = CollectorHealth::default();
        let mut lines = Vec::new();
        for second in 0..130 {
            lines.extend(health.failure_line(Failure::Reset, at(second)).map(|_| second));
            health.lost(1);
            lines.extend(health.recovery_line().map(|_| second));
        }
        assert_eq!(lines, [0, 0, 60, 60, 120, 120]);
        assert_eq!(health.lost, 9, "what was lost since");
        // One that begins too soon is said when it lasts.
        assert_eq!(health.failure_line(Failure::Reset, at(150)), None);
        assert_eq!(health.failure_line(Failure::Reset, at(179)), None);
        assert!(health.failure_line(Failure::Reset, at(180)).is_some());
        let back = health.recovery_line().expect("it ends");
        assert_eq!(back, "the collector takes spans again; 9 were lost");
    }

    #[test]
    fn a_complaint_is_said_once_and_another_one_a_minute_later() {
        let mut health = CollectorHealth::default();
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
        let mut health = CollectorHealth::default();
        let forged = "no\n[2026-01-01][critical] \u{1b}[31mforged";
        let line = health.complaint_line(1, &partial(1, forged), at(0)).expect("a complaint");
        let expected =
            "the collector rejected 1 of 1 spans: no\\n[2026-01-01][critical] \\u{1b}[31mforged";
        assert_eq!(line, expected);
        let long = "x".repeat(31 << 20);
        let line = health.complaint_line(1, &partial(1, &long), at(60)).expect("a complaint");
        assert!(line.chars().count() < 300, "{} characters", line.len());
    }
}
