//! The `ot` member of tracestate: where probability sampling notes `th` and `rv`.
//!
//! (OpenTelemetry, TraceState Handling: `key:value` pairs joined by `;`, 256 characters at most.)

use super::Threshold;
use crate::context::TraceState;
use crate::id::hex_value;

const MEMBER: &str = TraceState::OPENTELEMETRY;
const THRESHOLD: &str = "th";
const RANDOMNESS: &str = "rv";
const MAX_LENGTH: usize = 256;

/// The explicit randomness, if there is one: exactly 14 lowercase hexadecimal digits.
pub(super) fn randomness(state: &TraceState) -> Option<u64> {
    let digits = sub_key(state, RANDOMNESS)?;
    if digits.len() != 14 {
        return None;
    }
    digits.bytes().try_fold(0, |value, digit| Some(value << 4 | u64::from(hex_value(digit)?)))
}

/// The threshold, if a valid one is noted.
pub(super) fn threshold(state: &TraceState) -> Option<Threshold> {
    Threshold::parse(sub_key(state, THRESHOLD)?)
}

/// The state with this threshold; other sub-keys stay, as far as the length allows. The randomness is the last to go: others decide
/// by it.
pub(super) fn with_threshold(state: &TraceState, threshold: Threshold) -> TraceState {
    let mut value = format!("{THRESHOLD}:{threshold}");
    let is_randomness = |pair: &&str| pair.split(':').next() == Some(RANDOMNESS);
    let (randomness, others): (Vec<_>, Vec<_>) = other_sub_keys(state).partition(is_randomness);
    for pair in randomness.into_iter().chain(others) {
        if value.len() + 1 + pair.len() <= MAX_LENGTH {
            value.push(';');
            value.push_str(pair);
        }
    }
    state.with_member(MEMBER, &value)
}

/// The state without a threshold.
pub(super) fn without_threshold(state: TraceState) -> TraceState {
    if sub_key(&state, THRESHOLD).is_none() {
        return state;
    }
    let value = other_sub_keys(&state).collect::<Vec<_>>().join(";");
    state.with_member(MEMBER, &value)
}

fn sub_key<'a>(state: &'a TraceState, key: &str) -> Option<&'a str> {
    pairs(state).find_map(|pair| pair.strip_prefix(key)?.strip_prefix(':'))
}

fn other_sub_keys(state: &TraceState) -> impl Iterator<Item = &str> {
    pairs(state).filter(|pair| pair.split(':').next() != Some(THRESHOLD))
}

/// The pairs of the member. No value may end in a space (W3C Trace Context, section 3.3.1.3.2), and any of them may come last.
fn pairs(state: &TraceState) -> impl Iterator<Item = &str> {
    let pairs = state.get(MEMBER).into_iter().flat_map(|value| value.split(';'));
    pairs.map(|pair| pair.trim_end_matches(' ')).filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rv_is_fourteen_digits() {
        let cases = [
            ("ot=rv:00000000000001", Some(1), "fourteen digits"),
            ("ot=th:8;rv:00000000000001", Some(1), "after another sub-key"),
            ("ot=rv:0000000000001", None, "thirteen digits"),
            ("ot=rv:000000000000001", None, "fifteen digits"),
            ("ot=rv:", None, "none"),
            ("ot=rv:0000000000000F", None, "uppercase"),
            ("ot=xrv:00000000000001", None, "another sub-key"),
            ("other=rv:00000000000001", None, "another member"),
        ];
        for (state, expected, reason) in cases {
            let state = TraceState::parse(state.as_bytes()).expect("valid");
            assert_eq!(randomness(&state), expected, "{reason}");
        }
    }

    #[test]
    fn the_member_does_not_end_in_a_space() {
        let threshold = Threshold::from_ratio(0.5).expect("valid");
        let cases = [
            ("ot=a:1 ;th:c", "ot=th:8;a:1", "ot=a:1", "a pair that comes last now"),
            ("ot=a:1;  ;;th:c", "ot=th:8;a:1", "ot=a:1", "no pair"),
            ("ot=  ;th:c", "ot=th:8", "", "nothing else"),
            ("ot= a:1 2;th:c", "ot=th:8; a:1 2", "ot= a:1 2", "spaces elsewhere"),
        ];
        for (state, with, without, reason) in cases {
            let state = TraceState::parse(state.as_bytes()).expect("valid");
            assert_eq!(with_threshold(&state, threshold).as_str(), with, "{reason}");
            assert_eq!(without_threshold(state).as_str(), without, "{reason}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_of_a_member_is_one(value in "[ ;a:1]{0,12}[th]{0,2}:?[8 ;]{0,9}[!-+\\--:;<>-~]") {
            let state = TraceState::parse(format!("ot={value}").as_bytes()).expect("valid");
            let threshold = Threshold::from_ratio(0.5).expect("valid");
            for made in [with_threshold(&state, threshold), without_threshold(state)] {
                prop_assert_eq!(TraceState::parse(made.as_str().as_bytes()), Ok(made));
            }
        }
    }

    #[test]
    fn the_member_stays_within_its_length() {
        let threshold = Threshold::from_ratio(0.001).expect("valid");
        let own = "th:ffbe77".len();
        let crowded = format!("ot=a:{};rv:80000000000000", "x".repeat(230));
        let crowded = TraceState::parse(crowded.as_bytes()).expect("valid");
        let state = with_threshold(&crowded, threshold);
        assert_eq!(
            state.as_str(),
            "ot=th:ffbe77;rv:80000000000000",
            "randomness is the last to go"
        );
        for (length, stays) in [(MAX_LENGTH - own - ";a:;b:1".len(), true), (245, false)] {
            let long = "x".repeat(length);
            let state = format!("ot=a:{long};b:1");
            let state = TraceState::parse(state.as_bytes()).expect("valid");
            let state = with_threshold(&state, threshold);
            let value = state.get(MEMBER).expect("ours");
            let expected =
                if stays { format!("th:ffbe77;a:{long};b:1") } else { "th:ffbe77;b:1".to_owned() };
            assert_eq!(value, expected, "what does not fit goes, the rest stays");
            assert_eq!(value.len() == MAX_LENGTH, stays, "up to the last character");
        }
    }
}
