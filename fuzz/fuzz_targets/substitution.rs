//! Variables in a document, held against a grammar in the form of regular expressions: what a string stands for, and a refusal
//! where a reference is malformed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::config::{Config, Environment};
use otel_proxy_wasm::resource::AttributeValue;
use regex::Regex;
use std::sync::LazyLock;

/// What a text starts with: an escape, the start of a reference that an escape ends, a reference, or one character.
static PIECE: LazyLock<Regex> = LazyLock::new(|| {
    let escape = r"(?<escape>\$\$)";
    let ended = r"(?<ended>\$\{(?:[^}$]|\$[^}$])*)\$\$";
    let reference = r"\$\{(?:env:)?(?<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?<default>(?:[^}$\n]|\$[^}$\n])*\$?))?\}";
    let piece = format!(r"(?s)^(?:{escape}|{ended}|{reference}|(?<other>\$(?:[^{{]|$)|[^$]))");
    Regex::new(&piece).expect("a grammar")
});

fuzz_target!(|input: (&str, Vec<(bool, String)>)| {
    let (text, variables) = input;
    let name = |is_env| if is_env { "env" } else { "A" };
    let variables: Vec<_> = variables
        .into_iter()
        .take(2)
        .map(|(is_env, value)| (name(is_env).to_owned(), value))
        .collect();
    let environment: Environment = variables.iter().cloned().collect();
    let document = serde_json::json!({"resource": {"attributes": [{"name": "a", "value": text}]}});
    let read = Config::parse(document.to_string().as_bytes(), &environment, &|_| None);
    match expected(text, &variables) {
        None => assert!(read.is_err(), "a reference is malformed"),
        Some(Meaning::Text(expected)) => {
            let parsed = read.expect("it is well-formed");
            let [(_, AttributeValue::String(value))] = parsed.config.resource.as_slice() else {
                panic!("one attribute, not {:?}", parsed.config.resource)
            };
            assert_eq!(*value, expected);
        }
        // That is null, which is no value.
        Some(Meaning::Nothing) => {
            let is_nothing = read.is_ok_and(|parsed| parsed.config.resource.is_empty());
            assert!(is_nothing, "no variable is set");
        }
    }
});

enum Meaning {
    Text(String),
    /// References of which nothing is left.
    Nothing,
}

/// What a text stands for; `None` if a reference in it is malformed.
fn expected(text: &str, variables: &[(String, String)]) -> Option<Meaning> {
    let set = |name: &str| {
        let of_name = |(known, value): &&(String, String)| known == name && !value.is_empty();
        variables.iter().find(of_name).map(|(_, value)| value.as_str())
    };
    let mut meant = String::new();
    let mut has_reference = false;
    let mut rest = text;
    while !rest.is_empty() {
        let piece = PIECE.captures(rest)?;
        let length = if let Some(name) = piece.name("name") {
            let default = piece.name("default").map_or("", |it| it.as_str());
            meant.push_str(set(name.as_str()).unwrap_or(default));
            has_reference = true;
            piece[0].len()
        } else if let Some(ended) = piece.name("ended") {
            meant.push_str(ended.as_str());
            ended.len()
        } else if piece.name("escape").is_some() {
            meant.push('$');
            piece[0].len()
        } else {
            // What follows a dollar may be one itself.
            let one = rest.chars().next()?;
            meant.push(one);
            one.len_utf8()
        };
        rest = &rest[length..];
    }
    Some(if has_reference && meant.is_empty() { Meaning::Nothing } else { Meaning::Text(meant) })
}
