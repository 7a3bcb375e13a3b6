//! Each format against its tables: what it reads, what it refuses and why, what it writes; and all of them together.
//!
//! A line of `formats.txt` starts a case with `#`; then come the names of the formats that are configured (`@`), headers of a request (`>`), what
//! is read of them (`=`), and what becomes of the headers (`<`) where the request goes on as OWN.

use super::changes::{Changes, HeaderChange};
use super::*;
use crate::envoy::headers::HeaderNames;
use crate::envoy::wire::HeaderMap;
use crate::id::{SpanId, TraceId};
use proptest::prelude::*;
use std::fmt::Write;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
/// The id of the span that the request goes on with.
const OWN: &str = "0123456789abcdef";

fn format(name: &str) -> &'static dyn Propagator {
    *FORMATS.iter().find(|format| format.name() == name).expect(name)
}

fn propagators(names: &str) -> Propagators {
    names.split(',').map(format).collect()
}

fn select(headers: &[(&str, &str)]) -> Headers {
    let names: HeaderNames = FORMATS.iter().flat_map(|format| format.fields()).copied().collect();
    Headers::select(HeaderMap::of(headers), &names)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

fn decision(flags: TraceFlags) -> &'static str {
    match flags.decision() {
        _ if flags.is_debug() => "debug",
        Decision::Sampled => "sampled",
        Decision::NotSampled => "not sampled",
        Decision::Deferred => "deferred",
    }
}

/// A context as the tables show it.
fn shown(context: &SpanContext) -> String {
    let (trace, span) = (hex(context.trace_id.as_bytes()), hex(context.span_id.as_bytes()));
    let shown = format!("{trace} {span} {}", decision(context.flags));
    shown.replace(TRACE, "TRACE").replace(SPAN, "SPAN")
}

fn shown_change(change: HeaderChange<'_>) -> String {
    let text = |value| String::from_utf8_lossy(value).into_owned();
    let (kind, name, value) = match change {
        HeaderChange::Add(name, value) => ("add ", name, text(value)),
        HeaderChange::Replace(name, value) => ("replace ", name, text(value)),
        HeaderChange::Remove(name) => ("remove ", name, String::new()),
    };
    format!("{kind}{name}: {value}").trim_end_matches([' ', ':']).to_owned()
}

/// What becomes of the headers of a request that goes on with a span of its own, sampled, if nobody has decided.
fn changes(propagators: &Propagators, headers: Option<&Headers>) -> Vec<String> {
    let parent = headers.and_then(|headers| propagators.extract(headers));
    let flags = headers.map_or_else(TraceFlags::new_trace, |it| propagators.flags_of_new_trace(it));
    let (trace_id, flags, trace_state) = match &parent {
        Some(parent) => (parent.trace_id, parent.flags, parent.trace_state.clone()),
        None => (TraceId::from_hex(&[b'e'; 32]).expect("valid"), flags, TraceState::default()),
    };
    let flags = match flags.decision() {
        Decision::NotSampled => flags.not_sampled(),
        Decision::Sampled | Decision::Deferred => flags.sampled(),
    };
    let span_id = SpanId::from_hex(OWN.as_bytes()).expect("valid");
    let context = SpanContext { trace_id, span_id, flags, trace_state };
    let mut changes = Changes::default();
    propagators.inject(&context, parent.as_ref(), headers.into(), &mut changes);
    changes.iter().map(shown_change).collect()
}

#[derive(Debug, Default)]
struct Case<'a> {
    reason: &'a str,
    formats: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    read: Vec<&'a str>,
    written: Vec<String>,
}

/// The cases; one names its formats where they are others than those of the case before.
fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = Vec::new();
    for line in include_str!("tests/formats.txt").lines().filter(|line| !line.is_empty()) {
        let (kind, rest) = line.split_once(' ').expect(line);
        let formats = cases.last().map_or("", |case| case.formats);
        if kind == "#" {
            cases.push(Case { reason: rest, formats, ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a case");
        match kind {
            "@" => case.formats = rest,
            ">" => case.headers.push(rest.split_once(": ").expect(line)),
            "=" => case.read.push(rest),
            "<" => case.written.push(rest.to_owned()),
            _ => panic!("{line}"),
        }
    }
    cases
}

/// Ids in the headers of a case, as they are.
fn told(text: &str) -> String {
    text.replace("TRACE", TRACE).replace("SPAN", SPAN).replace("OWN", OWN)
}

#[test]
fn each_format_reads_and_writes_as_its_table_says() {
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() > 100, "the table is read whole: {}", cases.len());
    for case in &cases {
        let propagators = propagators(case.formats);
        let headers: Vec<_> = case.headers.iter().map(|(k, v)| (*k, told(v))).collect();
        let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let headers = select(&headers);
        let parent = propagators.extract(&headers);
        let alone = propagators.flags_of_new_trace(&headers);
        let read = match &parent {
            Some(parent) => shown(parent),
            None if alone == TraceFlags::new_trace() => "nothing".to_owned(),
            None => format!("new trace, {}", decision(alone)),
        };
        if case.read != [read.as_str()] {
            writeln!(wrong, "{} ({}): {read:?}, not {:?}", case.reason, case.formats, case.read)
                .expect("text");
        }
        let written = changes(&propagators, Some(&headers));
        let expected: Vec<_> = case.written.iter().map(|it| told(it)).collect();
        if !case.written.is_empty() && written != expected {
            writeln!(wrong, "{} ({}): {written:#?}", case.reason, case.formats).expect("text");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn each_format_is_found_by_its_carriers() {
    for format in FORMATS {
        let (name, fields) = (format.name(), format.fields());
        assert!(!format.carriers().is_empty(), "{name}");
        for carrier in format.carriers() {
            assert!(fields.contains(carrier), "{name}: {carrier}");
        }
        for field in fields {
            assert_eq!(*field, field.to_ascii_lowercase(), "{name}: as Envoy has it");
        }
        let alone: Propagators = [*format].into_iter().collect();
        let asked = alone.needs().headers;
        assert_eq!(asked, HeaderNeeds::Presence(format.carriers().to_vec()), "{name}: no more");
    }
}

/// The headers that a format writes.
fn written(format: &'static dyn Propagator, context: &SpanContext) -> Vec<(String, String)> {
    let mut changes = Changes::default();
    let none = select(&[]);
    format.inject(context, None, Known::Headers(&none), &mut changes);
    let entries = changes.iter().map(|change| match change {
        HeaderChange::Add(name, value) => {
            (name.to_owned(), String::from_utf8(value.to_vec()).expect("text"))
        }
        other => panic!("nothing came: {other:?}"),
    });
    entries.collect()
}

fn read(format: &'static dyn Propagator, headers: &[(String, String)]) -> Option<SpanContext> {
    let headers: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    [format].into_iter().collect::<Propagators>().extract(&select(&headers))
}

#[test]
fn of_each_two_formats_the_first_one_counts_and_both_are_written() {
    let of = |digit: u8| SpanContext {
        trace_id: TraceId::from_hex(&[digit; 32]).expect("valid"),
        span_id: SpanId::from_hex(&[digit; 16]).expect("valid"),
        flags: TraceFlags::decided(Decision::Sampled),
        trace_state: TraceState::default(),
    };
    // B3 is one format in two notations.
    let pairs = FORMATS.iter().flat_map(|first| FORMATS.iter().map(move |second| (first, second)));
    let is_b3 = |format: &dyn Propagator| format.name().starts_with("b3");
    for (first, second) in
        pairs.filter(|(a, b)| a.name() != b.name() && !(is_b3(**a) && is_b3(**b)))
    {
        let names = format!("{},{}", first.name(), second.name());
        let both: Propagators = [*first, *second].into_iter().collect();
        let (one, other) = (of(b'1'), of(b'2'));
        let mut headers = written(*first, &one);
        let expected = read(*first, &headers).expect("its own");
        headers.extend(written(*second, &other));
        let text: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let came = select(&text);
        let parent = both.extract(&came).expect("one of them");
        assert_eq!(parent, expected, "{names}: the first one");
        let own = SpanContext { span_id: SpanId::from_bytes([9; 8]).expect("valid"), ..parent };
        let mut changes = Changes::default();
        both.inject(&own, Some(&expected), Known::Headers(&came), &mut changes);
        let sent = apply(&headers, &changes);
        for format in [first, second] {
            let read = read(*format, &sent).expect("all are written");
            assert_eq!(read.span_id, own.span_id, "{names}: {} goes on", format.name());
            let low = |id: &TraceId| id.as_bytes().split_at(8).1.to_vec();
            assert_eq!(low(&read.trace_id), low(&own.trace_id), "{names}: in one trace");
        }
        let stale = sent.iter().find(|(_, value)| value.contains("2222222222"));
        assert_eq!(stale, None, "{names}: nothing goes on of the other trace");
    }
}

/// Headers after changes.
fn apply(headers: &[(String, String)], changes: &Changes) -> Vec<(String, String)> {
    let mut headers = headers.to_vec();
    for change in changes.iter() {
        match change {
            HeaderChange::Add(name, value) => {
                headers.push((name.into(), String::from_utf8_lossy(value).into()));
            }
            HeaderChange::Replace(name, value) => {
                headers.retain(|(known, _)| known != name);
                headers.push((name.into(), String::from_utf8_lossy(value).into()));
            }
            HeaderChange::Remove(name) => headers.retain(|(known, _)| known != name),
        }
    }
    headers
}

#[test]
fn one_value_is_enough_where_it_holds_all() {
    let cases = [
        ("b3", "TRACE-SPAN-0", true, "not sampled"),
        ("b3", "TRACE-SPAN-1", false, "sampled"),
        ("b3", "TRACE-SPAN", false, "not decided"),
        ("b3", "0", false, "no ids"),
        ("b3multi", "TRACE", false, "the rest stands elsewhere"),
        ("jaeger", "TRACE:SPAN:0:0", true, "not sampled"),
        ("xray", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=SPAN;Sampled=0", true, "no"),
        ("xray", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=SPAN", false, "not decided"),
        ("google", "TRACE/1;o=0", true, "not sampled"),
        ("ottrace", "TRACE", false, "the rest stands elsewhere"),
        ("datadog", "1", false, "the rest stands elsewhere"),
        ("tracecontext", "00-TRACE-SPAN-00", true, "not sampled"),
        ("tracecontext,b3", "00-TRACE-SPAN-00", false, "there may be another one"),
    ];
    for (names, carrier, expected, reason) in cases {
        let found = propagators(names).is_unsampled(told(carrier).as_bytes());
        assert_eq!(found, expected, "{names}: {reason}");
    }
}

#[test]
fn without_a_carrier_headers_are_added_and_what_may_be_there_goes() {
    let expected = [
        ("b3", "add b3"),
        (
            "b3multi",
            "add x-b3-traceid, replace x-b3-spanid, replace x-b3-sampled, remove x-b3-parentspanid",
        ),
        ("jaeger", "add uber-trace-id"),
        ("xray", "add x-amzn-trace-id"),
        ("ottrace", "add ot-tracer-traceid, replace ot-tracer-spanid, replace ot-tracer-sampled"),
        (
            "datadog",
            "add x-datadog-trace-id, replace x-datadog-parent-id, replace x-datadog-sampling-priority, replace x-datadog-tags",
        ),
        ("google", "add x-cloud-trace-context"),
    ];
    for (name, expected) in expected {
        let changes = changes(&propagators(name), None);
        let changes: Vec<_> =
            changes.iter().filter_map(|change| change.split(':').next()).collect();
        assert_eq!(changes.join(", "), expected, "{name}");
    }
}

fn ids() -> impl Strategy<Value = (TraceId, SpanId)> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 8]>());
    ids.prop_filter_map("ids are not zero", |(trace, span)| {
        Some((TraceId::from_bytes(trace)?, SpanId::from_bytes(span)?))
    })
}

proptest! {
    #[test]
    fn what_we_write_we_read((trace_id, span_id) in ids(), kind in 0..3) {
        let flags = match kind {
            0 => TraceFlags::decided(Decision::NotSampled),
            1 => TraceFlags::decided(Decision::Sampled),
            _ => TraceFlags::debug(),
        };
        let context = SpanContext { trace_id, span_id, flags, trace_state: TraceState::default() };
        for format in FORMATS {
            let read = read(*format, &written(*format, &context));
            let mut expected = context.clone();
            if !matches!(format.name(), "b3" | "b3multi" | "jaeger") {
                expected.flags = TraceFlags::from_byte(flags.as_byte());
            }
            if format.name() == "ottrace" {
                let mut low = *trace_id.as_bytes();
                low[..8].fill(0);
                expected.trace_id = TraceId::from_bytes(low).expect("random");
            }
            prop_assert_eq!(read, Some(expected), "{}", format.name());
        }
    }

    #[test]
    fn any_headers_are_survived(values in prop::collection::vec("[0-9a-f:;=%,/ -]{0,60}|.{0,20}", 20)) {
        let names: Vec<_> = FORMATS.iter().flat_map(|format| format.fields()).copied().collect();
        let headers: Vec<_> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
        let headers = select(&headers);
        for format in FORMATS {
            let one: Propagators = [*format].into_iter().collect();
            let _ = (one.extract(&headers), one.flags_of_new_trace(&headers));
            for value in &values {
                let _ = one.is_unsampled(value.as_bytes());
            }
            let _ = changes(&one, Some(&headers));
        }
    }

    #[test]
    fn a_number_is_written_as_anybody_would((trace_id, span_id) in ids()) {
        let context = SpanContext { trace_id, span_id, flags: TraceFlags::debug(), trace_state: TraceState::default() };
        let mut text = Vec::new();
        text::push(&mut text, "%s %l", &context);
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight"));
        let expected = format!("{} {}", number(span_id.as_bytes()), number(&trace_id.as_bytes()[8..]));
        prop_assert_eq!(String::from_utf8(text).expect("digits"), expected);
    }
}
