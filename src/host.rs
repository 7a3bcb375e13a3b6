//! The host's calls, declared and nothing else: bytes in, bytes out, a status as an error of its own.
//!
//! It decides nothing and knows none of our types. Calls that return data are declared here instead of taken from the SDK: the
//! SDK copies each header into strings of its own, and panics on statuses that it does not expect.

pub mod shared;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use std::time::Duration;

/// Headers of the current request, each in its own callback; the request's in the access log's, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// The request's.
    Request,
    /// The response's.
    Response,
    /// The response's trailers.
    Trailers,
}

impl From<Map> for MapType {
    fn from(map: Map) -> Self {
        match map {
            Map::Request => Self::HttpRequestHeaders,
            Map::Response => Self::HttpResponseHeaders,
            Map::Trailers => Self::HttpResponseTrailers,
        }
    }
}

/// The first value of a header. Costs little if it is not there.
#[must_use]
pub fn first_header(map: Map, name: &str) -> Option<Vec<u8>> {
    header(map.into(), name)
}

/// All headers, in the layout of a header map.
#[must_use]
pub fn headers(map: Map) -> Vec<u8> {
    let pairs = returned(|data, size| {
        // SAFETY: the host writes one pointer and one length.
        unsafe { abi::proxy_get_header_map_pairs(map.into(), data, size) }
    });
    pairs.unwrap_or_default()
}

/// Adds a header.
pub fn add_header(map: Map, name: &str, value: &[u8]) {
    let result = hostcalls::add_map_value_bytes(map.into(), name, value);
    debug_assert!(result.is_ok(), "there are headers in their callback");
}

/// Sets a header.
pub fn set_header(map: Map, name: &str, value: &[u8]) {
    let result = hostcalls::set_map_value_bytes(map.into(), name, Some(value));
    debug_assert!(result.is_ok(), "there are headers in their callback");
}

/// Removes a header.
pub fn remove_header(map: Map, name: &str) {
    let result = hostcalls::remove_map_value(map.into(), name);
    debug_assert!(result.is_ok(), "there are headers in their callback");
}

/// The value of an attribute; its path's parts are joined by NULs.
#[must_use]
pub fn property(path: &[u8]) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: the path is a valid slice; the host writes one pointer and one length.
        unsafe { abi::proxy_get_property(path.as_ptr(), path.len(), data, size) }
    })
}

/// Sets a state of the current request, if the host lets it.
pub fn set_property(name: &str, value: &[u8]) {
    // SAFETY: name and value are valid slices. Any status but success means that nothing was set.
    unsafe { abi::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Has calls ask for another context of this VM from now on, until the callback ends: for a stream's attributes, in a callback of the root.
pub fn act_for(context: u32) {
    // SAFETY: it takes a number. Any status but success means that nothing has changed.
    unsafe { abi::proxy_set_effective_context(context) };
}

/// Calls a function that the host has beyond the ABI, such as `compress`. None if there is no such function, or it fails.
#[expect(clippy::must_use_candidate, reason = "some are called for what they do")]
pub fn foreign_function(name: &str, argument: &[u8]) -> Option<Vec<u8>> {
    returned(|data, size| call_foreign_function(name, argument, data, size))
}

/// The length of what such a function gives, in bytes. It costs less than what it gives: the host need not call back for memory.
#[must_use]
pub fn foreign_function_size(name: &str, argument: &[u8]) -> Option<usize> {
    let mut size = 0;
    let status = call_foreign_function(name, argument, std::ptr::null_mut(), &raw mut size);
    (status == Status::Ok as u32).then_some(size)
}

/// Gives a status. `data` may be null: then the host keeps what the function gives, and tells its length alone.
fn call_foreign_function(name: &str, argument: &[u8], data: *mut *mut u8, size: *mut usize) -> u32 {
    // SAFETY: name and argument are valid slices; the host writes one pointer, if there is a place for it, and one length.
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
}

/// Sets when, and how often from then on, the root context is called back: the current one, or that of
/// the current stream.
pub fn set_tick_period(period: Duration) {
    let result = hostcalls::set_tick_period(period);
    debug_assert!(result.is_ok(), "a root context has a tick");
}

/// Why the host makes no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCalled {
    /// It knows no such cluster.
    NoCluster,
    /// None of the cluster's hosts can be called.
    NoUpstream,
}

/// Calls a cluster by HTTP and gives the call's name. For the root context only: an answer is given to the
/// context that called, if that still exists.
///
/// # Errors
/// The host makes no call.
pub fn call(
    cluster: &str,
    headers: &[(String, String)],
    body: &[u8],
    timeout: Duration,
) -> Result<u32, NotCalled> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let call = hostcalls::dispatch_http_call(cluster, headers, Some(body), Vec::new(), timeout);
    call.map_err(|status| match status {
        Status::BadArgument => NotCalled::NoCluster,
        _ => NotCalled::NoUpstream,
    })
}

/// A header of a call's answer, in its callback, if the answer has headers.
#[must_use]
pub fn answer_header(name: &str) -> Option<Vec<u8>> {
    header(MapType::HttpCallResponseHeaders, name)
}

/// A trailer of a call's answer, in its callback.
#[must_use]
pub fn answer_trailer(name: &str) -> Option<Vec<u8>> {
    header(MapType::HttpCallResponseTrailers, name)
}

/// The body of a call's answer, in its callback, up to a size.
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

/// A counter or a gauge of the host's.
#[derive(Clone, Copy, Debug)]
pub struct MetricId(u32);

/// Defines a counter. None if the host refuses.
#[must_use]
pub fn define_counter(name: &str) -> Option<MetricId> {
    hostcalls::define_metric(MetricType::Counter, name).ok().map(MetricId)
}

/// Defines a gauge. None if the host refuses.
#[must_use]
pub fn define_gauge(name: &str) -> Option<MetricId> {
    hostcalls::define_metric(MetricType::Gauge, name).ok().map(MetricId)
}

/// Adds to a metric; a gauge may shrink.
pub fn increment(metric: MetricId, change: i64) {
    let result = hostcalls::increment_metric(metric.0, change);
    debug_assert!(result.is_ok(), "the metric was defined");
}

/// Tells the host that the root context of the current callback, which `on_done` has kept, can go.
pub fn done() {
    // SAFETY: it takes nothing.
    let status = unsafe { abi::proxy_done() };
    debug_assert_eq!(status, Status::Ok as u32, "the host waits for it");
}

fn header(map: MapType, name: &str) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: the name is a valid slice; the host writes one pointer and one length.
        unsafe { abi::proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size) }
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

        pub(super) fn proxy_set_property(
            path_data: *const u8,
            path_size: usize,
            value_data: *const u8,
            value_size: usize,
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

        pub(super) fn proxy_set_effective_context(context_id: u32) -> u32;

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
