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
    /// Requests that were seen, kept or not, but for exports of telemetry.
    Started = Counter "otel.sdk.span.started",
    /// Requests that are kept.
    Sampled = Counter "otel.sdk.span.sampled",
    /// Requests that the sampler let go and a rule has kept.
    KeptByRule = Counter "otel.sdk.span.kept_by_rule",
    /// Requests that the sampler let go and no rule is asked of: the requests that are under way held as many bytes as they may.
    UndecidedOpenLimit = Counter "otel.sdk.span.undecided.open_limit",
    /// Requests that the sampler kept and a limit has taken away.
    LimitedHead = Counter "otel.sdk.span.limited.head",
    /// Requests that a rule kept and a limit has taken away.
    LimitedOutcome = Counter "otel.sdk.span.limited.outcome",
    /// Requests that were left alone, since they are exports of telemetry.
    TelemetryExports = Counter "otel.sdk.span.telemetry_exports",
    /// Cut, since they were larger than a batch may be.
    Truncated = Counter "otel.sdk.processor.span.truncated",
    /// Lost: the queue was full.
    DroppedQueueFull = Counter "otel.sdk.processor.span.dropped.queue_full",
    /// Lost: larger than a batch may be.
    DroppedTooLarge = Counter "otel.sdk.processor.span.dropped.too_large",
    /// Lost: the requests that are under way held as many bytes as they may.
    DroppedOpenLimit = Counter "otel.sdk.processor.span.dropped.open_limit",
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

/// The spans that a filter holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Those whose requests are under way.
    pub open: u32,
    /// Those that wait to be sent.
    pub queued: u32,
    /// Those that are on their way.
    pub in_flight: u32,
}

impl Held {
    /// None at all.
    pub const NOTHING: Self = Self { open: 0, queued: 0, in_flight: 0 };
}

/// What has changed since the host was told. Counters are counted; gauges are what the filter holds, less what the host was told of it.
#[derive(Debug, Default)]
pub struct Stats {
    counted: [i64; COUNT],
    /// What the host's gauges hold for this filter.
    told: Gauges,
    /// What they hold for others that are no more.
    gone: Gauges,
}

/// The values of the gauges, or of a part of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gauges {
    queued: i64,
    in_flight: i64,
}

impl Gauges {
    fn add(&mut self, held: Held) {
        self.queued += i64::from(held.queued);
        self.in_flight += i64::from(held.in_flight);
    }

    fn subtract(&mut self, held: Held) {
        self.queued -= i64::from(held.queued);
        self.in_flight -= i64::from(held.in_flight);
    }
}

impl Stats {
    /// Counts so many more.
    pub fn count(&mut self, metric: Metric, amount: usize) {
        if let Some(counted) = self.counted.get_mut(metric as usize) {
            *counted += signed(amount);
        }
    }

    /// So many spans that waited here wait elsewhere now: the gauge stays.
    pub fn hand_over(&mut self, spans: usize) {
        self.told.queued -= signed(spans);
    }

    /// So many spans that waited elsewhere are this filter's affair now: the gauge stays.
    pub fn take_over(&mut self, spans: usize) {
        self.told.queued += signed(spans);
    }

    /// Another filter that held these is no more: they leave the gauges.
    pub fn forget_other(&mut self, held: Held) {
        self.gone.add(held);
    }

    /// Another filter has taken these, which this one holds, off the gauges.
    pub fn untold(&mut self, held: Held) {
        self.told.subtract(held);
    }

    /// The changes since the last call, without those that come to nothing, for a filter that holds this.
    pub fn take_changes(&mut self, held: Held) -> impl Iterator<Item = (Metric, i64)> + use<> {
        let counted = std::mem::take(&mut self.counted);
        let gone = std::mem::take(&mut self.gone);
        let before = std::mem::take(&mut self.told);
        self.told.add(held);
        let changes = [
            (Metric::Queued, self.told.queued - before.queued - gone.queued),
            (Metric::InFlight, self.told.in_flight - before.in_flight - gone.in_flight),
        ];
        let counted = Metric::ALL.iter().copied().zip(counted);
        counted.chain(changes).filter(|(_, change)| *change != 0)
    }
}

fn signed(amount: usize) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
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
            Failure::Timeout(_) => Self::FailedTimeout,
            Failure::Reset => Self::FailedReset,
            Failure::Unavailable { .. } => Self::FailedUnavailable,
            Failure::Refused(_) => Self::FailedRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn held(queued: u32, in_flight: u32) -> Held {
        Held { open: 9, queued, in_flight }
    }

    /// The changes, for a filter that holds this.
    fn changes(stats: &mut Stats, held: Held) -> Vec<(Metric, i64)> {
        stats.take_changes(held).collect()
    }

    #[test]
    fn changes_are_told_once() {
        let mut stats = Stats::default();
        stats.count(Metric::Sampled, 2);
        stats.count(Metric::Sampled, 1);
        stats.count(Metric::Retries, 0);
        assert_eq!(changes(&mut stats, held(0, 0)), [(Metric::Sampled, 3)], "sums, without zeros");
        assert_eq!(changes(&mut stats, held(0, 0)), [], "nothing is told twice");
    }

    #[test]
    fn gauges_are_what_is_held() {
        let mut stats = Stats::default();
        let (queued, in_flight) = (Metric::Queued, Metric::InFlight);
        assert_eq!(changes(&mut stats, held(5, 0)), [(queued, 5)], "they came");
        assert_eq!(changes(&mut stats, held(2, 3)), [(queued, -3), (in_flight, 3)], "some left");
        assert_eq!(changes(&mut stats, held(2, 3)), [], "the same as before");
        stats.hand_over(2);
        assert_eq!(changes(&mut stats, held(0, 3)), [], "handed over, they wait as before");
        stats.hand_over(3);
        let moved = [(queued, 3), (in_flight, -3)];
        assert_eq!(changes(&mut stats, held(0, 0)), moved, "those on their way wait again");
        stats.take_over(7);
        assert_eq!(changes(&mut stats, held(7, 0)), [], "taken over, they wait as before");
        stats.take_over(4);
        assert_eq!(changes(&mut stats, held(7, 0)), [(queued, -4)], "what can't be read is lost");
        stats.forget_other(held(2, 6));
        let gone = [(queued, -2), (in_flight, -6)];
        assert_eq!(changes(&mut stats, held(7, 0)), gone, "another filter is no more");
        assert_eq!(changes(&mut stats, held(7, 2)), [(in_flight, 2)], "two leave");
        stats.untold(held(7, 2));
        assert_eq!(changes(&mut stats, held(8, 3)), [(queued, 8), (in_flight, 3)], "told anew");
        assert_eq!(changes(&mut stats, held(8, 3)), [], "and once");
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
