# A Collector that speaks to Zipkin, which takes no OTLP. 0.139.0 has the exporter for it, later versions don't. It is built as
# tests/peers/collector is; the go.mod and go.sum are kept from the builder's own.

COLLECTOR_ZIPKIN_VERSION := v0.139.0
COLLECTOR_ZIPKIN := $(PEERS)/collector-zipkin/collector

.PHONY: peer-collector-zipkin
peer-collector-zipkin: $(COLLECTOR_ZIPKIN)

$(COLLECTOR_ZIPKIN): $(addprefix tests/peers/collector-zipkin/,peer.mk builder.yaml go.mod go.sum)
	$(call need,collector-zipkin,go,Go 1.26)
	mkdir -p $(@D)
	cp tests/peers/collector-zipkin/builder.yaml $(@D)
	cd $(@D) && $(GO_ENV) go run go.opentelemetry.io/collector/cmd/builder@$(COLLECTOR_ZIPKIN_VERSION) \
	  --skip-get-modules --skip-compilation --config builder.yaml
	cp tests/peers/collector-zipkin/go.mod tests/peers/collector-zipkin/go.sum $(@D)/source
	cd $(@D)/source && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ .
	$@ --version
