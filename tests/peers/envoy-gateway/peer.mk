# Envoy Gateway, which can run without Kubernetes: from files, with Envoys as its child processes.

ENVOY_GATEWAY_VERSION := v1.9.1
ENVOY_GATEWAY := $(PEERS)/envoy-gateway/envoy-gateway

.PHONY: peer-envoy-gateway
peer-envoy-gateway: $(ENVOY_GATEWAY)

$(ENVOY_GATEWAY): tests/peers/envoy-gateway/peer.mk
	$(call need,envoy-gateway,go,Go 1.26)
	mkdir -p $(@D)
	$(GO_ENV) GOBIN=$(@D) go install $(GO_SMALL) github.com/envoyproxy/gateway/cmd/envoy-gateway@$(ENVOY_GATEWAY_VERSION)
	touch $@
