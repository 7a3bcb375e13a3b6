//! A span's way from the queue to the collector, or to another filter: what the counters say of it.

use super::*;
use crate::export::answer::AnswerStatus;
use crate::lifecycle::handover::{NotTaken, Unreadable, Unsent};
use crate::lifecycle::registry::Findings;
use crate::otlp::Link;
use crate::stats::Held;

const SMALL: &str = r#"{"tracer_provider": {"processors": [{"batch": {"max_queue_size": 4, "max_export_batch_size": 2}}]}}"#;
const CALL: u32 = 7;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn held(open: u32, queued: u32, in_flight: u32) -> Held {
    Held { open, queued, in_flight }
}

/// A tracer with so many spans in its queue, which holds two in a batch; the host knows of them.
fn with_spans(spans: usize) -> Tracer {
    let mut tracer = tracer(SMALL);
    (0..spans).for_each(|_| pass(&mut tracer, "200"));
    counters(&mut tracer);
    tracer
}

/// Sends what is due as the call [`CALL`], and gives how many spans that are.
fn send(tracer: &mut Tracer, now: Duration) -> usize {
    let sent = next_request(tracer, now).expect("a batch is due").len();
    tracer.handle_called(CALL);
    sent
}

fn answer(tracer: &mut Tracer, status: u16, body: &[u8], now: Duration) {
    let answer = Answer::Http { status, retry_after: None, body };
    tracer.handle_answer(CALL, answer, now);
}

#[test]
fn a_batch_that_is_taken_is_exported() {
    let mut tracer = with_spans(3);
    assert_eq!(tracer.held(), held(0, 3, 0));
    assert!(tracer.has_work() && tracer.has_full_batch(), "two of three fill a batch");
    assert_eq!(send(&mut tracer, at(0)), 2);
    assert_eq!(tracer.held(), held(0, 1, 2));
    let moved = [("otel.sdk.exporter.span.queued", -2), ("otel.sdk.exporter.span.inflight", 2)];
    assert_eq!(counters(&mut tracer), moved);
    assert!(tracer.has_work() && !tracer.has_full_batch(), "one is on its way");
    // One of the two is rejected.
    answer(&mut tracer, 200, &[0x0a, 0x02, 0x08, 0x01], at(0));
    let taken = [
        ("otel.sdk.exporter.span.exported", 1),
        ("otel.sdk.exporter.span.rejected", 1),
        ("otel.sdk.exporter.span.inflight", -2),
    ];
    assert_eq!(counters(&mut tracer), taken);
    assert_eq!(tracer.held(), held(0, 1, 0));
    assert!(!tracer.has_full_batch(), "one of two fills none");
    assert!(next_request(&mut tracer, at(0)).is_none(), "the third waits for its batch to fill");
    assert_eq!(send(&mut tracer, at(1)), 1, "not for ever");
    answer(&mut tracer, 200, &[0x0a, 0x02, 0x08, 0x09], at(1));
    let rejected = [("otel.sdk.exporter.span.rejected", 1), ("otel.sdk.exporter.span.queued", -1)];
    assert_eq!(counters(&mut tracer), rejected, "no more than were sent");
    assert!(!tracer.has_work());
}

#[test]
fn a_batch_that_is_not_taken_is_sent_again_and_then_lost() {
    let mut tracer = with_spans(4);
    send(&mut tracer, at(0));
    counters(&mut tracer);
    answer(&mut tracer, 503, b"", at(0));
    let back = [("otel.sdk.exporter.span.queued", 2), ("otel.sdk.exporter.span.inflight", -2)];
    assert_eq!(counters(&mut tracer), back, "it waits again");
    assert_eq!(tracer.held(), held(0, 4, 0));
    assert!(!tracer.has_full_batch(), "nothing could be sent at once after a failure");
    assert!(next_request(&mut tracer, at(0)).is_none(), "not at once");
    assert_eq!(send(&mut tracer, at(10)), 2, "the same again");
    let again = [
        ("otel.sdk.exporter.retries", 1),
        ("otel.sdk.exporter.span.queued", -2),
        ("otel.sdk.exporter.span.inflight", 2),
    ];
    assert_eq!(counters(&mut tracer), again);
    answer(&mut tracer, 400, b"", at(10));
    let lost =
        [("otel.sdk.exporter.span.failed.refused", 2), ("otel.sdk.exporter.span.inflight", -2)];
    assert_eq!(counters(&mut tracer), lost);
}

#[test]
fn a_call_that_is_not_made_or_not_answered_is_a_failure() {
    let mut tracer = with_spans(4);
    next_request(&mut tracer, at(0)).expect("a batch");
    tracer.handle_not_called(Failure::NoCluster, at(0));
    let lost =
        [("otel.sdk.exporter.span.failed.no_cluster", 2), ("otel.sdk.exporter.span.queued", -2)];
    assert_eq!(counters(&mut tracer), lost);
    send(&mut tracer, at(0));
    assert!(tracer.is_in_flight(at(14)), "the host may still answer");
    assert!(!tracer.is_in_flight(at(15)), "no more");
    assert_eq!(tracer.held(), held(0, 2, 0), "the batch waits to be sent again");
    let late = Answer::Http { status: 200, retry_after: None, body: b"" };
    tracer.handle_answer(CALL, late, at(15));
    assert_eq!(tracer.held(), held(0, 2, 0), "what was given up is not known any more");
    assert_eq!(Metric::from(Failure::Refused(AnswerStatus::Http(400))), Metric::FailedRefused);
}

#[test]
fn without_a_delay_a_span_is_sent_at_the_next_look() {
    let mut tracer = tracer(
        r#"{"tracer_provider": {"processors": [{"batch": {"schedule_delay": 0, "max_export_batch_size": 9}}]}}"#,
    );
    assert!(next_request(&mut tracer, at(0)).is_none(), "nothing for nothing");
    pass(&mut tracer, "200");
    assert!(!tracer.has_full_batch(), "it fills no batch");
    assert_eq!(send(&mut tracer, at(0)), 1, "and does not wait for others");
}

#[test]
fn a_full_queue_loses_the_newest_or_the_oldest() {
    let full = ("otel.sdk.processor.span.dropped.queue_full", 3);
    for (policy, first, reason) in
        [("drop_newest", "1", "what was there stays"), ("drop_oldest", "4", "what comes stays")]
    {
        let json = SMALL.replacen('{', &format!(r#"{{"envoy": {{"queue_full": "{policy}"}}, "#), 1);
        let mut tracer = tracer(&json);
        for code in 1..=7 {
            pass(&mut tracer, &code.to_string());
        }
        assert_eq!(tracer.held(), held(0, 4, 0), "{reason}");
        assert!(counters(&mut tracer).contains(&full), "{reason}");
        let spans = next_request(&mut tracer, at(9)).expect("a batch");
        let code = spans[0].int("http.response.status_code").map(|code| code.to_string());
        assert_eq!(code.as_deref(), Some(first), "{reason}");
    }
}

#[test]
fn a_span_that_is_too_large_is_cut() {
    let truncated = "otel.sdk.processor.span.truncated";
    let too_large = "otel.sdk.processor.span.dropped.too_large";
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fits = "x".repeat(300);
    let long = "x".repeat(3000);
    let members =
        (0..32).map(|it| format!("k{it}={}", "v".repeat(250))).collect::<Vec<_>>().join(",");
    let cart = format!("/shop.Cart/{}", "\u{20ac}".repeat(2000));
    let grpc = [(":method", "POST"), (":path", &cart), ("content-type", "application/grpc")];
    let cases: [(&[(&str, &str)], bool, Option<(&str, usize)>, &str); 6] = [
        (&[("user-agent", &fits)], false, Some(("user_agent.original", 300)), "it fits"),
        (&[("user-agent", &long)], true, Some(("user_agent.original", 128)), "its texts are cut"),
        (
            &[(":method", &long), ("user-agent", &long)],
            true,
            Some(("http.request.method_original", 128)),
            "its method, too",
        ),
        (&grpc, true, Some(("rpc.method", 128)), "a long gRPC method"),
        (&[("traceparent", traceparent), ("tracestate", &members)], true, None, "a tracestate"),
        (
            &[
                ("user-agent", &long),
                (":path", &cart),
                ("x-forwarded-host", &cart),
                ("tracestate", &members),
                ("traceparent", traceparent),
            ],
            true,
            None,
            "all of it",
        ),
    ];
    for (headers, is_cut, text, reason) in cases {
        let mut tracer = tracer(r#"{"envoy": {"max_export_batch_bytes": 1024}}"#);
        let span = start(&mut tracer, &Request::new(headers));
        tracer.end(span, &outcome(&[("response.code", "200")]));
        let counted = counters(&mut tracer);
        let count =
            |name| counted.iter().find(|(known, _)| *known == name).map(|(_, count)| *count);
        assert_eq!(count(truncated), is_cut.then_some(1), "{reason}: {counted:?}");
        assert_eq!(count(too_large), None, "{reason}: {counted:?}");
        next_request(&mut tracer, at(0));
        let span = next_request(&mut tracer, at(9)).expect(reason).remove(0);
        if let Some((name, length)) = text {
            let found = span.text(name).map(|text| text.chars().count());
            assert_eq!(found, Some(length), "{reason}");
        }
        let state = span.span.trace_state.as_str();
        assert!(members.starts_with(state), "{reason}: whole members from the left: {state}");
        let status = ["http.response.status_code", "rpc.response.status_code"];
        let is_there = status.iter().any(|name| span.attributes().contains_key(*name));
        assert!(is_there, "{reason}: what is short is there: {:?}", span.attributes());
    }
}

#[test]
fn a_span_that_is_cut_names_the_rule_that_has_kept_it() {
    let long = "x".repeat(3000);
    let mut tracer = tracer(
        r#"{"tracer_provider": {"sampler": {"always_off": {}}},
        "envoy": {"max_export_batch_bytes": 1024, "keep": [{"error": {}}]}}"#,
    );
    let span = start(&mut tracer, &Request::get(&[("user-agent", &long)]));
    tracer.end(span, &outcome(&[("response.code", "503")]));
    next_request(&mut tracer, at(0));
    let span = next_request(&mut tracer, at(9)).expect("a batch").remove(0);
    let agent = span.text("user_agent.original").map(|text| text.len());
    assert_eq!(agent, Some(128), "it is cut");
    assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("error"));
}

#[test]
fn a_span_with_many_links_keeps_some() {
    let mut tracer = tracer(r#"{"envoy": {"max_export_batch_bytes": 1024}}"#);
    let mut span = start(&mut tracer, &Request::get(&[]));
    let link = Link { context: span.context().clone() };
    span.note_links(vec![link; 100]);
    tracer.end(span, &outcome(&[("response.code", "200")]));
    next_request(&mut tracer, at(0));
    let span = next_request(&mut tracer, at(9)).expect("a batch").remove(0);
    assert_eq!((span.span.links.len(), span.span.dropped_links_count), (3, 97));
}

#[test]
fn what_waits_is_handed_over_and_taken_over() {
    let mut old = with_spans(3);
    send(&mut old, at(0));
    answer(&mut old, 503, b"", at(0));
    counters(&mut old);
    let mut messages = Vec::new();
    let mut leave = |message: &[u8]| {
        messages.push(message.to_vec());
        Ok(())
    };
    assert_eq!(old.hand_over(&mut leave), 0, "none is lost");
    assert_eq!(counters(&mut old), [], "they wait as before");
    assert_eq!(old.held(), Held::NOTHING);
    assert_eq!(messages.len(), 2, "a request that is sent again, and the queue");

    let mut new = tracer(SMALL);
    for message in &messages {
        assert!(new.can_take_over());
        new.take_over(Unsent::read(message));
    }
    assert_eq!(new.held(), held(0, 3, 0));
    assert_eq!(counters(&mut new), [], "they are counted already");
    assert!(!new.can_take_over(), "a batch of two would not fit into what is left of four");
    for spans in [2, 1] {
        assert!(new.has_work() && new.has_full_batch(), "they are due at once");
        assert_eq!(send(&mut new, at(0)), usize::try_from(spans).expect("small"));
        answer(&mut new, 200, b"", at(0));
        let gone =
            [("otel.sdk.exporter.span.exported", spans), ("otel.sdk.exporter.span.queued", -spans)];
        assert_eq!(counters(&mut new), gone);
    }
    assert!(new.can_take_over(), "there is room again");
    new.take_over(Err(Unreadable { spans: 5 }));
    let lost =
        [("otel.sdk.processor.span.dropped.shutdown", 5), ("otel.sdk.exporter.span.queued", -5)];
    assert_eq!(counters(&mut new), lost, "of a version that is not known");
}

#[test]
fn what_is_taken_over_counts_under_the_limits_of_whoever_takes_it() {
    let full = "otel.sdk.processor.span.dropped.queue_full";
    let queued = "otel.sdk.exporter.span.queued";
    let unsent = |spans, bytes| Ok(Unsent { spans, request: vec![0; bytes] });
    let mut keeps = with_spans(3);
    keeps.take_over(unsent(2, 10));
    assert_eq!(counters(&mut keeps), [(full, 2), (queued, -2)], "no room: what comes is lost");
    assert_eq!(keeps.held(), held(0, 3, 0));
    let json = SMALL.replacen('{', r#"{"envoy": {"queue_full": "drop_oldest"}, "#, 1);
    let mut drops = tracer(&json);
    (0..3).for_each(|_| pass(&mut drops, "200"));
    counters(&mut drops);
    drops.take_over(unsent(2, 10));
    assert_eq!(counters(&mut drops), [(full, 1), (queued, -1)], "no room: the oldest is lost");
    drops.take_over(unsent(4, 10));
    assert_eq!(
        counters(&mut drops),
        [(full, 4), (queued, -4)],
        "and a whole request, if it is the oldest"
    );
    drops.take_over(unsent(5, 10));
    assert_eq!(counters(&mut drops), [(full, 5), (queued, -5)], "more than there is ever room for");
    assert_eq!(drops.held(), held(0, 4, 0), "takes nothing away");
    let sent = drops.poll_export(at(0)).expect("a request").body.bytes.len();
    assert_eq!(sent, 10, "the request that was taken over whole");
    let mut tight =
        tracer(r#"{"envoy": {"max_queue_bytes": 2000, "max_export_batch_bytes": 1500}}"#);
    tight.take_over(unsent(1, 2000));
    assert_eq!(tight.held(), held(0, 1, 0), "an empty queue has room for what it may hold");
    tight.take_over(unsent(1, 1));
    assert_eq!(tight.held(), held(0, 1, 0), "and for no byte more");
    let mut tight = tracer(r#"{"envoy": {"max_queue_bytes": 2000}}"#);
    tight.take_over(unsent(1, 2001));
    assert_eq!(tight.held(), Held::NOTHING, "nor when it is empty");
}

#[test]
fn what_nobody_can_deliver_is_lost() {
    let mut tracer = tracer(SMALL);
    assert_eq!(tracer.lose_unsent(&Ok(Unsent { spans: 3, request: Vec::new() })), 3);
    assert_eq!(tracer.lose_unsent(&Err(Unreadable { spans: 2 })), 2);
    let lost =
        [("otel.sdk.processor.span.dropped.shutdown", 5), ("otel.sdk.exporter.span.queued", -5)];
    assert_eq!(counters(&mut tracer), lost);
}

#[test]
fn what_is_on_its_way_is_handed_over_where_no_answer_will_come() {
    let mut tracer = with_spans(2);
    send(&mut tracer, at(0));
    counters(&mut tracer);
    assert_eq!(tracer.hand_over(|_| panic!("nothing waits")), 0);
    let mut messages = 0;
    let lost = tracer.hand_over_all(|_| {
        messages += 1;
        Ok(())
    });
    assert_eq!((messages, lost), (1, 0));
    let waits = [("otel.sdk.exporter.span.queued", 2), ("otel.sdk.exporter.span.inflight", -2)];
    assert_eq!(counters(&mut tracer), waits, "it waits for whoever takes it over");
}

#[test]
fn what_nobody_takes_over_is_lost() {
    let shutdown = "otel.sdk.processor.span.dropped.shutdown";
    let (queued, in_flight) = ("otel.sdk.exporter.span.queued", "otel.sdk.exporter.span.inflight");
    let mut tracer = with_spans(3);
    send(&mut tracer, at(0));
    counters(&mut tracer);
    assert_eq!(tracer.hand_over(|_| Err(NotTaken)), 1, "it says how many");
    assert_eq!(tracer.hand_over_all(|_| Err(NotTaken)), 2, "also of those on their way");
    assert_eq!(counters(&mut tracer), [(shutdown, 3), (queued, -1), (in_flight, -2)]);

    let mut tracer = with_spans(3);
    send(&mut tracer, at(0));
    tracer.take_over(Ok(Unsent { spans: 1, request: Vec::new() }));
    counters(&mut tracer);
    assert_eq!(tracer.shut_down(), 4);
    assert_eq!(counters(&mut tracer), [(shutdown, 4), (queued, -2), (in_flight, -2)]);
    assert!(!tracer.has_work());
}

#[test]
fn a_span_that_is_put_aside_is_handed_over_too() {
    let mut tracer = tracer("{}");
    let span = start(&mut tracer, &Request::get(&[]));
    let details = [("response.code_details", "internal_redirect")];
    tracer.end(span, &outcome(&details));
    let mut spans = 0;
    let lost = tracer.hand_over(|message| {
        spans += Unsent::read(message).expect("ours").spans;
        Ok(())
    });
    assert_eq!((spans, lost), (1, 0));
}

#[test]
fn what_a_crash_took_is_counted() {
    let mut tracer = with_spans(1);
    let findings = Findings { lost: vec![held(1, 2, 4), held(0, 8, 16)], ..Findings::default() };
    tracer.note(&findings);
    let counted = [
        ("otel.sdk.processor.span.dropped.crash", 31),
        ("otel.sdk.exporter.span.queued", -10),
        ("otel.sdk.exporter.span.inflight", -20),
    ];
    assert_eq!(counters(&mut tracer), counted);
    tracer.note(&Findings { regained: Some(held(1, 1, 0)), ..Findings::default() });
    assert_eq!(counters(&mut tracer), [("otel.sdk.exporter.span.queued", 1)], "told anew");
}
