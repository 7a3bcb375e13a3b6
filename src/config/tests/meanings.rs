//! What each word of the document stands for, and where each key's value goes.

use super::{NO_FORMAT, TRACE_CONTEXT, exporter, formats, parse, ratio, shown, with_environment};
use crate::batch::QueueFullPolicy;
use crate::config::{Config, Parsed};
use crate::export::protocol::{Compression, GRPC_PATH, Protocol};
use crate::otlp::SpanKind;
use crate::resource::AttributeValue;
use crate::sampling::{
    AlwaysOff, AlwaysOn, Condition, Parent, ParentBased, ParentThreshold, Pattern, Patterns, Rule,
    RuleBased,
};
use crate::semconv::SpanKindSetting;
use crate::semconv::configured::{ConfiguredAttribute, Source};
use crate::semconv::start::StartAttribute;
use crate::semconv::value::ValueType;
use log::LevelFilter;

fn of_envoy(settings: &str) -> Config {
    let document = format!(r#"{{"envoy": {{{settings}}}}}"#);
    parse(&document).expect(&document)
}

fn sampler(sampler: &str) -> String {
    let document = format!(r#"{{"tracer_provider": {{"sampler": {sampler}}}}}"#);
    super::sampler(&parse(&document).expect(&document))
}

#[test]
fn log_levels_are_the_severities_of_the_data_model() {
    let cases = [
        ("trace", LevelFilter::Trace),
        ("debug", LevelFilter::Debug),
        ("info", LevelFilter::Info),
        ("warn", LevelFilter::Warn),
        ("error", LevelFilter::Error),
        ("fatal", LevelFilter::Off),
    ];
    for (severity, level) in cases {
        for number in ["", "2", "3", "4"] {
            let document = format!(r#"{{"log_level": "{severity}{number}"}}"#);
            assert_eq!(parse(&document).expect(&document).log_level, level, "{document}");
        }
    }
    assert_eq!(parse("{}").expect("valid").log_level, LevelFilter::Info, "the default");
}

#[test]
fn words_of_the_key_envoy() {
    let kinds = [
        ("null", SpanKindSetting::Auto),
        ("\"auto\"", SpanKindSetting::Auto),
        ("\"server\"", SpanKindSetting::Server),
        ("\"client\"", SpanKindSetting::Client),
        ("\"server_and_client\"", SpanKindSetting::ServerAndClient),
    ];
    for (word, kind) in kinds {
        assert_eq!(of_envoy(&format!("\"span_kind\": {word}")).span_kind, kind, "{word}");
    }
    let policies = [
        ("null", QueueFullPolicy::DropNewest),
        ("\"drop_newest\"", QueueFullPolicy::DropNewest),
        ("\"drop_oldest\"", QueueFullPolicy::DropOldest),
    ];
    for (word, policy) in policies {
        let config = of_envoy(&format!("\"queue_full\": {word}"));
        assert_eq!(config.batch.queue_full, policy, "{word}");
    }
}

#[test]
fn words_of_the_exporter() {
    let (protobuf, json) = (Protocol::HttpProtobuf, Protocol::HttpJson);
    let cases = [
        ("null", protobuf, Compression::None, "the defaults"),
        (r#"{"otlp_http": {"encoding": "protobuf"}}"#, protobuf, Compression::None, "an encoding"),
        (r#"{"otlp_http": {"encoding": "json"}}"#, json, Compression::None, "an encoding"),
        (r#"{"otlp_http": {"compression": "none"}}"#, protobuf, Compression::None, "plain"),
        (r#"{"otlp_http": {"compression": "gzip"}}"#, protobuf, Compression::Gzip, "compressed"),
        (r#"{"otlp_grpc": {}}"#, Protocol::Grpc, Compression::None, "gRPC"),
        (r#"{"otlp_grpc": {"compression": "gzip"}}"#, Protocol::Grpc, Compression::Gzip, "gRPC"),
    ];
    for (document, protocol, compression, reason) in cases {
        let exporter = parse(&exporter(document)).expect(reason).exporter;
        assert_eq!(exporter.protocol, protocol, "{reason}: {document}");
        assert_eq!(exporter.compression, compression, "{reason}: {document}");
    }
    let config =
        parse(&exporter(r#"{"otlp_grpc": {"endpoint": "http://c:4317"}}"#)).expect("valid");
    assert_eq!(config.exporter.authority, "c:4317");
    assert_eq!(config.exporter.path, GRPC_PATH, "the method's");
}

#[test]
fn the_shorter_timeout_counts_and_none_is_ten_minutes() {
    for (of_batch, of_exporter, expected) in [
        ("20", "10", 10),
        ("10", "20", 10),
        ("null", "60000", 30_000),
        ("60000", "null", 10_000),
        ("0", "0", 600_000),
        ("0", "60000", 60_000),
        ("20000", "0", 20_000),
        ("null", "0", 30_000),
    ] {
        let document = format!(
            r#"{{"tracer_provider": {{"processors": [{{"batch": {{"export_timeout": {of_batch},
                "exporter": {{"otlp_grpc": {{"timeout": {of_exporter}}}}}}}}}]}}}}"#
        );
        let timeout = parse(&document).expect(&document).exporter.timeout;
        assert_eq!(timeout.as_millis(), expected, "{document}");
    }
}

#[test]
fn each_sampler_has_a_name() {
    let all = || shown(&ParentBased::with_root(AlwaysOn));
    let cases = [
        (r#"{"always_on": {}}"#, shown(&AlwaysOn)),
        (r#"{"always_off": null}"#, shown(&AlwaysOff)),
        (r#"{"trace_id_ratio_based": null}"#, shown(&ratio(1.0))),
        (r#"{"trace_id_ratio_based": {"ratio": 0.5}}"#, shown(&ratio(0.5))),
        (r#"{"trace_id_ratio_based": {"ratio": 0}}"#, shown(&ratio(0.0))),
        (r#"{"probability/development": null}"#, shown(&ratio(1.0))),
        (r#"{"probability/development": {"ratio": 0.5}}"#, shown(&ratio(0.5))),
        (r#"{"always_record": {"root": {"always_off": null}}}"#, shown(&AlwaysOff)),
        (r#"{"composite/development": {"always_on": null}}"#, shown(&AlwaysOn)),
        (r#"{"composite/development": {"always_off": {}}}"#, shown(&AlwaysOff)),
        (r#"{"composite/development": {"probability": {"ratio": 0.5}}}"#, shown(&ratio(0.5))),
        (
            r#"{"composite/development": {"parent_threshold": {"root": {"always_off": {}}}}}"#,
            shown(&ParentThreshold { root: Box::new(AlwaysOff) }),
        ),
        (r#"{"composite/development": {"rule_based": null}}"#, shown(&RuleBased(Vec::new()))),
        (r#"{"parent_based": null}"#, all()),
        (r#"{"parent_based": {"root": null}}"#, all()),
    ];
    for (document, expected) in cases {
        assert_eq!(sampler(document), expected, "{document}");
    }
    let share = |key: &str, ratio: f64| {
        format!(r#""{key}": {{"trace_id_ratio_based": {{"ratio": {ratio}}}}}"#)
    };
    let delegates = [
        share("root", 0.1),
        share("remote_parent_sampled", 0.2),
        share("remote_parent_not_sampled", 0.3),
        share("local_parent_sampled", 0.4),
        share("local_parent_not_sampled", 0.5),
    ];
    let expected = ParentBased {
        root: Box::new(ratio(0.1)),
        remote_parent_sampled: Box::new(ratio(0.2)),
        remote_parent_not_sampled: Box::new(ratio(0.3)),
    };
    let found = sampler(&format!(r#"{{"parent_based": {{{}}}}}"#, delegates.join(", ")));
    assert_eq!(found, shown(&expected), "each for itself");
}

#[test]
fn rules_go_where_they_belong() {
    let rules = r#"{"composite/development": {"rule_based": {"rules": [
        {"attribute_values": {"key": "url.path", "values": ["/a", "/b"]}, "sampler": {"always_off": {}}},
        {"attribute_patterns": {"key": "http.request.header.x-a", "included": ["a*"], "excluded": ["?"]},
            "sampler": {"always_on": {}}},
        {"span_kinds": ["client", "internal"], "parent": ["none", "remote", "local"], "sampler": {"always_on": {}}}]}}}"#;
    let attribute = |name| StartAttribute::parse(name).expect("known");
    let (included, excluded) = (vec![Pattern::new("a*")], vec![Pattern::new("?")]);
    let rule = |conditions, sampler| Rule { conditions, sampler };
    let expected_rules = RuleBased(vec![
        rule(
            vec![Condition::Values(attribute("url.path"), vec!["/a".into(), "/b".into()])],
            Box::new(AlwaysOff),
        ),
        rule(
            vec![Condition::Patterns(
                attribute("http.request.header.x-a"),
                Patterns { included, excluded },
            )],
            Box::new(AlwaysOn),
        ),
        rule(
            vec![
                Condition::SpanKinds(vec![SpanKind::Client]),
                Condition::Parents(vec![Parent::None, Parent::Remote, Parent::Local]),
            ],
            Box::new(AlwaysOn),
        ),
    ]);
    assert_eq!(sampler(rules), shown(&expected_rules));
}

#[test]
fn attributes_go_where_they_belong() {
    let config = of_envoy(
        r#""attributes": [
            "client.port",
            {"name": "a", "value": "x", "type": null, "header": null},
            {"name": "b", "value": 5.0, "type": "int"},
            {"name": "c", "value": 5, "type": "double"},
            {"name": "d", "value": true, "type": "bool"},
            {"name": "e", "header": "X-A", "default": "y"},
            {"name": "f", "response_header": "X-A", "type": "int", "default": 7},
            {"name": "g", "baggage": "X-A", "default": null},
            {"name": "h", "expression": "1 + 1", "type": "int"}]"#,
    );
    let expression = Source::Expression(super::compiled("").expect("one"));
    let known = config.attributes.first().expect("one").source;
    assert!(matches!(known, Source::OptIn(known) if known.name == "client.port"), "{known:?}");
    let double = |it: f64| it.to_le_bytes().to_vec();
    let int = |it: i64| it.to_le_bytes().to_vec();
    let text = |it: &str| it.as_bytes().to_vec();
    let expected = [
        ("client.port", known, "", ValueType::Int, text("")),
        ("a", Source::Literal, "", ValueType::String, text("x")),
        ("b", Source::Literal, "", ValueType::Int, int(5)),
        ("c", Source::Literal, "", ValueType::Double, double(5.0)),
        ("d", Source::Literal, "", ValueType::Bool, vec![1]),
        ("e", Source::RequestHeader, "x-a", ValueType::String, text("y")),
        ("f", Source::ResponseHeader, "x-a", ValueType::Int, int(7)),
        ("g", Source::Baggage, "X-A", ValueType::String, text("")),
        ("h", expression, "", ValueType::Int, text("")),
    ]
    .map(|(name, source, key, kind, default)| {
        let (name, key) = (name.into(), key.into());
        ConfiguredAttribute { name, source, key, kind, default }
    });
    assert_eq!(config.attributes, expected);
    let many = |count: usize| {
        let attribute = |number| format!(r#"{{"name": "a{number}", "value": "x"}}"#);
        let attributes: Vec<_> = (0..count).map(attribute).collect();
        format!(r#"{{"envoy": {{"attributes": [{}]}}}}"#, attributes.join(","))
    };
    assert!(parse(&many(64)).is_ok(), "as many as there may be");
    let error = parse(&many(65)).expect_err("one too many");
    assert_eq!(error, "envoy.attributes: found a list; accepted: at most 64 attributes");
}

#[test]
fn samplers_within_each_other_have_a_depth() {
    let nested = |depth| {
        let (open, close) = (r#"{"parent_based": {"root": "#.repeat(depth), "}}".repeat(depth));
        format!(r#"{{"tracer_provider": {{"sampler": {open}{{"always_off": {{}}}}{close}}}}}"#)
    };
    assert!(parse(&nested(7)).is_ok(), "eight samplers");
    assert!(parse(&nested(8)).is_err(), "nine samplers");
    for (open, close, reason) in [
        (r#"{"always_record": {"root": "#, "}}", "always_record"),
        (r#"{"composite/development": {"parent_threshold": {"root": "#, "}}}", "composite"),
        (r#"{"composite/development": {"rule_based": {"rules": [{"sampler": "#, "}]}}}", "rules"),
    ] {
        let (inner_open, inner_close) = match open.split_once(r#""composite/development": {"#) {
            None => (open.to_owned(), close),
            // Within a composite one, they are named as they are.
            Some((_, inner)) => (format!("{{{inner}"), close.strip_suffix('}').unwrap_or(close)),
        };
        let nested = |depth: usize| {
            let (open, close) = (
                format!("{open}{}", inner_open.repeat(depth)),
                format!("{}{close}", inner_close.repeat(depth)),
            );
            format!(r#"{{"tracer_provider": {{"sampler": {open}{{"always_off": {{}}}}{close}}}}}"#)
        };
        let taken = (0..9).take_while(|depth| parse(&nested(*depth)).is_ok()).count();
        // A composite one and what it is made of are two.
        let around = if reason == "always_record" { 1 } else { 2 };
        assert_eq!(around + taken, 8, "{reason}: {}", nested(taken));
    }
}

#[test]
fn each_type_of_an_attribute_has_a_name() {
    let texts = || vec!["x".to_owned(), "y".to_owned()];
    let cases = [
        ("null", r#""x""#, AttributeValue::String("x".to_owned())),
        (r#""string""#, r#""""#, AttributeValue::String(String::new())),
        (r#""bool""#, "true", AttributeValue::Bool(true)),
        (r#""bool""#, "false", AttributeValue::Bool(false)),
        (r#""int""#, "-7", AttributeValue::Int(-7)),
        (r#""int""#, "9007199254740993", AttributeValue::Int(9_007_199_254_740_993)),
        (r#""double""#, "1.5", AttributeValue::Double(1.5)),
        (r#""double""#, "2", AttributeValue::Double(2.0)),
        (r#""string_array""#, r#"["x", "y"]"#, AttributeValue::StringArray(texts())),
        (r#""bool_array""#, "[true, false]", AttributeValue::BoolArray(vec![true, false])),
        (r#""int_array""#, "[1, 2.0]", AttributeValue::IntArray(vec![1, 2])),
        (r#""double_array""#, "[1, 2.5]", AttributeValue::DoubleArray(vec![1.0, 2.5])),
        (r#""double_array""#, "[]", AttributeValue::DoubleArray(Vec::new())),
    ];
    for (kind, value, expected) in cases {
        let entry = format!(r#"{{"name": "a", "type": {kind}, "value": {value}}}"#);
        let document = format!(r#"{{"resource": {{"attributes": [{entry}]}}}}"#);
        let resource = parse(&document).expect(&document).resource;
        assert_eq!(resource, [("a".to_owned(), expected)], "{entry}");
    }
}

#[test]
fn each_list_of_headers_and_methods_goes_where_it_belongs() {
    let http = r#"{
        "server": {"request_captured_headers": ["A"], "response_captured_headers": ["b"], "known_methods": ["c"]},
        "client": {"request_captured_headers": ["d"], "response_captured_headers": ["E"], "known_methods": ["F", "F"]}
    }"#;
    let document =
        format!(r#"{{"instrumentation/development": {{"general": {{"http": {http}}}}}}}"#);
    let config = parse(&document).expect("valid").http;
    assert_eq!(config.server.request_captured_headers, ["a"], "lowercase");
    assert_eq!(config.server.response_captured_headers, ["b"]);
    assert_eq!(config.server.known_methods, ["c"], "as it is written");
    assert_eq!(config.client.request_captured_headers, ["d"]);
    assert_eq!(config.client.response_captured_headers, ["e"], "lowercase");
    assert_eq!(config.client.known_methods, ["F"], "once");
    let config = parse("{}").expect("valid").http;
    for kind in [config.server, config.client] {
        assert_eq!(kind.request_captured_headers, Vec::<String>::new(), "none by default");
        assert_eq!(kind.response_captured_headers, Vec::<String>::new(), "none by default");
        assert!(kind.known_methods.contains(&"GET".to_owned()), "those of HTTP by default");
    }
    assert!(config.sensitive_query_parameters.contains(&"sig".to_owned()), "by default");
}

#[test]
fn propagators_are_named_in_two_places() {
    let cases = [
        ("{}", TRACE_CONTEXT, "the default"),
        (r#"{"composite": null}"#, TRACE_CONTEXT, "null is as good as absent"),
        (r#"{"composite": [{"tracecontext": null}]}"#, TRACE_CONTEXT, "named"),
        (r#"{"composite_list": "baggage, tracecontext"}"#, TRACE_CONTEXT, "listed"),
        (
            r#"{"composite": [{"baggage": {}}], "composite_list": "tracecontext"}"#,
            TRACE_CONTEXT,
            "the list is appended",
        ),
        (r#"{"composite": [{"baggage": {}}]}"#, NO_FORMAT, "baggage carries no context"),
        (r#"{"composite": []}"#, NO_FORMAT, "nothing is named"),
        (r#"{"composite_list": ""}"#, NO_FORMAT, "nothing is listed"),
        (r#"{"composite_list": "none"}"#, NO_FORMAT, "none"),
        (r#"{"composite_list": "tracecontext,none"}"#, NO_FORMAT, "none goes before"),
        (
            r#"{"composite": [{"tracecontext": {}}], "composite_list": "none"}"#,
            NO_FORMAT,
            "none goes before, wherever it stands",
        ),
    ];
    for (propagator, expected, reason) in cases {
        let config = parse(&format!("{{\"propagator\": {propagator}}}")).expect(reason);
        assert_eq!(formats(&config), expected, "{reason}");
    }
    for (list, expected) in
        [("none", NO_FORMAT), ("baggage", NO_FORMAT), ("baggage,tracecontext", TRACE_CONTEXT)]
    {
        let Parsed { config, warnings } = with_environment("{}", &[("OTEL_PROPAGATORS", list)]);
        assert_eq!(formats(&config), expected, "{list}");
        assert_eq!(warnings, Vec::<String>::new(), "{list}");
    }
}

#[test]
fn each_format_is_known_by_its_name_and_read_in_its_order() {
    let documents = [
        (
            r#"{"composite": [{"b3multi": {}}, {"jaeger": null}], "composite_list": "xray,b3multi"}"#,
            "B3Multi, Jaeger, XRay",
        ),
        (
            r#"{"composite_list": "google,datadog,ottrace,xray,jaeger,b3multi,b3,tracecontext"}"#,
            "Google, Datadog, OtTrace, XRay, Jaeger, B3Multi, B3, TraceContext",
        ),
    ];
    for (propagator, expected) in documents {
        let config = parse(&format!("{{\"propagator\": {propagator}}}")).expect(propagator);
        assert_eq!(format!("{:?}", config.propagators), format!("Propagators([{expected}])"));
    }
    let variables = [("OTEL_PROPAGATORS", "B3, OTTrace,baggage")];
    let config = with_environment("{}", &variables).config;
    assert_eq!(
        format!("{:?}", config.propagators),
        "Propagators([B3, OtTrace])",
        "by the variable"
    );
}
