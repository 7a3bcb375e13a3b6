//! URLs without their secrets: no value of a sensitive parameter and no user information is left, and
//! nothing else is changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::semconv::redaction::{SENSITIVE_QUERY_PARAMETERS, authority, query};
use otel_proxy_wasm_fuzz::{holds, lines, value};
use percent_encoding::percent_decode;

const SECRET: &[u8] = b"s3cret";

fuzz_target!(|input: &[u8]| {
    let configured = lines(input).filter(|(name, _)| *name == b"sensitive");
    let configured = configured.filter_map(|(_, value)| String::from_utf8(value.to_vec()).ok());
    let sensitive = SENSITIVE_QUERY_PARAMETERS.iter().map(ToString::to_string);
    let sensitive: Vec<_> = sensitive.chain(configured).collect();
    check_query(value(input, "query"), &sensitive);
    check_authority(value(input, "authority"));
});

fn check_query(before: &[u8], sensitive: &[String]) {
    let after = query(before, sensitive);
    let parameters = |query: &[u8]| -> Vec<Vec<u8>> {
        query.split(|byte| *byte == b'&').map(<[u8]>::to_vec).collect()
    };
    let (came, left) = (parameters(before), parameters(&after));
    assert_eq!(came.len(), left.len(), "no parameter is lost");
    for (came, left) in came.iter().zip(&left) {
        let mut parts = came.splitn(2, |byte| *byte == b'=');
        let (key, value) = (parts.next().unwrap_or_default(), parts.next());
        let name: Vec<u8> = percent_decode(key).collect();
        let is_sensitive = sensitive.iter().any(|it| it.as_bytes() == name);
        if is_sensitive && value.is_some() {
            assert_eq!(*left, [key, b"=REDACTED"].concat(), "a secret");
        } else {
            assert_eq!(came, left, "no secret");
        }
    }
    assert_eq!(query(&after, sensitive), after, "once is enough");
    if holds(before, SECRET) || sensitive.iter().any(|name| holds(name.as_bytes(), SECRET)) {
        return;
    }
    for name in SENSITIVE_QUERY_PARAMETERS {
        let with =
            [before, b"&", name.as_bytes(), b"=", SECRET, b"=", SECRET, b"&", before].concat();
        assert!(!holds(&query(&with, sensitive), SECRET), "{name}");
    }
}

fn check_authority(before: &[u8]) {
    let after = authority(before);
    let host = before.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    if before.contains(&b'@') {
        assert_eq!(*after, [b"REDACTED:REDACTED@", host].concat(), "user information");
    } else {
        assert_eq!(*after, *before, "no user information");
    }
    assert_eq!(authority(&after), after, "once is enough");
}
