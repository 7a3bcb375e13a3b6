//! What of the document and the variables goes before what.

use super::with_environment;
use crate::config::{Config, Parsed};
use crate::resource::AttributeValue;

/// Who can say something of a setting, in turn.
struct Sources {
    /// What is set, to be compared.
    setting: fn(&Config) -> String,
    /// A document, which goes before all variables.
    document: &'static str,
    /// What it says.
    of_document: &'static str,
    /// Name, value, and what it says where those before it are silent.
    variables: Variables,
    /// Where all are silent.
    default: &'static str,
}

type Variables = &'static [(&'static str, &'static str, &'static str)];

const COUNTS: Variables =
    &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2", "2"), ("OTEL_ATTRIBUTE_COUNT_LIMIT", "3", "3")];
const LENGTHS: Variables = &[
    ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "2", "Some(2)"),
    ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3", "Some(3)"),
];
const HEADERS: Variables = &[
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=1,b=2", r#"[("b", "1")]"#),
    ("OTEL_EXPORTER_OTLP_HEADERS", "C=1", r#"[("c", "1")]"#),
];

const SOURCES: &[Sources] = &[
    Sources {
        setting: |config| config.disabled.to_string(),
        document: r#"{"disabled": false}"#,
        of_document: "false",
        variables: &[("OTEL_SDK_DISABLED", "True", "true")],
        default: "false",
    },
    Sources {
        setting: |config| config.disabled.to_string(),
        document: r#"{"disabled": true}"#,
        of_document: "true",
        variables: &[("OTEL_SDK_DISABLED", "FALSE", "false")],
        default: "false",
    },
    Sources {
        setting: |config| config.log_level.to_string(),
        document: r#"{"log_level": "warn2"}"#,
        of_document: "WARN",
        variables: &[("OTEL_LOG_LEVEL", "error", "ERROR")],
        default: "INFO",
    },
    Sources {
        setting: |config| format!("{:?}", config.sampler),
        document: r#"{"tracer_provider": {"sampler": {"always_on": null}}}"#,
        of_document: "AlwaysOn",
        variables: &[("OTEL_TRACES_SAMPLER", "always_off", "AlwaysOff")],
        default: "ParentBased { root: AlwaysOn, remote_parent_sampled: AlwaysOn, \
                  remote_parent_not_sampled: AlwaysOff }",
    },
    Sources {
        setting: |config| format!("{:?}", config.propagators.fields().collect::<Vec<_>>()),
        document: r#"{"propagator": {"composite_list": "tracecontext"}}"#,
        of_document: r#"["traceparent", "tracestate"]"#,
        variables: &[("OTEL_PROPAGATORS", "none", "[]")],
        default: r#"["traceparent", "tracestate"]"#,
    },
    Sources {
        setting: |config| format!("{:?}", config.resource),
        document: r#"{"resource": {"attributes_list": "service.name=a"}}"#,
        of_document: r#"[("service.name", String("a"))]"#,
        variables: &[
            ("OTEL_SERVICE_NAME", "b", r#"[("service.name", String("b"))]"#),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=c", r#"[("service.name", String("c"))]"#),
        ],
        default: "[]",
    },
    Sources {
        setting: |config| format!("{:?}", config.batch.schedule_delay),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"schedule_delay": 10}}]}}"#,
        of_document: "10ms",
        variables: &[("OTEL_BSP_SCHEDULE_DELAY", "20", "20ms")],
        default: "1s",
    },
    Sources {
        setting: |config| config.batch.max_queue_spans.to_string(),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"max_queue_size": 10}}]}}"#,
        of_document: "10",
        variables: &[("OTEL_BSP_MAX_QUEUE_SIZE", "20", "20")],
        default: "2048",
    },
    Sources {
        setting: |config| config.batch.max_batch_spans.to_string(),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"max_export_batch_size": 10}}]}}"#,
        of_document: "10",
        variables: &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20", "20")],
        default: "512",
    },
    Sources {
        setting: |config| format!("{:?}", config.exporter.timeout),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"export_timeout": 10}}]}}"#,
        of_document: "10ms",
        variables: &[("OTEL_BSP_EXPORT_TIMEOUT", "20", "20ms")],
        default: "10s",
    },
    Sources {
        setting: |config| format!("{:?}", config.exporter.timeout),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"timeout": 10}}}}]}}"#,
        of_document: "10ms",
        variables: &[
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "20", "20ms"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "30", "30ms"),
        ],
        default: "10s",
    },
    Sources {
        setting: |config| format!("{}{}", config.exporter.authority, config.exporter.path),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"endpoint": "http://a/b"}}}}]}}"#,
        of_document: "a/b",
        variables: &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/d", "c/d"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://e/f", "e/f/v1/traces"),
        ],
        default: "otel_collector/v1/traces",
    },
    Sources {
        setting: |config| format!("{:?}", config.exporter.headers),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers_list": "a=1"}}}}]}}"#,
        of_document: r#"[("a", "1")]"#,
        variables: HEADERS,
        default: "[]",
    },
    Sources {
        setting: |config| format!("{:?}", config.exporter.headers),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers": []}}}}]}}"#,
        of_document: "[]",
        variables: HEADERS,
        default: "[]",
    },
    Sources {
        setting: |config| format!("{:?}", config.exporter.compression),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"compression": "none"}}}}]}}"#,
        of_document: "None",
        variables: &[
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip", "Gzip"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "None"),
        ],
        default: "None",
    },
    Sources {
        setting: |config| format!("{:?}", config.exporter.protocol),
        document: r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"encoding": "json"}}}}]}}"#,
        of_document: "HttpJson",
        variables: &[
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", "HttpProtobuf"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "HttpJson"),
        ],
        default: "HttpProtobuf",
    },
    Sources {
        setting: |config| config.limits.attribute_count.to_string(),
        document: r#"{"tracer_provider": {"limits": {"attribute_count_limit": 1}}, "attribute_limits": {"attribute_count_limit": 5}}"#,
        of_document: "1",
        variables: COUNTS,
        default: "128",
    },
    Sources {
        setting: |config| config.limits.attribute_count.to_string(),
        document: r#"{"attribute_limits": {"attribute_count_limit": 1}}"#,
        of_document: "1",
        variables: COUNTS,
        default: "128",
    },
    Sources {
        setting: |config| format!("{:?}", config.limits.attribute_value_length),
        document: r#"{"tracer_provider": {"limits": {"attribute_value_length_limit": 1}}, "attribute_limits": {"attribute_value_length_limit": 5}}"#,
        of_document: "Some(1)",
        variables: LENGTHS,
        default: "None",
    },
    Sources {
        setting: |config| format!("{:?}", config.limits.attribute_value_length),
        document: r#"{"attribute_limits": {"attribute_value_length_limit": 1}}"#,
        of_document: "Some(1)",
        variables: LENGTHS,
        default: "None",
    },
];

/// What the guide says that there are.
#[test]
fn each_variable_of_the_guide_is_read() {
    const GUIDE: &str = include_str!("../../../docs/configuration.md");
    let (_, table) = GUIDE.split_once("| Variable | Meaning | Values |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows = rows.filter_map(|row| row.split('`').nth(1)).collect::<Vec<_>>();
    let mut known: Vec<_> =
        SOURCES.iter().flat_map(|it| it.variables).map(|(name, ..)| *name).collect();
    // Its meaning depends on another one's: `a_sampler_may_take_an_argument`.
    known.push("OTEL_TRACES_SAMPLER_ARG");
    for name in &rows {
        assert!(known.contains(name), "{name} is read");
    }
    for name in known {
        assert!(rows.contains(&name), "{name} stands in the guide");
    }
}

/// Values that no variable of the settings can use, but for those that take any text.
const UNUSABLE: &str = "?,=";

#[test]
fn a_variable_that_cannot_be_used_is_as_good_as_none() {
    for Sources { setting, variables, default, .. } in SOURCES {
        for unusable in 0..=variables.len() {
            let said: Vec<_> = variables
                .iter()
                .enumerate()
                .map(|(index, (name, value, _))| {
                    (*name, if index < unusable { UNUSABLE } else { *value })
                })
                .filter(|(name, _)| *name != "OTEL_SERVICE_NAME")
                .collect();
            let expected =
                variables.iter().skip(unusable).find(|(name, ..)| *name != "OTEL_SERVICE_NAME");
            let Parsed { config, warnings } = with_environment("{}", &said);
            let expected = expected.map_or(*default, |(_, _, expected)| *expected);
            assert_eq!(setting(&config), expected, "{said:?}");
            let ignored = said.iter().filter(|(_, value)| *value == UNUSABLE).count();
            assert_eq!(warnings.len(), ignored, "each is told: {warnings:?}");
        }
    }
}

#[test]
fn words_of_variables_ignore_case() {
    let mut words = 0;
    for Sources { setting, variables, .. } in SOURCES {
        for (name, value, expected) in *variables {
            let is_word =
                ["SAMPLER", "PROPAGATORS", "COMPRESSION", "PROTOCOL", "DISABLED", "LOG_LEVEL"];
            if is_word.iter().any(|end| name.ends_with(end)) {
                let mut mixed = value.to_lowercase();
                mixed.get_mut(..2).expect("two letters").make_ascii_uppercase();
                for value in [value.to_uppercase(), mixed] {
                    let Parsed { config, warnings } = with_environment("{}", &[(name, &value)]);
                    assert_eq!(setting(&config), *expected, "{name}={value}");
                    assert_eq!(warnings, Vec::<String>::new(), "{name}={value}");
                    words += 1;
                }
            }
        }
    }
    assert!(words >= 14, "all words are seen, not {words}");
}

#[test]
fn the_first_source_that_speaks_counts() {
    for Sources { setting, document, of_document, variables, default } in SOURCES {
        let said: Vec<_> = variables.iter().map(|(name, value, _)| (*name, *value)).collect();
        let check = |document: &str, variables: &[(&str, &str)], expected: &str| {
            let Parsed { config, warnings } = with_environment(document, variables);
            assert_eq!(setting(&config), expected, "{document} {variables:?}");
            assert_eq!(warnings, Vec::<String>::new(), "{document} {variables:?}");
        };
        check(document, &said, of_document);
        for (index, (_, _, expected)) in variables.iter().enumerate() {
            check("{}", &said[index..], expected);
        }
        check("{}", &[], default);
    }
}

#[test]
fn a_service_without_a_name_is_not_named() {
    let attributes = |value: &str| {
        format!(
            r#"{{"attributes": [{{"name": "service.name", "value": "{value}"}}, {{"name": "a", "value": ""}}]}}"#
        )
    };
    let (name, list) = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES");
    let cases = [
        (attributes(""), [(name, "x"), (list, "b=1")], Some("x"), "the next source's name"),
        (attributes(" "), [(name, "x"), (list, "b=1")], Some("x"), "white space is no name"),
        (attributes("y"), [(name, "x"), (list, "b=1")], Some("y"), "a name"),
        (
            r#"{"attributes": [{"name": "service.name", "value": ["y"], "type": "string_array"}]}"#
                .to_owned(),
            [(name, "x"), (list, "b=1")],
            Some("x"),
            "a list is no name",
        ),
        (
            r#"{"attributes_list": "service.name="}"#.to_owned(),
            [(name, ""), (list, "service.name=z")],
            Some("z"),
            "the last source's",
        ),
        ("{}".to_owned(), [(name, ""), (list, "service.name=,b=1")], None, "nobody has one"),
        ("{}".to_owned(), [(name, " "), (list, "service.name=%20")], None, "nor here"),
    ];
    for (resource, variables, expected, reason) in cases {
        let json = format!(r#"{{"resource": {resource}}}"#);
        let resource = with_environment(&json, &variables).config.resource;
        let found = resource.iter().find(|(name, _)| name == "service.name");
        let expected = expected.map(|it| AttributeValue::String(it.to_owned()));
        assert_eq!(found.map(|(_, value)| value), expected.as_ref(), "{reason}");
        let empty = resource.iter().any(|(name, _)| name == "a");
        assert_eq!(empty, json.contains("\"a\""), "{reason}: another attribute may be empty");
    }
}
