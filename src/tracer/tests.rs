//! Whole ways through the tracer: a table of single requests (`ways.txt`), and what needs more than one.

mod attempts;
mod both;
mod delivery;
mod keep;
mod long_streams;
mod several;
mod ways;

use super::*;
use crate::config::Environment;
use crate::envoy::attempt::Attempt;
use crate::envoy::expression::Expression;
use crate::envoy::wire::HeaderMap;
use crate::id::TraceId;
use crate::otlp::gzip::tests::Native;
use crate::outcome::EndedRequest;
use crate::probe::{Body, BucketName, RequestSource, Shared};
use crate::propagation::changes::HeaderChange;
use crate::span::OpenSpan;
use harness::Span;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

thread_local! {
    /// What was compiled in this test.
    static COMPILED: RefCell<Vec<String>> = RefCell::default();
    /// The traces that a rule of this test has kept.
    static KEPT_TRACES: RefCell<Vec<TraceId>> = RefCell::default();
    /// What is left in the buckets of this test, in which nothing comes.
    static ROOM: RefCell<BTreeMap<usize, u32>> = RefCell::default();
}

fn compiled(text: &str) -> Option<Expression> {
    COMPILED.with_borrow_mut(|all| {
        all.push(text.to_owned());
        let token = u32::try_from(all.len() - 1).expect("few").to_le_bytes();
        Some(Expression::from_bytes(&token)?.of(text))
    })
}

/// A tracer under a configuration, with ids that are the same in each run.
fn tracer(json: &str) -> Tracer {
    let config = Config::parse(json.as_bytes(), &Environment::default(), &compiled);
    let config = config.expect(json).config;
    let resource = [("service.name".to_owned(), AttributeValue::String("shop".to_owned()))];
    Tracer::new(config, &resource, IdGenerator::from_seed([7; 32]), Box::new(Native))
}

/// A request that notes what it is asked for.
#[derive(Debug, Default)]
struct Request {
    headers: Vec<(String, String)>,
    /// What passes before this one have left.
    marks: Vec<u8>,
    /// `connection.tls_version`.
    tls_version: &'static str,
    /// Its other attributes.
    attributes: Vec<(String, String)>,
    /// Which attempt of the router it is; zero of a request in a listener's chain.
    attempt: u64,
    /// The CLIENT span in the listener's chain.
    client_span: &'static str,
    /// What the attempt before this one has left.
    lineage: Vec<u8>,
    /// Whether it has its response before it starts.
    answered: bool,
    /// How often it was asked whether it is an attempt.
    attempts_asked: Cell<usize>,
    asked: RefCell<Vec<String>>,
}

impl Request {
    fn new(headers: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { headers: headers.iter().map(owned).collect(), ..Self::default() }
    }

    /// A GET with these headers in addition.
    fn get(headers: &[(&str, &str)]) -> Self {
        const PLAIN: [(&str, &str); 4] =
            [(":method", "GET"), (":path", "/"), (":authority", "shop"), (":scheme", "http")];
        Self::new(&[&PLAIN, headers].concat())
    }
}

impl Request {
    fn told(&self, name: &str) -> &str {
        let known = self.attributes.iter().find(|(known, _)| known == name);
        known.map_or("", |(_, value)| value)
    }
}

impl RequestSource for Request {
    fn shared(&self) -> &dyn Shared {
        &Process
    }

    fn has_header(&self, name: &str) -> bool {
        self.asked.borrow_mut().push(format!("has {name}"));
        self.headers.iter().any(|(known, _)| known == name)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.asked.borrow_mut().push(name.to_owned());
        let values = self.headers.iter().filter(|(known, _)| known == name);
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(",").into())
    }

    fn headers(&self) -> HeaderMap {
        self.asked.borrow_mut().push("all headers".to_owned());
        let pairs: Vec<_> = self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        HeaderMap::of(&pairs)
    }

    /// A GET has none.
    fn body(&self) -> Body {
        let is_get = |(name, value): &(String, String)| name == ":method" && value == "GET";
        if self.headers.iter().any(is_get) { Body::None } else { Body::Possible }
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        self.asked.borrow_mut().push(name.to_owned());
        match name {
            "connection.tls_version" => self.tls_version.into(),
            "connection.mtls" => vec![u8::from(self.told(name) == "true")],
            "response.code" if self.answered => 503_u64.to_le_bytes().to_vec(),
            _ => self.told(name).into(),
        }
    }

    fn now(&self) -> Duration {
        self.asked.borrow_mut().push("now".to_owned());
        Duration::ZERO
    }

    fn unix_time(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn marks(&self) -> Vec<u8> {
        self.asked.borrow_mut().push("marks".to_owned());
        self.marks.clone()
    }

    fn client_span(&self) -> Vec<u8> {
        self.client_span.into()
    }

    fn attempt(&self) -> Option<Attempt> {
        self.attempts_asked.set(self.attempts_asked.get() + 1);
        Attempt::read(&self.attempt.to_le_bytes())
    }

    fn lineage(&self) -> Vec<u8> {
        self.asked.borrow_mut().push("lineage".to_owned());
        self.lineage.clone()
    }
}

/// How a request ended. It notes what it is asked for.
#[derive(Debug)]
struct Outcome {
    attributes: Vec<(String, String)>,
    /// Its request headers, if they can still be read.
    headers: Option<Vec<(String, String)>>,
    asked: RefCell<Vec<String>>,
}

/// That of Envoy's attributes. `took` is how long the filter sees it take, in nanoseconds.
fn outcome(attributes: &[(&str, &str)]) -> Outcome {
    const KNOWN: [&str; 19] = [
        "request.size",
        "response.size",
        "response.trailers.grpc-message",
        "response.headers.grpc-message",
        "took",
        "request.time",
        "request.duration",
        "response.code",
        "response.flags",
        "response.code_details",
        "connection.id",
        "request.protocol",
        "source.address",
        "destination.address",
        "upstream.address",
        "upstream.local_address",
        "upstream.request_attempt_count",
        "xds.cluster_name",
        "xds.route_name",
    ];
    let of_connection = ["xds.listener_direction", "connection.mtls"];
    let is_known = |name: &str| KNOWN.contains(&name) || of_connection.contains(&name);
    assert!(attributes.iter().all(|(name, _)| is_known(name)), "{attributes:?}");
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Outcome {
        attributes: attributes.iter().map(owned).collect(),
        headers: None,
        asked: RefCell::default(),
    }
}

impl Outcome {
    fn value(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter().rev();
        attributes.find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }
}

/// What the filters of a test share.
struct Process;

impl Shared for Process {
    fn is_kept(&self, trace_id: TraceId) -> bool {
        KEPT_TRACES.with_borrow(|kept| kept.contains(&trace_id))
    }

    fn note_kept(&self, trace_id: TraceId) {
        KEPT_TRACES.with_borrow_mut(|kept| kept.push(trace_id));
    }

    fn take_spans(&self, bucket: BucketName, per_second: u32, wanted: u32) -> u32 {
        ROOM.with_borrow_mut(|room| {
            let room = room.entry(bucket as usize).or_insert(per_second);
            let taken = wanted.min(*room);
            *room -= taken;
            taken
        })
    }
}

impl EndedRequest for Outcome {
    fn shared(&self) -> &dyn Shared {
        &Process
    }

    fn attribute(&self, name: &str) -> Vec<u8> {
        const NUMBERS: [&str; 9] = [
            "request.size",
            "response.size",
            "request.time",
            "request.duration",
            "response.code",
            "response.flags",
            "connection.id",
            "upstream.request_attempt_count",
            "xds.listener_direction",
        ];
        self.asked.borrow_mut().push(name.to_owned());
        match self.value(name) {
            Some(number) if NUMBERS.contains(&name) && !number.is_empty() => {
                number.parse::<u64>().expect("a number").to_le_bytes().to_vec()
            }
            value => value.unwrap_or_default().as_bytes().to_vec(),
        }
    }

    /// What an expression of [`crate::envoy::expression`] says of it, whose conditions are of the form `NAME == NUMBER`.
    fn evaluate(&self, expression: Expression) -> Option<Vec<u8>> {
        let place = u32::from_le_bytes(expression.to_bytes()) as usize;
        let text = COMPILED.with_borrow(|all| all[place].clone());
        let number = |name: &str| self.value(name).and_then(|it| it.parse::<u64>().ok());
        let holds = |condition: &str| {
            let (name, expected) = condition.split_once(" == ").expect("a condition");
            number(name) == expected.trim().parse().ok()
        };
        let conditions = |text: &str| -> Vec<String> {
            text.split('(').skip(1).filter_map(|it| Some(it.split_once("\n)")?.0.into())).collect()
        };
        let asked = if text.starts_with("true && ") {
            "any condition"
        } else if text.starts_with("(response.code < 300 ") {
            "ended well"
        } else {
            "condition"
        };
        self.asked.borrow_mut().push(asked.to_owned());
        let is_well = || {
            matches!(number("response.code"), Some(0..300 | 304 | 400..500))
                && number("response.flags").is_none_or(|it| it == 0)
        };
        let is_so =
            conditions(&text).iter().any(|it| holds(it)) || asked == "ended well" && !is_well();
        Some(if is_so { b"?".to_vec() } else { Vec::new() })
    }

    fn has_headers(&self) -> bool {
        self.headers.is_some()
    }

    fn headers(&self) -> HeaderMap {
        self.asked.borrow_mut().push("all headers".to_owned());
        let pairs = self.headers.iter().flatten();
        let pairs: Vec<_> = pairs.map(|(k, v)| (k.as_str(), v.as_str())).collect();
        HeaderMap::of(&pairs)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.value("took").map_or(0, |took| took.parse().expect("a number")))
    }
}

/// Starts a request that is kept.
fn start(tracer: &mut Tracer, request: &Request) -> OpenSpan {
    tracer.start(request).span.expect("it is kept")
}

/// One request with a response, from its start to its end.
fn pass(tracer: &mut Tracer, status: &str) {
    let span = start(tracer, &Request::get(&[]));
    tracer.end(span, &outcome(&[("response.code", status)]));
}

/// What is changed of a request's headers.
fn changes(changes: &Changes) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
    let change = |change| match change {
        HeaderChange::Add(name, value) => (name.to_owned(), format!("add {}", text(value))),
        HeaderChange::Replace(name, value) => (name.to_owned(), format!("replace {}", text(value))),
        HeaderChange::Remove(name) => (name.to_owned(), "remove".to_owned()),
    };
    changes.iter().map(change).collect()
}

/// The spans of the next request to the collector, as another library reads them. None is due before `now`.
fn next_request(tracer: &mut Tracer, now: Duration) -> Option<Vec<Span>> {
    let call = tracer.poll_export(now)?;
    let request = ExportTraceServiceRequest::decode(call.body.bytes).expect("OTLP");
    Some(Span::all_of(&request))
}

/// What the host's counters are told.
fn counters(tracer: &mut Tracer) -> Vec<(&'static str, i64)> {
    tracer.take_stats().map(|(metric, change)| (metric.name(), change)).collect()
}
