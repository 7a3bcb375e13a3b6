//! A long run: two workers under steady traffic, hostile requests among it, a collector that comes and goes, and a new configuration
//! every two seconds. No request may fail, memory must stay flat after the first tenth, and in the end the accounts must be those of
//! the collector, to the last span. `SOAK_SECONDS` says how long.

#[allow(dead_code, reason = "a test waits for Envoy's counters, which this does not")]
#[path = "../tests/files/dynamic.rs"]
mod dynamic;

use anyhow::{Context, Result, ensure};
use dynamic::Dynamic;
use harness::client::{Call, Http};
use harness::{Answer, Counters, Traffic};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What stands in the file.
const CONFIGURATION: &str = r#""envoy": {"cluster": "otel_collector"}"#;
/// What memory may grow by after the first tenth, in bytes.
const MAX_GROWTH: u64 = 16 << 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let seconds: u64 = match std::env::var("SOAK_SECONDS") {
        Ok(seconds) => seconds.parse()?,
        Err(_) => 600,
    };
    let dynamic = Dynamic::changed(2, &[], Ok).await?;
    let process = dynamic.stage.envoy.id().context("Envoy runs")?;
    let traffic = Traffic::start(dynamic.port, "/", 4);
    let hostile = tokio::spawn(hostile(dynamic.port, seconds));
    let start = Instant::now();
    let mut memory = Vec::new();
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        number += 1;
        let (resource, answer) = (number % 7, answer(number));
        let changed =
            format!(r#""resource": {{"attributes_list": "number={resource}"}}, {CONFIGURATION}"#);
        dynamic.change(CONFIGURATION, &changed)?;
        dynamic.stage.collector.answer(answer);
        sleep(Duration::from_secs(2)).await;
        // What has arrived is counted; nobody reads it.
        dynamic.stage.collector.clear();
        memory.push(harness::resident(process)?);
    }
    dynamic.stage.collector.answer(Answer::Ok);
    let codes = traffic.stop().await?;
    let (requests, hostile) = ended(hostile).await?;
    ensure!(codes.keys().eq([&200]), "requests failed: {codes:?}");
    let failed: Vec<_> = hostile.keys().filter(|code| **code >= 500).collect();
    ensure!(failed.is_empty(), "hostile requests failed: {hostile:?}");
    let admin = dynamic.stage.envoy.admin_port();
    let reached = Counters::read(admin).await?.of("span.started");
    ensure!(reached > codes[&200], "hostile requests are traced, too");
    let counters = settled(admin).await?;
    let (exported, taken) =
        (counters.of("exporter.span.exported"), dynamic.stage.collector.taken() as u64);
    ensure!(exported == taken, "{exported} are counted, {taken} arrived: {counters:#?}");
    let tenth = memory.len() / 10;
    let (first, most) = (memory[tenth], memory[tenth..].iter().max().copied().unwrap_or_default());
    println!(
        "{seconds} s, {number} configurations, {} requests and {requests} hostile ones ({hostile:?}), {exported} spans exported",
        codes[&200]
    );
    println!("memory: {} MiB after a tenth, {} MiB at most from then on", first >> 20, most >> 20);
    println!("{counters:#?}");
    ensure!(most <= first + MAX_GROWTH, "memory grows: {memory:?}");
    ensure!(dynamic.stage.envoy.log().matches("Function: proxy_on").count() == 0, "a VM crashed");
    Ok(())
}

/// How the collector answers by turns: most of the time well.
fn answer(number: u32) -> Answer {
    match number % 10 {
        3 => Answer::Status(503),
        5 => Answer::Reset,
        6 => Answer::Hang,
        8 => Answer::Status(429),
        9 => Answer::Slow(Duration::from_millis(300)),
        _ => Answer::Ok,
    }
}

/// Waits until every span is accounted for.
async fn settled(admin: u16) -> Result<Counters> {
    let sums = |counters: &Counters| {
        let ended = counters.of("exporter.span.exported")
            + counters.sum("exporter.span.failed.")
            + counters.sum("processor.span.dropped.");
        counters.of("exporter.span.queued") + counters.of("exporter.span.inflight") == 0
            && ended == counters.of("span.sampled")
    };
    let poll = || async { Counters::read(admin).await.ok().filter(sums) };
    let waited = harness::wait_within(Duration::from_mins(2), "all accounts", poll).await;
    match waited {
        Ok(counters) => Ok(counters),
        Err(error) => Err(error).context(format!("{:#?}", Counters::read(admin).await?)),
    }
}

type Codes = BTreeMap<u16, u64>;

async fn ended(hostile: JoinHandle<Result<Codes>>) -> Result<(u64, Codes)> {
    let codes = hostile.await??;
    Ok((codes.values().sum(), codes))
}

/// Requests that nobody asked for, one after the other.
async fn hostile(port: u16, seconds: u64) -> Result<Codes> {
    let long = "x".repeat(50_000);
    let many: Vec<String> = (0..40).map(|number| format!("k{number}=v")).collect();
    let many = many.join(",");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let calls = [
        Call::get("/").header("traceparent", "nonsense"),
        Call::get("/").header("traceparent", traceparent).header("traceparent", traceparent),
        Call::get("/").header("traceparent", traceparent).header("tracestate", &many),
        Call::get("/").header("traceparent", traceparent).header("tracestate", "a=1,a=2,ot=rv:zz"),
        Call::get("/").header("user-agent", &long),
        Call::get(&format!("/{}?sig={}", &long[..20_000], &long[..20_000])),
        Call::get("/%2e%2e/%00").header("forwarded", "for=\"[::1\";host=\"a\\\"b,c;proto=ftp"),
        Call::get("/").header("x-forwarded-for", "1, 2, 3").header("x-forwarded-proto", "\u{e9}"),
        Call::get("/").header("user-agent", [0x61, 0xff, 0xfe]),
        Call::get("/").method("PURGE"),
        Call::grpc("/a.B/C").header("grpc-timeout", "nonsense"),
        Call::get("/a").method("POST").header("content-type", "application/x-protobuf"),
        Call::get("/v1/traces").method("POST").header("content-type", "application/json"),
    ];
    let mut codes = Codes::new();
    let start = Instant::now();
    for (number, call) in calls.iter().cycle().enumerate() {
        if start.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        let http = if number % 2 == 0 { Http::One } else { Http::Two };
        let reply = call.send(&http, port).await;
        // Envoy breaks some connections off, with and without the filter.
        *codes.entry(reply.map_or(0, |reply| reply.status)).or_default() += 1;
        sleep(Duration::from_millis(5)).await;
    }
    Ok(codes)
}
