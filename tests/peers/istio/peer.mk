# Istio's control plane, agent and istioctl, and the files of its source that they need: the CRDs, and the bootstrap of
# a proxy. A snapshot of the way to 1.31: Go's module proxy has no releases of it.

ISTIO_VERSION := v0.0.0-20260827124520-eed52ebb66ad
ISTIO := $(PEERS)/istio

.PHONY: peer-istio
peer-istio: $(ISTIO)/istioctl

$(ISTIO)/istioctl: tests/peers/istio/peer.mk
	$(call need,istio,go,Go 1.26)
	mkdir -p $(@D)
	$(GO_ENV) GOBIN=$(@D) go install $(GO_SMALL) $(patsubst %,istio.io/istio/%@$(ISTIO_VERSION),\
	  pilot/cmd/pilot-discovery pilot/cmd/pilot-agent istioctl/cmd/istioctl)
	source=$$(go mod download -json istio.io/istio@$(ISTIO_VERSION) | sed -n 's/^\t"Dir": "\(.*\)",$$/\1/p') \
	  && install -m 644 $$source/manifests/charts/base/files/crd-all.gen.yaml \
	    $$source/tools/packaging/common/envoy_bootstrap.json $(@D)
	touch $@
