//! What a collector says of a request: `ExportTraceServiceResponse`.

use crate::json::{self, Value};
use prost::Message;

/// The most that is read of an answer in JSON, in bytes: each value in it takes some hundred times as much as its text.
const MAX_JSON: usize = 8 << 10;

/// Spans that the collector took the request without (OTLP, section Partial Success).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// How many were rejected; zero with a message is a warning.
    pub rejected_spans: u64,
    /// Why, in the collector's words.
    pub error_message: String,
}

/// Reads the body of a successful answer. A body that can't be read says nothing: the status said
/// that the spans were taken.
#[must_use]
pub fn partial_success(body: &[u8]) -> PartialSuccess {
    let partial = ExportTraceServiceResponse::decode(body)
        .ok()
        .and_then(|response| response.partial_success)
        .unwrap_or_default();
    PartialSuccess {
        rejected_spans: u64::try_from(partial.rejected_spans).unwrap_or_default(),
        error_message: partial.error_message,
    }
}

/// Reads the body of a successful answer in JSON, where the number is a text. A long one says nothing.
#[must_use]
pub fn partial_success_of_json(body: &[u8]) -> PartialSuccess {
    if body.len() > MAX_JSON {
        return PartialSuccess::default();
    }
    let response = json::read(body).ok();
    let of = |name: &str| response.as_ref()?.get("partialSuccess")?.get(name);
    let rejected_spans = match of("rejectedSpans") {
        Some(Value::Text(digits)) => digits.parse().ok(),
        Some(Value::Number(number)) => number.as_u64(),
        _ => None,
    };
    let error_message = match of("errorMessage") {
        Some(Value::Text(message)) => message.clone(),
        _ => String::new(),
    };
    PartialSuccess { rejected_spans: rejected_spans.unwrap_or_default(), error_message }
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<ExportTracePartialSuccess>,
}

/// `opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess`.
#[derive(Clone, PartialEq, Message)]
struct ExportTracePartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_json_are_read_leniently() {
        let cases = [
            ("", 0, "", "an empty body is a full success"),
            ("{}", 0, "", "an empty answer, too"),
            (
                r#"{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "no"}}"#,
                3,
                "no",
                "a text",
            ),
            (r#"{"partialSuccess": {"rejectedSpans": 3}}"#, 3, "", "a number"),
            (
                r#"{"partialSuccess": {"rejectedSpans": "-3", "errorMessage": 1}}"#,
                0,
                "",
                "nonsense",
            ),
            (r#"{"partialSuccess": []}"#, 0, "", "a list"),
            (r#"{"partialSuccess": null}"#, 0, "", "nothing"),
            (
                r#"{"a": [{"": 0}], "partialSuccess": {"b": {}, "rejectedSpans": 2, "errorMessage": {"c": [1]}}}"#,
                2,
                "",
                "values that nobody reads",
            ),
            (
                r#"{"partialSuccess": {"rejectedSpans": [{"": 0}], "errorMessage": "no"}}"#,
                0,
                "no",
                "a list instead of a number",
            ),
            (
                r#"{"partialSuccess": {"rejectedSpans": 1.5, "errorMessage": true}}"#,
                0,
                "",
                "other scalars",
            ),
            (
                r#"{"partialSuccess": {"rejectedSpans": -1, "errorMessage": null}}"#,
                0,
                "",
                "a negative number",
            ),
            (r#"{"partialSuccess": {"rejectedSpans": 3"#, 0, "", "an answer that was cut"),
        ];
        for (body, rejected_spans, message, reason) in cases {
            let partial = partial_success_of_json(body.as_bytes());
            assert_eq!(partial.rejected_spans, rejected_spans, "{reason}");
            assert_eq!(partial.error_message, message, "{reason}");
        }
        for (length, rejected_spans) in [(MAX_JSON, 3), (MAX_JSON + 1, 0)] {
            let mut body = br#"{"partialSuccess": {"rejectedSpans": 3}}"#.to_vec();
            body.resize(length, b' ');
            let partial = partial_success_of_json(&body);
            assert_eq!(partial.rejected_spans, rejected_spans, "{length} bytes");
        }
    }

    #[test]
    fn answers_are_read_leniently() {
        let cases: &[(&[u8], u64, &str, &str)] = &[
            (b"", 0, "", "an empty body is a full success"),
            (&[0x0a, 0x02, 0x08, 0x03], 3, "", "rejected spans"),
            (&[0x0a, 0x04, 0x12, 0x02, b'n', b'o'], 0, "no", "a warning"),
            (b"not protobuf at all", 0, "", "what can't be read says nothing"),
            (
                &[0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                0,
                "",
                "a negative count",
            ),
        ];
        for (body, rejected_spans, message, reason) in cases {
            let partial = partial_success(body);
            assert_eq!(partial.rejected_spans, *rejected_spans, "{reason}");
            assert_eq!(partial.error_message, *message, "{reason}");
        }
    }
}
