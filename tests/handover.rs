//! Filters that come and go while their spans wait: nothing reaches another collector, what waits stays within bounds, and what is
//! lost is counted, and said.

#[path = "files/dynamic.rs"]
mod dynamic;

use anyhow::{Context, Result};
use dynamic::{Dynamic, ecds, replace};
use harness::receiver::Export;
use harness::{Answer, Counters, Receiver, Traffic, client, wait_for};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

/// What stands in the files.
const CONFIGURATION: &str = r#""envoy": {"cluster": "otel_collector"}"#;

/// The file's configuration of the filter with another one in its place, and other texts replaced.
fn filter(json: &str, others: &[(&str, &str)]) -> Result<String> {
    let text = replace(&ecds()?, CONFIGURATION, json)?;
    others.iter().try_fold(text, |text, (from, to)| replace(&text, from, to))
}

/// A number in the resource of spans.
fn numbered(number: u32) -> String {
    format!(r#""resource": {{"attributes_list": "number={number}"}}, {CONFIGURATION}"#)
}

async fn counters(dynamic: &Dynamic) -> Result<Counters> {
    Counters::read(dynamic.stage.envoy.admin_port()).await
}

#[tokio::test]
async fn reloads_while_the_collector_is_away_keep_what_waits_within_bounds() -> Result<()> {
    // What any of the two filters, the worker's and the main thread's, may hold, and what may wait between them.
    const BOUND: u64 = 4 * 2048;
    let dynamic = Dynamic::start().await?;
    dynamic.stage.collector.answer(Answer::Status(503));
    let traffic = Traffic::start(dynamic.port, "/", 4);
    let is_full = || async {
        let full = counters(&dynamic).await.ok()?.of("processor.span.dropped.queue_full");
        (full > 0).then_some(())
    };
    harness::wait_for("a full queue", is_full).await?;
    let before = harness::resident(dynamic.stage.envoy.id().context("Envoy runs")?)?;
    let mut most = 0;
    let mut memory = Vec::new();
    for number in 1..=100 {
        dynamic.change(CONFIGURATION, &numbered(number))?;
        dynamic.wait_for("update_success", u64::from(number) + 1).await?;
        most = most.max(counters(&dynamic).await?.of("exporter.span.queued"));
        if number % 10 == 0 {
            memory.push(harness::resident(dynamic.stage.envoy.id().context("Envoy runs")?)?);
        }
    }
    assert!(most <= BOUND, "{most} spans wait");
    let grown = memory[memory.len() - 1].saturating_sub(before) >> 20;
    assert!(grown < 16, "{grown} MiB: {before}, then {memory:?}");
    dynamic.stage.collector.answer(Answer::Ok);
    let codes = traffic.stop().await?;
    let requests = codes[&200];
    assert_eq!(codes.len(), 1, "no request failed: {codes:?}");
    let counters = Counters::at_rest(dynamic.stage.envoy.admin_port(), requests).await?;
    let (exported, full) =
        (counters.of("exporter.span.exported"), counters.of("processor.span.dropped.queue_full"));
    let given_up = counters.of("exporter.span.failed.unavailable");
    let shutdown = counters.of("processor.span.dropped.shutdown");
    assert_eq!(exported + full + given_up + shutdown, requests, "{counters:#?}");
    assert_eq!(dynamic.stage.collector.spans().len() as u64, exported, "each once");
    Ok(())
}

fn has_key(export: &Export, key: &str) -> bool {
    export.headers.get("api-key").is_some_and(|it| it == key)
}

/// How many spans are on their way or wait.
fn waiting(counters: &Counters) -> u64 {
    counters.of("exporter.span.queued") + counters.of("exporter.span.inflight")
}

/// A second filter beside the file's, whose spans go to another cluster under another key.
struct Two {
    dynamic: Dynamic,
    other: Receiver,
    other_port: u16,
    /// How many there were.
    requests: Cell<u64>,
}

const KEY: &str = r#""tracer_provider": {"processors": [{"batch": {"schedule_delay": 100, "exporter": {"otlp_http": {"headers": [{"name": "api-key", "value": "KEY"}]}}}}]}, "envoy": {"cluster": "CLUSTER"}"#;

fn keyed(key: &str, cluster: &str, number: u32) -> String {
    let resource = format!(r#""resource": {{"attributes_list": "number={number}"}}, "#);
    resource + &KEY.replace("KEY", key).replace("CLUSTER", cluster)
}

/// A whole configuration of that filter; the file's has a sampler of its own.
fn of_filter(name: &str, key: &str, cluster: &str, number: u32) -> Result<String> {
    let text = ecds()?;
    let (before, after) = text.split_once("value: |").context("the value")?;
    let (_, after) = after.split_once("        vm_config:").context("what follows")?;
    let before =
        replace(before, "    name: otel\n    typed", &format!("    name: {name}\n    typed"))?;
    Ok(format!(
        "{before}value: |\n            {{{}}}\n        vm_config:{after}",
        keyed(key, cluster, number)
    ))
}

impl Two {
    async fn start() -> Result<Self> {
        let (other, other_port) = (Receiver::start().await?, harness::free_port()?);
        let port = other.port();
        let dynamic =
            Dynamic::changed(1, &["--drain-time-s", "1"], |it| it.cluster("other_collector", port))
                .await?;
        let two = Self { dynamic, other, other_port, requests: Cell::default() };
        two.dynamic.write("ecds.yaml", &of_filter("otel", "one", "otel_collector", 0)?)?;
        two.dynamic.write("other.yaml", &of_filter("other", "two", "other_collector", 0)?)?;
        two.dynamic.write("lds.yaml", &two.both()?)?;
        two.serves(two.dynamic.port, &two.dynamic.stage.collector, "one").await?;
        two.serves(other_port, &two.other, "two").await?;
        Ok(two)
    }

    /// Waits until the filter of a listener delivers under this key. The receiver forgets the spans of the requests for that.
    async fn serves(&self, port: u16, receiver: &Receiver, key: &str) -> Result<()> {
        let delivers = || async {
            client::get(port, "/probe").await.ok()?;
            self.requests.set(self.requests.get() + 1);
            receiver.exports().iter().any(|it| has_key(it, key)).then_some(())
        };
        wait_for(&format!("a filter with the key {key}"), delivers).await?;
        self.delivered(0).await?;
        receiver.clear();
        Ok(())
    }

    /// Waits until so many more requests are delivered.
    async fn delivered(&self, requests: u64) -> Result<()> {
        self.requests.set(self.requests.get() + requests);
        let (admin, all) = (self.dynamic.stage.envoy.admin_port(), self.requests.get());
        let counters = Counters::at_rest(admin, all).await?;
        assert_eq!(counters.of("exporter.span.exported"), all, "none is lost: {counters:#?}");
        Ok(())
    }

    /// Both listeners.
    fn both(&self) -> Result<String> {
        let one = self.dynamic.listeners()?;
        let (_, listener) = one.split_once("resources:\n").context("resources")?;
        let port = format!("port_value: {}", self.dynamic.port);
        let second = replace(listener, &port, &format!("port_value: {}", self.other_port))?;
        let second = replace(&second, "name: ingress\n", "name: other\n")?;
        let second = replace(&second, "- name: otel\n", "- name: other\n")?;
        let second = replace(&second, "ecds.yaml", "other.yaml")?;
        Ok(one + &second)
    }
}

#[tokio::test]
async fn spans_never_reach_another_filters_collector() -> Result<()> {
    let two = Two::start().await?;
    let (dynamic, other) = (&two.dynamic, &two.other);
    dynamic.stage.collector.answer(Answer::Slow(Duration::from_millis(100)));
    other.answer(Answer::Slow(Duration::from_millis(100)));
    let traffic =
        [Traffic::start(dynamic.port, "/one", 2), Traffic::start(two.other_port, "/two", 2)];
    for number in 1..=20 {
        // By turns only one of them, so that the other one is there to take what it should not.
        if number % 2 == 0 {
            dynamic.write("ecds.yaml", &of_filter("otel", "one", "otel_collector", number)?)?;
        } else {
            dynamic.write("other.yaml", &of_filter("other", "two", "other_collector", number)?)?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut requests = 0;
    for traffic in traffic {
        let codes = traffic.stop().await?;
        assert_eq!(codes.keys().collect::<Vec<_>>(), [&200], "no request failed: {codes:?}");
        requests += codes[&200];
    }
    two.delivered(requests).await?;
    for (receiver, path, key) in [(&dynamic.stage.collector, "/one", "one"), (other, "/two", "two")]
    {
        let mut paths: BTreeMap<String, usize> = BTreeMap::new();
        for span in receiver.spans() {
            *paths.entry(span.text("url.path").unwrap_or_default()).or_default() += 1;
        }
        assert_eq!(paths.keys().collect::<Vec<_>>(), [path], "its own alone: {paths:?}");
        let exports = receiver.exports();
        assert!(exports.iter().all(|it| has_key(it, key)), "each under its own key");
    }
    Ok(())
}

#[tokio::test]
async fn what_has_another_destination_now_is_delivered_before_the_filter_goes() -> Result<()> {
    let two = Two::start().await?;
    let dynamic = &two.dynamic;
    client::load(dynamic.port, "/before", 20, 2).await?;
    // The key has changed: nobody else may deliver them.
    dynamic.write("ecds.yaml", &of_filter("otel", "new", "otel_collector", 1)?)?;
    let collector = &dynamic.stage.collector;
    let keys = || async {
        client::get(dynamic.port, "/after").await.ok()?;
        two.requests.set(two.requests.get() + 1);
        collector.exports().iter().any(|it| has_key(it, "new")).then_some(())
    };
    wait_for("the new key", keys).await?;
    two.delivered(20).await?;
    let mut before = 0;
    for export in collector.exports() {
        let spans = String::from_utf8_lossy(&export.body).matches("/before").count();
        assert!(spans == 0 || has_key(&export, "one"), "each under the key of its time");
        before += spans;
    }
    assert_eq!(before, 20, "all of them");
    Ok(())
}

#[tokio::test]
async fn a_key_that_changes_in_several_workers_at_once_loses_nothing() -> Result<()> {
    const REQUESTS: usize = 400;
    let dynamic = Dynamic::changed(4, &[], Ok).await?;
    let (collector, admin) = (&dynamic.stage.collector, dynamic.stage.envoy.admin_port());
    let keyed = |key: &str| {
        // Several batches for each worker, and no worker has room for those of all.
        let small = r#""export_timeout": 0, "max_export_batch_size": 20, "max_queue_size": 240, "schedule_delay""#;
        let json = of_filter("otel", key, "otel_collector", 0)?;
        let json = replace(&json, r#""schedule_delay""#, small)?;
        // An answer that is held is in time.
        replace(&json, r#""headers": ["#, r#""timeout": 0, "headers": ["#)
    };
    dynamic.write("ecds.yaml", &keyed("0")?)?;
    dynamic.wait_for("update_success", 2).await?;
    let troubles = [Answer::Held, Answer::Status(503), Answer::Held, Answer::Status(503)];
    let mut delivered = 0;
    for (number, trouble) in (0_u64..).zip(troubles) {
        collector.answer(trouble);
        let path = format!("/{number}");
        client::load(dynamic.port, &path, REQUESTS, 64).await?;
        delivered += REQUESTS as u64;
        let started = |it: &Counters| waiting(it) > 0 && it.of("span.started") == delivered;
        let poll = || async { counters(&dynamic).await.ok().filter(started) };
        wait_for("spans that wait", poll).await?;
        dynamic.write("ecds.yaml", &keyed(&(number + 1).to_string())?)?;
        dynamic.wait_for("update_success", number + 3).await?;
        collector.answer(Answer::Ok);
        let counters = Counters::at_rest(admin, delivered).await?;
        assert_eq!(counters.of("exporter.span.exported"), delivered, "{number}: {counters:#?}");
        for export in collector.exports() {
            assert!(has_key(&export, &number.to_string()), "{number}: under the key of its time");
        }
        assert_eq!(collector.spans().len(), REQUESTS, "{number}: each once");
        collector.clear();
    }
    Ok(())
}

#[tokio::test]
async fn a_filter_that_is_disabled_delivers_what_waits() -> Result<()> {
    let dynamic = Dynamic::changed(2, &[], Ok).await?;
    dynamic.stage.collector.answer(Answer::Status(503));
    client::load(dynamic.port, "/", 100, 8).await?;
    dynamic.change(CONFIGURATION, &format!(r#""disabled": true, {CONFIGURATION}"#))?;
    dynamic.wait_for("update_success", 2).await?;
    dynamic.stage.collector.answer(Answer::Ok);
    let counters = Counters::at_rest(dynamic.stage.envoy.admin_port(), 100).await?;
    assert_eq!(counters.of("exporter.span.exported"), 100, "none is lost: {counters:#?}");
    assert_eq!(dynamic.stage.collector.spans().len(), 100, "each once");
    client::load(dynamic.port, "/after", 10, 2).await?;
    dynamic.change(CONFIGURATION, &numbered(1))?;
    dynamic.wait_for("update_success", 3).await?;
    client::load(dynamic.port, "/again", 10, 2).await?;
    let counters = Counters::at_rest(dynamic.stage.envoy.admin_port(), 110).await?;
    assert_eq!(counters.of("exporter.span.exported"), 110, "enabled again: {counters:#?}");
    Ok(())
}

/// The log's lines that say how many spans were lost.
fn lost(dynamic: &Dynamic) -> usize {
    let log = dynamic.stage.envoy.log();
    let lines = log.lines().filter(|line| line.contains("were lost"));
    lines.filter_map(|line| line.split(": ").last()?.split(' ').next()?.parse::<usize>().ok()).sum()
}

#[tokio::test]
async fn what_goes_with_the_last_filter_is_said() -> Result<()> {
    let two = Two::start().await?;
    let dynamic = &two.dynamic;
    // Two filters of one name, whose VMs have other variables.
    let variables = "code: {local:";
    let with = "environment_variables: {key_values: {A: b}}\n          code: {local:";
    let json = of_filter("other", "two", "other_collector", 1)?;
    dynamic.write("other.yaml", &replace(&json, variables, with)?)?;
    dynamic.wait_for_filter("other", "update_success", 2).await?;
    client::load(dynamic.port, "/", 20, 1).await?;
    two.delivered(20).await?;
    dynamic.stage.collector.answer(Answer::Status(503));
    two.other.answer(Answer::Status(503));
    client::load(dynamic.port, "/", 30, 1).await?;
    client::load(two.other_port, "/", 21, 1).await?;
    let poll = || async { counters(dynamic).await.ok().filter(|it| waiting(it) == 51) };
    wait_for("all to wait", poll).await?;
    dynamic.write("lds.yaml", "resources: []\n")?;
    let poll = || async { (lost(dynamic) == 51).then_some(()) };
    wait_for("the log to say it", poll).await.with_context(|| dynamic.stage.envoy.log())?;
    let counters = counters(dynamic).await?;
    assert_eq!(waiting(&counters), 0, "nothing waits any more: {counters:#?}");
    Ok(())
}

#[tokio::test]
async fn a_new_configuration_of_the_vm_loses_nothing() -> Result<()> {
    let dynamic = Dynamic::start().await?;
    dynamic.stage.collector.answer(Answer::Status(503));
    client::load(dynamic.port, "/", 100, 2).await?;
    let vm = r#"vm_id: otel
          configuration: {"@type": type.googleapis.com/google.protobuf.StringValue, value: other}"#;
    dynamic.change("vm_id: otel", vm)?;
    dynamic.wait_for("update_success", 2).await?;
    client::load(dynamic.port, "/", 100, 2).await?;
    dynamic.stage.collector.answer(Answer::Ok);
    let counters = Counters::at_rest(dynamic.stage.envoy.admin_port(), 200).await?;
    assert_eq!(counters.of("exporter.span.exported"), 200, "none is lost: {counters:#?}");
    assert_eq!(dynamic.stage.collector.spans().len(), 200, "each once");
    Ok(())
}

#[tokio::test]
async fn variables_that_change_lose_nothing() -> Result<()> {
    let dynamic = Dynamic::start().await?;
    dynamic.stage.collector.answer(Answer::Status(503));
    client::load(dynamic.port, "/", 100, 2).await?;
    let with =
        "environment_variables: {key_values: {OTEL_SERVICE_NAME: other}}\n          code: {local:";
    dynamic.write("ecds.yaml", &filter(CONFIGURATION, &[("code: {local:", with)])?)?;
    dynamic.wait_for("update_success", 2).await?;
    dynamic.stage.collector.answer(Answer::Ok);
    let counters = Counters::at_rest(dynamic.stage.envoy.admin_port(), 100)
        .await
        .with_context(|| dynamic.stage.envoy.log())?;
    assert_eq!(counters.of("exporter.span.exported"), 100, "none is lost: {counters:#?}");
    Ok(())
}

#[tokio::test]
async fn what_finds_no_room_on_its_way_to_a_successor_is_said() -> Result<()> {
    const REQUESTS: usize = 2000;
    let dynamic = Dynamic::changed(4, &[], Ok).await?;
    let small = |number| {
        let bounds = r#"{"max_queue_bytes": 100000, "max_export_batch_bytes": 20000, "cluster""#;
        filter(&replace(&numbered(number), r#"{"cluster""#, bounds)?, &[])
    };
    dynamic.stage.collector.answer(Answer::Status(503));
    // The queues of four workers are full when they go, and what waits between filters may be no more than one of these.
    for number in 0..3 {
        dynamic.write("ecds.yaml", &small(number)?)?;
        dynamic.wait_for("update_success", u64::from(number) + 2).await?;
        client::load(dynamic.port, "/", REQUESTS, 64).await?;
    }
    dynamic.stage.collector.answer(Answer::Ok);
    let admin = dynamic.stage.envoy.admin_port();
    let counters = Counters::at_rest(admin, 3 * REQUESTS as u64).await?;
    let shutdown = counters.of("processor.span.dropped.shutdown");
    assert_eq!(lost(&dynamic) as u64, shutdown, "{}", dynamic.stage.envoy.log());
    Ok(())
}
