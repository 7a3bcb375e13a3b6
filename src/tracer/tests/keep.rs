//! Rules on how a request ended: whole ways of requests that the sampler has let go, and what each of them asks of the host.

use super::several::{context, traceparent};
use super::*;
use crate::context::SpanContext;
use crate::envoy::headers::Headers;
use crate::semconv::request::RequestProtocol;
use crate::span::{Identity, RequestHead, Sampling};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const STARTED: (&str, i64) = ("otel.sdk.span.started", 1);
const KEPT: [(&str, i64); 3] = [
    ("otel.sdk.span.sampled", 1),
    ("otel.sdk.span.kept_by_rule", 1),
    ("otel.sdk.exporter.span.queued", 1),
];

/// A traceparent with these flags.
fn parent(flags: &str) -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-{flags}")
}

/// A configuration with these rules, in which the sampler lets every request go.
fn rules(keep: &str) -> String {
    with_sampler(r#"{"always_off": {}}"#, keep)
}

fn with_sampler(sampler: &str, keep: &str) -> String {
    format!(
        r#"{{"tracer_provider": {{"sampler": {sampler}, "processors": [{{"batch": {{"schedule_delay": 0}}}}]}},
            "envoy": {{"keep": {keep}}}}}"#
    )
}

/// A tracer that has seen enough requests to know that their headers can be read later.
pub(super) fn warm(json: &str) -> Tracer {
    let mut tracer = tracer(json);
    for _ in 0..20 {
        let span = start(&mut tracer, &Request::get(&[]));
        tracer.end(span, &ended("200", &[]));
    }
    spans(&mut tracer);
    counters(&mut tracer);
    tracer
}

/// A request that ended with this status; its headers are still there, and these more.
fn ended(code: &str, headers: &[(&str, &str)]) -> Outcome {
    Outcome { headers: Some(Request::get(headers).headers), ..outcome(&[("response.code", code)]) }
}

/// That of a request over HTTP/3: nobody knows its headers any more.
fn ended_without_headers(code: &str) -> Outcome {
    Outcome { headers: None, ..ended(code, &[]) }
}

/// The spans that are there; the collector takes them.
fn spans(tracer: &mut Tracer) -> Vec<Span> {
    const CALL: u32 = 7;
    let Some(spans) = next_request(tracer, Duration::ZERO) else { return Vec::new() };
    tracer.handle_called(CALL);
    let answer = Answer::Http { status: 200, retry_after: None, body: b"" };
    tracer.handle_answer(CALL, answer, Duration::ZERO);
    spans
}

/// The only span that is there, if any is.
fn span(tracer: &mut Tracer) -> Option<Span> {
    let mut spans = spans(tracer);
    assert!(spans.len() < 2, "one request, one span");
    spans.pop()
}

#[test]
fn a_failure_is_kept_that_was_let_go() {
    let half = r#"[{"error": {}, "ratio": 0.5}]"#;
    let cases = [
        (None, half, "200", None, "let go"),
        (None, r#"[{"error": {}}]"#, "503", Some("ot=th:0"), "kept"),
        (Some("a=1,ot=th:4;x:y"), half, "503", Some("ot=th:8;x:y,a=1"), "others' members stay"),
        (
            Some("a=1,ot=rv:80000000000000"),
            half,
            "503",
            Some("ot=th:8;rv:80000000000000,a=1"),
            "the randomness is the one that came",
        ),
        (Some("ot=rv:7fffffffffffff"), half, "503", None, "and short of the threshold"),
        (Some("ot=th:4;rv:ffffffffffffff"), half, "200", None, "it ended well"),
    ];
    for (state, keep, code, kept, reason) in cases {
        let mut tracer = tracer(&rules(keep));
        let came = parent("01");
        let mut headers: Vec<_> = state.map(|state| ("tracestate", state)).into_iter().collect();
        if state.is_some() {
            headers.push(("traceparent", &came));
        }
        let started = tracer.start(&Request::get(&headers));
        let changes = changes(started.changes);
        let flags = if state.is_some() { "-00" } else { "-02" };
        assert!(changes[0].1.ends_with(flags), "{reason}: not sampled, so far: {changes:?}");
        assert!(!changes.iter().any(|it| it.1.contains("th:")), "{reason}: nothing is promised");
        let sent = traceparent(&started);
        let open = started.span.expect("it may be kept");
        assert_eq!(tracer.held().open, 0, "{reason}: nothing would be lost");
        assert_eq!(counters(&mut tracer), [STARTED], "{reason}");
        tracer.end(open, &ended(code, &[]));
        assert_eq!((tracer.held().open, tracer.open_bytes), (0, 0), "{reason}");
        let expected: &[_] = if kept.is_some() { &KEPT } else { &[] };
        assert_eq!(counters(&mut tracer), expected, "{reason}");
        let span = span(&mut tracer);
        let said = span.as_ref().map(|it| it.span.trace_state.as_str());
        assert_eq!(said, kept, "{reason}");
        if let Some(span) = span {
            assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("error"), "{reason}");
            assert_eq!(span.span.flags & 1, 1, "{reason}: it is sampled now");
            let ids = format!("-{}-{}-", span.trace_id(), span.span_id());
            assert!(sent.contains(&ids), "{reason}: the parent of what is called");
        }
    }
}

#[test]
fn a_request_that_is_let_go_is_asked_whether_it_has_ended_well() {
    let off = r#"{"tracer_provider": {"sampler": {"always_off": {}}}}"#;
    let keep = r#"[{"error": {}}, {"slower_than": 1000, "attribute_patterns": {"key": "url.path", "included": ["/api/*"]}},
        {"condition": "response.code == 429"}]"#;
    let (parent, carried) = (parent("00"), "all headers");
    let early = "has traceparent, has x-envoy-original-path, has x-envoy-original-host";
    for (headers, without, with, reason) in [
        (vec![], "has traceparent", early, "no parent"),
        (vec![("traceparent", parent.as_str())], carried, carried, "a parent"),
    ] {
        let mut ways = Vec::new();
        for configuration in [off, &rules(keep)] {
            let mut tracer = tracer(configuration);
            for _ in 0..20 {
                if let Some(span) = tracer.start(&Request::get(&headers)).span {
                    tracer.end(span, &ended("200", &[]));
                }
            }
            let request = Request::get(&headers);
            let open = tracer.start(&request).span;
            let mut asked = request.asked.take();
            // The clock is no call that returns data.
            asked.retain(|call| call != "now");
            let mut read = Vec::new();
            if let Some(open) = open {
                let outcome = ended("200", &[]);
                tracer.end(open, &outcome);
                read = outcome.asked.take();
            }
            ways.push((asked.join(", "), read));
        }
        let look = vec!["ended well".to_owned()];
        let expected = [(without.to_owned(), Vec::new()), (with.to_owned(), look)];
        assert_eq!(ways, expected, "{reason}: what is not there costs little");
    }
}

#[test]
fn headers_are_read_where_they_are_needed() {
    let json = rules(
        r#"[{"error": {}, "attribute_values": {"key": "http.request.header.x-tenant", "values": ["a"]}}]"#,
    );
    let start_asked = |tracer: &mut Tracer, headers: &[(&str, &str)]| {
        let request = Request::get(headers);
        let span = start(tracer, &request);
        (request.asked.take().contains(&"all headers".to_owned()), span)
    };
    let mut tracer = tracer(&json);
    for number in 1..=15 {
        let (is_early, span) = start_asked(&mut tracer, &[]);
        assert!(is_early, "nobody knows yet whether they can be read later: {number}");
        tracer.end(span, &ended("200", &[]));
    }
    let (is_early, open) = start_asked(&mut tracer, &[]);
    assert!(!is_early, "all could be read");
    let end = ended("503", &[("x-tenant", "a"), ("user-agent", "curl")]);
    tracer.end(open, &end);
    assert!(end.asked.take().contains(&"all headers".to_owned()), "now that it is kept");
    let kept = span(&mut tracer).expect("it is kept");
    assert_eq!(kept.text("user_agent.original").as_deref(), Some("curl"));
    assert_eq!(kept.text("url.path").as_deref(), Some("/"));

    for name in ["x-envoy-original-path", "x-envoy-original-host"] {
        let (is_early, open) = start_asked(&mut tracer, &[(name, "/forged"), ("x-tenant", "a")]);
        assert!(is_early, "what a caller says of {name} is not what Envoy will");
        tracer.end(open, &ended("503", &[(name, "/forged"), (":path", "/changed")]));
        let kept = span(&mut tracer).expect("it is kept");
        assert_eq!(kept.text("url.path").as_deref(), Some("/"), "as it came");
    }

    let (is_early, open) = start_asked(&mut tracer, &[]);
    assert!(!is_early);
    let changed = [
        ("x-envoy-original-path", "/before?a=b"),
        ("x-envoy-original-host", "outside:8080"),
        ("x-tenant", "a"),
    ];
    tracer.end(open, &ended("503", &changed));
    let kept = span(&mut tracer).expect("it is kept");
    assert_eq!(kept.text("url.path").as_deref(), Some("/before"), "as it was before Envoy");
    assert_eq!(kept.text("server.address").as_deref(), Some("outside"));

    let (is_early, open) = start_asked(&mut tracer, &[]);
    assert!(!is_early);
    tracer.end(open, &ended_without_headers("200"));
    for number in 1..2000 {
        let (is_early, open) = start_asked(&mut tracer, &[("x-tenant", "a")]);
        assert!(is_early, "they could not be read later: {number}");
        tracer.end(open, &ended_without_headers("503"));
        assert!(span(&mut tracer).is_some(), "and what they say is known");
    }
    for number in 1..1000 {
        let (is_early, open) = start_asked(&mut tracer, &[]);
        assert!(is_early, "the last of these is not long ago: {number}");
        tracer.end(open, &ended("200", &[]));
    }
    assert!(!start_asked(&mut tracer, &[]).0, "they can be read again");
}

/// A listener of HTTP/3 alone: no request of it has headers when it has ended, not even the first of which that could be thought.
#[test]
fn no_headers_are_missed_where_none_can_be_read_later() {
    let mut tracer = tracer(&rules(r#"[{"error": {}}]"#));
    for number in 1..2100 {
        let open = start(&mut tracer, &Request::get(&[]));
        tracer.end(open, &ended_without_headers("503"));
        let kept = span(&mut tracer).expect("it is kept");
        assert_eq!(kept.text("url.path").as_deref(), Some("/"), "{number}");
    }
}

#[test]
fn a_call_is_known_by_its_status_where_its_headers_are_not_read_yet() {
    let json = rules(r#"[{"error": {}}]"#).replacen(
        "{\"keep\"",
        "{\"trace_telemetry_exports\": true, \"keep\"",
        1,
    );
    let grpc =
        [(":method", "POST"), (":path", "/shop.Cart/Get"), ("content-type", "application/grpc")];
    let cases = [
        ("0", None, "it succeeded"),
        ("5", None, "its caller's mistake"),
        ("13", Some("INTERNAL"), "the server's fault"),
        ("x", Some("UNKNOWN"), "no number"),
    ];
    for (status, error, reason) in cases {
        let mut tracer = warm(&json);
        let request = Request::new(&grpc);
        let mut open = start(&mut tracer, &request);
        assert!(!request.asked.take().contains(&"all headers".to_owned()), "{reason}");
        assert!(open.may_be_grpc(), "{reason}: its status is looked for");
        open.note_grpc_status(status.as_bytes());
        let headers = Some(Request::new(&grpc).headers);
        tracer.end(open, &Outcome { headers, ..ended("200", &[]) });
        let kept = span(&mut tracer);
        let found = kept.as_ref().and_then(|it| it.text("error.type"));
        assert_eq!(found.as_deref(), error, "{reason}");
        assert_eq!(kept.is_some(), error.is_some(), "{reason}");
        if let Some(kept) = kept {
            assert_eq!(kept.span.name, "shop.Cart/Get", "{reason}");
        }
    }
}

#[test]
fn the_first_rule_that_matches_names_the_span() {
    let keep = r#"[
        {"condition": "response.code == 418", "ratio": 0, "name": "never"},
        {"error": {}, "attribute_patterns": {"key": "url.path", "included": ["/a*"]}, "name": "failed"},
        {"slower_than": 300, "attribute_values": {"key": "http.request.method", "values": ["GET"]}},
        {"condition": "response.code == 429", "ratio": 0.5, "name": "throttled"},
        {"condition": "response.code == 404"}]"#;
    let milliseconds = |count: u64| (count * 1_000_000).to_string();
    let cases = [
        ("/", "200", 5, None, "nothing of it"),
        ("/", "418", 400, None, "the first has decided"),
        ("/a", "503", 400, Some("failed"), "the second"),
        ("/b", "503", 5, None, "another path"),
        ("/b", "503", 301, Some("slower_than"), "slow"),
        ("/b", "503", 300, None, "not slower than that"),
        ("/", "429", 5, Some("throttled"), "a condition"),
        ("/", "404", 5, Some("condition"), "a rule without a name"),
    ];
    for (path, code, took, kept, reason) in cases {
        for mut tracer in [tracer(&rules(keep)), warm(&rules(keep))] {
            let came = parent("00");
            let headers = [(":method", "GET"), (":path", path), ("traceparent", &came)];
            let open = start(&mut tracer, &Request::new(&headers));
            let took = milliseconds(took);
            let attributes = [("took", took.as_str()), ("response.code", code)];
            let headers = Some(Request::new(&headers).headers);
            tracer.end(open, &Outcome { headers, ..outcome(&attributes) });
            let name = span(&mut tracer).and_then(|it| it.text("envoy.keep_rule"));
            assert_eq!(name.as_deref(), kept, "{reason}");
        }
    }
}

#[test]
fn what_the_sampler_has_kept_may_be_more_probable_than_it_knew() {
    let quarter = r#"{"trace_id_ratio_based": {"ratio": 0.25}}"#;
    let based = r#"{"parent_based": {"root": {"always_off": {}}}}"#;
    let (all, half, few) = (
        r#"[{"error": {}}]"#,
        r#"[{"error": {}, "ratio": 0.5}]"#,
        r#"[{"error": {}, "ratio": 0.125}]"#,
    );
    // All have a randomness of fourteen f's.
    let cases = [
        (quarter, all, "ot=rv:ffffffffffffff", "200", "ot=th:c;rv:ffffffffffffff", "no rule"),
        (quarter, all, "ot=rv:ffffffffffffff", "503", "ot=th:0;rv:ffffffffffffff", "the rule's"),
        (quarter, half, "ot=rv:ffffffffffffff", "503", "ot=th:8;rv:ffffffffffffff", "a half"),
        (quarter, few, "ot=rv:ffffffffffffff", "503", "ot=th:c;rv:ffffffffffffff", "never raised"),
        (quarter, half, "ot=rv:c0000000000000", "503", "ot=th:8;rv:c0000000000000", "just kept"),
        (
            based,
            half,
            "ot=th:c;rv:ffffffffffffff",
            "503",
            "ot=th:8;rv:ffffffffffffff",
            "a caller's",
        ),
        (based, half, "ot=th:4;rv:ffffffffffffff", "503", "ot=th:4;rv:ffffffffffffff", "a larger"),
        (based, half, "ot=rv:ffffffffffffff", "503", "ot=th:8;rv:ffffffffffffff", "unknown"),
        (based, half, "ot=rv:7fffffffffffff", "503", "ot=rv:7fffffffffffff", "unknown still"),
    ];
    for (sampler, keep, state, code, expected, reason) in cases {
        let mut tracer = tracer(&with_sampler(sampler, keep));
        let came = parent("01");
        let headers = [("traceparent", came.as_str()), ("tracestate", state)];
        let open = start(&mut tracer, &Request::get(&headers));
        tracer.end(open, &ended(code, &[]));
        let counted = counters(&mut tracer);
        let by_rule = counted.iter().any(|(name, _)| *name == "otel.sdk.span.kept_by_rule");
        assert!(!by_rule, "{reason}: the sampler has kept it");
        let kept = span(&mut tracer).expect("it is kept");
        assert_eq!(kept.span.trace_state, expected, "{reason}");
        assert_eq!(kept.text("envoy.keep_rule"), None, "{reason}");
    }
}

#[test]
fn a_rule_on_the_callee_keeps_its_share() {
    let trace_id = u128::from_str_radix(TRACE, 16).expect("hexadecimal").to_be_bytes();
    let trace_id = TraceId::from_bytes(trace_id).expect("not zero");
    KEPT_TRACES.with_borrow_mut(|kept| kept.push(trace_id));
    let root = r#""attribute_values": {"key": "url.path", "values": ["/"]}"#;
    let share = |ratio| {
        format!(r#"[{{"callee_kept": {{}}, {root}, "ratio": {ratio}}}, {{"error": {{}}}}]"#)
    };
    let cases = [
        (share("1"), "200", Some("callee_kept"), "another proxy has kept it"),
        (share("0"), "200", None, "none of these"),
        (share("0"), "503", None, "though the next rule would keep it"),
    ];
    for (keep, code, kept, reason) in cases {
        let mut tracer = tracer(&rules(&keep));
        let came = parent("00");
        let headers = [("traceparent", came.as_str()), ("tracestate", "ot=rv:ffffffffffffff")];
        let open = start(&mut tracer, &Request::get(&headers));
        tracer.end(open, &ended(code, &headers));
        let span = span(&mut tracer);
        let name = span.as_ref().and_then(|it| it.text("envoy.keep_rule"));
        assert_eq!(name.as_deref(), kept, "{reason}");
        if let Some(span) = span {
            assert_eq!(span.span.trace_state, "ot=rv:ffffffffffffff", "nobody knows how probable");
        }
    }
}

/// The first pass of a request that is let go so far: its span has to wait for the second one, which bears the mark.
fn redirect(tracer: &mut Tracer, request: &Request) -> (String, Vec<u8>) {
    let started = tracer.start(request);
    let sent = traceparent(&started);
    let open = started.span.expect("it may be kept");
    let redirected = [
        ("took", "200000000"),
        ("response.code", "302"),
        ("response.code_details", "internal_redirect"),
    ];
    let end = Outcome { headers: Some(request.headers.clone()), ..outcome(&redirected) };
    let mark = tracer.end(open, &end).expect("its second pass will bear it");
    (sent, mark.to_bytes().to_vec())
}

#[test]
fn an_internal_redirect_is_decided_when_its_second_pass_has_ended() {
    let cases = [
        (r#"[{"error": {}}]"#, "503", "250000000", Some("error"), "the second pass fails"),
        (r#"[{"slower_than": 300}]"#, "200", "350000000", Some("slower_than"), "slow in sum"),
        (
            r#"[{"condition": "response.code == 200"}]"#,
            "200",
            "250000000",
            Some("condition"),
            "told",
        ),
        (r#"[{"error": {}}, {"slower_than": 300}]"#, "200", "250000000", None, "it ended well"),
    ];
    for (keep, code, took, kept, reason) in cases {
        for mut tracer in [tracer(&rules(keep)), warm(&rules(keep))] {
            let (sent, marks) = redirect(&mut tracer, &Request::get(&[]));
            assert_eq!(tracer.held().open, 0, "{reason}: nobody keeps it, so far");
            let request =
                Request { marks, ..Request::get(&[("traceparent", &sent), (":path", "/second")]) };
            let open = start(&mut tracer, &request);
            assert_eq!(request.asked.take(), ["marks"], "{reason}: it is the same request");
            let end = [("took", took), ("response.code", code)];
            let headers = Some(Request::get(&[]).headers);
            assert_eq!(tracer.end(open, &Outcome { headers, ..outcome(&end) }), None, "{reason}");
            assert_eq!((tracer.held().open, tracer.open_bytes), (0, 0), "{reason}");
            let span = span(&mut tracer);
            let name = span.as_ref().and_then(|it| it.text("envoy.keep_rule"));
            assert_eq!(name.as_deref(), kept, "{reason}");
            if let Some(span) = span {
                assert!(sent.contains(&span.span_id()), "{reason}: what went to the upstream");
                assert_eq!(span.parent_id(), "", "{reason}");
            }
        }
    }
}

#[test]
fn a_redirect_whose_second_pass_does_not_come_is_decided_by_what_is_known() {
    for (keep, is_kept) in [(r#"[{"slower_than": 100}]"#, true), (r#"[{"error": {}}]"#, false)] {
        let mut tracer = tracer(&rules(keep));
        redirect(&mut tracer, &Request::get(&[]));
        tracer.finish_redirected();
        assert_eq!(tracer.open_bytes, 0, "nothing is held");
        assert_eq!(span(&mut tracer).is_some(), is_kept, "{keep}");
    }
}

#[test]
fn both_sides_of_a_request_are_kept() {
    let mut tracer = tracer(&rules(r#"[{"error": {}, "ratio": 0.5}]"#));
    let unsampled = |number| {
        let context = context(number, "a=1,ot=rv:ffffffffffffff");
        SpanContext { flags: context.flags.not_sampled(), ..context }
    };
    let identity = Identity::ServerAndClient { server: unsampled(2), client: unsampled(3) };
    let head = RequestHead { headers: Headers::default(), protocol: RequestProtocol::Http };
    let open = OpenSpan::new(identity, None, Sampling::Undecided, Some(head));
    tracer.end(open, &outcome(&[("response.code", "500"), ("upstream.address", "10.0.0.2:80")]));
    let counted = counters(&mut tracer);
    let expected = KEPT.map(|(name, _)| (name, 2));
    assert_eq!(counted, expected);
    for span in spans(&mut tracer) {
        assert_eq!(span.span.trace_state, "ot=th:8;rv:ffffffffffffff,a=1");
        assert_eq!(span.text("envoy.keep_rule").as_deref(), Some("error"));
        assert_eq!(span.span.flags & 1, 1);
    }
}

#[test]
fn requests_that_may_be_kept_hold_no_more_than_they_may() {
    let json = rules(r#"[{"error": {}}]"#);
    let mut tracer = warm(&json);
    let first = start(&mut tracer, &Request::get(&[]));
    assert!(first.size() < 400, "a request whose headers are not read: {} bytes", first.size());
    assert_eq!(tracer.open_bytes, first.size());
    tracer.max_open_bytes = first.size() + 1;
    counters(&mut tracer);
    let started = tracer.start(&Request::get(&[]));
    assert!(traceparent(&started).ends_with("-02"), "it goes on as any other");
    assert!(started.span.is_none(), "there is no room for a second");
    let counted = counters(&mut tracer);
    assert_eq!(counted, [STARTED, ("otel.sdk.span.undecided.open_limit", 1)], "no span is lost");
    tracer.end(first, &ended("503", &[]));
    assert_eq!(tracer.open_bytes, 0);
    assert!(span(&mut tracer).is_some(), "the first is kept");
}

#[test]
fn a_request_that_an_earlier_filter_answered_is_asked_about() {
    for (code, is_kept) in [("503", true), ("403", false)] {
        let mut tracer = warm(&rules(r#"[{"error": {}}]"#));
        let came = parent("00");
        let open = tracer.start_late(&Request::get(&[("traceparent", &came)]));
        let open = open.expect("it may be kept");
        let duration = [("request.duration", "1000"), ("response.code", code)];
        tracer.end(open, &outcome(&duration));
        let span = span(&mut tracer);
        assert_eq!(span.is_some(), is_kept, "{code}");
        if let Some(span) = span {
            assert_eq!(
                (span.trace_id().as_str(), span.parent_id().as_str()),
                (TRACE, "00f067aa0ba902b7")
            );
        }
    }
}

/// Whether a request is let go must not depend on those before it.
#[test]
fn what_goes_on_untouched_without_rules_may_be_kept_by_them() {
    for unsampled in ["inject", "pass_through", "defer"] {
        let json = rules(r#"[{"error": {}}]"#);
        let json =
            json.replacen("{\"keep\"", &format!("{{\"unsampled\": \"{unsampled}\", \"keep\""), 1);
        let came = parent("00");
        for headers in [vec![], vec![("traceparent", came.as_str())]] {
            let mut tracer = warm(&json);
            for number in 0..3 {
                let started = tracer.start(&Request::get(&headers));
                let open = started.span;
                let open = open.unwrap_or_else(|| panic!("{unsampled}, {headers:?}, {number}"));
                tracer.end(open, &ended("503", &headers));
                assert!(span(&mut tracer).is_some(), "{unsampled}, {headers:?}, {number}");
            }
        }
    }
}
