//! The configuration as a whole: what is accepted, and what each refusal says.

use super::*;
use crate::batch::QueueFullPolicy;
use crate::envoy::attributes::{Detail, Details};
use crate::envoy::expression::Expression;
use crate::export::protocol::{Compression, Protocol};
use crate::outcome::{StartTime, Tags};
use crate::sampling::operator::OperatorHeader;
use crate::sampling::{AlwaysOn, ParentBased, Threshold, TraceIdRatio};
use crate::semconv::name::SpanName;
use std::time::Duration;

mod meanings;
mod schema;
mod secrets;
mod sources;
mod substituted;
mod variables;

/// A host that compiles what has as many brackets that open as such that close.
fn compiled(text: &str) -> Option<Expression> {
    let count = |bracket| text.matches(bracket).count();
    (count('(') == count(')')).then(|| Expression::from_bytes(&[0; 4])).flatten()
}

fn parse(json: &str) -> Result<Config, String> {
    Config::parse(json.as_bytes(), &Environment::default(), &compiled)
        .map(|parsed| parsed.config)
        .map_err(|error| error.to_string())
}

/// A document with this exporter.
fn exporter(exporter: &str) -> String {
    format!(r#"{{"tracer_provider": {{"processors": [{{"batch": {{"exporter": {exporter}}}}}]}}}}"#)
}

fn ratio(ratio: f64) -> TraceIdRatio {
    TraceIdRatio(Threshold::from_ratio(ratio).expect("within 0 to 1"))
}

/// A sampler with all that it was given.
fn shown(sampler: &dyn Sampler) -> String {
    format!("{sampler:?}")
}

/// That of a configuration.
fn sampler(config: &Config) -> String {
    shown(config.sampler.as_ref())
}

/// The headers of the formats that are read and written.
fn formats(config: &Config) -> Vec<&'static str> {
    config.propagators.fields().collect()
}

const TRACE_CONTEXT: &[&str] = &["traceparent", "tracestate"];
const NO_FORMAT: &[&str] = &[];

fn with_variables(json: &str, variables: &[(&str, &str)]) -> Result<Parsed, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(json.as_bytes(), &variables.collect(), &compiled)
}

fn with_environment(json: &str, variables: &[(&str, &str)]) -> Parsed {
    with_variables(json, variables).expect("valid")
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
        assert_eq!(sampler(&config), shown(&ParentBased::with_root(AlwaysOn)), "{json:?}");
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
    let expected = ParentBased {
        remote_parent_not_sampled: Box::new(AlwaysOn),
        ..ParentBased::with_root(ratio(0.25))
    };
    assert_eq!(sampler(&config), shown(&expected));
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
    let route = |method: &str, path: &str, name: &str| -> Option<String> {
        let [method, path] = [method, path].map(str::as_bytes);
        config.routes.of(method, path, name.as_bytes()).map(str::to_owned)
    };
    assert_eq!(route("GET", "/users/7", "/users").as_deref(), Some("/users/{id}"));
    assert_eq!(route("PUT", "/orders/7/items", "").as_deref(), Some("/orders/{id}/items"));
    assert_eq!(route("POST", "/orders/7/items", ""), None);
    assert_eq!(route("GET", "/static/a/b", "").as_deref(), Some("/static/{*path}"));
    assert_eq!(route("GET", "/", "/carts/{id}").as_deref(), Some("/carts/{id}"));
    assert_eq!(config.http.span_name, SpanName::parse("to {server.address}"));
    assert_eq!(config.semconv, Semconv::StableAndLegacy);
    assert_eq!(config.max_open_bytes, 1_000_000);
    assert_eq!(config.span_kind, SpanKindSetting::Client);
    assert_eq!(config.unsampled, Unsampled::PassThrough);
    let details = Details::NONE.with(Detail::RouteName).with(Detail::ClusterName);
    assert_eq!(
        config.outcome,
        OutcomeConfig { details, start_time: StartTime::Request, tags: Tags::Read }
    );
    assert_eq!(config.max_spans_per_second, Some(500));
    assert_eq!(config.long_streams, Some(Duration::from_secs(30)));
    let header = |header: &Option<OperatorHeader>| header.clone().map(|it| (it.name, it.secret));
    let force = ("x-force".into(), (*b"a secret of its own").into());
    assert_eq!(header(&config.force), Some(force));
    let explain = ("x-explain".into(), (*b"and yet another one").into());
    assert_eq!(header(&config.explain), Some(explain));
    let keep = format!("{:?}", config.keep);
    for part in [
        r#"name: "error", outcomes: [Error], conditions: [], threshold: Threshold(0)"#,
        r#"name: "slow api", outcomes: [SlowerThan(300ms)], conditions: [Patterns("#,
        r#"name: "condition", outcomes: [Expression("#,
        r#"name: "callee_kept", outcomes: [CalleeKept]"#,
        "tells_caller: true",
    ] {
        assert!(keep.contains(part), "{part} in {keep}");
    }
}

#[test]
fn details_are_named_as_in_spans() {
    let all =
        OutcomeConfig { details: Details::ALL, start_time: StartTime::Auto, tags: Tags::Unread };
    let names = [
        "envoy.response_code_details",
        "envoy.upstream_address",
        "envoy.request_attempt_count",
        "envoy.cluster_name",
        "envoy.route_name",
    ];
    let each = names.map(|name| format!("[\"{name}\"]"));
    let mut cases = vec![
        ("null", Details::ALL, "nothing is said"),
        (r#""always""#, Details::ALL, "always"),
        (r#""failures""#, Details::NONE, "of failures alone"),
        ("[]", Details::NONE, "an empty list"),
    ];
    for (name, detail) in each.iter().zip(Detail::ALL) {
        cases.push((name, Details::NONE.with(detail), name));
    }
    for (json, details, reason) in cases {
        let config = parse(&format!(r#"{{"envoy": {{"details": {json}}}}}"#)).expect(reason);
        assert_eq!(config.outcome, OutcomeConfig { details, ..all }, "{reason}");
    }
}

#[test]
fn details_that_names_need_are_read_all_the_same() {
    let route = Details::NONE.with(Detail::RouteName);
    for (details, name, expected) in [
        (r#""failures""#, r#""route_name_is_template": true"#, route),
        (r#""failures""#, r#""route_name_is_template": false"#, Details::NONE),
        (
            r#"["envoy.cluster_name"]"#,
            r#""route_name_is_template": true"#,
            route.with(Detail::ClusterName),
        ),
        (r#""always""#, r#""route_name_is_template": true"#, Details::ALL),
        (r#""failures""#, r#""span_name": "{envoy.route_name}""#, route),
        (r#""failures""#, r#""span_name": "{http.route}""#, Details::NONE),
    ] {
        let envoy = format!(r#"{{"details": {details}, {name}}}"#);
        let config = parse(&format!(r#"{{"envoy": {envoy}}}"#)).expect(&envoy);
        assert_eq!(config.outcome.details, expected, "{envoy}");
    }
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
fn refusals_name_the_key_the_type_and_what_is_accepted() {
    for (json, message) in refusals() {
        assert_eq!(parse(json).expect_err(json), message, "{json}");
    }
    assert!(refusals().count() >= 90, "the table is read whole");
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
fn what_this_version_does_not_support_is_called_by_its_name() {
    // Documents with a place for one more key, and the path to it.
    let cases: [(&str, &str, &[&str]); 9] = [
        ("{KEY}", "", &["meter_provider", "logger_provider"]),
        (r#"{"resource": {KEY}}"#, "resource.", &["detection/development"]),
        (
            r#"{"tracer_provider": {KEY}}"#,
            "tracer_provider.",
            &["id_generator", "tracer_configurator/development"],
        ),
        (
            r#"{"tracer_provider": {"sampler": {KEY}}}"#,
            "tracer_provider.sampler.",
            &["jaeger_remote/development"],
        ),
        (
            r#"{"tracer_provider": {"processors": [{KEY}]}}"#,
            "tracer_provider.processors[0].",
            &["simple"],
        ),
        (
            r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {KEY}}}]}}"#,
            "tracer_provider.processors[0].batch.exporter.",
            &["otlp_file/development", "console", "zipkin"],
        ),
        (
            r#"{"instrumentation/development": {KEY}}"#,
            "instrumentation/development.",
            &[
                "cpp", "dotnet", "erlang", "go", "java", "js", "php", "python", "ruby", "rust",
                "swift",
            ],
        ),
        (
            r#"{"instrumentation/development": {"general": {KEY}}}"#,
            "instrumentation/development.general.",
            &["code", "db", "gen_ai", "messaging", "rpc", "stability_opt_in_list"],
        ),
        (
            r#"{"instrumentation/development": {"general": {"http": {KEY}}}}"#,
            "instrumentation/development.general.http.",
            &["semconv"],
        ),
    ];
    for (document, path, keys) in cases {
        for key in keys {
            let document = document.replace("KEY", &format!("\"{key}\": null"));
            let error = parse(&document).expect_err(&document);
            let expected = format!("{path}{key}: not supported by this version; accepted: ");
            assert!(error.starts_with(&expected), "{document}: {error}");
        }
    }
}

#[test]
fn what_has_nothing_to_say_to_a_proxy_does_no_harm() {
    let plain = format!("{:?}", parse("{}").expect("valid"));
    for document in [
        r#"{"$schema": "https://example.com/otel-proxy-wasm.schema.json"}"#,
        r#"{"resource": {"schema_url": null}}"#,
        r#"{"distribution": {"vendor": {"anything": [1, {"a": null}]}}}"#,
        r#"{"tracer_provider": {"limits": {"event_count_limit": 128, "link_count_limit": 0,
            "event_attribute_count_limit": null, "link_attribute_count_limit": 4294967295}}}"#,
    ] {
        let Parsed { config, warnings } = with_environment(document, &[]);
        assert_eq!(format!("{config:?}"), plain, "{document}");
        assert_eq!(warnings, Vec::<String>::new(), "{document}");
    }
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
    let no_path = "the endpoint has no path: spans go to /, but collectors take /v1/traces";
    let https = "the endpoint is https, which does nothing: the cluster decides, and must have a \
                 transport_socket for TLS";
    let later = "file_format: it is later than 1.1, which is read";
    let over = |protocol: &str, endpoint: &str| {
        exporter(&format!(r#"{{"{protocol}": {{"endpoint": "{endpoint}"}}}}"#))
    };
    let format = |version: &str| format!(r#"{{"file_format": "{version}"}}"#);
    let cases = [
        (over("otlp_http", "http://c:4318/v1/traces"), None, "an endpoint with a path"),
        (over("otlp_http", "http://c:4318"), Some(no_path), "the path of the signal is forgotten"),
        (over("otlp_grpc", "http://c:4317/"), None, "the path is the method's"),
        (over("otlp_http", "https://c/v1/traces"), Some(https), "TLS is the cluster's affair"),
        (over("otlp_grpc", "HTTPS://c:4317"), Some(https), "over gRPC, too"),
        (format("1.12"), Some(later), "a later schema"),
        (format("1.1"), None, "the schema that is read"),
        (format("1.0"), None, "an earlier schema"),
    ];
    for (document, warning, reason) in cases {
        let Parsed { warnings, .. } = with_environment(&document, &[]);
        assert_eq!(warnings, Vec::from_iter(warning), "{reason}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let _ = Config::parse(&bytes, &Environment::default(), &compiled);
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
