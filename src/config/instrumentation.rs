//! `instrumentation/development`: what of requests becomes attributes.

use super::cursor::{Cursor, Keys, Object};
use super::error::ConfigError;
use super::headers::is_token;
use crate::semconv::method::KNOWN_METHODS;
use crate::semconv::redaction::SENSITIVE_QUERY_PARAMETERS;
use crate::semconv::{HttpConfig, HttpSpanConfig};

const INSTRUMENTATION: Keys = Keys {
    accepted: &["general"],
    unsupported: &[
        "cpp", "dotnet", "erlang", "go", "java", "js", "php", "python", "ruby", "rust", "swift",
    ],
};
const GENERAL: Keys = Keys {
    accepted: &["http", "sanitization"],
    unsupported: &["code", "db", "gen_ai", "messaging", "rpc", "stability_opt_in_list"],
};
const HTTP: Keys = Keys { accepted: &["server", "client"], unsupported: &["semconv"] };
const HTTP_SPAN: Keys = Keys {
    accepted: &["request_captured_headers", "response_captured_headers", "known_methods"],
    unsupported: &[],
};
const SANITIZATION: Keys = Keys { accepted: &["url"], unsupported: &[] };
const URL: Keys = Keys { accepted: &["sensitive_query_parameters"], unsupported: &[] };

pub(super) fn read(root: &Object<'_>) -> Result<HttpConfig, ConfigError> {
    let instrumentation = part(Some(root), "instrumentation/development", INSTRUMENTATION)?;
    let general = part(instrumentation.as_ref(), "general", GENERAL)?;
    let http = part(general.as_ref(), "http", HTTP)?;
    let server = part(http.as_ref(), "server", HTTP_SPAN)?;
    let client = part(http.as_ref(), "client", HTTP_SPAN)?;
    let sanitization = part(general.as_ref(), "sanitization", SANITIZATION)?;
    let url = part(sanitization.as_ref(), "url", URL)?;
    let sensitive = texts(url.as_ref(), "sensitive_query_parameters", Cursor::non_empty_text)?;
    Ok(HttpConfig {
        server: http_span(server.as_ref())?,
        client: http_span(client.as_ref())?,
        sensitive_query_parameters: sensitive.unwrap_or_else(|| owned(SENSITIVE_QUERY_PARAMETERS)),
    })
}

/// The object at a key of an object, if both are there.
fn part<'a>(
    parent: Option<&Object<'a>>,
    key: &str,
    keys: Keys,
) -> Result<Option<Object<'a>>, ConfigError> {
    let child = parent.and_then(|parent| parent.get(key));
    child.map(|child| child.object(keys)).transpose()
}

fn http_span(settings: Option<&Object<'_>>) -> Result<HttpSpanConfig, ConfigError> {
    let headers = |key: &str| texts(settings, key, header).map(Option::unwrap_or_default);
    let methods = texts(settings, "known_methods", method)?;
    Ok(HttpSpanConfig {
        request_captured_headers: headers("request_captured_headers")?,
        response_captured_headers: headers("response_captured_headers")?,
        known_methods: methods.unwrap_or_else(|| owned(KNOWN_METHODS)),
    })
}

fn header(cursor: &Cursor<'_>) -> Result<String, ConfigError> {
    let name = Some(cursor.text()?).filter(|name| is_token(name));
    name.map(str::to_ascii_lowercase).ok_or_else(|| cursor.refuse("the name of a header"))
}

fn method<'a>(cursor: &Cursor<'a>) -> Result<&'a str, ConfigError> {
    let name = Some(cursor.text()?).filter(|name| is_token(name));
    name.ok_or_else(|| cursor.refuse("the name of a method"))
}

/// A list of texts, each as `read` gives it, without repetitions.
fn texts<'a, T: Into<String>>(
    object: Option<&Object<'a>>,
    key: &str,
    read: impl Fn(&Cursor<'a>) -> Result<T, ConfigError>,
) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(list) = object.and_then(|object| object.get(key)) else { return Ok(None) };
    let mut texts: Vec<String> = Vec::new();
    for item in list.items()? {
        let text = read(&item)?.into();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(Some(texts))
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}
