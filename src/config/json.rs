//! The bytes that Envoy hands over, as JSON; and numbers of variables, which are written more freely.
//!
//! What a document means is not known here.

use super::error::ConfigError;
use crate::json::{self, Value};

/// The document; no bytes are an empty one.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ConfigError> {
    if bytes.is_empty() {
        return Ok(Value::Object(Vec::new()));
    }
    json::read(bytes).map_err(|error| {
        let problem = if is_struct(bytes) {
            "not JSON: it looks like a google.protobuf.Struct, which arrives as protobuf bytes; give \
             the configuration as a google.protobuf.StringValue with JSON in it"
                .to_owned()
        } else {
            format!("not JSON: {error}")
        };
        ConfigError::new("", &problem)
    })
}

/// Whether the bytes may be a `google.protobuf.Struct`. Its first byte, the tag of `fields`, is also
/// JSON's line feed, and a length may be any character; but then come tags that no JSON text holds.
fn is_struct(bytes: &[u8]) -> bool {
    let binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    bytes.first() == Some(&0x0A) && bytes.iter().any(binary)
}

/// A decimal number with white space around it or not; beyond what JSON takes also one with a plus
/// sign, with zeros before it, or with nothing on one side of its point.
///
/// Not by the standard library, whose code for floats would be a large part of the module.
pub(super) fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let sign = if text.starts_with('-') { "-" } else { "" };
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (number, exponent) = text.split_at(text.find(['e', 'E']).unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    // A zero behind the fraction, so that there is one.
    let json = format!("{sign}{whole}.{fraction}0{exponent}");
    match json::read(json.as_bytes()) {
        Ok(Value::Number(number)) => number.as_f64(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decimal_is_written_more_freely_than_json() {
        let cases = [
            ("0.5", Some(0.5), "as JSON has it"),
            ("1", Some(1.0), "a whole number"),
            ("5e-1", Some(0.5), "an exponent"),
            ("0.05E+1", Some(0.5), "an exponent with a sign"),
            ("-0.5", Some(-0.5), "a sign"),
            ("-0", Some(-0.0), "a zero with a sign"),
            ("+0.5", Some(0.5), "a plus sign"),
            (".25", Some(0.25), "nothing before the point"),
            ("-.25", Some(-0.25), "nothing before the point but a sign"),
            ("1.", Some(1.0), "nothing behind the point"),
            ("1.e0", Some(1.0), "nothing behind the point but an exponent"),
            (".5e0", Some(0.5), "both"),
            ("00.5", Some(0.5), "zeros before it"),
            ("007", Some(7.0), "zeros before it"),
            (" 0.5\u{2003}\n", Some(0.5), "white space around it"),
            ("1e-999", Some(0.0), "smaller than any double"),
            ("1e999", None, "larger than any double"),
            ("", None, "nothing"),
            (".", None, "a point alone"),
            ("+", None, "a sign alone"),
            ("e5", None, "an exponent alone"),
            (".e5", None, "a point and an exponent"),
            ("+-1", None, "two signs"),
            ("--1", None, "two signs"),
            ("1.5.5", None, "two points"),
            ("1e", None, "an exponent without digits"),
            ("1e5e5", None, "two exponents"),
            ("1e5.5", None, "an exponent with a point"),
            ("+ 1", None, "a space in it"),
            ("1 .5", None, "a space in it"),
            ("1. 5", None, "a space in it"),
            ("1e 5", None, "a space in it"),
            ("1_000", None, "an underscore"),
            ("0x1", None, "hexadecimal"),
            ("½", None, "not ASCII"),
            ("nan", None, "no number"),
            ("inf", None, "no number of JSON"),
            ("-infinity", None, "no number of JSON"),
        ];
        for (text, expected, reason) in cases {
            assert_eq!(decimal(text), expected, "{reason}: {text:?}");
        }
    }

    #[test]
    fn what_is_not_json_is_explained() {
        const STRUCT: &str = "not JSON: it looks like a google.protobuf.Struct";
        // The entries of a Struct: a tag and a length, then the key and the value with theirs.
        let cases: &[(&[u8], &str, &str)] = &[
            (b"\x0a\x0e\x0a\x08disabled\x12\x02\x20\x01", STRUCT, "a Struct"),
            (b"\x0a\x20\x0a\x09log_level\x12\x13", STRUCT, "lengths that are white space"),
            (b"\x0a\x7b\x0a\x05envoy\x12\x72", STRUCT, "a length that is a brace"),
            (b"\x0a\x0d\x0a\x05envoy\x12\x04\x2a\x02\xc3", STRUCT, "not UTF-8"),
            (b"yes", "not JSON: expected value at line 1 column 1", "some text"),
            (b"\n\n  yes", "not JSON: expected value at line 3 column 3", "text after empty lines"),
            (b"{\n\"a\": }", "not JSON: expected value at line 2 column 6", "line and column"),
            (b"{} {}", "not JSON: trailing characters at line 1 column 4", "more than one"),
            (b" ", "not JSON: EOF while parsing a value at line 1 column 1", "white space alone"),
            (b"\xef\xbb\xbf{}", "not JSON: expected value at line 1 column 1", "a byte order mark"),
            (
                b"{\"a\": 1e999}",
                "not JSON: number out of range at line 1 column 11",
                "a number that no double holds",
            ),
            (
                b"{\"envoy\": {},\n \"envoy\": {}}",
                "not JSON: a key stands twice at line 2 column 8",
                "a key that would be lost",
            ),
        ];
        for (bytes, expected, reason) in cases {
            let error = read(bytes).expect_err(reason).to_string();
            assert!(error.starts_with(expected), "{reason}: {error}");
        }
        let nothing = read(b"").expect("Istio sends no bytes");
        assert!(
            matches!(nothing, Value::Object(members) if members.is_empty()),
            "an empty document"
        );
        let deep = "[".repeat(100_000);
        let error = read(deep.as_bytes()).expect_err("too deep").to_string();
        assert!(
            error.starts_with("not JSON: recursion limit exceeded"),
            "the stack lasts: {error}"
        );
    }

    proptest! {
        #[test]
        fn a_decimal_is_what_the_standard_library_reads(text in "[+-]?[0-9]{0,3}[.]?[0-9]{0,3}([eE][+-]?[0-9]{0,2})?[. +e]?") {
            let close = |a: f64, b: f64| (a - b).abs() <= b.abs() * 1e-12;
            match (decimal(&text), text.trim().parse::<f64>().ok()) {
                (Some(ours), Some(theirs)) => prop_assert!(close(ours, theirs), "{ours} {theirs}"),
                (ours, theirs) => prop_assert_eq!(ours, theirs),
            }
        }
    }
}
