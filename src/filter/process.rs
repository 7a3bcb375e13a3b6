//! What the filters of a process share through the host, beyond the life of a VM.

use crate::host::shared::{self, Overtaken, SharedQueue, Stamp};
use crate::lifecycle::successor::VmKind;

/// Where all VMs of one `vm_id` keep who holds how many spans.
const HELD: &str = "otel-proxy-wasm.held.1";

/// The queue of what filters of this name leave to their successors.
pub(super) fn unsent(name: &str) -> Option<SharedQueue> {
    SharedQueue::open(&format!("otel-proxy-wasm.unsent.{name}"))
}

/// Notes in which kind of VM a filter of this name was configured last.
pub(super) fn note_kind(name: &str, kind: VmKind) {
    shared::write(&kind_key(name), &kind.0.to_le_bytes());
}

/// In which kind of VM a filter of this name was configured last, if that is known.
pub(super) fn latest_kind(name: &str) -> Option<VmKind> {
    let (value, _) = shared::read(&kind_key(name));
    Some(VmKind(u64::from_le_bytes(*value?.first_chunk()?)))
}

fn kind_key(name: &str) -> String {
    format!("otel-proxy-wasm.vm_kind.{name}")
}

/// The table of who holds how many spans, empty if there is none yet.
pub(super) fn read_held() -> (Vec<u8>, Stamp) {
    let (table, stamp) = shared::read(HELD);
    (table.unwrap_or_default(), stamp)
}

/// Writes that table, if it is still the one that was read.
pub(super) fn write_held(table: &[u8], stamp: Stamp) -> Result<(), Overtaken> {
    shared::replace(HELD, table, stamp)
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
