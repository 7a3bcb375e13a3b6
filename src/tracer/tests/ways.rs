//! The table of single requests: what comes in, what is decided, what the collector gets.
//!
//! A case of `ways.txt`, or of `formats.txt` on header formats, says how it differs from the first one: `{` a configuration, `>` a header of the request (`> no NAME` takes
//! one out), `<` a header of the response, `<<` a trailer, `.` an attribute of its outcome, `=` what is seen of it (`= no KEY`: it is not).

use super::*;
use harness::span::hex;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

#[derive(Clone, Debug, Default)]
struct Case {
    reason: String,
    configuration: String,
    request: Vec<(String, String)>,
    response: Vec<(String, String)>,
    trailers: Vec<(String, String)>,
    outcome: Vec<(String, String)>,
    seen: BTreeMap<String, String>,
}

/// The cases, each filled up with what it has in common with the first one.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let texts = [include_str!("ways.txt"), include_str!("formats.txt")].join("\n");
    for text in texts.split("\n\n").map(str::trim).filter(|it| !it.is_empty()) {
        let mut case = cases.first().cloned().unwrap_or_default();
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').expect(line);
            match kind {
                "#" => rest.clone_into(&mut case.reason),
                "{" => case.configuration = format!("{{ {rest}"),
                ">" => differ(&mut case.request, rest),
                "<" => differ(&mut case.response, rest),
                "<<" => differ(&mut case.trailers, rest),
                "." => differ(&mut case.outcome, rest),
                "=" => expect(&mut case.seen, rest),
                _ => panic!("{line}"),
            }
        }
        cases.push(case);
    }
    cases
}

/// A line replaces what has its name; a `+` before a name adds another one.
fn differ(entries: &mut Vec<(String, String)>, line: &str) {
    if let Some(name) = line.strip_prefix("no ") {
        return entries.retain(|(known, _)| known != name);
    }
    let (name, value) = entry(line);
    let (name, more) = name.strip_prefix('+').map_or((name, false), |name| (name, true));
    let same = entries.iter_mut().find(|(known, _)| known == name && !more);
    match same {
        Some((_, known)) => value.clone_into(known),
        None => entries.push((name.to_owned(), value.to_owned())),
    }
}

/// A line says what is seen under a key, or by `no` and `only` which keys are not, by how they begin.
fn expect(seen: &mut BTreeMap<String, String>, line: &str) {
    if let Some(prefix) = line.strip_prefix("no ") {
        seen.retain(|key, _| !key.starts_with(prefix));
    } else if let Some(prefixes) = line.strip_prefix("only ") {
        seen.retain(|key, _| prefixes.split(", ").any(|prefix| key.starts_with(prefix)));
    } else {
        let (key, value) = entry(line);
        seen.insert(key.to_owned(), value.to_owned());
    }
}

/// A name and a value; without a value nothing follows the colon.
fn entry(line: &str) -> (&str, &str) {
    line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""))
}

/// Ids as the table calls them: `TRACE` and `PARENT` came, `NEW` and `OWN` are ours.
fn named(text: &str, own: [&str; 2]) -> String {
    const CAME: [(&str, &str); 2] =
        [("4bf92f3577b34da6a3ce929d0e0e4736", "TRACE"), ("00f067aa0ba902b7", "PARENT")];
    let own = own.into_iter().filter(|id| !id.is_empty()).zip(["NEW", "OWN"]);
    CAME.into_iter().chain(own).fold(text.to_owned(), |text, (id, name)| text.replace(id, name))
}

/// What is seen of a request on its whole way.
fn seen(case: &Case) -> BTreeMap<String, String> {
    let borrowed = |pairs: &[(String, String)]| -> Vec<(String, String)> { pairs.to_vec() };
    let (headers, attributes) = (borrowed(&case.request), borrowed(&case.outcome));
    let request = Request { headers, attributes, ..Request::default() };
    let mut tracer = tracer(&case.configuration);
    let started = tracer.start(&request);
    let (changes, span) = (changes(started.changes), started.span);
    let mut parts = changes
        .iter()
        .find(|(name, change)| name == "traceparent" && change != "remove")
        .iter()
        .flat_map(|(_, change)| change.split('-').skip(1))
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter();
    let mut own = [parts.next().unwrap_or_default(), parts.next().unwrap_or_default()];
    let mut seen = BTreeMap::new();
    let mut see = |key: &str, value: String| seen.insert(key.to_owned(), value);
    // The clock is no call that returns data.
    let asked: Vec<_> = request.asked.take().into_iter().filter(|call| call != "now").collect();
    see("asked", asked.join(", "));
    for (name, change) in changes {
        see(&format!("header {name}"), change);
    }
    if let Some(mut span) = span {
        let values: Vec<_> = case.outcome.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        if span.may_be_grpc() {
            let status = case.trailers.iter().find(|(name, _)| name == "grpc-status");
            if let Some((_, status)) = status {
                span.note_grpc_status(status.as_bytes());
            }
        }
        if tracer.wants_response_headers() {
            let pairs: Vec<_> =
                case.response.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            tracer.note_response_headers(&mut span, HeaderMap::of(&pairs));
        }
        let outcome = outcome(&values);
        tracer.end(span, &outcome);
        see("read at its end", outcome.asked.take().join(", "));
    }
    for (name, change) in counters(&mut tracer) {
        see(
            &format!("counter {}", name.strip_prefix("otel.sdk.").expect("ours")),
            change.to_string(),
        );
    }
    next_request(&mut tracer, Duration::ZERO);
    let spans = next_request(&mut tracer, Duration::from_mins(1)).unwrap_or_default();
    assert!(spans.len() < 2, "{}: one request, one span", case.reason);
    for span in spans {
        own = [span.trace_id(), span.span_id()];
        let kind = SpanKind::try_from(span.span.kind).expect("a kind").as_str_name();
        see(
            "span",
            format!("{} {}", kind.strip_prefix("SPAN_KIND_").expect("a kind"), span.span.name),
        );
        see(
            "ids",
            format!("{} {} {}", span.trace_id(), span.span_id(), span.parent_id())
                .trim_end()
                .to_owned(),
        );
        see("flags", format!("{:x}", span.span.flags));
        let (start, end) = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
        see("time", format!("{start} to {end}"));
        if !span.span.trace_state.is_empty() {
            see("state", span.span.trace_state.clone());
        }
        if let Some(status) = &span.span.status {
            see(
                "status",
                StatusCode::try_from(status.code).expect("a code").as_str_name().to_owned(),
            );
        }
        if span.span.dropped_attributes_count > 0 {
            see("dropped attributes", span.span.dropped_attributes_count.to_string());
        }
        for (key, value) in span.attributes() {
            see(&key, text(&value));
        }
        for link in &span.span.links {
            let ids = format!("{} {}", hex(&link.trace_id), hex(&link.span_id));
            let link = format!("{ids} {:x} {}", link.flags, link.trace_state);
            see("link", link.trim_end().to_owned());
        }
    }
    let [trace, id] = &own;
    seen.into_iter().map(|(key, value)| (key, named(&value, [trace, id]))).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(array) => {
            let values =
                array.values.iter().map(|value| text(value.value.as_ref().expect("a value")));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn each_request_goes_its_whole_way() {
    let cases = cases();
    assert!(cases.len() >= 40, "the table is read whole: {}", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        let found = seen(case);
        let keys: BTreeSet<_> = case.seen.keys().chain(found.keys()).collect();
        for key in keys.into_iter().filter(|key| case.seen.get(*key) != found.get(*key)) {
            let [found, expected] = [found.get(key), case.seen.get(key)];
            writeln!(wrong, "{}: {key}: {found:?}, not {expected:?}", case.reason).expect("text");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
