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
    let mut attributes = Vec::new();
    if let Some(items) = resource.take("attributes") {
        for item in items.items()? {
            if let Some((name, value)) = attribute(&item)? {
                add(&mut attributes, name, value);
            }
        }
    }
    let mut texts = Vec::new();
    if let Some(list) = resource.take("attributes_list") {
        texts = list::pairs(list.text()?)
            .map_err(|error| list.refuse(&format!("key=value pairs joined by commas; {error}")))?;
    }
    resource.take_for_nothing(&["schema_url"], Cursor::nothing)?;
    if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
        texts.push(("service.name".to_owned(), name.to_owned()));
    }
    let accepted = "key=value pairs joined by commas, values percent-encoded";
    let read = |list: &str| list::pairs(list).ok();
    if let Some(mut pairs) = variables.read(&["OTEL_RESOURCE_ATTRIBUTES"], accepted, read) {
        texts.append(&mut pairs);
    }
    for (name, text) in texts {
        add(&mut attributes, name, AttributeValue::String(text));
    }
    Ok(attributes)
}

/// Adds an attribute that says something, unless one of its name is there.
#[inline(never)]
fn add(attributes: &mut Vec<(String, AttributeValue)>, name: String, value: AttributeValue) {
    let is_said = name != "service.name"
        || matches!(&value, AttributeValue::String(text) if !text.as_bytes().trim_ascii().is_empty());
    if is_said {
        list::add(attributes, (name, value));
    }
}

/// An entry of `attributes`; one whose value is `null` is ignored, as the schema says.
#[inline(never)]
fn attribute(cursor: &Cursor<'_>) -> Result<Option<(String, AttributeValue)>, ConfigError> {
    let typed = |entry: &mut Object<'_>| entry.take_word("type", TYPES, &[]);
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
    let mut values = Vec::new();
    for item in cursor.items()? {
        values.push(read(&item)?);
    }
    Ok(values)
}
