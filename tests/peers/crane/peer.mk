# crane pushes images, and serves as an image registry.

CRANE_VERSION := v0.22.1
CRANE := $(PEERS)/crane/crane

.PHONY: peer-crane
peer-crane: $(CRANE)

$(CRANE): tests/peers/crane/peer.mk
	$(call need,crane,go,Go 1.26)
	mkdir -p $(@D)
	$(GO_ENV) GOBIN=$(@D) go install $(GO_SMALL) github.com/google/go-containerregistry/cmd/crane@$(CRANE_VERSION)
	touch $@
