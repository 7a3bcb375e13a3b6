# A Collector that balances by trace id and judges whole traces. Of the versions that Go's module proxy has all components of, this is
# the latest.

.PHONY: peer-collector-tiers
peer-collector-tiers: $(PEERS)/collector-tiers/collector

$(PEERS)/collector-tiers/collector: $(call collector_sources,collector-tiers)
	$(call collector,collector-tiers,v0.160.0)
