# quality-officer. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BED := target/debug/bed

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: tools
tools:
	@scripts/check-tools

.PHONY: build
build: tools ## Build the operator and what tests and the demonstration need
	cargo build --workspace --bins

.PHONY: bed
bed: build
	@$(BED) build etcd kubernetes kwok prometheus mlflow >/dev/null

.PHONY: demo
demo: bed ## Bad releases are shipped and rolled back on a local control plane (KEEP=1 leaves it running)
	@KEEP=$${KEEP:-} $(BED) run --mlflow -- target/debug/demo

.PHONY: up
up: bed ## A control plane, a node, a namespace under load, Prometheus and helm, to install the operator on; until Ctrl-C
	@$(BED) build helm >/dev/null
	@$(BED) run --no-kwok -- target/debug/up

.PHONY: check
check: tools ## The inner loop: formatting, lints, unit tests, generated files; no control plane
	@scripts/timed --begin
	@$(MAKE) --no-print-directory check-stages
	@scripts/timed --table

.PHONY: check-stages
check-stages:
	@scripts/timed "formatting" cargo fmt --all --check
	@scripts/timed "lints" cargo clippy --workspace --all-targets -- -D warnings
	@# One set of features throughout (--workspace), so that nothing is built twice.
	@scripts/timed "programs" cargo build --workspace --bins
	@scripts/timed "generated files" sh -c 'target/debug/crdgen --check && scripts/manifests --check'
	@scripts/timed "unit tests" cargo test --workspace --lib --bins
	@scripts/timed "structure, properties, golden files" cargo test --workspace --test structure --test reference --test properties --test allocations --test golden
	@# Alone: what else the workspace has may not be what makes them build.
	@scripts/timed "statistics and core alone" cargo test -p quality-stats -p quality-core --lib

.PHONY: test
test: tools ## All tests: make check, then the operator on a local control plane
	@scripts/timed --begin
	@$(MAKE) --no-print-directory check-stages
	@scripts/timed "licences" $(MAKE) --no-print-directory deny
	@scripts/timed "simulations" cargo test --workspace --test simulation
	@# MUTATIONS=full: thousands of mutations of each parser in place of hundreds.
	@scripts/timed "mutations of what parsers read" cargo test --workspace --test mutations
	@scripts/timed "programs of the control plane" sh -c '$(BED) build etcd kubernetes kwok prometheus promtool mlflow versitygw registry helm helm3 kubeconform alertmanager >/dev/null'
	@scripts/timed "the test bed itself" cargo test --workspace --test certificates --test beds --test servers --test loopback
	@# The report page in a real browser; says so where no Chromium is installed.
	@scripts/timed "report page in a browser" cargo test --workspace --test page
	@scripts/timed "evaluation evidence" $(BED) run --no-kwok --mlflow -- cargo test --workspace --test evidence
	@scripts/timed "leader election" $(BED) run --scrape-interval 1s -- cargo test --workspace --test cluster -- --ignored
	@# The rights are judged by what the suite before did, on the same bed.
	@scripts/timed "operator on a control plane, and its rights" $(BED) run --scrape-interval 1s --mlflow -- sh -c '\
	  cargo test --workspace --test cluster -- --test-threads 4 && \
	  cargo test --workspace --test ship -- --ignored every_right'
	@scripts/timed "faults, in short" $(BED) run --scrape-interval 1s --mlflow -- target/debug/faults --short
	@scripts/timed "installing and documents" $(BED) run -- cargo test --workspace --test ship -- --test-threads 2
	@scripts/timed "real inference servers" $(BED) run -- cargo test --workspace --test real -- --test-threads 3
	@scripts/timed --table

.PHONY: faults
faults: bed ## Try to break every promise, under every fault (SUITES=a,b: some parts; ONLY=text: some plans)
	@$(BED) build versitygw registry >/dev/null
	$(BED) run --scrape-interval 1s --mlflow -- target/debug/faults $(if $(SUITES),--suites $(SUITES)) $(if $(ONLY),--only "$(ONLY)")

.PHONY: faults-prove
faults-prove: bed ## Put bugs into the operator on purpose, and see that the plans catch each
	@$(BED) build versitygw registry >/dev/null
	$(BED) run --scrape-interval 1s --mlflow -- target/debug/faults --prove

.PHONY: mutations
mutations: build ## 100,800 mutations of what the parsers of outside data read
	MUTATIONS=full cargo test --workspace --test mutations

.PHONY: screenshots
screenshots: bed ## Run the demonstration and picture its report page into docs/images (RECORDS=folder: its records of before)
	@records=$${RECORDS:-target/page-records}; \
	  [[ -n "$${RECORDS:-}" ]] || RECORDS=$$records $(BED) run --mlflow -- target/debug/demo; \
	  target/debug/screenshots "$$records" docs/images

.PHONY: run
run: build ## Run the operator against the cluster of KUBECONFIG with CONFIG=file
	target/debug/quality-officer run --config $${CONFIG:?set CONFIG to an operator configuration, see examples/operator.yaml}

.PHONY: manifests
manifests: build ## Generate crds/, schemas/ and docs/{POLICY,PLUGIN}.md from the types, deploy/ from the chart
	target/debug/crdgen
	scripts/manifests

.PHONY: release
release: build ## Static programs, image, chart, manifests, SBOM and checksums in target/release-files
	scripts/release

.PHONY: reproducible
reproducible: tools ## Two builds of the last commit's static programs are the same, byte for byte (ARM64=1: those for arm64 too)
	scripts/reproducible

.PHONY: deny
deny: tools ## Licences, sources and banned crates of the two shipped programs (ADVISORIES=1: known holes too, needs a network)
	@for program in . crates/kubectl-quality; do \
	  scripts/tool cargo-deny --manifest-path "$$program/Cargo.toml" check licenses bans sources $(if $(ADVISORIES),advisories); \
	done

.PHONY: bench
bench: tools ## Benchmarks, the long simulation (writes docs/STATISTICS.md), and speed beside scipy
	cargo bench -p quality-stats --bench stats
	cargo run --release -p simulator --example simulate -- --runs 2000 \
	  --trace tests/data/azure_llm_inference_2023_code.csv --write docs/STATISTICS.md
	python3 tests/reference/compare_speed.py

.PHONY: bench-gate
bench-gate: build ## What the gate costs at admission: 1,000 changes with and without its policies
	@$(BED) build etcd kubernetes >/dev/null
	$(BED) run --no-kwok -- target/debug/bench-gate
