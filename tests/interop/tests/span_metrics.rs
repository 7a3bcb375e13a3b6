//! The Collector's `span_metrics` connector behind the filter: the rates, errors and durations that it makes of our
//! spans are those that Envoy itself counts of the same requests, for each route, by its template and by its name.

use anyhow::{Context, Result};
use harness::client::{Call, Http};
use harness::{Bootstrap, Stage, wait_for};
use interop::Collector;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    HistogramDataPoint, NumberDataPoint, number_data_point,
};
use serde_json::json;
use std::collections::BTreeMap;

/// Envoy's routes: the name, which its counters have, too, and the template, which Envoy and the filter match a path with.
const ROUTES: [(&str, &str); 3] =
    [("users", "/users/{id}"), ("statuses", "/status/{code}"), ("reports", "/delay/{ms}")];

/// The traffic: path, how often. What no template matches goes the file's own way.
const TRAFFIC: [(&str, u64); 7] = [
    ("/users/7", 12),
    ("/users/8?fields=name", 8),
    ("/users/7/orders", 4),
    ("/status/404", 6),
    ("/status/500", 5),
    ("/status/503", 2),
    ("/delay/300", 3),
];

/// The bound, in ms, that tells the slow requests from the others; a bucket of both histograms ends there.
const SLOW: f64 = 250.0;

fn bootstrap(edge: Bootstrap) -> Result<Bootstrap> {
    let route = |(name, template): (&str, &str)| {
        let policy = json!({
            "name": "envoy.path.match.uri_template.uri_template_matcher",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": template,
            },
        });
        json!({
            "name": name, "stat_prefix": name,
            "match": {"path_match_policy": policy}, "route": {"cluster": "upstream"},
        })
    };
    let templates = ROUTES.map(|(_, template)| template);
    let configuration = json!({"envoy": {"routes": templates}}).to_string();
    let edge = edge.filter("ingress", &configuration)?;
    ROUTES.into_iter().map(route).try_fold(edge, |edge, route| edge.route("ingress", route))
}

#[tokio::test]
async fn rates_errors_and_durations_agree_with_envoys_counters() -> Result<()> {
    let file = harness::root().join("tests/interop/span-metrics.yaml");
    let collector = Collector::with(&file, &[]).await?;
    let stage =
        Stage::start(|edge| bootstrap(edge)?.cluster("otel_collector", collector.http_port()))
            .await?;
    let mut requests = 0;
    for (path, times) in TRAFFIC {
        for _ in 0..times {
            Call::get(path).send(&Http::One, stage.port()).await.context(path)?;
        }
        requests += times;
    }
    stage.at_rest(requests).await?;
    let metrics = Metrics::wait_for(&collector, requests).await?;
    let stats = stage.envoy.stats().await?;
    let stat = |name: &str| stats.get(name).copied().unwrap_or_default();

    assert_eq!(stat("http.ingress.downstream_rq_completed"), requests, "Envoy's own count");
    let mut of_routes = 0;
    for (name, template) in ROUTES {
        for class in ["2xx", "4xx", "5xx"] {
            let is_of = |call: &Series| call.status.as_bytes().first() == class.as_bytes().first();
            let by_template = metrics.calls(|call| call.route == template && is_of(call));
            let by_name = metrics.calls(|call| call.route_name == name && is_of(call));
            let envoys = stat(&format!("vhost.all.route.{name}.upstream_rq_{class}"));
            assert_eq!(by_template, envoys, "calls of {template} that end with {class}");
            assert_eq!(by_name, envoys, "calls of {name} that end with {class}");
            of_routes += envoys;
        }
    }
    let other = metrics.calls(|call| call.route.is_empty() && call.route_name == "default");
    assert_eq!((other, of_routes + other), (4, requests), "what no template matches");
    let errors = metrics.calls(|call| call.code == "STATUS_CODE_ERROR");
    assert_eq!(errors, stat("http.ingress.downstream_rq_5xx"), "errors, for a server");
    let of_service = metrics.calls(|call| call.service == "edge");
    assert_eq!(of_service, requests, "all calls are this service's");

    // Envoy writes its histograms anew every five seconds.
    let timed = wait_for("Envoy's histogram", || async {
        let durations = envoys_durations(&stage.envoy.prometheus().await.ok()?).ok()?;
        (durations[1] == requests).then_some(durations)
    });
    let envoys = timed.await?;
    assert!(requests - envoys[0] >= 3, "the slow ones: {envoys:?}");
    assert_eq!(metrics.durations(|_| true), envoys, "requests up to {SLOW} ms, and all");
    assert_eq!(collector.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

/// What the connector says of a series of calls.
#[derive(Debug)]
struct Series {
    service: String,
    route: String,
    route_name: String,
    status: String,
    code: String,
}

/// The latest of the connector's cumulative metrics.
#[derive(Debug)]
struct Metrics {
    calls: Vec<(Series, NumberDataPoint)>,
    durations: Vec<(Series, HistogramDataPoint)>,
}

impl Metrics {
    /// Waits until the connector has seen so many spans.
    async fn wait_for(collector: &Collector, spans: u64) -> Result<Self> {
        let poll = || async {
            let metrics = Self::latest(collector).ok()?;
            (metrics.calls(|_| true) == spans && metrics.durations(|_| true)[1] == spans)
                .then_some(metrics)
        };
        wait_for("the metrics of all spans", poll).await
    }

    fn latest(collector: &Collector) -> Result<Self> {
        let latest = collector.metrics()?.pop().context("no metrics yet")?;
        let mut metrics = Self { calls: Vec::new(), durations: Vec::new() };
        for resource in latest.resource_metrics {
            let about = resource.resource.unwrap_or_default().attributes;
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                match (metric.name.as_str(), metric.data) {
                    ("traces.span.metrics.calls", Some(Data::Sum(sum))) => {
                        let points = sum.data_points.into_iter();
                        metrics
                            .calls
                            .extend(points.map(|it| (Series::of(&about, &it.attributes), it)));
                    }
                    ("traces.span.metrics.duration", Some(Data::Histogram(histogram))) => {
                        let points = histogram.data_points.into_iter();
                        metrics
                            .durations
                            .extend(points.map(|it| (Series::of(&about, &it.attributes), it)));
                    }
                    (name, _) => anyhow::bail!("an unexpected metric: {name}"),
                }
            }
        }
        Ok(metrics)
    }

    fn calls(&self, of: impl Fn(&Series) -> bool) -> u64 {
        let points = self.calls.iter().filter(|(series, _)| of(series));
        points
            .map(|(_, point)| match point.value {
                Some(number_data_point::Value::AsInt(count)) => {
                    u64::try_from(count).unwrap_or_default()
                }
                _ => 0,
            })
            .sum()
    }

    /// How many calls took at most [`SLOW`], and how many there were.
    fn durations(&self, of: impl Fn(&Series) -> bool) -> [u64; 2] {
        let mut counts = [0, 0];
        for (_, point) in self.durations.iter().filter(|(series, _)| of(series)) {
            let bounds = point.explicit_bounds.iter();
            let below = bounds.zip(&point.bucket_counts).filter(|(bound, _)| **bound <= SLOW);
            counts[0] += below.map(|(_, count)| count).sum::<u64>();
            counts[1] += point.count;
        }
        counts
    }
}

impl Series {
    fn of(resource: &[KeyValue], attributes: &[KeyValue]) -> Self {
        let all = resource.iter().chain(attributes);
        let texts: BTreeMap<_, _> =
            all.filter_map(|it| Some((it.key.as_str(), text(it)?))).collect();
        let text = |name: &str| texts.get(name).cloned().unwrap_or_default();
        Self {
            service: text("service.name"),
            route: text("http.route"),
            route_name: text("envoy.route_name"),
            status: text("http.response.status_code"),
            code: text("status.code"),
        }
    }
}

fn text(attribute: &KeyValue) -> Option<String> {
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Of Envoy's own histogram: how many requests took at most [`SLOW`], and how many there were.
fn envoys_durations(prometheus: &str) -> Result<[u64; 2]> {
    let value = |suffix: &str| -> Result<u64> {
        let line = prometheus.lines().find(|line| {
            line.starts_with(&format!("envoy_http_downstream_rq_time{suffix}"))
                && line.contains(r#"="ingress""#)
        });
        let value = line.and_then(|line| line.rsplit_once(' ')).context(suffix.to_owned())?;
        Ok(value.1.parse()?)
    };
    let bucket = format!(r#"_bucket{{envoy_http_conn_manager_prefix="ingress",le="{SLOW}"}}"#);
    Ok([value(&bucket)?, value("_count")?])
}
