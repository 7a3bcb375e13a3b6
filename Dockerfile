# The module as an image, for those who have Docker: built from a clone, with nothing else installed.
#
#   docker build --provenance=false --tag registry.example.com/otel-proxy-wasm:0.2.0 --build-arg REVISION=$(git rev-parse HEAD) .
#
# With the module that is there already, from `make build` or a release, nothing is pulled:
#
#   docker build --provenance=false --target prebuilt --tag registry.example.com/otel-proxy-wasm:0.2.0 .
#
# It has what `make image` makes without Docker: one layer with plugin.wasm, and the same labels. With Docker's provenance, the tag would
# name an index: Istio and Envoy Gateway then compare another digest than the image's.
FROM scratch AS labels
ARG REVISION=unknown
LABEL org.opencontainers.image.title="otel-proxy-wasm" \
      org.opencontainers.image.description="OpenTelemetry tracing for Envoy and Istio as one WebAssembly HTTP filter" \
      org.opencontainers.image.source="https://github.com/otel-proxy-wasm/otel-proxy-wasm" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM labels AS prebuilt
COPY dist/otel-proxy-wasm.wasm /plugin.wasm

# The version is that of rust-toolchain.toml.
FROM rust:1.95.0 AS build
WORKDIR /otel-proxy-wasm
COPY . .
RUN make build

FROM labels
COPY --from=build /otel-proxy-wasm/dist/otel-proxy-wasm.wasm /plugin.wasm
