//! Where a span's start comes from: the filter's own clock, or Envoy's, which knows more where other filters stand before this one.

use std::time::Duration;

/// `envoy.start_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartTime {
    /// When the filter sees the request, unless others hold requests up before it.
    Auto,
    /// When the filter sees the request.
    Filter,
    /// When Envoy began to read the request. Costs a host call.
    Request,
}

/// Decides for each request.
#[derive(Debug)]
pub(super) struct StartTimes {
    setting: StartTime,
    /// How many in a row the filter saw at once, as far as was looked.
    prompt: u32,
    /// How many more are not looked at.
    passes: u32,
}

impl StartTimes {
    /// Others before this filter, or a caller that sends its headers piece by piece, take longer than this.
    const PROMPT: Duration = Duration::from_millis(1);
    /// After so many in a row that the filter saw at once, ...
    const ENOUGH: u32 = 100;
    /// ... so many are not looked at, then one is.
    const PASSES: u32 = 63;

    pub(super) fn new(setting: StartTime) -> Self {
        Self { setting, prompt: 0, passes: 0 }
    }

    /// Whether Envoy is asked for the next request; if so, [`StartTimes::note`] follows.
    pub(super) fn asks_envoy(&mut self) -> bool {
        match self.setting {
            StartTime::Filter => false,
            StartTime::Request => true,
            StartTime::Auto => match self.passes.checked_sub(1) {
                Some(passes) => {
                    self.passes = passes;
                    false
                }
                None => true,
            },
        }
    }

    /// Notes how much earlier Envoy had the request.
    pub(super) fn note(&mut self, held_up: Duration) {
        self.prompt = if held_up > Self::PROMPT { 0 } else { self.prompt.saturating_add(1) };
        self.passes = if self.prompt < Self::ENOUGH { 0 } else { Self::PASSES };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many requests, each held up so long, how many Envoy was asked for.
    fn asked(times: &mut StartTimes, requests: u32, held_up: Duration) -> u32 {
        let mut asked = 0;
        for _ in 0..requests {
            if times.asks_envoy() {
                times.note(held_up);
                asked += 1;
            }
        }
        asked
    }

    #[test]
    fn envoy_is_asked_as_often_as_it_matters() {
        let (prompt, late) = (StartTimes::PROMPT, StartTimes::PROMPT + Duration::from_nanos(1));
        let mut auto = StartTimes::new(StartTime::Auto);
        for (requests, held_up, expected, reason) in [
            (100, prompt, 100, "until it is known how it is"),
            (63, prompt, 0, "nobody holds requests up"),
            (1, prompt, 1, "a look now and then"),
            (640, prompt, 10, "and so on"),
            (63, late, 0, "that is not seen at once"),
            (500, late, 500, "from then on all are looked at"),
            (99, prompt, 99, "until it is over"),
            (1, late, 1, "which it was not"),
            (164, prompt, 101, "now it is"),
        ] {
            assert_eq!(asked(&mut auto, requests, held_up), expected, "{reason}");
        }
        let mut filter = StartTimes::new(StartTime::Filter);
        assert_eq!(asked(&mut filter, 10, late), 0, "never");
        let mut request = StartTimes::new(StartTime::Request);
        assert_eq!(asked(&mut request, 1000, Duration::ZERO), 1000, "always");
    }
}
