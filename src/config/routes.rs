//! `envoy.routes` and `envoy.route_name_is_template`, what gives a request its route; `envoy.span_name`, what its span is called.
//!
//! How a template is written, and which of several a path matches, is `semconv`'s knowledge.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::instrumentation;
use super::words::joined;
use crate::envoy::attributes::Detail;
use crate::outcome::OutcomeConfig;
use crate::semconv::HttpConfig;
use crate::semconv::name::{NAMES, SpanName};
use crate::semconv::route::{Conflict, RouteNames, Routes, Template};

const TEMPLATE: &str = "a path template such as /users/{id} or /static/{*path}: {name} is a whole segment, \
                        {*name} the last one, a name of letters, digits, _, - and . stands once";

/// Reads the routes, and the name, which is one of the conventions'. What both need of how a request ended is read of each.
#[inline(never)]
pub(super) fn read(
    envoy: &mut Object<'_>,
    http: &mut HttpConfig,
    outcome: &mut OutcomeConfig,
) -> Result<Routes, ConfigError> {
    let list = envoy.take_or_null("routes");
    let mut route_names = RouteNames::Names;
    if envoy.take_bool("route_name_is_template")?.unwrap_or_default() {
        route_names = RouteNames::Templates;
        outcome.details = outcome.details.with(Detail::RouteName);
    }
    http.span_name = envoy.take_as("span_name", span_name)?;
    if let Some(name) = &http.span_name {
        outcome.details = name.details(outcome.details);
    }
    routes(&list, route_names)
}

#[inline(never)]
fn routes(list: &Cursor<'_>, route_names: RouteNames) -> Result<Routes, ConfigError> {
    let items = if list.is_null() { Vec::new() } else { list.items()? };
    let mut templates = Vec::with_capacity(items.len());
    for item in &items {
        templates.push(template(item)?);
    }
    Routes::new(templates, route_names).map_err(|Conflict { first, second }| {
        let found = format!("the shape of envoy.routes[{first}], for the same method");
        items.get(second).unwrap_or(list).refuse_found(&found, "each shape once for a method")
    })
}

/// A template alone, or one with methods.
#[inline(never)]
fn template(item: &Cursor<'_>) -> Result<Template, ConfigError> {
    let (text, methods) = if item.text().is_ok() {
        (*item, None)
    } else {
        item.any_object().map_err(|_| item.refuse("a path template, or an object with one"))?;
        item.object(|route| Ok((route.take_needed("template"), route.take("methods"))))?
    };
    let methods = match methods {
        Some(list) => list.some_items().and_then(|_| instrumentation::methods(&list))?,
        None => Vec::new(),
    };
    Template::parse(text.text()?, methods)
        .map_err(|error| text.refuse_found(error.found(), TEMPLATE))
}

fn span_name(name: &Cursor<'_>) -> Result<SpanName, ConfigError> {
    SpanName::parse(name.text()?).ok_or_else(|| {
        let names = joined(&NAMES, ", ");
        name.refuse(&format!("a text with these attributes in braces, or none: {names}"))
    })
}
