//! `examples/collector/gateway.yaml`: two collectors behind two proxies that sample; their calls are adjusted counts.
//!
//! Not here: balancing by trace id and tail sampling.

use anyhow::{Context, Result, ensure};
use harness::client::load;
use harness::{Bootstrap, Envoy, Span, Upstream, root, wait_for};
use interop::Collector;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

const REQUESTS: usize = 400;
/// Keeps a quarter of the traces.
const SAMPLER: &str = r#"{
  "tracer_provider": {"sampler": {"parent_based": {"root": {"trace_id_ratio_based": {"ratio": 0.25}}}}},
  "envoy": {"cluster": "otel_collector"}
}"#;

async fn gateway() -> Result<Collector> {
    let variables = [("HOST", "127.0.0.1".to_owned()), ("FLUSH", "100ms".to_owned())];
    Collector::with(&root().join("examples/collector/gateway.yaml"), &variables).await
}

/// How many requests a span stands for, by the `th` of its tracestate (TraceState: Probability Sampling).
fn adjusted(span: &Span) -> Result<f64> {
    let state = &span.span.trace_state;
    let th = state.split("th:").nth(1).with_context(|| format!("no th in {state:?}"))?;
    let digits: String = th.chars().take_while(char::is_ascii_hexdigit).collect();
    let rejected = u64::from_str_radix(&format!("{digits:0<14}"), 16)?;
    #[allow(clippy::cast_precision_loss, reason = "56 bits, of which few are set")]
    Ok((1u64 << 56) as f64 / ((1u64 << 56) - rejected) as f64)
}

/// The calls of the connector's latest metrics.
fn calls(gateway: &Collector) -> Result<i64> {
    let Some(latest) = gateway.metrics()?.pop() else { return Ok(0) };
    let scopes = latest.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let mut calls = 0;
    for metric in scopes.flat_map(|scope| scope.metrics) {
        if let ("traces.span.metrics.calls", Some(Data::Sum(sum))) =
            (metric.name.as_str(), metric.data)
        {
            for point in sum.data_points {
                if let Some(Value::AsInt(count)) = point.value {
                    calls += count;
                }
            }
        }
    }
    Ok(calls)
}

#[tokio::test]
async fn a_kept_span_counts_for_as_many_calls_as_its_threshold_says() -> Result<()> {
    let gateways = [gateway().await?, gateway().await?];
    let upstream = Upstream::start().await?;
    let sidecar = Bootstrap::from_file("envoy/sidecar.yaml")?
        .cluster("service", upstream.port())?
        .cluster("otel_collector", gateways[1].http_port())?;
    let front = Bootstrap::edge(sidecar.port("inbound"), gateways[0].http_port())?
        .filter("ingress", SAMPLER)?;
    let proxies = [Envoy::start(front).await?, Envoy::start(sidecar).await?];
    load(proxies[0].port("ingress"), "/", REQUESTS, 4).await?;

    for (proxy, gateway) in proxies.iter().zip(&gateways) {
        let of = "wasmcustom.otel.sdk.";
        let stats = proxy
            .wait_for_stats("every kept span to be delivered", |stats| {
                let stat = |name: &str| stats.get(&format!("{of}{name}")).copied().unwrap_or(0);
                stat("span.started") == REQUESTS as u64
                    && stat("span.sampled") == stat("exporter.span.exported")
            })
            .await?;
        let kept = usize::try_from(stats[&format!("{of}span.sampled")])?;
        ensure!((1..REQUESTS).contains(&kept), "a share is kept: {kept}");

        let spans = gateway.wait_for_spans(kept).await?;
        assert_eq!(spans.len(), kept, "each kept span once");
        let expected = spans.iter().map(adjusted).sum::<Result<f64>>()?;
        #[allow(clippy::cast_possible_truncation, reason = "a whole number: each span is 4")]
        let expected = expected.round() as i64;
        assert_eq!(expected, 4 * i64::try_from(kept)?, "one of four is kept");
        let counted = || async { (calls(gateway).ok()? == expected).then_some(()) };
        let counted = wait_for("calls as the thresholds say", counted).await;
        counted.with_context(|| format!("{expected} expected, counted {:?}", calls(gateway)))?;
        assert_eq!(gateway.complaints(), Vec::<String>::new(), "a clean log");
    }
    Ok(())
}
