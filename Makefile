# Every command of the project. `make help` prints them from the comments behind `##`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help run test stays models check bench soak image rtos gdb fuzz miri clean setup programs

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# EL2 keeps off FP registers, so it is built for the softfloat target.
EL2 := aarch64-unknown-none-softfloat
EL1 := aarch64-unknown-none
LINUX := aarch64-unknown-linux-musl
# For miri only.
NIGHTLY := nightly-2026-04-15
TARGET := $(or $(CARGO_TARGET_DIR),target)
BUILD := cargo build --release
TOOL := $(TARGET)/release/dormouse-image
HARNESS := cargo test -p dormouse-tests
# What a fuzzer sees of a program's ways, by the pinned compiler; the machines it is for are those that tests run on.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
COVERAGE := -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,level=4 inline-8bit-counters pc-table trace-compares)
FUZZED = $(shell sed -n 's/^name = "fuzz-\(.*\)"/\1/p' tests/fuzz/Cargo.toml | grep -v targets)
# The table of the tests.
MODELS := $(shell sed -n 's/^pub const CPUS.*= \[\(.*\)\];/\1/p' tests/src/board.rs | tr -d '",')

run: image ## Boot Debian on Dormouse in QEMU; installs and downloads what is missing
	@board/setup/run.sh

test: setup ## Run everything: host tests, then the real image in QEMU
	cargo test
	@$(MAKE) --no-print-directory image rtos
	$(HARNESS) -- --test-threads=2

stays: image rtos ## Run the tests with the build that says how long a CPU stays at EL2
	DORMOUSE_STAYS=1 $(HARNESS) -- --nocapture --test-threads=2 | tee build/stays.log
	@grep -o 'stay: .*' build/stays.log | sort -k2 -n | tail -n 1

models: image rtos ## Run the tests in QEMU on every model of CPU, one after the other
	for cpu in $(MODELS); do echo "== $$cpu"; DORMOUSE_CPU=$$cpu $(HARNESS) -- --test-threads=2; done

check: programs rtos ## Format, lints, system descriptions, no FP register in EL2
	@board/setup/install.sh check
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets -p dormouse-tests -- -D warnings
	cargo clippy --target $(EL2) -p dormouse -p hv-arch -- -D warnings
	cargo clippy --target $(EL1) -p sos-partition -p test-guests -p freertos-guest -- -D warnings
	cargo clippy --target $(LINUX) -p hvctl -p test-programs -- -D warnings
	board/setup/bindings.sh dts/*/*.dts
	aarch64-linux-gnu-objdump -d $(TARGET)/$(EL2)/release/dormouse | $(TOOL) nofp --allow fp_save --allow fp_restore

bench: image ## Measure: one line `BENCH <name> <value>` for each figure
	$(HARNESS) -- bench::every_figure --ignored --nocapture --test-threads=1

soak: image ## Hundreds of wake, answer and sleep cycles under load, millions of hostile operations
	cargo test --release -p guest-virtio -- --ignored
	$(HARNESS) -- soak:: disks:: ledger:: --ignored --nocapture --test-threads=1

image: setup programs ## Build build/dormouse.img and build/demo.cpio, boot nothing
	@mkdir -p build
	@cp $(TARGET)/$(EL2)/release/dormouse build/hyp.elf
	@cp $(TARGET)/$(LINUX)/release/hvctl build/hvctl
	@$(TOOL) el2 build/hyp.elf build/dormouse.img
	@$(TOOL) sos $(TARGET)/$(EL1)/release/sos build/sos.img
	@$(TOOL) guest $(TARGET)/$(EL1)/release/tiny build/tiny.img
	@$(TOOL) initramfs guest-virtio/hvctl/initramfs.list build/debian-initrd
	@dtc -q -O dtb -o build/system.dtb dts/virt/demo.dts
	@$(TOOL) archive build/demo.cpio system.dtb=build/system.dtb sos.img=build/sos.img tiny.img=build/tiny.img \
		debian-vmlinuz=.cache/debian/vmlinuz debian-initrd=build/debian-initrd

rtos: setup ## Build the real-time system that tests run as a guest
	@board/setup/install.sh rtos
	$(BUILD) -p freertos-guest --target $(EL1)

gdb: image ## Boot with the debugger at EL2's first instruction
	@board/setup/install.sh gdb
	@board/setup/run.sh gdb

fuzz: setup ## libFuzzer on each device and parser, FUZZ_SECONDS (60) each, then all random tests a hundred times longer
	@board/setup/install.sh fuzz
	CARGO_TARGET_DIR=$(TARGET)/fuzz RUSTFLAGS="--cfg fuzzing $(COVERAGE)" cargo build --profile fuzz --target $(HOST) -p fuzz-targets
	@for name in $(FUZZED); do echo "== $$name"; mkdir -p build/fuzz/$$name; \
		$(TARGET)/fuzz/$(HOST)/fuzz/fuzz-$$name -max_total_time=$(or $(FUZZ_SECONDS),60) -timeout=10 -rss_limit_mb=1024 \
		-verbosity=0 -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/$$name; done
	PROPTEST_CASES=25600 cargo test --release

miri: ## The contract's tests and hostile drivers of shared devices in the interpreter that finds undefined behavior
	@board/setup/install.sh miri
	PROPTEST_CASES=4 MIRIFLAGS=-Zmiri-disable-isolation cargo +$(NIGHTLY) miri test -p hv-abi -- --skip mutated --skip random
	PROPTEST_CASES=2 MIRIFLAGS=-Zmiri-disable-isolation cargo +$(NIGHTLY) miri test -p guest-virtio -- hostile

clean: ## Remove what was built; what was downloaded stays in .cache
	rm -rf build
	cargo clean

help: ## Print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What the machine needs, and what the guest is made of.
setup:
	@board/setup/install.sh
	@board/setup/debian.sh

# One cargo call for each target and package: packages of one call share features.
programs: setup
	$(BUILD) -p dormouse-image
	$(BUILD) -p dormouse --target $(EL2)
	$(BUILD) -p sos-partition --target $(EL1)
	$(BUILD) -p test-guests --target $(EL1)
	$(BUILD) -p hvctl --target $(LINUX)
	$(BUILD) -p test-programs --target $(LINUX)
