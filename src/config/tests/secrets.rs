//! No configuration and no variable, whatever was mistaken for what, brings a secret into a message.

use super::schema::agreement::{DOCUMENTS, any_key_of_the_schema, pointers};
use crate::config::{Config, Environment};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// What must stand in no message, as it stands in a configuration; a message might show a part of it.
const SECRET: &str = "S3KR3T";
const PARTS: [&str; 3] = ["S3KR", "3KR3", "KR3T"];

/// Texts that hold the secret, as people write them.
const TEXTS: [&str; 24] = [
    "S3KR3T",
    "1.S3KR3T",
    "api-key=S3KR3T",
    "api-key=S3KR3T%",
    "a=b,S3KR3T",
    "a=b,S3KR3T=%zz",
    "authorization: Bearer S3KR3T",
    "tracecontext,S3KR3T",
    "b3,S3KR3T",
    "grpc S3KR3T",
    "http://collector:4318/v1/traces?api-key=S3KR3T",
    "http://collector:S3KR3T/v1/traces",
    "https://user:S3KR3T@collector/v1/traces",
    "https://user:S3KR3T%40collector/v1/traces",
    "HTTPS://collector/S3KR3T /v1/traces",
    "collector/S3KR3T",
    "S3KR3T\u{0}",
    "\nS3KR3T\n",
    "é S3KR3T",
    "\"S3KR3T\\",
    "0S3KR3T",
    "${S3KR3T",
    "${UNSET:-S3KR3T}",
    "${KEY}",
];

const VARIABLES: [&str; 25] = [
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_PROPAGATORS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_LOG_LEVEL",
];

/// A variable with the secret, for documents that name it, and others.
fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().chain(&[("KEY", "S3KR3T")]);
    variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// All that is said of a configuration.
fn messages(document: &[u8], variables: &[(&str, &str)]) -> Vec<String> {
    match Config::parse(document, &environment(variables), &super::compiled) {
        Ok(parsed) => parsed.warnings,
        Err(error) => vec![error.to_string()],
    }
}

/// The message that shows the secret, or a part of it.
fn leak(document: &[u8], variables: &[(&str, &str)]) -> Option<String> {
    messages(document, variables)
        .into_iter()
        .find(|message| PARTS.iter().any(|part| message.to_uppercase().contains(part)))
}

fn no_leak(document: &str, variables: &[(&str, &str)]) {
    assert_eq!(leak(document.as_bytes(), variables), None, "{document} {variables:?}");
}

/// Values that hold a text, of each type that can.
fn holders(text: &str) -> [Value; 8] {
    [
        json!(text),
        json!([text]),
        json!([[text]]),
        json!({ text: null }),
        json!([{ text: {} }]),
        json!({"headers_list": text}),
        json!([{"name": text, "value": text}]),
        json!({"name": "a", "value": {"b": text}}),
    ]
}

/// The places of a document.
fn places(document: &Value) -> Vec<String> {
    let mut places = Vec::new();
    pointers(document, "", &mut places);
    places
}

/// The document with the key of a place replaced, if it has one.
fn renamed(document: &Value, place: &str, key: &str) -> Option<Value> {
    let (parent, token) = place.rsplit_once('/')?;
    let mut document = document.clone();
    let members = document.pointer_mut(parent)?.as_object_mut()?;
    let value = members.remove(&token.replace("~1", "/").replace("~0", "~"))?;
    members.insert(key.to_owned(), value);
    Some(document)
}

#[test]
fn the_known_ways_to_a_secret() {
    let exporter = |exporter: &str| super::exporter(exporter);
    let documents = [
        exporter(r#"{"otlp_http": [{"headers_list": "api-key=S3KR3T"}]}"#),
        exporter(r#"[{"otlp_http": {"headers_list": "api-key=S3KR3T"}}]"#),
        exporter(r#"{"otlp_http": {"endpoint": "http://c /v1/traces?api-key=S3KR3T"}}"#),
        exporter(r#"{"otlp_http": {"endpoint": "https://u:S3KR3T%40c"}}"#),
        exporter(r#"{"otlp_grpc": {"endpoint": "https://c/?api-key=S3KR3T"}}"#),
        exporter(r#"{"otlp_http": {"headers": {"S3KR3T": ""}}}"#),
        exporter(r#"{"otlp_http": {"headers": [{"S3KR3T": ""}]}}"#),
        exporter(r#"{"otlp_http": {"headers": [{"name": "S3KR3T ", "value": ""}]}}"#),
        exporter(r#"{"otlp_http": {"S3KR3T": "", "S3KR3T": ""}}"#),
        r#"{"tracer_provider": {"processors": {"headers_list": "api-key=S3KR3T"}}}"#.to_owned(),
        r#"{"resource": {"attributes_list": "api-key=1,S3KR3T"}}"#.to_owned(),
        r#"{"envoy": S3KR3T}"#.to_owned(),
        r#""S3KR3T"#.to_owned(),
    ];
    for document in documents {
        assert_eq!(messages(document.as_bytes(), &[]).len(), 1, "{document} is refused");
        no_leak(&document, &[]);
    }
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://v/?api-key=S3KR3T"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://u:S3KR3T%40c"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=S3KR3T%"),
        ("OTEL_RESOURCE_ATTRIBUTES", "S3KR3T"),
        ("OTEL_TRACES_SAMPLER", "S3KR3T"),
    ] {
        let said = messages(b"{}", &[(name, value)]);
        let [warning] = said.as_slice() else { panic!("{name}: one warning, not {said:?}") };
        assert!(warning.starts_with(&format!("{name}=\"…\" is ignored; accepted: ")), "{warning}");
    }
}

#[test]
fn wherever_a_secret_stands_no_message_shows_it() {
    let mut refused = 0;
    for document in DOCUMENTS {
        let document: Value = serde_json::from_str(document).expect("JSON");
        for place in places(&document) {
            for text in TEXTS {
                assert!(text.contains(SECRET) || text.contains("KEY"), "{text:?}");
                let with = |value: Value| {
                    let mut document = document.clone();
                    *document.pointer_mut(&place).expect("is there") = value;
                    document
                };
                let documents = holders(text).into_iter().map(with);
                for document in documents.chain(renamed(&document, &place, text)) {
                    let document = document.to_string();
                    no_leak(&document, &[]);
                    refused += usize::from(
                        Config::parse(document.as_bytes(), &environment(&[]), &super::compiled)
                            .is_err(),
                    );
                }
            }
        }
    }
    assert!(refused > 10_000, "most of them are mistakes: {refused}");
}

#[test]
fn whatever_holds_a_secret_no_warning_shows_it() {
    let mut warnings = 0;
    for name in VARIABLES {
        for text in TEXTS {
            for document in ["{}", DOCUMENTS[0], DOCUMENTS[1]] {
                no_leak(document, &[(name, text)]);
            }
            warnings += messages(b"{}", &[(name, text)]).len();
        }
    }
    assert!(warnings > 300, "most of them are mistakes: {warnings}");
}

/// The document and its places with the secret in it, or a key of the schema in the place of another one.
fn mutated(document: usize, changes: &[(Index, Index, Index, Option<String>)]) -> String {
    let mut document: Value = serde_json::from_str(DOCUMENTS[document]).expect("JSON");
    for (place, text, holder, key) in changes {
        let places = places(&document);
        let place = place.get(&places);
        if let Some(key) = key {
            document = renamed(&document, place, key).unwrap_or(document);
        } else {
            let value = holder.get(&holders(text.get::<&str>(&TEXTS))).clone();
            *document.pointer_mut(place).expect("is there") = value;
        }
    }
    document.to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn mistakes_on_mistakes_show_no_secret(
        document in 0..DOCUMENTS.len(),
        changes in proptest::collection::vec(
            (any::<Index>(), any::<Index>(), any::<Index>(), proptest::option::of(any_key_of_the_schema())), 1..5),
        cut: Option<Index>,
        written_into: Option<Index>,
        variables in proptest::collection::vec((select(&VARIABLES[..]), select(&TEXTS[..])), 0..4),
    ) {
        let mut text = mutated(document, &changes).into_bytes();
        if let Some(at) = written_into {
            let at = at.index(text.len());
            text.splice(at..at, SECRET.bytes());
        }
        if let Some(at) = cut {
            text.truncate(at.index(text.len()));
        }
        prop_assert_eq!(leak(&text, &variables), None);
    }
}
