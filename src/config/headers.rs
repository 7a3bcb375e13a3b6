//! The headers that the exporter sends beside its own: `headers`, `headers_list` and
//! `OTEL_EXPORTER_OTLP_HEADERS`.
//!
//! Their values are often secrets: none stands in an error or a warning.

use super::cursor::{Cursor, Keys, Object};
use super::environment::Environment;
use super::error::ConfigError;
use super::list;

const HEADER: Keys = Keys { accepted: &["name", "value"], unsupported: &[] };
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
pub(super) fn read(
    settings: Option<&Object<'_>>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let member = |key: &str| settings.and_then(|settings| settings.get(key)).map(Cursor::secret);
    let (items, list) = (member("headers"), member("headers_list"));
    if items.is_none() && list.is_none() {
        return Ok(from_environment(environment, warnings).unwrap_or_default());
    }
    let mut headers = Vec::new();
    if let Some(items) = items {
        for item in items.items()? {
            if let Some(header) = header(&item)? {
                add(&mut headers, header);
            }
        }
    }
    if let Some(list) = list {
        let pairs = pairs(list.text()?).ok_or_else(|| list.refuse(PAIRS))?;
        for header in pairs {
            add(&mut headers, header);
        }
    }
    Ok(headers)
}

/// An entry of `headers`; one whose value is `null` is ignored, as the schema says.
fn header(cursor: &Cursor<'_>) -> Result<Option<(String, String)>, ConfigError> {
    let header = cursor.object(HEADER)?;
    let required = |key: &str| {
        header.member(key).ok_or_else(|| cursor.refuse("an object with name and value"))
    };
    let (name, value) = (required("name")?, required("value")?);
    let name_text = name.text()?;
    if RESERVED.iter().any(|reserved| name_text.eq_ignore_ascii_case(reserved)) {
        return Err(name.refuse(&format!("a header other than {}", RESERVED.join(", "))));
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
    Ok(Some((name_text.to_ascii_lowercase(), value_text.to_owned())))
}

fn from_environment(
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Option<Vec<(String, String)>> {
    let pairs = environment.read(&environment.signal("HEADERS")?, PAIRS, warnings, pairs)?;
    let mut headers = Vec::new();
    for header in pairs {
        add(&mut headers, header);
    }
    Some(headers)
}

/// A list of headers, if every one is good.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let pairs = list::pairs(list).ok()?.into_iter();
    let pairs = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let good =
        |name: &str, value: &str| is_token(name) && is_value(value) && !RESERVED.contains(&name);
    pairs.map(|(name, value)| good(&name, &value).then_some((name, value))).collect()
}

fn add(headers: &mut Vec<(String, String)>, header: (String, String)) {
    if headers.iter().all(|(name, _)| *name != header.0) {
        headers.push(header);
    }
}

/// The name of a header, or a method (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// The value of a header (RFC 9110, section 5.5), in ASCII and without tabs.
fn is_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.trim_matches(' ') == value
}
