use super::*;
use proptest::prelude::*;

const fn held(open: u32, queued: u32, in_flight: u32) -> Held {
    Held { open, queued, in_flight }
}

const HERE: Destination = Destination::from_bytes([1; 16]);
const ELSEWHERE: Destination = Destination::from_bytes([2; 16]);

const START: UnixTime = UnixTime(1_000_000);

fn registration(owner: u64) -> Registration {
    Registration::new(owner, HERE, START)
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

    /// A filter that is configured.
    fn enter(&mut self, registration: Registration) -> Registration {
        self.table = registration.enter(&self.table);
        registration
    }

    /// The time that all have in common.
    fn unix(&self) -> UnixTime {
        UnixTime(START.0 + u64::try_from(self.now.as_millis()).expect("a test is short"))
    }

    /// Who else is there, for this filter.
    fn successor(&self, registration: &Registration) -> Successor {
        registration.successor(&self.table, self.unix())
    }

    /// A filter that goes for good, and who else is there then.
    fn leave(&mut self, registration: &Registration) -> Successor {
        let (table, successor) = registration.leave(&self.table, self.unix());
        self.table = table;
        successor
    }

    /// A filter's tick, where it is due.
    fn tick(&mut self, registration: &mut Registration, held: Held) -> Findings {
        if !registration.is_due(held, self.now) {
            return Findings::default();
        }
        let update = registration.update(&self.table, held, self.now, self.unix());
        self.table = update.table.unwrap_or_else(|| self.table.clone());
        *registration = update.registration;
        update.findings
    }

    /// What the table says that all filters hold.
    fn held(&self) -> Vec<Held> {
        read(&self.table).iter().map(|entry| entry.held).collect()
    }
}

#[test]
fn a_filter_is_in_the_table_until_it_goes() {
    let mut process = Process::new();
    let mut one = process.enter(registration(1));
    let mut other = process.enter(registration(2));
    assert_eq!(process.held(), [Held::NOTHING; 2], "both, before their first tick");
    process.tick(&mut one, held(1, 2, 3));
    process.tick(&mut other, held(0, 5, 0));
    assert_eq!(process.held(), [held(1, 2, 3), held(0, 5, 0)], "each once, with what it holds");
    process.tick(&mut one, held(0, 1, 0));
    assert_eq!(process.held(), [held(0, 5, 0), held(0, 1, 0)], "as it is now");
    process.tick(&mut one, Held::NOTHING);
    assert_eq!(process.held(), [held(0, 5, 0), Held::NOTHING], "also one that holds nothing");
    assert_eq!(process.leave(&one), Successor::Live, "another one serves");
    assert_eq!(process.held(), [held(0, 5, 0)]);
    assert_eq!(process.leave(&other), Successor::None, "nobody is left");
    assert_eq!(process.held(), []);
}

#[test]
fn a_successor_is_another_filter_with_the_same_destination() {
    let mut process = Process::new();
    let mut own = process.enter(registration(1));
    process.tick(&mut own, Held::NOTHING);
    assert_eq!(process.successor(&own), Successor::None, "it is alone");
    let mut stranger = process.enter(Registration::new(2, ELSEWHERE, START));
    process.tick(&mut stranger, held(0, 7, 0));
    assert_eq!(process.successor(&own), Successor::None, "another collector");
    let mut new = process.enter(registration(3));
    assert_eq!(process.successor(&own), Successor::New, "before its first tick");
    process.tick(&mut new, held(0, 1, 0));
    assert_eq!(process.successor(&own), Successor::Live, "and after");
    assert_eq!(process.leave(&new), Successor::Live, "it has one itself");
}

#[test]
fn those_that_go_at_once_never_take_each_other_for_one_that_serves() {
    let mut process = Process::new();
    let mut filters = [1, 2, 3].map(|owner| process.enter(registration(owner)));
    for filter in &mut filters {
        process.tick(filter, held(0, 1, 0));
    }
    let [one, two, three] = filters;
    let mut going = Vec::new();
    for (filter, expected) in
        [(one, Successor::Live), (two, Successor::Live), (three, Successor::Leaving)]
    {
        let mut filter = filter.leaving();
        assert!(filter.is_due(held(0, 1, 0), process.now), "it says so at once");
        process.tick(&mut filter, held(0, 1, 0));
        assert_eq!(process.successor(&filter), expected, "{}", filter.owner);
        going.push(filter);
    }
    for filter in &going {
        assert_eq!(process.successor(filter), Successor::Leaving, "all go: each delivers");
    }
    assert_eq!(process.held(), [held(0, 1, 0); 3], "what they have is known");
    let left = going.iter().map(|filter| process.leave(filter));
    let expected = [Successor::Leaving, Successor::Leaving, Successor::None];
    assert_eq!(left.collect::<Vec<_>>(), expected, "the last one has nobody to leave it to");
}

#[test]
fn who_has_not_renewed_its_entry_for_a_few_beats_is_no_successor() {
    let mut process = Process::new();
    let mut crashed = process.enter(registration(1));
    process.tick(&mut crashed, held(0, 1, 0));
    let own = registration(2);
    let cases = [
        (0, Successor::Live),
        (1, Successor::Live),
        (4999, Successor::Live),
        (5000, Successor::None),
    ];
    for (later, expected) in cases {
        process.now = Duration::from_millis(later);
        assert_eq!(process.successor(&own), expected, "{later} ms later");
    }
    assert_eq!(process.leave(&own), Successor::None, "nor is it left to deliver anything");
    process.tick(&mut crashed, held(0, 1, 0));
    assert_eq!(process.successor(&own), Successor::Live, "it was but slow");
}

#[test]
fn where_nobody_is_left_to_deliver_is_found_with_the_dead() {
    let lost = |process: &mut Process, mut new: Registration| {
        let mut orphaned = Vec::new();
        process.tick(&mut new, Held::NOTHING);
        for _ in 0..LOOKS {
            process.now += BEAT;
            assert_eq!(orphaned, [], "too early");
            orphaned.extend(process.tick(&mut new, Held::NOTHING).orphaned);
        }
        orphaned
    };
    let mut process = Process::new();
    process.tick(&mut registration(1), Held::NOTHING);
    let new = process.enter(Registration::new(2, ELSEWHERE, START));
    assert_eq!(lost(&mut process, new), [HERE], "also if the dead one held nothing");
    let new = process.enter(registration(3));
    assert_eq!(lost(&mut process, new), [ELSEWHERE]);
    let new = process.enter(registration(4));
    assert_eq!(lost(&mut process, new), [], "the new one delivers there itself");
}

#[test]
fn an_entry_is_renewed_each_second() {
    let mut process = Process::new();
    let mut one = process.enter(registration(1));
    assert!(one.is_due(Held::NOTHING, process.now), "whoever is new writes at once");
    process.tick(&mut one, Held::NOTHING);
    assert!(!one.is_due(Held::NOTHING, process.now), "the same, and written just now");
    assert!(!one.is_due(Held::NOTHING, process.now + BEAT / 2), "not yet");
    assert!(one.is_due(Held::NOTHING, process.now + BEAT), "a second later");
    assert!(one.is_due(held(0, 2, 0), process.now), "it holds more");
    let before = process.table.clone();
    process.now += BEAT;
    process.tick(&mut one, Held::NOTHING);
    assert_ne!(process.table, before, "others can see it");
}

#[test]
fn the_table_is_written_where_something_has_changed() {
    let mut process = Process::new();
    process.tick(&mut registration(1), held(0, 7, 0));
    let mut own = process.enter(registration(2));
    for look in 0..LOOKS {
        assert_eq!(process.tick(&mut own, held(0, look, 0)), Findings::default(), "{look}");
        let again = own.update(&process.table, held(0, look, 0), process.now, process.unix());
        assert_eq!(again.findings, Findings::default(), "it finds itself");
        assert!(again.table.is_none(), "nothing has changed");
        // Between two looks it holds more, so that it writes then, and does not with the look.
        process.now += BEAT / 2;
        process.tick(&mut own, held(0, look + 1, 0));
        process.now += BEAT / 2;
    }
    let last = own.update(&process.table, held(0, LOOKS, 0), process.now, process.unix());
    assert_eq!(last.findings.lost, [held(0, 7, 0)]);
    assert!(last.table.is_some(), "who is dead is taken out, though nothing else has changed");
}

#[test]
fn what_nobody_renews_is_counted_once_by_those_that_are_new() {
    let mut process = Process::new();
    let mut living = process.enter(registration(1));
    process.tick(&mut living, held(0, 7, 0));
    process.tick(&mut registration(2), held(1, 2, 4));
    process.tick(&mut registration(3), Held::NOTHING);
    let mut new = [process.enter(registration(4)), process.enter(registration(5))];
    let mut lost = Vec::new();
    for second in 0..=LOOKS {
        assert!(lost.is_empty(), "too early: {second}");
        process.tick(&mut living, held(0, 7, 0));
        for registration in &mut new {
            lost.extend(process.tick(registration, Held::NOTHING).lost);
        }
        process.now += BEAT;
    }
    assert_eq!(lost, [held(1, 2, 4)], "by one of them, and nothing of who held nothing");
    assert_eq!(process.held().len(), 3, "the others live");
}

#[test]
fn a_vm_that_the_host_threw_away_is_soon_forgotten() {
    let mut process = Process::new();
    let ghost = process.enter(registration(1));
    let mut own = registration(2);
    process.tick(&mut own, Held::NOTHING);
    let cases = [(0, Successor::New), (999, Successor::New), (1000, Successor::None)];
    for (later, expected) in cases {
        process.now = Duration::from_millis(later);
        assert_eq!(process.successor(&own), expected, "{later} ms later");
    }
    let before = own.successor(&process.table, UnixTime(0));
    assert_eq!(before, Successor::New, "a clock that was set back");
    process.tick(&mut ghost.clone(), Held::NOTHING);
    assert_eq!(process.successor(&own), Successor::Live, "it was none");
}

#[test]
fn vms_that_the_host_threw_away_don_t_pile_up() {
    let mut process = Process::new();
    let mut living = process.enter(registration(1));
    process.tick(&mut living, held(0, 1, 0));
    for reload in 0..100 {
        process.now += NEW;
        process.enter(Registration::new(1000 + reload, HERE, process.unix()));
        let new = process.enter(Registration::new(2000 + reload, HERE, process.unix()));
        let findings = process.tick(&mut new.clone(), Held::NOTHING);
        assert_eq!(findings, Findings::default(), "they held nothing");
        process.leave(&new);
        process.tick(&mut living, held(0, 1, 0));
        assert_eq!(process.held().len(), 2, "the one that lives, and the one just tried: {reload}");
    }
    process.now += NEW;
    let mut other = Registration::new(3000, ELSEWHERE, process.unix());
    process.leave(&living);
    assert_eq!(process.tick(&mut other, Held::NOTHING).orphaned, [HERE], "what was left to it");
}

#[test]
fn a_watch_ends_when_all_have_moved() {
    let mut process = Process::new();
    let mut living = process.enter(registration(1));
    process.tick(&mut living, held(0, 7, 0));
    let mut new = process.enter(registration(2));
    process.tick(&mut new, Held::NOTHING);
    assert!(matches!(new.watch, Watch::Watching { .. }), "one was there before");
    process.now += BEAT;
    process.tick(&mut living, held(0, 7, 0));
    process.tick(&mut new, Held::NOTHING);
    assert!(matches!(new.watch, Watch::Done), "an entry was renewed: nobody is dead");
}

#[test]
fn a_process_that_was_stopped_finds_nobody_dead() {
    let mut process = Process::new();
    let mut living = process.enter(registration(1));
    process.tick(&mut living, held(0, 7, 0));
    let mut new = process.enter(registration(2));
    process.tick(&mut new, Held::NOTHING);
    process.now += BEAT * LOOKS * 100;
    let findings = process.tick(&mut new, Held::NOTHING);
    assert_eq!(findings, Findings::default(), "one look is not enough, however late it comes");
}

#[test]
fn who_was_taken_for_dead_says_what_it_has() {
    let mut process = Process::new();
    let mut slow = process.enter(registration(1));
    process.tick(&mut slow, held(1, 2, 4));
    let mut new = process.enter(registration(2));
    for _ in 0..=LOOKS {
        process.tick(&mut new, Held::NOTHING);
        process.now += BEAT;
    }
    assert_eq!(process.held(), [Held::NOTHING], "it was taken out");
    let findings = process.tick(&mut slow, held(0, 3, 4));
    assert_eq!(findings.regained, Some(held(1, 2, 4)), "what the gauges lack");
    assert!(process.held().contains(&held(0, 3, 4)), "it is there again");
}

proptest! {
    #[test]
    fn entries_round_trip(
        entries in proptest::collection::vec(any::<(u64, [u8; 16], u64, bool, [u32; 4])>(), 0..5),
        rest in proptest::collection::vec(any::<u8>(), 0..ENTRY),
    ) {
        let entry = |(owner, destination, time, serves, numbers): (u64, [u8; 16], u64, bool, [u32; 4])| {
            let [beat, open, queued, in_flight] = numbers;
            let destination = Destination::from_bytes(destination);
            let renewed_at = UnixTime(time);
            let standing = if serves { Standing::Serves } else { Standing::Leaving };
            let held = Held { open, queued, in_flight };
            Entry { owner, destination, renewed_at, beat, standing, held }
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
        let update = registration(1).update(&table, held(0, 1, 0), now, START);
let after = read(&update.table.unwrap_or_default());
        let mut others = read(&table);
        others.retain(|it| it.owner != 1 && it.beat > 0);
        prop_assert!(others.iter().all(|it| after.contains(it)), "at first sight nobody is dead");
    }
}
