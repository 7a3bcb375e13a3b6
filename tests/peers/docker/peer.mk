# Docker's daemon and command line from Debian, and Docker Compose V2, which Debian has no package of.

COMPOSE := $(PEERS)/docker/docker-compose

.PHONY: peer-docker
peer-docker: $(COMPOSE)
	$(call debian,docker,dockerd,docker.io)
	$(call debian,docker,iptables,iptables)
	$(call debian,docker,ip,iproute2)

$(COMPOSE): $(addprefix tests/peers/docker/,peer.mk go.mod go.sum tools.go)
	$(call need,docker,go,Go 1.26)
	mkdir -p $(@D)
	cd tests/peers/docker && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ github.com/docker/compose/v2/cmd
	$@ version
