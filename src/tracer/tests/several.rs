//! What takes more than one request, or more than one span.

use super::*;
use crate::context::{SpanContext, TraceFlags, TraceState};
use crate::envoy::headers::Headers;
use crate::id::{SpanId, TraceId};
use crate::otlp::Link;
use crate::probe::{HeaderNeeds, Needs, TimeNeed};
use crate::sampling::{ParentBased, Probability, SamplingInput, Verdict};
use crate::semconv::request::RequestProtocol;
use crate::span::{Identity, RequestHead, Sampling};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// All spans that are there.
pub(super) fn spans(tracer: &mut Tracer) -> Vec<Span> {
    next_request(tracer, Duration::ZERO);
    next_request(tracer, Duration::from_mins(1)).unwrap_or_default()
}

/// The traceparent that a request goes on with.
pub(super) fn traceparent(started: &Started<'_>) -> String {
    let (_, change) = changes(started.changes).remove(0);
    change.split(' ').next_back().expect("a value").to_owned()
}

/// The first pass of a request, which ends in an internal redirect: the traceparent that it wrote, and its mark.
fn redirect(tracer: &mut Tracer) -> (String, Vec<u8>) {
    let started = tracer.start(&Request::get(&[]));
    let traceparent = traceparent(&started);
    let span = started.span.expect("it is kept");
    let redirected = [
        ("took", "5"),
        ("request.duration", "105"),
        ("response.code", "302"),
        ("response.code_details", "internal_redirect"),
    ];
    let mark = tracer.end(span, &outcome(&redirected)).expect("its second pass will bear it");
    (traceparent, mark.to_bytes().to_vec())
}

/// The second pass of a request, which bears these marks.
fn second_pass(traceparent: &str, marks: &[u8]) -> Request {
    Request { marks: marks.to_vec(), ..Request::get(&[("traceparent", traceparent)]) }
}

#[test]
fn an_internal_redirect_is_one_span() {
    let mut tracer = tracer("{}");
    let (traceparent, mark) = redirect(&mut tracer);
    assert!(tracer.has_work(), "a span is put aside");
    assert_eq!(tracer.held().open, 1, "its request is under way");
    let request = second_pass(&traceparent, &mark);
    let started = tracer.start(&request);
    assert_eq!(changes(started.changes), [], "its headers are as they must be");
    let span = started.span.expect("it goes on");
    assert_eq!(request.asked.take(), ["marks"], "nothing more is to be known");
    assert!(!tracer.has_work(), "nothing is put aside");
    let second = [("took", "70"), ("request.duration", "170"), ("response.code", "200")];
    assert_eq!(tracer.end(span, &outcome(&second)), None);
    let counted = counters(&mut tracer);
    assert!(counted.contains(&("otel.sdk.span.started", 1)), "once: {counted:?}");
    assert!(counted.contains(&("otel.sdk.span.sampled", 1)), "once: {counted:?}");
    let spans = spans(&mut tracer);
    let [span] = spans.as_slice() else { panic!("one span: {spans:?}") };
    assert_eq!(span.int("http.response.status_code"), Some(200), "as the second pass ended");
    let time = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
    assert_eq!(time, (900, 1070), "both passes, from when Envoy had it");
    assert!(traceparent.contains(&span.span_id()), "the id that went to the upstream");
    assert_eq!(tracer.held().open, 0, "nothing is under way");
    assert_eq!(tracer.open_bytes, 0, "nothing is held");
}

#[test]
fn nothing_that_a_caller_sends_makes_a_second_pass() {
    for reason in ["no mark", "another one", "a piece of it"] {
        let mut tracer = tracer("{}");
        let (own, mut marks) = redirect(&mut tracer);
        match reason {
            "no mark" => marks.clear(),
            "another one" => marks[0] ^= 1,
            _ => drop(marks.pop()),
        }
        let span = start(&mut tracer, &second_pass(&own, &marks));
        tracer.end(span, &outcome(&[("response.code", "204")]));
        let held = tracer.held();
        assert_eq!((held.queued, held.open), (1, 1), "{reason}: the first pass waits");
        let stranger = spans(&mut tracer).remove(0);
        assert_eq!(stranger.int("http.response.status_code"), Some(204), "{reason}: its own span");
        assert!(own.contains(&stranger.parent_id()), "{reason}: below what it says");
    }
}

#[test]
fn many_requests_may_wait_for_their_second_pass() {
    let mut tracer = tracer("{}");
    let passes: Vec<_> = (0..40).map(|_| redirect(&mut tracer)).collect();
    assert_eq!(tracer.held().open, 40);
    for (traceparent, mark) in passes.iter().rev() {
        let started = tracer.start(&second_pass(traceparent, mark));
        let span = started.span.expect("it goes on");
        assert!(traceparent.contains(&hex(span.context().span_id.as_bytes())), "each with its own");
        tracer.end(span, &outcome(&[("response.code", "200")]));
    }
    assert_eq!((tracer.held().open, tracer.held().queued), (0, 40));
}

#[test]
fn filters_that_stand_in_one_chain_know_their_own() {
    let mut tracer = tracer("{}");
    let ((_, first), (own, second)) = (redirect(&mut tracer), redirect(&mut tracer));
    let marks = [first, second].concat();
    let ids: Vec<_> =
        tracer.redirected.iter().map(|it| hex(it.span.context().span_id.as_bytes())).collect();
    for id in ids {
        let span = tracer.start(&second_pass(&own, &marks)).span.expect("it goes on");
        assert_eq!(hex(span.context().span_id.as_bytes()), id, "in the order of the chain");
    }
    assert!(tracer.redirected.is_empty());
}

#[test]
fn a_second_pass_that_is_rejected_before_it_comes_ends_the_span() {
    let mut tracer = tracer("{}");
    let (traceparent, mark) = redirect(&mut tracer);
    let span = tracer.start_late(&second_pass(&traceparent, &mark)).expect("it goes on");
    tracer.end(span, &outcome(&[("response.code", "403")]));
    let spans = spans(&mut tracer);
    let codes: Vec<_> = spans.iter().map(|it| it.int("http.response.status_code")).collect();
    assert_eq!(codes, [Some(403)], "as the caller saw it");
}

#[test]
fn a_second_pass_that_does_not_come_is_waited_for_a_while() {
    let mut tracer = tracer("{}");
    redirect(&mut tracer);
    let at = Duration::from_secs;
    for (now, open, queued) in [(1, 1, 0), (2, 1, 0), (3, 0, 1)] {
        assert!(next_request(&mut tracer, at(now)).is_none(), "{now}");
        assert_eq!((tracer.held().open, tracer.held().queued), (open, queued), "{now}");
    }
    let span = next_request(&mut tracer, at(9)).expect("a batch").remove(0);
    assert_eq!(span.int("http.response.status_code"), Some(302), "as the first pass ended");
    assert_eq!(span.text("error.type"), None, "nobody saw an error");
    let time = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
    assert_eq!(time, (900, 1005), "from when Envoy had it");
    assert_eq!(span.text("envoy.response_code_details").as_deref(), Some("internal_redirect"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| crate::id::hex_digits(*byte)).map(char::from).collect()
}

/// A tracer whose requests may hold so many bytes while they are under way.
fn with_open_bytes(bytes: usize) -> Tracer {
    let mut tracer = tracer("{}");
    tracer.max_open_bytes = bytes;
    tracer
}

#[test]
fn requests_that_are_under_way_hold_no_more_than_they_may() {
    let size = start(&mut tracer("{}"), &Request::get(&[])).size();
    assert!(size < 1000, "a usual request: {size} bytes");
    let dropped = ("otel.sdk.processor.span.dropped.open_limit", 1);
    let mut tracer = with_open_bytes(2 * size);
    let first = start(&mut tracer, &Request::get(&[]));
    let second = start(&mut tracer, &Request::get(&[]));
    counters(&mut tracer);
    let started = tracer.start(&Request::get(&[]));
    assert!(started.span.is_none(), "there is no room for a third");
    assert!(traceparent(&started).ends_with("-03"), "it goes on as it was decided");
    let counted = counters(&mut tracer);
    let sampled = [("otel.sdk.span.started", 1), ("otel.sdk.span.sampled", 1), dropped];
    assert_eq!(counted, sampled, "and is lost, and counted");
    assert_eq!(tracer.held().open, 2);
    tracer.end(first, &outcome(&[("response.code", "200")]));
    let third = start(&mut tracer, &Request::get(&[]));
    assert_eq!(tracer.open_bytes, 2 * size, "there is room again");
    for span in [second, third] {
        tracer.end(span, &outcome(&[("response.code", "200")]));
    }
    assert_eq!(tracer.open_bytes, 0);
    let mut less = with_open_bytes(2 * size - 1);
    start(&mut less, &Request::get(&[]));
    assert!(less.start(&Request::get(&[])).span.is_none(), "short of a byte");
}

#[test]
fn what_a_request_is_does_not_change_where_its_path_is_cut() {
    let json = r#"{"attribute_limits": {"attribute_value_length_limit": 128}}"#;
    let (service, method) =
        (format!("/{}/M", "a".repeat(2000)), format!("/a/{}", "b".repeat(2000)));
    let deeper = format!("{method}/c");
    let cases = [
        (service.as_str(), true, "two segments, of which one is cut off"),
        (&method, true, "two segments"),
        (&deeper, false, "three segments, of which two are left"),
    ];
    for (path, is_grpc, reason) in cases {
        let mut tracer = tracer(json);
        let headers = [(":method", "POST"), (":path", path), ("content-type", "application/grpc")];
        let span = start(&mut tracer, &Request::new(&headers));
        assert_eq!(span.may_be_grpc(), is_grpc, "{reason}, at its start");
        tracer.end(span, &outcome(&[("response.code", "200")]));
        let span = spans(&mut tracer).remove(0);
        let rpc = span.text("rpc.method");
        assert_eq!(rpc.is_some(), is_grpc, "{reason}, at its end: {rpc:?}");
        let shown = rpc.or(span.text("url.path")).unwrap_or_default();
        assert_eq!(shown.chars().count(), 128, "{reason}");
        assert_eq!(span.int("http.response.status_code").is_some(), !is_grpc, "{reason}");
    }
}

#[test]
fn a_value_is_held_as_far_as_its_attribute_will_need_it() {
    let json = r#"{"attribute_limits": {"attribute_value_length_limit": 1000},
        "instrumentation/development": {"general": {"http": {"server": {
        "request_captured_headers": ["x-tenant"], "response_captured_headers": ["x-shard"]}}}}}"#;
    let mut tracer = tracer(json);
    let long = "\u{20ac}".repeat(10_000);
    let path = format!("/{}?sig={}&item=7", "p".repeat(10_000), "s".repeat(10_000));
    let headers = [
        (":method", "GET"),
        (":path", path.as_str()),
        ("user-agent", long.as_str()),
        ("x-tenant", long.as_str()),
        ("cookie", long.as_str()),
    ];
    let mut span = start(&mut tracer, &Request::new(&headers));
    assert!(span.size() < 4 * 4000 + 1000, "of 90,000 bytes {}", span.size());
    let shard = "s".repeat(10_000);
    tracer.note_response_headers(&mut span, HeaderMap::of(&[("x-shard", shard.as_str())]));
    assert_eq!(tracer.open_bytes, span.size(), "all of it is counted");
    assert!(span.size() < 5 * 4000 + 1000, "with a response: {}", span.size());
    tracer.end(span, &outcome(&[("response.code", "200")]));
    assert_eq!(tracer.open_bytes, 0);
    let span = spans(&mut tracer).remove(0);
    let euros = "\u{20ac}".repeat(1000);
    assert_eq!(span.text("user_agent.original").as_ref(), Some(&euros), "to the last character");
    assert_eq!(span.texts("http.request.header.x-tenant"), Some(vec![euros]));
    assert_eq!(span.texts("http.response.header.x-shard"), Some(vec!["s".repeat(1000)]));
    assert_eq!(span.text("url.path"), Some(format!("/{}", "p".repeat(999))));
    assert_eq!(span.text("url.query").as_deref(), Some("sig=REDACTED&item=7"), "behind a secret");
}

#[test]
fn a_responses_headers_that_have_no_room_are_counted_in_the_span() {
    let json = r#"{"instrumentation/development": {"general": {"http": {"server": {"response_captured_headers": ["a", "b"]}}}}}"#;
    let mut tracer = tracer(json);
    let mut span = start(&mut tracer, &Request::get(&[]));
    tracer.max_open_bytes = span.size() + 100;
    let long = "x".repeat(100);
    tracer.note_response_headers(&mut span, HeaderMap::of(&[("a", &long), ("b", "1")]));
    assert_eq!(tracer.open_bytes, span.size());
    tracer.end(span, &outcome(&[("response.code", "200")]));
    let span = spans(&mut tracer).remove(0);
    assert_eq!(span.span.dropped_attributes_count, 2);
    assert_eq!(span.texts("http.response.header.b"), None);

    // To the last byte: first it is seen how many there are.
    let header = HeaderMap::of(&[("a", "1")]);
    let mut span = start(&mut tracer, &Request::get(&[]));
    let without = span.size();
    tracer.max_open_bytes = usize::MAX;
    tracer.note_response_headers(&mut span, header.clone());
    let size = span.size() - without;
    for (room, dropped) in [(size, 0), (size - 1, 1)] {
        tracer.max_open_bytes = tracer.open_bytes + room;
        let mut span = start(&mut super::tracer(json), &Request::get(&[]));
        tracer.note_response_headers(&mut span, header.clone());
        assert_eq!(span.dropped_attributes(), dropped, "{room} of {size} bytes");
    }
}

#[test]
fn a_responses_headers_are_looked_at_where_one_is_wanted() {
    let json = r#"{"instrumentation/development": {"general": {"http": {"client": {"response_captured_headers": ["a"]}}}}}"#;
    assert!(tracer(json).wants_response_headers());
    assert!(!tracer("{}").wants_response_headers(), "it would cost a host call");
}

#[test]
fn a_request_that_an_earlier_filter_answered_is_a_span() {
    let mut tracer = tracer("{}");
    let request = Request::get(&[("traceparent", PARENT)]);
    let span = tracer.start_late(&request).expect("it is kept");
    assert_eq!(request.asked.take(), ["all headers"], "it is asked once");
    tracer.end(span, &outcome(&[("response.code", "403")]));
    let spans = spans(&mut tracer);
    assert_eq!(spans[0].parent_id(), "00f067aa0ba902b7", "below its caller's");
    assert_eq!(spans[0].int("http.response.status_code"), Some(403));
    let off = r#"{"tracer_provider": {"sampler": {"always_off": {}}}}"#;
    assert!(super::tracer(off).start_late(&Request::get(&[])).is_none(), "it is let go");
}

#[test]
fn a_request_that_was_answered_before_it_had_a_scheme_gets_one() {
    const PLAIN: [(&str, &str); 3] = [(":method", "GET"), (":path", "/"), (":authority", "shop")];
    let (tls, asked) = ("TLSv1.3", "all headers, connection.tls_version");
    let cases: [(&[(&str, &str)], _, _, _, _); 5] = [
        (&[], "", "http", asked, "over a plain connection"),
        (&[], tls, "https", asked, "over TLS"),
        (&[("x-forwarded-proto", "HTTP")], tls, "http", "all headers", "what a proxy before says"),
        (&[("x-forwarded-proto", "ftp")], tls, "https", asked, "but not anything"),
        (&[(":scheme", "http")], tls, "http", "all headers", "what Envoy has filled"),
    ];
    for (headers, tls_version, scheme, expected, reason) in cases {
        let mut tracer = tracer("{}");
        let request = Request { tls_version, ..Request::new(&[&PLAIN, headers].concat()) };
        let span = tracer.start_late(&request).expect("it is kept");
        assert_eq!(request.asked.take().join(", "), expected, "{reason}");
        tracer.end(span, &outcome(&[("response.code", "307")]));
        let spans = spans(&mut tracer);
        assert_eq!(spans[0].text("url.scheme").as_deref(), Some(scheme), "{reason}");
    }
}

#[test]
fn what_a_request_needed_decides_what_the_next_is_asked() {
    let asked = |tracer: &mut Tracer, headers: &[(&str, &str)]| {
        let request = Request::get(headers);
        tracer.start(&request);
        request.asked.take().join(", ")
    };
    let (all, first) = ("all headers", "has traceparent");
    let mut on = tracer("{}");
    assert_eq!(asked(&mut on, &[]), format!("{first}, {all}, now"), "the first is kept");
    assert_eq!(asked(&mut on, &[]), format!("{all}, now"), "so is the second, it seems");
    let mut off = tracer(r#"{"tracer_provider": {"sampler": {"always_off": {}}}}"#);
    assert_eq!(asked(&mut off, &[]), first, "nothing more is needed");
    assert_eq!(asked(&mut off, &[("traceparent", PARENT)]), format!("{first}, {all}"), "a parent");
    assert_eq!(asked(&mut off, &[("traceparent", PARENT)]), all, "another one, it seems");
    assert_eq!(asked(&mut off, &[]), all, "it was none");
    assert_eq!(asked(&mut off, &[]), first, "none, it seems");
    let [on, unsampled] = ["01", "00"]
        .map(|flags| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"));
    let [on, unsampled] = [[("traceparent", on.as_str())], [("traceparent", unsampled.as_str())]];
    assert_eq!(asked(&mut off, &unsampled), format!("{first}, {all}"), "its headers change, too");
    assert_eq!(asked(&mut off, &unsampled), all, "as those of the next, it seems");
    let untouched = r#"{"tracer_provider": {"sampler": {"always_off": {}}}, "envoy": {"unsampled": "pass_through"}}"#;
    let mut untouched = tracer(untouched);
    assert_eq!(asked(&mut untouched, &on), "traceparent, all headers", "its carrier is not enough");
    assert_eq!(asked(&mut untouched, &unsampled), all, "nor is the next one's, it seems");
    assert_eq!(asked(&mut untouched, &unsampled), "traceparent", "but it was");
}

#[test]
fn of_many_headers_a_span_has_what_it_needs() {
    let captured = r#"{"instrumentation/development": {"general": {"http": {"server": {"request_captured_headers": ["x-tenant"]}}}}}"#;
    let mut tracer = tracer(captured);
    let cookie = "c".repeat(10_000);
    let headers = [("cookie", cookie.as_str()), ("x-tenant", "a"), ("user-agent", "curl")];
    let span = start(&mut tracer, &Request::get(&headers));
    tracer.end(span, &outcome(&[("response.code", "200")]));
    let span = spans(&mut tracer).remove(0);
    assert_eq!(span.text("user_agent.original").as_deref(), Some("curl"));
    assert_eq!(span.texts("http.request.header.x-tenant"), Some(vec!["a".to_owned()]));
}

#[test]
fn names_are_bounded() {
    let long = "M".repeat(1000);
    let path = format!("/shop.\u{e4}\u{f6}/{long}");
    let methods = format!(
        r#"{{"instrumentation/development": {{"general": {{"http": {{"server": {{"known_methods": ["{long}"]}}}}}}}}}}"#
    );
    let grpc = [(":method", "POST"), (":path", &path), ("content-type", "application/grpc")];
    let cases = [
        ("{}", grpc.as_slice(), format!("shop.\u{e4}\u{f6}/{}", "M".repeat(248)), "a gRPC method"),
        (&methods, &[(":method", &long)], "M".repeat(256), "a method that is known"),
    ];
    for (json, headers, expected, reason) in cases {
        let mut tracer = tracer(json);
        let span = start(&mut tracer, &Request::new(headers));
        tracer.end(span, &outcome(&[("response.code", "200")]));
        assert_eq!(spans(&mut tracer)[0].span.name, expected, "{reason}");
    }
}

/// Keeps what it can see all of that it has asked for.
#[derive(Debug)]
struct Inquisitive;

impl Sampler for Inquisitive {
    fn needs(&self) -> Needs {
        Needs {
            headers: HeaderNeeds::All,
            attributes: vec!["xds.route_name"],
            time: TimeNeed::Now,
            ..Needs::default()
        }
    }

    fn decide(&self, input: &SamplingInput<'_>) -> Verdict {
        let path = input.request.headers.map(|(_, request)| request.path);
        let names: Vec<_> = input.request.attributes.iter().map(|(name, _)| *name).collect();
        if path == Some(b"/") && names == ["xds.route_name"] && input.now == Some(Duration::ZERO) {
            Verdict::Keep(Probability::Inherited)
        } else {
            Verdict::LetGo(Probability::Inherited)
        }
    }
}

#[test]
fn a_sampler_sees_what_it_asks_for() {
    let based = Box::new(ParentBased::with_root(Inquisitive));
    for sampler in [Box::new(Inquisitive) as Box<dyn Sampler>, based] {
        let mut tracer = tracer("{}");
        let needs = tracer.propagators.needs().and(sampler.needs());
        tracer.probe = Probe::new(needs, [":path"].into_iter().collect());
        tracer.sampler = sampler;
        let request = Request::get(&[]);
        assert!(tracer.start(&request).span.is_some(), "it has seen all");
        // The last one is when it started.
        let asked = ["all headers", "xds.route_name", "now", "now"];
        assert_eq!(request.asked.take(), asked, "each once");
    }
}

pub(super) fn context(byte: u8, state: &str) -> SpanContext {
    SpanContext {
        trace_id: TraceId::from_bytes([1; 16]).expect("valid"),
        span_id: SpanId::from_bytes([byte; 8]).expect("valid"),
        flags: TraceFlags::from_byte(1),
        trace_state: TraceState::parse(state.as_bytes()).expect("valid"),
    }
}

#[test]
fn a_span_may_have_two_sides_and_links() {
    let mut tracer = tracer("{}");
    let identity =
        Identity::ServerAndClient { server: context(2, "a=1"), client: context(3, "a=1") };
    let parent = SpanId::from_bytes([9; 8]);
    let names = [":method", ":authority", ":scheme"].into_iter().collect();
    let headers = [(":method", "GET"), (":authority", "shop"), (":scheme", "http")];
    let headers = Headers::select(HeaderMap::of(&headers), &names);
    let head = RequestHead { headers, protocol: RequestProtocol::Http };
    let mut span = OpenSpan::new(identity, parent, Sampling::Kept, Some(head));
    span.note_links(vec![Link { context: context(7, "b=2") }]);
    assert_eq!(span.context().span_id, context(3, "").span_id, "the upstream gets the client's");
    tracer.open = 1;
    tracer.end(span, &outcome(&[("response.code", "404"), ("upstream.address", "10.0.0.2:80")]));
    assert_eq!((tracer.held().open, tracer.held().queued), (0, 2));
    let spans = spans(&mut tracer);
    let [server, client] = spans.as_slice() else { panic!("two spans: {spans:?}") };
    assert_eq!((server.span.kind(), client.span.kind()), (SpanKind::Server, SpanKind::Client));
    assert_eq!(server.parent_id(), "09".repeat(8), "below the caller's");
    assert_eq!(client.parent_id(), server.span_id(), "below the server's");
    assert_eq!((server.span.flags, client.span.flags), (0x301, 0x101), "the one parent is remote");
    assert_eq!(server.text("error.type"), None, "404 is no error of a server");
    assert_eq!(client.text("error.type").as_deref(), Some("404"), "but of a client");
    for span in [server, client] {
        let link = &span.span.links[0];
        assert_eq!(span.span.links.len(), 1);
        assert_eq!((link.trace_state.as_str(), link.flags), ("b=2", 0x301));
        assert_eq!(span.span.trace_state, "a=1");
    }
}
