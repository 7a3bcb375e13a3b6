//! `envoy.max_spans_per_second`: how many requests all workers of a process keep in a second.
//!
//! They take what they may keep from one bucket, a few at a time: whoever has more to keep takes more often. Where the bucket is, and who
//! else has written to it, is the host's part.

use std::time::Duration;

/// How much of a second's worth a worker takes at a time.
const PARTS: u32 = 50;

/// For how long nobody says a probability after one was refused: it was kept with a smaller one, and nobody knows which.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// What a worker has taken and not used, of one bucket.
#[derive(Debug)]
pub struct Limiter {
    /// How many are kept in a second, at most; and as many at once, after a pause.
    per_second: u32,
    left: u32,
    refused_at: Option<Duration>,
}

/// Whether there is room for a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is, and there was for all before.
    Enough,
    /// There is, though not for all.
    Short,
    /// There is none.
    None,
}

impl Limiter {
    /// One of a bucket that gets so many in a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, left: 0, refused_at: None }
    }

    /// Takes room for the spans of a request. `now` is the time since any fixed moment; `take` takes as many from the bucket as there are, up
    /// to a number.
    pub fn take(&mut self, spans: u32, now: Duration, take: impl FnOnce(u32, u32) -> u32) -> Room {
        if self.left < spans {
            // What does not do for one stays for the next.
            let wanted = self.per_second.div_ceil(PARTS).max(spans - self.left);
            self.left += take(self.per_second, wanted);
        }
        let Some(left) = self.left.checked_sub(spans) else {
            self.refused_at = Some(now);
            return Room::None;
        };
        self.left = left;
        match self.refused_at {
            Some(at) if now.saturating_sub(at) < UNKNOWN_FOR => Room::Short,
            _ => Room::Enough,
        }
    }
}

/// A bucket that all workers share, in the layout in which the host keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// What is in it, in millionths of a span.
    content: u64,
    /// When it was looked at, in microseconds since the Unix epoch.
    at: u64,
}

impl Bucket {
    const SPAN: u64 = 1_000_000;

    /// Reads the layout. What can't be read is a bucket that is empty since ever, which is a full one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes.as_chunks::<8>().0.iter().map(|it| u64::from_le_bytes(*it));
        let mut next = || numbers.next().unwrap_or_default();
        Self { content: next(), at: next() }
    }

    /// The layout.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (content, at) = bytes.split_at_mut(8);
        content.copy_from_slice(&self.content.to_le_bytes());
        at.copy_from_slice(&self.at.to_le_bytes());
        bytes
    }

    /// Takes up to `wanted` spans at this time since the Unix epoch, where `per_second` come to it in a second and as many have room in it.
    /// Gives the bucket that is left, and how many were taken.
    #[must_use]
    pub fn take(self, per_second: u32, wanted: u32, now: Duration) -> (Self, u32) {
        let at = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        // A clock that was set back brings nothing.
        let passed = at.saturating_sub(self.at);
        let come = passed.saturating_mul(u64::from(per_second));
        let room = u64::from(per_second) * Self::SPAN;
        let content = self.content.saturating_add(come).min(room);
        let taken = u64::from(wanted).min(content / Self::SPAN);
        let left = Self { content: content - taken * Self::SPAN, at };
        (left, u32::try_from(taken).unwrap_or(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(1_000_000);

    #[test]
    fn a_bucket_fills_with_time() {
        let empty = Bucket { content: 0, at: 1_000_000_000_000 };
        let after = |bucket: Bucket, millis, wanted| {
            bucket.take(100, wanted, START + Duration::from_millis(millis))
        };
        assert_eq!(Bucket::from_bytes(&[]).take(100, 1000, START).1, 100, "a new one is full");
        let cases = [
            (0, 5, 0, "nothing has come"),
            (9, 5, 0, "less than one"),
            (10, 5, 1, "one"),
            (40, 5, 4, "as many as there are"),
            (500, 5, 5, "no more than are wanted"),
            (60_000, 1000, 100, "a second's worth at most"),
        ];
        for (millis, wanted, taken, reason) in cases {
            assert_eq!(after(empty, millis, wanted).1, taken, "{reason}");
        }
        let (left, _) = after(empty, 500, 5);
        assert_eq!(after(left, 500, 100).1, 45, "the rest stays");
        assert_eq!(after(left, 400, 100).1, 45, "a clock that is set back brings nothing");
        assert_eq!(Bucket::from_bytes(&left.to_bytes()), left);
    }

    #[test]
    fn a_worker_takes_a_few_at_a_time() {
        let mut limiter = Limiter::new(100);
        let mut asked = Vec::new();
        for _ in 0..4 {
            let room = limiter.take(1, START, |per_second, wanted| {
                asked.push((per_second, wanted));
                wanted
            });
            assert_eq!(room, Room::Enough);
        }
        assert_eq!(asked, [(100, 2), (100, 2)]);
        assert_eq!(limiter.take(1, START, |_, _| 0), Room::None);
        let soon = START + Duration::from_millis(999);
        assert_eq!(limiter.take(1, soon, |_, wanted| wanted), Room::Short, "not for all");
        let later = START + Duration::from_secs(1);
        assert_eq!(limiter.take(1, later, |_, wanted| wanted), Room::Enough, "that was long ago");
        assert_eq!(
            Limiter::new(1).take(1, START, |_, wanted| wanted),
            Room::Enough,
            "one at least"
        );
    }

    #[test]
    fn a_request_may_take_two() {
        let mut limiter = Limiter::new(100);
        assert_eq!(limiter.take(2, START, |_, wanted| wanted), Room::Enough);
        assert_eq!(limiter.take(2, START, |_, _| 1), Room::None, "one is not enough");
        let later = START + UNKNOWN_FOR;
        let asked = limiter.take(2, later, |_, wanted| wanted);
        assert_eq!((asked, limiter.left), (Room::Enough, 1), "with the one that was left");
        let mut small = Limiter::new(1);
        assert_eq!(small.take(2, START, |_, _| 1), Room::None, "a limit of one a second");
        assert_eq!(small.take(2, later, |_, _| 1), Room::Enough, "is two in two seconds");
    }

    proptest! {
        #[test]
        fn no_more_is_taken_than_has_come(
            per_second in 1..1000_u32,
            looks in prop::collection::vec((0..3_000_000_u64, 0..2000_u32), 1..50),
        ) {
            let mut bucket = Bucket { content: 0, at: 1_000_000_000_000 };
            let (mut now, mut taken) = (START, 0);
            for (passed, wanted) in looks {
                now += Duration::from_micros(passed);
                let (left, got) = bucket.take(per_second, wanted, now);
                prop_assert!(got <= wanted);
                bucket = left;
                taken += u64::from(got);
            }
            let passed = now.saturating_sub(START).as_micros();
            prop_assert!(u128::from(taken) * 1_000_000 <= passed * u128::from(per_second));
        }
    }
}
