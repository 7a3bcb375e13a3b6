//! What travels from service to service: ids, flags and tracestate.
//!
//! Header formats are not here (`propagation`), nor is the meaning of the `ot` member (`sampling`).

use crate::id::{SpanId, TraceId};

/// The identity of a span as other services see it (OpenTelemetry, Tracing API, `SpanContext`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The span itself.
    pub span_id: SpanId,
    /// Whether it is sampled, and whether the trace id is random.
    pub flags: TraceFlags,
    /// What each vendor on the way has noted.
    pub trace_state: TraceState,
}

/// The flags that Level 2 defines (W3C Trace Context, section 3.2.2.5), and what other formats say beside: that nobody has decided yet, or
/// that a trace is for debugging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceFlags(u8); // Invariant: only the bits below; DEBUG only with SAMPLED, DEFERRED only without.

/// What was decided of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Deferred,
    /// It is kept.
    Sampled,
    /// It is not.
    NotSampled,
}

impl TraceFlags {
    const SAMPLED: u8 = 0x01;
    const RANDOM: u8 = 0x02;
    /// As it is sent in B3 and in Jaeger's format.
    const DEBUG: u8 = 0x10;
    /// Never sent.
    const DEFERRED: u8 = 0x20;

    /// The flags of a trace that starts here: its id is random, and nobody has decided on it yet.
    #[must_use]
    pub fn new_trace() -> Self {
        Self(Self::RANDOM | Self::DEFERRED)
    }

    /// The defined bits of `byte`; the others are dropped, since they must be sent as zero.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        // Invariant: masked.
        Self(byte & (Self::SAMPLED | Self::RANDOM))
    }

    /// The flags of a trace of which no more is known than what was decided.
    #[must_use]
    pub fn decided(decision: Decision) -> Self {
        Self(match decision {
            Decision::Deferred => Self::DEFERRED,
            Decision::Sampled => Self::SAMPLED,
            Decision::NotSampled => 0,
        })
    }

    /// The flags of a trace that is sampled for debugging.
    #[must_use]
    pub fn debug() -> Self {
        Self(Self::SAMPLED | Self::DEBUG)
    }

    /// The same flags, and the trace id is random.
    #[must_use]
    pub fn random(self) -> Self {
        Self(self.0 | Self::RANDOM)
    }

    /// The flags as W3C Trace Context sends them.
    #[must_use]
    pub fn as_byte(self) -> u8 {
        self.0 & (Self::SAMPLED | Self::RANDOM)
    }

    /// Whether the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// Whether the trace is for debugging, which implies that it is sampled.
    #[must_use]
    pub fn is_debug(self) -> bool {
        self.0 & Self::DEBUG != 0
    }

    /// What was decided.
    #[must_use]
    pub fn decision(self) -> Decision {
        match self.0 & (Self::SAMPLED | Self::DEFERRED) {
            0 => Decision::NotSampled,
            Self::SAMPLED => Decision::Sampled,
            _ => Decision::Deferred,
        }
    }

    /// The same flags, sampled.
    #[must_use]
    pub fn sampled(self) -> Self {
        Self(self.0 & !Self::DEFERRED | Self::SAMPLED)
    }

    /// The same flags, not sampled.
    #[must_use]
    pub fn not_sampled(self) -> Self {
        Self(self.0 & Self::RANDOM)
    }
}

/// A valid tracestate, maybe empty (W3C Trace Context, section 3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState(String); // Invariant: at most 32 valid members with distinct keys, joined by commas.

/// Why a tracestate is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStateError {
    /// A member without `=`, with a key or a value outside the grammar.
    InvalidMember,
    /// More than 32 members.
    TooManyMembers,
}

impl TraceState {
    /// The key of OpenTelemetry's own member (OpenTelemetry, TraceState Handling): with which probability a trace is kept, and so what a span
    /// counts for.
    pub(crate) const OPENTELEMETRY: &str = "ot";
    const MAX_MEMBERS: usize = 32;
    /// Of as many members as there may be, with a key and a value of 256 characters each.
    const MAX_LENGTH: usize = Self::MAX_MEMBERS * (256 + "=".len() + 256 + ",".len());

    /// Reads the values of all tracestate headers, joined by commas in their order.
    ///
    /// White space around members, empty members, and a key's second member and those after that are ignored.
    ///
    /// # Errors
    /// A member without `=`; a key that is not `[a-z0-9][a-z0-9_\-*/@]{0,255}`; a value that is not
    /// 1 to 256 printable characters without `,` and `=`; a 33rd member (sections 3.3.1.1 to 3.3.1.3).
    pub fn parse(header: &[u8]) -> Result<Self, TraceStateError> {
        let mut state = String::with_capacity(header.len().min(Self::MAX_LENGTH));
        // Strangers may repeat a key as often as they like: it is looked for among these alone.
        let mut keys: Vec<&str> = Vec::new();
        for member in header.split(|byte| *byte == b',').map(trim_white_space) {
            if member.is_empty() {
                continue;
            }
            let (key, member) = valid_member(member).ok_or(TraceStateError::InvalidMember)?;
            // That a key is unique is its sender's duty, and no reason to drop what others wrote.
            if keys.contains(&key) {
                continue;
            }
            if keys.len() == Self::MAX_MEMBERS {
                return Err(TraceStateError::TooManyMembers);
            }
            keys.push(key);
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(member);
        }
        // Invariant: each member was checked and counted above.
        Ok(Self(state))
    }

    /// The value of the member with this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        if self.is_empty() {
            return None;
        }
        entries(&self.0).find_map(|(known, value)| (known == key).then_some(value))
    }

    /// The same state with our member leftmost; beyond 32 members the rightmost goes (section 3.5).
    ///
    /// `key` and `value` must be valid; an empty value removes the member.
    #[must_use]
    pub(crate) fn with_member(&self, key: &str, value: &str) -> Self {
        let mut state = String::with_capacity(self.0.len() + key.len() + value.len() + 2);
        let mut members = 0;
        if !value.is_empty() {
            state.push_str(key);
            state.push('=');
            state.push_str(value);
            members = 1;
        }
        let others = entries(&self.0).filter(|(known, _)| *known != key);
        for (known, value) in others.take(Self::MAX_MEMBERS - members) {
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(known);
            state.push('=');
            state.push_str(value);
        }
        // Invariant: members come from a valid state, the first from our own code.
        Self(state)
    }

    /// The same state in at most so many characters: whole members go, those of over 128 first, then from the right (section 3.3.1.5);
    /// the one with the key `last` after all others.
    #[must_use]
    pub(crate) fn cut(&self, length: usize, last: &str) -> Self {
        const LARGE: usize = 128;
        let is_last = |member: &&str| member.split('=').next() == Some(last);
        let mut members: Vec<_> = self.0.split(',').collect();
        let mut taken = self.0.len();
        while taken > length && !members.is_empty() {
            let large = members.iter().rposition(|it| it.len() > LARGE && !is_last(it));
            let rightmost = || members.iter().rposition(|it| !is_last(it));
            let gone = members.remove(large.or_else(rightmost).unwrap_or_default());
            taken = taken.saturating_sub(gone.len() + ",".len());
        }
        // Invariant: members come from a valid state, in their order.
        Self(members.join(","))
    }

    /// The header's value; empty if there is no member.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Strips SP and HTAB, the optional white space of RFC 9110.
#[must_use]
pub(crate) fn trim_white_space(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn entries(state: &str) -> impl Iterator<Item = (&str, &str)> {
    state.split(',').filter_map(|member| member.split_once('='))
}

fn valid_member(member: &[u8]) -> Option<(&str, &str)> {
    let member = std::str::from_utf8(member).ok()?;
    let (key, value) = member.split_once('=')?;
    (valid_key(key.as_bytes()) && valid_value(value.as_bytes())).then_some((key, member))
}

fn valid_key(key: &[u8]) -> bool {
    let [first, rest @ ..] = key else { return false };
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    alphanumeric(first)
        && rest.len() <= 255
        && rest.iter().all(|byte| alphanumeric(byte) || b"_-*/@".contains(byte))
}

fn valid_value(value: &[u8]) -> bool {
    // It does not end in a space: those around a member are none of it.
    (1..=256).contains(&value.len())
        && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !b",=".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_say_beside_the_flags_is_kept_until_it_is_decided() {
        let (debug, deferred) = (TraceFlags::debug(), TraceFlags::decided(Decision::Deferred));
        assert_eq!((debug.as_byte(), debug.is_debug(), debug.is_sampled()), (1, true, true));
        assert_eq!(debug.decision(), Decision::Sampled, "debug implies it");
        assert!(debug.sampled().is_debug(), "it goes on");
        assert_eq!(debug.not_sampled(), TraceFlags::from_byte(0), "but where it is let go");
        assert_eq!((deferred.as_byte(), deferred.is_sampled()), (0, false), "it is never sent");
        assert_eq!(deferred.sampled(), TraceFlags::from_byte(1), "it is decided now");
        assert_eq!(deferred.not_sampled(), TraceFlags::from_byte(0), "either way");
        let new = TraceFlags::new_trace();
        assert_eq!((new.decision(), new.as_byte()), (Decision::Deferred, 2));
        assert_eq!(new, deferred.random());
        for (byte, decision) in [(0xfe, Decision::NotSampled), (0xff, Decision::Sampled)] {
            let flags = TraceFlags::from_byte(byte);
            assert_eq!(flags.decision(), decision, "a byte always says it: {byte}");
            assert!(!flags.is_debug(), "and no more");
            assert_eq!(flags, TraceFlags::decided(decision).random());
        }
    }

    #[test]
    fn tracestates_are_read_as_level_2_says() {
        let long_key = "k".repeat(256);
        let too_long_key = "k".repeat(257);
        let long_value = "v".repeat(256);
        let members = |count| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let cases: Vec<(String, Option<String>, &str)> = vec![
            ("foo=1".into(), Some("foo=1".into()), "one member"),
            ("foo=1,bar=2".into(), Some("foo=1,bar=2".into()), "order is kept"),
            (" foo=1 \t,\tbar=2 ".into(), Some("foo=1,bar=2".into()), "white space around members"),
            ("foo=1,,bar=2,".into(), Some("foo=1,bar=2".into()), "empty members"),
            (String::new(), Some(String::new()), "nothing at all"),
            ("foo= 1".into(), Some("foo= 1".into()), "a value may start with a space"),
            ("0a@b/c*d-e_f=1".into(), Some("0a@b/c*d-e_f=1".into()), "every character of a key"),
            (format!("{long_key}=1"), Some(format!("{long_key}=1")), "a key of 256"),
            (format!("{too_long_key}=1"), None, "a key of 257"),
            (format!("a={long_value}"), Some(format!("a={long_value}")), "a value of 256"),
            (format!("a={long_value}v"), None, "a value of 257"),
            (members(32), Some(members(32)), "thirty-two members"),
            (members(33), None, "a thirty-third member"),
            ("foo=1,foo=2".into(), Some("foo=1".into()), "a repeated key"),
            ("a=1,foo=1,b=2,foo=2,c=3".into(), Some("a=1,foo=1,b=2,c=3".into()), "between others"),
            (format!("{},k0=w", members(32)), Some(members(32)), "as the thirty-third"),
            ("foo=1,foo=".into(), None, "one that is not valid"),
            ("foo".into(), None, "no value"),
            ("foo=".into(), None, "an empty value"),
            ("foo= ".into(), None, "a value of a space, which is none of it"),
            (
                "foo=a ,bar=1".into(),
                Some("foo=a,bar=1".into()),
                "a space after a value is none of it",
            ),
            ("foo=a\u{7f}".into(), None, "a control character"),
            ("foo=~ !".into(), Some("foo=~ !".into()), "the ends of what may stand in a value"),
            ("=1".into(), None, "an empty key"),
            ("Foo=1".into(), None, "an uppercase key"),
            ("foo =1".into(), None, "a space in the key"),
            ("foo=1=2".into(), None, "an equals sign in the value"),
            ("foo=\u{e9}".into(), None, "a byte over 0x7e"),
            ("@foo=1".into(), None, "a key that starts with a sign"),
        ];
        for (header, expected, reason) in cases {
            let state = TraceState::parse(header.as_bytes()).ok();
            assert_eq!(state.map(|state| state.0), expected, "{reason}");
        }
    }

    #[test]
    fn our_member_goes_leftmost() {
        let cases = [
            ("", "ot", "th:0", "ot=th:0", "into an empty state"),
            ("a=1,b=2", "ot", "th:0", "ot=th:0,a=1,b=2", "before the others"),
            ("a=1,ot=x:1,b=2", "ot", "th:0", "ot=th:0,a=1,b=2", "instead of the old one"),
            ("a=1,ot=x:1", "ot", "", "a=1", "an empty value removes it"),
        ];
        for (before, key, value, after, reason) in cases {
            let state = TraceState::parse(before.as_bytes()).expect("valid");
            assert_eq!(state.with_member(key, value).as_str(), after, "{reason}");
        }
        let full = (0..32).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let state = TraceState::parse(full.as_bytes()).expect("valid").with_member("ot", "th:0");
        assert!(state.as_str().starts_with("ot=th:0,k0=v"), "leftmost in a full state");
        assert_eq!(state.get("k31"), None, "the rightmost goes");
        assert_eq!(state.get("k30"), Some("v"), "the others stay");
    }

    #[test]
    fn whole_members_are_cut() {
        let (large, larger) = (format!("l={}", "v".repeat(127)), format!("m={}", "v".repeat(200)));
        let fits = format!("f={}", "v".repeat(126));
        let join = |members: &[&str]| members.join(",");
        let cases = [
            (join(&["a=1", "b=2"]), 7, join(&["a=1", "b=2"]), "it fits"),
            (join(&["a=1", "b=2"]), 6, join(&["a=1"]), "the rightmost goes"),
            (join(&["a=1", "b=2"]), 3, join(&["a=1"]), "to the last character"),
            (join(&["a=1", "b=2"]), 2, String::new(), "no part of a member stays"),
            (join(&[&large, "b=2", "c=3"]), 100, join(&["b=2", "c=3"]), "a large one goes first"),
            (join(&[&large, &larger, "b=2"]), 140, join(&[&large, "b=2"]), "the rightmost of them"),
            (join(&[&fits, "b=2", "c=3"]), 132, join(&[&fits, "b=2"]), "one of 128 is not large"),
            (join(&[&large, &larger, "b=2", "c=3"]), 5, join(&["b=2"]), "then from the right"),
            (join(&["a=1", "b=2", "z=3"]), 7, join(&["a=1", "z=3"]), "z after all others"),
            (join(&["z=3", &large, "b=2"]), 3, join(&["z=3"]), "wherever it stands"),
            (
                join(&["a=1", &larger.replace("m=", "z=")]),
                3,
                String::new(),
                "and however large it is",
            ),
            (String::new(), 0, String::new(), "nothing"),
        ];
        for (state, length, expected, reason) in cases {
            let cut = TraceState::parse(state.as_bytes()).expect("valid").cut(length, "z");
            assert_eq!(cut.as_str(), expected, "{reason}");
        }
    }

    #[test]
    fn a_key_may_be_repeated_for_megabytes() {
        let pad = |start: &str| format!("{start}{}", "k".repeat(256 - start.len()));
        let members = (10..41).map(|it| format!("{}={}", pad(&it.to_string()), "v".repeat(256)));
        let all: Vec<_> = members.chain(["z=0".to_owned()]).collect();
        let all = all.join(",");
        let header = format!("{all}{}", ",z=1".repeat(1 << 20));
        let state = TraceState::parse(header.as_bytes()).expect("32 members");
        assert_eq!(state.as_str(), all, "the first of each key");
        assert_eq!(state.0.capacity(), 32 * (256 + 1 + 256 + 1), "no room for what is ignored");
        let more = format!("{header},a=1");
        assert_eq!(TraceState::parse(more.as_bytes()), Err(TraceStateError::TooManyMembers));
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent(header: Vec<u8>) {
            if let Ok(state) = TraceState::parse(&header) {
                prop_assert_eq!(TraceState::parse(state.as_str().as_bytes()), Ok(state));
            }
        }

        #[test]
        fn valid_members_survive(members in prop::collection::hash_map("[a-z0-9][a-z0-9_*/@-]{0,20}", "[!-+\\--<>-~]{1,20}", 0..32)) {
            let header = members.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ,\t");
            let state = TraceState::parse(header.as_bytes());
            prop_assert!(state.is_ok(), "{header:?}: {state:?}");
            let state = state.unwrap();
            for (key, value) in &members {
                prop_assert_eq!(state.get(key), Some(value.as_str()));
            }
        }
    }
}
