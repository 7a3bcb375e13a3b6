//! What the filters of a process share through the host, beyond the life of a VM.

use crate::host::shared::{self, Overtaken, SharedQueue, Stamp};
use crate::id::TraceId;
use crate::lifecycle::destination::Destination;
use crate::lifecycle::handover::NotTaken;
use crate::probe::BucketName;
use crate::sampling::limit::Bucket;
use std::fmt::Write;
use std::time::Duration;

/// Where all VMs of one `vm_id` keep which filters there are.
const FILTERS: &str = "otel-proxy-wasm.filters.2";

/// How often it is tried to write where other workers write, before it is given up: whenever it fails, another one has succeeded. So
/// this is for a host that never lets it.
const MAX_TRIES: u32 = 10_000;

/// Changes the table of filters: `change` gets it, empty if there is none yet, and gives the new one and what else it found; or no table, if
/// nothing is to be written. It may be asked several times. None if the host does not let it write.
pub(super) fn change_filters<T>(
    mut change: impl FnMut(&[u8]) -> (Option<Vec<u8>>, T),
) -> Option<T> {
    until_written(|| {
        let (table, stamp) = shared::read(FILTERS);
        let (table, found) = change(&table.unwrap_or_default());
        table.map_or(Ok(()), |table| shared::replace(FILTERS, &table, stamp))?;
        Ok(found)
    })
}

/// Tries until nobody was faster.
fn until_written<T>(mut write: impl FnMut() -> Result<T, Overtaken>) -> Option<T> {
    (0..MAX_TRIES).find_map(|_| write().ok())
}

/// The table of filters.
pub(super) fn filters() -> Vec<u8> {
    shared::read(FILTERS).0.unwrap_or_default()
}

/// What filters leave to those with the same destination: messages in a queue of the host, which holds a limited number of bytes.
#[derive(Debug)]
pub(super) struct Unsent {
    queue: Option<SharedQueue>,
    /// Where it is kept how many bytes wait.
    waiting: String,
    max_bytes: u64,
}

impl Unsent {
    /// That of a destination; of all its filters, none adds to more than so many bytes.
    pub(super) fn open(destination: Destination, max_bytes: usize) -> Self {
        let mut name = "otel-proxy-wasm.unsent.".to_owned();
        for byte in destination.as_bytes() {
            let written = write!(name, "{byte:02x}");
            debug_assert!(written.is_ok(), "memory takes what is written");
        }
        let queue = SharedQueue::open(&name);
        Self { queue, waiting: name + ".bytes", max_bytes: max_bytes as u64 }
    }

    /// Leaves a message.
    pub(super) fn push(&self, message: &[u8]) -> Result<(), NotTaken> {
        let queue = self.queue.as_ref().ok_or(NotTaken)?;
        let length = message.len() as u64;
        let add =
            |waiting: u64| waiting.checked_add(length).filter(|waiting| *waiting <= self.max_bytes);
        self.count(add).ok_or(NotTaken)?;
        queue.push(message).map_err(|_| {
            self.count(|waiting| Some(waiting.saturating_sub(length)));
            NotTaken
        })
    }

    /// Takes the oldest message; nobody else gets it. Costs little if there is none.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let message = self.queue.as_ref()?.take()?;
        self.count(|waiting| Some(waiting.saturating_sub(message.len() as u64)));
        Some(message)
    }

    /// Changes how many bytes wait; none if `change` does not want to, or the host does not let it.
    fn count(&self, change: impl Fn(u64) -> Option<u64>) -> Option<()> {
        until_written(|| {
            let (bytes, stamp) = shared::read(&self.waiting);
            let waiting = bytes.as_deref().and_then(<[u8]>::first_chunk);
            let waiting = change(waiting.map_or(0, |bytes| u64::from_le_bytes(*bytes)));
            waiting
                .map(|waiting| shared::replace(&self.waiting, &waiting.to_le_bytes(), stamp))
                .transpose()
        })?
    }
}

/// How many traces that a rule has kept are known at once, at most.
const KEPT_TRACES: u64 = 1 << 14;

/// For how long one is.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// Whether a rule of a filter in this process has kept this trace, within the last minute; `now` is the time since the Unix epoch.
pub(super) fn is_kept_trace(trace_id: TraceId, now: Duration) -> bool {
    let (entry, _) = shared::read(&place_of(trace_id));
    let entry = entry.as_deref().and_then(<[u8]>::split_first_chunk);
    entry.is_some_and(|(id, time)| {
        let time = time.first_chunk().map_or(0, |time| u64::from_le_bytes(*time));
        id == trace_id.as_bytes() && now.as_secs().saturating_sub(time) <= KEPT_FOR.as_secs()
    })
}

/// Notes that a rule has kept this trace. Another one may have to give way.
pub(super) fn note_kept_trace(trace_id: TraceId, now: Duration) {
    let entry = [trace_id.as_bytes().as_slice(), &now.as_secs().to_le_bytes()].concat();
    shared::write(&place_of(trace_id), &entry);
}

/// Takes spans from a bucket that all workers share, as many as there are up to `wanted`; `now` is the time since the Unix epoch. None is
/// there where the host does not let it write.
pub(super) fn take_spans(bucket: BucketName, per_second: u32, wanted: u32, now: Duration) -> u32 {
    let key = format!("otel-proxy-wasm.spans.{bucket:?}.{per_second}");
    let taken = until_written(|| {
        let (bytes, stamp) = shared::read(&key);
        let bucket = Bucket::from_bytes(&bytes.unwrap_or_default());
        let (left, taken) = bucket.take(per_second, wanted, now);
        shared::replace(&key, &left.to_bytes(), stamp)?;
        Ok(taken)
    });
    taken.unwrap_or_default()
}

/// Where it is kept that a trace is.
fn place_of(trace_id: TraceId) -> String {
    format!("otel-proxy-wasm.kept.{:x}", trace_id.randomness() % KEPT_TRACES)
}

/// Whether nobody in this process has said a text. From now on somebody has.
pub(super) fn is_news(text: &str) -> bool {
    shared::replace(&format!("otel-proxy-wasm.said.{text}"), b"!", Stamp::NO_VALUE).is_ok()
}

/// An identifier of this process, the same for all its workers and across reloads: the first
/// proposal that was made.
pub(super) fn agree_on_instance(proposal: &str) -> String {
    const KEY: &str = "otel-proxy-wasm.service.instance.id";
    let agreed = || String::from_utf8(shared::read(KEY).0?).ok();
    agreed().unwrap_or_else(|| {
        // Only the first of several workers succeeds.
        match shared::replace(KEY, proposal.as_bytes(), Stamp::NO_VALUE) {
            Ok(()) => proposal.to_owned(),
            Err(Overtaken) => agreed().unwrap_or_else(|| proposal.to_owned()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_workers_that_write_at_once_each_succeeds() {
        let mut others = 1000;
        let write = || {
            if others == 0 {
                return Ok("written");
            }
            others -= 1;
            Err(Overtaken)
        };
        assert_eq!(until_written(write), Some("written"));
        assert_eq!(until_written(|| Err::<(), _>(Overtaken)), None, "a host that never lets it");
    }
}
