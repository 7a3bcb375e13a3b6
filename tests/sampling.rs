//! The configurations of docs/sampling.md, on a real Envoy: which requests each of them keeps.

mod binomial;

use anyhow::{Context, Result};
use binomial::bounds;
use harness::client::{Call, Http};
use harness::{Bootstrap, Stage};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Those of the page, in its order.
fn configurations() -> Result<Vec<String>> {
    let page = std::fs::read_to_string(harness::root().join("docs/sampling.md"))?;
    let blocks = page.split("```").skip(1).step_by(2);
    Ok(blocks.filter_map(|block| block.strip_prefix("json\n")).map(str::to_owned).collect())
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
        let mut edge = edge.route("ingress", flaky)?;
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
    assert_eq!(all.len(), 16, "each of them has a test");
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
    let stage = stage(&configuration(text)?).await?;
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
    let calls = vec![(Call::get("/delay/1001"), 1), (Call::get("/status/503"), 3)];
    let kept = kept_by_rules(r#"{"keep": [{"slower_than": 1000}]}"#, &Http::One, calls).await?;
    assert_eq!(kept, expected(&[("/delay/1001", 1, "slower_than")]));
    Ok(())
}

#[tokio::test]
async fn what_is_slow_differs_from_path_to_path() -> Result<()> {
    let calls = vec![
        (Call::get("/search/delay/300"), 1),
        (Call::get("/search/delay/1001"), 1),
        (Call::get("/reports/delay/1001"), 1),
        (Call::get("/delay/201"), 1),
    ];
    let kept = kept_by_rules("slow search", &Http::One, calls).await?;
    // The trace's randomness reaches a half.
    let slow = [("/delay/201", 1, "slow"), ("/search/delay/1001", 1, "slow search")];
    assert_eq!(kept, expected(&slow));
    let stage = stage(&configuration("slow search")?).await?;
    let half = ["80000000000000", "7fffffffffffff"].map(|randomness| {
        let traceparent = format!("00-4bf92f3577b34da6a3{randomness}-00f067aa0ba902b7-00");
        (Call::get("/delay/201").header("traceparent", traceparent), 1)
    });
    for (call, _) in &half {
        assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
    }
    let kept = kept_in_the_end(&stage, &half).await?;
    assert_eq!(kept, BTreeMap::from([("/delay/201".to_owned(), 1)]), "one in two");
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

/// A sampled request of one of a hundred traces, whose randomness is spread evenly.
fn strange(number: u64) -> Call {
    let randomness = (1_u64 << 56) / 100 * number;
    let trace = format!("4bf92f3577b34da6a3{randomness:014x}");
    Call::get("/").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
}

#[tokio::test]
async fn strangers_do_not_decide_at_the_edge() -> Result<()> {
    let configuration = configuration(r#"{"sampler": {"trace_id_ratio_based": {"ratio": 0.1}}}"#)?;
    let stage = stage(&configuration).await?;
    let calls: Vec<_> = (0..100).map(|number| (strange(number), 1)).collect();
    assert_eq!(kept(&stage, &calls).await?["/"], 10, "whatever their flag is");
    Ok(())
}

#[tokio::test]
async fn strangers_do_not_choose_the_trace_where_their_headers_are_removed() -> Result<()> {
    const KEY: &str = "early_header_mutation_extensions";
    let page = std::fs::read_to_string(harness::root().join("docs/sampling.md"))?;
    let block = page.split("```yaml\n").nth(1).and_then(|it| it.split("```").next());
    let pasted: Value = serde_yaml_ng::from_str(block.context("a block")?)?;
    let stage =
        Stage::start(|edge| edge.connection_manager("ingress", KEY, pasted[KEY].clone())).await?;
    let call = strange(7).header("tracestate", "ot=rv:ffffffffffffff");
    assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
    let span = stage.collector.wait_for_spans(1).await?.remove(0);
    assert_eq!((span.parent_id().as_str(), span.span.trace_state.as_str()), ("", ""));
    assert!(!span.trace_id().starts_with("4bf92f35"), "a trace of its own");
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
