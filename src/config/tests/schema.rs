//! The JSON Schema in `envoy/`, against the parser: what one takes the other takes, but for the few
//! rules that a schema can't say.

pub(super) mod agreement;
mod documented;

use super::{parse, with_variables};
use crate::semconv::opt_in::OPT_IN;
use crate::trust::network::Network;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;

const SCHEMA: &str = include_str!("../../../envoy/otel-proxy-wasm.schema.json");

/// A rule that a schema can't say.
struct Beyond {
    reason: &'static str,
    /// Where the parser's refusal points. In a list, the first item stands for all.
    place: &'static str,
    /// Whether a document breaks it there. Documents that break another rule there are the schema's affair.
    breaks: fn(&Value) -> bool,
    /// The schema takes it and the parser refuses it.
    example: &'static str,
}

const BATCH: &str = "/tracer_provider/processors/0/batch";
const EXPORTER: &str = "/tracer_provider/processors/0/batch/exporter";

const BEYOND_A_SCHEMA: &[Beyond] = &[
    Beyond {
        reason: "one key's value limits another's",
        place: "tracer_provider.processors[0].batch.max_export_batch_size",
        breaks: |document| {
            let queue = number(document, &format!("{BATCH}/max_queue_size")).unwrap_or(2048.0);
            number(document, &format!("{BATCH}/max_export_batch_size")) > Some(queue)
        },
        example: r#"{"tracer_provider": {"processors": [{"batch": {"max_export_batch_size": 4096}}]}}"#,
    },
    Beyond {
        reason: "one key's value limits another's",
        place: "envoy.max_export_batch_bytes",
        breaks: |document| {
            let queue = number(document, "/envoy/max_queue_bytes").unwrap_or(8_388_608.0);
            number(document, "/envoy/max_export_batch_bytes") > Some(queue)
        },
        example: r#"{"envoy": {"max_queue_bytes": 1024, "max_export_batch_bytes": 2048}}"#,
    },
    Beyond {
        reason: "one key's value limits another's",
        place: "envoy.retry.max_interval",
        breaks: |document| {
            let initial = number(document, "/envoy/retry/initial_interval");
            number(document, "/envoy/retry/max_interval") < initial
        },
        example: r#"{"envoy": {"retry": {"initial_interval": 10, "max_interval": 9}}}"#,
    },
    Beyond {
        reason: "what two templates have in common",
        place: "envoy.routes[1]",
        breaks: |document| have_a_shape_in_common(document, 1),
        example: r#"{"envoy": {"routes": ["/{a}", "/{b}"]}}"#,
    },
    Beyond {
        reason: "what two templates have in common",
        place: "envoy.routes[2]",
        breaks: |document| have_a_shape_in_common(document, 2),
        example: r#"{"envoy": {"routes": ["/{a}", {"template": "/{b}", "methods": ["GET"]}, {"template": "/{c}", "methods": ["PUT", "GET"]}]}}"#,
    },
    Beyond {
        reason: "what percent-encoding stands for in a name or a header",
        place: "tracer_provider.processors[0].batch.exporter.otlp_http.headers_list",
        breaks: |document| has_encoded_header(document, "otlp_http"),
        example: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers_list": "a%20b=c"}}}}]}}"#,
    },
    Beyond {
        reason: "what percent-encoding stands for in a name or a header",
        place: "tracer_provider.processors[0].batch.exporter.otlp_grpc.headers_list",
        breaks: |document| has_encoded_header(document, "otlp_grpc"),
        example: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_grpc": {"headers_list": "a=%0a"}}}}]}}"#,
    },
    Beyond {
        reason: "which bits of an address are zero",
        place: "envoy.incoming.trusted.addresses[0]",
        breaks: |document| {
            let list = document.pointer("/envoy/incoming/trusted/addresses");
            let mut texts = list.and_then(Value::as_array).into_iter().flatten().map(Value::as_str);
            texts.any(|text| text.is_some_and(|text| Network::parse(text.as_bytes()).is_none()))
        },
        example: r#"{"envoy": {"incoming": {"trusted": {"addresses": ["10.0.0.1/8"]}}}}"#,
    },
    Beyond {
        reason: "what an expression is",
        place: "envoy.keep[0].condition",
        breaks: |document| {
            let rules = document.pointer("/envoy/keep").and_then(Value::as_array);
            let mut conditions = rules.into_iter().flatten().map(|rule| text(rule, "/condition"));
            conditions.any(|condition| super::compiled(condition).is_none())
        },
        example: r#"{"envoy": {"keep": [{"condition": "response.code == (5"}]}}"#,
    },
    Beyond {
        reason: "what an expression is",
        place: "envoy.attributes[0].expression",
        breaks: |document| {
            let mut texts = attributes(document).map(|attribute| text(attribute, "/expression"));
            texts.any(|expression| super::compiled(expression).is_none())
        },
        example: r#"{"envoy": {"attributes": [{"name": "a", "expression": "response.code == (5"}]}}"#,
    },
    Beyond {
        reason: "what two attributes have in common",
        place: "envoy.attributes[0]",
        breaks: |document| {
            let name = |attribute: &Value| attribute.get("name").unwrap_or(attribute).clone();
            let names: Vec<_> = attributes(document).map(name).collect();
            names.iter().enumerate().any(|(at, name)| names[..at].contains(name))
        },
        example: r#"{"envoy": {"attributes": [{"name": "a", "value": "x"}, {"name": "a", "header": "x"}]}}"#,
    },
];

/// The items of `envoy.attributes`.
fn attributes(document: &Value) -> impl Iterator<Item = &Value> {
    document.pointer("/envoy/attributes").and_then(Value::as_array).into_iter().flatten()
}

/// Whether a template has the segments of one before it, but for the names of parameters.
fn have_a_shape_in_common(document: &Value, index: usize) -> bool {
    let shape = |route: &Value| {
        let template = route.as_str().or_else(|| route["template"].as_str()).unwrap_or_default();
        let segment = |text: &str| match text.as_bytes() {
            [b'{', b'*', ..] => "{*}".to_owned(),
            [b'{', ..] => "{}".to_owned(),
            _ => text.to_owned(),
        };
        template.split('/').map(segment).collect::<Vec<_>>()
    };
    let shapes = document.pointer("/envoy/routes").and_then(Value::as_array);
    let shapes: Vec<_> = shapes.into_iter().flatten().map(shape).collect();
    shapes.iter().take(index).any(|before| shapes.get(index) == Some(before))
}

/// Whether the list of headers of an exporter has percent-encoded characters.
fn has_encoded_header(document: &Value, exporter: &str) -> bool {
    text(document, &format!("{EXPORTER}/{exporter}/headers_list")).contains('%')
}

/// The number at a JSON pointer, if one is there.
fn number(document: &Value, pointer: &str) -> Option<f64> {
    document.pointer(pointer).and_then(Value::as_f64)
}

/// The text at a JSON pointer; empty if none is there.
fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn schema() -> Value {
    read(SCHEMA)
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

/// The rule that a schema can't say and this document was refused for, if that is why it was.
fn beyond_a_schema(document: &Value, refusal: &str) -> Option<&'static Beyond> {
    let digit = |it: char| it.is_ascii_digit();
    let in_first_item = refusal
        .split_once('[')
        .map(|(list, rest)| format!("{list}[0{}", rest.trim_start_matches(digit)));
    let is_about = |refusal: &str, place| {
        refusal.strip_prefix(place).is_some_and(|rest| rest.starts_with(": "))
    };
    BEYOND_A_SCHEMA.iter().find(|rule| {
        (is_about(refusal, rule.place)
            || in_first_item.as_deref().is_some_and(|refusal| is_about(refusal, rule.place)))
            && (rule.breaks)(document)
    })
}

fn read(document: &str) -> Value {
    serde_json::from_str(document).expect(document)
}

/// A step from a value of a document to one in it.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    /// An item that has beside what it is about what the schema's example of an item has.
    FirstItem(Value),
}

/// An object with what an example has and it has not.
fn filled_up(mut value: Value, example: &Value) -> Value {
    if let (Some(members), Some(example)) = (value.as_object_mut(), example.as_object()) {
        for (key, member) in example {
            members.entry(key).or_insert_with(|| member.clone());
        }
    }
    value
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
            Step::FirstItem(example) => json!([filled_up(value, example)]),
        });
        wrapped.to_string()
    }

    /// As the parser's errors write it.
    fn name(&self) -> String {
        self.path.iter().fold(String::new(), |path, step| match step {
            Step::Key(key) if path.is_empty() => key.clone(),
            Step::Key(key) => format!("{path}.{key}"),
            Step::FirstItem(_) => format!("{path}[0]"),
        })
    }

    /// What the schema says under a keyword of values that are written, and not substituted.
    fn rule(&self, keyword: &str) -> &Value {
        match &self.here[keyword] {
            Value::Null => &self.here["anyOf"][0][keyword],
            rule => rule,
        }
    }

    /// The last key on the way here; `None` for an item of a list.
    fn key(&self) -> Option<&str> {
        match self.path.last() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
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
            let step = Step::FirstItem(named["items"]["examples"][0].clone());
            enter(schema, &named["items"], with(step), &entered, places);
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
            "" => "unknown key; accepted: ".to_owned(),
            path => format!("{path}: unknown key; accepted: "),
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
        if let Some(key) = place.key() {
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
        assert!(validator.is_valid(&read(&document)), "{document}");
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
        let ends = [place.rule("minimum").as_i64(), place.rule("maximum").as_i64()];
        let [Some(least), Some(most)] = ends else { continue };
        for taken in [least, most] {
            let document = place.document(json!(taken));
            if let Err(error) = parse(&document) {
                assert!(beyond_a_schema(&read(&document), &error).is_some(), "{error}");
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
        let Some(known) = place.rule("enum").as_array().filter(|_| stands_alone) else { continue };
        let known: BTreeSet<_> = known.iter().filter_map(Value::as_str).collect();
        let error = parse(&place.document(json!("?"))).expect_err("an unknown word");
        let accepted = error.strip_prefix(&format!("{}: found a string; accepted: ", place.name()));
        // Some places take a list beside.
        let accepted = accepted.expect("an error here").split("; ").next().unwrap_or_default();
        assert_eq!(known, accepted.split(", ").collect(), "{error}");
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
        r#"{"tracer_provider": {"sampler": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {
            "root": {"parent_based": {"root": {"parent_based": {"root": {"parent_based": {"root": {"always_on": null}}}}}}}}}}}}}}}}}"#,
    ];
    for document in documents {
        assert_taken(&validator, document);
    }
    let names: Vec<_> = OPT_IN.iter().map(|known| known.name).collect();
    assert_taken(&validator, &json!({"envoy": {"attributes": names}}).to_string());
}

#[test]
fn what_people_copy_is_taken() {
    let validator = validator();
    let examples = std::fs::read_dir("envoy").expect("the directory of examples");
    let examples = examples.map(|file| file.expect("a file").path());
    let yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
    let mut documents = 0;
    for path in examples.filter(yaml).chain([PathBuf::from("README.md")]) {
        let file = std::fs::read_to_string(&path).expect("a text");
        let before = documents;
        for configuration in file.split("google.protobuf.StringValue\n").skip(1) {
            let (_, block) = configuration.split_once("value: |\n").expect("a text of lines");
            let depth = |line: &str| line.len() - line.trim_start().len();
            let least = block.lines().next().map(depth).expect("a line");
            let document: Vec<_> = block.lines().take_while(|line| depth(line) >= least).collect();
            assert_taken(&validator, &document.join("\n"));
            documents += 1;
        }
        assert!(documents > before, "{} holds a configuration", path.display());
    }
}

fn assert_taken(validator: &Validator, document: &str) {
    let secrets = ["FORCE_SECRET", "EXPLAIN_SECRET"].map(|name| (name, "a secret of its own"));
    with_variables(document, &secrets).expect(document);
    let value = read(document);
    let errors: Vec<_> = validator.iter_errors(&value).map(|it| it.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{document}");
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let validator = validator();
    for (document, error) in super::refusals() {
        let document = read(document);
        let beyond = beyond_a_schema(&document, error).is_some();
        assert!(beyond || !validator.is_valid(&document), "{document}: {error}");
    }
    for Beyond { reason, place, breaks, example } in BEYOND_A_SCHEMA {
        assert!(validator.is_valid(&read(example)), "a schema can't say this: {reason}");
        assert!(breaks(&read(example)), "{reason}: {example}");
        let error = parse(example).expect_err(reason);
        let rule = beyond_a_schema(&read(example), &error).map(|rule| rule.place);
        assert_eq!(rule, Some(*place), "{reason}: {error}");
    }
}
