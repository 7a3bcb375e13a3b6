//! The JSON Schema in `envoy/`, against the parser: what one takes the other takes, but for the few
//! rules that a schema can't say.

use super::parse;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SCHEMA: &str = include_str!("../../../envoy/otel-proxy-wasm.schema.json");

/// Documents that the schema takes and the parser refuses, at the place named, with the reason.
const BEYOND_A_SCHEMA: &[(&str, &str, &str)] = &[
    (
        r#"{"tracer_provider": {"processors": [{"batch": {"max_export_batch_size": 4096}}]}}"#,
        "tracer_provider.processors[0].batch.max_export_batch_size",
        "one key's value limits another's",
    ),
    (
        r#"{"envoy": {"max_queue_bytes": 1024, "max_export_batch_bytes": 2048}}"#,
        "envoy.max_export_batch_bytes",
        "one key's value limits another's",
    ),
    (
        r#"{"resource": {"attributes_list": "a=%ff"}}"#,
        "resource.attributes_list",
        "UTF-8 behind percent-encoding",
    ),
    (
        r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers_list": "a%20b=c"}}}}]}}"#,
        "tracer_provider.processors[0].batch.exporter.otlp_http.headers_list",
        "a header's name behind percent-encoding",
    ),
    (
        r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers": [{"name": "Host", "value": "a"}]}}}}]}}"#,
        "tracer_provider.processors[0].batch.exporter.otlp_http.headers[0].name",
        "a reserved name in any case",
    ),
    (
        r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"endpoint": "http://c:70000"}}}}]}}"#,
        "tracer_provider.processors[0].batch.exporter.otlp_http.endpoint",
        "a number's range in a text",
    ),
    (
        r#"{"tracer_provider": {"sampler": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"always_on": null}}}}}}}}}}}}}}}}}}}"#,
        "tracer_provider.sampler.parent_based.root.parent_based.root.parent_based.root.parent_based.root.parent_based.root.parent_based.root.parent_based.root.parent_based.root",
        "a depth",
    ),
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

/// Whether the parser's refusal is of a rule that the schema can't say.
fn is_beyond_a_schema(refusal: &str) -> bool {
    let place = |(_, place, _): &(&str, &str, &str)| refusal.starts_with(&format!("{place}: "));
    BEYOND_A_SCHEMA.iter().any(place)
}

/// A step from a value of a document to one in it.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    FirstItem,
}

/// A place in a document and what the schema says of it.
struct Place<'a> {
    path: Vec<Step>,
    /// Beside a reference.
    here: &'a Value,
    /// What the reference names, or the same.
    named: &'a Value,
}

impl Place<'_> {
    /// A document that has only this value here.
    fn document(&self, value: Value) -> String {
        let wrapped = self.path.iter().rev().fold(value, |value, step| match step {
            Step::Key(key) => json!({ key: value }),
            Step::FirstItem => json!([value]),
        });
        wrapped.to_string()
    }

    /// As the parser's errors write it.
    fn name(&self) -> String {
        self.path.iter().fold(String::new(), |path, step| match step {
            Step::Key(key) if path.is_empty() => key.clone(),
            Step::Key(key) => format!("{path}.{key}"),
            Step::FirstItem => format!("{path}[0]"),
        })
    }

    fn properties(&self) -> Option<BTreeSet<&str>> {
        let properties = self.named["properties"].as_object()?;
        Some(properties.keys().map(String::as_str).collect())
    }
}

/// All places that the schema knows; what refers to itself is entered once.
fn places(schema: &Value) -> Vec<Place<'_>> {
    fn enter<'a>(
        schema: &'a Value,
        here: &'a Value,
        path: Vec<Step>,
        entered: &[&'a str],
        places: &mut Vec<Place<'a>>,
    ) {
        let mut entered = entered.to_vec();
        let named = match here["$ref"].as_str() {
            None => here,
            Some(reference) => {
                let definition = schema.pointer(reference.trim_start_matches('#'));
                let definition = definition.expect("a definition");
                if entered.contains(&reference) {
                    return places.push(Place { path, here, named: &Value::Null });
                }
                entered.push(reference);
                definition
            }
        };
        let with = |step| [path.as_slice(), &[step]].concat();
        for (key, property) in named["properties"].as_object().into_iter().flatten() {
            enter(schema, property, with(Step::Key(key.clone())), &entered, places);
        }
        if named["items"].is_object() {
            enter(schema, &named["items"], with(Step::FirstItem), &entered, places);
        }
        places.push(Place { path, here, named });
    }
    let mut places = Vec::new();
    enter(schema, schema, Vec::new(), &[], &mut places);
    places
}

#[test]
fn the_schema_is_one() {
    let schema = schema();
    let result = jsonschema::draft202012::meta::validate(&schema);
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn the_schema_and_the_parser_know_the_same_keys() {
    let schema = schema();
    let mut objects = 0;
    for place in places(&schema) {
        let Some(properties) = place.properties() else { continue };
        assert_eq!(
            place.named["additionalProperties"],
            json!(false),
            "{} takes no other keys",
            place.name()
        );
        let error = parse(&place.document(json!({"?": null}))).expect_err("an unknown key");
        let prefix = match place.name().as_str() {
            "" => "unknown key \"?\"; accepted: ".to_owned(),
            path => format!("{path}: unknown key \"?\"; accepted: "),
        };
        let accepted = error.strip_prefix(&prefix);
        let accepted = accepted.unwrap_or_else(|| panic!("{error:?} starts with {prefix:?}"));
        let accepted = if accepted == "no keys" { "" } else { accepted };
        let accepted = accepted.split(", ").filter(|key| !key.is_empty()).collect();
        assert_eq!(properties, accepted, "{}", place.name());
        objects += 1;
    }
    assert!(objects >= 25, "all objects of the schema are seen, not {objects}");
}

#[test]
fn every_key_is_described() {
    for place in places(&schema()) {
        if let Some(Step::Key(key)) = place.path.last() {
            let described =
                [place.here, place.named].iter().any(|it| it["description"].is_string());
            assert!(described, "{key} at {}", place.name());
        }
    }
}

#[test]
fn defaults_in_the_schema_are_the_parsers() {
    let schema = schema();
    let validator = validator();
    let mut defaults = 0;
    for place in places(&schema) {
        let Some(default) = place.here.get("default") else { continue };
        let document = place.document(default.clone());
        assert!(validator.is_valid(&serde_json::from_str(&document).expect("JSON")), "{document}");
        let written = parse(&document).expect(&document);
        let absent = parse(&place.document(Value::Null)).expect("null is as good as absent");
        assert_eq!(format!("{written:?}"), format!("{absent:?}"), "{}", place.name());
        defaults += 1;
    }
    assert!(defaults >= 25, "all defaults of the schema are seen, not {defaults}");
}

#[test]
fn ranges_in_the_schema_are_the_parsers() {
    let schema = schema();
    let mut ranges = 0;
    for place in places(&schema) {
        let ends = [place.here["minimum"].as_i64(), place.here["maximum"].as_i64()];
        let [Some(least), Some(most)] = ends else { continue };
        for taken in [least, most] {
            if let Err(error) = parse(&place.document(json!(taken))) {
                assert!(is_beyond_a_schema(&error), "{error}");
            }
        }
        for refused in [least - 1, most + 1] {
            let error = parse(&place.document(json!(refused))).expect_err(&place.name());
            assert!(error.starts_with(&format!("{}: found {refused}", place.name())), "{error}");
        }
        ranges += 1;
    }
    assert!(ranges >= 10, "all ranges of the schema are seen, not {ranges}");
}

#[test]
fn words_in_the_schema_are_the_parsers() {
    let schema = schema();
    let mut words = 0;
    for place in places(&schema) {
        let stands_alone = parse(&place.document(Value::Null)).is_ok();
        let Some(known) = place.here["enum"].as_array().filter(|_| stands_alone) else { continue };
        let known: BTreeSet<_> = known.iter().filter_map(Value::as_str).collect();
        let error = parse(&place.document(json!("?"))).expect_err("an unknown word");
        let accepted = error.strip_prefix(&format!("{}: found \"?\"; accepted: ", place.name()));
        assert_eq!(known, accepted.expect("an error here").split(", ").collect(), "{error}");
        words += 1;
    }
    assert!(words >= 4, "all lists of words in the schema are seen, not {words}");
}

#[test]
fn the_schema_takes_what_the_parser_takes() {
    let validator = validator();
    let documents = [
        include_str!("complete.json"),
        "{}",
        r#"{"file_format": "1.0", "log_level": "debug3", "disabled": null}"#,
        r#"{"resource": {"attributes": [
            {"name": "a", "value": true, "type": "bool"}, {"name": "b", "value": 5.0, "type": "int"},
            {"name": "c", "value": 1, "type": "double"}, {"name": "d", "value": ["x"], "type": "string_array"},
            {"name": "e", "value": [], "type": "bool_array"}, {"name": "f", "value": [1], "type": "int_array"},
            {"name": "g", "value": [1.5], "type": "double_array"}, {"name": "h", "value": null, "type": "int"},
            {"name": "i", "value": "x", "type": null}]}}"#,
        r#"{"resource": {"attributes_list": " a = 1 ,, b=%20,"}}"#,
        r#"{"propagator": {"composite": [], "composite_list": " none ,, tracecontext"}}"#,
        r#"{"tracer_provider": {"processors": []}}"#,
        r#"{"tracer_provider": {"processors": [{"batch": null}]}}"#,
        r#"{"tracer_provider": {"processors": [{"batch": {"max_queue_size": 1e6, "exporter": {"otlp_http": null}}}]}}"#,
        r#"{"tracer_provider": {"sampler": {"parent_based": null}}}"#,
        r#"{"tracer_provider": {"sampler": {"trace_id_ratio_based": null}}}"#,
        r#"{"tracer_provider": {"sampler": {"trace_id_ratio_based": {"ratio": null}}}}"#,
        r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {
            "endpoint": "https://[::1]?a=b", "headers": [{"name": "a", "value": null}], "headers_list": "b="}}}}]}}"#,
        r#"{"instrumentation/development": {"general": {"sanitization": {"url": {"sensitive_query_parameters": []}}}}}"#,
    ];
    for document in documents {
        parse(document).expect(document);
        let document = serde_json::from_str(document).expect("JSON");
        let errors: Vec<_> = validator.iter_errors(&document).map(|it| it.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{document}");
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let validator = validator();
    for (document, error) in super::refusals() {
        let valid = validator.is_valid(&serde_json::from_str(document).expect("JSON"));
        assert_eq!(valid, is_beyond_a_schema(error) && valid, "{document}: {error}");
    }
    for (document, place, reason) in BEYOND_A_SCHEMA {
        let valid = validator.is_valid(&serde_json::from_str(document).expect("JSON"));
        assert!(valid, "a schema can't say this: {reason}");
        let error = parse(document).expect_err(reason);
        assert!(error.starts_with(&format!("{place}: ")), "{reason}: {error}");
    }
}

/// All values in a value, as JSON pointers.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, member)| pointers(member, &format!("{at}/{}", escaped(key)), found)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// Another value for a place in a document: of a wrong type, at an end of a range, or right.
fn values() -> impl Strategy<Value = Value> {
    let fixed = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(5.0),
        json!(1e6),
        json!(1024),
        json!(600_000),
        json!(600_001),
        json!(u64::MAX),
        json!(""),
        json!("1.2"),
        json!("none"),
        json!("auto"),
        json!("int"),
        json!("debug"),
        json!("b3,tracecontext"),
        json!("a=1,b"),
        json!("http://c?d"),
        json!("x y"),
        json!([]),
        json!([null]),
        json!(["x", "x"]),
        json!([1, 2.5]),
        json!([{}]),
        json!([{"name": "a", "value": 1, "type": "int"}]),
        json!([{"baggage": {}}]),
        json!([{"batch": {}}, {"batch": {}}]),
        json!({}),
        json!({"always_off": null}),
        json!({"ratio": 2}),
        json!({"exporter": {"otlp_grpc": {}}}),
    ];
    prop_oneof![
        proptest::sample::select(fixed.to_vec()),
        "[ -~]{0,6}".prop_map(Value::String),
        "(a|%2|%20|=|,| ){0,6}".prop_map(Value::String),
        "https?://[a-z:0-9@/?#\\[\\]]{0,6}".prop_map(Value::String),
        any::<i64>().prop_map(Value::from),
        (-2.0..2.0).prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_schema_and_the_parser_agree(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), values()), 1..4),
    ) {
        thread_local!(static VALIDATOR: Validator = validator());
        let mut document: Value = serde_json::from_str(include_str!("complete.json")).expect("JSON");
        for (place, value) in changes {
            let mut places = Vec::new();
            pointers(&document, "", &mut places);
            *document.pointer_mut(place.get::<String>(&places)).expect("is there") = value;
        }
        let valid = VALIDATOR.with(|validator| validator.is_valid(&document));
        match parse(&document.to_string()) {
            Ok(_) => prop_assert!(valid, "the parser takes what the schema refuses: {document}"),
            Err(error) => prop_assert!(
                !valid || is_beyond_a_schema(&error),
                "the schema takes what the parser refuses: {error}: {document}"
            ),
        }
    }
}
