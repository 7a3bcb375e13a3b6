//! What all rounds say together.

use crate::round::Outcome;
use crate::ways::UNTRACED;
use harness::rounds::Rounds;
use harness::statistics::Ratio;
use harness::truth::Share;

/// What was measured with one share of failing requests.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) rounds: Rounds<Outcome>,
    /// Rounds of a way by itself, which say nothing of its price.
    pub(crate) more: Rounds<Outcome>,
}

impl Results {
    /// What a way's proxies and Collector take per request beyond the requests themselves, in nanoseconds, of each round.
    pub(crate) fn added(&self, way: &str) -> Vec<f64> {
        self.rounds.above(way, UNTRACED, |it| it.proxies + it.collector)
    }

    /// The CPU that tracing adds by one way over what it adds by another one.
    pub(crate) fn cpu(&self, way: &str, other: &str) -> Ratio {
        Ratio::of(&self.added(way), &self.added(other))
    }

    /// The bytes that go to the Collector by one way over those of another one.
    pub(crate) fn bytes(&self, way: &str, other: &str) -> Ratio {
        let of = |way: &str| self.rounds.each(way, |it| it.bytes);
        Ratio::of(&of(way), &of(other))
    }

    /// What arrived of all rounds of a way.
    pub(crate) fn share(&self, way: &str, of: impl Fn(&Outcome) -> Share) -> Share {
        let rounds = self.rounds.of(way).iter().chain(self.more.of(way));
        rounds.map(of).fold(Share::default(), Share::and)
    }
}
