# Every target works as the very first command on a bare machine: each makes first what it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

JOBS := $(shell nproc 2>/dev/null || echo 2)
# The torch that the tests and the demo run with. Without a GPU, name the CPU build's index once: PIP_EXTRA_INDEX_URL=... make setup
TORCH ?= torch==2.13.0
# Processes of pytest; ctest uses every core.
TEST_WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=

VENV := .venv
RIVALS := .venv-rivals
TRAINERS := .venv-integrations
OLDEST := .venv-oldest
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
WERROR := --config-settings=cmake.define.HEADRACE_WERROR=ON
# One empty file for each finished step of the setup; a step runs again when what it depends on is newer.
STAMP := $(VENV)/.headrace
EXTENSION_INPUTS := CMakeLists.txt pyproject.toml $(shell find cpp -name CMakeLists.txt -o -path 'cpp/headrace/*' -name '*.cc' -o -path 'cpp/headrace/*' -name '*.h')
CPP_FORMATTED = $$(find cpp tests/cpp -name '*.cc' -o -name '*.h')

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
ifneq ($(shell command -v ccache 2>/dev/null),)
export CMAKE_CXX_COMPILER_LAUNCHER := ccache
endif

.PHONY: help setup demo test test-cpp test-python test-integrations test-oldest bench bench-rivals lint format wheel sanitize clean FORCE

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1   \2/p' Makefile

setup: $(STAMP)/package  ## system libraries, a virtual environment in .venv, torch, headrace; quick when nothing is to do

# A machine that lost a library since is told so by CMake, with the line that installs it.
$(STAMP)/venv: .ci/system .ci/python
	@.ci/system
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  python=$$(.ci/python); echo "headrace: virtual environment of $$($$python --version) in $(VENV)"; $$python -m venv --clear $(VENV); fi
	@$(PIP) install --upgrade pip
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/torch: $(STAMP)/venv
	@echo "headrace: installing $(TORCH)"
	@$(PIP) install '$(TORCH)'
	@touch $@

$(STAMP)/requirements: $(STAMP)/torch pyproject.toml .ci/requirements.py
	@echo "headrace: installing what the build, the tests and the demo need"
	@$(PY) .ci/requirements.py build core test demo >$(STAMP)/requirements.txt
	@$(PIP) install -r $(STAMP)/requirements.txt
	@touch $@

$(STAMP)/tools: $(STAMP)/requirements
	@echo "headrace: installing the tools of lint and wheel"
	@$(PY) .ci/requirements.py dev >$(STAMP)/tools.txt
	@$(PIP) install -r $(STAMP)/tools.txt
	@touch $@

# The names of the Python files: the editable install maps them, so a new or removed one (not an edit) reinstalls.
$(STAMP)/modules: FORCE | $(STAMP)/requirements
	@find python -name '*.py' | LC_ALL=C sort >$@.new; cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(STAMP)/package: $(STAMP)/requirements $(STAMP)/modules $(EXTENSION_INPUTS)
	@echo "headrace: building the extension and installing the package (editable)"
	@$(PIP) install --no-build-isolation --no-deps $(WERROR) --editable .
	@touch $@

demo: setup  ## the New York flights of 2013: converted, trained on, measured beside torch's loader
	@$(VENV)/bin/headrace demo $(DEMO_ARGS)

test: setup  ## every test: C++ (warnings are errors, through ctest) and Python; prints the counts
	@$(MAKE) --no-print-directory test-cpp
	@$(MAKE) --no-print-directory test-python

# cmake_tests(preset): configures and builds the C++ tests of one preset in build/<preset>.
define cmake_tests
	@[ -f build/$(1)/build.ninja ] || cmake -S . -B build/$(1) -G Ninja -DHEADRACE_PRESET=$(1) -DHEADRACE_TESTS=ON -DHEADRACE_BINDINGS=OFF \
	  >build/$(1).log 2>&1 || { cat build/$(1).log >&2; exit 1; }
	@echo "headrace: building the C++ tests ($(1))"
	@cmake --build build/$(1)
endef

# ctest counts programs; the line before it counts the cases and assertions that they ran.
define run_ctest
	cd build/$(1) && $(2) ctest --output-on-failure --no-tests=error --parallel $(JOBS) && \
	awk -v preset=$(1) '/\[doctest\] test cases:/ {cases += $$4} /\[doctest\] assertions:/ {checks += $$3} \
	  END {print "C++ tests (" preset "): " cases " cases, " checks " assertions"; exit cases == 0}' Testing/Temporary/LastTest.log
endef

build:
	@mkdir -p build

test-cpp: | $(STAMP)/venv build
	$(call cmake_tests,dev)
	@$(call run_ctest,dev,)

test-python: setup
	@$(PY) -m pytest -n $(TEST_WORKERS) $(PYTEST_ARGS)

# The trainers stand in an environment of their own, on top of .venv: its packages (torch, headrace as it was built, pytest) are seen from there. Every
# version is pinned, so pip has nothing to resolve.
test-integrations: $(TRAINERS)/.complete  ## headrace inside Lightning, Accelerate, the HF Trainer, Ray Train, Keras, JAX, DLIO, DDP and FSDP, installed in .venv-integrations
	@$(TRAINERS)/bin/python -m pytest tests/integrations -n $(TEST_WORKERS) $(PYTEST_ARGS)

$(TRAINERS)/.complete: tests/integrations/requirements.txt $(STAMP)/package
	@if ! cmp -s $< $(TRAINERS)/requirements.txt; then echo "headrace: installing the trainers in $(TRAINERS)"; \
	  $(PY) -m venv --clear $(TRAINERS); \
	  site=$$($(TRAINERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  below=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  echo "import site; site.addsitedir('$$below')" >$$site/headrace_setup.pth; \
	  $(TRAINERS)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<; \
	  cp $< $(TRAINERS)/requirements.txt; fi
	@touch $@

# A download of some gigabytes, and the wheel of headrace as a user has it: not part of what every change must pass.
test-oldest: $(OLDEST)/.complete  ## the Python tests with the oldest versions that pyproject.toml allows, installed in .venv-oldest
	@$(OLDEST)/bin/python -m pytest -n $(TEST_WORKERS) $(PYTEST_ARGS)

$(OLDEST)/.complete: tests/oldest_versions.txt $(STAMP)/package $(shell find python -name '*.py')
	@if ! cmp -s $< $(OLDEST)/versions.txt; then echo "headrace: installing the oldest versions in $(OLDEST)"; \
	  $(PY) -m venv --clear $(OLDEST); \
	  $(OLDEST)/bin/python -m pip --disable-pip-version-check --quiet install --prefer-binary -r $<; \
	  cp $< $(OLDEST)/versions.txt; fi
	@$(OLDEST)/bin/python -m pip --disable-pip-version-check --quiet install --no-build-isolation --no-deps --force-reinstall .
	@touch $@

sanitize: | $(STAMP)/venv build  ## the C++ tests under AddressSanitizer + UBSan, then under ThreadSanitizer
	$(call cmake_tests,asan)
	@$(call run_ctest,asan,ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1)
	$(call cmake_tests,tsan)
	@$(call run_ctest,tsan,TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:die_after_fork=0 $$(setarch -R true 2>/dev/null && echo setarch -R))

# Without BENCH_ARGS everything is measured anew; with them the rows of earlier runs stay in the table.
bench: setup  ## the benchmarks of this repository; BENCH_ARGS go to pytest; table and plots in build/bench
	@$(if $(BENCH_ARGS),,rm -f build/bench/rows.jsonl)
	@status=0; $(PY) -m pytest benchmarks -n 0 -s $(BENCH_ARGS) || status=$$?; $(PY) -m benchmarks.summary build/bench || exit $$?; exit $$status

# Their packages stay out of ours: a second virtual environment, whose interpreter runs them in processes of their own.
bench-rivals: $(RIVALS)/.complete  ## the other loaders, in .venv-rivals; `make bench` then measures them too

$(RIVALS)/.complete: benchmarks/rivals/requirements.txt $(STAMP)/venv
	@echo "headrace: installing the other loaders in $(RIVALS)"
	@python=$$(.ci/python); $$python -m venv --clear $(RIVALS)
	@$(RIVALS)/bin/python -m pip --disable-pip-version-check --quiet install '$(TORCH)' setuptools wheel -r benchmarks/rivals/requirements.txt
	@$(RIVALS)/bin/python -m pip --disable-pip-version-check --quiet install --no-build-isolation -r benchmarks/rivals/requirements-ffcv.txt \
	  || echo "headrace: FFCV does not build here (it needs pkg-config, libopencv-dev, libturbojpeg0-dev); going on without it"
	@$(RIVALS)/bin/python -m pip --disable-pip-version-check --quiet install -r benchmarks/rivals/requirements-dali.txt \
	  || echo "headrace: DALI does not install here; going on without it"
	@touch $@

lint: setup $(STAMP)/tools  ## ruff, mypy strict, clang-format, the extension's stub against the extension
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run -Werror $(CPP_FORMATTED)
	$(PY) -m mypy
	MYPYPATH=python $(PY) -m mypy.stubtest --concise --allowlist .ci/stubtest-allow.txt --mypy-config-file pyproject.toml headrace._native._ext

format: $(STAMP)/tools  ## writes every source file as `make lint` wants it
	$(VENV)/bin/ruff check --fix-only --select I .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(CPP_FORMATTED)

wheel: $(STAMP)/tools | build  ## a manylinux wheel in dist/, run once in an empty virtual environment
	@rm -rf build/wheelhouse && mkdir -p dist
	@$(PIP) wheel --no-build-isolation --no-deps $(WERROR) --wheel-dir build/wheelhouse .
	@rm -f dist/headrace-*.whl
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/auditwheel repair --wheel-dir dist build/wheelhouse/headrace-*.whl
	@$(PY) -m venv --clear build/wheel-venv
	@build/wheel-venv/bin/python -m pip --disable-pip-version-check --quiet install dist/headrace-*.whl
	@cd build/wheel-venv && bin/python -I $(CURDIR)/.ci/wheel_smoke.py

clean:  ## removes build/, dist/ and caches; `rm -rf .venv` starts over
	rm -rf build dist $(STAMP)/package .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find python tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
