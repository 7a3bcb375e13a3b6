//! The types that values of configured attributes have, and how a value is read as one of them.

use crate::json::{self, Value};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A text.
    String,
    /// A whole number.
    Int,
    /// A number.
    Double,
    /// True or false.
    Bool,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As text.
    Text,
    /// As the host hands over what may be of any type, and does not say of which: a text as it is, a number in eight bytes, truth in one.
    Host,
}

/// A value that fits its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Typed<'a> {
    String(&'a [u8]),
    Int(i64),
    Double(f64),
    Bool(bool),
}

impl ValueType {
    /// Reads a value, if it is of this type.
    pub(super) fn read(self, form: Form, value: &[u8]) -> Option<Typed<'_>> {
        /// No number is longer.
        const LONGEST: usize = 32;
        let is_hosts = form == Form::Host;
        if self == Self::String {
            // A number of the host's, or truth, is no text.
            let is_text = !is_hosts || !value.contains(&0) && value != [1];
            return is_text.then_some(Typed::String(value));
        }
        let written = if value.len() > LONGEST { None } else { json::read(value).ok() };
        let bits = value.try_into().map(u64::from_le_bytes).ok().filter(|_| is_hosts);
        match (self, written) {
            (Self::Int, Some(Value::Number(number))) => number.as_i64().map(Typed::Int),
            (Self::Double, Some(Value::Number(number))) => number.as_f64().map(Typed::Double),
            (Self::Bool, Some(Value::Bool(truth))) => Some(Typed::Bool(truth)),
            (Self::Int, None) => bits.map(|it| Typed::Int(it.cast_signed())),
            (Self::Double, None) => bits.map(|it| Typed::Double(double(it))),
            (Self::Bool, None) if is_hosts && value == [0] => Some(Typed::Bool(false)),
            (Self::Bool, None) if is_hosts && value == [1] => Some(Typed::Bool(true)),
            _ => None,
        }
    }
}

/// The number in eight bytes of the host's, which may be a whole one: of such, no bit or each bit is set where a double has its exponent,
/// as in no number that anybody measures.
fn double(bits: u64) -> f64 {
    const EXPONENT: u64 = 0x7ff << 52;
    if [0, EXPONENT].contains(&(bits & EXPONENT)) {
        #[expect(clippy::cast_precision_loss, reason = "a larger one has an exponent")]
        return bits.cast_signed() as f64;
    }
    f64::from_bits(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_of_the_host_come_back(number: i64, fraction in prop::num::f64::NORMAL, small in -(1_i64 << 52)..1_i64 << 52) {
            let read = |kind: ValueType, bytes: [u8; 8]| format!("{:?}", kind.read(Form::Host, &bytes));
            prop_assume!(json::read(&number.to_le_bytes()).is_err());
            let expected = format!("{:?}", Some(Typed::Int(number)));
            prop_assert_eq!(read(ValueType::Int, number.to_le_bytes()), expected);
            prop_assume!(json::read(&fraction.to_le_bytes()).is_err());
            let expected = format!("{:?}", Some(Typed::Double(fraction)));
            prop_assert_eq!(read(ValueType::Double, fraction.to_le_bytes()), expected);
            #[expect(clippy::cast_precision_loss, reason = "it has 52 bits")]
            let expected = format!("{:?}", Some(Typed::Double(small as f64)));
            prop_assert_eq!(read(ValueType::Double, small.to_le_bytes()), expected);
        }

        #[test]
        fn any_bytes_are_survived(value: Vec<u8>) {
            for kind in [ValueType::String, ValueType::Int, ValueType::Double, ValueType::Bool] {
                for form in [Form::Text, Form::Host] {
                    let _ = kind.read(form, &value);
                }
            }
        }
    }
}
