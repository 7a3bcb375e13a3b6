//! What outlives a VM: the host's queues and data, which all VMs of one `vm_id` share as long as one of them lives.
//!
//! It moves bytes; what they mean is the business of those who ask.

use super::{abi, returned};
use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

/// A queue of the process, for all VMs with this one's `vm_id`. It lasts as long as one of them does.
#[derive(Debug)]
pub struct SharedQueue(u32);

/// The host does not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

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
    pub fn push(&self, message: &[u8]) -> Result<(), Refused> {
        // SAFETY: the message is a valid slice.
        let status =
            unsafe { abi::proxy_enqueue_shared_queue(self.0, message.as_ptr(), message.len()) };
        if status == Status::Ok as u32 { Ok(()) } else { Err(Refused) }
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

/// Which of its values a key had when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(u32);

impl Stamp {
    /// Of a key without a value. No value has this number: who expects it can only write what is not there.
    pub const NO_VALUE: Self = Self(u32::MAX);
}

/// Another VM has written in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken;

/// The value of a key, if it has one.
#[must_use]
pub fn read(key: &str) -> (Option<Vec<u8>>, Stamp) {
    let (value, stamp) = hostcalls::get_shared_data(key).unwrap_or_default();
    (value, stamp.map_or(Stamp::NO_VALUE, Stamp))
}

/// Writes a value, whatever is there. That a host may refuse it does not matter to those who ask for this.
pub fn write(key: &str, value: &[u8]) {
    let _ = hostcalls::set_shared_data(key, Some(value), None);
}

/// Writes a value in the place of the one that was read.
///
/// # Errors
/// It is not there any more.
pub fn replace(key: &str, value: &[u8], stamp: Stamp) -> Result<(), Overtaken> {
    hostcalls::set_shared_data(key, Some(value), Some(stamp.0)).map_err(|_| Overtaken)
}
