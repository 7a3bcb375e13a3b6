# The module as an image, for those who have Docker:
#
#   make build
#   docker build --tag registry.example.com/otel-proxy-wasm:0.1.0 --build-arg REVISION=$(git rev-parse HEAD) .
#
# It has what `make image` makes without Docker: one layer with plugin.wasm, and the same labels.
FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="otel-proxy-wasm" \
      org.opencontainers.image.description="OpenTelemetry tracing for Envoy and Istio as one WebAssembly HTTP filter" \
      org.opencontainers.image.source="https://github.com/otel-proxy-wasm/otel-proxy-wasm" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY dist/otel-proxy-wasm.wasm /plugin.wasm
