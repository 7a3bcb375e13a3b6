//! Crash accounting: who holds how many spans, written down where a crash of a VM does not reach: so that what a VM took along is counted.
//!
//! All filters of a process with the same `vm_id` share one table; the host keeps it. One that holds spans keeps its entry
//! up to date, and renews it while nothing changes. After a crash the host starts another VM: whoever is new looks
//! for entries that nobody renews, takes them out, and counts their spans. It reads no clock and makes no host call.

use crate::stats::Held;
use std::time::Duration;

/// How often an entry is renewed, and how often it is looked at whether it was.
const BEAT: Duration = Duration::from_secs(1);
/// How many looks in a row find the same entry before its filter is taken for dead. Looks, not time: a process that was
/// stopped finds the others as they were.
const LOOKS: u32 = 30;
/// Owner, beat, spans that are open, queued and in flight: little-endian.
const ENTRY: usize = 8 + 4 * 4;

/// One filter's part in the table.
#[derive(Clone, Debug)]
pub struct CrashAccounting {
    owner: u64,
    /// What it has written last, when, and how often before.
    written: Held,
    written_at: Duration,
    beat: u32,
    watch: Watch,
}

/// What a new filter does about those that were there before.
#[derive(Clone, Debug)]
enum Watch {
    /// It has not looked yet.
    Due,
    /// These were found unchanged so often.
    Watching { suspects: Vec<Entry>, looks: u32, looked_at: Duration },
    /// All have changed or were taken out.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    owner: u64,
    beat: u32,
    held: Held,
}

/// What is to be done with the table.
#[derive(Debug)]
pub struct Update {
    /// What to write, if the host still has the table that was read.
    pub table: Option<Vec<u8>>,
    /// What it has found, once that is written.
    pub findings: Findings,
    /// The accounting once that is written.
    pub accounting: CrashAccounting,
}

/// What the table says that a filter could not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What filters held that are no more.
    pub lost: Vec<Held>,
    /// What another filter has counted as lost though this one has it: this one stood still for that long.
    pub regained: Option<Held>,
}

impl CrashAccounting {
    /// That of a filter that is new and holds nothing. `owner` is a random number.
    #[must_use]
    pub fn new(owner: u64) -> Self {
        let watch = Watch::Due;
        Self { owner, written: Held::NOTHING, written_at: Duration::ZERO, beat: 0, watch }
    }

    /// Whether the table is to be looked at, by a filter that holds this. `now` is the time since any fixed moment.
    #[must_use]
    pub fn is_due(&self, held: Held, now: Duration) -> bool {
        held != self.written || self.renews(now) || self.looks(now)
    }

    fn renews(&self, now: Duration) -> bool {
        self.written != Held::NOTHING && now >= self.written_at + BEAT
    }

    fn looks(&self, now: Duration) -> bool {
        match self.watch {
            Watch::Due => true,
            Watch::Watching { looked_at, .. } => now >= looked_at + BEAT,
            Watch::Done => false,
        }
    }

    /// What is to be done with the table as the host has it, by a filter that holds this.
    #[must_use]
    pub fn update(&self, table: &[u8], held: Held, now: Duration) -> Update {
        let mut entries = read(table);
        let mut accounting = self.clone();
        let dead = if self.looks(now) { accounting.look(&entries, now) } else { Vec::new() };
        entries.retain(|entry| !dead.contains(entry));
        let lost = dead.iter().map(|entry| entry.held).collect();

        let place = entries.iter().position(|entry| entry.owner == self.owner);
        let own = place.map(|place| entries.swap_remove(place));
        let is_gone = own.is_none() && self.written != Held::NOTHING;
        let regained = is_gone.then_some(self.written);
        let writes = held != self.written || self.renews(now) || is_gone;
        if writes {
            accounting.written = held;
            accounting.written_at = now;
            accounting.beat = self.beat.wrapping_add(1);
        }
        if held != Held::NOTHING {
            entries.push(Entry {
                owner: self.owner,
                beat: accounting.beat,
                held: accounting.written,
            });
        }
        let table = (writes || !dead.is_empty()).then(|| write(&entries));
        Update { table, findings: Findings { lost, regained }, accounting }
    }

    /// Looks at what others hold, and gives those that are dead.
    fn look(&mut self, entries: &[Entry], now: Duration) -> Vec<Entry> {
        let (suspects, looks) = match std::mem::replace(&mut self.watch, Watch::Done) {
            Watch::Due => {
                (entries.iter().filter(|it| it.owner != self.owner).copied().collect(), 0)
            }
            Watch::Watching { mut suspects, looks, .. } => {
                suspects.retain(|suspect| entries.contains(suspect));
                (suspects, looks + 1)
            }
            Watch::Done => return Vec::new(),
        };
        if looks >= LOOKS {
            return suspects;
        }
        if !suspects.is_empty() {
            self.watch = Watch::Watching { suspects, looks, looked_at: now };
        }
        Vec::new()
    }
}

fn read(table: &[u8]) -> Vec<Entry> {
    let (entries, _) = table.as_chunks::<ENTRY>();
    entries.iter().map(Entry::read).collect()
}

fn write(entries: &[Entry]) -> Vec<u8> {
    entries.iter().flat_map(Entry::bytes).collect()
}

impl Entry {
    fn read(bytes: &[u8; ENTRY]) -> Self {
        let (owner, numbers) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (numbers, _) = numbers.as_chunks();
        let mut numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            owner: u64::from_le_bytes(*owner),
            beat: next(),
            held: Held { open: next(), queued: next(), in_flight: next() },
        }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + use<> {
        let Held { open, queued, in_flight } = self.held;
        let numbers = [self.beat, open, queued, in_flight];
        self.owner.to_le_bytes().into_iter().chain(numbers.into_iter().flat_map(u32::to_le_bytes))
    }
}

#[cfg(test)]
mod tests;
