//! The configurations of docs/sampling.md, on a real Envoy: which requests each of them keeps.

use anyhow::{Context, Result};
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

/// An edge with a route of its own for `/checkout`.
async fn stage(configuration: &str) -> Result<Stage> {
    let routed = |edge: Bootstrap| {
        let route = json!({
            "name": "checkout", "match": {"prefix": "/checkout"}, "route": {"cluster": "upstream"},
        });
        edge.route("ingress", route)?.filter("ingress", configuration)
    };
    Stage::start(routed).await
}

/// Sends each call so often, and says how many spans there are of each path.
async fn kept(stage: &Stage, calls: &[(Call, u64)]) -> Result<BTreeMap<String, usize>> {
    for (call, times) in calls {
        for _ in 0..*times {
            assert_eq!(call.send(&Http::One, stage.port()).await?.status, 200);
        }
    }
    stage.at_rest(calls.iter().map(|(_, times)| times).sum()).await?;
    let mut kept = BTreeMap::new();
    for span in stage.collector.spans() {
        *kept.entry(span.text("url.path").context("a path")?).or_default() += 1;
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new());
    Ok(kept)
}

fn sampled(call: Call) -> Call {
    call.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}

/// The bounds that one in a billion of binomial draws misses: six standard deviations.
fn bounds(draws: u64, share: f64) -> std::ops::Range<usize> {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let (mean, variance) = (draws as f64 * share, draws as f64 * share * (1.0 - share));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of a few hundred")]
    let bound = |deviations: f64| (mean + deviations * variance.sqrt()).max(0.0) as usize;
    bound(-6.0)..bound(6.0) + 2
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
    assert_eq!(all.len(), 6, "each of them has a test");
    for (configuration, expected) in
        [("\"always_on\": {}}}}", 100..101), ("parent_based", bounds(100, 0.1))]
    {
        let stage = stage(&self::configuration(configuration)?).await?;
        let kept = kept(&stage, &[(Call::get("/"), 100)]).await?;
        let kept = kept.get("/").copied().unwrap_or_default();
        assert!(expected.contains(&kept), "{configuration}: {kept}");
    }
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
    let configuration = configuration(r#"{"sampler": {"trace_id_ratio_based""#)?;
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
