//! The variables: what each one sets, and what goes before it.

use super::{NO_FORMAT, exporter, formats, parse, ratio, sampler, shown, with_environment};
use crate::config::{Environment, Parsed};
use crate::export::protocol::Protocol;
use crate::otlp::attributes::SpanLimits;
use crate::resource::AttributeValue;
use crate::sampling::{AlwaysOff, AlwaysOn, ParentBased};
use std::ffi::OsString;
use std::time::Duration;

#[test]
fn variables_apply_where_the_document_is_silent() {
    let variables = [
        ("OTEL_SERVICE_NAME", "of-variable"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%20b"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "400"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "32"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100"),
        ("OTEL_PROPAGATORS", "baggage"),
        ("OTEL_SDK_DISABLED", "TRUE"),
    ];
    let Parsed { config, warnings } = with_environment("{}", &variables);
    assert_eq!(warnings, Vec::<String>::new());
    let text =
        |name: &str, value: &str| (name.to_owned(), AttributeValue::String(value.to_owned()));
    assert_eq!(config.resource, [text("service.name", "of-variable"), text("team", "a b")]);
    assert_eq!(sampler(&config), shown(&ratio(0.5)));
    assert_eq!(config.batch.schedule_delay, Duration::from_millis(250));
    assert_eq!((config.batch.max_queue_spans, config.batch.max_batch_spans), (400, 400));
    assert_eq!(config.exporter.authority, "c:4318");
    assert_eq!(config.exporter.path, "/base/v1/traces", "the signal's path is added");
    assert_eq!(config.exporter.headers.len(), 2);
    assert_eq!(config.exporter.timeout, Duration::from_secs(2));
    assert_eq!(
        config.limits,
        SpanLimits { attribute_count: 32, attribute_value_length: Some(100) }
    );
    assert_eq!(formats(&config), NO_FORMAT, "baggage alone carries no context");
    assert!(config.disabled);

    let json = include_str!("complete.json");
    let Parsed { config, .. } = with_environment(json, &variables);
    let plain = parse(json).expect("valid");
    assert_eq!(sampler(&config), sampler(&plain), "the document goes before the variables");
    assert_eq!(config.exporter, plain.exporter, "the document goes before the variables");
    assert_eq!(config.batch, plain.batch, "the document goes before the variables");
}

#[test]
fn a_variable_names_a_sampler() {
    let share = |share| shown(&ratio(share));
    let based_on_share = |share| shown(&ParentBased::with_root(ratio(share)));
    let based_on_all = || shown(&ParentBased::with_root(AlwaysOn));
    let based_on_none = shown(&ParentBased::with_root(AlwaysOff));
    let cases = [
        ("always_on", None, shown(&AlwaysOn), 0, "all"),
        ("always_off", None, shown(&AlwaysOff), 0, "none"),
        ("traceidratio", None, share(1.0), 0, "a share: all by default"),
        ("parentbased_always_on", None, based_on_all(), 0, "all without parent"),
        ("parentbased_always_off", None, based_on_none, 0, "none without one"),
        ("parentbased_traceidratio", None, based_on_share(1.0), 0, "a share of those"),
        ("traceidratio", Some("0.25"), share(0.25), 0, "this share"),
        ("parentbased_traceidratio", Some(" .25"), based_on_share(0.25), 0, "this share"),
        ("traceidratio", Some("0"), share(0.0), 0, "the least"),
        ("traceidratio", Some("+1."), share(1.0), 0, "the most"),
        ("traceidratio", Some("1.01"), share(1.0), 1, "more than all"),
        ("traceidratio", Some("-0.25"), share(1.0), 1, "less than none"),
        ("traceidratio", Some("nan"), share(1.0), 1, "no number"),
        ("traceidratio", Some("inf"), share(1.0), 1, "no number between"),
        ("always_on", Some("many"), shown(&AlwaysOn), 0, "one without argument"),
        ("AlwaysOn", None, based_on_all(), 1, "no word of the specification"),
    ];
    for (sampler, argument, expected, expected_warnings, reason) in cases {
        let argument = argument.map(|argument| ("OTEL_TRACES_SAMPLER_ARG", argument));
        let variables: Vec<_> =
            [("OTEL_TRACES_SAMPLER", sampler)].into_iter().chain(argument).collect();
        let Parsed { config, warnings } = with_environment("{}", &variables);
        assert_eq!(super::sampler(&config), expected, "{reason}: {variables:?}");
        assert_eq!(warnings.len(), expected_warnings, "{reason}: {warnings:?}");
    }
}

#[test]
fn a_number_of_a_variable_has_a_range() {
    let cases = [
        ("OTEL_BSP_SCHEDULE_DELAY", 0, 600_000),
        ("OTEL_BSP_EXPORT_TIMEOUT", 0, 600_000),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", 0, 600_000),
        ("OTEL_BSP_MAX_QUEUE_SIZE", 1, 1_048_576),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 2048),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0, 4_294_967_295),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0, 4_294_967_295_i64),
    ];
    for (name, least, most) in cases {
        let warnings = |value: String| with_environment("{}", &[(name, &value)]).warnings;
        for taken in [least.to_string(), most.to_string(), format!(" +{most} ")] {
            assert_eq!(warnings(taken), Vec::<String>::new(), "{name}: within the range");
        }
        for ignored in [least - 1, most + 1] {
            let warning = format!(
                "{name}=\"{ignored}\" is ignored; accepted: a number from {least} to {most}"
            );
            assert_eq!(warnings(ignored.to_string()), [warning], "{name}: beyond the range");
        }
    }
}

#[test]
fn all_variables_are_there_but_empty_ones() {
    let variables = [("PATH", "/bin"), ("OTEL_EMPTY", ""), ("OTEL_A", "1"), ("MY_OTEL_A", "2")];
    let owned = |(name, value): (&str, &str)| (OsString::from(name), OsString::from(value));
    let environment = Environment::from_os(variables.into_iter().map(owned));
    let cases = [
        ("OTEL_A", Some("1"), "one of OpenTelemetry's"),
        ("PATH", Some("/bin"), "another one"),
        ("MY_OTEL_A", Some("2"), "another one"),
        ("OTEL_EMPTY", None, "an empty one"),
        ("OTEL_B", None, "one that is not there"),
    ];
    for (name, value, reason) in cases {
        assert_eq!(environment.get(name), value, "{reason}: {name}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_ignored() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = [("OTEL_A", b"\xff".to_vec()), ("OTEL_B", b"b".to_vec())];
    let bytes = bytes.map(|(name, value)| (name.into(), OsString::from_vec(value)));
    let environment = Environment::from_os(bytes.into_iter());
    assert_eq!((environment.get("OTEL_A"), environment.get("OTEL_B")), (None, Some("b")));
}

#[test]
fn the_protocol_is_the_documents_or_the_variables() {
    let (json, grpc) = (Protocol::HttpJson, Protocol::Grpc);
    let cases = [
        ("null", None, Protocol::HttpProtobuf, 0, "the default"),
        ("null", Some("http/json"), json, 0, "the variable"),
        ("null", Some("grpc"), grpc, 0, "the variable, of the exporter, too"),
        (r#"{"otlp_http": null}"#, Some("http/json"), json, 0, "of its encoding"),
        (r#"{"otlp_http": null}"#, Some("grpc"), Protocol::HttpProtobuf, 1, "not of what it is"),
        (r#"{"otlp_http": {"encoding": "json"}}"#, Some("http/protobuf"), json, 0, "the document"),
        (r#"{"otlp_grpc": null}"#, Some("http/json"), grpc, 0, "the document"),
    ];
    for (document, variable, expected, warnings, reason) in cases {
        let variables: Vec<_> =
            variable.map(|it| ("OTEL_EXPORTER_OTLP_PROTOCOL", it)).into_iter().collect();
        let parsed = with_environment(&exporter(document), &variables);
        assert_eq!(parsed.config.exporter.protocol, expected, "{reason}: {document}");
        assert_eq!(parsed.warnings.len(), warnings, "{reason}: {:?}", parsed.warnings);
    }
}

#[test]
fn a_scheme_is_read_in_any_case() {
    let Parsed { config, warnings } =
        with_environment("{}", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "HTTP://c:4318/base")]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        (&*config.exporter.authority, &*config.exporter.path),
        ("c:4318", "/base/v1/traces")
    );
    let document = exporter(r#"{"otlp_http": {"endpoint": "HTTPS://c/a"}}"#);
    assert_eq!(parse(&document).expect("a URL").exporter.path, "/a", "in the document, too");
}

#[test]
fn variables_that_make_no_sense_are_ignored_with_a_warning() {
    let cases = [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=1"),
        ("OTEL_PROPAGATORS", "b3,w3c"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ];
    let plain = with_environment("{}", &[]).config;
    for (name, value) in cases {
        let Parsed { config, warnings } = with_environment("{}", &[(name, value)]);
        assert_eq!(format!("{config:?}"), format!("{plain:?}"), "{name} is ignored");
        let [warning] = warnings.as_slice() else {
            panic!("{name}: one warning, not {warnings:?}")
        };
        let value = if value.parse::<i64>().is_ok() { value } else { "…" };
        assert!(
            warning.starts_with(&format!("{name}=\"{value}\" is ignored; accepted: ")),
            "{warning}"
        );
    }
    let batch =
        r#"{"tracer_provider": {"processors": [{"batch": {"max_export_batch_size": 600}}]}}"#;
    let Parsed { config, warnings } =
        with_environment(batch, &[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
    assert_eq!((config.batch.max_queue_spans, config.batch.max_batch_spans), (2048, 600));
    assert_eq!(warnings.len(), 1, "a variable can't make the document wrong");
    let empty = with_environment("{}", &[("OTEL_TRACES_SAMPLER", "")]);
    assert_eq!(empty.warnings, Vec::<String>::new(), "an empty variable is as good as none");
}
