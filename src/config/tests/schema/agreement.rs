//! A complete document, changed at random: the schema and the parser take the same ones.

use super::{Place, beyond_a_schema, validator};
use crate::config::headers::RESERVED;
use crate::config::tests::with_variables;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Documents that have everything between them.
pub(in crate::config::tests) const DOCUMENTS: [&str; 6] = [
    include_str!("../complete.json"),
    r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_grpc": {
        "endpoint": "https://c:4317", "headers": [{"name": "a", "value": "b"}], "headers_list": "c=d",
        "compression": "none", "timeout": 1}}}}], "sampler": {"trace_id_ratio_based": {"ratio": 1}}}}"#,
    r#"{"resource": {"attributes": [
        {"name": "a", "type": "string", "value": "x"}, {"name": "b", "type": "bool", "value": true},
        {"name": "c", "type": "double", "value": 1.5}, {"name": "d", "type": "string_array", "value": ["x"]},
        {"name": "e", "type": "bool_array", "value": [true]}, {"name": "f", "type": "int_array", "value": [1]},
        {"name": "g", "type": "double_array", "value": [1.5]}, {"name": "h", "type": null, "value": "x"}],
        "schema_url": null}}"#,
    r#"{"$schema": "x", "file_format": "1.9", "distribution": {"a": {"b": ["c"]}},
        "propagator": {"composite": [{"tracecontext": {}}]}, "tracer_provider": {"limits": {
            "event_count_limit": 1, "link_count_limit": 1, "event_attribute_count_limit": 1,
            "link_attribute_count_limit": 1}}}"#,
    r#"{"tracer_provider": {"sampler": {"always_record": {"root": {"composite/development": {"parent_threshold": {"root": {
        "rule_based": {"rules": [
            {"attribute_values": {"key": "url.path", "values": ["/healthz"]}, "sampler": {"always_off": null}},
            {"attribute_patterns": {"key": "http.request.header.x-tenant", "included": ["a*"], "excluded": ["a?"]},
                "span_kinds": ["server"], "parent": ["none", "remote"], "sampler": {"always_on": {}}},
            {"sampler": {"probability": {"ratio": 0.5}}}]}}}}}}}}}"#,
    r#"{"envoy": {"keep": [
        {"error": null, "attribute_values": {"key": "url.path", "values": ["/a"]}, "span_kinds": ["server"], "parent": ["none"]},
        {"slower_than": 1000, "attribute_patterns": {"key": "url.path", "included": ["/api/*"], "excluded": ["/api/a"]}},
        {"condition": "response.code == 429 && (true)", "ratio": 0.1, "name": "throttled"},
        {"callee_kept": null}, {"callee_kept": {"tell_caller": true}}]}}"#,
];

/// Keys that nothing in the schema has: of OpenTelemetry's, of what is planned, and of nobody.
const UNKNOWN: [&str; 6] = ["meter_provider", "tls", "routes", "Envoy", "schema", ""];

/// All values in a value, as JSON pointers.
pub(in crate::config::tests) fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
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

/// What becomes of a place in a document.
#[derive(Clone, Debug)]
enum Change {
    /// It holds another value.
    Value(Value),
    /// It is gone.
    Gone,
    /// Its value stands at another key; an item of a list, which has none, goes to the end.
    Renamed(String),
}

impl Change {
    /// The document itself only ever changes its value.
    fn apply(self, document: &mut Value, pointer: &str) {
        let (parent, token, key) = match (self, pointer.rsplit_once('/')) {
            (Self::Value(value), _) => {
                return *document.pointer_mut(pointer).expect("is there") = value;
            }
            (_, None) => return,
            (Self::Gone, Some((parent, token))) => (parent, token, None),
            (Self::Renamed(key), Some((parent, token))) => (parent, token, Some(key)),
        };
        match document.pointer_mut(parent).expect("is there") {
            Value::Object(members) => {
                let token = token.replace("~1", "/").replace("~0", "~");
                let value = members.remove(&token).expect("is there");
                members.extend(key.map(|key| (key, value)));
            }
            Value::Array(items) => {
                let value = items.remove(token.parse().expect("an index"));
                items.extend(key.map(|_| value));
            }
            _ => panic!("{pointer} is in an object or in a list"),
        }
    }
}

/// All keys of the schema, and some that it has not.
fn keys() -> Vec<String> {
    let schema = super::schema();
    let known: BTreeSet<_> =
        super::places(&schema).iter().filter_map(Place::key).map(str::to_owned).collect();
    known.into_iter().chain(UNKNOWN.map(str::to_owned)).collect()
}

/// One of them.
pub(in crate::config::tests) fn any_key_of_the_schema() -> impl Strategy<Value = String> {
    proptest::sample::select(keys())
}

/// Other values for a place in a document: of a wrong type, at an end of a range, or right.
fn values() -> Vec<Value> {
    Vec::from([
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
        json!(86_400_000),
        json!(86_400_001),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(9.3e18),
        json!(""),
        json!("1.2"),
        json!("none"),
        json!("auto"),
        json!("int"),
        json!("debug"),
        json!("b3,tracecontext"),
        json!("a=1,b"),
        json!("http://c?d"),
        json!("HTTPS://c/d"),
        json!("http://c:0"),
        json!("https://[::1]:70000/"),
        json!("http://c:65535"),
        json!("http://c:65536"),
        json!("http://c:00080"),
        json!("http://c:000000"),
        json!("host"),
        json!("Host"),
        json!("host=a"),
        json!("a=b, Host =a"),
        json!("a=%c3%a9%F0%9f%98%80"),
        json!("a=%c3"),
        json!("a=%ed%a0%80"),
        json!("a=é%20"),
        json!("a b=1"),
        json!("x y"),
        json!("$$"),
        json!("(a"),
        json!("a $ b"),
        json!("${NUMBER}"),
        json!("${env:NUMBER:-x}"),
        json!("${env:WORD}"),
        json!("${TRUTH}"),
        json!("${UNSET}"),
        json!("${UNSET:-}"),
        json!("${UNSET:--7}"),
        json!("${UNSET:-a=b,${c}"),
        json!("http://${WORD}:4318/${UNSET:-v1/traces}"),
        json!("host=${WORD},a=$${b}"),
        json!("${UNSET:-$${UNSET}}"),
        json!("${UNSET"),
        json!("a${"),
        json!("${1A}"),
        json!("${NUMBER} ${ NUMBER }"),
        json!("${UNSET:-a\nb}"),
        json!("$${1A} ${}"),
        json!([]),
        json!([null]),
        json!(["${WORD}", "${UNSET}"]),
        json!(["${1A}"]),
        json!(["x", "x"]),
        json!([1, 2.5]),
        json!([{}]),
        json!([{"name": "a", "value": 1, "type": "int"}]),
        json!([{"baggage": {}}]),
        json!([{"error": {}, "slower_than": null}]),
        json!(vec![json!({"error": null}); 64]),
        json!(vec![json!({"error": null}); 65]),
        json!([{"batch": {}}, {"batch": {}}]),
        json!("/"),
        json!("/users/{user}"),
        json!("/static/{*p}/{p}"),
        json!("/a/{b}/{*b}"),
        json!("/a$$/{b}/{c-d}.x"),
        json!("/${WORD}/{a}"),
        json!("{http.request.method} {http.route}"),
        json!("a {http.route}}"),
        json!("{http.route"),
        json!("{url.path}"),
        json!({"template": "/static/{*rest}"}),
        json!({"template": "/orders/{order}/items", "methods": ["PUT"]}),
        json!({}),
        json!({"always_off": null}),
        json!({"ratio": 2}),
        json!({"exporter": {"otlp_grpc": {}}}),
    ])
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        proptest::sample::select(values()),
        "[ -~]{0,6}".prop_map(Value::String),
        "(/|\\{|\\}|\\*|:|a|\\?|é|-|\n|/\\{a\\}|\\$\\$){0,8}".prop_map(Value::String),
        "(a|-|;|\t|é|%2|%20|=|,| ){0,8}".prop_map(Value::String),
        "(\\$|\\{|\\}|:-|env:|A|1|\n|\\$\\{NUMBER\\}){0,8}".prop_map(Value::String),
        "(https?|HTTP|Https|htps)://[a-z:0-9@/?#\\[\\]]{0,6}".prop_map(Value::String),
        any::<i64>().prop_map(Value::from),
        (-2.0..2.0).prop_map(Value::from),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any_value().prop_map(Change::Value),
        1 => Just(Change::Gone),
        2 => any_key_of_the_schema().prop_map(Change::Renamed),
    ]
}

#[test]
fn they_reserve_the_same_headers() {
    let in_any_case = |name: &&str| -> String {
        let letter = |it: char| {
            let upper = it.to_ascii_uppercase();
            if upper == it { it.to_string() } else { format!("[{upper}{it}]") }
        };
        name.chars().map(letter).collect()
    };
    let names = RESERVED.iter().map(in_any_case).collect::<Vec<_>>().join("|");
    let schema = super::schema();
    for (place, pattern) in [
        ("exporter_headers/items/properties/name", format!("^(?:{names})$")),
        ("exporter_headers_list/anyOf/0", format!(r"(?:^|,)\s*(?:{names})\s*=")),
    ] {
        let found = schema.pointer(&format!("/$defs/{place}/not/pattern"));
        assert_eq!(found, Some(&json!(pattern)), "{place}");
    }
}

const VARIABLES: [(&str, &str); 4] =
    [("NUMBER", "5"), ("WORD", "gzip"), ("TRUTH", "TRUE"), ("A", "a")];

/// The schema, and what it says of references to variables.
struct Validators {
    document: Validator,
    substituted: Validator,
}

impl Validators {
    fn new() -> Self {
        let mut reference = super::schema();
        reference["$ref"] = json!("#/$defs/substituted");
        for key in ["type", "properties", "additionalProperties"] {
            reference.as_object_mut().expect("an object").remove(key);
        }
        let substituted = jsonschema::draft202012::new(&reference).expect("a schema");
        Self { document: validator(), substituted }
    }

    /// Replaces strings with references, and says whether there are any.
    fn replace(&self, value: &mut Value, with: impl Fn(&str) -> Option<Value> + Copy) -> bool {
        match value {
            Value::String(text) if self.substituted.is_valid(&json!(text)) => {
                if let Some(replacement) = with(text) {
                    *value = replacement;
                }
                true
            }
            Value::Array(items) => {
                items.iter_mut().fold(false, |any, item| self.replace(item, with) | any)
            }
            Value::Object(members) => {
                members.values_mut().fold(false, |any, member| self.replace(member, with) | any)
            }
            _ => false,
        }
    }

    /// Whether it depends on a variable that the document is refused: a schema can't say that.
    fn may_be_refused(&self, document: &Value) -> bool {
        self.replace(&mut document.clone(), |_| None)
    }

    /// Whether the document is taken because a variable stands where an object or a list belongs, and is not set. The schema need not know.
    fn may_be_taken(&self, document: &Value) -> bool {
        let mut document = document.clone();
        self.replace(&mut document, |text| text.contains("UNSET").then_some(Value::Null))
            && self.document.is_valid(&document)
    }

    /// What is wrong, if the schema takes what the parser refuses, or the other way round.
    fn disagreement(&self, document: &Value) -> Option<String> {
        let read = with_variables(&document.to_string(), &VARIABLES).map_err(|it| it.to_string());
        match (read, self.document.is_valid(document)) {
            (Ok(_), true) | (Err(_), false) => None,
            (Ok(_), false) if self.may_be_taken(document) => None,
            (Ok(_), false) => Some(format!("the parser takes what the schema refuses: {document}")),
            (Err(error), true) if beyond_a_schema(document, &error).is_some() => None,
            (Err(_), true) if self.may_be_refused(document) => None,
            (Err(error), true) => Some(format!("the schema takes this, but {error}: {document}")),
        }
    }
}

#[test]
fn they_agree_on_every_single_change() {
    let validators = Validators::new();
    let (values, keys) = (values(), keys());
    let mut changed = 0;
    for original in DOCUMENTS.map(super::read) {
        let mut places = Vec::new();
        pointers(&original, "", &mut places);
        changed += places.len();
        for place in &places {
            let values = values.iter().cloned().map(Change::Value);
            let keys = keys.iter().cloned().map(Change::Renamed);
            for change in values.chain(keys).chain([Change::Gone]) {
                let mut document = original.clone();
                change.apply(&mut document, place);
                assert_eq!(validators.disagreement(&document), None);
            }
        }
    }
    assert!(changed > 130, "the documents are complete: {changed} places");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn they_agree_on_several_changes(
        original in proptest::sample::select(&DOCUMENTS[..]),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any_change()), 2..5),
    ) {
        thread_local!(static VALIDATORS: Validators = Validators::new());
        let mut document = super::read(original);
        for (place, change) in changes {
            let mut places = Vec::new();
            pointers(&document, "", &mut places);
            change.apply(&mut document, place.get::<String>(&places));
        }
        let disagreement = VALIDATORS.with(|validators| validators.disagreement(&document));
        prop_assert_eq!(disagreement, None);
    }
}
