//! A path has the template that a list says which is looked through from its start to its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otel_proxy_wasm::semconv::route::{MAX_SEGMENTS, RouteNames, Routes, Template};
use otel_proxy_wasm_fuzz::{lines, sections};

fuzz_target!(|input: &[u8]| {
    // Templates, each behind its methods or nothing; then methods with paths.
    let [templates, requests] = sections(input);
    let mut list: Vec<(String, Vec<String>)> = Vec::new();
    // As many as can't make a search give up.
    for (methods, text) in lines(templates).take(9) {
        let (Ok(methods), Ok(text)) = (str::from_utf8(methods), str::from_utf8(text)) else {
            continue;
        };
        let methods = methods.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        list.push((text.to_owned(), methods));
        if routes(&list).is_none() {
            list.pop();
        }
    }
    let tree = routes(&list).expect("those that were kept");
    for (method, path) in lines(requests) {
        let matching = list.iter().filter(|(text, methods)| {
            let is_for = |it: &String| it.as_bytes() == method;
            (methods.is_empty() || methods.iter().any(is_for)) && is_match(text, path)
        });
        let best = matching.min_by_key(|(text, methods)| (kinds(text), methods.is_empty()));
        let best = best.map(|(text, _)| text.as_str());
        assert_eq!(tree.matched(method, path), best, "{}", path.escape_ascii());
    }
});

/// None if one of them is no template, or two are in conflict.
fn routes(list: &[(String, Vec<String>)]) -> Option<Routes> {
    let template =
        |(text, methods): &(String, Vec<String>)| Template::parse(text, methods.clone()).ok();
    let templates = list.iter().map(template).collect::<Option<Vec<_>>>()?;
    Routes::new(templates, RouteNames::Names).ok()
}

fn kinds(text: &str) -> Vec<u8> {
    let segments = text.split('/').skip(1);
    let kinds: Vec<_> = segments
        .map(|it| match it.as_bytes() {
            [b'{', b'*', ..] => 2,
            [b'{', ..] => 1,
            _ => 0,
        })
        .collect();
    assert!((1..=MAX_SEGMENTS).contains(&kinds.len()));
    kinds
}

fn is_match(text: &str, path: &[u8]) -> bool {
    let Some(mut rest) = path.strip_prefix(b"/").map(Some) else { return false };
    for (segment, kind) in text.split('/').skip(1).zip(kinds(text)) {
        let Some(left) = rest else { return false };
        let end = left.iter().position(|byte| *byte == b'/');
        let (first, after) = (&left[..end.unwrap_or(left.len())], end.map(|end| &left[end + 1..]));
        rest = match kind {
            0 if segment.as_bytes() == first => after,
            1 if !first.is_empty() => after,
            2 if !left.is_empty() => None,
            _ => return false,
        };
    }
    rest.is_none()
}
