# Jaeger 2.13.0, whose module is numbered v1.76.0: the version that examples/docker-compose names. Its page is a placeholder, since the
# module lacks the page's files; what it takes and what it answers to queries is as released.

JAEGER := $(PEERS)/jaeger/jaeger

.PHONY: peer-jaeger
peer-jaeger: $(JAEGER)

$(JAEGER): $(addprefix tests/peers/jaeger/,peer.mk go.mod go.sum)
	$(call need,jaeger,go,Go 1.26)
	mkdir -p $(@D)
	cd tests/peers/jaeger && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ github.com/jaegertracing/jaeger/cmd/jaeger
	$@ version
