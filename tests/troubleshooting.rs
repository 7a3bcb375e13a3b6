//! docs/troubleshooting.md: each of its rows is brought about here, and the counters and the lines that it names are seen. Rows that only
//! lead to another page are that page's: its tests have them.

use anyhow::{Context, Result, ensure};
use harness::bootstrap::Place;
use harness::client::{Call, Http};
use harness::{Answer, Bootstrap, Stage, wait_for};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

/// What brings a row about: it gives the stage on which one request was made.
type Cause = fn() -> Pin<Box<dyn Future<Output = Result<Stage>>>>;

/// The start of a row's "why", and what brings it about.
const CAUSES: [(&str, Cause); 15] = [
    ("no listener has the filter", || Box::pin(request(|edge| edge.without_filter("ingress")))),
    ("`disabled: true`", || Box::pin(configured(r#"{"disabled": true}"#))),
    ("the request came in by a listener without the filter", || Box::pin(another_listener())),
    ("the route switches the filter off", || Box::pin(disabled_route())),
    ("the request is itself an export of telemetry", || Box::pin(export_of_telemetry())),
    ("the sampler does not sample the request", || {
        Box::pin(configured(r#"{"tracer_provider": {"sampler": {"always_off": {}}}}"#))
    }),
    ("the caller has not sampled the request", || Box::pin(unsampled_caller())),
    ("`envoy.max_spans_per_second`", || Box::pin(limited())),
    ("the batch is still filling", || {
        Box::pin(configured(
            r#"{"tracer_provider": {"processors": [{"batch": {"schedule_delay": 600000}}]}}"#,
        ))
    }),
    ("the collector takes the request and does not answer", || Box::pin(answered(Answer::Hang))),
    ("the collector can't be reached, or says", || Box::pin(answered(Answer::Status(503)))),
    ("there is no such cluster, or the collector refuses", || {
        Box::pin(answered(Answer::Status(400)))
    }),
    ("the collector takes the batch, but not this span", || {
        Box::pin(answered(Answer::PartialSuccess(1)))
    }),
    ("something that is no collector answers 200", || Box::pin(no_collector())),
    ("the header that names the tenant", || Box::pin(no_tenant())),
];

/// Rows that other tests bring about: those of the page that they lead to.
const ELSEWHERE: [&str; 6] = [
    // tests/configuration.rs
    "Envoy did not start",
    // tests/envoy_troubles.rs
    "the change came by xDS",
    // tests/interop/tests/istio.rs, envoy_gateway.rs
    "the image can't be fetched",
    // tests/crash.rs
    "the VM has crashed",
    // tests/bounds.rs, outages.rs, crash.rs
    "a limit of the filter",
    // tests/way_through.rs
    "the collector has it",
];

async fn request(change: impl FnOnce(Bootstrap) -> Result<Bootstrap>) -> Result<Stage> {
    let stage = Stage::start(change).await?;
    sent(&stage, Call::get("/")).await?;
    Ok(stage)
}

async fn sent(stage: &Stage, call: Call) -> Result<()> {
    ensure!(call.send(&Http::One, stage.port()).await?.status == 200, "it is answered");
    Ok(())
}

async fn configured(configuration: &str) -> Result<Stage> {
    request(|edge| edge.filter("ingress", configuration)).await
}

async fn limited() -> Result<Stage> {
    let stage =
        Stage::start(|edge| edge.filter("ingress", r#"{"envoy": {"max_spans_per_second": 1}}"#))
            .await?;
    for _ in 0..20 {
        sent(&stage, Call::get("/")).await?;
    }
    Ok(stage)
}

async fn answered(answer: Answer) -> Result<Stage> {
    let stage = Stage::start(Ok).await?;
    stage.collector.answer(answer);
    sent(&stage, Call::get("/")).await?;
    Ok(stage)
}

async fn another_listener() -> Result<Stage> {
    let stage =
        Stage::start(|edge| edge.copy_listener("ingress", "other")?.without_filter("other"))
            .await?;
    let reply = Call::get("/").send(&Http::One, stage.envoy.port("other")).await?;
    ensure!(reply.status == 200, "it is answered");
    Ok(stage)
}

async fn disabled_route() -> Result<Stage> {
    let off = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true});
    let route = json!({
        "match": {"path": "/"}, "route": {"cluster": "upstream"}, "typed_per_filter_config": {"otel": off},
    });
    request(|edge| edge.route("ingress", route)).await
}

async fn export_of_telemetry() -> Result<Stage> {
    let stage = Stage::start(Ok).await?;
    let export =
        Call::get("/v1/traces").method("POST").header("content-type", "application/x-protobuf");
    sent(&stage, export.header("user-agent", "OTel-OTLP-Exporter-Rust/0.30")).await?;
    Ok(stage)
}

async fn unsampled_caller() -> Result<Stage> {
    let stage = Stage::start(Ok).await?;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    sent(&stage, Call::get("/").header("traceparent", parent)).await?;
    Ok(stage)
}

async fn no_collector() -> Result<Stage> {
    let stage = Stage::start(|edge| {
        // A web server that answers anything.
        let port = edge.cluster_port("upstream");
        edge.cluster("otel_collector", port)
    })
    .await?;
    sent(&stage, Call::get("/")).await?;
    Ok(stage)
}

async fn no_tenant() -> Result<Stage> {
    let headers = r#"{"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {
        "headers": [{"name": "x-scope-orgid", "value": "${TENANT}"}]}}}}]}}"#;
    configured(headers).await
}

/// A row of the page's first table.
struct Row {
    stats: String,
    and: String,
    why: String,
}

/// The cells of the rows of the table under a heading.
fn table(heading: &str) -> Result<Vec<Vec<String>>> {
    let page = std::fs::read_to_string(harness::root().join("docs/troubleshooting.md"))?;
    let (_, section) = page.split_once(&format!("## {heading}\n")).context("the heading")?;
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split(" |").map(|cell| cell.trim().to_owned()).collect();
    Ok(rows.map(cells).collect())
}

fn rows() -> Result<Vec<Row>> {
    let row = |cells: Vec<String>| match <[String; 4]>::try_from(cells) {
        Ok([stats, and, why, _]) => Ok(Row { stats, and, why }),
        Err(cells) => anyhow::bail!("a row of four cells: {cells:?}"),
    };
    table("What you see")?.into_iter().map(row).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether these are an Envoy's counters as `/stats` has them: `name: value`, and `…` for any of several names.
fn is_said(stats: &BTreeMap<String, u64>, prefix: &str, said: &str) -> bool {
    let Some((name, value)) = said.split_once(": ") else {
        // It grows.
        return stats.get(&format!("{prefix}{said}")).is_some_and(|value| *value > 0);
    };
    let Ok(value) = value.parse::<u64>() else { return false };
    match name.strip_suffix('…') {
        None => stats.get(&format!("{prefix}{name}")) == Some(&value),
        Some(start) => {
            let start = format!("{prefix}{start}");
            stats.iter().any(|(name, found)| name.starts_with(&start) && *found == value)
        }
    }
}

impl Row {
    /// Waits until an Envoy says what the row says: of its counters, and in its log.
    async fn is_seen(&self, stage: &Stage) -> Result<()> {
        const PREFIX: &str = "wasmcustom.otel.sdk.";
        let seen = || async {
            let stats = stage.envoy.stats().await.ok()?;
            let ours = if self.stats == "nothing" {
                !stats.keys().any(|name| name.starts_with(PREFIX))
            } else {
                quoted(&self.stats).all(|said| is_said(&stats, PREFIX, said))
            };
            let log = stage.envoy.log();
            let others = quoted(&self.and).all(|said| {
                let in_log = || said.split('…').all(|part| log.contains(part));
                is_said(&stats, "", said) || in_log()
            });
            (ours && others).then_some(())
        };
        let waited = wait_for(&format!("{} {}", self.stats, self.and), seen).await;
        let stats = stage.envoy.stats().await?;
        waited.with_context(|| format!("{}: {stats:#?} {}", self.why, stage.envoy.log()))
    }
}

#[tokio::test]
async fn each_row_is_seen_when_its_cause_is_brought_about() -> Result<()> {
    let rows = rows()?;
    let mut seen = BTreeSet::new();
    for row in &rows {
        let is_of = |name: &str| row.why.starts_with(name);
        if let Some((name, cause)) = CAUSES.iter().find(|(name, _)| is_of(name)) {
            let stage = cause().await.with_context(|| (*name).to_owned())?;
            row.is_seen(&stage).await?;
            if quoted(&row.stats).any(|said| said == "span.started: 0") {
                // Counters follow after a while: with another request they have.
                sent(&stage, Call::get("/traced")).await?;
                stage.at_rest(1).await.with_context(|| (*name).to_owned())?;
            }
            seen.insert(*name);
        } else {
            let known = ELSEWHERE.iter().any(|name| is_of(name));
            assert!(known, "no test brings this about: {}", row.why);
        }
    }
    assert_eq!(seen.len(), CAUSES.len(), "each cause is on the page: {seen:?}");
    assert_eq!(rows.len(), CAUSES.len() + ELSEWHERE.len(), "and each row has one");
    Ok(())
}

const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1";

/// The starts of the rows' second cells, of which the tests below are.
const BROKEN: [&str; 8] = [
    "the service takes `traceparent` and does not send it on",
    "the caller sends B3 headers only",
    "the caller's `traceparent` is malformed",
    "two filters see it",
    // With a caller's context: tests/envoy_troubles.rs
    "Envoy's own tracing is on: ",
    "Envoy's own tracing is on and did not sample",
    // tests/sampling.rs
    "that one is at its limit",
    "the others let it go when it started",
];

#[tokio::test]
async fn each_way_to_break_a_trace_has_a_row() -> Result<()> {
    let rows = table("The trace is broken")?;
    assert_eq!(rows.len(), BROKEN.len());
    for (row, why) in rows.iter().zip(BROKEN) {
        assert!(row.get(1).is_some_and(|cell| cell.starts_with(why)), "{why}: {row:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_does_not_send_the_context_on_breaks_the_trace() -> Result<()> {
    let stage = Stage::start(Ok).await?;
    sent(&stage, Call::get("/first")).await?;
    // The service's own request, without the context and with it.
    let context = stage.upstream.last().header("traceparent");
    sent(&stage, Call::get("/broken")).await?;
    sent(&stage, Call::get("/whole").header("traceparent", context)).await?;
    let spans = stage.collector.wait_for_spans(3).await?;
    let of = |path: &str| {
        let span = spans.iter().find(|span| span.text("url.path").as_deref() == Some(path));
        span.context(path.to_owned())
    };
    let (first, broken, whole) = (of("/first")?, of("/broken")?, of("/whole")?);
    assert_ne!(broken.trace_id(), first.trace_id(), "a trace of its own");
    assert_eq!(broken.parent_id(), "", "without a parent");
    assert_eq!(whole.trace_id(), first.trace_id(), "one trace");
    assert_eq!(whole.parent_id(), first.span_id(), "within the first span");
    Ok(())
}

#[tokio::test]
async fn a_caller_whose_context_is_not_read_begins_no_trace() -> Result<()> {
    let malformed = "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01";
    for (name, value) in [("b3", B3), ("traceparent", malformed)] {
        let stage = Stage::start(Ok).await?;
        sent(&stage, Call::get("/").header(name, value)).await?;
        let spans = stage.collector.wait_for_spans(1).await?;
        assert_eq!(spans[0].parent_id(), "", "{name}: no parent");
        assert!(!value.to_lowercase().contains(&spans[0].trace_id()), "{name}: another trace");
    }
    Ok(())
}

#[tokio::test]
async fn envoys_own_tracing_begins_a_trace_of_its_own() -> Result<()> {
    // Of what it samples, and of what it does not.
    for (percent, flags) in [(100.0, "-01"), (0.0, "-00")] {
        let tracing = harness::native::tracing("envoy", percent);
        let stage =
            Stage::start(|edge| edge.connection_manager("ingress", "tracing", tracing)).await?;
        sent(&stage, Call::get("/")).await?;
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        let context = stage.upstream.last().header("traceparent");
        assert!(context.ends_with(flags), "{context}");
        assert!(!context.contains(&span.trace_id()), "the filter's span is alone in its trace");
        let sampled = stage.envoy.stat("http.ingress.tracing.random_sampling").await?;
        assert_eq!(sampled > 0, percent > 0.0, "{percent}");
    }
    Ok(())
}

#[tokio::test]
async fn two_filters_make_two_spans_of_a_request() -> Result<()> {
    let stage = Stage::start(|edge| {
        let again = edge.http_filter_of("ingress", "otel")?;
        edge.http_filter("ingress", Place::BeforeRouter, again)
    })
    .await?;
    sent(&stage, Call::get("/")).await?;
    let spans = stage.collector.wait_for_spans(2).await?;
    let inner = spans.iter().find(|span| !span.parent_id().is_empty()).context("one within")?;
    let outer = spans.iter().find(|span| span.parent_id().is_empty()).context("the other")?;
    assert_eq!(inner.parent_id(), outer.span_id(), "one within the other");
    Ok(())
}
