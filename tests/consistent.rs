//! Proxies in a row that keep different shares: what each of them keeps, sends on, and says that it stands for.
//!
//! Three listeners of one Envoy call each other. What goes on from each stands in its access log, what it keeps in its spans.

use anyhow::{Context, Result};
use harness::client::{Call, Connection, Http};
use harness::{Bootstrap, Envoy, Receiver, Span, Stage, Upstream, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How a proxy decides.
#[derive(Clone, Copy, Debug)]
enum Proxy {
    /// By a share, whatever came.
    Share(Share),
    /// As the caller did; by a share where a trace begins.
    Follows(Share),
}

/// A ratio, and the threshold that it is.
type Share = (f64, &'static str);

const HALF: Share = (0.5, "8");
const FIFTH: Share = (0.2, "cccd");
const TWENTIETH: Share = (0.05, "f3333");

/// Which set of kept requests lies within which.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nested {
    /// Each within the one before.
    Shrinks,
    /// Each within the one after.
    Grows,
    Same,
}

struct Chain {
    proxies: [Proxy; 3],
    nested: Nested,
}

fn chains() -> Vec<Chain> {
    use Proxy::{Follows, Share};
    let chain = |proxies, nested| Chain { proxies, nested };
    vec![
        chain([Share(HALF), Share(FIFTH), Share(TWENTIETH)], Nested::Shrinks),
        chain([Share(TWENTIETH), Share(FIFTH), Share(HALF)], Nested::Grows),
        chain([Follows(HALF), Follows(FIFTH), Follows(TWENTIETH)], Nested::Same),
        chain([Follows(TWENTIETH), Follows(FIFTH), Follows(HALF)], Nested::Same),
        chain([Share(HALF), Follows(TWENTIETH), Share(FIFTH)], Nested::Shrinks),
        chain([Share(TWENTIETH), Follows(HALF), Share(TWENTIETH)], Nested::Same),
    ]
}

/// The number of requests of each kind through each chain.
const EACH: u64 = 60;

/// A request, and the context that it comes with.
#[derive(Debug)]
struct Request {
    path: String,
    context: Option<Sent>,
}

/// The requests of a chain: without a context; with one, whose trace's randomness is that of its id, or is said. That of the latter two is
/// spread evenly over all that there is.
fn requests(chain: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    for number in 0..EACH {
        let spread = (1_u64 << 56) / EACH * number;
        let with = |kind: &str, id: u64, state: String| Request {
            path: format!("/{chain}/{kind}/{number}"),
            context: Some(Sent {
                trace_id: format!("4bf92f3577b34da6a{chain}{id:014x}"),
                span_id: "00f067aa0ba902b7".to_owned(),
                flags: 1,
                state,
            }),
        };
        requests.push(Request { path: format!("/{chain}/none/{number}"), context: None });
        requests.push(with("id", spread, "a=1,ot=x:y,b=2".to_owned()));
        requests.push(with("said", number, format!("a=1,ot=x:y;rv:{spread:014x};z:1,b=2")));
    }
    requests
}

impl Request {
    fn call(&self) -> Call {
        let call = Call::get(&self.path);
        let Some(Sent { trace_id, span_id, flags, state }) = &self.context else { return call };
        let parent = format!("00-{trace_id}-{span_id}-{flags:02x}");
        call.header("traceparent", parent).header("tracestate", state)
    }
}

fn name(chain: usize, proxy: usize) -> String {
    format!("chain {chain} proxy {proxy}")
}

fn configuration(name: &str, proxy: Proxy) -> String {
    let probability = |(ratio, _): Share| json!({"probability": {"ratio": ratio}});
    let sampler = match proxy {
        Proxy::Share(share) => probability(share),
        Proxy::Follows(share) => json!({"parent_threshold": {"root": probability(share)}}),
    };
    json!({
        "resource": {"attributes": [{"name": "service.name", "value": name}]},
        "tracer_provider": {"sampler": {"composite/development": sampler}, "processors": [{"batch": {
            "schedule_delay": 50, "exporter": {"otlp_http": null},
        }}]},
    })
    .to_string()
}

/// Adds the listeners of a chain, each of which calls the next one, and the last one the upstream.
fn with_chain(mut edge: Bootstrap, chain: usize, proxies: &[Proxy]) -> Result<Bootstrap> {
    let mut next = "upstream".to_owned();
    for (number, proxy) in proxies.iter().enumerate().rev() {
        let name = name(chain, number);
        let log = json!([{"name": "envoy.access_loggers.stdout", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": {
                "proxy": name, "path": "%REQ(:PATH)%",
                "traceparent": "%REQ(TRACEPARENT)%", "tracestate": "%REQ(TRACESTATE)%",
            }},
        }}]);
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": next}});
        edge = edge
            .copy_listener("ingress", &name)?
            .filter(&name, &configuration(&name, *proxy))?
            .connection_manager(&name, "access_log", log)?
            .routes(&name, vec![route])?;
        let port = edge.port(&name);
        edge = edge.cluster(&name, port)?;
        next = name;
    }
    Ok(edge)
}

/// What a proxy has sent on, or a client.
#[derive(Clone, Debug)]
struct Sent {
    trace_id: String,
    span_id: String,
    flags: u8,
    state: String,
}

impl Sent {
    fn read(traceparent: &str, tracestate: &str) -> Result<Self> {
        let parts: Vec<_> = traceparent.split('-').collect();
        let [_, trace_id, span_id, flags] = parts.as_slice() else {
            anyhow::bail!("no context: {traceparent}")
        };
        let (trace_id, span_id) = ((*trace_id).to_owned(), (*span_id).to_owned());
        let flags = u8::from_str_radix(flags, 16)?;
        Ok(Self { trace_id, span_id, flags, state: tracestate.to_owned() })
    }

    fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    fn members(&self) -> impl Iterator<Item = &str> {
        self.state.split(',').filter(|it| !it.is_empty())
    }

    /// The members that are none of ours.
    fn others(&self) -> Vec<&str> {
        self.members().filter(|it| !it.starts_with("ot=")).collect()
    }

    fn sub_keys(&self) -> BTreeMap<&str, &str> {
        let ours = self.members().find_map(|it| it.strip_prefix("ot=")).unwrap_or_default();
        ours.split(';').filter_map(|pair| pair.split_once(':')).collect()
    }

    fn threshold(&self) -> Option<u64> {
        self.sub_keys().get("th").map(|digits| threshold(digits))
    }

    fn randomness(&self) -> u64 {
        let said = self.sub_keys().get("rv").map(|digits| (*digits).to_owned());
        let digits = said.unwrap_or_else(|| self.trace_id[18..].to_owned());
        u64::from_str_radix(&digits, 16).expect("14 digits")
    }
}

/// Fourteen digits, of which zeros at the end are left out.
fn threshold(digits: &str) -> u64 {
    u64::from_str_radix(&format!("{digits:0<14}"), 16).expect("hexadecimal")
}

/// Whether a proxy keeps a request that came so, and with what threshold.
fn expected(proxy: Proxy, came: Option<&Sent>, randomness: u64) -> (bool, Option<u64>) {
    let by = |limit: u64| (randomness >= limit, (randomness >= limit).then_some(limit));
    match (proxy, came) {
        (Proxy::Share((_, digits)), _) | (Proxy::Follows((_, digits)), None) => {
            by(threshold(digits))
        }
        // Who sends none is followed by its flag, and nothing is claimed.
        (Proxy::Follows(_), Some(came)) => came.threshold().map_or((came.is_sampled(), None), by),
    }
}

/// Holds what a proxy sends on against what came to it.
fn check(proxy: Proxy, came: Option<&Sent>, next: &Sent, reason: &str) {
    let (keeps, threshold) = expected(proxy, came, next.randomness());
    assert_eq!(next.is_sampled(), keeps, "{reason}");
    assert_eq!(next.threshold(), threshold, "{reason}");
    if let Some(came) = came {
        assert_eq!(next.trace_id, came.trace_id, "{reason}");
        assert_eq!(next.others(), came.others(), "other members: {reason}");
        let but_th = |sent: &Sent| -> BTreeMap<String, String> {
            let others = sent.sub_keys().into_iter().filter(|(key, _)| *key != "th");
            others.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        assert_eq!(but_th(next), but_th(came), "rv and other sub-keys: {reason}");
    }
}

/// What each proxy sent on of each path, as soon as all is logged.
async fn sent(stage: &Stage, count: usize) -> Result<BTreeMap<(String, String), Sent>> {
    let poll = || async {
        let log = stage.envoy.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["proxy"].is_string()).collect();
        (lines.len() >= count).then_some(lines)
    };
    let mut sent = BTreeMap::new();
    for line in wait_for("the access logs", poll).await? {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let context = Sent::read(&text("traceparent"), &text("tracestate"))?;
        sent.insert((text("proxy"), text("path")), context);
    }
    assert_eq!(sent.len(), count, "one line of each");
    Ok(sent)
}

/// The span of each proxy and path.
fn spans(stage: &Stage) -> Result<BTreeMap<(String, String), Span>> {
    let mut spans = BTreeMap::new();
    for span in stage.collector.spans() {
        let name = span.resource_text("service.name").context("a name")?;
        let path = span.text("url.path").context("a path")?;
        assert!(spans.insert((name, path), span).is_none(), "one span of each");
    }
    Ok(spans)
}

#[tokio::test]
async fn proxies_in_a_row_keep_nested_sets_and_say_what_they_stand_for() -> Result<()> {
    let chains = chains();
    let (upstream, collector) = (Upstream::start().await?, Receiver::start().await?);
    let edge = Bootstrap::edge(upstream.port(), collector.port())?;
    let numbered = || chains.iter().enumerate();
    let edge = numbered()
        .try_fold(edge, |edge, (number, chain)| with_chain(edge, number, &chain.proxies))?;
    let soon = ["--file-flush-interval-msec", "50"];
    let envoy = Envoy::with_arguments(edge, 1, &soon).await?;
    let stage = Stage { envoy, upstream, collector };
    let requests: Vec<_> = (0..chains.len()).map(requests).collect();
    for (number, requests) in requests.iter().enumerate() {
        let port = stage.envoy.port(&name(number, 0));
        let mut connection = Connection::open(&Http::One, port).await?;
        for request in requests {
            assert_eq!(connection.send(&request.call()).await?.status, 200);
        }
    }
    let passed = 3 * requests.iter().map(Vec::len).sum::<usize>();
    stage.at_rest(passed as u64).await?;
    let (sent, spans) = (sent(&stage, passed).await?, spans(&stage)?);

    for ((number, Chain { proxies, nested }), requests) in numbered().zip(&requests) {
        let mut kept = [const { BTreeSet::new() }; 3];
        for Request { path, context } in requests {
            let mut came = context.as_ref();
            for (place, proxy) in proxies.iter().enumerate() {
                let key = (name(number, place), path.clone());
                let next = &sent[&key];
                let reason = format!("{key:?}, {proxy:?}: {came:?}, then {next:?}");
                check(*proxy, came, next, &reason);
                let thresholds = next.threshold().zip(came.and_then(Sent::threshold));
                // A share that does not follow says its own (TraceState: Probability Sampling, section "Sampling base cases").
                let may_be_lower = *nested == Nested::Grows;
                assert!(
                    thresholds.is_none_or(|(now, before)| now >= before || may_be_lower),
                    "{reason}"
                );
                let span = spans.get(&key);
                assert_eq!(span.is_some(), next.is_sampled(), "{reason}");
                if let Some(span) = span {
                    assert_eq!(span.span.trace_state, next.state, "{reason}");
                    let ids = (span.trace_id(), span.span_id());
                    assert_eq!(ids, (next.trace_id.clone(), next.span_id.clone()), "{reason}");
                    kept[place].insert(path);
                }
                came = Some(next);
            }
        }
        let [first, second, third] = &kept;
        let holds = match nested {
            Nested::Shrinks => third.is_subset(second) && second.is_subset(first),
            Nested::Grows => first.is_subset(second) && second.is_subset(third),
            Nested::Same => first == second && second == third,
        };
        assert!(holds, "{proxies:?}: {nested:?}, not {kept:#?}");
        assert!(kept.iter().all(|it| !it.is_empty()), "{proxies:?}: {kept:?}");
    }
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}
