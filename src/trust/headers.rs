//! The headers in which any known format carries a context, whether it is configured or not.
//!
//! What they say is not read here (`propagation`). No ids of requests are among them, such as `x-request-id`, which Envoy has an
//! option for.

/// Names in lowercase; with a `*` all that begin so.
const NAMES: [&str; 26] = [
    // W3C Trace Context and Baggage.
    "traceparent",
    "tracestate",
    "baggage",
    // B3, in one header and in several.
    "b3",
    "x-b3-*",
    // Jaeger.
    "uber-trace-id",
    "uberctx-*",
    "jaeger-debug-id",
    "jaeger-baggage",
    // AWS X-Ray, Datadog, OpenTracing's sample tracers, Google Cloud, OpenCensus.
    "x-amzn-trace-id",
    "x-datadog-*",
    "ot-tracer-*",
    "ot-baggage-*",
    "x-ot-span-context",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "grpc-tags-bin",
    // Others' own.
    "sw8",
    "sw8-*",
    "elastic-apm-traceparent",
    "newrelic",
    "sentry-trace",
    "x-dynatrace",
    "x-instana-*",
    "x-newrelic-*",
    "x-honeycomb-trace",
];

/// The first letters of all names, a bit for each: most headers have another one.
const FIRST_LETTERS: u32 = {
    let (mut letters, mut rest): (u32, &[&str]) = (0, &NAMES);
    while let [name, others @ ..] = rest {
        if let [first, ..] = name.as_bytes() {
            letters |= letter(*first);
        }
        rest = others;
    }
    letters
};

const fn letter(byte: u8) -> u32 {
    if byte.is_ascii_lowercase() { 1 << (byte - b'a') } else { 0 }
}

/// Whether a header of this name, in lowercase, carries a context or baggage.
#[must_use]
pub fn carries_context(name: &[u8]) -> bool {
    let Some(first) = name.first() else { return false };
    FIRST_LETTERS & letter(*first) != 0
        && NAMES.iter().any(|known| match known.as_bytes() {
            [start @ .., b'*'] => name.starts_with(start),
            known => name == known,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::FORMATS;

    #[test]
    fn each_format_is_known() {
        for format in FORMATS {
            for name in format.fields() {
                assert!(carries_context(name.as_bytes()), "{}: {name}", format.name());
            }
        }
    }

    #[test]
    fn what_carries_a_context_is_told_from_what_does_not() {
        for name in [
            "traceparent",
            "tracestate",
            "baggage",
            "b3",
            "x-b3-traceid",
            "x-b3-flags",
            "uber-trace-id",
            "uberctx-user",
            "jaeger-debug-id",
            "x-amzn-trace-id",
            "x-datadog-sampling-priority",
            "ot-tracer-sampled",
            "ot-baggage-user",
            "x-cloud-trace-context",
            "grpc-trace-bin",
            "sw8",
            "sw8-correlation",
            "sentry-trace",
        ] {
            assert!(carries_context(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            ":path",
            "b30",
            "b3-single",
            "baggages",
            "host",
            "x-b3",
            "x-b",
            "X-B3-TraceId",
            "x-request-id",
            "x-forwarded-for",
            "user-agent",
            "uber-trace-ids",
            "traceparen",
            "grpc-timeout",
            "\u{e9}",
        ] {
            assert!(!carries_context(name.as_bytes()), "{name}");
        }
    }
}
