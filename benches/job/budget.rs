//! What the job may cost with this filter, and whether a run kept to it.

use crate::results::Results;
use crate::ways::{EMPTY, FILTER, PROXIES, TAIL};
use harness::statistics::{Ratio, quantile};
use harness::truth::Share;

/// Of the CPU, proxies and Collector in sum, that tail sampling takes.
const CPU: f64 = 0.4;
/// Of the bytes that tail sampling is sent.
const BYTES: f64 = 1.0 / 25.0;
/// Microseconds per request above an empty filter.
const ABOVE_EMPTY: f64 = 4.0;

/// A line of the budget.
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) is_met: bool,
}

/// All of it, for what was measured.
#[expect(clippy::cast_precision_loss, reason = "two")]
pub(crate) fn lines(results: &Results) -> Vec<Line> {
    let mut lines = Vec::new();
    for (what, share) in [
        ("failing", results.share(FILTER, |it| it.failing)),
        ("slow", results.share(FILTER, |it| it.slow)),
    ] {
        lines.push(Line {
            what: format!("all {what} requests arrive as whole traces"),
            measured: found(share),
            is_met: share.all > 0 && share.whole == share.all,
        });
    }
    lines.push(at_most("CPU in sum over tail sampling's", results.cpu(FILTER, TAIL), CPU));
    lines.push(at_most("bytes over tail sampling's", results.bytes(FILTER, TAIL), BYTES));
    let both = results.rounds.above(FILTER, EMPTY, |it| it.proxies / 1000.0);
    let each: Vec<_> = both.iter().map(|both| both / PROXIES as f64).collect();
    for (what, values) in [("each proxy", each), ("both proxies together", both)] {
        let median = quantile(&values, 0.5);
        lines.push(Line {
            what: format!("{what} above an empty filter, at most {ABOVE_EMPTY} µs a request"),
            measured: format!(
                "{:.1} µs ({:.1} to {:.1})",
                median,
                quantile(&values, 0.25),
                quantile(&values, 0.75)
            ),
            is_met: median <= ABOVE_EMPTY,
        });
    }
    lines
}

fn at_most(what: &str, ratio: Ratio, budget: f64) -> Line {
    Line {
        what: format!("{what}, at most {budget}"),
        measured: shown(&ratio),
        is_met: ratio.is_within(budget),
    }
}

/// A ratio and its noise.
pub(crate) fn shown(ratio: &Ratio) -> String {
    format!("{:.3} ({:.3} to {:.3})", ratio.value, ratio.low, ratio.high)
}

/// `198 of 200`.
pub(crate) fn found(share: Share) -> String {
    let partial =
        if share.partial > 0 { format!(", {} in part", share.partial) } else { String::new() };
    format!("{} of {}{partial}", share.whole, share.all)
}
