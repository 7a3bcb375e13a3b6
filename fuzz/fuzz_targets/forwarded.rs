//! The `Forwarded` header, held against a grammar in the form of a regular expression: what the first element says, and
//! nothing where the header is malformed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::semconv::forwarded::Forwarded;
use regex::bytes::Regex;
use std::sync::LazyLock;

const NAME: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";
/// A value without quotes, with what is taken beyond RFC 7239.
const PLAIN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z:\[\]]+";
const QUOTED: &str = r#""(?:[\t \x21\x23-\x5B\x5D-\x7E\x80-\xFF]|\\[\t \x21-\x7E\x80-\xFF])*""#;

/// A parameter at the start of a text: its name and its value as written.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    let pair = format!(r"(?-u)^({NAME})[ \t]*=[ \t]*({PLAIN}|{QUOTED})[ \t]*(?:$|[;,])");
    Regex::new(&pair).expect("a grammar")
});

/// A whole header.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    let pair = format!(r"(?:{NAME}[ \t]*=[ \t]*(?:{PLAIN}|{QUOTED})[ \t]*)?");
    let header = format!(r"(?-u)^[ \t]*{pair}(?:[;,][ \t]*{pair})*$");
    Regex::new(&header).expect("a grammar")
});

fuzz_target!(|input: &[u8]| {
    let read = Forwarded::parse(input);
    match expected(input) {
        Some([client, host, proto]) => {
            let read = read.expect("it is well-formed");
            let read = [read.client, read.host, read.proto].map(|it| it.map(|it| it.into_owned()));
            assert_eq!(read, [client, host, proto]);
        }
        None => assert!(read.is_err(), "it is malformed: {read:?}"),
    }
});

/// The values of `for`, `host` and `proto` in the first element; `None` if the header is malformed.
fn expected(header: &[u8]) -> Option<[Option<Vec<u8>>; 3]> {
    if !HEADER.is_match(header) {
        return None;
    }
    let mut first = None;
    let mut said: [Option<Vec<u8>>; 3] = [const { None }; 3];
    let mut is_empty = true;
    let mut rest = header;
    loop {
        rest = rest.trim_ascii_start();
        let mut separator = rest.first().copied();
        if let Some(pair) = PAIR.captures(rest) {
            is_empty = false;
            let names: [&[u8]; 3] = [b"for", b"host", b"proto"];
            let name = names.iter().position(|name| name.eq_ignore_ascii_case(&pair[1]));
            if let Some(name) = name
                && said[name].replace(meant(&pair[2])).is_some()
            {
                return None;
            }
            let end = pair[0].len();
            separator = pair[0].last().copied().filter(|last| b";,".contains(last));
            rest = &rest[end - usize::from(separator.is_some())..];
        }
        if separator != Some(b';') && !is_empty {
            first.get_or_insert_with(|| said.clone());
            said = [const { None }; 3];
            is_empty = true;
        }
        let Some((_, after)) = rest.split_first() else { break };
        rest = after;
    }
    let first = first.unwrap_or_default();
    Some(first.map(|value| value.filter(|value| !value.is_empty())))
}

/// A value without its quotes and backslashes.
fn meant(written: &[u8]) -> Vec<u8> {
    let Some(quoted) = written.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")) else {
        return written.to_vec();
    };
    let mut meant = Vec::new();
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        meant.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    meant
}
