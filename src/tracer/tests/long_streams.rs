//! `long_streams`: what is told of a request before its end, and what its end says then.

use super::keep::warm;
use super::several::{spans, traceparent};
use super::*;
use crate::span::Sampling;
use crate::tracer::LookAgain::{Later, Never};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// A look at a request that is open, after so many seconds.
fn open(seconds: u64) -> Outcome {
    let took = (seconds * 1_000_000_000).to_string();
    outcome(&[
        ("took", &took),
        ("response.code", "101"),
        ("connection.id", "3"),
        ("source.address", "10.0.0.1:40000"),
        ("upstream.address", "10.0.0.2:8080"),
        ("upstream.request_attempt_count", "1"),
        ("xds.cluster_name", "shop"),
    ])
}

fn configuration(kind: &str, keep: &str) -> String {
    let sampler = if keep.is_empty() { "always_on" } else { "always_off" };
    format!(
        r#"{{"tracer_provider": {{"sampler": {{"{sampler}": {{}}}}}},
            "envoy": {{"long_streams": 2000, "span_kind": "{kind}", "keep": [{keep}]}}}}"#
    )
}

fn sampled(tracer: &mut Tracer) -> i64 {
    let counted = counters(tracer);
    counted.iter().find(|(name, _)| *name == "otel.sdk.span.sampled").map_or(0, |it| it.1)
}

#[test]
fn one_that_is_kept_is_told_once_below_its_own_span() {
    for kind in ["server", "server_and_client"] {
        let mut tracer = tracer(&configuration(kind, ""));
        assert_eq!(tracer.long_streams(), Some(Duration::from_secs(2)));
        let mut span = start(&mut tracer, &Request::get(&[]));
        for (look, reason) in [(open(2), "news"), (open(4), "told")] {
            assert_eq!(tracer.tell_open(&mut span, &look), Never, "{kind}: {reason}");
        }
        assert_eq!(tracer.held().open, 1, "{kind}: it is under way");
        tracer.end(span, &open(5));
        let spans_of = spans(&mut tracer);
        assert_eq!(sampled(&mut tracer), i64::try_from(spans_of.len()).expect("few"), "{kind}");
        assert_eq!(spans_of.len(), if kind == "server" { 2 } else { 3 }, "{kind}: {spans_of:#?}");
        let (told, ended) = (&spans_of[0], &spans_of[1]);
        assert_eq!((told.span.kind(), ended.span.kind()), (SpanKind::Internal, SpanKind::Server));
        assert_eq!((told.trace_id(), told.parent_id()), (ended.trace_id(), ended.span_id()));
        assert_eq!(told.span.flags, 0x103, "a parent of this process");
        assert_eq!(told.span.name, "GET (open)");
        let time = |span: &Span| span.span.end_time_unix_nano - span.span.start_time_unix_nano;
        assert_eq!((time(told), time(ended)), (2_000_000_000, 5_000_000_000), "until now");
        assert_eq!(told.text("envoy.stream_state").as_deref(), Some("open"));
        assert_eq!(ended.text("envoy.stream_state"), None);
        assert_eq!(told.text("envoy.upstream_address").as_deref(), Some("10.0.0.2:8080"));
        assert_eq!(told.int("http.response.status_code"), Some(101));
    }
}

#[test]
fn how_it_ends_is_not_said_before() {
    let grpc = [(":method", "POST"), ("content-type", "application/grpc"), (":path", "/a.B/C")];
    for request in [Request::new(&grpc), Request::get(&[])] {
        let mut tracer = tracer(&configuration("client", ""));
        let mut span = start(&mut tracer, &request);
        tracer.tell_open(&mut span, &outcome(&[("took", "2000000000")]));
        tracer.end(span, &open(5));
        let spans = spans(&mut tracer);
        let told = &spans[0];
        assert!(!told.is_error(), "{:#?}", told.attributes());
        for unknown in ["error.type", "rpc.response.status_code", "http.response.status_code"] {
            assert_eq!(told.text(unknown), None, "{unknown}");
        }
    }
}

#[test]
fn one_that_is_undecided_is_told_when_a_rule_is_certain() {
    let slow = r#"{"slower_than": 3000}"#;
    for (keep, looks, told, reason) in [
        (slow, [(2, Later), (4, Never)], true, "a rule that is certain by then"),
        (r#"{"error": {}}"#, [(2, Later), (4, Later)], false, "one that its end decides"),
        (r#"{"slower_than": 3000, "ratio": 0}"#, [(2, Later), (4, Later)], false, "a share"),
    ] {
        let mut tracer = warm(&configuration("server", keep));
        let request = Request::get(&[]);
        let mut span = start(&mut tracer, &request);
        let asked = request.asked.take();
        assert!(asked.contains(&"all headers".into()), "nobody reads them later: {asked:?}");
        assert_eq!(*span.sampling(), Sampling::Undecided, "{reason}");
        for (seconds, expected) in looks {
            assert_eq!(tracer.tell_open(&mut span, &open(seconds)), expected, "{reason}");
        }
        tracer.end(span, &open(5));
        let spans = spans(&mut tracer);
        assert_eq!(spans.len(), if told { 2 } else { 0 }, "{reason}");
        let counted = counters(&mut tracer);
        for name in ["otel.sdk.span.sampled", "otel.sdk.span.kept_by_rule"] {
            let number = counted.iter().find(|(known, _)| *known == name).map_or(0, |it| it.1);
            assert_eq!(number, if told { 2 } else { 0 }, "{reason}: {name}");
        }
        for span in &spans {
            assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("slower_than"), "{reason}");
            assert_eq!(span.span.trace_state, "ot=th:0", "{reason}");
        }
    }
}

#[test]
fn one_for_which_there_is_no_room_is_not_told() {
    let json = configuration("server", r#"{"slower_than": 1000}"#)
        .replace(r#""keep""#, r#""max_spans_per_second": 1, "keep""#);
    let mut tracer = tracer(&json);
    let mut first = start(&mut tracer, &Request::get(&[]));
    let mut second = start(&mut tracer, &Request::get(&[]));
    assert_eq!(tracer.tell_open(&mut first, &open(2)), Never);
    assert_eq!(tracer.tell_open(&mut second, &open(2)), Never);
    assert_eq!(*second.sampling(), Sampling::Refused);
    assert_eq!(spans(&mut tracer).len(), 1, "the first one alone");
}

#[test]
fn a_second_pass_is_not_told_again() {
    let mut tracer = tracer(&configuration("server", ""));
    let started = tracer.start(&Request::get(&[]));
    let written = traceparent(&started);
    let mut span = started.span.expect("it is kept");
    tracer.tell_open(&mut span, &open(2));
    let redirected = [("response.code", "302"), ("response.code_details", "internal_redirect")];
    let mark = tracer.end(span, &outcome(&redirected)).expect("its second pass will bear it");
    let marks = mark.to_bytes().to_vec();
    let second = Request { marks, ..Request::get(&[("traceparent", &written)]) };
    let mut span = start(&mut tracer, &second);
    assert_eq!(tracer.tell_open(&mut span, &open(4)), Never);
    tracer.end(span, &open(5));
    assert_eq!(spans(&mut tracer).len(), 2, "told once");
}
