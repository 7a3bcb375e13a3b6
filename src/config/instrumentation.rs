//! `instrumentation/development`: what of requests becomes attributes.
//!
//! Which methods are known and which parameters are sensitive by default is `semconv`'s knowledge.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::headers::is_token;
use crate::semconv::redaction::{COMMON_SECRETS, SENSITIVE_QUERY_PARAMETERS};
use crate::semconv::{HttpConfig, HttpSpanConfig, KNOWN_METHODS};

#[inline(never)]
pub(super) fn read(instrumentation: &mut Object<'_>) -> Result<HttpConfig, ConfigError> {
    instrumentation.unsupported(&[
        "cpp", "dotnet", "erlang", "go", "java", "js", "php", "python", "ruby", "rust", "swift",
    ]);
    instrumentation.take_object("general", general)
}

/// `envoy.redact_common_secrets`: more that is sensitive, whatever the list is. OpenTelemetry's shape has but the whole list.
pub(super) fn redact_common_secrets(
    envoy: &mut Object<'_>,
    http: &mut HttpConfig,
) -> Result<(), ConfigError> {
    if envoy.take_bool("redact_common_secrets")?.unwrap_or_default() {
        let names = &mut http.sensitive_query_parameters;
        for name in owned(COMMON_SECRETS) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(())
}

#[inline(never)]
fn general(general: &mut Object<'_>) -> Result<HttpConfig, ConfigError> {
    general.unsupported(&["code", "db", "gen_ai", "messaging", "rpc", "stability_opt_in_list"]);
    let (server, client) = general.take_object("http", |http| {
        http.unsupported(&["semconv"]);
        Ok((http.take_object("server", http_span)?, http.take_object("client", http_span)?))
    })?;
    let sensitive = general.take_object("sanitization", |sanitization| {
        sanitization
            .take_object("url", |url| take_texts(url, "sensitive_query_parameters", parameter))
    })?;
    Ok(HttpConfig {
        server,
        client,
        sensitive_query_parameters: sensitive.unwrap_or_else(|| owned(SENSITIVE_QUERY_PARAMETERS)),
        span_name: None,
    })
}

#[inline(never)]
fn http_span(settings: &mut Object<'_>) -> Result<HttpSpanConfig, ConfigError> {
    let request = take_texts(settings, "request_captured_headers", header)?;
    let response = take_texts(settings, "response_captured_headers", header)?;
    let methods = take_texts(settings, "known_methods", method)?;
    Ok(HttpSpanConfig {
        request_captured_headers: request.unwrap_or_default(),
        response_captured_headers: response.unwrap_or_default(),
        known_methods: methods.unwrap_or_else(|| owned(KNOWN_METHODS)),
    })
}

/// A list of methods.
pub(super) fn methods(list: &Cursor<'_>) -> Result<Vec<String>, ConfigError> {
    texts(list, method)
}

/// The name of a header, in lowercase.
pub(super) fn header(cursor: &Cursor<'_>) -> Result<String, ConfigError> {
    token(cursor, "the name of a header").map(str::to_ascii_lowercase)
}

fn method(cursor: &Cursor<'_>) -> Result<String, ConfigError> {
    token(cursor, "the name of a method").map(str::to_owned)
}

fn parameter(cursor: &Cursor<'_>) -> Result<String, ConfigError> {
    cursor.non_empty_text().map(str::to_owned)
}

/// A token, as HTTP has it; an error says of what.
#[inline(never)] // As all readers of a room.
pub(super) fn token<'a>(cursor: &Cursor<'a>, accepted: &str) -> Result<&'a str, ConfigError> {
    Some(cursor.text()?).filter(|text| is_token(text)).ok_or_else(|| cursor.refuse(accepted))
}

/// Takes a list of texts, each as `read` gives it, without repetitions.
#[inline(never)]
fn take_texts(
    object: &mut Object<'_>,
    key: &'static str,
    read: fn(&Cursor<'_>) -> Result<String, ConfigError>,
) -> Result<Option<Vec<String>>, ConfigError> {
    object.take(key).map(|list| texts(&list, read)).transpose()
}

/// A list of texts, each as `read` gives it, without repetitions.
#[inline(never)]
fn texts(
    list: &Cursor<'_>,
    read: fn(&Cursor<'_>) -> Result<String, ConfigError>,
) -> Result<Vec<String>, ConfigError> {
    let mut texts = Vec::new();
    for item in list.items()? {
        let text = read(&item)?;
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

#[inline(never)]
fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}
