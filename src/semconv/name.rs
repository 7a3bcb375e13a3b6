//! `envoy.span_name`: a span's name that is made of its attributes.
//!
//! Of those alone that have few values, so that spans can be grouped by it. What a span is called without it is not known here.

use super::facts::Facts;
use crate::envoy::attributes::{Detail, Details};
use crate::otlp::SpanKind;
use crate::otlp::attributes::limited;

/// How many characters a name has at most: some are told by strangers.
pub const MAX_LENGTH: usize = 256;

/// An attribute that a name may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAttribute {
    /// `envoy.cluster_name`.
    ClusterName,
    /// `envoy.route_name`.
    RouteName,
    /// `http.request.method`; `HTTP` for one that is not known.
    Method,
    /// `http.response.status_code`.
    StatusCode,
    /// `http.route`, of a CLIENT span `url.template`.
    Route,
    /// `rpc.method`; `grpc` for one that nobody has.
    RpcMethod,
    /// `server.address`.
    ServerAddress,
}

/// Their names, in the order of the alphabet.
pub const NAMES: [(&str, NameAttribute); 7] = [
    ("envoy.cluster_name", NameAttribute::ClusterName),
    ("envoy.route_name", NameAttribute::RouteName),
    ("http.request.method", NameAttribute::Method),
    ("http.response.status_code", NameAttribute::StatusCode),
    ("http.route", NameAttribute::Route),
    ("rpc.method", NameAttribute::RpcMethod),
    ("server.address", NameAttribute::ServerAddress),
];

/// A name with places for attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanName(Box<str>); // Invariant: `Parts` reads it to its end.

/// The parts of a name: a text, and the attribute behind it, if one is. Ends with `Err` where it is none.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(&'a [u8], Option<NameAttribute>), ()>;

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (text, rest) = split_before(self.0, b"{}");
        let (name, rest) = split_before(rest, b"}");
        self.0 = rest.get(1..).unwrap_or_default();
        let known = |(known, _): &&(&str, _)| name.strip_prefix(b"{") == Some(known.as_bytes());
        Some(match (rest, NAMES.iter().find(known)) {
            ([_, ..], Some((_, attribute))) => Ok((text, Some(*attribute))),
            ([], _) if name.is_empty() => Ok((text, None)),
            _ => Err(()),
        })
    }
}

/// What stands before the first of these bytes, and the rest.
fn split_before<'a>(text: &'a [u8], bytes: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = text.iter().position(|byte| bytes.contains(byte)).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, &[]))
}

impl SpanName {
    /// Reads a text with attributes in braces. None if it is empty, has a brace without its other one, or an attribute that no name may have.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_whole = Parts(text.as_bytes()).all(|part| part.is_ok());
        (is_whole && !text.is_empty()).then(|| Self(text.into()))
    }

    /// These details and those that it needs.
    #[must_use]
    pub fn details(&self, mut details: Details) -> Details {
        for (_, attribute) in Parts(self.0.as_bytes()).flatten() {
            details = match attribute {
                Some(NameAttribute::ClusterName) => details.with(Detail::ClusterName),
                Some(NameAttribute::RouteName) => details.with(Detail::RouteName),
                _ => details,
            };
        }
        details
    }

    /// The name of a span that has all of its attributes. `method` stands for the method in a name.
    #[inline(never)] // Most have another name.
    pub(super) fn of(&self, kind: SpanKind, facts: &Facts<'_>, method: &[u8]) -> Option<String> {
        let mut name = Vec::new();
        for (text, attribute) in Parts(self.0.as_bytes()).flatten() {
            name.extend_from_slice(text);
            let length = name.len();
            if let Some(attribute) = attribute {
                attribute.write(kind, facts, method, &mut name);
                if name.len() == length {
                    return None;
                }
            }
        }
        Some(limited(&name, Some(MAX_LENGTH)).into_owned())
    }
}

impl NameAttribute {
    /// Writes its value, unless the span has none.
    fn write(self, kind: SpanKind, facts: &Facts<'_>, method: &[u8], name: &mut Vec<u8>) {
        let origin = match kind {
            SpanKind::Server => &facts.original,
            SpanKind::Client => &facts.called,
        };
        let code;
        name.extend_from_slice(match (self, facts.rpc) {
            (Self::ClusterName, _) => facts.outcome.cluster_name,
            (Self::RouteName, _) => facts.outcome.route_name,
            (Self::ServerAddress, _) => origin.server().host,
            (Self::RpcMethod, Some(_)) | (Self::Method, None) => method,
            (Self::Route, None) => facts.route.unwrap_or_default().as_bytes(),
            (Self::StatusCode, None) => {
                code = facts.status.map(|code| code.to_string()).unwrap_or_default();
                code.as_bytes()
            }
            _ => &[],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_with_attributes_in_braces() {
        let cases = [
            ("ingress", true, "a text alone"),
            ("{http.request.method} {http.route}", true, "attributes"),
            ("to {server.address}!", true, "with text around"),
            ("", false, "nothing"),
            ("{url.path}", false, "an attribute with too many values"),
            ("{}", false, "no attribute"),
            ("{http.route", false, "an open brace"),
            ("http.route}", false, "a closed one"),
            ("{http.route}}", false, "one too many"),
            ("}{http.route}", false, "the other way round"),
            ("{{http.route}}", false, "braces in braces"),
            ("{ http.route}", false, "a space"),
        ];
        for (text, expected, reason) in cases {
            assert_eq!(SpanName::parse(text).is_some(), expected, "{reason}: {text}");
        }
    }

    #[test]
    fn what_a_name_needs_is_read() {
        let cases = [
            ("{http.route}", Details::NONE),
            ("{envoy.route_name}", Details::NONE.with(Detail::RouteName)),
            ("{http.route} {envoy.cluster_name}", Details::NONE.with(Detail::ClusterName)),
        ];
        for (text, expected) in cases {
            let name = SpanName::parse(text).expect(text);
            assert_eq!(name.details(Details::NONE), expected, "{text}");
            assert_eq!(name.details(Details::ALL), Details::ALL, "{text}");
        }
    }
}
