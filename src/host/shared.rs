//! What outlives a VM: the host's queues and data, which all VMs of one `vm_id` share as long as one of them lives.
//!
//! It moves bytes; what they mean is the business of those who ask.

use super::{abi, returned};
use crate::handover::NotLeft;
use crate::succession::VmKind;
use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

/// A queue of the process, for all VMs with this one's `vm_id`. It lasts as long as one of them does.
#[derive(Debug)]
pub struct SharedQueue(u32);

impl SharedQueue {
    /// Opens the queue of this name; what is in it stays. None if the host has no queues.
    #[must_use]
    pub fn open(name: &str) -> Option<Self> {
        let mut id = 0;
        // SAFETY: the name is a valid slice; the host writes one number.
        let status =
            unsafe { abi::proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut id) };
        (status == Status::Ok as u32).then_some(Self(id))
    }

    /// Appends a message.
    ///
    /// # Errors
    /// The host does not take it.
    pub fn push(&self, message: &[u8]) -> Result<(), NotLeft> {
        // SAFETY: the message is a valid slice.
        let status =
            unsafe { abi::proxy_enqueue_shared_queue(self.0, message.as_ptr(), message.len()) };
        if status == Status::Ok as u32 { Ok(()) } else { Err(NotLeft) }
    }

    /// Takes the oldest message; nobody else gets it. Costs little if there is none.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        returned(|data, size| {
            // SAFETY: the host writes one pointer and one length.
            unsafe { abi::proxy_dequeue_shared_queue(self.0, data, size) }
        })
    }
}

/// Notes in which kind of VM a filter of this name was configured last, for all VMs of one `vm_id`.
pub fn note_kind(name: &str, kind: VmKind) {
    // Without a stamp that is expected, the last one to write wins.
    let value = kind.0.to_le_bytes();
    let result = hostcalls::set_shared_data(&kind_key(name), Some(&value), None);
    debug_assert!(result.is_ok(), "no stamp is expected");
}

/// In which kind of VM a filter of this name was configured last, if that is known.
#[must_use]
pub fn latest_kind(name: &str) -> Option<VmKind> {
    let (value, _) = hostcalls::get_shared_data(&kind_key(name)).ok()?;
    Some(VmKind(u64::from_le_bytes(*value?.first_chunk()?)))
}

fn kind_key(name: &str) -> String {
    format!("otel-proxy-wasm.vm_kind.{name}")
}

/// Where all VMs of one `vm_id` keep who holds how many spans.
const LEDGER: &str = "otel-proxy-wasm.held.1";

/// The stamp of a table that the host gave.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(u32);

/// Another VM has written in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken;

/// The ledger's table, empty if there is none yet.
#[must_use]
pub fn read_ledger() -> (Vec<u8>, Stamp) {
    let (table, stamp) = hostcalls::get_shared_data(LEDGER).unwrap_or_default();
    (table.unwrap_or_default(), Stamp(stamp.unwrap_or(NO_STAMP)))
}

/// Writes the ledger's table.
///
/// # Errors
/// It is not the table any more that was read.
pub fn write_ledger(table: &[u8], stamp: Stamp) -> Result<(), Overtaken> {
    hostcalls::set_shared_data(LEDGER, Some(table), Some(stamp.0)).map_err(|_| Overtaken)
}

/// A stamp that no value has: who expects it can only write what is not there.
const NO_STAMP: u32 = u32::MAX;

/// An identifier of this process, the same for all its workers and across reloads: the first
/// proposal that was made.
#[must_use]
pub fn agree_on_instance(proposal: &str) -> String {
    const KEY: &str = "otel-proxy-wasm.service.instance.id";
    let agreed = || {
        let (value, _) = hostcalls::get_shared_data(KEY).ok()?;
        String::from_utf8(value?).ok()
    };
    agreed().unwrap_or_else(|| {
        // Only the first of several workers succeeds.
        match hostcalls::set_shared_data(KEY, Some(proposal.as_bytes()), Some(NO_STAMP)) {
            Ok(()) => proposal.to_owned(),
            Err(_) => agreed().unwrap_or_else(|| proposal.to_owned()),
        }
    })
}
