//! Secrets in URLs: what is replaced before a URL becomes an attribute.
//!
//! (Semantic conventions 1.44.0, notes of `url.query` and `url.full`.)

use std::borrow::Cow;

/// The query parameters whose values are replaced unless the configuration says otherwise: those of the conventions, and what
/// goes with a signature of Google's or `CloudFront`'s. Case-sensitive.
pub const SENSITIVE_QUERY_PARAMETERS: &[&str] = &[
    "AWSAccessKeyId",
    "Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "sig",
    "X-Goog-Signature",
    "X-Goog-Credential",
    "Policy",
    "Key-Pair-Id",
];

/// Those that often hold secrets, and often do not: replaced if the configuration says so. Case-sensitive.
pub const COMMON_SECRETS: &[&str] =
    &["access_token", "api_key", "token", "password", "code", "key"];

const REDACTED: &[u8] = b"REDACTED";

/// The query with the values of the sensitive parameters replaced; their keys stay. A key in
/// percent-encoding is the same key. Parameters are separated by `&` or by `;`; what follows a `;` in a secret, and is no
/// parameter of its own, is part of the secret.
#[must_use]
pub fn query<'a>(query: &'a [u8], sensitive: &[String]) -> Cow<'a, [u8]> {
    let is_sensitive = |parameter: &[u8]| {
        let key = key_of(parameter);
        let value_follows = key.len() < parameter.len();
        let key = Cow::from(percent_encoding::percent_decode(key));
        value_follows && sensitive.iter().any(|name| name.as_bytes() == key.as_ref())
    };
    if !parameters(query).any(|(_, parameter)| is_sensitive(parameter)) {
        return Cow::Borrowed(query);
    }
    let mut redacted = Vec::with_capacity(query.len());
    let mut in_secret = false;
    for (separator, parameter) in parameters(query) {
        if in_secret && separator == b";" && !parameter.contains(&b'=') {
            continue;
        }
        in_secret = is_sensitive(parameter);
        redacted.extend_from_slice(separator);
        if in_secret {
            redacted.extend_from_slice(key_of(parameter));
            redacted.push(b'=');
            redacted.extend_from_slice(REDACTED);
        } else {
            redacted.extend_from_slice(parameter);
        }
    }
    Cow::Owned(redacted)
}

/// The parameters of a query, each with what separates it from the one before.
fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = Some(query);
    let mut separator: &[u8] = b"";
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let end = text.iter().position(|byte| b"&;".contains(byte)).unwrap_or(text.len());
        let (parameter, after) = text.split_at_checked(end)?;
        let before = separator;
        if let Some((next, after)) = after.split_at_checked(1) {
            (separator, rest) = (next, Some(after));
        }
        Some((before, parameter))
    })
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
            ("a=1;sig=secret;b=2", "a=1;sig=REDACTED;b=2", "between semicolons"),
            ("a=1;s%69g=secret&b=2", "a=1;s%69g=REDACTED&b=2", "in percent-encoding, too"),
            ("sig=a;b;c&d;e", "sig=REDACTED&d;e", "semicolons in a secret"),
            ("sig=a;b;sig=c;d;e=f", "sig=REDACTED;sig=REDACTED;e=f", "between secrets"),
            ("a;b=1;;", "a;b=1;;", "semicolons and nothing to hide"),
            ("X-Goog-Credential=x", "X-Goog-Credential=REDACTED", "Google's credential"),
            ("Policy=x&Key-Pair-Id=y", "Policy=REDACTED&Key-Pair-Id=REDACTED", "CloudFront's"),
            ("token=x", "token=x", "what is a secret for some alone"),
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
        fn no_secret_survives(before in "[a-z=&;%]{0,20}", after in "[a-z=&;%]{0,20}", comma in "[&;]") {
            let input = format!("{before}{comma}sig=SECRET;SECRET&{after}");
            let output = query(input.as_bytes(), &defaults()).into_owned();
            prop_assert!(!String::from_utf8(output).unwrap().contains("SECRET"));
        }
    }
}
