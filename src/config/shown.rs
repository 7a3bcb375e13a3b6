//! What of a configuration may stand in a message, which ends in a log: nothing that may be a secret.
//!
//! Numbers where numbers belong, words that are known, and keys that look like keys. Of all else there is a type.

use super::value::{Text, Value};

/// Whether what is in an object may be a secret, its keys included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    Open,
    Secret,
}

/// The type of a value, which stands for it.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Text(Text::Written(_)) => "a string",
        Value::Text(Text::Substituted(_)) => "a string with variables in it",
        Value::Text(Text::Broken) => {
            "a ${ that begins no reference to a variable (${NAME}, ${env:NAME} or ${NAME:-default}; a \
             dollar is $$)"
        }
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value where a number belongs.
pub(super) fn number(value: &Value) -> String {
    match value {
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => number.to_string(),
            (_, Some(number), _) => number.to_string(),
            (_, _, number) => {
                ryu::Buffer::new().format_finite(number.unwrap_or_default()).to_owned()
            }
        },
        other => kind(other).to_owned(),
    }
}

/// What is said of a key that nobody takes: the key itself if it looks like one that people write. Where secrets are, it
/// must be nearly one that is accepted.
pub(super) fn unknown(key: &str, accepted: &[&str], secrecy: Secrecy) -> String {
    const LONGEST: usize = 40;
    let shape = |byte: u8| byte.is_ascii_lowercase() || b"_/.".contains(&byte);
    let looks_like_a_key = match secrecy {
        Secrecy::Open => key.len() <= LONGEST && key.bytes().all(shape) && !key.is_empty(),
        Secrecy::Secret => false,
    };
    if looks_like_a_key || accepted.iter().any(|accepted| is_nearly(key, accepted)) {
        format!("unknown key \"{key}\"")
    } else {
        "unknown key".to_owned()
    }
}

/// Whether a key differs from another one by at most two characters at one place, and by upper case.
fn is_nearly(key: &str, other: &str) -> bool {
    const FOREIGN: usize = 2;
    let printable = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let same = |(one, other): &(u8, u8)| one.eq_ignore_ascii_case(other);
    let start = key.bytes().zip(other.bytes()).take_while(same).count();
    let end = key.bytes().rev().zip(other.bytes().rev()).take_while(same).count();
    let shared = (start + end).min(key.len()).min(other.len());
    let rest = key.len().max(other.len()) - shared;
    rest <= FOREIGN && rest <= shared && key.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_if_it_looks_like_one() {
        const KEYS: [&str; 3] = ["name", "value", "max_queue_size"];
        let (long, forty) = ("k".repeat(41), "k".repeat(40));
        let cases = [
            ("sampler", true, false, "a word"),
            ("probability/development", true, false, "as the schema writes them"),
            ("service.name", true, false, "of an attribute"),
            (forty.as_str(), true, false, "forty characters"),
            (&long, false, false, "longer"),
            ("", false, false, "nothing"),
            ("s3cret", false, false, "a digit"),
            ("api-key", false, false, "the name of a header"),
            ("a key", false, false, "a space"),
            ("nmae", true, true, "two letters the other way round"),
            ("nam", true, true, "a letter is missing"),
            ("names", true, true, "one too many"),
            ("Name", true, true, "upper case"),
            ("maxQueueSize", false, false, "two places"),
            ("max_queueSize", true, true, "one place"),
            ("max_queue_size12", true, true, "two at the end"),
            ("max_queue_size123", false, false, "three at the end"),
            ("max_qu12eue_size", true, true, "two in the middle"),
            ("max_qu123eue_size", false, false, "three in the middle"),
            ("name=1", true, true, "two, whatever they are"),
            ("name=s3cret", false, false, "a name and more"),
            ("name\n", false, false, "a line feed"),
            ("name\u{2028}", false, false, "not ASCII"),
            ("value\"", false, false, "a quotation mark"),
            ("value\\", false, false, "a backslash"),
            ("S3", false, false, "nothing of a known one"),
        ];
        for (key, open, secret, reason) in cases {
            for (secrecy, is_named) in [(Secrecy::Open, open), (Secrecy::Secret, secret)] {
                let expected =
                    if is_named { format!("unknown key \"{key}\"") } else { "unknown key".into() };
                assert_eq!(unknown(key, &KEYS, secrecy), expected, "{reason}, {secrecy:?}");
            }
        }
    }
}
