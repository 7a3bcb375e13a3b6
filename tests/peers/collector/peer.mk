# The OpenTelemetry Collector that the tests and most examples use.

.PHONY: peer-collector
peer-collector: $(PEERS)/collector/collector

$(PEERS)/collector/collector: $(call collector_sources,collector)
	$(call collector,collector,v0.165.0)
