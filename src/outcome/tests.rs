mod first_look;

use super::*;
use crate::context::{SpanContext, TraceFlags, TraceState};
use crate::envoy::headers::Headers;
use crate::id::{SpanId, TraceId};
use crate::probe::{Alone, BucketName};
use crate::semconv::request::RequestProtocol;
use crate::span::{Identity, RequestHead};
use std::cell::RefCell;

const AT: Duration = Duration::from_secs(100);
const UNIX: Duration = Duration::from_secs(1_000_000);

/// A request that ends so, and notes what it is asked for.
#[derive(Debug, Default)]
struct Ended {
    code: u64,
    flags: u64,
    took: Duration,
    /// How much earlier Envoy had it than the filter.
    held_up: Duration,
    /// `response.code_details`.
    code_details: &'static str,
    asked: RefCell<Vec<String>>,
}

impl EndedRequest for Ended {
    fn shared(&self) -> &dyn Shared {
        &Alone
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        self.asked.borrow_mut().push(name.to_owned());
        let number = match name {
            "response.code" => self.code,
            "response.flags" => self.flags,
            "request.time" => nanoseconds(UNIX.checked_sub(self.held_up).expect("later")),
            "request.duration" => nanoseconds(self.took + self.held_up),
            "response.code_details" if !self.code_details.is_empty() => {
                return self.code_details.into();
            }
            "connection.id" | "upstream.request_attempt_count" => 7,
            "request.protocol" => return b"HTTP/1.1".into(),
            text => return text.into(),
        };
        number.to_le_bytes().to_vec()
    }

    fn evaluate(&self, _: Expression) -> Option<Vec<u8>> {
        None
    }

    fn has_headers(&self) -> bool {
        false
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::default()
    }

    fn now(&self) -> Duration {
        AT + self.took
    }
}

fn span(protocol: RequestProtocol, sampling: Sampling) -> OpenSpan {
    let context = SpanContext {
        trace_id: TraceId::from_bytes([1; 16]).expect("not zero"),
        span_id: SpanId::from_bytes([2; 8]).expect("not zero"),
        flags: TraceFlags::new_trace(),
        trace_state: TraceState::default(),
    };
    let head = RequestHead { headers: Headers::default(), protocol };
    OpenSpan::new(Identity::One(context), None, sampling, Some(head))
}

fn http() -> OpenSpan {
    span(RequestProtocol::Http, Sampling::Kept).started(Start { unix: UNIX, at: AT })
}

fn call(status: Option<&[u8]>) -> OpenSpan {
    let mut span =
        span(RequestProtocol::Grpc, Sampling::Kept).started(Start { unix: UNIX, at: AT });
    if let Some(status) = status {
        span.note_grpc_status(status);
    }
    span
}

fn undecided() -> OpenSpan {
    span(RequestProtocol::Http, Sampling::Undecided).started(Start { unix: UNIX, at: AT })
}

fn reader(details: Details, start_time: StartTime) -> OutcomeReader {
    let mut reader = OutcomeReader::new(OutcomeConfig { details, start_time, tags: Tags::Unread });
    // The connection is known from here on.
    reader.read(&http(), &Ended { code: 200, ..Ended::default() });
    reader
}

const NONE: [&str; 5] = [""; 5];

#[test]
fn details_are_read_where_they_are_wanted() {
    let all = Detail::ALL.map(Detail::attribute);
    let route = Details::NONE.with(Detail::RouteName);
    let ended = |code, flags, millis| Ended {
        code,
        flags,
        took: Duration::from_millis(millis),
        ..Ended::default()
    };
    let cases = [
        (Details::ALL, http(), ended(200, 0, 1), all, "always"),
        (Details::NONE, http(), ended(200, 0, 1), NONE, "a success"),
        (Details::NONE, http(), ended(299, 0, 999), NONE, "as long as it is quick"),
        (Details::NONE, http(), ended(200, 0, 1000), all, "a slow one"),
        (Details::NONE, http(), ended(400, 0, 1), all, "a caller's error"),
        (Details::NONE, http(), ended(503, 0, 1), all, "a server's error"),
        (Details::NONE, http(), ended(0, 0, 1), all, "no response"),
        (Details::NONE, http(), ended(200, 1 << 14, 1), all, "a response flag"),
        (Details::NONE, call(Some(b"0")), ended(200, 0, 1), NONE, "a call that succeeded"),
        (Details::NONE, call(Some(b"5")), ended(200, 0, 1), all, "a call that failed"),
        (Details::NONE, call(None), ended(200, 0, 1), all, "a call without a status"),
        (Details::NONE, undecided(), ended(200, 0, 1), all, "the sampler may want to know"),
        (route, http(), ended(200, 0, 1), ["", "", "", "", "xds.route_name"], "a list"),
        (route, http(), ended(500, 0, 1), all, "a list, and a failure"),
    ];
    for (details, span, ended, expected, reason) in cases {
        let values = reader(details, StartTime::Filter).read(&span, &ended);
        let mut asked = vec!["response.code", "response.flags", "connection.id"];
        asked.extend(expected.iter().filter(|name| !name.is_empty()));
        assert_eq!(*ended.asked.borrow(), asked, "{reason}");
        let expected = expected.map(|name| match name {
            "upstream.request_attempt_count" => 7_u64.to_le_bytes().to_vec(),
            text => text.into(),
        });
        assert_eq!(values.details, expected, "{reason}");
    }
}

#[test]
fn an_internal_redirect_is_told_under_any_setting() {
    for (code, details, kept, reason) in [
        (302, "internal_redirect", "internal_redirect", "it is one"),
        (399, "internal_redirect", "internal_redirect", "whatever its status"),
        (300, "via_upstream", "", "another redirect"),
        (299, "internal_redirect", "", "no redirect, and nothing is read"),
    ] {
        let ended = Ended { code, code_details: details, ..Ended::default() };
        let values = reader(Details::NONE, StartTime::Filter).read(&http(), &ended);
        assert_eq!(values.outcome().response_code_details, kept.as_bytes(), "{reason}");
        let asked = ended.asked.borrow().iter().any(|name| name == "response.code_details");
        assert_eq!(asked, code >= 300, "{reason}");
    }
}

#[test]
fn the_start_is_the_filters_or_envoys() {
    let millis = Duration::from_millis;
    let late = span(RequestProtocol::Http, Sampling::Kept);
    let before = UNIX.checked_sub(millis(20)).expect("later");
    let cases = [
        (StartTime::Filter, http(), false, UNIX, millis(30), "when the filter saw it"),
        (StartTime::Request, http(), true, before, millis(50), "when Envoy did"),
        (StartTime::Auto, http(), true, before, millis(50), "whoever was earlier"),
        (StartTime::Filter, late, true, before, millis(50), "it was not seen to begin"),
    ];
    for (setting, span, is_asked, start, duration, reason) in cases {
        let ended = Ended { code: 200, took: millis(30), held_up: millis(20), ..Ended::default() };
        let values = reader(Details::NONE, setting).read(&span, &ended);
        assert_eq!(values.start, nanoseconds(start), "{reason}");
        assert_eq!(values.duration, nanoseconds(duration), "{reason}");
        let asked = ended.asked.borrow().iter().any(|name| name == "request.duration");
        assert_eq!(asked, is_asked, "{reason}");
    }
}

#[test]
fn what_envoy_does_not_know_changes_nothing() {
    let ended = Ended { code: 200, ..Ended::default() };
    let span = span(RequestProtocol::Http, Sampling::Kept);
    let second = Duration::from_secs(1);
    let span = span.started(Start { unix: UNIX, at: AT.checked_sub(second).expect("later") });
    let values = reader(Details::NONE, StartTime::Request).read(&span, &ended);
    assert_eq!((values.start, values.duration), (nanoseconds(UNIX), nanoseconds(second)));
}
