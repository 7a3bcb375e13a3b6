//! `envoy.attributes`: attributes that spans have if they are asked for, by name, and others of one's own.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::instrumentation::{header, token};
use super::keep;
use super::words::{Names, Words, names_joined, position};
use crate::envoy::expression::Compile;
use crate::semconv::configured::{ConfiguredAttribute, Source};
use crate::semconv::opt_in::OPT_IN;
use crate::semconv::value::ValueType;

/// How many attributes there may be: each is looked for at the end of each span.
const MAX_ATTRIBUTES: usize = 64;

const TYPES: &Words<ValueType> = &[
    ("string", ValueType::String),
    ("int", ValueType::Int),
    ("double", ValueType::Double),
    ("bool", ValueType::Bool),
];

/// Headers that hold secrets.
const SECRETS: Names<'_> =
    &|at| ["authorization", "cookie", "proxy-authorization", "set-cookie"].get(at).copied();

/// Where a value comes from.
const SOURCES: Names<'_> =
    &|at| ["value", "header", "response_header", "baggage", "expression"].get(at).copied();

#[inline(never)] // As all readers of a room.
pub(super) fn read(
    envoy: &mut Object<'_>,
    compile: &Compile<'_>,
) -> Result<Vec<ConfiguredAttribute>, ConfigError> {
    let mut attributes: Vec<ConfiguredAttribute> = Vec::new();
    let Some(list) = envoy.take("attributes") else { return Ok(attributes) };
    let items = list.items()?;
    if items.len() > MAX_ATTRIBUTES {
        return Err(list.refuse("at most 64 attributes"));
    }
    for item in &items {
        if item.text().is_ok() {
            opt_in(item, &mut attributes)?;
        } else {
            item.object(|members| attribute(item, members, compile, &mut attributes))?;
        }
        if let Some((last, before)) = attributes.split_last()
            && before.iter().any(|it| it.name == last.name)
        {
            return Err(item.refuse_found("a name that stands before", "each name once"));
        }
    }
    Ok(attributes)
}

#[inline(never)] // As all readers of a room.
fn opt_in(item: &Cursor<'_>, attributes: &mut Vec<ConfiguredAttribute>) -> Result<(), ConfigError> {
    let names: Names<'_> = &|at| OPT_IN.get(at).map(|known| known.name);
    let at = position(names, item.text()?);
    let known = at.and_then(|at| OPT_IN.get(at));
    let known = known.ok_or_else(|| refuse(item, "an object with name, or one of ", names))?;
    attributes.push(known.into());
    Ok(())
}

#[inline(never)] // As all readers of a room.
fn attribute(
    item: &Cursor<'_>,
    members: &mut Object<'_>,
    compile: &Compile<'_>,
    attributes: &mut Vec<ConfiguredAttribute>,
) -> Result<(), ConfigError> {
    let name = members.take_needed("name");
    let kind = members.take_word("type", TYPES, &[])?.unwrap_or(ValueType::String);
    let (source, told) = only(members, SOURCES)
        .ok_or_else(|| refuse(item, "an object with name and one of ", SOURCES))?;
    let (source, key) = match source {
        0 => (Source::Literal, String::new()),
        1 => (Source::RequestHeader, open_header(&told)?),
        2 => (Source::ResponseHeader, open_header(&told)?),
        3 => (Source::Baggage, token(&told, "the key of a member of Baggage")?.to_owned()),
        _ => (
            Source::Expression(keep::compiled(&told, told.non_empty_text()?, compile)?),
            String::new(),
        ),
    };
    let mut default = members.take("default");
    if source == Source::Literal
        && let Some(default) = default.replace(told)
    {
        return Err(default.refuse("no default beside value"));
    }
    let name = name.non_empty_text()?;
    let default = default.as_ref().map_or(Ok(Vec::new()), |it| value(it, kind))?;
    attributes.push(ConfiguredAttribute {
        name: name.into(),
        source,
        key: key.into(),
        kind,
        default,
    });
    Ok(())
}

/// Takes the members of these names. Gives the only one that is there, and where its name stands.
#[inline(never)] // It would be unrolled.
fn only<'a>(members: &mut Object<'a>, names: Names<'_>) -> Option<(usize, Cursor<'a>)> {
    let (mut only, mut count) = (None, 0);
    for (at, name) in (0..).map_while(names).enumerate() {
        if let Some(member) = members.take(name) {
            only = Some((at, member));
            count += 1;
        }
    }
    only.filter(|_| count == 1)
}

/// The name of a header that may be shown.
#[inline(never)] // As all readers of a room.
fn open_header(told: &Cursor<'_>) -> Result<String, ConfigError> {
    let name = header(told)?;
    if position(SECRETS, &name).is_some() {
        return Err(refuse(told, "a header other than ", SECRETS));
    }
    Ok(name)
}

/// An error with a list of names behind what is accepted.
#[inline(never)]
fn refuse(cursor: &Cursor<'_>, accepted: &str, names: Names<'_>) -> ConfigError {
    let mut accepted = accepted.to_owned();
    accepted.push_str(&names_joined(names, ", "));
    cursor.refuse(&accepted)
}

/// A value, as the host would write it.
#[inline(never)] // As all readers of a room.
fn value(told: &Cursor<'_>, kind: ValueType) -> Result<Vec<u8>, ConfigError> {
    let number = match kind {
        ValueType::String => return Ok(told.text()?.into()),
        ValueType::Bool => return Ok(vec![u8::from(told.bool()?)]),
        ValueType::Int => told.int()?.cast_unsigned(),
        ValueType::Double => told.double()?.to_bits(),
    };
    Ok(number.to_le_bytes().into())
}
