# A Collector that balances by trace id and judges whole traces. Of the versions that Go's module proxy has all components of, this is
# the latest. It is built as tests/peers/collector is; the go.mod and go.sum are kept from the builder's own.

COLLECTOR_TIERS_VERSION := v0.160.0
COLLECTOR_TIERS := $(PEERS)/collector-tiers/collector

.PHONY: peer-collector-tiers
peer-collector-tiers: $(COLLECTOR_TIERS)

$(COLLECTOR_TIERS): $(addprefix tests/peers/collector-tiers/,peer.mk builder.yaml go.mod go.sum)
	$(call need,collector-tiers,go,Go 1.26)
	mkdir -p $(@D)
	cp tests/peers/collector-tiers/builder.yaml $(@D)
	cd $(@D) && $(GO_ENV) go run go.opentelemetry.io/collector/cmd/builder@$(COLLECTOR_TIERS_VERSION) \
	  --skip-get-modules --skip-compilation --config builder.yaml
	cp tests/peers/collector-tiers/go.mod tests/peers/collector-tiers/go.sum $(@D)/source
	cd $(@D)/source && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ .
	$@ --version
