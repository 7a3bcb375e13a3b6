//! The filter in Envoy, and a real Collector behind it: every kind of request of the end-to-end tests comes out of
//! the Collector as it must be, nothing added, nothing lost.

#[path = "../../cases/mod.rs"]
mod cases;
#[path = "../../conventions/mod.rs"]
mod conventions;

use anyhow::{Context, Result};
use cases::Case;
use harness::client::{Call, Http};
use harness::tls::Certificate;
use harness::{Bootstrap, Span, Stage};
use interop::Collector;

fn versions() -> Result<[(&'static str, Http); 3]> {
    Ok([("1.1", Http::One), ("2", Http::Two), ("3", Http::Three(Certificate::new()?))])
}

/// An Envoy that can bring about every case over a version of HTTP.
fn bootstrap(edge: Bootstrap, http: &Http) -> Result<Bootstrap> {
    let edge = cases::bootstrap(edge)?;
    match http {
        Http::Three(certificate) => edge.http3("ingress", certificate),
        Http::One | Http::Two => Ok(edge),
    }
}

/// The cases that leave a span.
fn cases_over(http: &Http) -> impl Iterator<Item = Case> {
    // Over HTTP/3 Envoy does not tell the filter of such a request.
    let silent = matches!(http, Http::Three(_)).then_some("an earlier filter rejects");
    cases::cases().into_iter().filter(move |case| Some(case.reason) != silent)
}

#[tokio::test]
async fn every_span_comes_out_of_the_collector_as_it_must_be() -> Result<()> {
    let collector = Collector::start().await?;
    let mut so_far = 0;
    for (version, http) in versions()? {
        let stage = Stage::start(|edge| {
            bootstrap(edge, &http)?.cluster("otel_collector", collector.http_port())
        })
        .await?;
        for case in cases_over(&http) {
            let reply = case.call.send(&http, stage.port()).await.context(case.reason)?;
            assert_eq!(reply.status, case.reply, "HTTP/{version}, {}", case.reason);
            so_far += 1;
            let mut spans = collector.wait_for_spans(so_far).await.context(case.reason)?;
            assert_eq!(spans.len(), so_far, "HTTP/{version}, {}: one span", case.reason);
            let span = spans.pop().context("the latest")?;
            conventions::check(&span);
            cases::check(&case, version, &span, case.attempts);
        }
        let requests = u64::try_from(cases_over(&http).count())?;
        let stats = stage.at_rest(requests).await?;
        assert_eq!(stats["exporter.span.exported"], requests, "HTTP/{version}");
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "HTTP/{version}: a clean log");
    }
    assert_eq!(collector.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// Whatever the filter writes is a part of OTLP that the Collector knows: what it takes it gives on.
#[tokio::test]
async fn the_collector_changes_no_field_of_what_the_filter_sends() -> Result<()> {
    let collector = Collector::start().await?;
    let mut sent = Vec::new();
    for (version, http) in versions()? {
        let stage = Stage::start(|edge| bootstrap(edge, &http)).await?;
        for case in cases_over(&http) {
            let call = case
                .call
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03");
            let call = call.header("tracestate", "vendor=1,ot=rv:00f067aa0ba902");
            call.send(&http, stage.port()).await.context(case.reason)?;
        }
        stage.at_rest(u64::try_from(cases_over(&http).count())?).await?;
        for export in stage.collector.exports() {
            let call = Call::get(&export.path).method(&export.method).body(export.body.to_vec());
            let call = call.header("content-type", "application/x-protobuf");
            let reply = call.send(&Http::One, collector.http_port()).await?;
            assert_eq!(reply.status, 200, "HTTP/{version}: the Collector takes it");
        }
        sent.extend(stage.collector.spans());
    }
    let came = collector.wait_for_spans(sent.len()).await?;
    assert_eq!(came.len(), sent.len());
    for (came, mut sent) in came.into_iter().zip(sent) {
        // The Collector writes out a status that is not set.
        sent.span.status.get_or_insert_default();
        assert_eq!(came, sent);
    }
    assert_eq!(collector.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// Attributes that have a port in them.
const PORTS: [&str; 3] = ["network.peer.port", "server.port", "envoy.upstream_address"];

/// What a span says, without what is its own: ids, times and ports. The Collector writes out a status that is not set.
fn said(span: &Span) -> Span {
    let mut said = span.clone();
    let own = &mut said.span;
    (own.start_time_unix_nano, own.end_time_unix_nano) = (0, 0);
    own.span_id = Vec::new();
    own.status.get_or_insert_default();
    own.attributes.retain(|it| !PORTS.contains(&it.key.as_str()));
    said.resource.retain(|it| it.key != "service.instance.id");
    said
}

#[tokio::test]
async fn each_protocol_and_compression_brings_the_same_spans() -> Result<()> {
    let exporters = [
        r#"{"otlp_http": {}}"#,
        r#"{"otlp_http": {"compression": "gzip"}}"#,
        r#"{"otlp_http": {"encoding": "json"}}"#,
        r#"{"otlp_http": {"encoding": "json", "compression": "gzip"}}"#,
        r#"{"otlp_grpc": {"headers": [{"name": "api-key", "value": "1234"}]}}"#,
        r#"{"otlp_grpc": {"compression": "gzip"}}"#,
    ];
    let mut first: Option<Vec<Span>> = None;
    for exporter in exporters {
        let collector = Collector::start().await?;
        let configuration = format!(
            r#"{{"resource": {{"attributes": [{{"name": "a.list", "value": ["b", "c"], "type": "string_array"}},
                {{"name": "a.ratio", "value": 0.5, "type": "double"}}, {{"name": "a.truth", "value": true, "type": "bool"}}]}},
              "tracer_provider": {{"processors": [{{"batch": {{"exporter": {exporter}}}}}]}}}}"#
        );
        let stage = Stage::start(|edge| {
            let edge = cases::bootstrap(edge)?.filter("ingress", &configuration)?;
            if exporter.contains("grpc") {
                edge.cluster("otel_collector", collector.grpc_port())?
                    .http2_cluster("otel_collector")
            } else {
                edge.cluster("otel_collector", collector.http_port())
            }
        })
        .await?;
        let cases = cases_over(&Http::Two).collect::<Vec<_>>();
        for case in &cases {
            let call = case.call.clone();
            let call = call
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03")
                .header("tracestate", "vendor=1,ot=rv:00f067aa0ba902");
            call.send(&Http::Two, stage.port()).await.context(case.reason)?;
        }
        let requests = cases.len();
        let stats = stage.at_rest(u64::try_from(requests)?).await.context(exporter)?;
        assert_eq!(stats["exporter.span.exported"], requests as u64, "{exporter}");
        let saved = stats["exporter.compression.saved_bytes"];
        assert_eq!(saved > 0, exporter.contains("gzip"), "{exporter}: {saved} bytes saved");
        let mut spans: Vec<_> =
            collector.wait_for_spans(requests).await?.iter().map(said).collect();
        spans.sort_by_key(|span| format!("{span:?}"));
        match &first {
            None => first = Some(spans),
            Some(first) => assert_eq!(&spans, first, "{exporter}"),
        }
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "{exporter}");
        assert_eq!(collector.complaints(), Vec::<String>::new(), "{exporter}");
    }
    Ok(())
}
