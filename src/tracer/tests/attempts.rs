//! The filter in a cluster: what it sees there of a request, and what it must not ask for.

use super::several::traceparent;
use super::*;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// An attempt of a request with these headers, to which the one before has left something.
fn attempt(number: u64, headers: &[(&str, &str)], left: Option<Lineage>) -> Request {
    let lineage = left.map_or_else(Vec::new, |left| left.to_bytes().to_vec());
    Request { attempt: number, lineage, ..Request::get(headers) }
}

/// Starts an attempt: the traceparent that it goes on with, and its span.
fn begin(tracer: &mut Tracer, request: &Request) -> (String, OpenSpan) {
    let started = tracer.start(request);
    (traceparent(&started), started.span.expect("it is kept"))
}

/// All spans that are there.
fn spans(tracer: &mut Tracer) -> Vec<Span> {
    next_request(tracer, Duration::ZERO);
    next_request(tracer, Duration::from_mins(1)).unwrap_or_default()
}

#[test]
fn the_attempts_of_a_request_have_one_parent() {
    for (carried, parent, reason) in [
        (&[("traceparent", PARENT)][..], "00f067aa0ba902b7", "the request's span"),
        (&[][..], "", "a request without one"),
    ] {
        let mut tracer = tracer("{}");
        let (written, first) = begin(&mut tracer, &attempt(1, carried, None));
        let left = Lineage::of(&first);
        let headers = [("traceparent", written.as_str())];
        let (written, second) = begin(&mut tracer, &attempt(2, &headers, left));
        let left = Lineage::of(&second);
        // Somebody else has written a context since: an internal redirect, and Envoy's own tracer.
        let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ff-01";
        let (_, third) = begin(&mut tracer, &attempt(1, &[("traceparent", other)], left));
        assert_ne!(written, headers[0].1, "{reason}: each has an id");
        for span in [first, second, third] {
            tracer.end(span, &outcome(&[("xds.listener_direction", "1")]));
        }
        let spans = spans(&mut tracer);
        let parents: Vec<_> = spans.iter().map(Span::parent_id).collect();
        assert_eq!(parents, [parent, parent, "00000000000000ff"], "{reason}");
        assert_eq!(spans[0].trace_id(), spans[1].trace_id(), "{reason}: one trace");
        assert!(spans.iter().all(|it| it.span.kind() == SpanKind::Client), "{reason}");
    }
}

#[test]
fn an_attempt_is_asked_for_nothing_of_the_downstream_connection() {
    // The rule of client.address would hold of no request: it is there for what it asks for.
    let json = r#"{"tracer_provider": {"sampler": {"composite/development": {"rule_based": {"rules": [
            {"attribute_values": {"key": "client.address", "values": ["10.0.0.9"]}, "sampler": {"always_off": {}}},
            {"sampler": {"always_on": {}}}]}}}},
        "envoy": {"keep": [{"condition": "source.port == 1"}, {"condition": "response.code == 503"},
            {"error": {}, "attribute_values": {"key": "network.peer.address", "values": ["10.0.0.9"]}}]}}"#;
    let mut tracer = tracer(json);
    let request = attempt(1, &[], None);
    let (_, mut span) = begin(&mut tracer, &request);
    span.note_status(Some(503));
    let ended = outcome(&[("upstream.request_attempt_count", "1"), ("response.code", "503")]);
    tracer.end(span, &ended);
    let asked = [request.asked.take(), ended.asked.take()].concat();
    for name in ["source.", "destination.", "connection.", "listener", "any condition"] {
        assert!(!asked.iter().any(|it| it.contains(name)), "{name}: {asked:?}");
    }
}

#[test]
fn what_an_attempt_is_asked_for_when_it_has_ended() {
    let details =
        "upstream.address, upstream.request_attempt_count, xds.cluster_name, xds.route_name";
    let flags = "response.flags, response.code";
    let count = "upstream.request_attempt_count";
    let none = r#"{"envoy": {"details": "failures"}}"#;
    let cases = [
        ("{}", Some(200), details.to_owned(), "one that succeeded"),
        (none, Some(200), String::new(), "the same without details"),
        (none, Some(503), details.to_owned(), "one that failed"),
        (
            none,
            None,
            format!(
                "{flags}, {count}, upstream.local_address, upstream.transport_failure_reason, {details}"
            ),
            "one without a response",
        ),
    ];
    for (json, status, expected, reason) in cases {
        let mut tracer = tracer(json);
        let (_, mut span) = begin(&mut tracer, &attempt(1, &[], None));
        span.note_status(status);
        let ended = outcome(&[
            ("upstream.request_attempt_count", "1"),
            ("upstream.address", "10.0.0.2:80"),
        ]);
        tracer.end(span, &ended);
        assert_eq!(ended.asked.take().join(", "), expected, "{reason}");
        let spans = spans(&mut tracer);
        assert_eq!(spans[0].int("http.response.status_code"), status.map(i64::from), "{reason}");
        assert_eq!(spans[0].int("envoy.request_attempt_count"), Some(1), "{reason}");
    }
}

#[test]
fn what_envoy_tells_of_another_attempt_is_not_said() {
    let mut tracer = tracer("{}");
    let (_, mut span) = begin(&mut tracer, &attempt(1, &[], None));
    span.note_status(Some(200));
    tracer.end(
        span,
        &outcome(&[("upstream.request_attempt_count", "2"), ("upstream.address", "10.0.0.3:80")]),
    );
    let spans = spans(&mut tracer);
    assert_eq!(spans[0].text("network.peer.address"), None, "of the second attempt");
}

#[test]
fn an_attempt_of_a_request_that_is_answered_has_no_span() {
    let mut tracer = tracer("{}");
    let request = Request { answered: true, ..attempt(1, &[("traceparent", PARENT)], None) };
    assert!(tracer.start(&request).span.is_none(), "nobody would end it");
    assert_eq!(tracer.held().open, 0);
}

#[test]
fn a_chain_is_asked_a_few_times_and_where_a_request_bears_its_own_context() {
    let mut tracer = tracer("{}");
    let mut own = String::new();
    let mut asked = 0;
    for _ in 0..100 {
        let request = Request::get(&[]);
        let started = tracer.start(&request);
        own = traceparent(&started);
        asked += request.attempts_asked.get();
    }
    assert_eq!(asked, 16, "then it is known");
    let strangers: usize = (1..=64)
        .map(|number| {
            let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{number:016x}-01");
            let request = Request::get(&[("traceparent", &parent)]);
            tracer.start(&request);
            request.attempts_asked.get()
        })
        .sum();
    assert!(strangers < 4, "hardly any of another one's: {strangers}");
    let request = attempt(1, &[("traceparent", &own)], None);
    let (_, span) = begin(&mut tracer, &request);
    assert_eq!(request.attempts_asked.get(), 1, "a filter in a cluster has the same root");
    assert!(span.attempt().is_some());
    let request = Request::get(&[]);
    tracer.start(&request);
    assert_eq!(request.attempts_asked.get(), 1, "from then on each is asked");
}

#[test]
fn an_attempt_does_not_take_the_span_that_waits_for_a_second_pass() {
    let mut tracer = tracer("{}");
    let span = start(&mut tracer, &Request::get(&[]));
    let redirected = [("response.code", "302"), ("response.code_details", "internal_redirect")];
    let mark = tracer.end(span, &outcome(&redirected)).expect("its second pass will bear it");
    let marks = mark.to_bytes().to_vec();
    // The route of the second pass has no filter in the chain.
    let request = Request { marks: marks.clone(), ..attempt(1, &[], None) };
    assert!(begin(&mut tracer, &request).1.attempt().is_some(), "a span of its own");
    let second = Request { marks, ..Request::get(&[]) };
    assert!(start(&mut tracer, &second).attempt().is_none(), "the one that waited");
}

#[test]
fn how_long_an_attempt_may_take_is_known_whenever_its_headers_are_read() {
    let parents = [&[("traceparent", PARENT)][..], &[]];
    for (parent, last) in parents.into_iter().flat_map(|it| [(it, parents[0]), (it, parents[1])]) {
        let mut tracer = tracer("{}");
        // What the last request needed decides when the next one's headers are read.
        begin(&mut tracer, &attempt(1, last, None));
        let headers = [parent, &[("x-envoy-expected-rq-timeout-ms", "200")]].concat();
        let (_, span) = begin(&mut tracer, &attempt(1, &headers, None));
        tracer
            .end(span, &outcome(&[("upstream.request_attempt_count", "1"), ("took", "200000000")]));
        let spans = spans(&mut tracer);
        assert_eq!(spans[0].text("error.type").as_deref(), Some("UT"), "{parent:?} after {last:?}");
    }
}

#[test]
fn an_attempt_that_follows_one_that_was_let_go_knows_it_too() {
    let json = r#"{"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": {"keep": [{"error": {}}]}}"#;
    let mut tracer = tracer(json);
    for _ in 0..2 {
        let headers = [("x-envoy-expected-rq-timeout-ms", "200")];
        let (_, span) = begin(&mut tracer, &attempt(1, &headers, None));
        tracer
            .end(span, &outcome(&[("upstream.request_attempt_count", "1"), ("took", "200000000")]));
    }
    let spans = spans(&mut tracer);
    let errors: Vec<_> = spans.iter().filter_map(|it| it.text("error.type")).collect();
    assert_eq!(errors, ["UT", "UT"]);
}

#[test]
fn a_request_that_has_a_client_span_in_the_chain_is_left_alone() {
    let client = "00f067aa0ba902b7";
    let cases = [
        (1, client, true, "the first attempt"),
        (2, client, true, "a retry"),
        (0, client, false, "another filter in the chain"),
        (1, "00f067aa0ba902b8", false, "somebody else's span is in between"),
        (1, "", false, "none has said so"),
    ];
    for (number, client_span, is_left_alone, reason) in cases {
        let mut tracer = tracer("{}");
        let request = Request { client_span, ..attempt(number, &[("traceparent", PARENT)], None) };
        let started = tracer.start(&request);
        assert_eq!(started.span.is_none(), is_left_alone, "{reason}");
        assert_eq!(started.changes.iter().next().is_none(), is_left_alone, "{reason}");
    }
}

#[test]
fn what_an_attempt_bears_comes_from_no_stranger() {
    let mut tracer = tracer(r#"{"envoy": {"incoming": "restart", "expose": ["filter_state"]}}"#);
    let request = attempt(1, &[("traceparent", PARENT)], None);
    let (written, span) = begin(&mut tracer, &request);
    assert!(written.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{written}");
    assert_eq!(span.links(), [], "it is continued");
    assert!(tracer.take_exposed().is_none(), "access logs have the request's span");
}

#[test]
fn an_attempt_is_one_span_and_is_not_asked_for_peers_by_attributes() {
    let mut tracer = tracer(
        r#"{"envoy": {"span_kind": "server_and_client", "attributes": ["client.port", "network.local.port",
            {"name": "port", "expression": "source.port"}, {"name": "code", "expression": "response.code"}]}}"#,
    );
    let (_, mut span) = begin(&mut tracer, &attempt(1, &[], None));
    span.note_status(Some(200));
    let ended = outcome(&[("upstream.request_attempt_count", "1")]);
    tracer.end(span, &ended);
    let asked = ended.asked.take();
    for name in ["source.", "destination."] {
        assert!(!asked.iter().any(|it| it.contains(name)), "{name}: {asked:?}");
    }
    assert_eq!(spans(&mut tracer).len(), 1);
}
