//! `envoy.attributes`: attributes that the configuration asks for, beside those of each span.
//!
//! Values are bytes until they are written. What an attribute of the conventions is read from is in `opt_in`.

use super::baggage::{self, BAGGAGE};
use super::facts::Facts;
use super::opt_in::OptIn;
use super::request::RequestHeaders;
use super::value::{Form, Typed, ValueType};
use crate::envoy::connections::is_of_peers;
use crate::envoy::expression::Expression;
use crate::otlp::SpanKind;
use crate::otlp::attributes::Attributes;

/// An attribute that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredAttribute {
    /// Its name. One that the span has already gets this value.
    pub name: Box<str>,
    /// Where its value comes from.
    pub source: Source,
    /// The name of a header, in lowercase, or the key of a member.
    pub key: Box<str>,
    /// What its value is: another one does not fit, and is left out.
    pub kind: ValueType,
    /// Its value where the source has none, as the host writes it; empty if there is none.
    pub default: Vec<u8>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From nowhere: it is always the default.
    Literal,
    /// The first of the request's headers of this name.
    RequestHeader,
    /// The first of the response's headers of this name.
    ResponseHeader,
    /// The member of the request's Baggage with this key.
    Baggage,
    /// An expression, which the host evaluates.
    Expression(Expression),
    /// What the conventions, or Envoy, call so.
    OptIn(&'static OptIn),
}

/// What has to be asked of whoever holds the request when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// One of Envoy's attributes.
    Attribute(&'static str),
    /// The value of an expression.
    Expression(Expression),
}

impl From<&'static OptIn> for ConfiguredAttribute {
    fn from(known: &'static OptIn) -> Self {
        let (key, default) = (Box::default(), Vec::new());
        Self {
            name: known.name.into(),
            source: Source::OptIn(known),
            key,
            kind: known.kind,
            default,
        }
    }
}

impl ConfiguredAttribute {
    /// What a span of this kind needs beside its headers.
    #[must_use]
    pub fn asked(&self, kind: SpanKind) -> Asked {
        match self.source {
            Source::Expression(expression) => Asked::Expression(expression),
            Source::OptIn(known) => match known.attribute(kind) {
                "" => Asked::Nothing,
                attribute => Asked::Attribute(attribute),
            },
            _ => Asked::Nothing,
        }
    }

    /// Whether a span in a listener's chain asks the downstream connection for it.
    #[must_use]
    pub fn asks_peers(&self) -> bool {
        match self.asked(SpanKind::Server) {
            Asked::Nothing => false,
            Asked::Attribute(name) => is_of_peers(name),
            Asked::Expression(expression) => expression.asks_peers(),
        }
    }

    /// The header of the request that it is read from.
    #[must_use]
    pub fn request_header(&self) -> Option<&str> {
        match self.source {
            Source::RequestHeader => Some(&self.key),
            Source::Baggage => Some(BAGGAGE),
            _ => None,
        }
    }

    /// The header of the response that it is read from.
    #[must_use]
    pub fn response_header(&self) -> Option<&str> {
        (self.source == Source::ResponseHeader).then_some(&*self.key)
    }

    /// Writes it, if it has a value; one that does not fit its type is counted as dropped. `told` is what was asked.
    #[inline(never)] // Most configurations have none.
    pub(super) fn write(
        &self,
        kind: SpanKind,
        facts: &Facts<'_>,
        told: &[u8],
        attributes: &mut Attributes,
    ) {
        let headers = match self.source {
            Source::ResponseHeader => facts.response_headers,
            _ => facts.request_headers,
        };
        let (mut value, mut form) = (Vec::new(), Form::Text);
        match self.source {
            Source::Literal => {}
            // A stranger's counts for nothing.
            Source::Baggage if !headers.first(RequestHeaders::STRANGER).is_empty() => {}
            Source::RequestHeader | Source::ResponseHeader => {
                value.extend_from_slice(headers.first(&self.key));
            }
            Source::Baggage => value = baggage::member(headers, &self.key),
            Source::Expression(_) | Source::OptIn(_) => form = Form::Host,
        }
        match self.source {
            Source::Expression(_) => value.extend_from_slice(told),
            Source::OptIn(known) => known.read(kind, facts, told, &mut value),
            _ => {}
        }
        let mut value = value.as_slice();
        if value.is_empty() {
            (value, form) = (&self.default, Form::Host);
        }
        if value.is_empty() {
            return;
        }
        let Some(value) = self.kind.read(form, value) else { return attributes.note_dropped(1) };
        attributes.remove(&self.name);
        match value {
            Typed::String(text) => attributes.string(&self.name, text),
            Typed::Int(number) => attributes.int(&self.name, number),
            Typed::Double(number) => attributes.double(&self.name, number),
            Typed::Bool(truth) => attributes.bool(&self.name, truth),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::attributes::{Outcome, OutcomeValues};
    use crate::envoy::headers::Headers;
    use crate::otlp::attributes::SpanLimits;
    use crate::semconv::request::RequestProtocol;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    fn of(source: Source, key: &str, kind: ValueType) -> ConfiguredAttribute {
        ConfiguredAttribute { name: "a".into(), source, key: key.into(), kind, default: Vec::new() }
    }

    fn expression() -> Source {
        Source::Expression(Expression::from_bytes(&[7, 0, 0, 0]).expect("four bytes"))
    }

    /// What is written of an attribute, beside one of the same name, and how many are dropped.
    fn written(attribute: &ConfiguredAttribute, told: &[u8]) -> (Vec<Any>, u32) {
        let mut request = Headers::default();
        let pairs = [
            ("x-tenant", "shop"),
            ("x-tenant", "second"),
            ("x-number", "-12"),
            ("x-eight", "12345678"),
            ("x-fraction", "1.5e1"),
            ("x-true", "true"),
            ("x-empty", ""),
            ("x-zero", "\0"),
            ("x-one", "\u{1}"),
            ("x-long", "0.00000000000000000000000000000001"),
            ("baggage", "plan=free%20one,count=3"),
        ];
        for (name, value) in pairs {
            request.add(name.as_bytes(), value.as_bytes());
        }
        let mut response = Headers::default();
        response.add(b"x-tenant", b"of the response");
        let values = OutcomeValues::default();
        let outcome: Outcome<'_> = values.outcome();
        let facts = Facts::read(RequestProtocol::Http, &request, &response, None, outcome);
        let mut attributes = Attributes::new(SpanLimits::default());
        attributes.string("b", b"before");
        attributes.string("a", b"old");
        attributes.int("c", 1);
        attribute.write(SpanKind::Server, &facts, told, &mut attributes);
        let span = Span::decode(attributes.as_bytes()).expect("attributes of a span");
        let others = span.attributes.iter().filter(|it| ["b", "c"].contains(&it.key.as_str()));
        assert_eq!(others.count(), 2, "others stay");
        let values = span.attributes.iter().filter(|it| it.key == "a");
        let values = values.map(|it| it.value.clone().expect("one").value.expect("one"));
        (values.collect(), attributes.dropped())
    }

    #[test]
    fn a_value_is_of_its_type_or_left_out() {
        use Source::{Baggage, Literal, RequestHeader, ResponseHeader};
        use ValueType::{Bool, Double, Int, String};
        let text = |text: &str| Some(Any::StringValue(text.to_owned()));
        let (int, double) = (|it| Some(Any::IntValue(it)), |it| Some(Any::DoubleValue(it)));
        let truth = |it| Some(Any::BoolValue(it));
        let eight = |it: i64| it.to_le_bytes().to_vec();
        let real = |it: f64| it.to_le_bytes().to_vec();
        let none = Vec::new;
        let cases = [
            (RequestHeader, "x-tenant", String, none(), text("shop"), 0, "the first of its name"),
            (
                ResponseHeader,
                "x-tenant",
                String,
                none(),
                text("of the response"),
                0,
                "a response's",
            ),
            (RequestHeader, "x-number", Int, none(), int(-12), 0, "a number as text"),
            (RequestHeader, "x-eight", Int, none(), int(12_345_678), 0, "eight digits"),
            (RequestHeader, "x-number", Double, none(), double(-12.0), 0, "a whole one"),
            (RequestHeader, "x-fraction", Double, none(), double(15.0), 0, "a fraction"),
            (RequestHeader, "x-fraction", Int, none(), None, 1, "no whole number"),
            (RequestHeader, "x-long", Double, none(), None, 1, "longer than any number"),
            (RequestHeader, "x-true", Bool, none(), truth(true), 0, "truth"),
            (RequestHeader, "x-number", Bool, none(), None, 1, "no truth"),
            (RequestHeader, "x-zero", Bool, none(), None, 1, "as the host writes false"),
            (RequestHeader, "x-one", Bool, none(), None, 1, "as the host writes true"),
            (RequestHeader, "x-one", String, none(), text("\u{1}"), 0, "a text all the same"),
            (RequestHeader, "x-tenant", Double, none(), None, 1, "no number"),
            (RequestHeader, "x-empty", String, none(), None, 0, "an empty header has no value"),
            (RequestHeader, "x-none", Int, none(), None, 0, "one that is not there"),
            (Baggage, "plan", String, none(), text("free one"), 0, "a member"),
            (Baggage, "count", Int, none(), int(3), 0, "a number in it"),
            (Baggage, "Plan", String, none(), None, 0, "another member"),
            (Literal, "", String, none(), None, 0, "a literal without a value"),
            (expression(), "", String, b"shop".to_vec(), text("shop"), 0, "a text of the host's"),
            (expression(), "", String, eight(200), None, 1, "a number that is no text"),
            (expression(), "", String, vec![1], None, 1, "truth that is no text"),
            (expression(), "", Int, eight(-200), int(-200), 0, "a number of the host's"),
            (
                expression(),
                "",
                Int,
                b"12345678".to_vec(),
                int(12_345_678),
                0,
                "a text of eight digits",
            ),
            (expression(), "", Int, b"abcdefg".to_vec(), None, 1, "seven bytes"),
            (expression(), "", Double, real(-1.5), double(-1.5), 0, "a fraction of the host's"),
            (expression(), "", Double, eight(200), double(200.0), 0, "a whole number"),
            (expression(), "", Double, eight(-200), double(-200.0), 0, "one below zero"),
            (expression(), "", Double, real(0.0), double(0.0), 0, "zero"),
            (expression(), "", Bool, vec![0], truth(false), 0, "false of the host's"),
            (expression(), "", Bool, vec![1], truth(true), 0, "true of the host's"),
            (expression(), "", Bool, vec![2], None, 1, "neither"),
            (expression(), "", Bool, eight(1), None, 1, "a number that is no truth"),
            (expression(), "", Int, none(), None, 0, "an expression that fails has no value"),
        ];
        for (source, key, kind, told, expected, dropped, reason) in cases {
            let found = written(&of(source, key, kind), &told);
            let values = vec![expected.unwrap_or_else(|| Any::StringValue("old".into()))];
            assert_eq!(found, (values, dropped), "{reason}");
        }
    }

    #[test]
    fn a_default_stands_where_the_source_has_no_value() {
        let number = 5_i64.to_le_bytes().to_vec();
        let cases = [
            (Source::RequestHeader, "x-none", Any::IntValue(5), 0, "no header"),
            (Source::RequestHeader, "x-number", Any::IntValue(-12), 0, "a header"),
            (Source::RequestHeader, "x-tenant", Any::StringValue("old".into()), 1, "no number"),
            (Source::Literal, "", Any::IntValue(5), 0, "a literal"),
            (expression(), "", Any::IntValue(5), 0, "an expression that fails"),
        ];
        for (source, key, expected, dropped, reason) in cases {
            let default = number.clone();
            let attribute = ConfiguredAttribute { default, ..of(source, key, ValueType::Int) };
            assert_eq!(written(&attribute, &[]), (vec![expected], dropped), "{reason}");
        }
    }

    #[test]
    fn what_is_needed_is_asked_for() {
        use ValueType::String;
        let by_name = |name: &str| {
            let mut known = super::super::opt_in::OPT_IN.iter();
            ConfiguredAttribute::from(known.find(|it| it.name == name).expect(name))
        };
        let nothing = (Asked::Nothing, Asked::Nothing);
        let attributes = |one, other| (Asked::Attribute(one), Asked::Attribute(other));
        let Source::Expression(evaluated) = expression() else { panic!("an expression") };
        let evaluated = Asked::Expression(evaluated);
        let cases = [
            (of(Source::RequestHeader, "x-a", String), nothing, Some("x-a"), None),
            (of(Source::ResponseHeader, "x-a", String), nothing, None, Some("x-a")),
            (of(Source::Baggage, "plan", String), nothing, Some("baggage"), None),
            (of(Source::Literal, "", String), nothing, None, None),
            (of(expression(), "", String), (evaluated, evaluated), None, None),
            (
                by_name("network.local.port"),
                attributes("destination.address", "upstream.local_address"),
                None,
                None,
            ),
            (by_name("user_agent.synthetic.type"), nothing, None, None),
        ];
        for (attribute, (server, client), request, response) in cases {
            assert_eq!(attribute.asked(SpanKind::Server), server, "{attribute:?}");
            assert_eq!(attribute.asked(SpanKind::Client), client, "{attribute:?}");
            assert_eq!(attribute.request_header(), request, "{attribute:?}");
            assert_eq!(attribute.response_header(), response, "{attribute:?}");
        }
    }
}
