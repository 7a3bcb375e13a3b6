//! Which filters there are in this process, where they deliver, and how many spans each holds: written down where a crash of a VM does not reach.
//!
//! All filters with the same `vm_id` share one table; the host keeps it. Each has an entry from when it is configured until it goes,
//! and renews it each second. So a filter that goes knows whether another one delivers to the same destination; and what a VM took along
//! that crashed is counted: the host starts another VM, and whoever is new looks for entries that nobody renews, takes them out, and
//! counts their spans. It reads no clock and makes no host call.

use super::destination::Destination;
use crate::stats::Held;
use std::time::Duration;

/// How often an entry is renewed, and how often it is looked at whether it was.
const BEAT: Duration = Duration::from_secs(1);
/// How many looks in a row find the same entry before its filter is taken for dead. Looks, not time: a process that was
/// stopped finds the others as they were.
const LOOKS: u32 = 30;
/// How long a filter that has never renewed its entry is taken for one: the host tries a configuration in a VM that it throws away.
const NEW: Duration = Duration::from_secs(1);
/// How long a filter that has renewed its entry is taken to be there: a few beats. Its VM may have crashed since.
const FRESH: Duration = Duration::from_secs(5);
/// Owner, destination, when it was written, then beat, standing, spans that are open, queued and in flight: little-endian.
const ENTRY: usize = 8 + 16 + 8 + 4 * 5;

/// A time that all VMs have in common: since the Unix epoch, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time so long after the Unix epoch.
    #[must_use]
    pub fn new(since_epoch: Duration) -> Self {
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// One filter's part in the table.
#[derive(Clone, Debug)]
pub struct Registration {
    owner: u64,
    destination: Destination,
    standing: Standing,
    /// What it has written last, when, if ever, on its own clock and on everybody's, and how often.
    written: Held,
    written_at: Option<Duration>,
    renewed_at: UnixTime,
    beat: u32,
    watch: Watch,
}

/// How far a filter is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Serves = 0,
    /// It delivers what waits for its destination, until nothing does.
    Leaving = 1,
}

/// Who else delivers to the same destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// A filter that serves.
    Live,
    /// One was configured just now. It may be in a VM in which the host only tries a configuration, and which it throws away.
    New,
    /// Only filters that go as well.
    Leaving,
    /// Nobody.
    None,
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
    destination: Destination,
    renewed_at: UnixTime,
    beat: u32,
    standing: Standing,
    held: Held,
}

/// What is to be done with the table.
#[derive(Debug)]
pub struct Update {
    /// What to write, if the host still has the table that was read.
    pub table: Option<Vec<u8>>,
    /// What it has found, once that is written.
    pub findings: Findings,
    /// The registration once that is written.
    pub registration: Registration,
}

/// What the table says that a filter could not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What filters held that are no more.
    pub lost: Vec<Held>,
    /// Where nobody is left to deliver what those have left.
    pub orphaned: Vec<Destination>,
    /// What another filter has counted as lost though this one has it: this one stood still for that long.
    pub regained: Option<Held>,
}

impl Registration {
    /// That of a filter that is new and holds nothing. `owner` is a random number.
    #[must_use]
    pub fn new(owner: u64, destination: Destination, now: UnixTime) -> Self {
        Self {
            owner,
            destination,
            standing: Standing::Serves,
            written: Held::NOTHING,
            written_at: None,
            renewed_at: now,
            beat: 0,
            watch: Watch::Due,
        }
    }

    /// The table with this filter in it, before its first update.
    #[must_use]
    pub fn enter(&self, table: &[u8]) -> Vec<u8> {
        let mut entries = read(table);
        entries.retain(|entry| entry.owner != self.owner);
        entries.push(self.entry());
        write(&entries)
    }

    /// The table without this filter, and who else delivers to the same destination.
    #[must_use]
    pub fn leave(&self, table: &[u8], now: UnixTime) -> (Vec<u8>, Successor) {
        let mut entries = read(table);
        entries.retain(|entry| entry.owner != self.owner);
        (write(&entries), self.successor(table, now))
    }

    /// Who else delivers to the same destination.
    #[must_use]
    pub fn successor(&self, table: &[u8], now: UnixTime) -> Successor {
        let mut others = read(table);
        others.retain(|it| it.owner != self.owner && it.destination == self.destination);
        others.retain(|it| it.is_there(now));
        let serves = |it: &&Entry| it.standing == Standing::Serves;
        if others.iter().filter(serves).any(|it| it.beat > 0) {
            Successor::Live
        } else if others.iter().any(|it| serves(&it)) {
            Successor::New
        } else if others.is_empty() {
            Successor::None
        } else {
            Successor::Leaving
        }
    }

    /// The same filter, which is nobody's successor any more once that is written.
    #[must_use]
    pub fn leaving(self) -> Self {
        // To be written at once: what is known of it has changed.
        Self { standing: Standing::Leaving, written_at: None, ..self }
    }

    /// Whether the table is to be looked at, by a filter that holds this. `now` is the time since any fixed moment.
    #[must_use]
    pub fn is_due(&self, held: Held, now: Duration) -> bool {
        held != self.written || self.renews(now) || self.looks(now)
    }

    fn renews(&self, now: Duration) -> bool {
        self.written_at.is_none_or(|written_at| now >= written_at + BEAT)
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
    pub fn update(&self, table: &[u8], held: Held, now: Duration, unix: UnixTime) -> Update {
        let mut entries = read(table);
        let mut registration = self.clone();
        let dead =
            if self.looks(now) { registration.look(&entries, now, unix) } else { Vec::new() };
        entries.retain(|entry| !dead.contains(entry));
        let lost = dead.iter().map(|entry| entry.held).filter(|held| *held != Held::NOTHING);

        let place = entries.iter().position(|entry| entry.owner == self.owner);
        let own = place.map(|place| entries.swap_remove(place));
        let is_gone = own.is_none() && self.written != Held::NOTHING;
        let regained = is_gone.then_some(self.written);
        let writes = held != self.written || self.renews(now) || own.is_none();
        if writes {
            registration.written = held;
            registration.written_at = Some(now);
            registration.renewed_at = unix;
            registration.beat = self.beat.wrapping_add(1).max(1);
        }
        entries.push(registration.entry());
        let is_left = |destination| entries.iter().any(|it| it.destination == destination);
        let orphaned = dead.iter().map(|it| it.destination).filter(|it| !is_left(*it));
        let findings = Findings { lost: lost.collect(), orphaned: orphaned.collect(), regained };
        let table = (writes || !dead.is_empty()).then(|| write(&entries));
        Update { table, findings, registration }
    }

    fn entry(&self) -> Entry {
        let Self { owner, destination, renewed_at, beat, standing, written: held, .. } = *self;
        Entry { owner, destination, renewed_at, beat, standing, held }
    }

    /// Looks at what others hold, and gives those that are dead.
    fn look(&mut self, entries: &[Entry], now: Duration, unix: UnixTime) -> Vec<Entry> {
        let mut dead = Vec::new();
        let (suspects, looks) = match std::mem::replace(&mut self.watch, Watch::Done) {
            Watch::Due => {
                let others = entries.iter().filter(|it| it.owner != self.owner).copied();
                // Each new configuration leaves one that was only tried. It holds nothing; should it live, it enters again.
                let (tried, others) = others.partition(|it| it.beat == 0 && !it.is_there(unix));
                dead = tried;
                (others, 0)
            }
            Watch::Watching { mut suspects, looks, .. } => {
                suspects.retain(|suspect| entries.contains(suspect));
                (suspects, looks + 1)
            }
            Watch::Done => return dead,
        };
        if looks >= LOOKS {
            return suspects;
        }
        if !suspects.is_empty() {
            self.watch = Watch::Watching { suspects, looks, looked_at: now };
        }
        dead
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
    /// Whether its filter is there, as far as can be told.
    fn is_there(&self, now: UnixTime) -> bool {
        let within = if self.beat == 0 { NEW } else { FRESH };
        u128::from(now.0.saturating_sub(self.renewed_at.0)) < within.as_millis()
    }

    fn read(bytes: &[u8; ENTRY]) -> Self {
        let (owner, rest) = bytes.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (destination, rest) = rest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let (renewed_at, numbers) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (numbers, _) = numbers.as_chunks();
        let mut numbers = numbers.iter().map(|number| u32::from_le_bytes(*number));
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            owner: u64::from_le_bytes(*owner),
            destination: Destination::from_bytes(*destination),
            renewed_at: UnixTime(u64::from_le_bytes(*renewed_at)),
            beat: next(),
            standing: if next() == Standing::Serves as u32 {
                Standing::Serves
            } else {
                Standing::Leaving
            },
            held: Held { open: next(), queued: next(), in_flight: next() },
        }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + use<> {
        let Held { open, queued, in_flight } = self.held;
        let numbers = [self.beat, self.standing as u32, open, queued, in_flight];
        let owner = self.owner.to_le_bytes().into_iter();
        owner
            .chain(*self.destination.as_bytes())
            .chain(self.renewed_at.0.to_le_bytes())
            .chain(numbers.into_iter().flat_map(u32::to_le_bytes))
    }
}

#[cfg(test)]
mod tests;
