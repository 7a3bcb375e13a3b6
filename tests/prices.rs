//! What a request may cost: the host calls that return data, and the settings that say how many there are: `envoy.details`, `envoy.start_time`,
//! `envoy.unsampled`, `envoy.keep`.

mod conventions;

use anyhow::{Context, Result};
use harness::bootstrap::{Bootstrap, Place};
use harness::client::{Call, Http};
use harness::{Envoy, Receiver, Span, Stage, Upstream};
use serde_json::{Value, json};
use std::time::Duration;

const DETAILS: [&str; 4] = [
    "envoy.cluster_name",
    "envoy.response_code_details",
    "envoy.route_name",
    "envoy.upstream_address",
];

/// Which of Envoy's details a span has.
fn details(span: &Span) -> Vec<&'static str> {
    DETAILS.into_iter().filter(|name| span.text(name).is_some()).collect()
}

#[tokio::test]
async fn details_are_there_where_they_were_asked_for() -> Result<()> {
    let to = |prefix: &str, route: Value| json!({"name": "default", "match": {"prefix": prefix}, "route": route});
    let redirect =
        json!({"cluster": "upstream", "internal_redirect_policy": {"max_internal_redirects": 1}});
    let within = |timeout: &str| json!({"cluster": "upstream", "timeout": timeout});
    // What of a success, and of a failure.
    let cases = [
        (json!("always"), &DETAILS[..]),
        (json!("failures"), &[]),
        (
            json!(["envoy.route_name", "envoy.cluster_name"]),
            &["envoy.cluster_name", "envoy.route_name"],
        ),
    ];
    for (setting, of_success) in cases {
        let configuration = json!({"envoy": {"details": setting}}).to_string();
        let stage = Stage::start(|edge| {
            edge.filter("ingress", &configuration)?
                .route("ingress", to("/redirect", redirect.clone()))?
                .route("ingress", to("/delay/5000", within("0.2s")))?
                .route("ingress", to("/delay/10", within("60s")))
        })
        .await?;
        let calls = [
            (Call::get("/good"), 200, of_success, "a success"),
            (Call::get("/redirect"), 200, of_success, "an internal redirect"),
            (Call::get("/status/404"), 404, &DETAILS[..], "a caller's error"),
            (Call::get("/status/503"), 503, &DETAILS, "a server's error"),
            (Call::get("/delay/5000"), 504, &DETAILS, "a timeout"),
            (Call::get("/delay/10").header("x-none", ""), 200, of_success, "in time"),
            (Call::grpc("/test.Service/Ok"), 200, of_success, "a call"),
            (Call::grpc("/test.Service/NotFound"), 200, &DETAILS, "a call that failed"),
        ];
        for (call, status, expected, reason) in calls {
            stage.collector.clear();
            assert_eq!(call.send(&Http::Two, stage.port()).await?.status, status, "{reason}");
            let spans = stage.collector.wait_for_spans(1).await?;
            let [span] = spans.as_slice() else { panic!("{reason}: {spans:#?}") };
            conventions::check(span);
            assert_eq!(details(span), expected, "{setting}, {reason}: {:#?}", span.attributes());
        }
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    }
    Ok(())
}

/// Holds each request up for a fifth of a second.
fn hold_up() -> Value {
    let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    let delay = json!({"fixed_delay": "0.2s", "percentage": {"numerator": 100}});
    json!({"name": "hold_up", "typed_config": {"@type": fault, "delay": delay}})
}

/// An edge with a filter that sees requests at once, and one behind another that holds them up.
fn held_up(edge: Bootstrap, start_time: &str) -> Result<Bootstrap> {
    let behind = json!({"envoy": {"start_time": start_time}}).to_string();
    let first = edge.http_filter_of("ingress", "otel")?;
    edge.filter("ingress", &behind)?.http_filter("ingress", Place::First, hold_up())?.http_filter(
        "ingress",
        Place::First,
        first,
    )
}

#[tokio::test]
async fn a_span_starts_when_the_setting_says() -> Result<()> {
    // Envoy's timers may be some milliseconds early.
    let delay = u64::try_from(Duration::from_millis(100).as_nanos())?;
    for (setting, is_late) in [("auto", false), ("request", false), ("filter", true)] {
        let stage = Stage::start(|edge| held_up(edge, setting)).await?;
        Call::get("/").send(&Http::One, stage.port()).await?;
        let spans = stage.collector.wait_for_spans(2).await?;
        let [first, second]: [&Span; 2] = {
            let mut spans: Vec<_> = spans.iter().collect();
            spans.sort_by_key(|span| !span.parent_id().is_empty());
            spans.try_into().ok().context("two spans")?
        };
        assert_eq!(second.parent_id(), first.span_id(), "{setting}: one within the other");
        let starts = [first, second].map(|span| span.span.start_time_unix_nano);
        assert_eq!(starts[1] >= starts[0] + delay, is_late, "{setting}: {starts:?}");
        for span in [first, second] {
            assert!(span.span.end_time_unix_nano > starts[0] + delay, "{setting}: it was held up");
        }
    }
    Ok(())
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn what_is_let_go_goes_on_as_the_setting_says() -> Result<()> {
    let parent = |flags: &str| format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    let (off, on) = (parent("00"), parent("01"));
    // The setting, the traceparents that come, those that go on: the same, a new one, or the same trace with another parent.
    let cases: [(&str, Vec<&str>, &str); 8] = [
        ("inject", vec![], "new"),
        ("inject", vec![&off], "child"),
        ("pass_through", vec![], "new"),
        ("pass_through", vec![&off], "same"),
        ("pass_through", vec![&off, &off], "new"),
        ("pass_through", vec![&on], "child"),
        ("defer", vec![], "none"),
        ("defer", vec![&off], "same"),
    ];
    for (setting, came, expected) in cases {
        let configuration = json!({
            "tracer_provider": {"sampler": {"parent_based": {"root": {"always_off": {}}}}},
            "envoy": {"unsampled": setting},
        });
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration.to_string())).await?;
        // The first request may be looked at otherwise than those that follow.
        for pass in 0..3 {
            let call = Call::get("/").header("tracestate", "vendor=1");
            let call = came.iter().fold(call, |call, value| call.header("traceparent", value));
            call.send(&Http::One, stage.port()).await?;
            let seen = stage.upstream.last();
            let went = seen.headers.get_all("traceparent").iter().map(|it| it.to_str());
            let went: Vec<_> = went.collect::<Result<_, _>>()?;
            let reason = format!("{setting}, {came:?}, request {pass}: {went:?}");
            let is_of_trace = |value: &str| value.contains(TRACE);
            match (expected, went.as_slice()) {
                ("none", []) => {}
                ("same", went) => assert_eq!(went, came, "{reason}"),
                ("new", [new]) => assert!(!is_of_trace(new), "{reason}"),
                ("child", [child]) => assert!(is_of_trace(child) && *child != came[0], "{reason}"),
                _ => panic!("{reason}"),
            }
            let keeps_state = expected != "new";
            assert_eq!(seen.header("tracestate") == "vendor=1", keeps_state, "{reason}");
        }
        stage.at_rest(3).await?;
    }
    Ok(())
}

/// How often the host called back for memory to hand data over, in the callbacks of the last stream in a log that has them all.
fn handed_over(log: &str) -> usize {
    let called = |line: &str| {
        let (_, call) = line.split_once("[host->vm] proxy_on_")?;
        let (name, arguments) = call.split_once('(')?;
        let context = arguments.split([',', ')']).next()?.to_owned();
        Some((name.to_owned(), context))
    };
    let calls: Vec<_> = log.lines().filter_map(called).collect();
    let last = calls.iter().rev().find(|(name, _)| name == "log").map(|(_, context)| context);
    let mut current = None;
    let mut count = 0;
    for (name, context) in &calls {
        match name.as_str() {
            "memory_allocate" => count += usize::from(current == last),
            _ => current = Some(context),
        }
    }
    count
}

#[tokio::test]
async fn little_is_handed_over() -> Result<()> {
    let off = json!({"always_off": {}});
    let on = json!({"always_on": {}});
    let rules =
        json!([{"error": {}}, {"slower_than": 5000}, {"condition": "response.code == 429"}]);
    let path = json!([{"error": {}}, {"slower_than": 5000}, {"callee_kept": {}}]);
    let cases = [
        (&off, json!({}), "/", 0, "let go"),
        (&off, json!({"keep": rules}), "/", 0, "let go by rules on its end"),
        (&off, json!({"keep": rules}), "/status/404", 0, "and a caller's mistake"),
        (&off, json!({"keep": path}), "/", 0, "and by what others have kept"),
        (
            &on,
            json!({"details": "failures"}),
            "/",
            7,
            "kept: headers, status, flags, and four of a new connection",
        ),
        (&on, json!({}), "/", 12, "and five details"),
    ];
    for (sampler, mut envoy, path, expected, reason) in cases {
        envoy["start_time"] = json!("filter");
        let configuration = json!({"tracer_provider": {"sampler": sampler}, "envoy": envoy});
        let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
        let edge = Bootstrap::edge(upstream.port(), collector.port())?
            .filter("ingress", &configuration.to_string())?;
        let trace = ["--component-log-level", "wasm:trace"];
        let stage =
            Stage { envoy: Envoy::with_arguments(edge, 1, &trace).await?, upstream, collector };
        // The first requests of a filter are asked whether they are attempts.
        for _ in 0..40 {
            Call::get(path).send(&Http::One, stage.port()).await?;
        }
        stage.at_rest(40).await?;
        assert_eq!(handed_over(&stage.envoy.log()), expected, "{reason}");
    }
    Ok(())
}
