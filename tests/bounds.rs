//! What strangers can make large does no harm: a collector's answers, requests that are under way, and their headers.

use anyhow::Result;
use bytes::Bytes;
use harness::client::{Call, Http};
use harness::{Answer, Stage, client};
use serde_json::json;
use tokio::task::JoinSet;

/// How often Envoy has started a VM anew: each time one has crashed.
async fn crashes(stage: &Stage) -> Result<u64> {
    let stats = stage.envoy.stats().await?;
    Ok(stats.iter().filter(|(name, _)| name.contains("vm_reload")).map(|(_, value)| value).sum())
}

#[tokio::test]
async fn an_answer_of_any_length_is_read_in_part() -> Result<()> {
    const MIB: usize = 1 << 20;
    let objects = format!("[{}0]", r#"{"":0},"#.repeat(20 * MIB / 7));
    let message = format!(r#"{{"partialSuccess":{{"errorMessage":"{}"}}}}"#, "x".repeat(20 * MIB));
    for (encoding, compression) in [("json", "none"), ("protobuf", "none")] {
        // However slow the machine, an answer of 20 MiB is in time.
        let http = json!({"encoding": encoding, "compression": compression, "timeout": 0});
        let exporter = json!({"otlp_http": http});
        let batch = json!({"schedule_delay": 100, "export_timeout": 0, "exporter": exporter});
        let configuration = json!({"tracer_provider": {"processors": [{"batch": batch}]}});
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration.to_string())).await?;
        let mut requests = 0;
        for answer in [
            Answer::Body(Bytes::from(objects.clone())),
            Answer::Body(Bytes::from(message.clone())),
            Answer::Body(Bytes::from(vec![0x0a; 20 * MIB])),
            Answer::Ok,
        ] {
            stage.collector.answer(answer);
            let codes = client::load(stage.port(), "/", 20, 2).await?;
            assert_eq!(codes.keys().collect::<Vec<_>>(), [&200], "{encoding}: no request fails");
            requests += 20;
            let counters = stage.at_rest(requests).await?;
            assert_eq!(counters["exporter.span.exported"], requests, "{encoding}: {counters:?}");
        }
        assert_eq!(crashes(&stage).await?, 0, "{encoding}: the VM lives");
    }
    Ok(())
}

#[tokio::test]
async fn requests_that_are_under_way_are_held_within_a_bound() -> Result<()> {
    const REQUESTS: u64 = 200;
    let configuration = json!({"envoy": {"cluster": "otel_collector", "max_open_bytes": 4 << 20}});
    let stage = Stage::start(|edge| {
        let edge = edge.filter("ingress", &configuration.to_string())?;
        let patient = json!({"cluster": "upstream", "timeout": "0s"});
        let patient =
            json!({"name": "default", "match": {"prefix": "/together"}, "route": patient});
        let edge = edge.route("ingress", patient)?;
        edge.connection_manager("ingress", "max_request_headers_kb", json!(96))
    })
    .await?;
    let agent = "a".repeat(59 << 10);
    let (mut calls, port) = (JoinSet::new(), stage.port());
    for _ in 0..REQUESTS {
        // None is answered before all have come.
        let call = Call::get(&format!("/together/{REQUESTS}")).header("user-agent", &agent);
        calls.spawn(async move { call.send(&Http::One, port).await });
    }
    while let Some(reply) = calls.join_next().await {
        assert_eq!(reply??.status, 200, "no request fails");
    }
    let counters = stage.at_rest(REQUESTS).await?;
    let held = counters["exporter.span.exported"];
    // Each takes some 60 KB of 4 MiB.
    assert!((64..80).contains(&held), "{counters:?}");
    assert_eq!(counters["processor.span.dropped.open_limit"], REQUESTS - held, "{counters:?}");
    let seen = stage.upstream.seen();
    let sampled = seen.iter().filter(|it| it.header("traceparent").ends_with("-03")).count();
    assert_eq!(sampled as u64, REQUESTS, "each goes on with its context");
    let spans = stage.collector.spans();
    let whole = spans.iter().filter(|it| it.text("user_agent.original").as_ref() == Some(&agent));
    assert_eq!(whole.count() as u64, held, "what is held is whole");

    // There is room again.
    client::load(port, "/", 10, 1).await?;
    let counters = stage.at_rest(REQUESTS + 10).await?;
    assert_eq!(counters["exporter.span.exported"], held + 10, "{counters:?}");
    assert_eq!(crashes(&stage).await?, 0, "the VM lives");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
