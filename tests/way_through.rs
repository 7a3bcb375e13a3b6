//! One request, end to end, through a real Envoy, over each version of HTTP.

use anyhow::Result;
use harness::client::{Call, Http};
use harness::tls::Certificate;
use harness::{Bootstrap, Envoy, Receiver, Upstream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_request_becomes_a_span_over_each_version_of_http() -> Result<()> {
    let certificate = Certificate::new()?;
    let versions = [("1.1", Http::One), ("2", Http::Two), ("3", Http::Three(certificate.clone()))];
    for (version, http) in versions {
        let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
        let mut bootstrap = Bootstrap::edge(upstream.port(), collector.port())?;
        if matches!(http, Http::Three(_)) {
            bootstrap = bootstrap.http3("ingress", &certificate)?;
        }
        let envoy = Envoy::start(bootstrap).await?;
        let call = Call::get("/some/path?q=1")
            .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
            .header("tracestate", "vendor=1");
        let reply = call.send(&http, envoy.port("ingress")).await?;
        assert_eq!(reply.status, 200, "HTTP/{version}");

        let spans = collector.wait_for_spans(1).await?;
        let [span] = spans.as_slice() else { panic!("HTTP/{version}: one span, not {spans:#?}") };
        assert_eq!(span.trace_id(), TRACE, "HTTP/{version}: the trace goes on");
        assert_eq!(span.parent_id(), PARENT, "HTTP/{version}: the caller is the parent");
        assert_eq!(span.span.trace_state, "vendor=1", "HTTP/{version}");
        assert_eq!(span.span.name, "GET", "HTTP/{version}");
        assert_eq!(span.text("network.protocol.version").as_deref(), Some(version));
        assert_eq!(span.text("url.path").as_deref(), Some("/some/path"), "HTTP/{version}");
        assert_eq!(span.int("http.response.status_code"), Some(200), "HTTP/{version}");
        let seen = upstream.last();
        let expected = format!("00-{TRACE}-{}-01", span.span_id());
        assert_eq!(seen.header("traceparent"), expected, "HTTP/{version}: the upstream's parent");
        assert_eq!(seen.header("tracestate"), "vendor=1", "HTTP/{version}");

        let stats = envoy
            .wait_for_stats("the export to be counted", |stats| {
                stats.get("wasmcustom.otel.sdk.exporter.span.exported") == Some(&1)
            })
            .await?;
        assert_eq!(stats["wasmcustom.otel.sdk.span.started"], 1, "HTTP/{version}");
        assert_eq!(stats["wasmcustom.otel.sdk.span.sampled"], 1, "HTTP/{version}");
        assert_eq!(envoy.complaints(), Vec::<String>::new(), "HTTP/{version}: a clean log");
    }
    Ok(())
}
