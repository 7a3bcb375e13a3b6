//! `resource`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.

use super::cursor::{Cursor, Keys};
use super::environment::Environment;
use super::error::ConfigError;
use super::list;
use crate::resource::AttributeValue;

const RESOURCE: Keys = Keys {
    accepted: &["attributes", "attributes_list"],
    unsupported: &["detection/development", "schema_url"],
};
const ATTRIBUTE: Keys = Keys { accepted: &["name", "value", "type"], unsupported: &[] };

/// The attributes of all sources; a source adds only names that those before it lack.
pub(super) fn read(
    cursor: Option<&Cursor<'_>>,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, AttributeValue)>, ConfigError> {
    let mut attributes = Vec::new();
    if let Some(cursor) = cursor {
        let object = cursor.object(RESOURCE)?;
        for item in object.get("attributes").map_or(Ok(Vec::new()), |items| items.items())? {
            if let Some(attribute) = attribute(&item)? {
                add(&mut attributes, attribute);
            }
        }
        if let Some(list) = object.get("attributes_list") {
            let pairs = list::pairs(list.text()?).map_err(|error| {
                list.refuse(&format!("key=value pairs joined by commas; {error}"))
            })?;
            pairs.into_iter().map(text).for_each(|pair| add(&mut attributes, pair));
        }
    }
    if let Some(name) = environment.get("OTEL_SERVICE_NAME") {
        add(&mut attributes, text(("service.name".to_owned(), name.to_owned())));
    }
    let accepted = "key=value pairs joined by commas, values percent-encoded";
    let listed = environment
        .read("OTEL_RESOURCE_ATTRIBUTES", accepted, warnings, |list| list::pairs(list).ok());
    listed.into_iter().flatten().map(text).for_each(|pair| add(&mut attributes, pair));
    Ok(attributes)
}

fn add(attributes: &mut Vec<(String, AttributeValue)>, attribute: (String, AttributeValue)) {
    if attributes.iter().all(|(name, _)| *name != attribute.0) {
        attributes.push(attribute);
    }
}

fn text((name, value): (String, String)) -> (String, AttributeValue) {
    (name, AttributeValue::String(value))
}

/// An entry of `attributes`; one whose value is `null` is ignored, as the schema says.
fn attribute(cursor: &Cursor<'_>) -> Result<Option<(String, AttributeValue)>, ConfigError> {
    let object = cursor.object(ATTRIBUTE)?;
    let required = |key: &str| {
        object.member(key).ok_or_else(|| cursor.refuse("an object with name and value"))
    };
    let name = required("name")?.non_empty_text()?.to_owned();
    let value = required("value")?;
    let read: Read = match object.get("type") {
        None => untyped,
        Some(kind) => kind.word(TYPES, &[])?,
    };
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some((name, read(&value)?)))
}

type Read = for<'a> fn(&Cursor<'a>) -> Result<AttributeValue, ConfigError>;

const TYPES: &[(&str, Read)] = &[
    ("string", string),
    ("bool", bool),
    ("int", int),
    ("double", double),
    ("string_array", strings),
    ("bool_array", bools),
    ("int_array", ints),
    ("double_array", doubles),
];

fn untyped(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    string(cursor).map_err(|_| cursor.refuse("a string, or another value and its type beside it"))
}

fn string(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    Ok(AttributeValue::String(cursor.text()?.to_owned()))
}

fn bool(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    cursor.bool().map(AttributeValue::Bool)
}

fn int(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    cursor.int().map(AttributeValue::Int)
}

fn double(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    cursor.double().map(AttributeValue::Double)
}

fn strings(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    let texts = cursor.items()?.iter().map(|item| item.text().map(str::to_owned)).collect();
    array(texts, AttributeValue::StringArray)
}

fn bools(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    array(cursor.items()?.iter().map(Cursor::bool).collect(), AttributeValue::BoolArray)
}

fn ints(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    array(cursor.items()?.iter().map(Cursor::int).collect(), AttributeValue::IntArray)
}

fn doubles(cursor: &Cursor<'_>) -> Result<AttributeValue, ConfigError> {
    array(cursor.items()?.iter().map(Cursor::double).collect(), AttributeValue::DoubleArray)
}

fn array<T>(
    items: Result<Vec<T>, ConfigError>,
    of: impl FnOnce(Vec<T>) -> AttributeValue,
) -> Result<AttributeValue, ConfigError> {
    items.map(of)
}
