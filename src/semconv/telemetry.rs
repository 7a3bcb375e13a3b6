//! Exports of telemetry, told from what only looks like one: to trace those would be to trace our own exports.
//!
//! What becomes of them is the tracer's affair.

use super::request::{RequestHeaders, RequestProtocol};
use crate::envoy::headers::Headers;

/// `envoy.trace_telemetry_exports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelemetryExports {
    /// They get no context, and become no span.
    LeftAlone,
    /// They are requests like any other.
    Traced,
}

/// The methods of OTLP/gRPC (opentelemetry-proto 1.11.0, collector).
const GRPC_METHODS: [&[u8]; 4] = [
    b"opentelemetry.proto.collector.trace.v1.TraceService/Export",
    b"opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    b"opentelemetry.proto.collector.logs.v1.LogsService/Export",
    b"opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
];

/// How the paths of OTLP/HTTP end (OTLP, section OTLP/HTTP Request).
const HTTP_PATHS: [[&[u8]; 2]; 4] =
    [[b"v1", b"traces"], [b"v1", b"metrics"], [b"v1", b"logs"], [b"v1development", b"profiles"]];

/// Whether a request with these headers is surely an export of telemetry, by one of OpenTelemetry's exporters.
#[must_use]
pub fn is_export(headers: &Headers) -> bool {
    // Most requests are none, and are known by this alone.
    if headers.first(":method") != b"POST" {
        return false;
    }
    let request = RequestHeaders::read(headers.iter());
    let protocol = RequestProtocol::of(headers);
    match protocol {
        RequestProtocol::Grpc => {
            request.rpc_method(protocol).is_some_and(|method| GRPC_METHODS.contains(&method))
        }
        RequestProtocol::GrpcWeb | RequestProtocol::Connect => false,
        RequestProtocol::Http => {
            is_otlp(request.content_type)
                && ends_as_otlp(request.path)
                && names_an_exporter(request.user_agent)
        }
    }
}

/// Whether a content type is one of OTLP/HTTP, with any parameters (RFC 9110, section 8.3.1).
fn is_otlp(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let known: [&[u8]; 2] = [b"application/x-protobuf", b"application/json"];
    known.iter().any(|known| media_type.trim_ascii().eq_ignore_ascii_case(known))
}

/// Whether the last segments of a path are those of OTLP/HTTP. An endpoint may have a path before them (OTLP exporter, section
/// Endpoint URLs for OTLP/HTTP); one of plain names, so that nothing hides in it.
fn ends_as_otlp(path: &[u8]) -> bool {
    let Some(path) = path.strip_prefix(b"/") else { return false };
    let mut segments = path.rsplit(|byte| *byte == b'/');
    let (Some(last), Some(before)) = (segments.next(), segments.next()) else { return false };
    HTTP_PATHS.contains(&[before, last]) && segments.all(is_plain_name)
}

/// Unreserved characters alone (RFC 3986, section 2.3), and no step to the same or the upper level.
fn is_plain_name(segment: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    !matches!(segment, b"" | b"." | b"..") && segment.iter().all(is_plain)
}

/// Whether a user agent names one of OpenTelemetry's exporters: `OTel-OTLP-Exporter-…` among its products (OTLP exporter, section
/// User Agent), which the exporters of Go and PHP write with spaces; or the Collector, which begins with its own name.
fn names_an_exporter(user_agent: &[u8]) -> bool {
    const SPACED: [&[u8]; 3] = [b"OTel", b"OTLP", b"Exporter"];
    if let Some(rest) = user_agent.strip_prefix(b"OpenTelemetry Collector") {
        return matches!(rest, [] | [b' ' | b'/', ..]);
    }
    let mut before = [b"".as_slice(); 3];
    products(user_agent).any(|product| {
        let is_named =
            product.strip_prefix(b"OTel-OTLP-Exporter-").is_some_and(|it| !it.is_empty());
        let is_spaced = before == SPACED;
        let [_, second, third] = before;
        before = [second, third, product];
        is_named || is_spaced
    })
}

/// The products of a user agent (RFC 9110, section 10.1.5), with their versions: what is between white space, and in no comment.
fn products(user_agent: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut depth = 0_u32;
    let mut is_escaped = false;
    let products = user_agent.split(move |byte| {
        let in_comment = depth > 0;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_comment,
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        in_comment || depth > 0 || byte.is_ascii_whitespace()
    });
    products.filter(|product| !product.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::wire::HeaderMap;
    use proptest::prelude::*;

    const AGENT: &str = "OTel-OTLP-Exporter-Rust/0.1.0";

    fn is_export(method: &str, path: &str, content_type: &str, user_agent: &str) -> bool {
        let headers = [
            (":method", method),
            (":path", path),
            ("content-type", content_type),
            ("user-agent", user_agent),
        ];
        let names = RequestHeaders::NAMES.into_iter().collect();
        super::is_export(&Headers::select(HeaderMap::of(&headers), &names))
    }

    #[test]
    fn exports_over_http_are_told_from_what_looks_like_one() {
        let (protobuf, json) = ("application/x-protobuf", "application/json");
        let cases = [
            ("POST", "/v1/traces", protobuf, AGENT, true, "traces"),
            ("POST", "/v1/metrics", protobuf, AGENT, true, "metrics"),
            ("POST", "/v1/logs", json, AGENT, true, "logs, in JSON"),
            ("POST", "/v1development/profiles", protobuf, AGENT, true, "profiles"),
            ("POST", "/v1/logs?x=1", "Application/JSON; a=b", AGENT, true, "a parameter, a query"),
            ("POST", "/otlp/a-b_c.d~e/v1/traces", protobuf, AGENT, true, "a path before it"),
            ("GET", "/v1/traces", protobuf, AGENT, false, "another method"),
            ("POST", "/v1/tracesx", protobuf, AGENT, false, "another path"),
            ("POST", "/xv1/traces", protobuf, AGENT, false, "not whole segments"),
            ("POST", "/v1/traces/", protobuf, AGENT, false, "another segment after it"),
            ("POST", "/v1/profiles", protobuf, AGENT, false, "a path that does not exist"),
            ("POST", "/traces", protobuf, AGENT, false, "one segment"),
            ("POST", "v1/traces", protobuf, AGENT, false, "no path"),
            ("POST", "/admin/delete;x=/v1/logs", protobuf, AGENT, false, "a parameter of a path"),
            ("POST", "/a%2f/v1/logs", protobuf, AGENT, false, "what is not plain"),
            ("POST", "/a/../v1/logs", protobuf, AGENT, false, "a step up"),
            ("POST", "/./v1/logs", protobuf, AGENT, false, "a step aside"),
            ("POST", "//v1/logs", protobuf, AGENT, false, "an empty segment"),
            ("POST", "/v1/traces", "", AGENT, false, "no content type"),
            ("POST", "/v1/traces", "application/x-protobufx", AGENT, false, "a longer one"),
            ("POST", "/v1/traces", "application/jsonl", AGENT, false, "another one"),
            ("POST", "/api/v1/logs", json, "curl/8", false, "an application's"),
            ("POST", "/v1/logs", json, "", false, "nobody says who"),
        ];
        for (method, path, content_type, user_agent, expected, reason) in cases {
            let found = is_export(method, path, content_type, user_agent);
            assert_eq!(found, expected, "{reason}: {method} {path} {content_type} {user_agent}");
        }
    }

    #[test]
    fn exporters_are_known_by_their_products() {
        let cases = [
            ("otel-proxy-wasm/0.1 OTel-OTLP-Exporter-Rust/0.1", true, "this filter"),
            ("OTel-OTLP-Exporter-Python/1.2.3", true, "Python's"),
            ("OTel-OTLP-Exporter-Swift/1 (iOS; 17)", true, "with a comment"),
            ("a/1 (b) OTel-OTLP-Exporter-Java/1", true, "after a comment"),
            ("OTel OTLP Exporter Go/1.2.3", true, "Go's"),
            ("a/1 OTel OTLP Exporter PHP/1", true, "PHP's, after another product"),
            ("OpenTelemetry Collector/0.140.0 (linux/amd64)", true, "the Collector"),
            ("OpenTelemetry Collector Contrib/0.140.0 (linux/amd64)", true, "with all components"),
            ("OpenTelemetry Collector", true, "without a version"),
            ("OpenTelemetry Collectors/1", false, "another word"),
            ("x OpenTelemetry Collector/1", false, "not at its begin"),
            ("OTel-OTLP-Exporter-", false, "of no language"),
            ("otel-otlp-exporter-rust/1", false, "not as it is written"),
            ("xOTel-OTLP-Exporter-Rust/1", false, "the end of another product"),
            ("Mozilla/5.0 (OTel-OTLP-Exporter-Rust/1)", false, "a comment"),
            ("Mozilla/5.0 (a (b) OTel-OTLP-Exporter-Rust/1 )", false, "in a comment of comments"),
            ("a (\\) OTel-OTLP-Exporter-Rust/1 )", false, "in a comment that goes on"),
            ("OTel OTLP Exporter(a)Go/1", true, "a comment right after it"),
            ("OTel OTLP Exporter", false, "nothing after it"),
            ("OTLP Exporter Go/1", false, "a part of it"),
            ("OTel x OTLP Exporter Go/1", false, "something between"),
        ];
        for (user_agent, expected, reason) in cases {
            let found = is_export("POST", "/v1/traces", "application/x-protobuf", user_agent);
            assert_eq!(found, expected, "{reason}: {user_agent}");
        }
    }

    #[test]
    fn exports_over_grpc_are_known_by_their_whole_method() {
        let service = "/opentelemetry.proto.collector.trace.v1.TraceService";
        for (path, content_type, expected) in [
            (format!("{service}/Export"), "application/grpc+proto", true),
            (GRPC_METHODS[1].escape_ascii().to_string(), "application/grpc", false),
            (format!("/{}", GRPC_METHODS[1].escape_ascii()), "application/grpc", true),
            (format!("/{}", GRPC_METHODS[2].escape_ascii()), "application/grpc", true),
            (format!("/{}", GRPC_METHODS[3].escape_ascii()), "application/grpc", true),
            (format!("{service}/Delete"), "application/grpc", false),
            (format!("{service}x/Export"), "application/grpc", false),
            (format!("{service}/Export/x"), "application/grpc", false),
            (format!("{service}/Export"), "application/grpc-web", false),
            ("/shop.Cart/Add".to_owned(), "application/grpc", false),
        ] {
            assert_eq!(is_export("POST", &path, content_type, ""), expected, "{path}");
            assert!(!is_export("GET", &path, content_type, ""), "gRPC is a POST");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(path: Vec<u8>, user_agent: Vec<u8>) {
            let _ = ends_as_otlp(&path);
            let _ = names_an_exporter(&user_agent);
        }

        #[test]
        fn an_exporter_is_known_among_other_products(
            before in prop::collection::vec("[a-zA-Z/0-9.]{1,9}|\\([^()\\\\]{0,9}\\)", 0..4),
            after in "[ -~]{0,9}",
        ) {
            let user_agent = format!("{} {AGENT} {after}", before.join(" "));
            prop_assert!(names_an_exporter(user_agent.as_bytes()), "{user_agent}");
        }
    }
}
