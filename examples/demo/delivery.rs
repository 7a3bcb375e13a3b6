//! Whether the spans have arrived: what the filter's counters in both Envoys say, and why not, as its log tells it.

use crate::lines::wrap;
use crate::proxies::{Proxies, Proxy};
use crate::settings::Collector;
use anyhow::{Context, Result};
use harness::{Counters, counters};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);
/// What a line of the log says of the collector begins so.
const SAID: &str = "the collector ";

/// What became of the spans of one proxy.
#[derive(Debug)]
pub(crate) struct Account {
    name: &'static str,
    counters: Counters,
    /// The requests that Envoy itself has counted.
    requests: u64,
    /// What the filter's log last said against the collector.
    said: Option<String>,
}

impl Account {
    async fn read(proxy: &Proxy) -> Result<Self> {
        let stats = counters::stats(proxy.envoy.admin_port()).await;
        let stats = stats.with_context(|| format!("{} does not answer", proxy.name))?;
        Ok(Self::of(proxy.name, proxy.listeners, &stats, &proxy.envoy.complaints()))
    }

    fn of(
        name: &'static str,
        listeners: &[&str],
        stats: &BTreeMap<String, u64>,
        complaints: &[String],
    ) -> Self {
        let requests = listeners.iter().filter_map(|listener| {
            stats.get(&format!("http.{listener}.downstream_rq_total")).copied()
        });
        Self {
            name,
            counters: Counters::among(stats),
            requests: requests.sum(),
            said: last_said(complaints),
        }
    }

    fn exported(&self) -> u64 {
        self.counters.of("exporter.span.exported")
    }

    /// What waits, and what is on its way.
    fn held(&self) -> [u64; 2] {
        ["queued", "inflight"].map(|it| self.counters.of(&format!("exporter.span.{it}")))
    }

    /// The counters of what was lost.
    fn lost(&self) -> BTreeMap<String, u64> {
        let is_loss = |name: &str| {
            name == "exporter.span.rejected"
                || name.starts_with("exporter.span.failed.")
                || name.starts_with("processor.span.dropped.")
        };
        let all = self.counters.clone().into_map().into_iter();
        all.filter(|(name, count)| *count > 0 && is_loss(name)).collect()
    }

    /// The spans of which it is known what became of them.
    fn known(&self) -> u64 {
        self.exported() + self.lost().values().sum::<u64>()
    }

    /// The spans of requests that have ended.
    fn ended(&self) -> u64 {
        self.known() + self.held().iter().sum::<u64>()
    }

    /// Whether each request has ended, and what became of its span is known.
    fn is_settled(&self) -> bool {
        let counted = self.counters.of("span.started") + self.counters.of("span.telemetry_exports");
        counted >= self.requests
            && self.counters.of("span.sampled") == self.ended()
            && self.held() == [0, 0]
    }
}

/// What the last of these lines of Envoy's log that is about the collector says of it.
fn last_said(complaints: &[String]) -> Option<String> {
    let ours = complaints.iter().rev().filter(|line| line.contains(" wasm log "));
    ours.filter_map(|line| line.get(line.find(SAID)?..)).map(str::to_owned).next()
}

/// The last complaint of each proxy about the collector.
pub(crate) fn complaints(proxies: &Proxies) -> BTreeMap<&'static str, String> {
    let last = |proxy: &Proxy| Some((proxy.name, last_said(&proxy.envoy.complaints())?));
    proxies.all().into_iter().filter_map(last).collect()
}

/// Waits until it is known what became of all spans, but no longer than that for news of any.
pub(crate) async fn settle(proxies: &Proxies, patience: Duration) -> Result<Vec<Account>> {
    let (mut known, mut news) = (0, Instant::now());
    loop {
        let mut accounts = Vec::new();
        for proxy in proxies.all() {
            accounts.push(Account::read(proxy).await?);
        }
        let now_known = accounts.iter().map(Account::known).sum();
        if now_known != known {
            (known, news) = (now_known, Instant::now());
        }
        if accounts.iter().all(Account::is_settled) || news.elapsed() >= patience {
            return Ok(accounts);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// What is printed.
    pub(crate) text: String,
    /// Whether all spans were exported.
    pub(crate) all_exported: bool,
}

/// Sums up, for spans that went to a collector of one's own, if there is one.
pub(crate) fn verdict(accounts: &[Account], collector: Option<&Collector>) -> Verdict {
    let exported: u64 = accounts.iter().map(Account::exported).sum();
    let ended: u64 = accounts.iter().map(Account::ended).sum();
    let to = collector.map(|collector| format!(" to {collector}")).unwrap_or_default();
    let mut lines = vec![wrap(&format!("exported {exported} of {ended} spans{to}"), 2)];
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for account in accounts {
        let Some(failure) = failure(account) else { continue };
        lines.push(wrap(&format!("  {failure}"), 4));
        if let Some(said) = &account.said {
            reasons.entry(said).or_default().push(account.name);
        }
    }
    let all_exported = lines.len() == 1;
    for (said, names) in reasons {
        lines.push(wrap(&format!("  the log of {}: {said}", names.join(" and ")), 4));
    }
    if let Some(collector) = collector.filter(|_| !all_exported) {
        lines.push(wrap(
            &format!(
                "Does {collector} take OTLP over HTTP? Most collectors do on port 4318; 4317 is for gRPC."
            ),
            2,
        ));
    }
    Verdict { text: lines.join("\n"), all_exported }
}

/// What became of the spans of a proxy that were not exported, with the counters to look at.
fn failure(account: &Account) -> Option<String> {
    let [queued, inflight] = account.held();
    let mut parts = Vec::new();
    if queued > 0 {
        parts.push(format!("{queued} still wait to be sent (exporter.span.queued)"));
    }
    if inflight > 0 {
        parts.push(format!("{inflight} have no answer yet (exporter.span.inflight)"));
    }
    parts.extend(account.lost().into_iter().map(|(name, count)| format!("{count} lost ({name})")));
    (!parts.is_empty()).then(|| format!("{}: {}", account.name, parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::WIDTH;

    const LOG: &str = "[2026-01-02 03:04:05.678][9][warning][wasm] [source/extensions/common/wasm/context.cc:1] \
                       wasm log otel otel: the collector does not take spans: the answer of otel_collector to /v1/traces was 404";

    /// The account of a proxy that has counted so many requests, and the filter these.
    fn account(requests: u64, counters: &[(&str, u64)]) -> Account {
        let ours =
            counters.iter().map(|(name, value)| (format!("wasmcustom.otel.sdk.{name}"), *value));
        let envoys = [("http.inbound.downstream_rq_total".to_owned(), requests)];
        let stats = ours.chain(envoys).collect();
        Account::of("shop", &["inbound", "outbound"], &stats, &[LOG.to_owned()])
    }

    #[test]
    fn it_is_settled_when_each_span_is_accounted_for() {
        for (reason, requests, counters, settled) in [
            ("nothing was asked", 0, vec![], true),
            ("all arrived", 2, vec![("started", 2), ("sampled", 2), ("exported", 2)], true),
            ("one was not sampled", 2, vec![("started", 2), ("sampled", 1), ("exported", 1)], true),
            ("an export of telemetry", 1, vec![("telemetry_exports", 1)], true),
            ("one is lost", 1, vec![("started", 1), ("sampled", 1), ("failed.refused", 1)], true),
            ("one was rejected", 1, vec![("started", 1), ("sampled", 1), ("rejected", 1)], true),
            ("the filter's count is to come", 1, vec![], false),
            ("a request is under way", 1, vec![("started", 1), ("sampled", 1)], false),
            ("one waits", 1, vec![("started", 1), ("sampled", 1), ("queued", 1)], false),
            ("one is on its way", 1, vec![("started", 1), ("sampled", 1), ("inflight", 1)], false),
        ] {
            let name = |it: &str| match it {
                "started" | "sampled" | "telemetry_exports" => format!("span.{it}"),
                _ => format!("exporter.span.{it}"),
            };
            let counters: Vec<_> = counters.into_iter().map(|(it, n)| (name(it), n)).collect();
            let counters: Vec<_> = counters.iter().map(|(it, n)| (it.as_str(), *n)).collect();
            assert_eq!(account(requests, &counters).is_settled(), settled, "{reason}");
        }
    }

    #[test]
    fn all_exported_is_one_line() {
        let counters = [("exporter.span.exported", 3)];
        let verdict = verdict(&[account(3, &counters), account(3, &counters)], None);
        assert_eq!(verdict.text, "exported 6 of 6 spans");
        assert!(verdict.all_exported, "what was said before is no failure");
    }

    #[test]
    fn what_both_say_is_said_once() {
        let queued = [("exporter.span.queued", 2)];
        let verdict = verdict(&[account(2, &queued), account(2, &queued)], None);
        assert_eq!(
            verdict.text,
            "exported 0 of 4 spans\n  \
             shop: 2 still wait to be sent (exporter.span.queued)\n  \
             shop: 2 still wait to be sent (exporter.span.queued)\n  \
             the log of shop and shop: the collector does not take spans: the answer of\n    \
             otel_collector to /v1/traces was 404"
        );
    }

    #[test]
    fn what_was_not_exported_has_its_counters_and_what_the_log_says() {
        let collector = Collector { host: "localhost".to_owned(), port: 16686 };
        let bad = [
            ("exporter.span.exported", 1),
            ("exporter.span.failed.refused", 3),
            ("processor.span.dropped.queue_full", 4),
            ("exporter.span.queued", 5),
            ("exporter.span.inflight", 6),
            ("exporter.span.failed.reset", 0),
        ];
        let good = account(3, &[("exporter.span.exported", 3)]);
        let verdict = verdict(&[account(19, &bad), good], Some(&collector));
        assert!(!verdict.all_exported);
        assert_eq!(
            verdict.text,
            "exported 4 of 22 spans to localhost:16686\n  \
             shop: 5 still wait to be sent (exporter.span.queued), 6 have no answer yet\n    \
             (exporter.span.inflight), 3 lost (exporter.span.failed.refused), 4 lost\n    \
             (processor.span.dropped.queue_full)\n  \
             the log of shop: the collector does not take spans: the answer of\n    \
             otel_collector to /v1/traces was 404\n\
             Does localhost:16686 take OTLP over HTTP? Most collectors do on port 4318; 4317\n  \
             is for gRPC."
        );
        assert!(verdict.text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
