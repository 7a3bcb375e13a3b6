# Zipkin, a server with a page that shows traces: one jar from Maven.

ZIPKIN_VERSION := 3.5.1
ZIPKIN_SHA256 := 7ac633a6832647e71e50012a5e3e91fbc7054414955261724526030faf271d8d
ZIPKIN := $(PEERS)/zipkin/zipkin.jar

.PHONY: peer-zipkin
peer-zipkin: $(ZIPKIN)
	$(call debian,zipkin,java,default-jre-headless)

$(ZIPKIN): tests/peers/zipkin/peer.mk
	$(call debian,zipkin,mvn,maven)
	mkdir -p $(@D)
	mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:2.8:copy \
	  -Dartifact=io.zipkin:zipkin-server:$(ZIPKIN_VERSION):jar:exec -DoutputDirectory=$(@D)
	echo "$(ZIPKIN_SHA256)  $(@D)/zipkin-server-$(ZIPKIN_VERSION)-exec.jar" | sha256sum --check --quiet
	mv $(@D)/zipkin-server-$(ZIPKIN_VERSION)-exec.jar $@
	touch $@
