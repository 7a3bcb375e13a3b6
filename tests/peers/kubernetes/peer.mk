# What of Kubernetes a control plane needs that runs no pods: etcd, kube-apiserver, kubectl. Kubernetes' own modules
# stand in its repository by folder; here each is replaced by the version that was released with it.

KUBERNETES := $(PEERS)/kubernetes

.PHONY: peer-kubernetes
peer-kubernetes: $(KUBERNETES)/etcd $(KUBERNETES)/kubectl

$(KUBERNETES)/etcd: tests/peers/kubernetes/peer.mk $(wildcard tests/peers/kubernetes/etcd/*)
	$(call need,kubernetes,go,Go 1.26)
	mkdir -p $(@D)
	cd tests/peers/kubernetes/etcd && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ .

$(KUBERNETES)/kubectl: tests/peers/kubernetes/peer.mk $(wildcard tests/peers/kubernetes/kubernetes/*)
	$(call need,kubernetes,go,Go 1.26)
	mkdir -p $(@D)
	cd tests/peers/kubernetes/kubernetes && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $(@D)/ \
	  k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
	touch $@
