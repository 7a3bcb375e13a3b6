//! Header formats on real Envoys: which one of several counts, what is written, and that a trace stays one where each proxy speaks
//! another format.

use anyhow::{Context, Result};
use harness::client::{Call, Http};
use harness::tls::Certificate;
use harness::{Bootstrap, Envoy, Receiver, Span, Stage, Upstream};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A format's name, and headers with a trace id of this digit and the span id 1.
type Format = (&'static str, fn(char) -> Vec<(&'static str, String)>);

/// So many of one digit.
fn digits(digit: char, count: usize) -> String {
    std::iter::repeat_n(digit, count).collect()
}

const ONE: &str = "0000000000000001";

const FORMATS: [Format; 8] = [
    ("tracecontext", |it| vec![("traceparent", format!("00-{}-{ONE}-01", digits(it, 32)))]),
    ("b3", |it| vec![("b3", format!("{}-{ONE}-1", digits(it, 32)))]),
    ("b3multi", |it| {
        let (trace, span) = (("x-b3-traceid", digits(it, 32)), ("x-b3-spanid", ONE.to_owned()));
        vec![trace, span, ("x-b3-parentspanid", digits(it, 16)), ("x-b3-sampled", "1".to_owned())]
    }),
    ("jaeger", |it| vec![("uber-trace-id", format!("{}:1:0:1", digits(it, 32)))]),
    ("xray", |it| {
        let (time, unique) = (digits(it, 8), digits(it, 24));
        vec![("x-amzn-trace-id", format!("Root=1-{time}-{unique};Parent={ONE};Sampled=1"))]
    }),
    ("ottrace", |it| {
        let (trace, span) = (digits(it, 32), ONE.to_owned());
        vec![
            ("ot-tracer-traceid", trace),
            ("ot-tracer-spanid", span),
            ("ot-tracer-sampled", "true".into()),
        ]
    }),
    ("datadog", |it| {
        let low = u64::from_str_radix(&digits(it, 16), 16).expect("digits").to_string();
        let tags = format!("_dd.p.dm=-4,_dd.p.tid={}", digits(it, 16));
        let priority = ("x-datadog-sampling-priority", "2".to_owned());
        vec![
            ("x-datadog-trace-id", low),
            ("x-datadog-parent-id", "1".into()),
            priority,
            ("x-datadog-tags", tags),
        ]
    }),
    ("google", |it| vec![("x-cloud-trace-context", format!("{}/1;o=1", digits(it, 32)))]),
];

/// What a filter is given that speaks these formats.
fn speaks(formats: &str) -> String {
    json!({"propagator": {"composite_list": formats}}).to_string()
}

/// The context that a service reads of what it got, by each format: trace id, span id, and whether it is sampled.
fn read(seen: &harness::Seen) -> Vec<(&'static str, String, String)> {
    let of = |name: &str| seen.header(name);
    let part = |text: &str, at: usize| {
        text.split(['-', ':', '/', ';', '=']).nth(at).unwrap_or_default().to_owned()
    };
    let decimal = |text: &str| format!("{:016x}", text.parse::<u64>().unwrap_or_default());
    let (xray, google) = (of("x-amzn-trace-id"), of("x-cloud-trace-context"));
    let tid = of("x-datadog-tags").split("_dd.p.tid=").nth(1).unwrap_or_default().to_owned();
    let high = tid.split(',').next().unwrap_or_default().to_owned();
    vec![
        ("tracecontext", part(&of("traceparent"), 1), part(&of("traceparent"), 2)),
        ("b3", part(&of("b3"), 0), part(&of("b3"), 1)),
        ("b3multi", of("x-b3-traceid"), of("x-b3-spanid")),
        ("jaeger", part(&of("uber-trace-id"), 0), part(&of("uber-trace-id"), 1)),
        ("xray", part(&xray, 2) + &part(&xray, 3), part(&xray, 5)),
        ("ottrace", of("ot-tracer-traceid"), of("ot-tracer-spanid")),
        (
            "datadog",
            high + &decimal(&of("x-datadog-trace-id")),
            decimal(&of("x-datadog-parent-id")),
        ),
        ("google", part(&google, 0), decimal(&part(&google, 1))),
    ]
}

/// Checks that each format says what the span is.
fn check(seen: &harness::Seen, span: &Span, reason: &str) {
    for (name, trace_id, span_id) in read(seen) {
        let expected = span.trace_id();
        let expected = if name == "ottrace" { &expected[16..] } else { &expected };
        assert_eq!((trace_id.as_str(), span_id), (expected, span.span_id()), "{reason}: {name}");
    }
    assert_eq!(seen.header("x-b3-parentspanid"), "", "{reason}: it would be of another span");
}

#[tokio::test]
async fn the_first_of_all_formats_counts_and_all_are_written_over_each_version_of_http()
-> Result<()> {
    let certificate = Certificate::new()?;
    let names: Vec<_> = FORMATS.iter().map(|(name, _)| *name).collect();
    let stage = Stage::start(|mut edge| {
        let retry = json!({
            "name": "flaky", "match": {"prefix": "/flaky"},
            "route": {"cluster": "upstream", "retry_policy": {"retry_on": "5xx", "num_retries": 3}},
        });
        let policy = json!({"max_internal_redirects": 1});
        let redirect = json!({
            "name": "redirect", "match": {"prefix": "/redirect"},
            "route": {"cluster": "upstream", "internal_redirect_policy": policy},
        });
        edge = edge.route("ingress", retry)?.route("ingress", redirect)?;
        for place in 0..names.len() {
            let mut order = names.clone();
            order.rotate_left(place);
            edge = edge
                .copy_listener("ingress", order[0])?
                .filter(order[0], &speaks(&order.join(",")))?;
        }
        edge.copy_listener("google", "http3")?.http3("http3", &certificate)
    })
    .await?;
    let listeners = names.iter().map(|name| (*name, *name, Http::One));
    let two = names.iter().map(|name| (*name, *name, Http::Two));
    let three = [("http3", "google", Http::Three(certificate.clone()))];
    let mut sent = 0;
    let paths = [("/plain", 1), ("/flaky/2", 3), ("/redirect", 2)];
    for (listener, first, http) in listeners.chain(two).chain(three) {
        let port = stage.envoy.port(listener);
        stage.collector.clear();
        let mut passes = Vec::new();
        for (path, count) in paths {
            // Each format names a trace of its own.
            let mut call = Call::get(path);
            for (digit, (_, headers)) in ('1'..).zip(FORMATS) {
                for (name, value) in headers(digit) {
                    call = call.header(name, value);
                }
            }
            stage.upstream.clear();
            assert_eq!(
                call.send(&http, port).await?.status,
                200,
                "{first} first, {http:?}, {path}"
            );
            passes.push(stage.upstream.seen());
            assert_eq!(passes.last().map(Vec::len), Some(count), "{path}: requests of the proxy");
            sent += 1;
        }
        // Of B3's two notations the one header goes before.
        let counts = if first == "b3multi" { "b3" } else { first };
        let place = names.iter().position(|name| *name == counts).context("a format")?;
        let digit = char::from_digit(u32::try_from(place)? + 1, 10).context("a digit")?;
        let spans = stage.collector.wait_for_spans(paths.len()).await?;
        for ((path, _), seen) in paths.iter().zip(passes) {
            let reason = format!("{first} first, {http:?}, {path}");
            let span = spans.iter().find(|it| it.text("url.path").as_deref() == Some(path));
            let span = span.context(reason.clone())?;
            assert_eq!(span.trace_id(), digits(digit, 32), "{reason}");
            assert_eq!(span.parent_id(), ONE, "{reason}");
            for seen in &seen {
                check(seen, span, &reason);
            }
        }
    }
    assert_eq!(sent, 3 * 17, "all are sent");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn a_decision_that_is_left_to_others_is_ours_and_one_without_ids_counts() -> Result<()> {
    let root = |ratio: f64| json!({"tracer_provider": {"sampler": {"parent_based": {"root": {"trace_id_ratio_based": {"ratio": ratio}}}}}});
    let with = |formats: Value, mut config: Value| {
        config["propagator"] = formats;
        config.to_string()
    };
    let all = json!({"composite": [{"b3": {}}, {"xray": {}}, {"datadog": {}}, {"google": {}}]});
    let stage = Stage::start(|edge| {
        let edge = edge.copy_listener("ingress", "keeps")?.copy_listener("ingress", "variable")?;
        let variables = json!({"key_values": {"OTEL_PROPAGATORS": "B3,XRay,datadog,google", "OTEL_BSP_SCHEDULE_DELAY": "50"}});
        edge.filter("ingress", &with(all.clone(), root(0.0)))?
            .filter("keeps", &with(all.clone(), root(1.0)))?
            .filter("variable", &root(1.0).to_string())?
            .wasm("variable", "/config/vm_config", "vm_id", json!("variable"))?
            .wasm("variable", "/config/vm_config", "environment_variables", variables)
    })
    .await?;
    let low = u64::from_str_radix(&TRACE[16..], 16)?.to_string();
    let number = u64::from_str_radix(SPAN, 16)?.to_string();
    let datadog = [("x-datadog-trace-id", low), ("x-datadog-parent-id", number.clone())];
    let xray = format!("Root=1-{}-{};Parent={SPAN}", &TRACE[..8], &TRACE[8..]);
    let deferred: [Vec<(&str, String)>; 5] = [
        vec![("b3", format!("{TRACE}-{SPAN}"))],
        vec![("x-amzn-trace-id", xray.clone() + ";Sampled=?")],
        vec![("x-amzn-trace-id", xray)],
        datadog
            .into_iter()
            .chain([("x-datadog-tags", format!("_dd.p.tid={}", &TRACE[..16]))])
            .collect(),
        vec![("x-cloud-trace-context", format!("{TRACE}/{number}"))],
    ];
    let call = |headers: &[(&str, String)]| {
        headers.iter().fold(Call::get("/"), |call, (name, value)| call.header(name, value))
    };
    for headers in &deferred {
        for (listener, sampled) in [("keeps", "1"), ("variable", "1"), ("ingress", "0")] {
            stage.collector.clear();
            let port = stage.envoy.port(listener);
            assert_eq!(call(headers).send(&Http::One, port).await?.status, 200);
            let sent = stage.upstream.last().header("b3");
            let parts: Vec<_> = sent.split('-').collect();
            assert_eq!((parts[0], parts[2]), (TRACE, sampled), "{listener}: {headers:?}");
            if sampled == "1" {
                let span = stage.collector.wait_for_spans(1).await?.remove(0);
                assert_eq!((span.trace_id(), span.parent_id()), (TRACE.into(), SPAN.into()));
                assert_eq!(parts[1], span.span_id(), "{headers:?}");
            }
        }
    }
    // The sampler's root says the opposite.
    for (listener, alone, sampled) in
        [("ingress", "1", "1"), ("ingress", "d", "d"), ("keeps", "0", "0")]
    {
        call(&[("b3", alone.to_owned())]).send(&Http::One, stage.envoy.port(listener)).await?;
        let sent = stage.upstream.last().header("b3");
        assert_eq!((sent.len(), sent.rsplit('-').next()), (51, Some(sampled)), "{alone}: {sent}");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn proxies_that_each_speak_another_format_make_one_trace() -> Result<()> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let chain = ["tracecontext,b3multi", "b3multi,datadog", "datadog,xray"];
    let (mut port, mut envoys) = (upstream.port(), Vec::new());
    for formats in chain.iter().rev() {
        let soon = json!({"key_values": {"OTEL_BSP_SCHEDULE_DELAY": "50"}});
        let edge = Bootstrap::edge(port, collector.port())?
            .wasm("ingress", "/config/vm_config", "environment_variables", soon)?
            .filter("ingress", &speaks(formats))?;
        let envoy = Envoy::start(edge).await?;
        port = envoy.port("ingress");
        envoys.push(envoy);
    }
    let parent = format!("00-{TRACE}-{SPAN}-01");
    for (header, trace, above) in [(Some(parent), Some(TRACE), SPAN), (None, None, "")] {
        collector.clear();
        let call = header.iter().fold(Call::get("/"), |call, it| call.header("traceparent", it));
        assert_eq!(call.send(&Http::One, port).await?.status, 200);
        let spans = collector.wait_for_spans(chain.len()).await?;
        let mut above = above.to_owned();
        let mut traces = Vec::new();
        for formats in chain {
            let span = spans.iter().find(|span| span.parent_id() == above);
            let span =
                span.with_context(|| format!("{formats}: a child of {above:?} in {spans:#?}"))?;
            traces.push(span.trace_id());
            above = span.span_id();
        }
        traces.dedup();
        let [one] = traces.as_slice() else { panic!("one trace, not {traces:?}") };
        assert!(trace.is_none_or(|trace| trace == one), "all 128 bits of it");
        let sent = upstream.last().header("x-amzn-trace-id");
        let expected = format!("Root=1-{}-{};Parent={above};Sampled=1", &one[..8], &one[8..]);
        assert_eq!(sent, expected, "the service behind them is told");
    }
    for envoy in &envoys {
        assert_eq!(envoy.complaints(), Vec::<String>::new(), "a clean log");
    }
    Ok(())
}
