//! The host's counters and gauges: one for each of ours.

use crate::host::{self, MetricId};
use crate::stats::{Metric, MetricKind};

/// The host's metrics for ours.
#[derive(Debug)]
pub(super) struct Metrics(Vec<(Metric, MetricId)>);

impl Metrics {
    /// Defines all metrics; one that the host refuses is not counted.
    pub(super) fn define() -> Self {
        let define = |metric: &Metric| {
            let id = match metric.kind() {
                MetricKind::Counter => host::define_counter(metric.name()),
                MetricKind::Gauge => host::define_gauge(metric.name()),
            };
            Some((*metric, id?))
        };
        Self(Metric::ALL.iter().filter_map(define).collect())
    }

    /// Adds changes to the host's values.
    pub(super) fn record(&self, changes: impl Iterator<Item = (Metric, i64)>) {
        for (metric, change) in changes {
            if let Some((_, id)) = self.0.iter().find(|(known, _)| *known == metric) {
                host::increment(*id, change);
            }
        }
    }
}
