use super::*;
use proptest::prelude::*;

const fn held(open: u32, queued: u32, in_flight: u32) -> Held {
    Held { open, queued, in_flight }
}

/// Filters that share a table, as the host's workers do.
struct Process {
    table: Vec<u8>,
    now: Duration,
}

impl Process {
    fn new() -> Self {
        Self { table: Vec::new(), now: Duration::ZERO }
    }

    /// A filter's tick, where it is due.
    fn tick(&mut self, accounting: &mut CrashAccounting, held: Held) -> Findings {
        if !accounting.is_due(held, self.now) {
            return Findings::default();
        }
        let update = accounting.update(&self.table, held, self.now);
        self.table = update.table.unwrap_or_else(|| self.table.clone());
        *accounting = update.accounting;
        update.findings
    }

    /// What the table says that all filters hold.
    fn held(&self) -> Vec<Held> {
        read(&self.table).iter().map(|entry| entry.held).collect()
    }
}

#[test]
fn what_is_held_is_written_and_taken_out_again() {
    let mut process = Process::new();
    let (mut one, mut other) = (CrashAccounting::new(1), CrashAccounting::new(2));
    process.tick(&mut one, held(1, 2, 3));
    process.tick(&mut other, held(0, 5, 0));
    assert_eq!(process.held(), [held(1, 2, 3), held(0, 5, 0)], "each has an entry");
    process.tick(&mut one, held(0, 1, 0));
    assert_eq!(process.held(), [held(0, 5, 0), held(0, 1, 0)], "as it is now");
    process.tick(&mut one, Held::NOTHING);
    process.tick(&mut other, Held::NOTHING);
    assert!(process.table.is_empty(), "who holds nothing has none");
}

#[test]
fn with_nothing_new_there_is_nothing_to_do() {
    let mut process = Process::new();
    let mut accounting = CrashAccounting::new(1);
    assert!(accounting.is_due(Held::NOTHING, process.now), "whoever is new looks once");
    process.tick(&mut accounting, Held::NOTHING);
    process.now += BEAT * 1000;
    assert!(!accounting.is_due(Held::NOTHING, process.now), "it holds nothing, nor did others");
    process.tick(&mut accounting, held(0, 1, 0));
    assert!(!accounting.is_due(held(0, 1, 0), process.now), "the same, and written just now");
    assert!(accounting.is_due(held(0, 1, 0), process.now + BEAT), "an entry is renewed");
    assert!(accounting.is_due(held(0, 2, 0), process.now), "it holds more");
}

#[test]
fn what_nobody_renews_is_counted_once_by_those_that_are_new() {
    let mut process = Process::new();
    let mut living = CrashAccounting::new(1);
    process.tick(&mut living, held(0, 7, 0));
    process.tick(&mut CrashAccounting::new(2), held(1, 2, 4));
    let mut new = [CrashAccounting::new(3), CrashAccounting::new(4)];
    let mut lost = Vec::new();
    for second in 0..=LOOKS {
        assert!(lost.is_empty(), "too early: {second}");
        process.tick(&mut living, held(0, 7, 0));
        for accounting in &mut new {
            lost.extend(process.tick(accounting, Held::NOTHING).lost);
        }
        process.now += BEAT;
    }
    assert_eq!(lost, [held(1, 2, 4)], "by one of them");
    assert_eq!(process.held(), [held(0, 7, 0)], "the other one lives");
    assert!(new.iter().all(|it| !it.is_due(Held::NOTHING, process.now)), "they look no more");
}

#[test]
fn a_watch_ends_when_all_have_moved() {
    let mut process = Process::new();
    let (mut living, mut new) = (CrashAccounting::new(1), CrashAccounting::new(2));
    process.tick(&mut living, held(0, 7, 0));
    process.tick(&mut new, Held::NOTHING);
    process.now += BEAT;
    process.tick(&mut living, held(0, 7, 0));
    process.tick(&mut new, Held::NOTHING);
    process.now += BEAT;
    assert!(!new.is_due(Held::NOTHING, process.now), "an entry was renewed: nobody is dead");
}

#[test]
fn a_process_that_was_stopped_finds_nobody_dead() {
    let mut process = Process::new();
    let (mut living, mut new) = (CrashAccounting::new(1), CrashAccounting::new(2));
    process.tick(&mut living, held(0, 7, 0));
    process.tick(&mut new, Held::NOTHING);
    process.now += BEAT * LOOKS * 100;
    let findings = process.tick(&mut new, Held::NOTHING);
    assert_eq!(findings, Findings::default(), "one look is not enough, however late it comes");
}

#[test]
fn who_was_taken_for_dead_says_what_it_has() {
    let mut process = Process::new();
    let (mut slow, mut new) = (CrashAccounting::new(1), CrashAccounting::new(2));
    process.tick(&mut slow, held(1, 2, 4));
    for _ in 0..=LOOKS {
        process.tick(&mut new, Held::NOTHING);
        process.now += BEAT;
    }
    assert!(process.table.is_empty(), "it was taken out");
    let findings = process.tick(&mut slow, held(0, 3, 4));
    assert_eq!(findings.regained, Some(held(1, 2, 4)), "what the gauges lack");
    assert_eq!(process.held(), [held(0, 3, 4)], "it is there again");
}

proptest! {
    #[test]
    fn entries_round_trip(
        entries in proptest::collection::vec(any::<(u64, u32, u32, u32, u32)>(), 0..5),
        rest in proptest::collection::vec(any::<u8>(), 0..ENTRY),
    ) {
        let entry = |(owner, beat, open, queued, in_flight)| {
            Entry { owner, beat, held: Held { open, queued, in_flight } }
        };
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        let mut table = write(&entries);
        table.extend(rest);
        prop_assert_eq!(read(&table), entries, "and a piece of one is none");
    }

    /// Whatever others wrote there.
    #[test]
    fn any_table_can_be_read(table: Vec<u8>, now in 0_u64..100) {
        let now = Duration::from_secs(now);
        let update = CrashAccounting::new(1).update(&table, held(0, 1, 0), now);
        prop_assert!(update.findings.lost.is_empty(), "at first sight nobody is dead");
    }
}
