"""Injects and extracts contexts with the formats' own libraries, for a test that talks to it over its standard input and output.

A line asks for one thing, in JSON: {"format": "b3", "inject": {"trace": 1, "span": 2, "sampled": true}} for the headers of a context,
{"format": "b3", "extract": {"b3": "…"}} for the context in headers. The answer is a line of JSON: the headers, or the context, or null where there is none.
"""

import json
import sys

from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import Context
from opentelemetry import trace
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.cloud_trace_propagator import CloudTraceFormatPropagator
from opentelemetry.propagators.jaeger import JaegerPropagator
from opentelemetry.propagators.ot_trace import OTTracePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

OPENTELEMETRY = {
    "tracecontext": TraceContextTextMapPropagator(),
    "b3": B3SingleFormat(),
    "b3multi": B3MultiFormat(),
    "jaeger": JaegerPropagator(),
    "xray": AwsXRayPropagator(),
    "ottrace": OTTracePropagator(),
    "google": CloudTraceFormatPropagator(),
}


class Headers(dict):
    """Headers in lowercase, whose names ignore case, as those of a web framework do."""

    def get(self, name, default=None):
        return super().get(name.lower(), default)


def inject(name, trace_id, span_id, sampled):
    headers = {}
    if name == "datadog":
        priority = 1 if sampled else 0
        HTTPPropagator.inject(Context(trace_id=trace_id, span_id=span_id, sampling_priority=priority), headers)
    else:
        flags = trace.TraceFlags(int(sampled))
        span = trace.NonRecordingSpan(trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags))
        OPENTELEMETRY[name].inject(headers, context=trace.set_span_in_context(span))
    return headers


def extract(name, headers):
    if name == "datadog":
        context = HTTPPropagator.extract(headers)
        if not context.trace_id:
            return None
        return {"trace": context.trace_id, "span": context.span_id, "sampled": context.sampling_priority > 0}
    context = trace.get_current_span(OPENTELEMETRY[name].extract(Headers(headers))).get_span_context()
    if not context.is_valid:
        return None
    return {"trace": context.trace_id, "span": context.span_id, "sampled": bool(context.trace_flags.sampled)}


def answer(asked):
    if "inject" in asked:
        context = asked["inject"]
        # In hexadecimal digits: JSON's numbers are too short.
        return inject(asked["format"], int(context["trace"], 16), int(context["span"], 16), context["sampled"])
    found = extract(asked["format"], asked["extract"])
    return found and {"trace": f"{found['trace']:032x}", "span": f"{found['span']:016x}", "sampled": found["sampled"]}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
