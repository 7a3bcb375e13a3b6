# The OpenTelemetry Collector with the components that builder.yaml lists. The builder writes its source; the
# versions of all modules are those of the go.mod and go.sum here, kept from the builder's own. To renew them: run
# the builder without --skip-get-modules in an empty folder, and copy them.

COLLECTOR_VERSION := v0.165.0
COLLECTOR := $(PEERS)/collector/collector

.PHONY: peer-collector
peer-collector: $(COLLECTOR)

$(COLLECTOR): $(addprefix tests/peers/collector/,peer.mk builder.yaml go.mod go.sum)
	$(call need,collector,go,Go 1.26)
	mkdir -p $(@D)
	cp tests/peers/collector/builder.yaml $(@D)
	cd $(@D) && $(GO_ENV) go run go.opentelemetry.io/collector/cmd/builder@$(COLLECTOR_VERSION) \
	  --skip-get-modules --skip-compilation --config builder.yaml
	cp tests/peers/collector/go.mod tests/peers/collector/go.sum $(@D)/source
	cd $(@D)/source && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ .
	$@ --version
