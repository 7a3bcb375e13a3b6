//! `resource`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
//!
//! What the host says of itself comes later, and elsewhere.

use super::cursor::{Cursor, Object};
use super::environment::Variables;
use super::error::ConfigError;
use super::list;
use super::words::Words;
use crate::resource::AttributeValue;

/// The attributes of all sources; a source adds only names that those before it lack. A service without a name, or with one of
/// white space, is as good as not named: the next source may know it.
#[inline(never)]
pub(super) fn read(
    resource: &mut Object<'_>,
    variables: &mut Variables<'_>,
) -> Result<Vec<(String, AttributeValue)>, ConfigError> {
    resource.unsupported(&["detection/development"]);
    let mut found = Vec::new();
    if let Some(items) = resource.take("attributes") {
        for item in items.items()? {
            found.extend(attribute(&item)?);
        }
    }
    if let Some(list) = resource.take("attributes_list") {
        let pairs = list::pairs(list.text()?)
            .map_err(|error| list.refuse(&format!("key=value pairs joined by commas; {error}")))?;
        found.extend(pairs.into_iter().map(text));
    }
    resource.take_for_nothing(&["schema_url"], Cursor::nothing)?;
    let name = variables.text("OTEL_SERVICE_NAME");
    let name = name.map(|name| ("service.name".to_owned(), name.to_owned()));
    found.extend(name.map(text));
    let accepted = "key=value pairs joined by commas, values percent-encoded";
    let read = |list: &str| list::pairs(list).ok();
    let pairs = variables.read(&["OTEL_RESOURCE_ATTRIBUTES"], accepted, read);
    found.extend(pairs.into_iter().flatten().map(text));
    let is_said = |(name, value): &(String, AttributeValue)| match value {
        AttributeValue::String(text) => {
            name != "service.name" || !text.as_bytes().trim_ascii().is_empty()
        }
        _ => name != "service.name",
    };
    let mut attributes = Vec::new();
    list::add(&mut attributes, found.into_iter().filter(is_said));
    Ok(attributes)
}

fn text((name, value): (String, String)) -> (String, AttributeValue) {
    (name, AttributeValue::String(value))
}

/// An entry of `attributes`; one whose value is `null` is ignored, as the schema says.
fn attribute(cursor: &Cursor<'_>) -> Result<Option<(String, AttributeValue)>, ConfigError> {
    let typed = |entry: &mut Object<'_>| entry.take_as("type", |kind| kind.word(TYPES, &[]));
    let (name, value, read) = list::entry(cursor, typed)?;
    let name = name.non_empty_text()?.to_owned();
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some((name, read.unwrap_or(untyped)(&value)?)))
}

type Read = fn(&Cursor<'_>) -> Result<AttributeValue, ConfigError>;

const TYPES: &Words<Read> = &[
    ("string", string),
    ("bool", |cursor| cursor.bool().map(AttributeValue::Bool)),
    ("int", |cursor| cursor.int().map(AttributeValue::Int)),
    ("double", |cursor| cursor.double().map(AttributeValue::Double)),
    ("string_array", |cursor| array(cursor, owned).map(AttributeValue::StringArray)),
    ("bool_array", |cursor| array(cursor, Cursor::bool).map(AttributeValue::BoolArray)),
    ("int_array", |cursor| array(cursor, Cursor::int).map(AttributeValue::IntArray)),
    ("double_array", |cursor| array(cursor, Cursor::double).map(AttributeValue::DoubleArray)),
];

fn untyped(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    string(cursor).map_err(|_| cursor.refuse("a string, or another value and its type beside it"))
}

fn string(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    owned(cursor).map(AttributeValue::String)
}

fn owned(cursor: &Cursor<'_>) -> Result<String, ConfigError> {
    cursor.text().map(str::to_owned)
}

fn array<'a, T>(
    cursor: &Cursor<'a>,
    read: impl Fn(&Cursor<'a>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    cursor.items()?.iter().map(read).collect()
}
