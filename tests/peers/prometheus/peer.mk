# Prometheus, which scrapes Envoy, and promtool, which tests alerts: Debian's.

.PHONY: peer-prometheus
peer-prometheus:
	$(call debian,prometheus,promtool,prometheus)
