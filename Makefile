# `make help` lists the targets. All packages are installed from lock/*.txt into .venv (to run),
# .venv-fast (the fast tests), .venv-dev (to develop) and .venv-mutants; nothing is installed outside this folder.
PYTHON ?= python3
SERVE := .venv/.installed
FAST := .venv-fast/.installed
DEVELOP := .venv-dev/.installed
MUTANTS := .venv-mutants/.installed
BIN := .venv-dev/bin

# Make would take a comma as the end of an argument.
comma := ,

# The tests start hundreds of processes. Without bytecode, each would compile every module of the program again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run setup wheels test-fast test-slow test test-containers coverage-report check hooks bench bench-dicom bench-gate bench-hospital bench-ledger bench-reading chaos fuzz mutants train release-model pictures clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup  ## Install Nightread and start it (Ctrl-C stops Nightread)
	@.venv/bin/nightread up

setup: $(SERVE)  ## Install what users need into .venv; without internet: WHEELS=folder

wheels:  ## Download what `make setup WHEELS=folder` installs on a machine without internet
	@$(PYTHON) -m venv build/pip
	build/pip/bin/python -m pip download --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
		--requirement lock/serve.txt --dest $(or $(WHEELS),build/wheels)

test-fast: $(FAST)  ## Run the fast tests: no TensorFlow, browser or PostgreSQL; measure coverage: COVERAGE=1
	$(if $(COVERAGE),rm -f .coverage .coverage.*)
	.venv-fast/bin/python $(if $(COVERAGE),-m coverage run --omit "training/*$(comma)bench/*") -m pytest --part fast -n 2 --dist worksteal $(ARGS)

test-slow: $(DEVELOP)  ## Run the other tests: real servers, a real browser, TensorFlow, minutes
	$(BIN)/python $(if $(filter-out fast,$(COVERAGE)),-m coverage run) -m pytest --part slow -m "not long" -n 3 --dist loadfile $(ARGS)

test: test-fast test-slow  ## Run every test that needs no container engine; measure coverage: COVERAGE=1, or COVERAGE=fast for the fast tests only

test-containers: $(DEVELOP)  ## Test docker-compose.yml (needs root and Docker; Compose 1: COMPOSE=docker-compose)
	$(BIN)/python -m pytest --part containers tests/containers $(ARGS)

coverage-report: $(DEVELOP)  ## Print the coverage of the last `make test COVERAGE=1`, or of the fast tests only: TESTS=fast
	$(BIN)/coverage combine --quiet
	$(BIN)/python -m tests.coverage_report below_90$(if $(TESTS),_in_$(TESTS)_tests)

check: $(DEVELOP)  ## Check style, types, layers and schemas
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

hooks: $(DEVELOP)  ## Run the commit hooks (all but `check`) on every file
	SKIP=check $(BIN)/pre-commit run --all-files

bench: $(DEVELOP) $(if $(IMAGES),,build/phantoms)  ## Measure this machine: IMAGES=folder COUNT=number
	$(BIN)/nightread bench --images $(or $(IMAGES),build/phantoms) --count $(or $(COUNT),2000)

bench-dicom: $(DEVELOP)  ## Measure DICOM objects of four transfer syntaxes: COUNT=objects ROUNDS=number
	$(BIN)/nightread bench-dicom --count $(or $(COUNT),400) --rounds $(or $(ROUNDS),5)

bench-gate: $(DEVELOP) $(if $(IMAGES),,build/phantoms)  ## Compare the speed with that of a commit: BASE=commit IMAGES=folder PAIRS=number
	$(BIN)/python -m bench.gate $(or $(BASE),HEAD) --images $(or $(IMAGES),build/phantoms) --pairs $(or $(PAIRS),3)

bench-ledger: $(DEVELOP)  ## Measure pages and audit trail on SQLite and PostgreSQL: COUNT=images
	$(BIN)/nightread bench-ledger $(or $(COUNT),1000000)
	$(BIN)/python -m tests.on_postgresql $(BIN)/nightread bench-ledger $(or $(COUNT),1000000)

bench-hospital: $(DEVELOP)  ## Measure the monitor on a simulated hospital: false alarms, days to detection, coverage
	$(BIN)/python -m bench.hospital $(ARGS)

bench-reading: $(DEVELOP)  ## Measure the wait for the next image in a real browser: COUNT=images
	$(BIN)/python -m tests.browser.reading_times $(or $(COUNT),30)

build/phantoms: $(DEVELOP)
	$(BIN)/nightread phantom 100 $@

chaos: $(DEVELOP)  ## Run the long form of the tests that kill processes and cut connections
	$(BIN)/python -m pytest -m "long or not long" tests/chaos --timeout 3600 $(ARGS)

fuzz: $(DEVELOP)  ## Fuzz inspection, decoder, renditions and DICOM (Linux on x86-64): SECONDS=number for each
	@for target in inspection model_input renditions dicom_header dicom; do mkdir -p build/fuzz/$$target && $(BIN)/python -m tests.fuzz $$target \
		-max_total_time=$(or $(SECONDS),120) -timeout=20 -max_len=8192 -artifact_prefix=build/fuzz/$$target- \
		build/fuzz/$$target tests/fuzz/corpus || exit 1; done

mutants: $(MUTANTS)  ## Change triage, stability, states and audit trail in many ways: do the tests notice?
	rm -rf mutants
	.venv-mutants/bin/mutmut run
	.venv-mutants/bin/mutmut results
	.venv-mutants/bin/mutmut export-cicd-stats
	@cat mutants/mutmut-cicd-stats.json

# Without masks, a recipe that cuts films to the lungs takes the lung network of the newest shipped bundle that has one.
lungs_of = $(lastword $(sort $(dir $(wildcard models/*/lungs.tflite))))

train: $(DEVELOP)  ## Train the shipped recipe: DATA=folder with train/, TABLE=csv, MASKS=folder
	$(BIN)/nightread train --data $(DATA) $(if $(TABLE),--table $(TABLE)) $(if $(MASKS),--masks $(MASKS),$(addprefix --lungs ,$(lungs_of))) --out $(or $(OUT),runs/nightread)
	$(BIN)/nightread describe --bundle $(or $(OUT),runs/nightread) --out $(or $(OUT),runs/nightread)

release-model: $(DEVELOP)  ## Make a bundle the default model: BUNDLE=folder; CONTRIBUTING.md says what remains
	$(BIN)/python -m tests.release_model $(BUNDLE)

pictures: $(DEVELOP)  ## Draw docs/pictures and those of the models again, and every page into build/pictures, from phantoms
	$(BIN)/python -m tests.browser.pictures
	for model in models/*/; do $(BIN)/nightread describe --bundle $$model --out $$model || exit 1; done

clean:  ## Remove the environments (never data/)
	rm -rf .venv .venv-fast .venv-dev .venv-mutants

# pip checks the hashes with and without internet.
from_wheels = $(if $(WHEELS),--no-index --find-links $(WHEELS))

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $@" >&2; exit 1; }
	@echo "Installing $(2) into $(1) ..."
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes $(from_wheels) -r $(2)
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --editable .
	@touch $@
endef

$(SERVE): lock/serve.txt pyproject.toml worker/__init__.py
	$(call install,.venv,lock/serve.txt)

$(FAST): lock/fast.txt pyproject.toml worker/__init__.py
	$(call install,.venv-fast,lock/fast.txt)

$(MUTANTS): lock/mutants.txt pyproject.toml worker/__init__.py
	$(call install,.venv-mutants,lock/mutants.txt)

$(DEVELOP): lock/develop.txt pyproject.toml worker/__init__.py
	$(call install,.venv-dev,lock/develop.txt)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
		|| command -v google-chrome >/dev/null || tests/install-chromium
	@command -v npm >/dev/null || tests/install-npm
	@test "$$(id -u)" != 0 || command -v ip >/dev/null || tests/install-iproute2
	@tests/install-proxies
	@tests/install-dicom-peers
