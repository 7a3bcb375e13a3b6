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
    if envoy.take_as("redact_common_secrets", Cursor::bool)?.unwrap_or_default() {
        let names = &mut http.sensitive_query_parameters;
        for name in owned(COMMON_SECRETS) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(())
}

fn general(general: &mut Object<'_>) -> Result<HttpConfig, ConfigError> {
    general.unsupported(&["code", "db", "gen_ai", "messaging", "rpc", "stability_opt_in_list"]);
    let (server, client) = general.take_object("http", |http| {
        http.unsupported(&["semconv"]);
        Ok((http.take_object("server", http_span)?, http.take_object("client", http_span)?))
    })?;
    let sensitive = general.take_object("sanitization", |sanitization| {
        sanitization.take_object("url", |url| {
            url.take_as("sensitive_query_parameters", |list| texts(list, Cursor::non_empty_text))
        })
    })?;
    Ok(HttpConfig {
        server,
        client,
        sensitive_query_parameters: sensitive.unwrap_or_else(|| owned(SENSITIVE_QUERY_PARAMETERS)),
    })
}

fn http_span(settings: &mut Object<'_>) -> Result<HttpSpanConfig, ConfigError> {
    let request = settings.take_as("request_captured_headers", |list| texts(list, header))?;
    let response = settings.take_as("response_captured_headers", |list| texts(list, header))?;
    let methods = settings.take_as("known_methods", |list| texts(list, method))?;
    Ok(HttpSpanConfig {
        request_captured_headers: request.unwrap_or_default(),
        response_captured_headers: response.unwrap_or_default(),
        known_methods: methods.unwrap_or_else(|| owned(KNOWN_METHODS)),
    })
}

fn header(cursor: &Cursor<'_>) -> Result<String, ConfigError> {
    token(cursor, "the name of a header").map(str::to_ascii_lowercase)
}

fn method<'a>(cursor: &Cursor<'a>) -> Result<&'a str, ConfigError> {
    token(cursor, "the name of a method")
}

fn token<'a>(cursor: &Cursor<'a>, accepted: &str) -> Result<&'a str, ConfigError> {
    Some(cursor.text()?).filter(|text| is_token(text)).ok_or_else(|| cursor.refuse(accepted))
}

/// A list of texts, each as `read` gives it, without repetitions.
fn texts<'a, T: Into<String>>(
    list: &Cursor<'a>,
    read: impl Fn(&Cursor<'a>) -> Result<T, ConfigError>,
) -> Result<Vec<String>, ConfigError> {
    let mut texts: Vec<String> = Vec::new();
    for item in list.items()? {
        let text = read(&item)?.into();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}
