//! `envoy.routes` and `envoy.route_name_is_template` on a real Envoy: which route a request has, and how its span is called by it.

mod conventions;

use anyhow::{Context, Result};
use harness::bootstrap::{Bootstrap, Place};
use harness::client::{Call, Http};
use harness::tls::Certificate;
use harness::{Envoy, Span, Stage};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

/// The only span of a call that is answered with this status.
async fn only_span(stage: &Stage, call: &Call, http: &Http, status: u16) -> Result<Span> {
    stage.collector.clear();
    assert_eq!(call.send(http, stage.port()).await?.status, status, "{call:?}");
    let mut spans = stage.collector.wait_for_spans(1).await?;
    let span = spans.pop().context("one at least")?;
    assert_eq!(spans, [], "one span");
    conventions::check(&span);
    Ok(span)
}

/// The route of a span, under the name that its kind has for it.
fn route(span: &Span) -> Option<String> {
    let [own, other] = match span.span.kind() {
        SpanKind::Client => ["url.template", "http.route"],
        _ => ["http.route", "url.template"],
    };
    assert_eq!(span.text(other), None, "{other}: {span:#?}");
    span.text(own)
}

/// Envoy's own routes, which are none of ours: one that rewrites, one that redirects, and one for anything else.
fn routed(edge: Bootstrap) -> Result<Bootstrap> {
    let to = |prefix: &str, route: Value| json!({"name": "default", "match": {"prefix": prefix}, "route": route});
    let rewritten = json!({"cluster": "upstream", "prefix_rewrite": "/"});
    let redirected =
        json!({"cluster": "upstream", "internal_redirect_policy": {"max_internal_redirects": 1}});
    edge.route("ingress", to("/v1/", rewritten))?.route("ingress", to("/redirect", redirected))
}

/// A filter before ours that answers 403 to a path.
fn reject(path: &str) -> Value {
    json!({
        "name": "reject",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"deny": {
                "permissions": [{"url_path": {"path": {"exact": path}}}],
                "principals": [{"any": true}],
            }}},
        },
    })
}

/// A filter before ours that makes one path of another one.
fn renamed(from: &str, to: &str) -> Value {
    let code = format!(
        "function envoy_on_request(handle) local headers = handle:headers() \
         if headers:get(':path') == '{from}' then headers:replace(':path', '{to}') end end"
    );
    json!({
        "name": "lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": code},
        },
    })
}

fn configuration(kind: &str) -> String {
    let routes = json!([
        "/users/{id}",
        "/users/me",
        "/users/{id}/",
        {"template": "/orders/{id}/items", "methods": ["GET", "PURGE"]},
        "/v1/users/{id}",
        "/redirect",
        "/target",
        "/rejected/{reason}",
        "/status/{code}",
        "/static/{*path}",
        "/test.Echo/{method}",
    ]);
    json!({"envoy": {"span_kind": kind, "routes": routes}}).to_string()
}

async fn every_case(version: &str, kind: &str, http: Http) -> Result<()> {
    let stage = Stage::start(|edge| {
        let edge = routed(edge)?.filter("ingress", &configuration(kind))?;
        let edge = edge.http_filter("ingress", Place::First, reject("/rejected/early"))?;
        let edge = edge.http_filter("ingress", Place::First, renamed("/renamed", "/users/9"))?;
        match &http {
            Http::Three(certificate) => edge.http3("ingress", certificate),
            Http::One | Http::Two => Ok(edge),
        }
    })
    .await?;
    let cases = [
        (Call::get("/users/7"), 200, "GET", Some("/users/{id}"), "a parameter"),
        (Call::get("/users/me"), 200, "GET", Some("/users/me"), "a static segment first"),
        (Call::get("/users/7?x=/users/me"), 200, "GET", Some("/users/{id}"), "a query"),
        (Call::get("/users/7/"), 200, "GET", Some("/users/{id}/"), "a slash at the end"),
        (Call::get("/users/a%2Fb"), 200, "GET", Some("/users/{id}"), "percent-encoding"),
        (Call::get("/users"), 200, "GET", None, "a part of a template"),
        (Call::get("/"), 200, "GET", None, "no template"),
        (Call::get("/orders/7/items"), 200, "GET", Some("/orders/{id}/items"), "its method"),
        (Call::get("/orders/7/items").method("PUT"), 200, "PUT", None, "not its method"),
        (
            Call::get("/orders/7/items").method("PURGE"),
            200,
            "HTTP",
            Some("/orders/{id}/items"),
            "a method that is not known",
        ),
        (Call::get("/static/js/app.js"), 200, "GET", Some("/static/{*path}"), "a catch-all"),
        (Call::get("/status/404"), 404, "GET", Some("/status/{code}"), "an error"),
        (Call::get("/v1/users/7"), 200, "GET", Some("/v1/users/{id}"), "before it is rewritten"),
        (Call::get("/redirect"), 200, "GET", Some("/redirect"), "before it is redirected"),
        (Call::get("/renamed"), 200, "GET", Some("/users/{id}"), "after an earlier filter"),
        (Call::grpc("/test.Echo/Unary"), 200, "test.Echo/Unary", None, "gRPC has its own name"),
        (
            Call::get("/rejected/early"),
            403,
            "GET",
            Some("/rejected/{reason}"),
            "an earlier filter answers",
        ),
    ];
    for (call, status, method, expected, reason) in cases {
        // HTTP/3 has no access log callback: a request that never reaches the filter leaves no trace.
        if status == 403 && version == "3" {
            continue;
        }
        let reason = format!("{kind}, HTTP/{version}, {reason}");
        let span = only_span(&stage, &call, &http, status).await.context(reason.clone())?;
        let name = expected.map_or(method.to_owned(), |route| format!("{method} {route}"));
        assert_eq!(span.span.name, name, "{reason}");
        assert_eq!(route(&span).as_deref(), expected, "{reason}");
    }
    let paths: Vec<_> = stage.upstream.seen().into_iter().map(|seen| seen.path).collect();
    for expected in ["/users/7", "/target"] {
        assert!(paths.iter().any(|path| path == expected), "{expected}: Envoy's routes are in use");
    }
    assert!(!paths.iter().any(|path| path.starts_with("/v1/")), "one rewrites: {paths:?}");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    Ok(())
}

#[tokio::test]
async fn a_server_span_has_a_route_over_http1() -> Result<()> {
    every_case("1.1", "server", Http::One).await
}

#[tokio::test]
async fn a_server_span_has_a_route_over_http2() -> Result<()> {
    every_case("2", "server", Http::Two).await
}

#[tokio::test]
async fn a_server_span_has_a_route_over_http3() -> Result<()> {
    every_case("3", "server", Http::Three(Certificate::new()?)).await
}

#[tokio::test]
async fn a_client_span_has_a_template_over_http1() -> Result<()> {
    every_case("1.1", "client", Http::One).await
}

#[tokio::test]
async fn a_client_span_has_a_template_over_http2() -> Result<()> {
    every_case("2", "client", Http::Two).await
}

/// The configuration and the table of docs/spans.md.
#[tokio::test]
async fn the_page_says_how_spans_are_called() -> Result<()> {
    let page = std::fs::read_to_string(harness::root().join("docs/spans.md"))?;
    let (_, section) = page.split_once("## Names by route").context("the section")?;
    let (section, _) = section.split_once("**Another name.**").context("its end")?;
    let block = section.split("```").nth(1).and_then(|block| block.strip_prefix("json\n"));
    let stage = Stage::start(|edge| edge.filter("ingress", block.context("a block")?)).await?;
    let mut rows = 0;
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((request, rest)) = row.split_once("` | `") else { continue };
        let (name, reason) = rest.split_once("` | ").context("a name")?;
        let (method, path) = request.split_once(' ').context("a method")?;
        let span = only_span(&stage, &Call::get(path).method(method), &Http::One, 200).await?;
        assert_eq!(span.span.name, name, "{request}: {reason}");
        rows += 1;
    }
    assert_eq!(rows, 9, "all rows are read");
    Ok(())
}

/// The last table of that section.
#[tokio::test]
async fn the_page_says_what_another_name_is() -> Result<()> {
    let page = std::fs::read_to_string(harness::root().join("docs/spans.md"))?;
    let (_, table) = page.split_once("| `envoy.span_name` |").context("the table")?;
    let rows = table.split_once("\n\n").context("its end")?.0.lines().skip(2);
    let requests = [
        Call::get("/users/7").header("host", "shop.example"),
        Call::get("/healthz").header("host", "shop.example"),
        Call::grpc("/shop.Cart/Get").header("host", "shop.example"),
    ];
    let mut read = 0;
    for row in rows {
        let cells: Vec<_> =
            row.trim_matches('|').split(" | ").map(|it| it.trim_matches([' ', '`'])).collect();
        let [setting, names @ ..] = cells.as_slice() else { anyhow::bail!("no cells: {row}") };
        let name = if *setting == "none" { Value::Null } else { serde_json::from_str(setting)? };
        let configuration = json!({"envoy": {"routes": ["/users/{id}"], "span_name": name}});
        let stage = Stage::start(|edge| edge.filter("ingress", &configuration.to_string())).await?;
        for (call, name) in requests.iter().zip(names) {
            let span = only_span(&stage, call, &Http::One, 200).await?;
            assert_eq!(span.span.name, *name, "{setting}: {call:?}");
            read += 1;
        }
    }
    assert_eq!(read, 9, "all cells are read");
    Ok(())
}

/// Names of Envoy's routes as a `VirtualService` of Istio may give them, an `HTTPRoute` of Istio, and one of Envoy Gateway.
#[tokio::test]
async fn the_name_of_envoys_route_may_be_a_template() -> Result<()> {
    let route = |name: &str, prefix: &str| {
        let policy = json!({"max_internal_redirects": 1});
        let to = json!({"cluster": "upstream", "internal_redirect_policy": policy});
        json!({"name": name, "match": {"prefix": prefix}, "route": to})
    };
    let names = [
        ("/carts/{id}", "/carts/"),
        ("shop.carts.0", "/istio/"),
        ("httproute/shop/carts/rule/0/match/0/shop_example_com", "/gateway/"),
        ("/first", "/redirect"),
        ("/last", "/target"),
    ];
    for kind in ["server", "client"] {
        let configuration = json!({"envoy": {
            "span_kind": kind, "route_name_is_template": true, "routes": ["/carts/mine"], "details": "failures",
        }});
        let stage = Stage::start(|edge| {
            let edge = edge.filter("ingress", &configuration.to_string())?;
            names
                .iter()
                .try_fold(edge, |edge, (name, prefix)| edge.route("ingress", route(name, prefix)))
        })
        .await?;
        let cases = [
            ("/carts/7", Some("/carts/{id}"), names[0].0, "a template"),
            ("/carts/mine", Some("/carts/mine"), names[0].0, "a template of our own goes first"),
            ("/istio/7", None, names[1].0, "a name"),
            ("/gateway/7", None, names[2].0, "another one"),
            ("/redirect", Some("/last"), names[4].0, "the route after an internal redirect"),
        ];
        for (path, expected, name, reason) in cases {
            let span = only_span(&stage, &Call::get(path), &Http::One, 200).await?;
            assert_eq!(self::route(&span).as_deref(), expected, "{kind}, {reason}");
            let called = expected.map_or("GET".to_owned(), |route| format!("GET {route}"));
            assert_eq!(span.span.name, called, "{kind}, {reason}");
            assert_eq!(span.text("envoy.route_name").as_deref(), Some(name), "it is read");
            assert_eq!(span.text("envoy.cluster_name"), None, "nothing else is");
        }
        assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");
    }
    Ok(())
}

/// As many as a large API has, with all kinds of segments.
#[tokio::test]
async fn ten_thousand_templates_are_loaded() -> Result<()> {
    let shapes = ["/items", "/items/{item}", "/items/{item}/{*rest}", "/{any}/parts"];
    let service = |number: usize| shapes.map(|shape| format!("/v1/service-{number}{shape}"));
    let routes: Vec<_> = (0..2500).flat_map(service).collect();
    let configuration = json!({"envoy": {"routes": routes}}).to_string();
    let stage = Stage::start(|edge| edge.filter("ingress", &configuration)).await?;
    for number in [0, 1234, 2499] {
        for (path, shape) in ["/items", "/items/7", "/items/7/x/y", "/b/parts"].iter().zip(shapes) {
            let call = Call::get(&format!("/v1/service-{number}{path}"));
            let span = only_span(&stage, &call, &Http::One, 200).await?;
            let expected = format!("/v1/service-{number}{shape}");
            assert_eq!(route(&span), Some(expected), "{path}");
        }
    }
    let span = only_span(&stage, &Call::get("/v1/service-2500/items"), &Http::One, 200).await?;
    assert_eq!(route(&span), None, "no template");
    assert_eq!(stage.envoy.complaints(), Vec::<String>::new(), "a clean log");

    // One more, which is there already.
    let twice = [routes, vec!["/v1/service-7/items/{id}".to_owned()]].concat();
    let configuration = json!({"envoy": {"routes": twice}}).to_string();
    let edge = Bootstrap::from_file("envoy/envoy.yaml")?.filter("ingress", &configuration)?;
    let validation = Envoy::validate(&edge).await?;
    let message = "envoy.routes[10000]: found the shape of envoy.routes[29], for the same method";
    assert!(validation.output.contains(message), "{}", validation.output);
    Ok(())
}
