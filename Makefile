# A short front for meson. `make demo` and `make test` install what is missing (apt; root or sudo).
BUILD ?= build
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
# Debian's meson and compiler, so that a user's own Python tools cannot get in the way.
MESON ?= $(firstword $(wildcard /usr/bin/meson) meson)
NINJA ?= $(firstword $(wildcard /usr/bin/ninja) ninja)
DATA := $(or $(AMALGAM_DATA),$(abspath $(wildcard ../shared/data)))

help:
	@echo "make demo      the whole cycle on real images, about a minute"
	@echo "make demo-text the same on real text"
	@echo "make test      all tests (address and undefined-behaviour sanitizers on)"
	@echo "make bench     speed against PyTorch on a quiet machine; appends to bench/LOG.md"
	@echo "make bench-privacy  what the cloud learns; writes docs/privacy.md, ten minutes"
	@echo "make           the programs, in $(BUILD)/src/cli"
	@echo "make install   into $(PREFIX); make clean removes what was built"

all: $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD) -j$(JOBS)

$(BUILD)/build.ninja:
	tools/setup build
	$(MESON) setup $(BUILD) --buildtype=release -Dtests=false --prefix=$(PREFIX)

demo:
	tools/setup build demo
	$(MAKE) all
	rm -rf demo
	$(BUILD)/src/cli/amalgam demo -o demo

demo-text:
	tools/setup build demo-text
	$(MAKE) all
	rm -rf demo-text
	$(BUILD)/src/cli/amalgam demo --text -o demo-text

test:
	tools/setup build test
	test -f $(BUILD)-test/build.ninja || $(MESON) setup $(BUILD)-test \
	    --buildtype=debugoptimized -Db_sanitize=address,undefined -Dtests=true
	$(NINJA) -C $(BUILD)-test -j$(JOBS)
	AMALGAM_DATA="$(DATA)" $(MESON) test -C $(BUILD)-test --no-rebuild --print-errorlogs --num-processes $(JOBS)

bench: all
	bench/run $(BUILD)

bench-privacy: all
	bench/privacy $(BUILD) -o docs/privacy.md

install: all
	$(MESON) configure $(BUILD) --prefix=$(PREFIX)
	$(MESON) install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-* demo demo-text

.PHONY: help all demo demo-text test bench bench-privacy install clean
.DEFAULT_GOAL := all
