# A Collector that speaks to Zipkin, which takes no OTLP. 0.139.0 has the exporter for it, later versions don't.

.PHONY: peer-collector-zipkin
peer-collector-zipkin: $(PEERS)/collector-zipkin/collector

$(PEERS)/collector-zipkin/collector: $(call collector_sources,collector-zipkin)
	$(call collector,collector-zipkin,v0.139.0)
