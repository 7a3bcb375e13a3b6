//! Variables in a document: what a place makes of them, and what is said of those that are not set.

use super::{Parsed, exporter, ratio, sampler, shown, with_environment, with_variables};
use crate::batch::QueueFullPolicy;
use crate::resource::AttributeValue;
use std::time::Duration;

#[test]
fn an_api_key_need_not_stand_in_the_document() {
    let document = exporter(
        r#"{"otlp_http": {
            "endpoint": "http://${HOST}:${env:PORT:-4318}/v1/traces",
            "headers": [{"name": "api-key", "value": "${API_KEY}"}, {"name": "cost", "value": "$$5"}],
            "headers_list": "x-tenant=${TENANT}"
        }}"#,
    );
    let variables =
        [("HOST", "collector"), ("API_KEY", "a ${HOST} $$ b"), ("TENANT", "t%20u,x-b=c")];
    let Parsed { config, warnings } = with_environment(&document, &variables);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.exporter.authority, "collector:4318");
    let headers =
        [("api-key", "a ${HOST} $$ b"), ("cost", "$5"), ("x-tenant", "t u"), ("x-b", "c")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(
        config.exporter.headers, headers,
        "as the variables say, which are not looked at again"
    );
}

#[test]
fn a_variable_is_what_belongs_where_it_stands() {
    let document = r#"{
        "disabled": "${OFF}",
        "resource": {"attributes": [
            {"name": "replica.count", "value": "${REPLICAS}", "type": "int"},
            {"name": "zones", "value": ["${ZONE}", "b"], "type": "string_array"},
            {"name": "digits", "value": "${REPLICAS}"}
        ]},
        "tracer_provider": {
            "processors": [{"batch": {"schedule_delay": "${DELAY:-250}"}}],
            "sampler": {"trace_id_ratio_based": {"ratio": "${SHARE}"}}
        },
        "envoy": {"queue_full": "${QUEUE_FULL}"}
    }"#;
    let variables = [
        ("OFF", "True"),
        ("REPLICAS", "3"),
        ("ZONE", "a"),
        ("SHARE", ".25"),
        ("QUEUE_FULL", "drop_oldest"),
    ];
    let Parsed { config, warnings } = with_environment(document, &variables);
    assert_eq!(warnings, Vec::<String>::new());
    assert!(config.disabled);
    let text = |text: &str| AttributeValue::String(text.to_owned());
    let attributes = [
        ("replica.count".to_owned(), AttributeValue::Int(3)),
        ("zones".to_owned(), AttributeValue::StringArray(vec!["a".to_owned(), "b".to_owned()])),
        ("digits".to_owned(), text("3")),
    ];
    assert_eq!(config.resource, attributes);
    assert_eq!(config.batch.schedule_delay, Duration::from_millis(250));
    assert_eq!(sampler(&config), shown(&ratio(0.25)));
    assert_eq!(config.batch.queue_full, QueueFullPolicy::DropOldest);
}

#[test]
fn one_that_is_not_set_is_empty_and_there_is_a_warning() {
    let document = r#"{
        "log_level": "${LEVEL}",
        "resource": {"attributes": [{"name": "b", "value": "${B}"}], "attributes_list": "a=${A}"},
        "propagator": {"composite": null, "composite_list": "${env:PROPAGATORS}"},
        "envoy": {"cluster": "${CLUSTER}", "max_queue_bytes": "${BYTES:-}"}
    }"#;
    let Parsed { config, warnings } =
        with_environment(document, &[("EMPTY", ""), ("OTEL_PROPAGATORS", "none")]);
    assert_eq!(config.exporter.cluster, "otel_collector", "nothing is left: the default");
    assert_eq!(
        super::formats(&config),
        super::NO_FORMAT,
        "nothing is left: the variable behind it"
    );
    let a = ("a".to_owned(), AttributeValue::String(String::new()));
    assert_eq!(config.resource, [a], "an entry whose value is as good as null is none");
    let places = [
        "log_level",
        "resource.attributes[0].value",
        "resource.attributes_list",
        "propagator.composite_list",
        "envoy.cluster",
    ];
    let expected = places.map(|place| {
        format!(
            "{place}: a variable in it is not set, which is as if it were empty; a VM has those of \
             vm_config.environment_variables"
        )
    });
    assert_eq!(warnings, expected, "each once, but where there is a default");
}

#[test]
fn what_a_variable_says_is_not_shown() {
    let variables =
        [("WORD", "batch"), ("LINES", "a\nb"), ("NUMBER", "12.5"), ("BIG", "99999999999")];
    let bad = "found a ${ that begins no reference to a variable (${NAME}, ${env:NAME} or ${NAME:-default}; a dollar is $$); accepted: ";
    let cases = [
        (
            r#"{"disabled": "${WORD}"}"#,
            "disabled: found a string with variables in it; accepted: true or false",
        ),
        (
            r#"{"envoy": {"max_queue_bytes": "${NUMBER}"}}"#,
            "envoy.max_queue_bytes: found a string with variables in it; accepted: an integer from 1024 to 104857600",
        ),
        (
            r#"{"envoy": {"max_queue_bytes": "${BIG}"}}"#,
            "envoy.max_queue_bytes: found a string with variables in it; accepted: an integer from 1024 to 104857600",
        ),
        (r#"{"disabled": "true"}"#, "disabled: found a string; accepted: true or false"),
        (
            r#"{"envoy": "${WORD}"}"#,
            "envoy: found a string with variables in it; accepted: an object",
        ),
        (r#"{"envoy": {"cluster": "${WORD"}}"#, &format!("envoy.cluster: {bad}a string")),
        (r#"{"disabled": "${NOT-ONE}"}"#, &format!("disabled: {bad}true or false")),
        (r#"{"${WORD}": {}}"#, "unknown key; accepted: "),
    ];
    for (document, expected) in cases {
        let error = with_variables(document, &variables).expect_err(document).to_string();
        assert!(error.starts_with(expected), "{document}: {error}");
    }
    let header =
        exporter(r#"{"otlp_http": {"headers": [{"name": "api-key", "value": "${LINES}"}]}}"#);
    let error = with_variables(&header, &variables).expect_err("two lines").to_string();
    assert!(error.contains(".value: found a string with variables in it; accepted: "), "{error}");
}
