//! OpenTelemetry tracing for Envoy and Istio as one WebAssembly HTTP filter.
//!
//! The way of a request, in one direction:
//!
//! ```text
//!  request headers        the end               every tick
//!        |                   |                       |
//!     filter -------------------------------------------------- callbacks in, host calls out
//!        |                   |                       |
//!     tracer: start          end                     poll_export, handle_answer
//!        |                   |                       |
//!   probe                 semconv                  export
//!   propagation           otlp -> batch -----------> |
//!   sampling                                       cluster of the collector
//! ```
//!
//! A request never waits for telemetry and never fails because of it. Only [`filter`] and [`host`]
//! know the proxy-wasm SDK, and only [`filter`] uses [`host`]; everything else is plain Rust that reads no clock and runs anywhere.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    clippy::todo,
    clippy::unimplemented,
    clippy::dbg_macro,
    clippy::disallowed_methods
)]

pub mod batch;
pub mod config;
pub mod context;
pub mod envoy;
pub mod export;
pub mod filter;
pub mod host;
pub mod id;
pub mod json;
pub mod lifecycle;
pub mod otlp;
pub mod outcome;
pub mod probe;
pub mod propagation;
pub mod resource;
pub mod sampling;
pub mod semconv;
pub mod shown;
pub mod span;
pub mod stats;
pub mod tracer;
pub mod trust;

mod entry {
    use crate::filter::Filters;

    proxy_wasm::main! {{
        proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
        proxy_wasm::set_root_context(|id| Box::new(crate::filter::Root::new(id, filters())));
    }}

    /// The filters of this VM. The SDK takes a function, which can't own anything: here is where they are kept.
    fn filters() -> Filters {
        thread_local! {
            static FILTERS: Filters = Filters::default();
        }
        FILTERS.with(Filters::clone)
    }
}
