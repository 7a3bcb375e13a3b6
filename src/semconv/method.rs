//! The method: known ones as they are, others as `_OTHER` with the original beside.

use super::http::{REQUEST_METHOD, REQUEST_METHOD_ORIGINAL};
use crate::otlp::attributes::Attributes;
use std::borrow::Cow;

/// The methods that are known unless the configuration says otherwise: RFC 9110, PATCH of RFC 5789
/// and QUERY.
pub const KNOWN_METHODS: &[&str] =
    &["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY"];

/// Writes the method's attributes and returns the span's name (HTTP spans, sections Name and
/// `http.request.method`): case matters.
pub(super) fn write<'a>(
    method: &'a [u8],
    known: &[String],
    attributes: &mut Attributes,
) -> Cow<'a, str> {
    if known.iter().any(|name| name.as_bytes() == method) {
        attributes.string(REQUEST_METHOD, method);
        String::from_utf8_lossy(method)
    } else {
        attributes.string(REQUEST_METHOD, b"_OTHER");
        super::put(attributes, REQUEST_METHOD_ORIGINAL, method);
        Cow::Borrowed("HTTP")
    }
}
