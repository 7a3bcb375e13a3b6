//! What happens when filters come, go and crash: nothing is lost that somebody could still deliver, and what is lost is counted.
//!
//! It makes no host call: where messages and tables are kept between VMs is the host's affair.

pub mod crash;
pub mod handover;
pub mod successor;
