//! The one room that turns host calls, attributes and statuses into our types.
//!
//! It decides nothing. Calls that return data are declared here instead of taken from the SDK: the
//! SDK copies each header into strings of its own, and panics on statuses that it does not expect.

pub mod outcome;
pub mod shared;
pub mod wire;

use crate::export::ExportCall;
use crate::export::answer::Failure;
use crate::resource::Node;
use crate::stats::{Metric, MetricKind};
use outcome::{ATTRIBUTES, OutcomeValues};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use std::time::Duration;
use wire::HeaderMap;

/// Whether a request header is there. Costs little if it is not.
#[must_use]
pub fn has_request_header(name: &str) -> bool {
    header(MapType::HttpRequestHeaders, name).is_some()
}

/// The request's headers: while it starts, or in the access log's callback.
#[must_use]
pub fn request_headers() -> HeaderMap {
    header_map(MapType::HttpRequestHeaders)
}

/// The response's headers, in their callback.
#[must_use]
pub fn response_headers() -> HeaderMap {
    header_map(MapType::HttpResponseHeaders)
}

/// `grpc-status` of a response that has no trailers, in the callback of its headers.
#[must_use]
pub fn grpc_status_of_headers() -> Option<Vec<u8>> {
    header(MapType::HttpResponseHeaders, "grpc-status")
}

/// `grpc-status`, in the callback of the response's trailers.
#[must_use]
pub fn grpc_status_of_trailers() -> Option<Vec<u8>> {
    header(MapType::HttpResponseTrailers, "grpc-status")
}

/// Adds a request header that is not there, in the callback of the request's headers.
pub fn add_request_header(name: &str, value: &[u8]) {
    let result = hostcalls::add_map_value_bytes(MapType::HttpRequestHeaders, name, value);
    debug_assert!(result.is_ok(), "a request has headers while it starts");
}

/// Sets a request header, in the callback of the request's headers.
pub fn set_request_header(name: &str, value: &[u8]) {
    let result = hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value));
    debug_assert!(result.is_ok(), "a request has headers while it starts");
}

/// Removes a request header, in the callback of the request's headers.
pub fn remove_request_header(name: &str) {
    let result = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
    debug_assert!(result.is_ok(), "a request has headers while it starts");
}

/// What this Envoy says of itself.
#[must_use]
pub fn node() -> Node {
    Node::read(|path| {
        let value = property(path.join("\0").as_bytes())?;
        String::from_utf8(value).ok().filter(|value| !value.is_empty())
    })
}

/// Reads outcomes: all attributes in one CEL expression where the host has that, else one by one.
#[derive(Debug)]
pub struct OutcomeReader {
    expression: Option<[u8; 4]>,
}

impl OutcomeReader {
    /// Prepares the expression. For the root context: its streams share it.
    #[must_use]
    pub fn new() -> Self {
        let expression = format!("[{}]", ATTRIBUTES.join(", "));
        let token = foreign_function("expr_create", expression.as_bytes());
        Self { expression: token.and_then(|token| token.first_chunk().copied()) }
    }

    /// The attributes' values, when the request has ended.
    #[must_use]
    pub fn read(&self) -> OutcomeValues {
        let list = self.expression.and_then(|token| foreign_function("expr_evaluate", &token));
        list.map_or_else(single_values, OutcomeValues::List)
    }
}

impl Default for OutcomeReader {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for OutcomeReader {
    fn drop(&mut self) {
        if let Some(token) = self.expression {
            foreign_function("expr_delete", &token);
        }
    }
}

fn single_values() -> OutcomeValues {
    let value = |name: &&str| property(name.replace('.', "\0").as_bytes()).unwrap_or_default();
    OutcomeValues::Single(ATTRIBUTES.iter().map(value).collect())
}

/// Sets when, and how often from then on, the root context is called back: the current one, or that of
/// the current stream.
pub fn set_tick_period(period: Duration) {
    let result = hostcalls::set_tick_period(period);
    debug_assert!(result.is_ok(), "a root context has a tick");
}

/// Makes an export call and gives its name. For the root context only: an answer is given to the
/// context that called, if that still exists.
///
/// # Errors
/// The host knows no such cluster, or none of its hosts can be called.
pub fn call(call: &ExportCall<'_>) -> Result<u32, Failure> {
    let headers = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers = headers.collect();
    hostcalls::dispatch_http_call(
        call.cluster,
        headers,
        Some(call.body.bytes),
        Vec::new(),
        call.timeout,
    )
    .map_err(|status| match status {
        Status::BadArgument => Failure::NoCluster,
        _ => Failure::NoUpstream,
    })
}

/// The status code of an export call's answer, in its callback; zero if there is none.
#[must_use]
pub fn answer_status() -> u16 {
    let status = header(MapType::HttpCallResponseHeaders, ":status").unwrap_or_default();
    std::str::from_utf8(&status).ok().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// `Retry-After` of an export call's answer, in its callback; empty if it has none.
#[must_use]
pub fn answer_retry_after() -> Vec<u8> {
    header(MapType::HttpCallResponseHeaders, "retry-after").unwrap_or_default()
}

/// How the gRPC call ended that an export call's answer is about, in its callback: its status code, and the value of
/// `grpc-status-details-bin`. They are trailers, or headers of an answer that has nothing else. None if it does not say.
#[must_use]
pub fn answer_grpc_status() -> Option<(u32, Vec<u8>)> {
    let places = [MapType::HttpCallResponseTrailers, MapType::HttpCallResponseHeaders];
    let (place, code) = places.into_iter().find_map(|place| {
        let digits = header(place, "grpc-status")?;
        Some((place, std::str::from_utf8(&digits).ok()?.parse().ok()?))
    })?;
    let details = if code == 0 { None } else { header(place, "grpc-status-details-bin") };
    Some((code, details.unwrap_or_default()))
}

/// The body of an export call's answer, in its callback.
#[must_use]
pub fn answer_body(size: usize) -> Vec<u8> {
    let body = returned(|data, returned_size| {
        // SAFETY: the host writes one pointer and one length.
        unsafe {
            let buffer = BufferType::HttpCallResponseBody;
            abi::proxy_get_buffer_bytes(buffer, 0, size, data, returned_size)
        }
    });
    body.unwrap_or_default()
}

/// The host's names for our metrics.
#[derive(Debug)]
pub struct Metrics(Vec<(Metric, u32)>);

impl Metrics {
    /// Defines all metrics; one that the host refuses is not counted.
    #[must_use]
    pub fn define() -> Self {
        let define = |metric: &Metric| {
            let kind = match metric.kind() {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
            };
            Some((*metric, hostcalls::define_metric(kind, metric.name()).ok()?))
        };
        Self(Metric::ALL.iter().filter_map(define).collect())
    }

    /// Adds changes to the host's values.
    pub fn record(&self, changes: impl Iterator<Item = (Metric, i64)>) {
        for (metric, change) in changes {
            if let Some((_, id)) = self.0.iter().find(|(known, _)| *known == metric) {
                let result = hostcalls::increment_metric(*id, change);
                debug_assert!(result.is_ok(), "the metric was defined");
            }
        }
    }
}

/// The name that the plugin has in the host's configuration.
#[must_use]
pub fn plugin_name() -> String {
    property(b"plugin_name").and_then(|name| String::from_utf8(name).ok()).unwrap_or_default()
}

/// Which build this is: the build writes a digest of the module into the module.
#[must_use]
pub fn build_id() -> [u8; 48] {
    #[used]
    static BUILD_ID: [u8; 48] = *b"otel-proxy-wasm.build_id:                       ";
    // SAFETY: it is a static. Read so that the compiler does not take what stands here for what will be there.
    unsafe { std::ptr::read_volatile(&raw const BUILD_ID) }
}

/// Tells the host that the root context of the current callback, which `on_done` has kept, can go.
pub fn done() {
    // SAFETY: it takes nothing.
    let status = unsafe { abi::proxy_done() };
    debug_assert_eq!(status, Status::Ok as u32, "the host waits for it");
}

fn property(path: &[u8]) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: the path is a valid slice; the host writes one pointer and one length.
        unsafe { abi::proxy_get_property(path.as_ptr(), path.len(), data, size) }
    })
}

fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: the name is a valid slice; the host writes one pointer and one length.
        unsafe { abi::proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size) }
    })
}

fn header_map(map: MapType) -> HeaderMap {
    let pairs = returned(|data, size| {
        // SAFETY: the host writes one pointer and one length.
        unsafe { abi::proxy_get_header_map_pairs(map, data, size) }
    });
    HeaderMap::new(pairs.unwrap_or_default())
}

fn foreign_function(name: &str, argument: &[u8]) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: name and argument are valid slices; the host writes one pointer and one length.
        unsafe {
            abi::proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                size,
            )
        }
    })
}

/// The data that a host call returns; `None` for any status but success. A success without data is
/// empty.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    if call(&raw mut data, &raw mut size) != Status::Ok as u32 {
        return None;
    }
    if data.is_null() {
        return Some(Vec::new());
    }
    // SAFETY: the host got `data` from our allocator, as a boxed slice of `size` bytes that it has
    // filled, and has handed it over.
    let slice = unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)) };
    Some(slice.into_vec())
}

/// proxy-wasm ABI 0.2.1: the calls that return data, and those with statuses that the SDK takes for impossible.
mod abi {
    use proxy_wasm::types::{BufferType, MapType};

    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_get_property(
            path_data: *const u8,
            path_size: usize,
            return_data: *mut *mut u8,
            return_size: *mut usize,
        ) -> u32;

        pub(super) fn proxy_get_header_map_value(
            map_type: MapType,
            key_data: *const u8,
            key_size: usize,
            return_data: *mut *mut u8,
            return_size: *mut usize,
        ) -> u32;

        pub(super) fn proxy_get_header_map_pairs(
            map_type: MapType,
            return_data: *mut *mut u8,
            return_size: *mut usize,
        ) -> u32;

        pub(super) fn proxy_get_buffer_bytes(
            buffer_type: BufferType,
            start: usize,
            max_size: usize,
            return_data: *mut *mut u8,
            return_size: *mut usize,
        ) -> u32;

        pub(super) fn proxy_register_shared_queue(
            name_data: *const u8,
            name_size: usize,
            return_id: *mut u32,
        ) -> u32;

        pub(super) fn proxy_enqueue_shared_queue(
            queue_id: u32,
            value_data: *const u8,
            value_size: usize,
        ) -> u32;

        pub(super) fn proxy_dequeue_shared_queue(
            queue_id: u32,
            return_data: *mut *mut u8,
            return_size: *mut usize,
        ) -> u32;

        pub(super) fn proxy_done() -> u32;

        pub(super) fn proxy_call_foreign_function(
            name_data: *const u8,
            name_size: usize,
            argument_data: *const u8,
            argument_size: usize,
            return_data: *mut *mut u8,
            return_size: *mut usize,
        ) -> u32;
    }
}
