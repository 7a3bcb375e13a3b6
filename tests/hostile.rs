//! Traffic that nobody asked for: no panic, no answer of our making, one span each, nothing in it
//! that should not leave.

mod contexts;
mod conventions;

use anyhow::{Context, Result};
use harness::client::{self, Call, Http};
use harness::tls::Certificate;
use harness::{Span, Stage};
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn parent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

fn with_parent(path: &str) -> Call {
    Call::get(path).header("traceparent", parent())
}

/// Runs a test over each version of HTTP, all at once: most of its time it waits.
async fn over_each_version(test: impl AsyncFn(Http) -> Result<()>) -> Result<()> {
    let quic = Http::Three(Certificate::new()?);
    let [one, two, three] = [Http::One, Http::Two, quic].map(|http| Box::pin(test(http)));
    tokio::try_join!(one, two, three)?;
    Ok(())
}

/// A stage for clients that speak this, which accepts large and many headers and captures some.
async fn stage(http: &Http) -> Result<Stage> {
    let server = json!({"request_captured_headers": ["x-any"]});
    let configuration = json!({
        "instrumentation/development": {"general": {"http": {"server": server}}},
        "tracer_provider": {"limits": {"attribute_value_length_limit": 2000}},
    });
    Stage::start(|edge| {
        let edge = edge.filter("ingress", &configuration.to_string())?;
        let edge = edge.connection_manager("ingress", "max_request_headers_kb", json!(96))?;
        let many = json!({"max_headers_count": 300});
        let edge = edge.connection_manager("ingress", "common_http_protocol_options", many)?;
        match http {
            Http::Three(certificate) => edge.http3("ingress", certificate),
            Http::One | Http::Two => Ok(edge),
        }
    })
    .await
}

/// Envoy closes an HTTP/3 connection over such bytes, with the filter and without.
const OVER_0X7F: &str = "bytes over 0x7F";

fn reaches_the_filter(http: &Http, reason: &str) -> bool {
    !matches!(http, Http::Three(_)) || !reason.starts_with(OVER_0X7F)
}

/// Makes the call and gives its only span.
async fn span(stage: &Stage, call: &Call, http: &Http, reason: &str) -> Result<Span> {
    stage.collector.clear();
    let reply = call.send(http, stage.port()).await.with_context(|| format!("{http}: {reason}"))?;
    assert_eq!(reply.status, 200, "{http}: {reason}");
    let mut spans = stage.collector.wait_for_spans(1).await?;
    let span = spans.remove(0);
    assert!(spans.is_empty(), "{http}: {reason}: one span");
    conventions::check(&span);
    Ok(span)
}

async fn is_unharmed(stage: &Stage) -> Result<()> {
    let stats = stage.envoy.stats().await?;
    let vms = |what: &str| stats[&format!("wasm.envoy.wasm.runtime.v8.{what}")];
    // The one that is gone tried the configuration out. One that failed would be gone, too.
    assert_eq!(vms("created"), vms("active") + 1, "no VM was replaced");
    let reloads = stats.iter().filter(|(name, _)| name.starts_with("wasm.otel.vm_reload"));
    let reloads: Vec<_> = reloads.collect();
    assert!(!reloads.is_empty() && reloads.iter().all(|(_, count)| **count == 0), "{reloads:?}");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn any_bytes_in_headers_are_survived() -> Result<()> {
    let many = (0..90).fold(Call::get("/"), |call, n| call.header(&format!("x-{n}"), "v"));
    let long = "v".repeat(60 << 10);
    let cases = [
        (
            Call::get("/").header("x-any", b"caf\xe9\xff\x80"),
            "bytes over 0x7F in a captured header",
        ),
        (Call::get("/").header("x-other", b"\x80\xff"), "bytes over 0x7F in any header"),
        (Call::get("/").header("user-agent", b"\xff\xfe"), "bytes over 0x7F in the user agent"),
        (Call::get("/").header("baggage", b"\xff=\xfe"), "bytes over 0x7F in baggage"),
        (Call::get("/").header("x-any", &long), "a header of 60 KiB"),
        (Call::get("/").header("tracestate", &long), "a tracestate of 60 KiB"),
        (Call::get(&format!("/?{}", "q=%zz&".repeat(1800))), "a query of 10 KiB"),
        (many, "ninety headers more"),
    ];
    over_each_version(async |http| {
        let stage = stage(&http).await?;
        for (call, reason) in &cases {
            if reaches_the_filter(&http, reason) {
                span(&stage, call, &http, reason).await?;
            }
        }
        let (bytes, text): (&[u8], _) = match http {
            Http::Three(_) => (b"cafe", "cafe"),
            Http::One | Http::Two => (b"caf\xe9", "caf\u{fffd}"),
        };
        let call = Call::get("/").header("x-any", bytes).header("x-any", &long);
        let span = span(&stage, &call, &http, "captured").await?;
        let captured = span.texts("http.request.header.x-any").unwrap_or_default();
        assert_eq!(captured, [text, &long[..2000]], "{http}: each value, cut, in UTF-8");
        is_unharmed(&stage).await
    })
    .await
}

#[tokio::test]
async fn addresses_that_make_no_sense_are_read_for_what_they_are_worth() -> Result<()> {
    let stage = stage(&Http::One).await?;
    let (long, many) = ("h".repeat(10_000), "1.2.3.4, ".repeat(1000));
    let cut = &long[..2000];
    let quoted = "for=::2;ext=\"a,b\";host=\"h:81\";proto=HTTPS";
    let evil = "ext=\"x;for=203.0.113.9;host=evil.example\"";
    // The name and value of a header; server.address, server.port, client.address ("" for none,
    // "own" for what the connection says).
    let cases = [
        ("host", "a:99999999", "a", None, "own", "a port out of range"),
        ("host", "[::1", "::1", None, "own", "a bracket that stays open"),
        ("host", ":80", "", None, "own", "no host"),
        ("host", "me:TOPSECRET@h", "h", None, "own", "user information"),
        ("x-forwarded-host", "a,b:1", "a", None, "own", "the first of two"),
        ("x-forwarded-host", &long, cut, None, "own", "ten thousand letters"),
        ("x-forwarded-host", " , ", "localhost", Some(stage.port()), "own", "an empty list"),
        ("forwarded", ";;;=;=,,", "localhost", Some(stage.port()), "own", "nothing in many pieces"),
        ("forwarded", "for=;host=;proto=", "localhost", Some(stage.port()), "own", "empty values"),
        ("forwarded", "for=_x;host=h", "h", None, "own", "an obfuscated client"),
        ("forwarded", "FOR=\"[::2]:x\";Host=h", "h", None, "::2", "a port that is no number"),
        ("forwarded", quoted, "h", Some(81), "::2", "commas in quotes, and a scheme in upper case"),
        ("forwarded", evil, "localhost", Some(stage.port()), "own", "parameters in quotes"),
        ("x-forwarded-for", "unknown", "localhost", Some(stage.port()), "127.0.0.1", "unknown"),
        ("x-forwarded-for", &many, "localhost", Some(stage.port()), "1.2.3.4", "thousand hops"),
    ];
    for (name, value, host, port, client, reason) in cases {
        let call = Call::get("/").header(name, value);
        let span = span(&stage, &call, &Http::One, reason).await?;
        let server = span.text("server.address").unwrap_or_default();
        assert_eq!(server, host, "{reason}");
        assert_eq!(span.int("server.port"), port.map(i64::from), "{reason}");
        let scheme = if value == quoted { "https" } else { "http" };
        assert_eq!(span.text("url.scheme").as_deref(), Some(scheme), "{reason}");
        let address = span.text("client.address").unwrap_or_default();
        let own = client == "own" && !address.is_empty() && !value.contains(&address);
        assert!(address == client || own, "{reason}: {address}");
        assert!(!format!("{span:?}").contains("TOPSECRET"), "{reason}: {span:#?}");
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn requests_that_are_refused_for_their_bytes_harm_nobody() -> Result<()> {
    let stage = stage(&Http::One).await?;
    let cases: [(&[u8], &str); 5] = [
        (b"GET /caf\xe9?q=\xff HTTP/1.1\r\nhost: a\r\n\r\n", "bytes over 0x7F in the path"),
        (b"GET / HTTP/1.1\r\nhost: caf\xe9\r\n\r\n", "bytes over 0x7F in the host"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx-any: \x01\r\n\r\n", "a control character"),
        (b"GET / HTTP/1.1\r\nhost: a\r\ntraceparent: \x00\r\n\r\n", "a NUL"),
        (b"\xff\xfe\xfd\r\n\r\n", "no HTTP at all"),
    ];
    for (bytes, reason) in cases {
        let reply = client::raw(stage.port(), bytes).await?;
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.starts_with("HTTP/1.1 400"), "{reason}: Envoy's own answer, not {reply}");
        let reply = client::get(stage.port(), "/").await?;
        assert_eq!(reply.status, 200, "{reason}: the next one goes well");
    }
    is_unharmed(&stage).await
}

#[tokio::test]
async fn two_hundred_headers_are_survived() -> Result<()> {
    let call = (0..200).fold(Call::get("/"), |call, n| call.header(&format!("x-{n}"), "v"));
    over_each_version(async |http| {
        let stage = stage(&http).await?;
        // The upstream may have its own limit; what counts is that the proxy lets it pass.
        let reply = call.send(&http, stage.port()).await?;
        assert!([200, 431].contains(&reply.status), "{http}: {}", reply.status);
        conventions::check(&stage.collector.wait_for_spans(1).await?[0]);
        is_unharmed(&stage).await
    })
    .await
}

#[tokio::test]
async fn attributes_are_kept_within_their_limits() -> Result<()> {
    let call =
        Call::get("/a/long/path?and=a&long=query").header("user-agent", "\u{e9}\u{e9}\u{e9}");
    let with = async |limits| {
        let configuration = json!({"tracer_provider": {"limits": limits}}).to_string();
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
        call.send(&Http::One, stage.port()).await?;
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        is_unharmed(&stage).await?;
        anyhow::Ok(span)
    };
    let whole = with(json!({})).await?;
    assert_eq!(whole.span.dropped_attributes_count, 0, "nothing is dropped without need");
    conventions::check(&whole);
    let few = with(json!({"attribute_count_limit": 5})).await?;
    assert_eq!(few.span.attributes.len(), 5, "as many as are allowed");
    let dropped = few.span.dropped_attributes_count as usize;
    assert_eq!(dropped, whole.span.attributes.len() - 5, "the others are counted");
    let short = with(json!({"attribute_value_length_limit": 3})).await?;
    conventions::check(&short);
    assert_eq!(short.attributes().len(), whole.attributes().len(), "none is missing");
    for (name, value) in short.attributes() {
        let (Some(cut), Some(uncut)) = (short.text(&name), whole.text(&name)) else { continue };
        assert!(cut.chars().count() <= 3, "{name}: {value:?}");
        // Ports differ from one stage to another, behind the third character.
        assert!(uncut.starts_with(&cut), "{name}: {uncut} was cut to {cut}");
    }
    assert_eq!(short.text("user_agent.original").as_deref(), Some("\u{e9}\u{e9}\u{e9}"));
    Ok(())
}

#[tokio::test]
async fn secrets_do_not_leave_in_a_span() -> Result<()> {
    let keys = [
        "AWSAccessKeyId",
        "Signature",
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Security-Token",
        "sig",
        "X-Goog-Signature",
        "X-Goog-Credential",
        "Policy",
        "Key-Pair-Id",
    ];
    let query = keys.map(|key| format!("{key}=TOPSECRET")).join("&") + "&x=1;sig=TOPSECRET";
    let redacted = keys.map(|key| format!("{key}=REDACTED")).join("&") + "&x=1;sig=REDACTED";
    for kind in ["server", "client"] {
        let configuration = json!({"envoy": {"span_kind": kind}}).to_string();
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
        let call = Call::get(&format!("/files?page=2&{query}&&last"));
        let span = span(&stage, &call, &Http::One, kind).await?;
        let url = span.text("url.query").or_else(|| span.text("url.full")).unwrap_or_default();
        assert!(url.ends_with(&format!("page=2&{redacted}&&last")), "{kind}: {url}");
        let seen = stage.upstream.last().path;
        assert!(seen.contains(&query), "{kind}: {seen} is untouched");
        let absolute = b"GET http://me:TOPSECRET@h/?sig=TOPSECRET HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        client::raw(stage.port(), absolute).await?;
        stage.collector.wait_for_spans(2).await?;
        for export in stage.collector.exports() {
            let has = |text: &[u8]| export.body.windows(text.len()).any(|part| part == text);
            assert!(has(b"REDACTED") && !has(b"SECRET"), "{kind}: {:?}", export.body);
        }
        is_unharmed(&stage).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_target_in_the_absolute_form_is_a_path_and_a_query() -> Result<()> {
    for kind in ["server", "client"] {
        let configuration = json!({"envoy": {"span_kind": kind}}).to_string();
        let stage = Stage::start(|edge| {
            let relative = json!({"allow_absolute_url": false});
            let edge = edge.filter("ingress", &configuration)?;
            edge.connection_manager("ingress", "http_protocol_options", relative)
        })
        .await?;
        for target in ["http://u:TOPSECRET@h.example:81/x?sig=TOPSECRET", "/x#TOPSECRET"] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
            client::raw(stage.port(), request.as_bytes()).await?;
        }
        let spans = stage.collector.wait_for_spans(2).await?;
        if kind == "server" {
            let [absolute, fragment] = spans.as_slice() else { panic!("two spans: {spans:#?}") };
            for span in [absolute, fragment] {
                assert_eq!(
                    span.text("url.path").as_deref(),
                    Some("/x"),
                    "{:#?}",
                    span.attributes()
                );
            }
            assert_eq!(absolute.text("url.query").as_deref(), Some("sig=REDACTED"));
            assert_eq!(absolute.text("server.address").as_deref(), Some("h.example"));
            assert_eq!(absolute.int("server.port"), Some(81));
        }
        for export in stage.collector.exports() {
            let has = |text: &[u8]| export.body.windows(text.len()).any(|part| part == text);
            assert!(!has(b"SECRET"), "{kind}: {:?}", export.body);
        }
        is_unharmed(&stage).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_ours_passes_untouched() -> Result<()> {
    let stage = stage(&Http::Two).await?;
    let long = "k=v,".repeat(2000);
    let baggages: [&[&str]; 4] = [
        &["user=alice;ttl=1,region=eu%201"],
        &["a=1", "b=2"],
        &["no baggage at all;;,,=\u{e9}"],
        &[&long],
    ];
    for values in baggages {
        let call = with_parent("/");
        let call = values.iter().fold(call, |call, value| call.header("baggage", value));
        span(&stage, &call, &Http::Two, "baggage").await?;
        let seen = stage.upstream.last().header("baggage");
        assert_eq!(seen, values.join(","), "baggage goes on as it came");
    }

    is_unharmed(&stage).await
}

/// What an exporter of OpenTelemetry calls itself.
const EXPORTER: &str = "app/1 OTel-OTLP-Exporter-Python/1.2.3";

fn export(path: &str, content: &str) -> Call {
    let call = Call::get(path).method("POST").header("content-type", content);
    call.header("user-agent", EXPORTER).body(vec![0; 5])
}

#[tokio::test]
async fn exports_of_telemetry_are_left_alone() -> Result<()> {
    let stage = stage(&Http::Two).await?;
    let exports = [
        ("/v1/traces", "application/x-protobuf"),
        ("/v1/traces", "application/json; charset=utf-8"),
        ("/otlp/v1/metrics", "application/x-protobuf"),
        ("/v1/logs", "application/x-protobuf"),
        ("/v1development/profiles", "application/x-protobuf"),
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc"),
    ];
    // One that its own caller traces passes as it came, too: without a parent, with one, with one that is not sampled.
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let mut left_alone = 0;
    for parent in ["", &parent(), &unsampled] {
        for (path, content) in exports {
            let call = export(path, content);
            let call = if parent.is_empty() { call } else { call.header("traceparent", parent) };
            call.send(&Http::Two, stage.port()).await?;
            let seen = stage.upstream.last();
            assert_eq!(seen.path, path);
            assert_eq!(seen.header("traceparent"), parent, "{path}, {content}: as it came");
            left_alone += 1;
        }
    }
    let call = Call::get("/v1/traces");
    let span = span(&stage, &call, &Http::Two, "what only looks like one is the only span").await?;
    assert_eq!(span.text("url.path").as_deref(), Some("/v1/traces"));
    let stats = stage.at_rest(1).await?;
    assert_eq!(stats["span.telemetry_exports"], left_alone, "they are counted for themselves");
    is_unharmed(&stage).await
}

#[tokio::test]
async fn exports_are_left_alone_whatever_the_sampler_says() -> Result<()> {
    let none = json!({"tracer_provider": {"sampler": {"always_off": {}}}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &none)).await?;
    let is_traced = |stage: &Stage| stage.upstream.last().header("traceparent").ends_with("-02");
    for round in 0..3 {
        export("/v1/traces", "application/x-protobuf").send(&Http::One, stage.port()).await?;
        assert_eq!(stage.upstream.last().header("traceparent"), "", "{round}: an export");
        let call = Call::get("/v1/traces").method("POST").body(vec![0; 5]);
        call.header("content-type", "application/x-protobuf")
            .send(&Http::One, stage.port())
            .await?;
        assert!(is_traced(&stage), "{round}: an application's request of that type");
        Call::get("/").send(&Http::One, stage.port()).await?;
        assert!(is_traced(&stage), "{round}: one without a body");
    }
    let stats = stage.at_rest(6).await?;
    assert_eq!(stats["span.telemetry_exports"], 3);
    is_unharmed(&stage).await
}

#[tokio::test]
async fn what_looks_like_an_export_is_a_request() -> Result<()> {
    let stage = stage(&Http::One).await?;
    let json = "application/json";
    let logs = Call::get("/api/v1/logs").method("POST").header("content-type", json);
    let cases = [
        (logs.clone(), "an application's logs"),
        (logs.header("user-agent", "Mozilla/5.0 (OTel-OTLP-Exporter-Rust/1)"), "in a comment"),
        (export("/admin/delete;x=/v1/logs", json), "a path that hides something"),
        (export("/v1/logs", "application/jsonl"), "another content type"),
    ];
    for (call, reason) in &cases {
        let span = span(&stage, call, &Http::One, reason).await?;
        let header = stage.upstream.last().header("traceparent");
        assert!(header.contains(&span.span_id()), "{reason}: {header}");
    }
    let stats = stage.at_rest(cases.len() as u64).await?;
    assert_eq!(stats["span.telemetry_exports"], 0);
    is_unharmed(&stage).await?;

    let traced = json!({"envoy": {"trace_telemetry_exports": true}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &traced)).await?;
    let call = export("/v1/logs", json);
    span(&stage, &call, &Http::One, "where that is configured").await?;
    Ok(())
}
