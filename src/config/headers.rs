//! The headers that the exporter sends beside its own: `headers`, `headers_list` and
//! `OTEL_EXPORTER_OTLP_HEADERS`.
//!
//! Their values are often secrets.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::{list, words};

const VARIABLES: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

const PAIRS: &str = "name=value pairs of headers joined by commas, values percent-encoded";

/// Names that the exporter sets itself, and those of the connection, which is Envoy's.
pub(super) const RESERVED: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// The headers, names lowercase: those of `headers` before those of `headers_list`, each name once;
/// the variables' where the document has neither.
#[inline(never)]
pub(super) fn read(
    settings: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let items = settings.take("headers");
    let list = settings.take("headers_list");
    let mut headers = Vec::new();
    let mut listed = None;
    if items.is_none() && list.is_none() {
        listed = variables.read(VARIABLES, PAIRS, pairs);
    }
    if let Some(items) = items {
        for item in items.items()? {
            if let Some(header) = header(&item)? {
                list::add(&mut headers, header);
            }
        }
    }
    if let Some(list) = list {
        listed = Some(pairs(list.text()?).ok_or_else(|| list.refuse(PAIRS))?);
    }
    for header in listed.unwrap_or_default() {
        list::add(&mut headers, header);
    }
    Ok(headers)
}

/// An entry of `headers`; one whose value is `null` is ignored, as the schema says.
#[inline(never)]
fn header(cursor: &Cursor<'_>) -> Result<Option<(String, String)>, ConfigError> {
    let (name, value, ()) = list::entry(cursor, |_| Ok(()))?;
    let name_text = name.text()?;
    let lowercase = name_text.to_ascii_lowercase();
    if is_reserved(&lowercase) {
        return Err(name.refuse(&format!(
            "a header other than {}",
            words::names_joined(&|at| RESERVED.get(at).copied(), ", ")
        )));
    }
    if !is_token(name_text) {
        return Err(name.refuse("the name of a header"));
    }
    if value.is_null() {
        return Ok(None);
    }
    let value_text = value.text()?;
    if !is_value(value_text) {
        return Err(value.refuse("visible ASCII characters, with spaces between them only"));
    }
    Ok(Some((lowercase, value_text.to_owned())))
}

/// A list of headers, if every one is good.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = list::pairs(list).ok()?;
    for (name, value) in &mut pairs {
        name.make_ascii_lowercase();
        if !is_token(name) || !is_value(value) || is_reserved(name) {
            return None;
        }
    }
    Some(pairs)
}

fn is_reserved(lowercase: &str) -> bool {
    words::position(&|at| RESERVED.get(at).copied(), lowercase).is_some()
}

/// The name of a header, or a method (RFC 9110, section 5.6.2).
#[inline(never)]
pub(super) fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// The value of a header (RFC 9110, section 5.5), in ASCII and without tabs.
pub(super) fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim_matches(' ') == value
}
