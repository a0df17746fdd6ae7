# Needs Python 3.11 or newer with its venv module, and make. Everything else goes into .venv, pinned by hash.
.NOTPARALLEL:
.PHONY: has-python env lint test test-unit test-integration docs try demo bench bench-quick bench-peers test-spark test-cluster test-page soak soak-state servers-up servers-down lock lock-peers clean

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo $$python && break; \
	done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

has-python:
	@test -n "$(PYTHON)"

env: .venv/.dev

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: test-unit test-integration

# Property tests draw other examples each time; EXAMPLES=--hypothesis-profile=ci draws the same ones, as CI does, so that
# what fails there is about the change.
test-unit: .venv/.dev
	$(BIN)/pytest tests --numprocesses auto --dist loadscope $(EXAMPLES)

# The servers run in Docker; integration_tests/conftest.py says what it uses and which variables it knows. Tests mostly
# wait, so several files are at work at once, each on servers of its own; servers that are kept are shared by one.
WORKERS ?= $(if $(KAFKA_STREAM_TEST_KEEP),0,3)
test-integration: .venv/.dev
	$(BIN)/pytest integration_tests --numprocesses $(WORKERS) --dist loadfile $(EXAMPLES)

# A look at a running system: Kafka, PostgreSQL, two copies of a stream under load, Prometheus and Grafana, all of them on
# 127.0.0.1 (deploy/try/compose.yml says where). Needs Docker and the images; Ctrl-C ends it, and nothing is left.
try:
	docker build --file deploy/Dockerfile --tag kafka-stream .
	docker compose --file deploy/try/compose.yml up; docker compose --file deploy/try/compose.yml down --volumes

# The pages and the docstrings as a site in build/site, without network; a dead link, or a page that is in no menu, fails.
docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --clean

# With a real Spark: Java 17, and 400 MB of pyspark in build/peers, so it is no part of `make test`. Its files have names
# of their own, by which nothing else collects them.
test-spark: .venv/.dev build/peers/.ready
	$(BIN)/pytest integration_tests/spark -o python_files='spark_*.py'

# What takes longer than `make test` has time for, on three brokers, a PostgreSQL with a replica and three servers of
# ZooKeeper, which the tests start; half an hour. Its files, too, have names of their own.
test-cluster: .venv/.dev
	$(BIN)/pytest integration_tests/cluster -o python_files='cluster_*.py' $(ONLY)

# The page in a real browser: Debian's chromium, which it installs, and axe-core from npm. SCREENSHOTS=docs/page keeps what is seen.
test-page: .venv/.dev
	KAFKA_STREAM_TEST_SCREENSHOTS=$(SCREENSHOTS) $(BIN)/pytest integration_tests/page -o python_files='page_*.py' $(ONLY)

# A stream under load that is killed, frozen, cut off and reset for MINUTES, on servers of its own: STORE is postgres, mariadb,
# sqlite, zookeeper or kafka, ASSIGNMENT static, classic or consumer, BROKERS 1 or 3, PACE the seconds between two faults on average.
# What it did and found goes to docs/reliability.md; with the SEED that it printed it does the same again.
MINUTES ?= 30
STORE ?= postgres
ASSIGNMENT ?= static
BROKERS ?= 1
PACE ?= 1
soak: .venv/.dev
	$(BIN)/python -m integration_tests.soak run --minutes $(MINUTES) --store $(STORE) --assignment $(ASSIGNMENT) \
		--brokers $(BROKERS) --pace $(PACE) $(if $(SEED),--seed $(SEED))

# Twenty rounds of kills and frozen owners for each kind of sink that keeps state, alone and all at once. Takes hours.
soak-state: .venv/.dev
	KAFKA_STREAM_TEST_ROUNDS=20 $(BIN)/pytest integration_tests/test_stateful_crashes.py

demo: .venv/.runtime
	$(BIN)/kafka-stream demo

# Beside the fastest that the clients and servers can do, on servers of its own; docs/performance.md gets the figures.
bench: .venv/.dev
	$(BIN)/python -m benchmarks --write

# Fewer records, one run: fails where a result is wrong, never because of a time.
bench-quick: .venv/.dev
	$(BIN)/python -m benchmarks --quick

# Beside what users compare with, in an environment of its own; docs/performance.md gets these figures too.
bench-peers: .venv/.dev build/peers/.ready
	$(BIN)/python -m benchmarks --peers --write

build/peers/.ready: benchmarks/peers/requirements.lock benchmarks/peers/pom.xml | .venv/bin/python
	@java -version 2> /dev/null && mvn --version > /dev/null 2>&1 || { echo "Spark needs Java 17 and Maven: install" \
		"them (Debian: apt-get install openjdk-17-jre-headless maven)." >&2; exit 1; }
	rm -rf build/peers
	$(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes \
		--requirement benchmarks/peers/requirements.lock
	mvn --quiet --batch-mode --file benchmarks/peers/pom.xml dependency:copy-dependencies
	touch $@

# Kafka, ZooKeeper, PostgreSQL and MariaDB for development; test runs with KAFKA_STREAM_TEST_KEEP=1 use them too.
servers-up: .venv/.dev
	$(BIN)/python -m integration_tests up

servers-down: .venv/.dev
	$(BIN)/python -m integration_tests down

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with its venv module was found: install one" \
		"(Debian: apt-get install python3-venv), or name it with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The runtime's pins are among the development's, so that the second environment contains the first.
.venv/.dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	$(PIP) install --quiet --no-deps --editable .
	touch .venv/.runtime $@

.venv/.runtime: requirements.lock pyproject.toml | .venv/bin/python
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-deps --editable .
	touch $@

UV := build/lock/bin/uv
COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --quiet

# Newest versions of everything but pyspark, which `all` leaves out and build/peers has; commit both files.
lock: $(UV)
	$(COMPILE) --upgrade --extra all --group dev --output-file requirements-dev.lock
	$(COMPILE) --upgrade --extra postgresql --extra http --constraint requirements-dev.lock --output-file requirements.lock
	echo 'hatchling>=1.27' | $(subst pip compile pyproject.toml,pip compile -,$(COMPILE)) --constraint requirements-dev.lock --no-annotate \
		--output-file deploy/build.lock

lock-peers: $(UV)
	$(UV) pip compile benchmarks/peers/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock-peers" --quiet --upgrade \
		--output-file benchmarks/peers/requirements.lock

$(UV):
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --quiet uv

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
