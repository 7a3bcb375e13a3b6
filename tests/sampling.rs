//! The configurations of docs/sampling.md, on a real Envoy: which requests each of them keeps.

mod binomial;

use anyhow::{Context, Result};
use binomial::bounds;
use harness::client::{Call, Http, load};
use harness::service::{Answer, serve};
use harness::{Bootstrap, Counters, Envoy, Receiver, Span, Stage, Upstream};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Those of the page, in its order.
fn configurations() -> Result<Vec<String>> {
    blocks("json\n")
}

fn page() -> Result<String> {
    Ok(std::fs::read_to_string(harness::root().join("docs/sampling.md"))?)
}

/// Its blocks in this language, in its order.
fn blocks(language: &str) -> Result<Vec<String>> {
    let page = page()?;
    let blocks = page.split("```").skip(1).step_by(2);
    Ok(blocks.filter_map(|block| block.strip_prefix(language)).map(str::to_owned).collect())
}

/// A block of YAML that has this text.
fn yaml(text: &str) -> Result<Value> {
    let block = blocks("yaml\n")?.into_iter().find(|it| it.contains(text));
    Ok(serde_yaml_ng::from_str(&block.with_context(|| format!("none has {text}"))?)?)
}

/// A configuration of the page that has this text.
fn configuration(text: &str) -> Result<String> {
    let all = configurations()?;
    all.into_iter().find(|it| it.contains(text)).with_context(|| format!("none has {text}"))
}

/// An edge with routes of its own: what follows `/checkout`, `/search` and `/reports` is what the upstream sees, and `/flaky` is tried again.
async fn stage(configuration: &str) -> Result<Stage> {
    let routed = |edge: Bootstrap| {
        let retry = json!({"retry_on": "5xx", "num_retries": 3});
        let flaky = json!({
            "name": "flaky", "match": {"prefix": "/flaky"}, "route": {"cluster": "upstream", "retry_policy": retry},
        });
        let routes = ["checkout", "search", "reports"].map(|name| {
            json!({
                "name": name, "match": {"path_separated_prefix": format!("/{name}")},
                "route": {"cluster": "upstream", "regex_rewrite": {"pattern": {"regex": "^/[a-z]+/?"}, "substitution": "/"}},
            })
        });
        // `/users/N/orders` takes so many milliseconds.
        let orders =
            json!({"pattern": {"regex": "^/users/([0-9]+)/orders"}, "substitution": "/delay/\\1"});
        let users = json!({
            "name": "users", "match": {"path_separated_prefix": "/users"},
            "route": {"cluster": "upstream", "regex_rewrite": orders},
        });
        let mut edge = edge.route("ingress", flaky)?.route("ingress", users)?;
        for route in routes {
            edge = edge.route("ingress", route)?;
        }
        edge.filter("ingress", configuration)
    };
    Stage::start(routed).await
}

/// Sends each call so often, each of which succeeds, and says how many spans there are of each path.
async fn kept(stage: &Stage, calls: &[(Call, u64)]) -> Result<BTreeMap<String, usize>> {
    for (call, times) in calls {
        for _ in 0..*times {
            assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
        }
    }
    stage.at_rest(calls.iter().map(|(_, times)| times).sum()).await?;
    spans_by_path(stage)
}

/// How many spans there are of each path, or method of gRPC, when these calls have ended and rules have decided on them.
async fn kept_in_the_end(stage: &Stage, calls: &[(Call, u64)]) -> Result<BTreeMap<String, usize>> {
    let sent = calls.iter().map(|(_, times)| times).sum();
    stage.at_rest_by_rules(&Http::One, sent).await?;
    spans_by_path(stage)
}

fn spans_by_path(stage: &Stage) -> Result<BTreeMap<String, usize>> {
    let mut kept = BTreeMap::new();
    for span in stage.collector.spans() {
        let path = span.text("url.path").or(span.text("rpc.method"));
        *kept.entry(path.context("a path")?).or_default() += 1;
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(kept)
}

fn sampled(call: Call) -> Call {
    call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}

#[tokio::test]
async fn health_checks_are_not_kept() -> Result<()> {
    let stage = stage(&configuration("/healthz")?).await?;
    let calls = [
        (Call::get("/healthz"), 50),
        (Call::get("/livez"), 50),
        (Call::get("/cart"), 300),
        (sampled(Call::get("/followed")), 1),
    ];
    let kept = kept(&stage, &calls).await?;
    assert!(!kept.contains_key("/healthz") && !kept.contains_key("/livez"), "{kept:?}");
    assert!(bounds(300, 0.1).contains(&kept["/cart"]), "{kept:?}");
    assert_eq!(kept["/followed"], 1, "a caller that kept is followed");
    for span in stage
        .collector
        .spans()
        .iter()
        .filter(|span| span.text("url.path").as_deref() == Some("/cart"))
    {
        assert_eq!(span.span.trace_state, "ot=th:e666", "it says what it stands for");
    }
    Ok(())
}

#[tokio::test]
async fn one_route_is_kept_whole() -> Result<()> {
    let stage = stage(&configuration("envoy.route_name")?).await?;
    let kept = kept(&stage, &[(Call::get("/checkout"), 50), (Call::get("/cart"), 50)]).await?;
    assert_eq!(kept["/checkout"], 50);
    let others = kept.get("/cart").copied().unwrap_or_default();
    assert!(bounds(50, 0.01).contains(&others), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn half_of_a_tenants_requests_are_kept() -> Result<()> {
    let stage = stage(&configuration("x-tenant")?).await?;
    let of = |path: &str, tenant: &str| Call::get(path).header("x-tenant", tenant);
    let calls = [
        (of("/acme", "acme"), 300),
        (of("/other", "other"), 50),
        (of("/both", "other").header("x-tenant", "acme"), 100),
        (Call::get("/none"), 50),
    ];
    let kept = kept(&stage, &calls).await?;
    assert!(bounds(300, 0.5).contains(&kept["/acme"]), "{kept:?}");
    assert!(bounds(100, 0.5).contains(&kept["/both"]), "any of two headers: {kept:?}");
    assert_eq!(kept.len(), 2, "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn the_others_are_taken() -> Result<()> {
    let all = configurations()?;
    assert_eq!(all.len(), 21, "each of them has a test");
    for (configuration, expected) in
        [("\"always_on\": {}}}}", 100..101), (r#"ratio": 0.1}}}}}}"#, bounds(100, 0.1))]
    {
        let stage = stage(&self::configuration(configuration)?).await?;
        let kept = kept(&stage, &[(Call::get("/"), 100)]).await?;
        let kept = kept.get("/").copied().unwrap_or_default();
        assert!(expected.contains(&kept), "{configuration}: {kept}");
    }
    Ok(())
}

/// A request that the caller has let go: no sampler of the page keeps it.
fn unsampled(call: Call) -> Call {
    call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
}

/// What becomes of calls that their caller has let go, under a configuration of the page that has this text: how many spans there are of each
/// path, and the rules that they were kept by.
async fn kept_by_rules(
    text: &str,
    http: &Http,
    calls: Vec<(Call, u64)>,
) -> Result<BTreeMap<String, (usize, String)>> {
    kept_under(&configuration(text)?, http, calls).await
}

/// The same under any configuration.
async fn kept_under(
    configuration: &str,
    http: &Http,
    calls: Vec<(Call, u64)>,
) -> Result<BTreeMap<String, (usize, String)>> {
    let stage = stage(configuration).await?;
    // From then on headers are read when a request has ended.
    let mut all = vec![(Call::get("/"), 20)];
    all.extend(calls);
    let all: Vec<_> = all.into_iter().map(|(call, times)| (unsampled(call), times)).collect();
    for (call, times) in &all {
        for _ in 0..*times {
            call.send(http, stage.port()).await?;
        }
    }
    let mut rules = BTreeMap::new();
    for (path, count) in kept_in_the_end(&stage, &all).await? {
        rules.insert(path, (count, String::new()));
    }
    for span in stage.collector.spans() {
        let path = span.text("url.path").or(span.text("rpc.method")).context("a path")?;
        let rule = span.text("envoy.keep_rule").context("kept by a rule")?;
        let (_, known) = rules.get_mut(&path).context(path)?;
        assert!(known.is_empty() || *known == rule, "{known}, {rule}");
        *known = rule;
        let whole = span.span.trace_state == "ot=th:0";
        let share = ["ot=th:8", "ot=th:e666"].contains(&span.span.trace_state.as_str());
        assert!(whole || share, "it says what it stands for: {}", span.span.trace_state);
    }
    Ok(rules)
}

/// Paths, how many spans there are of each, and the rule that has kept them.
fn expected(paths: &[(&str, usize, &str)]) -> BTreeMap<String, (usize, String)> {
    let paths = paths.iter();
    paths.map(|(path, count, rule)| ((*path).to_owned(), (*count, (*rule).to_owned()))).collect()
}

#[tokio::test]
async fn errors_are_kept_and_a_share_of_the_rest() -> Result<()> {
    let stage = stage(&configuration(r#"{"keep": [{"error": {}}]}"#)?).await?;
    let calls = [
        (Call::get("/status/503"), 50),
        (unsampled(Call::get("/status/500")), 1),
        (Call::get("/status/404"), 100),
        (Call::get("/"), 200),
        (sampled(Call::get("/followed")), 1),
    ];
    for (call, times) in &calls {
        for _ in 0..*times {
            call.send(&Http::One, stage.port()).await?;
        }
    }
    let kept = kept_in_the_end(&stage, &calls).await?;
    let of = |path: &str| kept.get(path).copied().unwrap_or_default();
    assert_eq!((of("/status/503"), of("/status/500"), of("/followed")), (50, 1, 1), "{kept:?}");
    for (path, requests) in [("/status/404", 100), ("/", 200)] {
        assert!(bounds(requests, 0.01).contains(&of(path)), "{path}: {kept:?}");
    }
    for span in stage.collector.spans() {
        let expected = match span.int("http.response.status_code") {
            Some(500..) => "ot=th:0",
            // The caller says nothing of it.
            _ if span.parent_id() == "00f067aa0ba902b7" => "",
            _ => "ot=th:fd70a",
        };
        assert_eq!(span.span.trace_state, expected, "it says what it stands for");
    }
    Ok(())
}

#[tokio::test]
async fn errors_of_one_route_are_kept() -> Result<()> {
    let calls = vec![
        (Call::get("/checkout/status/503"), 3),
        (Call::get("/checkout/status/404"), 3),
        (Call::get("/search/status/503"), 3),
        (Call::get("/checkout"), 3),
    ];
    let kept = kept_by_rules("checkout failed", &Http::One, calls).await?;
    assert_eq!(kept, expected(&[("/checkout/status/503", 3, "checkout failed")]));
    Ok(())
}

#[tokio::test]
async fn errors_of_probes_are_not_kept() -> Result<()> {
    let stage_of_probes = configuration("/readyz")?;
    let stage = Stage::start(|edge| {
        let answer = json!({"status": 503});
        let route =
            json!({"name": "probe", "match": {"path": "/readyz"}, "direct_response": answer});
        edge.route("ingress", route)?.filter("ingress", &stage_of_probes)
    })
    .await?;
    let calls = [(unsampled(Call::get("/readyz")), 30), (unsampled(Call::get("/status/503")), 3)];
    for (call, times) in &calls {
        for _ in 0..*times {
            assert_eq!(call.send(&Http::One, stage.port()).await?.status, 503);
        }
    }
    let kept = kept_in_the_end(&stage, &calls).await?;
    assert_eq!(kept, BTreeMap::from([("/status/503".to_owned(), 3)]));
    Ok(())
}

#[tokio::test]
async fn what_takes_longer_than_a_second_is_kept() -> Result<()> {
    let configuration = configuration(r#"{"keep": [{"slower_than": 1000}]}"#)?;
    let calls = vec![(Call::get("/delay/1001"), 1), (Call::get("/status/503"), 3)];
    let kept = kept_under(&configuration, &Http::One, calls.clone()).await?;
    assert_eq!(kept["/delay/1001"], (1, "slower_than".to_owned()));
    // Nothing takes so long, however slow the machine.
    let kept = kept_under(&configuration.replace("1000", "600000"), &Http::One, calls).await?;
    assert_eq!(kept, BTreeMap::new());
    Ok(())
}

#[tokio::test]
async fn what_is_slow_differs_from_path_to_path() -> Result<()> {
    let configuration = configuration("slow search")?;
    let calls = vec![
        (Call::get("/search/delay/1001"), 1),
        (Call::get("/reports/delay/1001"), 1),
        (Call::get("/delay/201"), 1),
    ];
    // What has no delay may be slow all the same: it depends on the machine.
    let of_delays = |mut kept: BTreeMap<String, (usize, String)>| {
        kept.retain(|path, _| path.contains("/delay/"));
        kept
    };
    let kept = kept_under(&configuration, &Http::One, calls.clone()).await?;
    // The trace's randomness reaches a half.
    let slow = [("/delay/201", 1, "slow"), ("/search/delay/1001", 1, "slow search")];
    assert_eq!(of_delays(kept), expected(&slow));
    // Nothing takes longer than this: no other rule has a search.
    let patient = configuration.replace("1000", "600000");
    let kept = kept_under(&patient, &Http::One, calls).await?;
    assert_eq!(of_delays(kept), expected(&[("/delay/201", 1, "slow")]));
    let stage = stage(&configuration).await?;
    let half = ["80000000000000", "7fffffffffffff"].map(|randomness| {
        let traceparent = format!("00-4bf92f3577b34da6a3{randomness}-00f067aa0ba902b7-00");
        (Call::get("/delay/201").header("traceparent", traceparent), 1)
    });
    for (call, _) in &half {
        assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
    }
    assert_eq!(kept_in_the_end(&stage, &half).await?["/delay/201"], 1, "one in two");
    Ok(())
}

#[tokio::test]
async fn a_route_is_slow_after_a_time_of_its_own() -> Result<()> {
    let calls = vec![
        (Call::get("/users/1600/orders"), 1),
        (Call::get("/users/1/orders"), 1),
        (Call::get("/delay/1600"), 1),
    ];
    let kept = kept_by_rules("slow orders", &Http::One, calls).await?;
    assert_eq!(kept, expected(&[("/users/1600/orders", 1, "slow orders")]));
    Ok(())
}

#[tokio::test]
async fn a_tenth_of_what_was_throttled_is_kept() -> Result<()> {
    let stage = stage(&configuration("\"throttled\"")?).await?;
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let randomness = (1_u64 << 56) / 100 * number;
            let trace = format!("00-4bf92f3577b34da6a3{randomness:014x}-00f067aa0ba902b7-00");
            (Call::get("/status/429").header("traceparent", trace), 1)
        })
        .collect();
    for (call, _) in &calls {
        assert_eq!(call.send(&Http::One, stage.port()).await?.status, 429);
    }
    assert_eq!(kept_in_the_end(&stage, &calls).await?["/status/429"], 10);
    for span in stage.collector.spans() {
        assert_eq!(span.span.trace_state, "ot=th:e666");
        assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("throttled"));
    }
    Ok(())
}

#[tokio::test]
async fn failures_of_one_tenant_are_kept() -> Result<()> {
    let of = |path: &str, tenant: &str| (Call::get(path).header("x-tenant", tenant), 2);
    let calls = vec![
        of("/status/404", "acme"),
        of("/status/503", "acme"),
        of("/", "acme"),
        of("/status/400", "other"),
        (Call::get("/status/500"), 2),
    ];
    let kept = kept_by_rules("acme failed", &Http::One, calls).await?;
    let rule = "acme failed";
    assert_eq!(kept, expected(&[("/status/404", 2, rule), ("/status/503", 2, rule)]));
    Ok(())
}

#[tokio::test]
async fn requests_with_a_debug_header_are_kept() -> Result<()> {
    let calls = vec![
        (Call::get("/debug").header("x-debug", "on"), 2),
        (Call::get("/off").header("x-debug", "off"), 2),
        (Call::get("/status/503"), 2),
    ];
    let kept = kept_by_rules("x-debug", &Http::One, calls).await?;
    assert_eq!(kept, expected(&[("/debug", 2, "debug")]));
    Ok(())
}

#[tokio::test]
async fn calls_that_ran_into_a_quota_are_kept() -> Result<()> {
    let calls = vec![
        (Call::grpc("/test.Echo/ResourceExhausted"), 2),
        (Call::grpc("/test.Echo/Internal"), 2),
        (Call::grpc("/test.Echo/NotFound"), 2),
        (Call::grpc("/test.Echo/Ok"), 2),
        (Call::get("/status/429"), 2),
    ];
    let kept = kept_by_rules("\"quota\"", &Http::Two, calls).await?;
    let paths = [("test.Echo/Internal", 2, "error"), ("test.Echo/ResourceExhausted", 2, "quota")];
    assert_eq!(kept, expected(&paths));
    Ok(())
}

#[tokio::test]
async fn requests_that_were_retried_are_kept() -> Result<()> {
    let calls = vec![(Call::get("/flaky/1"), 1), (Call::get("/status/503"), 2)];
    let kept = kept_by_rules("\"retried\"", &Http::One, calls).await?;
    assert_eq!(kept, expected(&[("/flaky/1", 1, "retried")]));
    Ok(())
}

/// A service that calls the upstream through its sidecar, and answers 200 whatever comes.
async fn swallowing(outbound: Arc<OnceLock<u16>>) -> Result<u16> {
    serve(move |request| {
        let outbound = outbound.get().copied();
        let traceparent = request.header("traceparent");
        async move {
            let call = Call::get(&request.path).header("traceparent", traceparent);
            call.send(&Http::One, outbound.context("a sidecar")?).await?;
            Ok(Answer { status: 200, headers: Vec::new() })
        }
    })
    .await
}

#[tokio::test]
async fn each_proxy_keeps_what_failed_behind_a_service() -> Result<()> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let outbound = Arc::default();
    let service = swallowing(Arc::clone(&outbound)).await?;
    let to_upstream = json!({"match": {"prefix": "/"}, "route": {"cluster": "outside"}});
    let sidecar = Bootstrap::edge(service, collector.port())?
        .filter("ingress", &configuration("tell_caller")?)?
        .cluster("outside", upstream.port())?
        .copy_listener("ingress", "outbound")?
        .listener_part("outbound", "traffic_direction", json!("OUTBOUND"))?
        .routes("outbound", vec![to_upstream])?;
    let sidecar = Envoy::start(sidecar).await?;
    outbound.set(sidecar.port("outbound")).ok().context("set once")?;
    let edge = Bootstrap::edge(sidecar.port("ingress"), collector.port())?
        .filter("ingress", &configuration(r#"{"callee_kept": {}}"#)?)?;
    let edge = Envoy::start(edge).await?;
    let other = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let calls = [unsampled(Call::get("/status/503")), Call::get("/").header("traceparent", other)];
    for call in calls {
        let reply = call.send(&Http::One, edge.port("ingress")).await?;
        assert_eq!(reply.status, 200, "the service has answered");
        assert_eq!(reply.headers.get("server-timing"), None, "strangers are told nothing");
    }
    Counters::at_rest(edge.admin_port(), 2).await?;
    Counters::at_rest(sidecar.admin_port(), 4).await?;
    let spans = collector.take_spans();
    let mut parent = "00f067aa0ba902b7".to_owned();
    for (rule, state) in [("callee_kept", ""), ("callee_kept", ""), ("error", "ot=th:0")] {
        let span = spans.iter().find(|span| span.parent_id() == parent).context("a chain")?;
        assert_eq!(span.text("envoy.keep_rule").as_deref(), Some(rule));
        assert_eq!(span.span.trace_state, state, "it says what it stands for");
        parent = span.span_id();
    }
    assert_eq!(spans.len(), 3, "of what went well there is none");
    let told = unsampled(Call::get("/status/503"));
    let told = told.send(&Http::One, sidecar.port("outbound")).await?;
    let line = told.headers.get("server-timing").context("the caller is told")?.to_str()?;
    assert!(page()?.contains(&format!("\nserver-timing: {line}\n")), "the page has {line}");
    assert_eq!([edge.complaints(), sidecar.complaints()], [const { Vec::<String>::new() }; 2]);
    Ok(())
}

#[tokio::test]
async fn no_more_is_kept_than_the_limit() -> Result<()> {
    const COUNT: u64 = 4000;
    let stage = stage(&configuration("max_spans_per_second")?).await?;
    let start = Instant::now();
    load(stage.port(), "/status/503", usize::try_from(COUNT)?, 8).await?;
    let took = start.elapsed().as_secs();
    let counters = stage.at_rest_by_rules(&Http::One, COUNT).await?;
    let of = |name: &str| counters.get(name).copied().unwrap_or_default();
    assert_eq!(of("span.sampled") + of("span.limited.outcome"), COUNT, "each is counted");
    let kept = of("span.kept_by_rule");
    assert!((100..=100 * (took + 2)).contains(&kept), "{kept} in {took} s");
    assert!(bounds(COUNT, 0.01).contains(&usize::try_from(of("span.sampled") - kept)?));
    let by_rules = |span: &Span| span.text("envoy.keep_rule").is_some();
    let spans = stage.collector.spans();
    let states = spans.iter().filter(|span| by_rules(span)).map(|it| it.span.trace_state.as_str());
    let states: BTreeMap<_, u64> = states.fold(BTreeMap::new(), |mut states, state| {
        *states.entry(state).or_default() += 1;
        states
    });
    assert!(states["ot=th:0"] >= 100, "before the first was let go: {states:?}");
    assert_eq!(states.values().sum::<u64>(), kept);
    assert!(states.keys().all(|state| ["", "ot=th:0"].contains(state)), "{states:?}");
    Ok(())
}

#[tokio::test]
async fn an_operator_has_a_request_kept_and_explained() -> Result<()> {
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let variables = yaml("FORCE_SECRET")?["vm_config"]["environment_variables"].clone();
    let edge = Bootstrap::edge(upstream.port(), collector.port())?
        .filter("ingress", &configuration("FORCE_SECRET")?)?
        .wasm("ingress", "/config/vm_config", "environment_variables", variables)?;
    let (force, explain) = ("known to operators", "0123456789abcdef");
    let secrets = [("FORCE_SECRET", force), ("EXPLAIN_SECRET", explain)];
    let envoy = Envoy::with_environment(edge, &secrets).await?;
    let page = page()?;
    let forced = |call: Call| call.header("x-trace-this", force);
    let why = |call: Call| call.header("x-trace-why", explain);
    let get = || Call::get("/");
    let cases = [
        (forced(get()), true, false, "a new trace"),
        (why(unsampled(get())), false, true, "why it is let go"),
        (why(forced(unsampled(get()))), true, true, "both"),
        (unsampled(get()).header("x-trace-this", explain), false, false, "another secret"),
        (unsampled(get()).header("x-trace-why", force), false, false, "the other way round"),
        (forced(unsampled(forced(get()))), false, false, "twice"),
    ];
    for (sent, (call, is_kept, is_told, reason)) in (1..).zip(cases) {
        let reply = call.send(&Http::One, envoy.port("ingress")).await?;
        let line = reply.headers.get("x-otel-sampling").map(|it| it.to_str()).transpose()?;
        assert_eq!(line.is_some(), is_told, "{reason}");
        if let Some(line) = line {
            let line = format!("\nx-otel-sampling: {line}\n");
            assert!(page.contains(&line), "{reason}: the page has {line}");
        }
        Counters::at_rest(envoy.admin_port(), sent).await?;
        let spans = collector.take_spans();
        assert_eq!(spans.len(), usize::from(is_kept), "{reason}");
        for span in spans {
            assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("force"), "{reason}");
            assert_eq!(span.span.trace_state, "ot=th:0", "{reason}");
            let seen = upstream.last();
            assert_eq!(seen.header("x-trace-this"), force, "the header goes on, as the page says");
            let sent = seen.header("traceparent");
            let is_sampled = sent.ends_with("-01") || sent.ends_with("-03");
            assert!(is_sampled, "those who follow keep it, too: {sent}");
        }
    }
    assert_eq!(envoy.complaints(), Vec::<String>::new());
    Ok(())
}

/// A sampled request of one of a hundred traces, whose randomness is spread evenly.
fn strange(number: u64) -> Call {
    let randomness = (1_u64 << 56) / 100 * number;
    let trace = format!("4bf92f3577b34da6a3{randomness:014x}");
    Call::get("/").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
}

#[tokio::test]
async fn strangers_do_not_decide_at_the_edge() -> Result<()> {
    let stage = stage(&configuration(r#""incoming": "restart""#)?).await?;
    let calls: Vec<_> = (0..600)
        .map(|number| (strange(number % 100).header("tracestate", "ot=rv:ffffffffffffff"), 1))
        .collect();
    let kept = kept(&stage, &calls).await?["/"];
    assert!(bounds(600, 0.1).contains(&kept), "{kept} of 600");
    for span in stage.collector.spans() {
        assert_eq!(span.parent_id(), "", "a root");
        assert!(!span.trace_id().starts_with("4bf92f35"), "of a trace of its own");
    }
    Ok(())
}

/// A rule asks for the kind of a span: the direction of the listener says it.
#[tokio::test]
async fn kinds_are_those_of_the_listener() -> Result<()> {
    let rule = json!({"span_kinds": ["client"], "sampler": {"always_on": {}}});
    let rules = json!({"rule_based": {"rules": [rule]}});
    let configuration = json!({"tracer_provider": {"sampler": {"composite/development": rules}}});
    for (direction, expected) in [("INBOUND", 0), ("OUTBOUND", 1)] {
        let stage = Stage::start(|edge| {
            edge.filter("ingress", &configuration.to_string())?.listener_part(
                "ingress",
                "traffic_direction",
                json!(direction),
            )
        })
        .await?;
        assert_eq!(Call::get("/").send(&Http::One, stage.port()).await?.status, 200);
        let counters = stage.at_rest(1).await?;
        assert_eq!(counters["span.sampled"], expected, "{direction}");
    }
    Ok(())
}
