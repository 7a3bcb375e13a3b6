//! The configuration as a whole: what is accepted, and what each refusal says.

use super::*;
use crate::batch::QueueFullPolicy;
use crate::export::protocol::{Compression, GRPC_PATH, Protocol};
use crate::sampling::{AlwaysOn, ParentBased, Threshold, TraceIdRatio};
use std::time::Duration;

mod schema;

fn parse(json: &str) -> Result<Config, String> {
    Config::parse(json.as_bytes(), &Environment::default())
        .map(|parsed| parsed.config)
        .map_err(|error| error.to_string())
}

fn with_environment(json: &str, variables: &[(&str, &str)]) -> Parsed {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(json.as_bytes(), &variables.collect()).expect("valid")
}

/// The names of the formats that are read and written.
fn formats(config: &Config) -> Vec<&'static str> {
    config.propagators.names().collect()
}

const TRACE_CONTEXT: &[&str] = &["tracecontext"];
const NO_FORMAT: &[&str] = &[];

/// A sampler with all that it was given.
fn shown(config: &Config) -> String {
    shown_as(config.sampler.as_ref())
}

fn shown_as(sampler: &dyn Sampler) -> String {
    format!("{sampler:?}")
}

fn ratio(ratio: f64) -> TraceIdRatio {
    TraceIdRatio(Threshold::from_ratio(ratio).expect("valid"))
}

#[test]
fn nothing_is_a_complete_configuration() {
    for json in ["", "{}", r#"{"file_format": "1.1"}"#, r#"{"tracer_provider": null}"#] {
        let config = parse(json).expect("complete");
        assert!(!config.disabled, "{json:?}");
        assert_eq!(config.exporter.cluster, "otel_collector", "{json:?}");
        assert_eq!(config.exporter.path, "/v1/traces", "{json:?}");
        assert_eq!(config.exporter.authority, "otel_collector", "{json:?}");
        assert_eq!(config.batch, BatchLimits::default(), "{json:?}");
        assert_eq!(config.limits, SpanLimits::default(), "{json:?}");
        assert_eq!(formats(&config), TRACE_CONTEXT, "{json:?}");
        assert_eq!(shown(&config), shown_as(&ParentBased::with_root(AlwaysOn)), "{json:?}");
    }
}

#[test]
fn every_key_is_read() {
    let config = parse(include_str!("tests/complete.json")).expect("valid");
    assert_eq!(config.log_level, log::LevelFilter::Warn);
    let name = ("service.name".to_owned(), AttributeValue::String("edge-gateway".to_owned()));
    assert_eq!(config.resource.first(), Some(&name));
    let replicas = ("replica.count".to_owned(), AttributeValue::Int(3));
    assert_eq!(config.resource.get(1), Some(&replicas));
    let listed = ("service.version".to_owned(), AttributeValue::String("1.2.3".to_owned()));
    assert_eq!(config.resource.get(2), Some(&listed), "the list comes after");
    assert_eq!(config.resource.len(), 3, "a name that is there already is not added");
    assert_eq!(config.batch.schedule_delay, Duration::from_millis(500));
    assert_eq!(config.batch.max_queue_spans, 100);
    assert_eq!(config.batch.max_batch_spans, 10);
    assert_eq!(config.batch.max_queue_bytes, 1_000_000);
    assert_eq!(config.batch.max_batch_bytes, 100_000);
    assert_eq!(config.batch.queue_full, QueueFullPolicy::DropOldest);
    assert_eq!(config.exporter.protocol, Protocol::HttpJson);
    assert_eq!(config.exporter.compression, Compression::Gzip);
    assert_eq!(config.exporter.authority, "collector.example:4318");
    assert_eq!(config.exporter.path, "/otlp/v1/traces");
    assert_eq!(config.exporter.timeout, Duration::from_secs(3));
    let headers =
        [("api-key".to_owned(), "1234".to_owned()), ("x-tenant".to_owned(), "a b".to_owned())];
    assert_eq!(config.exporter.headers, headers);
    let limits = SpanLimits { attribute_count: 64, attribute_value_length: Some(256) };
    assert_eq!(config.limits, limits, "the span's own limits go before the general ones");
    let sampler = ParentBased {
        remote_parent_not_sampled: Box::new(AlwaysOn),
        ..ParentBased::with_root(ratio(0.25))
    };
    assert_eq!(shown(&config), shown_as(&sampler));
    assert_eq!(config.http.server.request_captured_headers, ["x-request-id"], "lowercase, once");
    assert_eq!(config.http.server.response_captured_headers, ["content-type"]);
    assert_eq!(config.http.server.known_methods, ["GET", "POST"]);
    assert_eq!(config.http.client.known_methods.len(), 10, "the default");
    assert_eq!(config.telemetry_exports, TelemetryExports::Traced);
    let sensitive = ["token", "access_token", "api_key", "password", "code", "key"];
    assert_eq!(config.http.sensitive_query_parameters, sensitive, "the list, and common secrets");
    assert_eq!(config.exporter.retry.initial_interval, Duration::from_millis(200));
    assert_eq!(config.exporter.retry.max_interval, Duration::from_secs(3));
    assert_eq!(config.exporter.retry.max_elapsed_time, Duration::from_secs(20));
    assert_eq!(config.exporter.cluster, "outbound|4318||otel");
    assert_eq!(config.span_kind, SpanKindSetting::Client);
}

#[test]
fn one_interval_of_retries_moves_the_other() {
    let cases = [
        ("{}", 1000, 5000, "the defaults"),
        (r#"{"initial_interval": 9000}"#, 9000, 9000, "longer than the longest by default"),
        (r#"{"max_interval": 10}"#, 10, 10, "shorter than the shortest by default"),
        (r#"{"initial_interval": 10, "max_interval": 20}"#, 10, 20, "both"),
    ];
    for (retry, initial, max, reason) in cases {
        let json = format!(r#"{{"envoy": {{"retry": {retry}}}}}"#);
        let retry = parse(&json).expect(reason).exporter.retry;
        assert_eq!(retry.initial_interval, Duration::from_millis(initial), "{reason}");
        assert_eq!(retry.max_interval, Duration::from_millis(max), "{reason}");
    }
}

/// The table of refusals: documents and what is said of each.
fn refusals() -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = include_str!("tests/refusals.txt");
    let cases = table.split("\n\n").map(str::trim).filter(|case| !case.is_empty());
    cases.map(|case| case.split_once('\n').expect("a document and its refusal"))
}

#[test]
fn refusals_name_the_key_the_value_and_what_is_accepted() {
    for (json, message) in refusals() {
        assert_eq!(parse(json).expect_err(json), message, "{json}");
    }
    assert!(refusals().count() >= 90, "the table is read whole");
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
    for (list, expected) in [("none", NO_FORMAT), ("baggage,tracecontext", TRACE_CONTEXT)] {
        let Parsed { config, warnings } = with_environment("{}", &[("OTEL_PROPAGATORS", list)]);
        assert_eq!(formats(&config), expected, "{list}");
        assert_eq!(warnings, Vec::<String>::new(), "{list}");
    }
}

#[test]
fn numbers_are_whole_as_json_schema_says() {
    for (number, expected) in [("1000000", 1_000_000), ("1e6", 1_000_000), ("5000.0", 5000)] {
        let config = parse(&format!("{{\"envoy\": {{\"max_queue_bytes\": {number}}}}}"));
        assert_eq!(config.expect(number).batch.max_queue_bytes, expected);
    }
    let least = r#"{"resource": {"attributes": [{"name": "a", "value": -9223372036854775808, "type": "int"}]}}"#;
    let least = parse(least).expect("an i64").resource;
    assert_eq!(least, [("a".to_owned(), AttributeValue::Int(i64::MIN))]);
}

#[test]
fn an_entry_whose_value_is_null_is_ignored() {
    let config = parse(
        r#"{"resource": {"attributes": [{"name": "a", "value": null, "type": "int"}, {"name": "a", "value": "x"}]},
            "tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers": [
                {"name": "b", "value": null}, {"name": "B", "value": "y"}]}}}}]}}"#,
    );
    let config = config.expect("valid");
    assert_eq!(config.resource, [("a".to_owned(), AttributeValue::String("x".to_owned()))]);
    assert_eq!(config.exporter.headers, [("b".to_owned(), "y".to_owned())]);
}

#[test]
fn smaller_queues_make_smaller_batches() {
    let config = parse(
        r#"{"tracer_provider": {"processors": [{"batch": {"max_queue_size": 100}}]},
            "envoy": {"max_queue_bytes": 4096}}"#,
    );
    let batch = config.expect("valid").batch;
    assert_eq!((batch.max_batch_spans, batch.max_batch_bytes), (100, 4096));
}

#[test]
fn what_may_be_meant_otherwise_is_a_warning() {
    let exporter = |endpoint: &str| {
        format!(
            r#"{{"tracer_provider": {{"processors": [{{"batch": {{"exporter": {{"otlp_http": {{"endpoint": "{endpoint}"}}}}}}}}]}}}}"#
        )
    };
    let later = r#"{"file_format": "1.12"}"#.to_owned();
    let cases = [
        (exporter("http://c:4318/v1/traces"), None, "an endpoint with a path"),
        (
            exporter("http://c:4318"),
            Some("the endpoint has no path: spans go to /, but collectors take /v1/traces"),
            "the path of the signal is forgotten",
        ),
        (later, Some("file_format: 1.12 is later than 1.1, which is read"), "a later schema"),
    ];
    for (document, warning, reason) in cases {
        let Parsed { warnings, .. } = with_environment(&document, &[]);
        assert_eq!(warnings, Vec::from_iter(warning), "{reason}");
    }
}

#[test]
fn secrets_stand_in_no_message() {
    let values = [
        r#""s3cret""#,
        r#"{"authorization": "s3cret"}"#,
        r#"["s3cret"]"#,
        r#"[{"name": "authorization: s3cret", "value": "x"}]"#,
        r#"[{"name": "authorization", "value": "s3cret\u0000"}]"#,
        r#"[{"name": "authorization", "value": ["s3cret"]}]"#,
        r#"[{"name": "authorization", "value": {"a": "s3cret"}}]"#,
        r#"[{"name": "host", "value": "s3cret"}]"#,
        r#"[{"value": "s3cret"}]"#,
        r#""authorization=s3cret%""#,
        r#""http://user:s3cret@c/""#,
    ];
    for key in ["headers", "headers_list", "endpoint"] {
        for value in values {
            let endpoint_alone = key == "endpoint" && !value.contains('@');
            let document = format!(
                r#"{{"tracer_provider": {{"processors": [{{"batch": {{"exporter": {{"otlp_http": {{"{key}": {value}}}}}}}}}]}}}}"#
            );
            let error = parse(&document).expect_err(&document);
            assert!(endpoint_alone || !error.contains("s3cret"), "{document}: {error}");
        }
    }
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret%"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "s3cret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:s3cret@c/"),
    ] {
        let Parsed { warnings, .. } = with_environment("{}", &[(name, value)]);
        let [warning] = warnings.as_slice() else { panic!("{name}: one warning") };
        assert!(warning.starts_with(&format!("{name}=\"…\" is ignored")), "{warning}");
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
    assert_eq!(shown(&config), shown_as(&ratio(0.5)));
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

    let json = include_str!("tests/complete.json");
    let Parsed { config, .. } = with_environment(json, &variables);
    let plain = parse(json).expect("valid");
    assert_eq!(shown(&config), shown(&plain), "the document goes before the variables");
    assert_eq!(config.exporter, plain.exporter, "the document goes before the variables");
    assert_eq!(config.batch, plain.batch, "the document goes before the variables");
}

#[test]
fn the_protocol_is_the_documents_or_the_variables() {
    let exporter = |exporter: &str| {
        format!(
            r#"{{"tracer_provider": {{"processors": [{{"batch": {{"exporter": {exporter}}}}}]}}}}"#
        )
    };
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
    let config =
        parse(&exporter(r#"{"otlp_grpc": {"endpoint": "http://c:4317"}}"#)).expect("valid");
    assert_eq!(config.exporter.authority, "c:4317");
    assert_eq!(config.exporter.path, GRPC_PATH, "the method's");
    let zipped = [("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    let config = with_environment("{}", &zipped).config;
    assert_eq!(config.exporter.compression, Compression::Gzip);
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
        ("OTEL_PROPAGATORS", "b3"),
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
        let value = if name.ends_with("_HEADERS") { "…" } else { value };
        assert!(
            warning.starts_with(&format!("{name}={value:?} is ignored; accepted: ")),
            "{warning}"
        );
    }
    let variables = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let Parsed { config, warnings } = with_environment("{}", &variables);
    assert_eq!(shown(&config), shown_as(&ratio(1.0)));
    assert_eq!(warnings.len(), 1, "the argument is ignored");
    let batch =
        r#"{"tracer_provider": {"processors": [{"batch": {"max_export_batch_size": 600}}]}}"#;
    let Parsed { config, warnings } =
        with_environment(batch, &[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
    assert_eq!((config.batch.max_queue_spans, config.batch.max_batch_spans), (2048, 600));
    assert_eq!(warnings.len(), 1, "a variable can't make the document wrong");
    let empty = with_environment("{}", &[("OTEL_TRACES_SAMPLER", "")]);
    assert_eq!(empty.warnings, Vec::<String>::new(), "an empty variable is as good as none");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = Config::parse(&bytes, &Environment::default());
    }

    #[test]
    fn any_value_at_any_key_is_survived(
        key in proptest::sample::select(vec![
            "disabled", "log_level", "resource", "propagator", "tracer_provider", "envoy",
            "attribute_limits", "instrumentation/development", "file_format",
        ]),
        value in "(null|true|-1|1e99|\"x\"|\\[\\]|\\[\\{\\}\\]|\\{\\}|\\{\"sampler\":\\{\\}\\}|\\{\"cluster\":0\\})",
    ) {
        let _ = parse(&format!("{{\"{key}\": {value}}}"));
    }
}
