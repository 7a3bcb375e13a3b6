# The propagators of OpenTelemetry for Python, and Datadog's: packages from PyPI, and a script that uses them.

PROPAGATORS := $(PEERS)/propagators

.PHONY: peer-propagators
peer-propagators: $(PROPAGATORS)/propagators.py

$(PROPAGATORS)/propagators.py: $(addprefix tests/peers/propagators/,peer.mk requirements.txt propagators.py)
	$(call need,propagators,python3,Python 3)
	rm -rf $(@D) && python3 -m venv $(@D) || { echo "peer-propagators needs Python's venv: install python3-venv" >&2; exit 1; }
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/peers/propagators/requirements.txt
	cp tests/peers/propagators/propagators.py $@
