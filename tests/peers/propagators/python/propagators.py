"""Injects and extracts contexts with the formats' own libraries, for a test that talks to it over its standard input and output.

A line asks for one thing, in JSON: {"library": "OpenTelemetry", "format": "b3", "inject": {"trace": "…", "span": "…", "sampled": true}} for the
headers of a context, {"library": "OpenTelemetry", "format": "b3", "extract": {"b3": "…"}} for the context in headers. Ids are in hexadecimal digits.
The answer is a line of JSON: the headers, or the context, or null where there is none.
"""

import json
import sys

from aws_xray_sdk.core.models.http import XRAY_HEADER
from aws_xray_sdk.core.models.trace_header import TraceHeader
from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import Context
from opentelemetry import trace
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.cloud_trace_propagator import CloudTraceFormatPropagator
from opentelemetry.propagators.jaeger import JaegerPropagator
from opentelemetry.propagators.ot_trace import OTTracePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


class Headers(dict):
    """Headers in lowercase, whose names ignore case, as those of a web framework do."""

    def get(self, name, default=None):
        return super().get(name.lower(), default)


def context_of(trace_id, span_id, sampled):
    """JSON's numbers are too short for ids."""
    return {"trace": f"{trace_id:032x}", "span": f"{span_id:016x}", "sampled": sampled}


class OpenTelemetry:
    PROPAGATORS = {
        "tracecontext": TraceContextTextMapPropagator(),
        "b3": B3SingleFormat(),
        "b3multi": B3MultiFormat(),
        "jaeger": JaegerPropagator(),
        "xray": AwsXRayPropagator(),
        "ottrace": OTTracePropagator(),
        "google": CloudTraceFormatPropagator(),
    }

    def inject(self, name, context):
        flags = trace.TraceFlags(int(context["sampled"]))
        ids = int(context["trace"], 16), int(context["span"], 16)
        span = trace.NonRecordingSpan(trace.SpanContext(*ids, is_remote=False, trace_flags=flags))
        headers = {}
        self.PROPAGATORS[name].inject(headers, context=trace.set_span_in_context(span))
        return headers

    def extract(self, name, headers):
        found = trace.get_current_span(self.PROPAGATORS[name].extract(Headers(headers))).get_span_context()
        return context_of(found.trace_id, found.span_id, bool(found.trace_flags.sampled)) if found.is_valid else None


class Datadog:
    def inject(self, _name, context):
        ids = {"trace_id": int(context["trace"], 16), "span_id": int(context["span"], 16)}
        headers = {}
        HTTPPropagator.inject(Context(**ids, sampling_priority=1 if context["sampled"] else 0), headers)
        return headers

    def extract(self, _name, headers):
        found = HTTPPropagator.extract(headers)
        return context_of(found.trace_id, found.span_id, found.sampling_priority > 0) if found.trace_id else None


class XRay:
    def inject(self, _name, context):
        root = f"1-{context['trace'][:8]}-{context['trace'][8:]}"
        header = TraceHeader(root=root, parent=context["span"], sampled=context["sampled"])
        return {XRAY_HEADER: header.to_header_str()}

    def extract(self, _name, headers):
        found = TraceHeader.from_header_str(Headers(headers).get(XRAY_HEADER))
        if not found.root:
            return None
        version, time, rest = found.root.split("-")
        return {"trace": time + rest, "span": found.parent, "sampled": found.sampled == 1} if version == "1" else None


LIBRARIES = {"OpenTelemetry": OpenTelemetry(), "Datadog": Datadog(), "AWS X-Ray SDK": XRay()}


def answer(asked):
    library = LIBRARIES[asked["library"]]
    if "inject" in asked:
        return library.inject(asked["format"], asked["inject"])
    return library.extract(asked["format"], asked["extract"])


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
