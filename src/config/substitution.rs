//! References to variables in the strings of a document: `${NAME}`, `${env:NAME}`, `${NAME:-default}`; `$$` is a dollar.
//!
//! (OpenTelemetry, Configuration Data Model, section Environment variable substitution.) Only values, no keys; what a variable says
//! is not looked at again. What a string then means is decided where it is read (`value`).

use super::environment::Environment;
use super::value::{Substituted, Text, Value};
use crate::json;
use std::cell::Cell;

/// The document with all references substituted.
pub(super) fn apply(document: json::Value, environment: &Environment) -> Value {
    document.map_texts(&mut |text| resolved(text, environment))
}

/// What a string stands for.
fn resolved(text: String, environment: &Environment) -> Text {
    if !text.contains('$') {
        return Text::Written(text);
    }
    let mut resolved = String::new();
    let (mut has_reference, mut is_unset) = (false, false);
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once('$') {
        resolved.push_str(before);
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            resolved.push('$');
            rest = behind;
            continue;
        }
        let Some(reference) = rest.strip_prefix('{') else {
            resolved.push('$');
            continue;
        };
        let (reference, behind) = match reference.split_once('}') {
            Some((reference, behind)) => (reference, Some(behind)),
            None => (reference, None),
        };
        if let Some(before) = before_escape(reference) {
            // It comes before the end of the reference, so that it is none.
            resolved.push_str("${");
            resolved.push_str(before);
            rest = rest.get(1 + before.len()..).unwrap_or_default();
            continue;
        }
        let (Some((name, default)), Some(behind)) = (read(reference), behind) else {
            return Text::Broken;
        };
        let value = environment.get(name).or(default);
        is_unset |= value.is_none();
        resolved.push_str(value.unwrap_or_default());
        has_reference = true;
        rest = behind;
    }
    resolved.push_str(rest);
    if has_reference {
        Text::Substituted(Substituted { text: resolved, is_unset, is_read: Cell::new(false) })
    } else {
        Text::Written(resolved)
    }
}

/// What is before the first escape in a text, if there is one.
fn before_escape(text: &str) -> Option<&str> {
    let at = text.as_bytes().windows(2).position(|pair| pair == b"$$")?;
    text.get(..at)
}

/// The name and the default of a reference, as it stands between the braces. None if it is none.
fn read(reference: &str) -> Option<(&str, Option<&str>)> {
    // There may be a variable of the name env.
    reference
        .strip_prefix("env:")
        .and_then(name_and_default)
        .or_else(|| name_and_default(reference))
}

fn name_and_default(reference: &str) -> Option<(&str, Option<&str>)> {
    let (name, default) = match reference.split_once(':') {
        Some((name, rest)) => (name, Some(rest.strip_prefix('-')?)),
        None => (reference, None),
    };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    let is_line = default.is_none_or(|default| !default.contains('\n'));
    (is_name && is_line).then_some((name, default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VARIABLES: [(&str, &str); 8] = [
        ("STRING_VALUE", "value"),
        ("BOOL_VALUE", "true"),
        ("INT_VALUE", "1"),
        ("INVALID_MAP_VALUE", "value\nkey:value"),
        ("DO_NOT_REPLACE_ME", "Never use this value"),
        ("REPLACE_ME", "${DO_NOT_REPLACE_ME}"),
        ("VALUE_WITH_ESCAPE", "value$$"),
        ("env", "of env"),
    ];

    fn environment() -> Environment {
        VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// What a string stands for; none if it is broken.
    fn resolve(text: &str) -> Option<String> {
        apply(json::Value::Text(text.to_owned()), &environment()).as_text().map(str::to_owned)
    }

    #[test]
    fn references_are_replaced_as_opentelemetry_says() {
        // Those of its table first.
        let cases = [
            ("${STRING_VALUE}", Some("value"), "a variable"),
            ("${env:STRING_VALUE}", Some("value"), "with a prefix"),
            ("${INVALID_MAP_VALUE}", Some("value\nkey:value"), "no structure comes in"),
            ("foo ${STRING_VALUE} ${INT_VALUE}", Some("foo value 1"), "several"),
            ("${UNDEFINED_KEY}", Some(""), "not set"),
            ("${UNDEFINED_KEY:-fallback}", Some("fallback"), "a default"),
            ("${REPLACE_ME}", Some("${DO_NOT_REPLACE_ME}"), "not again"),
            ("${UNDEFINED_KEY:-${STRING_VALUE}}", Some("${STRING_VALUE}"), "no default is one"),
            ("${STRING_VALUE:?error}", None, "another syntax"),
            ("$${STRING_VALUE}", Some("${STRING_VALUE}"), "an escape"),
            ("$$${STRING_VALUE}", Some("$value"), "an escape and a reference"),
            ("$$$${STRING_VALUE}", Some("$${STRING_VALUE}"), "two escapes"),
            ("$${STRING_VALUE:-fallback}", Some("${STRING_VALUE:-fallback}"), "an escape"),
            ("$${STRING_VALUE:-${STRING_VALUE}}", Some("${STRING_VALUE:-value}"), "before one"),
            (
                "${UNDEFINED_KEY:-$${UNDEFINED_KEY}}",
                Some("${UNDEFINED_KEY:-${UNDEFINED_KEY}}"),
                "an escape ends what would be a reference",
            ),
            ("${VALUE_WITH_ESCAPE}", Some("value$$"), "no escape in a variable"),
            ("a $$ b", Some("a $ b"), "an escape"),
            ("a $ b", Some("a $ b"), "a dollar"),
            ("${API_$KEY}", None, "no name"),
            ("${1API_KEY}", None, "no name"),
            ("${STRING_VALUE:-fallback}", Some("value"), "a default that is not needed"),
            ("${UNDEFINED_KEY:-}", Some(""), "an empty default"),
            ("${UNDEFINED_KEY:-a:-b}", Some("a:-b"), "a default with the mark of one"),
            ("${UNDEFINED_KEY:-$}", Some("$"), "a dollar as a default"),
            ("${UNDEFINED_KEY:-a\nb}", None, "a default of two lines"),
            ("${env}", Some("of env"), "a variable of that name"),
            ("${env:-a}", Some("of env"), "a variable of that name, with a default"),
            ("${env:env:-a}", Some("of env"), "both"),
            ("${env:1A}", None, "no name"),
            ("${ENV:STRING_VALUE}", None, "another prefix"),
            ("${STRING_VALUE}${STRING_VALUE}", Some("valuevalue"), "side by side"),
            ("${STRING_VALUE", None, "no end"),
            ("a ${", None, "no end"),
            ("${}", None, "nothing"),
            ("${ STRING_VALUE }", None, "white space"),
            ("${É}", None, "no name"),
            ("$STRING_VALUE", Some("$STRING_VALUE"), "a shell's"),
            ("{STRING_VALUE}", Some("{STRING_VALUE}"), "no dollar"),
            ("$", Some("$"), "a dollar alone"),
            ("}${STRING_VALUE}{", Some("}value{"), "braces around"),
        ];
        for (text, expected, reason) in cases {
            assert_eq!(resolve(text).as_deref(), expected, "{reason}: {text:?}");
        }
    }

    #[test]
    fn values_are_substituted_and_keys_are_not() {
        let json = serde_json::json!({
            "${STRING_VALUE}": ["${STRING_VALUE}", {"a": "$$", "b": {"${1A}": "${INT_VALUE}"}}],
            "c": 1, "d": null, "e": true,
        });
        let document = json::read(json.to_string().as_bytes()).expect("JSON");
        let document = apply(document, &environment()).as_json();
        let expected = serde_json::json!({
            "${STRING_VALUE}": ["value", {"a": "$", "b": {"${1A}": "1"}}],
            "c": 1, "d": null, "e": true,
        });
        assert_eq!(document, expected);
    }

    /// A piece of a string, and what it stands for.
    fn any_piece() -> impl Strategy<Value = (String, String)> {
        let name = "[A-Za-z_][A-Za-z0-9_]{0,3}";
        let default = "[ -#%-|~é]{0,4}";
        prop_oneof![
            "[^$]{0,4}".prop_map(|text| (text.clone(), text)),
            Just(("$$".to_owned(), "$".to_owned())),
            Just(("${env:STRING_VALUE}".to_owned(), "value".to_owned())),
            Just(("${REPLACE_ME:-x}".to_owned(), "${DO_NOT_REPLACE_ME}".to_owned())),
            name.prop_map(|name| (format!("${{UNDEFINED{name}}}"), String::new())),
            (name, default).prop_map(|(name, it)| (format!("${{env:UNDEFINED{name}:-{it}}}"), it)),
        ]
    }

    proptest! {
        #[test]
        fn strings_are_put_together_of_what_their_pieces_stand_for(
            pieces in proptest::collection::vec(any_piece(), 0..8),
        ) {
            let (text, expected): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
            prop_assert_eq!(resolve(&text.concat()), Some(expected.concat()));
        }

        #[test]
        fn any_text_is_survived(text: String, dollars in "[${}:\\-aA1]{0,12}") {
            let _ = (resolve(&text), resolve(&dollars));
        }
    }
}
