//! What a connection fixes is read once for it: no span has the peer, or the protocol, of another one.

#[path = "files/dynamic.rs"]
mod dynamic;

use anyhow::Result;
use dynamic::Dynamic;
use harness::client::{Call, Connection, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use serde_json::{Value, json};

/// The port that the caller has, as the caller says.
const LOCAL_PORT: &str = "x-local-port";

fn configuration() -> Value {
    let server = json!({"request_captured_headers": [LOCAL_PORT]});
    json!({"instrumentation/development": {"general": {"http": {"server": server}}}})
}

async fn call(connection: &mut Connection) -> Result<()> {
    let call = Call::get("/").header(LOCAL_PORT, connection.local_port.to_string());
    assert_eq!(connection.send(&call).await?.status, 200);
    Ok(())
}

fn check(span: &Span, version: &str) {
    let peer = span.int("network.peer.port").map(|port| vec![port.to_string()]);
    assert_eq!(peer, span.texts("http.request.header.x-local-port"), "{:#?}", span.attributes());
    assert_eq!(span.text("network.peer.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(span.text("network.protocol.version").as_deref(), Some(version));
}

#[tokio::test]
async fn connections_come_and_go() -> Result<()> {
    let certificate = Certificate::new()?;
    let versions = [(Http::One, "1.1"), (Http::Two, "2"), (Http::Three(certificate), "3")];
    for (http, version) in versions {
        let stage = Stage::start(|edge| {
            let edge = edge.filter("ingress", &configuration().to_string())?;
            match &http {
                Http::One | Http::Two => Ok(edge),
                Http::Three(certificate) => edge.http3("ingress", certificate),
            }
        })
        .await?;
        let mut connections = Vec::new();
        let mut calls = 0;
        for round in 0..8 {
            connections.push(Connection::open(&http, stage.port()).await?);
            connections.push(Connection::open(&http, stage.port()).await?);
            for connection in &mut connections {
                call(connection).await?;
                calls += 1;
            }
            connections.remove(round % connections.len());
        }
        let spans = stage.collector.wait_for_spans(calls).await?;
        assert_eq!(spans.len(), calls, "{http}");
        for span in &spans {
            check(span, version);
        }
    }
    Ok(())
}

#[tokio::test]
async fn more_come_than_are_remembered() -> Result<()> {
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration().to_string())).await?;
    let mut kept = Vec::new();
    let mut calls = 0;
    for number in 0..1500 {
        let mut connection = Connection::open(&Http::One, stage.port()).await?;
        call(&mut connection).await?;
        calls += 1;
        if number % 50 == 0 {
            kept.push(connection);
        }
    }
    for _ in 0..2 {
        for connection in &mut kept {
            call(connection).await?;
            calls += 1;
        }
    }
    let spans = stage.collector.wait_for_spans(calls).await?;
    assert_eq!(spans.len(), calls);
    for span in &spans {
        check(span, "1.1");
    }
    Ok(())
}

#[tokio::test]
async fn a_new_configuration_knows_none_of_them() -> Result<()> {
    const BEFORE: &str = r#""envoy": {"cluster": "otel_collector"}"#;
    let dynamic = Dynamic::start().await?;
    let mut connections = Vec::new();
    for http in [Http::One, Http::Two, Http::One] {
        connections.push(Connection::open(&http, dynamic.port).await?);
    }
    let mut calls = 0;
    for number in 0..4_u64 {
        let mut configuration = configuration();
        configuration["resource"] = json!({"attributes_list": format!("number={number}")});
        let configuration = configuration.to_string();
        let members = configuration.trim_matches(['{', '}']);
        // The outermost braces are gone; those of what is within are put back.
        let depth = members.matches('{').count() - members.matches('}').count();
        dynamic.change(BEFORE, &format!("{members}{}, {BEFORE}", "}".repeat(depth)))?;
        dynamic.wait_for("update_success", number + 2).await?;
        for connection in &mut connections {
            call(connection).await?;
            calls += 1;
        }
        connections.push(Connection::open(&Http::One, dynamic.port).await?);
        connections.remove(0);
    }
    let spans = dynamic.stage.collector.wait_for_spans(calls).await?;
    for span in &spans {
        let version = span.text("network.protocol.version").unwrap_or_default();
        check(span, &version);
        assert!(["1.1", "2"].contains(&version.as_str()), "{version}");
    }
    Ok(())
}
