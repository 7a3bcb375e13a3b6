//! A gateway with the filter in both places and two services with an Envoy beside each, one of which fails twice before it succeeds: one
//! trace in Jaeger, every attempt in it.

use anyhow::{Context, Result};
use harness::client::{Call, Http};
use harness::service::{Answer, serve};
use harness::{Bootstrap, Envoy};
use interop::Jaeger;
use interop::jaeger::Outcome::{self, Error, Unset};
use interop::jaeger::Span;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The Envoy beside a service.
async fn sidecar(service: &str, port: u16, elsewhere: u16, collector: u16) -> Result<Envoy> {
    let mut sidecar = Bootstrap::from_file("envoy/sidecar.yaml")?
        .cluster("service", port)?
        .cluster("elsewhere", elsewhere)?
        .cluster("otel_collector", collector)?;
    for listener in ["inbound", "outbound"] {
        sidecar = sidecar.filter(listener, &configuration(service))?;
    }
    Envoy::start(sidecar).await
}

fn configuration(service: &str) -> String {
    let name = json!([{"name": "service.name", "value": service}]);
    let batch = json!({"schedule_delay": 100, "exporter": {"otlp_http": {}}});
    json!({"resource": {"attributes": name}, "tracer_provider": {"processors": [{"batch": batch}]}})
        .to_string()
}

/// Service, kind, status, outcome, and how often the request had been sent before.
type Row = (String, String, String, Outcome, Option<u64>);

fn row(span: &Span) -> Row {
    let kind = span.tags["span.kind"].as_str().unwrap_or_default().to_owned();
    let resent = span.tags["http.request.resend_count"].as_u64();
    (span.service.clone(), kind, span.status(), span.outcome(), resent)
}

#[tokio::test]
async fn every_attempt_is_in_one_trace() -> Result<()> {
    let jaeger = Jaeger::start().await?;
    let collector = jaeger.otlp_port();

    let ok = || Answer { status: 200, headers: Vec::new() };
    let stock = serve(move |_| async move { Ok(ok()) }).await?;
    let stock = sidecar("stock", stock, 9, collector).await?;
    let stock_port = stock.port("inbound");

    let outbound = Arc::new(AtomicU32::new(0));
    let asked = Arc::new(AtomicU32::new(0));
    let [to, count] = [Arc::clone(&outbound), Arc::clone(&asked)];
    let orders = serve(move |request| {
        let port = to.load(Ordering::SeqCst);
        let has_failed = count.fetch_add(1, Ordering::SeqCst) < 2;
        async move {
            if has_failed {
                return Ok(Answer { status: 503, headers: Vec::new() });
            }
            let call = Call::get("/stock").header("traceparent", request.header("traceparent"));
            let reply = call.send(&Http::One, u16::try_from(port)?).await?;
            Ok(Answer { status: reply.status, headers: Vec::new() })
        }
    })
    .await?;
    let orders = sidecar("orders", orders, stock_port, collector).await?;
    outbound.store(u32::from(orders.port("outbound")), Ordering::SeqCst);

    let gateway = Bootstrap::from_file("envoy/attempts.yaml")?
        .cluster("upstream", orders.port("inbound"))?
        .cluster("otel_collector", collector)?;
    let gateway = Envoy::start(gateway).await?;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace_id}-00f067aa0ba902b7-01");
    let call = Call::get("/orders").header("traceparent", parent);
    let reply = call.send(&Http::One, gateway.port("ingress")).await?;
    assert_eq!(reply.status, 200, "the third attempt succeeds");

    let spans = jaeger.trace(trace_id, 9).await?;
    let children = |parent: &str| {
        let mut children: Vec<_> =
            spans.iter().filter(|it| it.parent.as_deref() == Some(parent)).collect();
        children.sort_by_key(|span| span.tags["http.request.resend_count"].as_u64());
        children
    };
    let rows = |parent: &str| children(parent).into_iter().map(row).collect::<Vec<_>>();
    let of = |service: &str, kind: &str, status: &str, outcome, resent| {
        (service.to_owned(), kind.to_owned(), status.to_owned(), outcome, resent)
    };
    let root = children("00f067aa0ba902b7");
    let [root] = root.as_slice() else { panic!("one span of the request: {spans:#?}") };
    assert_eq!(row(root), of("edge", "server", "200", Unset, None), "{spans:#?}");
    let attempts = [
        of("edge", "client", "503", Error, None),
        of("edge", "client", "503", Error, Some(1)),
        of("edge", "client", "200", Unset, Some(2)),
    ];
    assert_eq!(rows(&root.id), attempts, "attempts are siblings: {spans:#?}");
    let answers = [("503", Error), ("503", Error), ("200", Unset)];
    for (attempt, (status, outcome)) in children(&root.id).iter().zip(answers) {
        let expected = [of("orders", "server", status, outcome, None)];
        assert_eq!(rows(&attempt.id), expected, "who was asked is below the attempt: {spans:#?}");
    }
    let last = children(&root.id).pop().context("attempts")?.id.clone();
    let inbound = children(&last).pop().context("who was asked")?.id.clone();
    assert_eq!(rows(&inbound), [of("orders", "client", "200", Unset, None)], "{spans:#?}");
    let call = children(&inbound).pop().context("a call")?.id.clone();
    assert_eq!(rows(&call), [of("stock", "server", "200", Unset, None)], "{spans:#?}");

    for envoy in [&gateway, &orders, &stock] {
        assert_eq!(envoy.complaints(), Vec::<String>::new(), "a clean log");
    }
    Ok(())
}
