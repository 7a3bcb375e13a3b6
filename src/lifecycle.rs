//! What happens when filters come, go and crash: nothing is lost that somebody could still deliver, nothing reaches another
//! collector, and what is lost is counted.
//!
//! It makes no host call: where messages and tables are kept between VMs is the host's affair.

pub mod departure;
pub mod destination;
pub mod handover;
pub mod registry;
