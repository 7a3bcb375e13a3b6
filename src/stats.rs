//! The counters, collected here and handed to the host in bulk.
//!
//! A host call for each request would cost more than counting; so the host's counters follow with
//! the next tick.

use crate::batch::Refused;
use crate::export::answer::Failure;

/// Whether the host adds up or holds a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $metric:ident = $kind:ident $name:literal,)*) => {
        /// What is counted. At rest, sampled = exported + rejected + failed + dropped + queued +
        /// in flight.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $($(#[$doc])* $metric,)*
        }

        impl Metric {
            /// All metrics, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$metric,)*];

            /// The name in the host's statistics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$metric => $name,)*
                }
            }

            /// The kind in the host's statistics.
            #[must_use]
            pub fn kind(self) -> MetricKind {
                match self {
                    $(Self::$metric => MetricKind::$kind,)*
                }
            }
        }
    };
}

metrics! {
    /// Requests that were seen, kept or not.
    Started = Counter "otel.sdk.span.started",
    /// Requests that are kept.
    Sampled = Counter "otel.sdk.span.sampled",
    /// Cut, since they were larger than a batch may be.
    Truncated = Counter "otel.sdk.processor.span.truncated",
    /// Lost: the queue was full.
    DroppedQueueFull = Counter "otel.sdk.processor.span.dropped.queue_full",
    /// Lost: larger than a batch may be.
    DroppedTooLarge = Counter "otel.sdk.processor.span.dropped.too_large",
    /// Lost: the filter was removed, or its configuration replaced, before they were sent.
    DroppedShutdown = Counter "otel.sdk.processor.span.dropped.shutdown",
    /// Lost: a VM that held them crashed.
    DroppedCrash = Counter "otel.sdk.processor.span.dropped.crash",
    /// Taken by the collector.
    Exported = Counter "otel.sdk.exporter.span.exported",
    /// Rejected by the collector that took the rest.
    Rejected = Counter "otel.sdk.exporter.span.rejected",
    /// Lost: there is no such cluster.
    FailedNoCluster = Counter "otel.sdk.exporter.span.failed.no_cluster",
    /// Lost: the cluster has no healthy host, or no room for a call.
    FailedNoUpstream = Counter "otel.sdk.exporter.span.failed.no_upstream",
    /// Lost: the collector did not answer in time.
    FailedTimeout = Counter "otel.sdk.exporter.span.failed.timeout",
    /// Lost: the connection broke, or the answer was too long.
    FailedReset = Counter "otel.sdk.exporter.span.failed.reset",
    /// Lost: the collector, or the way to it, was not able to take them (429, 502, 503).
    FailedUnavailable = Counter "otel.sdk.exporter.span.failed.unavailable",
    /// Lost: the collector answered that it won't take them.
    FailedRefused = Counter "otel.sdk.exporter.span.failed.refused",
    /// Tries to send a batch again.
    Retries = Counter "otel.sdk.exporter.retries",
    /// Bytes that compression has saved of what was sent.
    SavedBytes = Counter "otel.sdk.exporter.compression.saved_bytes",
    /// Waiting to be sent, or to be sent again.
    Queued = Gauge "otel.sdk.exporter.span.queued",
    /// Sent, not answered.
    InFlight = Gauge "otel.sdk.exporter.span.inflight",
}

const COUNT: usize = Metric::ALL.len();

/// What has changed since the host was told.
#[derive(Debug, Default)]
pub struct Stats {
    changes: [i64; COUNT],
}

impl Stats {
    /// Counts `amount` more of `metric`; a gauge may shrink.
    pub fn add(&mut self, metric: Metric, amount: i64) {
        if let Some(change) = self.changes.get_mut(metric as usize) {
            *change += amount;
        }
    }

    /// Counts so many more.
    pub fn add_size(&mut self, metric: Metric, size: usize) {
        self.add(metric, i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// Counts so many less, of a gauge.
    pub fn subtract_size(&mut self, metric: Metric, size: usize) {
        self.add(metric, -i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// The changes since the last call, without those that come to nothing.
    pub fn take_changes(&mut self) -> impl Iterator<Item = (Metric, i64)> + use<> {
        let changes = std::mem::take(&mut self.changes);
        (Metric::ALL.iter().copied().zip(changes)).filter(|(_, change)| *change != 0)
    }
}

impl From<Refused> for Metric {
    fn from(reason: Refused) -> Self {
        match reason {
            Refused::QueueFull => Self::DroppedQueueFull,
            Refused::TooLarge => Self::DroppedTooLarge,
        }
    }
}

impl From<Failure> for Metric {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoCluster => Self::FailedNoCluster,
            Failure::NoUpstream => Self::FailedNoUpstream,
            Failure::Timeout => Self::FailedTimeout,
            Failure::Reset => Self::FailedReset,
            Failure::Unavailable { .. } => Self::FailedUnavailable,
            Failure::Refused(_) => Self::FailedRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_once() {
        let mut stats = Stats::default();
        stats.add(Metric::Sampled, 2);
        stats.add(Metric::Queued, 3);
        stats.add(Metric::Queued, -3);
        stats.add(Metric::InFlight, -1);
        let changes: Vec<_> = stats.take_changes().collect();
        assert_eq!(changes, [(Metric::Sampled, 2), (Metric::InFlight, -1)], "sums, without zeros");
        assert_eq!(stats.take_changes().count(), 0, "nothing is told twice");
    }

    #[test]
    fn every_metric_has_its_own_place_and_name() {
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, place, "{metric:?} is where it is declared");
            let same = Metric::ALL.iter().filter(|other| other.name() == metric.name()).count();
            assert_eq!(same, 1, "{} is unique", metric.name());
        }
    }
}
