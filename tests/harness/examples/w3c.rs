//! Runs the W3C's own test suite of Trace Context against a service behind an Envoy: with the filter, with Envoy's own tracer, or with
//! neither, which shows what the suite sees of a service that only passes the two headers on.
//!
//! The suite asks the service to call it back, and looks at the context that arrives. Both ways lead through the Envoy, as in a mesh.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use harness::client::{Call, Http};
use harness::{Bootstrap, Envoy, Receiver, free_port};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::process::Command;

const LISTENERS: [&str; 2] = ["inbound", "outbound"];
/// What a service passes on.
const CONTEXT: [&str; 2] = ["traceparent", "tracestate"];
/// The module that `test.py` needs.
const PYTHON: &str = "python3";

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (Some(suite), Some(tracer)) = (arguments.next(), arguments.next()) else {
        bail!("usage: w3c FOLDER_OF_THE_SUITE filter|envoy|none");
    };
    let (service, calls_back) = (TcpListener::bind("127.0.0.1:0").await?, free_port()?);
    let collector = Receiver::start().await?;
    let sidecar = Bootstrap::from_file("envoy/sidecar.yaml")?
        .cluster("service", service.local_addr()?.port())?
        .cluster("elsewhere", calls_back)?
        .cluster("otel_collector", collector.port())?;
    let sidecar = LISTENERS.into_iter().try_fold(sidecar, |sidecar, listener| match &*tracer {
        "filter" => Ok(sidecar),
        "envoy" => sidecar.native_tracer(listener, 100.0),
        "none" => sidecar.without_filter(listener),
        other => bail!("no tracer {other}: filter, envoy or none is accepted"),
    })?;
    let envoy = Envoy::start(sidecar).await?;
    tokio::spawn(serve(service, envoy.port("outbound")));
    let status = Command::new(PYTHON)
        .arg("test.py")
        .arg(format!("http://127.0.0.1:{}/", envoy.port("inbound")))
        .current_dir(Path::new(&suite).join("test"))
        .env("HARNESS_PORT", calls_back.to_string())
        .env("SPEC_LEVEL", "2")
        .status()
        .await
        .context(PYTHON)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The service that the suite tests.
async fn serve(listener: TcpListener, outbound: u16) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service_fn(move |request| answer(request, outbound));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// Makes the calls that a request asks for, within its context.
async fn answer(request: Request<Incoming>, outbound: u16) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let calls: Vec<Value> = serde_json::from_slice(&body.collect().await?.to_bytes())?;
    for call in calls {
        let uri: http::Uri = call["url"].as_str().context("url")?.parse()?;
        let mut out = Call::get(uri.path())
            .method("POST")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&call["arguments"])?);
        for name in CONTEXT {
            for value in head.headers.get_all(name) {
                out = out.header(name, value);
            }
        }
        out.send(&Http::One, outbound).await?;
    }
    Ok(Response::new(Full::default()))
}
