//! Expressions over Envoy's attributes (CEL), which the host compiles once and evaluates for a request.
//!
//! Who asks them, and when, is not known here.

/// An expression that the host has compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expression {
    token: [u8; 4],
    reach: Reach,
}

/// What an expression may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The addresses of the downstream connection, beside others.
    Peers,
    /// Others alone.
    Others,
}

/// Compiles an expression: none if it is not one, or the host has no such thing.
pub type Compile<'a> = dyn Fn(&str) -> Option<Expression> + 'a;

impl Expression {
    /// The name that the host gave it, in the host's layout.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|token| Self { token, reach: Reach::Others })
    }

    /// The same, and it has this text.
    #[must_use]
    pub fn of(self, text: &str) -> Self {
        let says = |name: &[u8]| text.as_bytes().windows(name.len()).any(|it| it == name);
        let asks_peers = says(b"source") || says(b"destination");
        Self { reach: if asks_peers { Reach::Peers } else { Reach::Others }, ..self }
    }

    /// Whether it may ask for the addresses of the downstream connection.
    #[must_use]
    pub fn asks_peers(self) -> bool {
        self.reach == Reach::Peers
    }

    /// In the host's layout.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        self.token
    }
}

/// What is empty where none of these conditions holds, and `?` or an error where one does. An empty value costs less than any other: the host
/// has nothing to hand over.
#[must_use]
pub fn none_of(conditions: &[&str]) -> String {
    let mut text = "true".to_owned();
    for condition in conditions {
        text.push_str(" && !");
        text.push_str(&within(condition));
    }
    text.push_str(" ? '' : '?'");
    text
}

/// What is empty where a request has a response that is neither an error nor a redirect, no flag of Envoy's, and none of these conditions holds;
/// `?` or an error otherwise.
#[must_use]
pub fn ended_well(conditions: &[&str]) -> String {
    // The commonest status first.
    const CODE: &str = "response.code < 300 || response.code == 304 || response.code >= 400 && response.code < 500";
    format!("({CODE}) && response.flags == 0 && {}", none_of(conditions))
}

/// What is `?` where a condition holds, and empty where it does not.
#[must_use]
pub fn holds(condition: &str) -> String {
    format!("{} ? '?' : ''", within(condition))
}

/// An expression within another one. It may end in a comment.
fn within(expression: &str) -> String {
    format!("({expression}\n)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_stand_within_one_expression() {
        let text = none_of(&["a || b", "c // why"]);
        assert_eq!(text, "true && !(a || b\n) && !(c // why\n) ? '' : '?'");
        assert_eq!(holds("a || b"), "(a || b\n) ? '?' : ''");
        let well = ended_well(&["a || b"]);
        assert!(
            well.ends_with(") && response.flags == 0 && true && !(a || b\n) ? '' : '?'"),
            "{well}"
        );
    }

    #[test]
    fn what_may_ask_for_the_downstream_connection_is_known() {
        let cases = [
            ("source.address != ''", true),
            ("has(destination . port)", true),
            ("response.code == 503", false),
        ];
        for (text, expected) in cases {
            let expression = Expression::from_bytes(&[1, 0, 0, 0]).expect("four bytes");
            assert_eq!(expression.of(text).asks_peers(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_has_four_bytes() {
        let cases: [(&[u8], bool); 4] =
            [(&[1, 0, 0, 0], true), (&[], false), (&[1], false), (&[1, 0, 0, 0, 0], false)];
        for (bytes, is_name) in cases {
            let expression = Expression::from_bytes(bytes);
            assert_eq!(expression.is_some(), is_name, "{bytes:?}");
            assert!(expression.is_none_or(|it| it.to_bytes() == bytes), "{bytes:?}");
        }
    }
}
