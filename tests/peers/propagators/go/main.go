// Injects and extracts contexts with OpenTelemetry's propagators for Go, for a test that talks to it over its standard input and output.
//
// Lines are those of python/propagators.py, beside this folder.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"go.opentelemetry.io/contrib/propagators/aws/xray"
	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/contrib/propagators/jaeger"
	"go.opentelemetry.io/contrib/propagators/ot"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var propagators = map[string]propagation.TextMapPropagator{
	"tracecontext": propagation.TraceContext{},
	"b3":           b3.New(b3.WithInjectEncoding(b3.B3SingleHeader)),
	"b3multi":      b3.New(b3.WithInjectEncoding(b3.B3MultipleHeader)),
	"jaeger":       jaeger.Jaeger{},
	"xray":         xray.Propagator{},
	"ottrace":      ot.OT{},
}

type spanContext struct {
	Trace   string `json:"trace"`
	Span    string `json:"span"`
	Sampled bool   `json:"sampled"`
}

type question struct {
	Format  string            `json:"format"`
	Inject  *spanContext      `json:"inject"`
	Extract map[string]string `json:"extract"`
}

func inject(propagator propagation.TextMapPropagator, given *spanContext) (map[string]string, error) {
	traceID, err := trace.TraceIDFromHex(given.Trace)
	if err != nil {
		return nil, err
	}
	spanID, err := trace.SpanIDFromHex(given.Span)
	if err != nil {
		return nil, err
	}
	config := trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(0).WithSampled(given.Sampled)}
	carrier := propagation.HeaderCarrier{}
	propagator.Inject(trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(config)), carrier)
	headers := map[string]string{}
	for _, name := range carrier.Keys() {
		headers[name] = carrier.Get(name)
	}
	return headers, nil
}

func extract(propagator propagation.TextMapPropagator, headers map[string]string) *spanContext {
	carrier := propagation.HeaderCarrier(http.Header{})
	for name, value := range headers {
		carrier.Set(name, value)
	}
	found := trace.SpanContextFromContext(propagator.Extract(context.Background(), carrier))
	if !found.IsValid() {
		return nil
	}
	return &spanContext{found.TraceID().String(), found.SpanID().String(), found.IsSampled()}
}

func answer(line []byte) (any, error) {
	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	propagator := propagators[asked.Format]
	if asked.Inject != nil {
		return inject(propagator, asked.Inject)
	}
	return extract(propagator, asked.Extract), nil
}

func main() {
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answered, err := answer(lines.Bytes())
		if err == nil {
			err = answers.Encode(answered)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}
