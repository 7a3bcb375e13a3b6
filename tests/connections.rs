//! What a connection fixes is read once for it: no span has the peer, or the protocol, of another one.

#[path = "files/dynamic.rs"]
mod dynamic;

use anyhow::{Context, Result};
use dynamic::Dynamic;
use harness::client::{Call, Connection, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use serde_json::{Value, json};

/// The port that the caller has, as the caller says.
const LOCAL_PORT: &str = "x-local-port";
/// The version of HTTP, as the caller says.
const VERSION: &str = "x-version";

fn configuration() -> Value {
    let server = json!({"request_captured_headers": [LOCAL_PORT, VERSION]});
    json!({"instrumentation/development": {"general": {"http": {"server": server}}}})
}

async fn call(connection: &mut Connection, version: &str) -> Result<()> {
    let call = Call::get("/").header(LOCAL_PORT, connection.local_port.to_string());
    let call = call.header(VERSION, version);
    assert_eq!(connection.send(&call).await?.status, 200);
    Ok(())
}

fn check(span: &Span) {
    let peer = span.int("network.peer.port").map(|port| vec![port.to_string()]);
    assert_eq!(peer, span.texts("http.request.header.x-local-port"), "{:#?}", span.attributes());
    assert_eq!(span.text("network.peer.address").as_deref(), Some("127.0.0.1"));
    let version = span.text("network.protocol.version").map(|version| vec![version]);
    assert_eq!(version, span.texts("http.request.header.x-version"), "{:#?}", span.attributes());
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
                call(connection, version).await?;
                calls += 1;
            }
            connections.remove(round % connections.len());
        }
        let spans = stage.collector.wait_for_spans(calls).await?;
        assert_eq!(spans.len(), calls, "{http}");
        for span in &spans {
            check(span);
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
        call(&mut connection, "1.1").await?;
        calls += 1;
        if number % 50 == 0 {
            kept.push(connection);
        }
    }
    for _ in 0..2 {
        for connection in &mut kept {
            call(connection, "1.1").await?;
            calls += 1;
        }
    }
    let spans = stage.collector.wait_for_spans(calls).await?;
    assert_eq!(spans.len(), calls);
    for span in &spans {
        check(span);
    }
    Ok(())
}

#[tokio::test]
async fn configurations_come_and_connections_stay() -> Result<()> {
    const BEFORE: &str = r#""envoy": {"cluster": "otel_collector"}"#;
    let dynamic = Dynamic::start().await?;
    let mut connections = Vec::new();
    for (http, version) in [(Http::One, "1.1"), (Http::Two, "2"), (Http::One, "1.1")] {
        connections.push((Connection::open(&http, dynamic.port).await?, version));
    }
    let mut calls = 0;
    for number in 0..4_u64 {
        let mut configuration = configuration();
        configuration["resource"] = json!({"attributes_list": format!("number={number}")});
        let configuration = configuration.to_string();
        let members = configuration.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        let members = members.context("an object")?;
        dynamic.change(BEFORE, &format!("{members}, {BEFORE}"))?;
        dynamic.wait_for("update_success", number + 2).await?;
        for (connection, version) in &mut connections {
            call(connection, version).await?;
            calls += 1;
        }
        let (http, version) = if number % 2 == 0 { (Http::Two, "2") } else { (Http::One, "1.1") };
        connections.push((Connection::open(&http, dynamic.port).await?, version));
        connections.remove(0);
    }
    for span in &dynamic.stage.collector.wait_for_spans(calls).await? {
        check(span);
    }
    Ok(())
}
