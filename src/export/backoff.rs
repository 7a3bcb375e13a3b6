//! How long the collector is left alone after it failed: longer each time, never the same for all workers.

use std::time::Duration;

/// `envoy.retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The shortest wait.
    pub initial_interval: Duration,
    /// The longest wait, at least the shortest. What the collector asks for may be longer, up to five minutes.
    pub max_interval: Duration,
    /// From its first try on, how long a batch is tried again. Zero: never.
    pub max_elapsed_time: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(5),
            max_elapsed_time: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    /// The wait after so many failures in a row: from the shortest one up to a bound that doubles with each
    /// failure. `random` says where between them.
    #[must_use]
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let factor = 2_u32.checked_pow(failures).unwrap_or(u32::MAX);
        let bound = self.initial_interval.saturating_mul(factor).min(self.max_interval);
        let range = bound.saturating_sub(self.initial_interval).as_millis();
        let range = u64::try_from(range).unwrap_or(u64::MAX);
        self.initial_interval + Duration::from_millis(random % range.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_bound_of_a_wait_doubles() {
        let policy = RetryPolicy {
            initial_interval: seconds(1),
            max_interval: seconds(5),
            max_elapsed_time: Duration::from_mins(1),
        };
        for (failures, longest) in [(1, 2), (2, 4), (3, 5), (40, 5), (u32::MAX, 5)] {
            assert_eq!(policy.wait(failures, 0), seconds(1), "never shorter: {failures}");
            let range = longest * 1000 - 1000;
            assert_eq!(policy.wait(failures, range), seconds(longest), "the bound: {failures}");
            assert_eq!(policy.wait(failures, range + 1), seconds(1), "never longer: {failures}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_between_the_configured_bounds(
            initial in 1_u64..600_000,
            longer in 0_u64..600_000,
            failures: u32,
            random: u64,
        ) {
            let policy = RetryPolicy {
                initial_interval: Duration::from_millis(initial),
                max_interval: Duration::from_millis(initial + longer),
                max_elapsed_time: seconds(1),
            };
            let wait = policy.wait(failures, random);
            prop_assert!((policy.initial_interval..=policy.max_interval).contains(&wait));
        }
    }
}
