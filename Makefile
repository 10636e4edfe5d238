# `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Recipes run one after another; cargo and ctest bring their own parallelism.
.NOTPARALLEL:

TARGET := $(or $(CARGO_TARGET_DIR),target)
BUILD := build
CFLAGS ?= -O2
STRICT := -std=c11 -Wall -Wextra -Werror

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing (apt, sudo when not root) and fetch the guest kernel
	@scripts/setup.sh

.PHONY: build
build: ## Build the library, the shim and the guest disk into runtime/
	@scripts/build.sh

.PHONY: demo
demo: setup build test-image-busybox $(BUILD)/hello ## Set up, build, and run a command in a real virtual machine
	@BOXLITE_HOME="$(abspath $(TARGET))/demo-home" $(BUILD)/hello "oci:$(abspath $(TARGET))/test-images/busybox"

$(BUILD)/hello: examples/hello.c include/boxlite.h | build
	@mkdir -p $(BUILD)
	@$(CC) $(STRICT) $(CFLAGS) -Iinclude -o $@ $< -Lruntime/lib -lboxlite -Wl,-rpath,'$$ORIGIN/../runtime/lib'

.PHONY: test-image-busybox
test-image-busybox:
	@scripts/make-busybox-image.sh

.PHONY: test-images
test-images: test-image-busybox ## Make the images the tests use (the Debian one needs root once)
	@scripts/make-debian-image.sh

.PHONY: test
test: ## Set up, build, and run every check and test
	@scripts/test.sh

.PHONY: conformance
conformance: setup build test-image-busybox ## The same rows in C, C++, Go, Node.js and Rust: they must see the same
	@scripts/test-conformance.sh

.PHONY: conformance-leaks
conformance-leaks: setup build test-image-busybox ## 1,000 commands from one process in each language: nothing may grow
	@ROUNDS=200,1000 scripts/test-conformance.sh --rows 'leave nothing'

.PHONY: chaos
chaos: setup build test-image-busybox ## Kill KILLS processes at random instants (SEED or ERA repeat a run), into bench-results/chaos.json
	@SUMMARY="$${SUMMARY-$(abspath bench-results/chaos.json)}" KILLS="$${KILLS-$(if $(ERA),,1000)}" scripts/chaos.sh

.PHONY: memcheck
memcheck: setup build test-image-busybox ## Run the C tests under valgrind
	@scripts/memcheck.sh

.PHONY: lab
lab: ## Run boxes on libkrun: a few tests in a virtual machine where KVM works
	@lab/smoke.sh

.PHONY: lab-full
lab-full: ## The same with every test that boots boxes (hours)
	@lab/full.sh

.PHONY: lab-compare
lab-compare: ## boxlite 0.9.7 beside this tree on libkrun, into bench-results/lab-libkrun.json
	@lab/compare.sh

.PHONY: lab-system-libkrun
lab-system-libkrun: ## The lab's short list on a libkrun as distributions package it (needs pkg-config and libclang)
	@lab/system-libkrun.sh

.PHONY: lint
lint: ## Formatting, lints, shell syntax
	@scripts/lint.sh

.PHONY: fmt
fmt: ## Format the Rust code
	@cargo fmt --all

.PHONY: header
header: ## Write include/boxlite.h and the symbol list anew from src/capi
	@BOXLITE_UPDATE=1 cargo test --release --locked --test header

.PHONY: abi
abi: ## Record in include/boxlite.abi what came to the header; what is recorded must not change
	@scripts/abi.sh record

.PHONY: dist
dist: setup build ## Make an archive that is unpacked and used anywhere, in target/dist
	@scripts/make-dist.sh

.PHONY: doc-c
doc-c: ## Make the C reference as HTML, in target/doc/html
	@scripts/doc-c.sh

.PHONY: bench
bench: setup build test-images ## Run the benchmarks into bench-results/
	@for script in scripts/bench-*.sh; do "$$script"; done

.PHONY: bench-image
bench-image: setup build test-images ## Compare image to disk with tar -xzf, into bench-results/image.json
	@scripts/bench-image.sh

.PHONY: deny
deny: ## Check licences and sources of the dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is missing: cargo install --locked cargo-deny' >&2; exit 1; }
	@cargo deny --locked check licenses bans sources

.PHONY: clean
clean: ## Remove all that was built (also runtime/, so the next build fetches the kernel again)
	@rm -rf -- $(TARGET) $(BUILD) runtime
