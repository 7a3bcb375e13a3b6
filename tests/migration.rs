//! docs/migrate.md: what Envoy's own tracers write and what this filter writes of the same requests, as its table has it; and that Envoy
//! knows each key that the page translates.

use anyhow::{Context, Result};
use harness::bootstrap::Place;
use harness::client::{Call, Http};
use harness::{Bootstrap, Envoy, Span, Stage, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;

type Names = BTreeSet<String>;

fn page() -> Result<String> {
    Ok(std::fs::read_to_string(harness::root().join("docs/migrate.md"))?)
}

/// The rows of the table that begins with this line, each as its cells.
fn table(page: &str, head: &str) -> Result<Vec<Vec<String>>> {
    let (_, rest) = page.split_once(head).with_context(|| format!("a table {head}"))?;
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
    Ok(rows.map(cells).collect())
}

/// What stands between backticks.
fn named(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn column(rows: &[Vec<String>], index: usize) -> Names {
    rows.iter().filter_map(|row| row.get(index)).flat_map(|cell| named(cell)).collect()
}

/// The page is about Envoy 1.40. Older ones, which are tested, too, lack some keys and the events.
fn is_as_new_as_the_page() -> Result<bool> {
    let version = Command::new(harness::envoy::binary()?).arg("--version").output()?.stdout;
    let version = String::from_utf8(version)?;
    Ok(!["/1.36.", "/1.37.", "/1.38.", "/1.39."].iter().any(|older| version.contains(older)))
}

/// Requests that between them have everything that a tracer writes: one that goes well, one that fails, the same of gRPC, and one that is tried twice.
async fn send_requests(stage: &Stage) -> Result<()> {
    let get = Call::get("/a?b=c").header("user-agent", "test").header("x-client-trace-id", "7");
    assert_eq!(get.send(&Http::One, stage.port()).await?.status, 200);
    assert_eq!(Call::get("/reset").send(&Http::One, stage.port()).await?.status, 503);
    for method in ["/shop.Cart/Add", "/reset/Add"] {
        let grpc = Call::grpc(method).header("grpc-timeout", "9S");
        assert_eq!(grpc.send(&Http::Two, stage.port()).await?.status, 200, "{method}");
    }
    let twice = Call::get("/flaky/1").send(&Http::One, stage.port()).await?;
    assert_eq!(twice.status, 200, "the second time");
    Ok(())
}

const REQUESTS: usize = 5;
/// Spans for each try, and for the requests.
const WITH_UPSTREAMS: usize = 2 * REQUESTS + 1;

/// Has Envoy try once more what the upstream fails to answer at first.
fn with_retry(edge: Bootstrap) -> Result<Bootstrap> {
    let retry = json!({"retry_on": "5xx", "num_retries": 1});
    let action = json!({"cluster": "upstream", "retry_policy": retry});
    let route = json!({"name": "retried", "match": {"prefix": "/flaky"}, "route": action});
    edge.route("ingress", route)
}

/// One of the events of Envoy's tracer, as the page has it.
const EVENT: &str = "first_upstream_tx_byte_sent";

fn opentelemetry() -> Value {
    json!({
        "name": "envoy.tracers.opentelemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "service_name": "edge",
            "http_service": {"http_uri": {
                "uri": "http://collector/v1/traces", "cluster": "otel_collector", "timeout": "1s",
            }},
        },
    })
}

fn zipkin() -> Value {
    json!({
        "name": "envoy.tracers.zipkin",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "otel_collector",
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
        },
    })
}

/// An Envoy without the filter, which traces by itself and sends each span at once.
async fn traced_by_envoy(tracing: Value, direction: &str) -> Result<Stage> {
    let at_once = json!({
        "tracing.opentelemetry.min_flush_spans": 1, "tracing.zipkin.min_flush_spans": 1,
    });
    Stage::start(|edge| {
        let edge = with_retry(edge.without_filter("ingress")?.runtime(at_once)?)?;
        let edge = edge.listener_part("ingress", "traffic_direction", json!(direction))?;
        let locality = json!({"region": "eu", "zone": "eu-1"});
        edge.node("locality", locality)?.connection_manager("ingress", "tracing", tracing)
    })
    .await
}

fn attributes(spans: &[Span]) -> Names {
    spans.iter().flat_map(|span| span.attributes().into_keys()).collect()
}

fn names(spans: &[Span]) -> Names {
    spans.iter().map(|span| span.span.name.clone()).collect()
}

fn kinds(spans: &[Span]) -> BTreeSet<&'static str> {
    spans.iter().map(|span| span.span.kind().as_str_name()).collect()
}

#[tokio::test]
async fn envoys_tracers_write_what_the_first_column_says() -> Result<()> {
    let tags = column(&table(&page()?, "| Envoy's tag |")?, 0);
    let tracing = json!({"verbose": true, "provider": opentelemetry()});
    let stage = traced_by_envoy(tracing, "INBOUND").await?;
    send_requests(&stage).await?;
    let spans = stage.collector.wait_for_spans(REQUESTS).await?;
    assert_eq!(names(&spans), Names::from(["ingress".to_owned()]), "its spans' name");
    assert_eq!(kinds(&spans), BTreeSet::from(["SPAN_KIND_SERVER"]), "and kind");
    assert!(spans.iter().all(|span| span.scope.name == "envoy"), "and scope");
    if is_as_new_as_the_page()? {
        let first = |span: &Span| span.span.events.iter().any(|it| it.name == EVENT);
        assert!(spans.iter().all(first), "and events");
        let most = spans.iter().map(|span| span.span.events.len()).max();
        assert_eq!(most, Some(7), "seven of them");
    }

    // Those of an upstream's span.
    let tracing = json!({"spawn_upstream_span": true, "provider": opentelemetry()});
    let outbound = traced_by_envoy(tracing, "OUTBOUND").await?;
    send_requests(&outbound).await?;
    let upstreams = outbound.collector.wait_for_spans(WITH_UPSTREAMS).await?;
    let written: Names = attributes(&spans).union(&attributes(&upstreams)).cloned().collect();
    assert_eq!(written, tags, "docs/migrate.md has the tags of Envoy's tracer");

    let tracing = json!({"provider": opentelemetry()});
    let outbound = traced_by_envoy(tracing, "OUTBOUND").await?;
    send_requests(&outbound).await?;
    let spans = outbound.collector.wait_for_spans(REQUESTS).await?;
    assert_eq!(kinds(&spans), BTreeSet::from(["SPAN_KIND_CLIENT"]), "on an outbound listener");
    Ok(())
}

#[tokio::test]
async fn envoys_zipkin_tracer_has_the_same_tags() -> Result<()> {
    let tags = column(&table(&page()?, "| Envoy's tag |")?, 0);
    let tracing = json!({"spawn_upstream_span": true, "provider": zipkin()});
    let stage = traced_by_envoy(tracing, "INBOUND").await?;
    send_requests(&stage).await?;
    let spans = || async {
        let exports = stage.collector.exports();
        let bodies = exports.iter().map(|export| serde_json::from_slice(&export.body).ok());
        let bodies: Option<Vec<Vec<Value>>> = bodies.collect();
        bodies.map(|bodies| bodies.concat()).filter(|spans| spans.len() >= WITH_UPSTREAMS)
    };
    let spans = wait_for("spans for a Zipkin", spans).await?;
    let of = |span: &Value| span["tags"].as_object().map(|tags| tags.keys().cloned().collect());
    let written: Vec<Names> = spans.iter().filter_map(of).collect();
    assert_eq!(written.into_iter().flatten().collect::<Names>(), tags);
    let host = format!("localhost:{}", stage.port());
    assert!(spans.iter().any(|span| span["name"] == host.as_str()), "a span's name: {spans:#?}");
    Ok(())
}

#[tokio::test]
async fn the_filter_writes_what_the_second_column_says() -> Result<()> {
    let page = page()?;
    let attributes_here = column(&table(&page, "| Envoy's tag |")?, 1);
    let (_, captured) =
        page.split_once("For the captured headers of the table:\n\n```json\n").context("them")?;
    let (captured, _) = captured.split_once("```").context("their end")?;
    let mut written = Names::new();
    for (kind, name) in [("server", "SPAN_KIND_SERVER"), ("client", "SPAN_KIND_CLIENT")] {
        let mut configuration: Value = serde_json::from_str(captured)?;
        let sizes = ["http.request.body.size", "http.response.body.size"];
        configuration["envoy"] = json!({"span_kind": kind, "attributes": sizes});
        let configuration = configuration.to_string();
        let stage =
            Stage::start(|edge| with_retry(edge)?.filter("ingress", &configuration)).await?;
        send_requests(&stage).await?;
        let spans = stage.collector.wait_for_spans(REQUESTS).await?;
        assert_eq!(kinds(&spans), BTreeSet::from([name]));
        let expected = ["GET", "reset/Add", "shop.Cart/Add"].map(str::to_owned);
        assert_eq!(names(&spans), Names::from(expected), "the spans' names");
        assert!(spans.iter().all(|span| span.scope.name == "otel-proxy-wasm"), "and scope");
        assert!(spans.iter().all(|span| span.span.events.is_empty()), "no events");
        written.append(&mut attributes(&spans));
    }
    let missing: Vec<_> = attributes_here.difference(&written).collect();
    assert!(missing.is_empty(), "docs/migrate.md has what the filter does not write: {missing:?}");
    for not_envoys in
        ["envoy.route_name", "envoy.response_code_details", "envoy.request_attempt_count"]
    {
        assert!(written.contains(not_envoys), "{not_envoys}");
    }
    let unknown: Vec<_> =
        written.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "what the page does not speak of: {unknown:?}");
    Ok(())
}

#[tokio::test]
async fn a_rule_keeps_what_client_sampling_would() -> Result<()> {
    let page = page()?;
    let row = table(&page, "| Key |")?.into_iter().find(|row| row[0] == "`client_sampling`");
    let cell = row.context("the row")?.swap_remove(1);
    let condition = named(&cell).next().context("the condition")?;
    let mut rule: Value = serde_json::from_str(&format!("{{{condition}}}"))?;
    rule["sampler"] = json!({"always_on": {}});
    let others = json!({"sampler": {"always_off": {}}});
    let sampler = json!({"composite/development": {"rule_based": {"rules": [rule, others]}}});
    let configuration = json!({"tracer_provider": {"sampler": sampler}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    let forced = Call::get("/forced").header("x-client-trace-id", "7");
    for call in [Call::get("/other"), forced] {
        assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
    }
    let stats = stage.at_rest(2).await?;
    assert_eq!(stats["span.sampled"], 1, "{stats:#?}");
    assert_eq!(stage.collector.spans()[0].text("url.path").as_deref(), Some("/forced"));
    Ok(())
}

/// The attributes that stand in a cell.
fn examples(cell: &str) -> Result<Vec<Value>> {
    let documents = named(cell).filter(|text| text.starts_with('{'));
    documents.map(|text| serde_json::from_str(&text).context(text)).collect()
}

/// Where a request, its route, its cluster and its host have metadata.
fn with_metadata(edge: Bootstrap) -> Result<Bootstrap> {
    let of = |team: &str| json!({"filter_metadata": {"shop": {"team": team}}});
    let dynamic = json!({"name": "set_metadata", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
        "metadata": [{"metadata_namespace": "shop", "value": {"team": "request"}}],
    }});
    let edge = edge.http_filter("ingress", Place::First, dynamic)?;
    let port = edge.cluster_port("upstream");
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let host = json!({"endpoint": {"address": address}, "metadata": of("host")});
    let hosts = json!({"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [host]}]});
    let edge = edge.cluster_part("upstream", "metadata", of("cluster"))?;
    let edge = edge.cluster_part("upstream", "load_assignment", hosts)?;
    let route = json!({
        "match": {"prefix": "/"}, "metadata": of("route"), "route": {"cluster": "upstream"},
    });
    edge.route("ingress", route)
}

#[tokio::test]
async fn custom_tags_become_attributes() -> Result<()> {
    const KINDS: [(&str, &str); 4] = [
        ("route", "xds.route_metadata"),
        ("cluster", "xds.cluster_metadata"),
        ("host", "xds.upstream_host_metadata"),
        ("request", "metadata"),
    ];
    let page = page()?;
    let (_, section) = page.split_once("Of `custom_tags`:").context("the table")?;
    let mut attributes = Vec::new();
    for row in table(section, "| Type |")? {
        for example in examples(&row[1])? {
            if row[0] != "`metadata`" {
                attributes.push(example);
                continue;
            }
            let text = example["expression"].as_str().context("an expression")?.to_owned();
            for (kind, place) in KINDS {
                assert!(named(&row[1]).any(|it| it == place) || text.starts_with(place), "{place}");
                let mut other = example.clone();
                other["name"] = json!(format!("team.{kind}"));
                other["expression"] = json!(text.replace("xds.route_metadata", place));
                attributes.push(other.clone());
                other["name"] = json!(format!("none.{kind}"));
                other["expression"] =
                    json!(text.replace("shop", "none").replace("xds.route_metadata", place));
                attributes.push(other);
            }
        }
    }
    let mut tags = vec![
        json!({"tag": "stage", "literal": {"value": "canary"}}),
        json!({"tag": "region", "environment": {"name": "REGION", "default_value": "eu"}}),
        json!({"tag": "tenant", "request_header": {"name": "x-tenant", "default_value": "none"}}),
    ];
    for (kind, _) in KINDS {
        for (name, key) in [("team", "shop"), ("none", "none")] {
            let mut metadata = json!({"metadata_key": {"key": key, "path": [{"key": "team"}]}});
            metadata["kind"][kind] = json!({});
            metadata["default_value"] = json!("none");
            tags.push(json!({"tag": format!("{name}.{kind}"), "metadata": metadata}));
        }
    }
    if is_as_new_as_the_page()? {
        tags.push(json!({"tag": "protocol", "value": "%PROTOCOL%"}));
    }
    let tracing = json!({"custom_tags": tags, "provider": opentelemetry()});
    let at_once = json!({"tracing.opentelemetry.min_flush_spans": 1});
    let by_envoy = Stage::start(|edge| {
        let edge = with_metadata(edge.without_filter("ingress")?.runtime(at_once)?)?;
        edge.connection_manager("ingress", "tracing", tracing)
    })
    .await?;
    let configuration = json!({"envoy": {"attributes": attributes}}).to_string();
    let here = Stage::start(|edge| with_metadata(edge)?.filter("ingress", &configuration)).await?;
    for call in [Call::get("/a"), Call::get("/b").header("x-tenant", "shop")] {
        let mut found = Vec::new();
        for stage in [&by_envoy, &here] {
            stage.collector.clear();
            assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
            found.push(stage.collector.wait_for_spans(1).await?.remove(0));
        }
        for tag in &tags {
            let name = tag["tag"].as_str().context("a name")?;
            let [envoys, ours] = [0, 1].map(|place| found[place].text(name));
            assert!(envoys.is_some() && envoys == ours, "{name}: {envoys:?}, here {ours:?}");
        }
        assert_eq!(found[1].text("team.host").as_deref(), Some("host"), "each its own");
        assert_eq!(found[1].text("protocol").as_deref(), Some("HTTP/1.1"));
    }
    Ok(())
}

/// All keys of each message, in examples that Envoy takes: of some only one may stand.
fn all_keys() -> [(&'static str, Vec<Value>); 4] {
    let uri =
        json!({"http_uri": {"uri": "http://c/v1", "cluster": "otel_collector", "timeout": "1s"}});
    let tag = |kind: &str, value: Value| {
        let mut tag = json!({"tag": kind});
        tag[kind] = value;
        tag
    };
    let tags = [
        ("literal", json!({"value": "a"})),
        ("environment", json!({"name": "A"})),
        ("request_header", json!({"name": "a"})),
        (
            "metadata",
            json!({"kind": {"request": {}}, "metadata_key": {"key": "a", "path": [{"key": "b"}]}}),
        ),
        ("value", json!("%PROTOCOL%")),
    ]
    .map(|(kind, value)| tag(kind, value));
    let manager = json!({
        "client_sampling": {"value": 1}, "random_sampling": {"value": 1}, "overall_sampling": {"value": 1},
        "verbose": true, "max_path_tag_length": 9, "custom_tags": tags, "spawn_upstream_span": true,
        "operation": "a", "upstream_operation": "b", "no_context_propagation": true,
        "provider": opentelemetry(),
    });
    let over_http = json!({
        "http_service": uri, "service_name": "a", "resource_detectors": [{
            "name": "envoy.tracers.opentelemetry.resource_detectors.environment",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig"},
        }],
        "sampler": {
            "name": "envoy.tracers.opentelemetry.samplers.always_on",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig"},
        },
        "max_cache_size": 9, "set_telemetry_sdk_resource_attributes": true,
        "set_service_name_resource_attribute": true, "set_instrumentation_scope": true,
    });
    let over_grpc = json!({"grpc_service": {
        "envoy_grpc": {"cluster_name": "otel_collector"}, "timeout": "1s", "initial_metadata": [{"key": "a", "value": "b"}],
    }});
    let to_zipkin = json!({
        "collector_cluster": "otel_collector", "collector_endpoint": "/a", "collector_hostname": "a",
        "collector_endpoint_version": "HTTP_PROTO", "trace_id_128bit": true, "shared_span_context": false,
        "split_spans_for_request": false, "trace_context_option": "USE_B3_WITH_W3C_PROPAGATION", "collector_service": uri,
    });
    [
        ("## From Envoy's connection manager", vec![manager.clone()]),
        ("Of `custom_tags`:", manager["custom_tags"].as_array().cloned().unwrap_or_default()),
        ("## From OpenTelemetryConfig", vec![over_http, over_grpc]),
        ("## From ZipkinConfig", vec![to_zipkin]),
    ]
}

/// What each of these examples is a part of.
fn tracing(heading: &str, example: &Value) -> Value {
    let mut provider = match heading {
        "## From ZipkinConfig" => zipkin(),
        _ => opentelemetry(),
    };
    match heading {
        "## From Envoy's connection manager" => return example.clone(),
        "Of `custom_tags`:" => return json!({"custom_tags": [example], "provider": provider}),
        _ => {}
    }
    let mut configuration = example.clone();
    configuration["@type"] = provider["typed_config"]["@type"].clone();
    provider["typed_config"] = configuration;
    json!({"provider": provider})
}

#[tokio::test]
async fn envoy_knows_the_keys_that_are_translated() -> Result<()> {
    let page = page()?;
    let edge = Bootstrap::from_file("envoy/envoy.yaml")?.without_filter("ingress")?;
    for (heading, examples) in all_keys() {
        let (_, section) = page.split_once(heading).with_context(|| heading.to_owned())?;
        let head = if heading.starts_with("Of") { "| Type |" } else { "| Key |" };
        let translated = column(&table(section, head)?, 0);
        let members =
            examples.iter().filter_map(Value::as_object).flat_map(|it| it.keys().cloned());
        let known: Names = members.filter(|key| key != "tag").collect();
        assert_eq!(translated, known, "{heading}: the table has Envoy's keys");
        for example in &examples {
            let tracing = tracing(heading, example);
            let bootstrap = edge.clone().connection_manager("ingress", "tracing", tracing)?;
            let checked = Envoy::validate(&bootstrap).await?;
            let is_old = !is_as_new_as_the_page()? && checked.output.contains("unknown fields");
            assert!(checked.status.success() || is_old, "{heading}: {}", checked.output);
        }
    }
    Ok(())
}
