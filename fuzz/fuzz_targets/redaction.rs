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
    let is_secret = |parameter: &[u8]| {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=');
        let name: Vec<u8> = percent_decode(parts.next().unwrap_or_default()).collect();
        parts.next().is_some() && sensitive.iter().any(|it| it.as_bytes() == name)
    };
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for group in before.split(|byte| *byte == b'&') {
        // In reverse, what follows a secret up to the next parameter belongs to it.
        let mut parameters: Vec<Vec<u8>> = Vec::new();
        let mut pending: Vec<&[u8]> = Vec::new();
        for (place, parameter) in
            group.split(|byte| *byte == b';').enumerate().collect::<Vec<_>>().into_iter().rev()
        {
            if place > 0 && !parameter.contains(&b'=') {
                pending.push(parameter);
                continue;
            }
            if is_secret(parameter) {
                let key = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
                parameters.push([key, b"=REDACTED"].concat());
                pending.clear();
            } else {
                let whole = std::iter::once(parameter).chain(pending.drain(..).rev());
                parameters.push(whole.collect::<Vec<_>>().join(&b';'));
            }
        }
        parameters.reverse();
        expected.push(parameters.join(&b';'));
    }
    assert_eq!(*after, expected.join(&b'&'), "secrets are replaced, and nothing else is");
    assert_eq!(query(&after, sensitive), after, "once is enough");
    if holds(before, SECRET) || sensitive.iter().any(|name| holds(name.as_bytes(), SECRET)) {
        return;
    }
    for name in SENSITIVE_QUERY_PARAMETERS {
        for separator in [b"&", b";"] {
            let secret = [name.as_bytes(), b"=", SECRET, b"=", SECRET, b";", SECRET].concat();
            let with = [before, separator, &secret, separator, before].concat();
            assert!(!holds(&query(&with, sensitive), SECRET), "{name}");
        }
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
