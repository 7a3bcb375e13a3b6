//! The border of trust: what strangers say steers nothing, what is trusted is continued, and upstreams that are to have no context get none.

mod binomial;
mod conventions;
mod strangers;

use anyhow::Result;
use binomial::bounds;
use harness::client::{Call, Connection, Http};
use harness::tls::Certificate;
use harness::{Bootstrap, Envoy, Receiver, Seen, Span, Stage, Upstream, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use strangers::{
    FORGED, PARENT, TRACE, contexts, forged, got, is_linked, says_nothing_of_theirs, with_contexts,
};

fn configured(sampler: &Value, envoy: &Value) -> String {
    json!({"tracer_provider": {"sampler": sampler}, "envoy": envoy}).to_string()
}

/// A filter that keeps what has no parent, and what its parent has kept.
fn following(envoy: &Value) -> String {
    configured(&json!({"parent_based": {"root": {"always_on": {}}}}), envoy)
}

/// A listener with the filter under this configuration.
fn listening(edge: Bootstrap, name: &str, configuration: &str) -> Result<Bootstrap> {
    edge.copy_listener("ingress", name)?.filter(name, configuration)
}

#[tokio::test]
async fn strangers_steer_nothing() -> Result<()> {
    const EACH: usize = 1000;
    let certificate = Certificate::new()?;
    let rare = json!({"parent_based": {"root": {"trace_id_ratio_based": {"ratio": 0.01}}}});
    let restart = json!({"incoming": "restart", "unsampled": "pass_through"});
    let stage = Stage::start(|edge| {
        let edge = edge.filter("ingress", &configured(&rare, &restart))?;
        let edge =
            listening(edge, "quic", &configured(&rare, &restart))?.http3("quic", &certificate)?;
        let edge = listening(edge, "kept", &following(&json!({"incoming": "restart"})))?;
        let edge = listening(edge, "kept_quic", &following(&json!({"incoming": "restart"})))?;
        edge.http3("kept_quic", &certificate)
    })
    .await?;
    for (http, listener) in
        [(Http::One, "ingress"), (Http::Two, "ingress"), (Http::Three(certificate.clone()), "quic")]
    {
        stage.collector.clear();
        stage.upstream.clear();
        let mut connection = Connection::open(&http, stage.envoy.port(listener)).await?;
        for _ in 0..EACH {
            assert_eq!(connection.send(&forged("/")).await?.status, 200, "{http}");
        }
        let seen = stage.upstream.seen();
        let mut sampled = BTreeSet::new();
        for request in &seen {
            let parent = request.header("traceparent");
            let (trace, flags) = (&parent[3..35], &parent[53..]);
            assert_ne!(trace, TRACE, "{http}");
            // Of honest ones the last 56 bits of the id decide.
            let is_kept = u64::from_str_radix(&trace[18..], 16)? >= (1 << 56) - (1 << 56) / 100;
            assert_eq!(flags, if is_kept { "03" } else { "02" }, "{http}: {parent}");
            if is_kept {
                sampled.insert(trace.to_owned());
            }
            let expected: &[_] =
                if is_kept { &["traceparent", "tracestate"] } else { &["traceparent"] };
            assert!(got(request).iter().eq(expected), "{http}: {:?}", request.headers);
        }
        assert_eq!(seen.len(), EACH, "{http}");
        assert!(bounds(EACH as u64, 0.01).contains(&sampled.len()), "{http}: {}", sampled.len());
        let spans = stage.collector.wait_for_spans(sampled.len()).await?;
        let traces: BTreeSet<_> = spans.iter().map(Span::trace_id).collect();
        assert_eq!(traces, sampled, "{http}: they are kept, and no others");
        for span in spans {
            says_nothing_of_theirs(&span, &http.to_string());
            is_linked(&span, &http.to_string());
        }
    }
    let http3 = Http::Three(certificate);
    for (http, listener, scheme) in
        [(Http::One, "kept", "http"), (Http::Two, "kept", "http"), (http3, "kept_quic", "https")]
    {
        stage.collector.clear();
        let port = stage.envoy.port(listener);
        forged("/a").send(&http, port).await?;
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        let text = |name| span.text(name).unwrap_or_default();
        let found =
            [text("client.address"), text("url.scheme"), text("server.address"), text("url.path")];
        assert_eq!(found, ["127.0.0.1", scheme, "localhost", "/a"], "{http}: as Envoy has it");
        assert_eq!(span.int("server.port"), Some(i64::from(port)), "{http}");
        assert_eq!(span.parent_id(), "", "{http}: a root");
        says_nothing_of_theirs(&span, &http.to_string());
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// What became of a request's context: the span's, and the one that the service got.
async fn passed(stage: &Stage) -> Result<(Span, Seen)> {
    let span = stage.collector.wait_for_spans(1).await?.remove(0);
    stage.collector.clear();
    Ok((span, stage.upstream.last()))
}

/// Nothing is left of what is ignored, and a request that Envoy answers before the filter sees it has no more.
async fn ignored(stage: &Stage) -> Result<()> {
    let port = stage.envoy.port("ignore");
    forged("/").send(&Http::Two, port).await?;
    let (span, seen) = passed(stage).await?;
    says_nothing_of_theirs(&span, "ignored");
    assert_eq!(span.span.links, Vec::new(), "ignored: no link");
    assert_eq!(got(&seen), BTreeSet::from(["traceparent"]), "{:?}", seen.headers);
    let early =
        Call::get("/a%2Fb").header("forwarded", "for=6.6.6.6;proto=https;host=forged.example");
    let early = with_contexts(early).header("x-forwarded-proto", "https");
    assert_eq!(early.send(&Http::One, port).await?.status, 307);
    let (span, _) = passed(stage).await?;
    says_nothing_of_theirs(&span, "answered early");
    assert_eq!(span.text("url.scheme").as_deref(), Some("http"), "its connection's");
    Ok(())
}

#[tokio::test]
async fn callers_are_told_apart() -> Result<()> {
    let (certificate, known, other) =
        (Certificate::new()?, Certificate::new()?, Certificate::new()?);
    let by = |trusted: Value| json!({"incoming": {"trusted": trusted}});
    let loopback = by(json!({"addresses": ["10.0.0.0/8", "127.0.0.0/8"]}));
    let elsewhere = by(json!({"addresses": ["10.0.0.0/8", "fd00::/8"]}));
    let certified = by(json!({"client_certificate": true}));
    let either = by(json!({"client_certificate": true, "addresses": ["10.0.0.0/8"]}));
    let ignore =
        json!({"incoming": {"trusted": {"addresses": ["10.0.0.0/8"]}, "others": "ignore"}});
    let stage = Stage::start(|edge| {
        let mut edge = listening(edge, "loopback", &following(&loopback))?;
        for (name, envoy) in [("certified", &certified), ("either", &either)] {
            edge = listening(edge, name, &following(envoy))?.tls(name, &certificate)?;
            edge = edge.client_certificates(name, &known)?;
        }
        edge = listening(edge, "ignore", &following(&ignore))?;
        // Whose address Envoy takes from where.
        for (name, remote, hops) in
            [("own", true, 0), ("hop", true, 1), ("told", false, 0), ("told hop", false, 1)]
        {
            edge = listening(edge, name, &following(&elsewhere))?;
            edge = edge.connection_manager(name, "use_remote_address", json!(remote))?;
            edge = edge.connection_manager(name, "xff_num_trusted_hops", json!(hops))?;
        }
        edge.connection_manager(
            "ignore",
            "path_with_escaped_slashes_action",
            json!("UNESCAPE_AND_REDIRECT"),
        )
    })
    .await?;
    let is_continued = |(span, seen): &(Span, Seen), reason: &str| {
        assert_eq!((span.trace_id(), span.parent_id()), (TRACE.into(), PARENT.into()), "{reason}");
        assert_eq!(span.span.links, Vec::new(), "{reason}");
        assert!(seen.header("traceparent").contains(TRACE), "{reason}: {:?}", seen.headers);
        assert_eq!(seen.header("baggage"), "user=mallory", "{reason}: it goes on");
        assert_eq!(
            span.text("client.address").as_deref(),
            Some(FORGED[0]),
            "{reason}: it is believed"
        );
        assert_eq!(
            span.text("server.address").as_deref(),
            Some(FORGED[2]),
            "{reason}: it is believed"
        );
    };
    let is_restarted = |(span, seen): &(Span, Seen), reason: &str| {
        assert_ne!(span.trace_id(), TRACE, "{reason}");
        is_linked(span, reason);
        assert_eq!(got(seen), BTreeSet::from(["traceparent"]), "{reason}: {:?}", seen.headers);
        assert_eq!(span.text("server.address").as_deref(), Some("localhost"), "{reason}");
    };

    let call = forged("/");
    call.send(&Http::One, stage.envoy.port("loopback")).await?;
    is_continued(&passed(&stage).await?, "by its address");
    for (listener, own, reason) in
        [("certified", None, "without a certificate"), ("either", None, "neither")]
    {
        call.send_tls_as(&certificate, own, stage.envoy.port(listener)).await?;
        is_restarted(&passed(&stage).await?, reason);
    }
    for listener in ["certified", "either"] {
        call.send_tls_as(&certificate, Some(&known), stage.envoy.port(listener)).await?;
        is_continued(&passed(&stage).await?, "by its certificate");
        let refused =
            call.send_tls_as(&certificate, Some(&other), stage.envoy.port(listener)).await;
        assert!(refused.is_err(), "{listener}: Envoy does not accept another certificate");
    }

    // A stranger says where it comes from: in no way of writing it is that believed.
    for listener in ["own", "hop", "told", "told hop"] {
        for said in [
            "10.1.2.3",
            "10.1.2.3, 10.1.2.3",
            "10.1.2.3:4567",
            "fd00::1",
            "[fd00::1]:4567",
            "::ffff:10.1.2.3",
        ] {
            let traceparent = format!("00-{TRACE}-{PARENT}-03");
            let call =
                Call::get("/").header("x-forwarded-for", said).header("traceparent", &traceparent);
            let call = call
                .header("forwarded", format!("for=\"{said}\""))
                .header("tracestate", "ot=rv:ffffffffffffff;th:0");
            let call =
                call.header("x-envoy-external-address", said).header("x-envoy-internal", "true");
            call.send(&Http::One, stage.envoy.port(listener)).await?;
            is_restarted(&passed(&stage).await?, &format!("{listener}: {said}"));
        }
    }

    ignored(&stage).await?;
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn a_border_holds_for_redirects_and_rules() -> Result<()> {
    let rules = json!([{"callee_kept": {"tell_caller": true}}, {"error": {}}]);
    let off = json!({"parent_based": {"root": {"always_off": {}}}});
    let kept_by_rule = configured(&off, &json!({"incoming": "restart", "keep": rules}));
    let friends = configured(&off, &json!({"keep": rules}));
    let stage = Stage::start(|edge| {
        let edge = edge.filter("ingress", &following(&json!({"incoming": "restart"})))?;
        let policy = json!({"max_internal_redirects": 1});
        let route = json!({"cluster": "upstream", "internal_redirect_policy": policy});
        let edge =
            edge.route("ingress", json!({"match": {"prefix": "/redirect"}, "route": route}))?;
        listening(listening(edge, "rules", &kept_by_rule)?, "friends", &friends)
    })
    .await?;
    assert_eq!(forged("/redirect").send(&Http::One, stage.port()).await?.status, 200);
    let passes = stage.upstream.seen();
    assert_eq!(passes.len(), 2, "both passes");
    assert_eq!(
        passes[0].header("traceparent"),
        passes[1].header("traceparent"),
        "are of one trace"
    );
    let (span, seen) = passed(&stage).await?;
    assert!(seen.header("traceparent").contains(&span.span_id()), "one span");
    is_linked(&span, "redirected");
    says_nothing_of_theirs(&span, "redirected");

    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let failing = || Call::get("/status/503").header("traceparent", &unsampled);
    for (listener, is_told) in [("friends", true), ("rules", false)] {
        let reply = failing().send(&Http::One, stage.envoy.port(listener)).await?;
        assert_eq!(reply.headers.contains_key("server-timing"), is_told, "{listener}");
        let (span, _) = passed(&stage).await?;
        assert_eq!(span.trace_id() == TRACE, is_told, "{listener}");
        assert_eq!(
            span.span.links.len(),
            usize::from(!is_told),
            "{listener}: a rule keeps the link, too"
        );
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn upstreams_that_are_to_have_no_context_get_none() -> Result<()> {
    let client = |outgoing: Value| following(&json!({"span_kind": "client", "outgoing": outgoing}));
    let stage = Stage::start(|edge| {
        let upstream = edge.cluster_port("upstream");
        let edge = listening(edge, "strip", &client(json!("strip")))?;
        let edge = listening(
            edge,
            "vendors",
            &client(json!({"strip_clusters": ["stripe_api", "vendor_*"]})),
        )?;
        let mut edge = listening(
            edge,
            "restart and strip",
            &following(&json!({"incoming": "restart", "outgoing": "strip"})),
        )?;
        for name in ["stripe_api", "vendor_a", "orders"] {
            edge = edge.cluster(name, upstream)?;
            let route =
                json!({"match": {"prefix": format!("/{name}")}, "route": {"cluster": name}});
            edge = edge.route("vendors", route)?;
        }
        Ok(edge)
    })
    .await?;
    let call = |path: &str| with_contexts(Call::get(path)).header("x-request-id", "a-request");
    for (listener, path, is_stripped) in [
        ("strip", "/", true),
        ("vendors", "/stripe_api", true),
        ("vendors", "/vendor_a", true),
        ("vendors", "/orders", false),
        ("vendors", "/", false),
    ] {
        for http in [Http::One, Http::Two] {
            let reason = format!("{listener} {path} {http}");
            call(path).send(&http, stage.envoy.port(listener)).await?;
            let (span, seen) = passed(&stage).await?;
            assert_eq!(
                (span.trace_id(), span.parent_id()),
                (TRACE.into(), PARENT.into()),
                "{reason}: a span in any case"
            );
            let expected = if is_stripped { 0 } else { contexts().len() + 1 };
            assert_eq!(got(&seen).len(), expected, "{reason}: {:?}", seen.headers);
            assert_eq!(
                seen.header("traceparent").contains(&span.span_id()),
                !is_stripped,
                "{reason}"
            );
            assert_ne!(seen.header("x-request-id"), "", "{reason}: that is no context");
        }
    }
    call("/").send(&Http::One, stage.envoy.port("restart and strip")).await?;
    let (span, seen) = passed(&stage).await?;
    is_linked(&span, "both borders");
    assert_eq!(got(&seen), BTreeSet::new(), "both borders");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// The last line of an access log in JSON that is about this path.
async fn logged(stage: &Stage, path: &str) -> Result<Value> {
    let line = || async {
        let log = stage.envoy.log();
        let mut lines =
            log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["path"] == path)
    };
    wait_for(&format!("the access log of {path}"), line).await
}

#[tokio::test]
async fn access_logs_and_browsers_are_told() -> Result<()> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let edge = Bootstrap::from_file("envoy/access-log.yaml")?
        .cluster("upstream", upstream.port())?
        .cluster("otel_collector", collector.port())?;
    let rules = json!([{"error": {}}]);
    let envoy =
        json!({"expose": ["filter_state", "server_timing"], "outgoing": "strip", "keep": rules});
    let edge = edge.filter("ingress", &following(&envoy))?;
    let edge = edge.connection_manager(
        "ingress",
        "path_with_escaped_slashes_action",
        json!("UNESCAPE_AND_REDIRECT"),
    )?;
    let policy = json!({"max_internal_redirects": 1});
    let route = json!({"cluster": "upstream", "internal_redirect_policy": policy});
    let edge = edge.route("ingress", json!({"match": {"prefix": "/redirect"}, "route": route}))?;
    let envoy = json!({"expose": ["filter_state"], "unsampled": "pass_through"});
    let let_go = configured(&json!({"always_off": {}}), &envoy);
    let edge = listening(edge, "untouched", &let_go)?;
    let soon = ["--file-flush-interval-msec", "50"];
    let stage = Stage { envoy: Envoy::with_arguments(edge, 1, &soon).await?, upstream, collector };
    let from = |path: &str, flags: &str| {
        Call::get(path).header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"))
    };
    for (path, logged_path, call, flags) in [
        ("/root", "/root", Call::get("/root"), "03"),
        ("/kept", "/kept", from("/kept", "01"), "01"),
        ("/let-go", "/let-go", from("/let-go", "02"), "02"),
        // A rule keeps it, which is known when it has ended.
        ("/status/503", "/status/503", from("/status/503", "00"), "01"),
        // It is told of in the second pass.
        ("/redirect", "/target", Call::get("/redirect"), "03"),
        // Envoy answers it before the filter sees it.
        ("/a%2Fb", "/a/b", Call::get("/a%2Fb"), "03"),
    ] {
        stage.collector.clear();
        let reply = call.send(&Http::One, stage.port()).await?;
        let line = logged(&stage, logged_path).await?;
        assert_eq!(line["trace_flags"], flags, "{path}: {line}");
        let told = reply.headers.get_all("server-timing").iter().map(|it| it.to_str());
        let told = told.collect::<Result<Vec<_>, _>>()?;
        if flags.ends_with(['0', '2']) {
            assert_eq!(line["trace_id"], TRACE, "{path}: {line}");
            assert_ne!(line["span_id"], PARENT, "{path}: its own, of which there is no span");
            assert_eq!(told, Vec::<&str>::new(), "{path}: there is nothing to find");
            continue;
        }
        let span = stage.collector.wait_for_spans(1).await?.remove(0);
        assert_eq!(line["trace_id"], span.trace_id(), "{path}: {line}");
        assert_eq!(line["span_id"], span.span_id(), "{path}: {line}");
        // What is kept by how it ended, or answered by Envoy, is known too late for a header.
        let is_late = path == "/status/503" || path == "/a%2Fb";
        let metric = format!("traceparent;desc=\"00-{}-{}-01\"", span.trace_id(), span.span_id());
        assert_eq!(told, if is_late { Vec::new() } else { Vec::from([metric.as_str()]) }, "{path}");
        if path != "/a%2Fb" {
            assert_eq!(
                got(&stage.upstream.last()),
                BTreeSet::new(),
                "{path}: though no context leaves"
            );
        }
    }
    from("/caller", "01").send(&Http::One, stage.envoy.port("untouched")).await?;
    let line = logged(&stage, "/caller").await?;
    assert_eq!(
        [&line["trace_id"], &line["span_id"]],
        [TRACE, PARENT],
        "what goes on is the caller's: {line}"
    );
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
