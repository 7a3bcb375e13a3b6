//! The time of day, by a clock that only counts.

use std::time::Duration;

/// Tells the time of day of moments of another clock. Asked for the time of day each second, it follows when that is set anew.
#[derive(Debug, Default)]
pub(super) struct UnixClock {
    /// A moment of the other clock, and what time of day it was.
    known: Option<(Duration, Duration)>,
}

impl UnixClock {
    const MAX_AGE: Duration = Duration::from_secs(1);

    /// The time since the Unix epoch at this moment, which is now. `read` tells it.
    pub(super) fn at(&mut self, now: Duration, read: impl FnOnce() -> Duration) -> Duration {
        let told = self.known.and_then(|(at, unix)| {
            let passed = now.checked_sub(at).filter(|passed| *passed < Self::MAX_AGE)?;
            Some(unix + passed)
        });
        told.unwrap_or_else(|| {
            let unix = read();
            self.known = Some((now, unix));
            unix
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_read_once_a_second() {
        let millis = Duration::from_millis;
        let mut clock = UnixClock::default();
        // The moment, what is read if it is, and what is told.
        for (now, unix, told, reason) in [
            (500, 10_000, 10_000, "nothing is known"),
            (500, 0, 10_000, "the same moment"),
            (1499, 0, 10_999, "by the other clock"),
            (1500, 9_000, 9_000, "it was set back"),
            (1600, 0, 9_100, "from then on"),
            (1400, 8_000, 8_000, "the other clock starts anew"),
        ] {
            assert_eq!(clock.at(millis(now), || millis(unix)), millis(told), "{reason}");
        }
    }
}
