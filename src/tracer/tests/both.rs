//! `span_kind: server_and_client`: when a request is two spans, what each says, and what that costs.

use super::several::{spans, traceparent};
use super::*;
use crate::probe::{ResponsePart, ResponseSource};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

const BOTH: &str = r#"{"envoy": {"span_kind": "server_and_client"}}"#;
const TRACEPARENT: (&str, &str) =
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

/// What a request that went well has, beside a pass that differs in these.
fn went_well(different: &[(&str, &str)]) -> Outcome {
    let usual = [
        ("took", "500"),
        ("response.code", "200"),
        ("response.code_details", "via_upstream"),
        ("request.protocol", "HTTP/1.1"),
        ("connection.id", "3"),
        ("source.address", "10.0.0.1:40000"),
        ("upstream.address", "10.0.0.2:8080"),
        ("upstream.request_attempt_count", "1"),
        ("xds.cluster_name", "shop"),
        ("xds.route_name", "default"),
    ];
    outcome(&[&usual, different].concat())
}

/// A browser's request with a query.
fn typical() -> Request {
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
    Request::new(&[
        (":method", "GET"),
        (":path", "/api/orders/1042?fields=name"),
        (":authority", "shop.example.com"),
        (":scheme", "http"),
        ("user-agent", BROWSER),
        TRACEPARENT,
    ])
}

/// The spans of a request under a configuration, and what is read when it ends.
fn ended(json: &str, request: &Request, outcome: &Outcome) -> (Vec<Span>, Vec<String>) {
    let mut tracer = tracer(json);
    let span = start(&mut tracer, request);
    tracer.end(span, outcome);
    let counted = counters(&mut tracer);
    let spans = spans(&mut tracer);
    let count = i64::try_from(spans.len()).expect("few");
    let expected = [("otel.sdk.span.sampled", count), ("otel.sdk.exporter.span.queued", count)];
    assert_eq!(counted[1..], expected, "each span is counted: {counted:?}");
    assert_eq!((tracer.held().open, tracer.open_bytes), (0, 0), "nothing is under way");
    (spans, outcome.asked.take())
}

#[test]
fn the_upstream_is_below_the_client_and_that_below_the_server() {
    let mut tracer = tracer(BOTH);
    let request = typical();
    let started = tracer.start(&request);
    let written = traceparent(&started);
    let span = started.span.expect("it is kept");
    tracer.end(
        span,
        &went_well(&[("response.code", "404"), ("upstream.request_attempt_count", "3")]),
    );
    let spans = spans(&mut tracer);
    let [server, client] = spans.as_slice() else { panic!("two spans: {spans:?}") };
    assert_eq!((server.span.kind(), client.span.kind()), (SpanKind::Server, SpanKind::Client));
    assert_eq!(server.parent_id(), "00f067aa0ba902b7", "below the caller's");
    assert_eq!(client.parent_id(), server.span_id(), "below the server's");
    assert!(written.contains(&client.span_id()), "what the upstream gets: {written}");
    let time = |span: &Span| (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
    assert_eq!(time(client), time(server), "nothing else is known");
    let of_server = [
        "client.address",
        "envoy.response_code_details",
        "envoy.route_name",
        "http.request.method",
        "http.response.status_code",
        "network.peer.address",
        "network.peer.port",
        "network.protocol.version",
        "server.address",
        "url.path",
        "url.query",
        "url.scheme",
        "user_agent.original",
    ];
    let of_client = [
        "envoy.cluster_name",
        "envoy.request_attempt_count",
        "error.type",
        "http.request.method",
        "http.request.resend_count",
        "http.response.status_code",
        "network.peer.address",
        "network.peer.port",
        "server.address",
        "server.port",
        "url.full",
    ];
    let keys = |span: &Span| span.attributes().into_keys().collect::<Vec<_>>();
    assert_eq!(keys(server), of_server);
    assert_eq!(keys(client), of_client);
    assert_eq!(server.text("network.peer.address").as_deref(), Some("10.0.0.1"), "the caller");
    assert_eq!(client.text("network.peer.address").as_deref(), Some("10.0.0.2"), "the upstream");
}

#[test]
fn there_is_no_client_span_where_no_upstream_was_asked() {
    let none = ("upstream.address", "");
    let tries = |number| ("upstream.request_attempt_count", number);
    let cases: [(&[_], bool, &str); 9] = [
        (&[], true, "an upstream's answer"),
        (&[none, tries("0")], false, "an answer of Envoy's: a direct response, a cache"),
        (&[none, tries("0"), ("response.code", "404"), ("response.flags", "256")], false, "NR"),
        (&[none, tries("1"), ("response.code", "503"), ("response.flags", "2")], false, "UH"),
        (&[tries("1"), ("response.code", "503"), ("response.flags", "32")], true, "UF"),
        (&[tries("1"), ("response.code", "503"), ("response.flags", "128")], false, "UO"),
        (&[tries("2"), ("response.code", "503"), ("response.flags", "128")], true, "UO of a retry"),
        (&[none, tries("1"), ("response.code", "504"), ("response.flags", "4")], true, "UT"),
        (&[none, tries("1"), ("response.code", "0"), ("response.flags", "16384")], true, "DC"),
    ];
    for (different, is_asked, reason) in cases {
        let (spans, _) = ended(BOTH, &typical(), &went_well(different));
        assert_eq!(spans.len(), if is_asked { 2 } else { 1 }, "{reason}");
        let server = &spans[0];
        assert_eq!(server.span.kind(), SpanKind::Server, "{reason}");
        let has_cluster = server.text("envoy.cluster_name").is_some();
        assert_eq!(has_cluster, !is_asked, "a span by itself says everything: {reason}");
    }
}

#[test]
fn a_pass_that_asked_an_upstream_is_remembered() {
    let mut tracer = tracer(BOTH);
    let started = tracer.start(&Request::get(&[]));
    let written = traceparent(&started);
    let span = started.span.expect("it is kept");
    let redirected = [("response.code", "302"), ("response.code_details", "internal_redirect")];
    let mark = tracer.end(span, &went_well(&redirected));
    let marks = mark.expect("its second pass will bear it").to_bytes().to_vec();
    let second = Request { marks, ..Request::get(&[("traceparent", &written)]) };
    let span = start(&mut tracer, &second);
    let answered = [("upstream.address", ""), ("upstream.request_attempt_count", "0")];
    tracer.end(span, &went_well(&answered));
    assert_eq!(spans(&mut tracer).len(), 2, "the first pass asked one");
}

#[test]
fn a_second_span_costs_one_value_at_most() {
    let details = ["\"always\"", "\"failures\"", "[\"envoy.route_name\"]"];
    for details in details {
        let with =
            |kind: &str| format!(r#"{{"envoy": {{"span_kind": "{kind}", "details": {details}}}}}"#);
        let read = |kind: &str| ended(&with(kind), &typical(), &went_well(&[])).1;
        let (one, mut both) = (read("server"), read("server_and_client"));
        both.retain(|name| !one.contains(name));
        let expected: &[&str] = if details == "\"always\"" { &[] } else { &["upstream.address"] };
        assert_eq!(both, expected, "{details}");
    }
    let asked = |kind: &str| {
        let mut tracer = tracer(&format!(r#"{{"envoy": {{"span_kind": "{kind}"}}}}"#));
        let request = typical();
        start(&mut tracer, &request);
        request.asked.take()
    };
    assert_eq!(asked("server_and_client"), asked("server"), "when it starts");
}

/// A gRPC call.
fn call() -> Request {
    Request::new(&[
        (":method", "POST"),
        (":path", "/shop.v1.Orders/Get"),
        (":authority", "shop.example.com"),
        (":scheme", "http"),
        ("content-type", "application/grpc"),
        TRACEPARENT,
    ])
}

/// How many bytes the spans of a request take.
fn bytes(kind: &str, request: &Request) -> usize {
    let json = format!(r#"{{"envoy": {{"span_kind": "{kind}"}}}}"#);
    let (spans, _) = ended(&json, request, &went_well(&[]));
    spans.iter().map(|it| prost::encoding::message::encoded_len(2, &it.span)).sum()
}

#[test]
fn two_spans_take_far_less_than_twice_the_bytes_of_one() {
    // In tenths of the bytes of one. Those of a call are short.
    for (request, most) in [(typical(), 14), (call(), 15)] {
        let (one, both) = (bytes("server", &request), bytes("server_and_client", &request));
        assert!(both * 10 <= one * most, "{both} bytes, and {one} for one span");
    }
}

#[test]
fn a_limit_counts_both() {
    let json = r#"{"envoy": {"span_kind": "server_and_client", "max_spans_per_second": 5}}"#;
    let mut tracer = tracer(json);
    let kept = (0..5).filter(|_| tracer.start(&Request::get(&[])).span.is_some()).count();
    assert_eq!(kept, 2, "of five spans a second");
}

#[test]
fn a_request_that_is_let_go_goes_on_with_one_context() {
    let mut tracer = tracer(
        r#"{"envoy": {"span_kind": "server_and_client"}, "tracer_provider": {"sampler": {"always_off": {}}}}"#,
    );
    let started = tracer.start(&Request::get(&[]));
    assert!(traceparent(&started).ends_with("-02"), "not sampled");
    assert!(started.span.is_none());
}

/// An answer with this `server-timing`.
struct Answer(String);

impl ResponseSource for Answer {
    fn shared(&self) -> &dyn Shared {
        &Process
    }

    fn first(&self, name: &str) -> Option<Vec<u8>> {
        (name == "server-timing").then(|| self.0.clone().into())
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.first(name)
    }

    fn part(&self) -> ResponsePart {
        ResponsePart::HeadersOnly
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn the_callee_knows_the_client_span_and_the_caller_its_own() {
    let mut tracer = tracer(
        r#"{"tracer_provider": {"sampler": {"always_off": {}}},
            "envoy": {"span_kind": "server_and_client", "keep": [{"callee_kept": {"tell_caller": true}}]}}"#,
    );
    let unsampled = TRACEPARENT.1.replace("-01", "-00");
    let started = tracer.start(&Request::get(&[("traceparent", &unsampled)]));
    let written = traceparent(&started);
    let mut span = started.span.expect("a rule may keep it");
    let told = written.strip_suffix("-00").expect("not sampled");
    let told = changes(tracer.respond(&mut span, &Answer(format!("trace;desc={told}-01"))));
    let caller = format!("add trace;desc={}", TRACEPARENT.1);
    let gone = ("server-timing".to_owned(), "remove".to_owned());
    assert_eq!(told, [gone, ("server-timing".to_owned(), caller)]);
    tracer.end(span, &went_well(&[]));
    let spans = spans(&mut tracer);
    assert_eq!(spans.len(), 2, "both are kept");
    for span in &spans {
        assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("callee_kept"));
        assert_eq!(span.span.flags & 1, 1);
    }
}
