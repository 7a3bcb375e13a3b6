# The header formats' own libraries, and for each language a program that uses them:
# for Python (OpenTelemetry's, Datadog's and the AWS X-Ray SDK), for Go (OpenTelemetry's) and for Java (OpenTelemetry's and Brave).

PROPAGATORS := $(PEERS)/propagators
PROPAGATORS_FROM := tests/peers/propagators

.PHONY: peer-propagators
peer-propagators: $(PROPAGATORS)/python/propagators.py $(PROPAGATORS)/go/propagators $(PROPAGATORS)/java/Propagators.class

$(PROPAGATORS)/python/propagators.py: $(PROPAGATORS_FROM)/peer.mk $(wildcard $(PROPAGATORS_FROM)/python/*)
	$(call need,propagators,python3,Python 3)
	rm -rf $(@D) && python3 -m venv $(@D) || { echo "peer-propagators needs Python's venv: install python3-venv" >&2; exit 1; }
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $(PROPAGATORS_FROM)/python/requirements.txt
	cp $(PROPAGATORS_FROM)/python/propagators.py $@

$(PROPAGATORS)/go/propagators: $(PROPAGATORS_FROM)/peer.mk $(wildcard $(PROPAGATORS_FROM)/go/*)
	$(call need,propagators,go,Go 1.26)
	mkdir -p $(@D)
	cd $(PROPAGATORS_FROM)/go && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ .

# The jars of pom.xml, and what they need.
$(PROPAGATORS)/java/Propagators.class: $(PROPAGATORS_FROM)/peer.mk $(wildcard $(PROPAGATORS_FROM)/java/*)
	$(call debian,propagators,javac,default-jdk-headless)
	$(call debian,propagators,mvn,maven)
	rm -rf $(@D) && mkdir -p $(@D)
	mvn --batch-mode --quiet --file $(PROPAGATORS_FROM)/java/pom.xml \
	  org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies -DoutputDirectory=$(@D)/jars
	cd $(@D)/jars && sha256sum --check --quiet $(CURDIR)/$(PROPAGATORS_FROM)/java/jars.sha256
	javac --class-path '$(@D)/jars/*' -d $(@D) $(PROPAGATORS_FROM)/java/Propagators.java
