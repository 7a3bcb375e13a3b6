//! Secrets in URLs: what is replaced before a URL becomes an attribute.
//!
//! (Semantic conventions 1.44.0, notes of `url.query` and `url.full`.)

use std::borrow::Cow;

/// The query parameters whose values are replaced unless the configuration says otherwise.
/// Case-sensitive.
pub const SENSITIVE_QUERY_PARAMETERS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "sig",
    "X-Goog-Signature",
];

const REDACTED: &[u8] = b"REDACTED";

/// The query with the values of the sensitive parameters replaced; their keys stay. A key in
/// percent-encoding is the same key.
#[must_use]
pub fn query<'a>(query: &'a [u8], sensitive: &[String]) -> Cow<'a, [u8]> {
    let is_sensitive = |parameter: &[u8]| {
        let key = key_of(parameter);
        let value_follows = key.len() < parameter.len();
        let key = Cow::from(percent_encoding::percent_decode(key));
        value_follows && sensitive.iter().any(|name| name.as_bytes() == key.as_ref())
    };
    if !query.split(|byte| *byte == b'&').any(is_sensitive) {
        return Cow::Borrowed(query);
    }
    let mut redacted = Vec::with_capacity(query.len());
    for (position, parameter) in query.split(|byte| *byte == b'&').enumerate() {
        if position > 0 {
            redacted.push(b'&');
        }
        if is_sensitive(parameter) {
            redacted.extend_from_slice(key_of(parameter));
            redacted.push(b'=');
            redacted.extend_from_slice(REDACTED);
        } else {
            redacted.extend_from_slice(parameter);
        }
    }
    Cow::Owned(redacted)
}

/// The authority with user information replaced.
#[must_use]
pub fn authority(authority: &[u8]) -> Cow<'_, [u8]> {
    match authority.iter().rposition(|byte| *byte == b'@') {
        None => Cow::Borrowed(authority),
        Some(at) => {
            let mut redacted = b"REDACTED:REDACTED".to_vec();
            redacted.extend(authority.iter().skip(at));
            Cow::Owned(redacted)
        }
    }
}

fn key_of(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn defaults() -> Vec<String> {
        SENSITIVE_QUERY_PARAMETERS.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_are_replaced() {
        let cases = [
            ("q=1", "q=1", "nothing to hide"),
            ("sig=secret", "sig=REDACTED", "a signature"),
            ("a=1&sig=secret&b=2", "a=1&sig=REDACTED&b=2", "between others"),
            ("sig=a&sig=b", "sig=REDACTED&sig=REDACTED", "twice"),
            ("sig=a=b", "sig=REDACTED", "a value with an equals sign"),
            ("s%69g=secret", "s%69g=REDACTED", "a key in percent-encoding"),
            ("s%6=x&%zz=%", "s%6=x&%zz=%", "percent signs that encode nothing"),
            ("SIG=x", "SIG=x", "case matters"),
            ("sig", "sig", "a key without a value"),
            ("sig=", "sig=REDACTED", "an empty value"),
            ("design=x", "design=x", "another key that ends so"),
            ("&&", "&&", "empty parameters"),
            ("", "", "an empty query"),
        ];
        for (input, expected, reason) in cases {
            assert_eq!(
                query(input.as_bytes(), &defaults()).as_ref(),
                expected.as_bytes(),
                "{reason}"
            );
        }
        assert_eq!(query(b"sig=x", &[]).as_ref(), b"sig=x", "an empty list disables it");
    }

    #[test]
    fn user_information_is_replaced() {
        let cases = [
            ("example.com:80", "example.com:80", "none"),
            ("me:secret@example.com", "REDACTED:REDACTED@example.com", "name and password"),
            ("me@example.com", "REDACTED:REDACTED@example.com", "a name"),
            ("a@b@example.com", "REDACTED:REDACTED@example.com", "two signs"),
        ];
        for (input, expected, reason) in cases {
            assert_eq!(authority(input.as_bytes()).as_ref(), expected.as_bytes(), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_survives(before in "[a-z=&%]{0,20}", after in "[a-z=&%]{0,20}") {
            let input = format!("{before}&sig=SECRET&{after}");
            let output = query(input.as_bytes(), &defaults()).into_owned();
            prop_assert!(!String::from_utf8(output).unwrap().contains("SECRET"));
        }
    }
}
