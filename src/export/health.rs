//! What is logged of the collector: a line when it begins to fail, a line when it is back, and each complaint
//! of it once.

use super::answer::Failure;
use crate::otlp::response::PartialSuccess;

/// What was last logged of the collector.
#[derive(Debug, Default)]
pub struct CollectorHealth {
    /// The spans that were lost since it began to fail, if it fails.
    failing: Option<usize>,
    /// What it last said of spans that it rejected.
    complaint: String,
}

impl CollectorHealth {
    /// It did not take a batch.
    pub fn failed(&mut self, failure: Failure) {
        if self.failing.is_none() {
            log::warn!("the collector does not take spans: {failure}");
            self.failing = Some(0);
        }
    }

    /// Spans were lost, maybe since it fails.
    pub fn lost(&mut self, spans: usize) {
        if let Some(lost) = &mut self.failing {
            *lost += spans;
        }
    }

    /// It took a batch of so many spans, maybe without some.
    pub fn took(&mut self, spans: usize, partial: PartialSuccess) {
        if let Some(lost) = self.failing.take() {
            log::info!("the collector takes spans again; {lost} were lost");
        }
        let PartialSuccess { rejected_spans, error_message } = partial;
        if error_message != self.complaint {
            if !error_message.is_empty() {
                log::warn!(
                    "the collector rejected {rejected_spans} of {spans} spans: {error_message}"
                );
            }
            self.complaint = error_message;
        }
    }
}
