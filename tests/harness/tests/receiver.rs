//! The receiver by itself: hand-made OTLP in, spans out, and every way to misbehave.

use anyhow::{Context, Result};
use harness::client::{Call, Http, Reply};
use harness::{Answer, Receiver};
use http::HeaderValue;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::time::Duration;

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Two spans of one resource.
fn message() -> Vec<u8> {
    let span = |name: &str, attributes| Span {
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        name: name.to_owned(),
        attributes,
        ..Span::default()
    };
    let attributes = vec![
        attribute("text", Value::StringValue("a".to_owned())),
        attribute("number", Value::IntValue(7)),
    ];
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue("edge".to_owned()))],
        ..Resource::default()
    };
    let spans = vec![span("first", attributes), span("second", Vec::new())];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

async fn post(receiver: &Receiver, http: &Http, body: Vec<u8>) -> Result<Reply> {
    let call = Call::get("/v1/traces").method("POST").header("x-tenant", "a").body(body);
    call.send(http, receiver.port()).await
}

#[tokio::test]
async fn spans_are_decoded_with_what_stands_around_them() -> Result<()> {
    for http in [Http::One, Http::Two] {
        let receiver = Receiver::start().await?;
        let reply = post(&receiver, &http, message()).await?;
        assert_eq!(reply.status, 200, "{http}");
        let spans = receiver.wait_for_spans(2).await?;
        let [first, second] = spans.as_slice() else { panic!("two spans, not {spans:?}") };
        assert_eq!((first.span.name.as_str(), second.span.name.as_str()), ("first", "second"));
        assert_eq!(first.trace_id(), "ab".repeat(16), "{http}");
        assert_eq!(first.span_id(), "01".repeat(8), "{http}");
        assert_eq!(first.parent_id(), "", "{http}: a root");
        assert_eq!(first.text("text").as_deref(), Some("a"), "{http}");
        assert_eq!(first.int("number"), Some(7), "{http}");
        assert_eq!(first.text("number"), None, "{http}: a number is no text");
        assert_eq!(second.resource_text("service.name").as_deref(), Some("edge"), "{http}");
        let exports = receiver.exports();
        let [export] = exports.as_slice() else { panic!("one request, not {exports:?}") };
        assert_eq!((export.path.as_str(), export.spans), ("/v1/traces", 2), "{http}");
        assert_eq!(export.method, "POST", "{http}");
        assert_eq!(export.body, message(), "{http}");
        assert_eq!(export.headers["x-tenant"], "a", "{http}");
        assert_eq!(receiver.take_spans(), spans, "{http}");
        assert!(receiver.spans().is_empty() && receiver.exports().is_empty(), "{http}: cleared");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_otlp_is_counted() -> Result<()> {
    let receiver = Receiver::start().await?;
    post(&receiver, &Http::One, vec![0xff; 9]).await?;
    assert_eq!((receiver.undecodable(), receiver.spans().len()), (1, 0));
    Ok(())
}

#[tokio::test]
async fn it_answers_as_it_was_told() -> Result<()> {
    let cases = [
        ("takes all", Answer::Ok, 200, None, 2),
        ("a status takes nothing", Answer::Status(500), 500, None, 0),
        ("Retry-After is sent", Answer::RetryAfter(429, "3"), 429, Some("3"), 0),
        ("some are rejected", Answer::PartialSuccess(1), 200, None, 2),
        ("late, but taken", Answer::Slow(Duration::from_millis(1)), 200, None, 2),
    ];
    let receiver = Receiver::start().await?;
    for (reason, answer, status, retry_after, taken) in cases {
        receiver.clear();
        receiver.answer(answer.clone());
        let reply = post(&receiver, &Http::One, message()).await.context(reason)?;
        assert_eq!(reply.status, status, "{reason}");
        let header = reply.headers.get("retry-after").map(HeaderValue::as_bytes);
        assert_eq!(header, retry_after.map(str::as_bytes), "{reason}");
        assert_eq!(receiver.spans().len(), taken, "{reason}");
        let message = ExportTraceServiceResponse::decode(reply.body.as_slice())?;
        let rejected = message.partial_success.map(|partial| partial.rejected_spans);
        let expected = matches!(answer, Answer::PartialSuccess(_)).then_some(1);
        assert_eq!(rejected, expected, "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn it_breaks_off_and_hangs_as_it_was_told() -> Result<()> {
    let receiver = Receiver::start().await?;
    receiver.answer(Answer::Reset);
    let reply = post(&receiver, &Http::One, message()).await;
    assert!(reply.is_err(), "the connection is closed, there is no {reply:?}");
    receiver.clear();
    receiver.answer(Answer::Hang);
    let call = Call::get("/v1/traces").method("POST").body(message());
    let arrived = || async { receiver.exports().first().map(|_| ()) };
    call.abandon(&Http::One, receiver.port(), arrived).await?;
    assert!(receiver.spans().is_empty(), "neither took a span");
    Ok(())
}
