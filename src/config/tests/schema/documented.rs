//! The documents of docs/configuration.md: the parser takes each, between them they have every key of the schema, and the complete one has
//! the defaults.

use super::{Place, Step, assert_taken, parse, places, read, schema, validator};
use serde_json::Value;
use std::collections::BTreeSet;

/// The page's documents, without their comments.
fn documents() -> Vec<Value> {
    let page = std::fs::read_to_string("docs/configuration.md").expect("the page");
    let blocks = page.split("```jsonc\n").skip(1);
    blocks
        .map(|block| {
            let (document, _) = block.split_once("```").expect("the end of the block");
            let document = without_comments(document);
            assert_taken(&validator(), &document);
            read(&document)
        })
        .collect()
}

/// A document without what follows `//` outside of a text.
fn without_comments(document: &str) -> String {
    let mut kept = String::new();
    for line in document.lines() {
        let (mut in_text, mut characters) = (false, line.chars().peekable());
        while let Some(character) = characters.next() {
            match (character, characters.peek()) {
                ('/', Some('/')) if !in_text => break,
                ('"', _) => in_text = !in_text,
                ('\\', _) => panic!("no escapes are read: {line}"),
                _ => {}
            }
            kept.push(character);
        }
        kept.push('\n');
    }
    kept
}

/// What stands at a place of a document; of a list, in any of its items.
fn values<'a>(document: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    path.iter().fold(vec![document], |values, step| match step {
        Step::Key(key) => values.into_iter().filter_map(|value| value.get(key)).collect(),
        Step::FirstItem(_) => {
            values.into_iter().filter_map(Value::as_array).flatten().collect::<Vec<_>>()
        }
    })
}

/// Whether a key stands anywhere in a value.
fn holds(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, member)| name == key || holds(member, key))
        }
        Value::Array(items) => items.iter().any(|item| holds(item, key)),
        _ => false,
    }
}

/// Whether a document has what stands at a place. Samplers stand within each other: of theirs, it has each key somewhere in its sampler.
fn is_in(document: &Value, place: &Place<'_>) -> bool {
    const SAMPLER: &str = "tracer_provider.sampler.";
    match place.key() {
        Some(key) if place.name().starts_with(SAMPLER) => {
            document.pointer("/tracer_provider/sampler").is_some_and(|it| holds(it, key))
        }
        _ => !values(document, &place.path).is_empty(),
    }
}

#[test]
fn every_key_is_in_a_document() {
    let (schema, documents) = (schema(), documents());
    assert!(documents.len() >= 4, "the page's documents are found: {}", documents.len());
    let mut keys = 0;
    for place in places(&schema).iter().filter(|place| place.key().is_some()) {
        let known = documents.iter().any(|document| is_in(document, place));
        assert!(known, "docs/configuration.md has no {}", place.name());
        keys += 1;
    }
    assert!(keys >= 80, "the schema's keys are found: {keys}");
}

#[test]
fn the_complete_one_has_the_defaults() {
    let (schema, documents) = (schema(), documents());
    let mut complete = documents.iter().filter(|it| it.get("distribution").is_some());
    let document = complete.next().expect("a complete document");
    let mut compared = BTreeSet::new();
    for place in places(&schema) {
        let Some(default) = place.here.get("default") else { continue };
        for value in values(document, &place.path) {
            let [written, expected] = [value, default].map(|value| {
                let document = place.document(value.clone());
                format!("{:?}", parse(&document).expect(&document))
            });
            assert_eq!(written, expected, "{} in docs/configuration.md", place.name());
            compared.insert(place.name());
        }
    }
    assert!(compared.len() >= 25, "all defaults are compared: {compared:?}");
}

#[test]
fn a_comment_ends_no_text() {
    let cases = [
        (r#"{"a": 1} // "b""#, r#"{"a": 1} "#, "behind a document"),
        (r#"{"a": "http://b"} // c"#, r#"{"a": "http://b"} "#, "not within a text"),
        (r#"// {"a": 1}"#, "", "a line of its own"),
    ];
    for (document, expected, reason) in cases {
        assert_eq!(without_comments(document), format!("{expected}\n"), "{reason}");
    }
}
