# Every target works on a fresh checkout: the environment in $(VENV) and the compiled core are made when they are missing or old.
PYTHON ?= python3
VENV ?= .venv
BUILD ?= .build
PY := $(VENV)/bin/python
CORE_SOURCES := setup.py pyproject.toml fastlog/_core.pyx fastlog/_core.pxd $(wildcard fastlog/native/*.pxi)
PORT ?= 9092
SEEDS ?= 500

.DEFAULT_GOAL := help
.PHONY: help up build test fast lint conformance check-messages sim fuzz sanitize soak-coordinator soak-hostile bench docs clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml ci/requirements.py
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade pip "setuptools>=77" "cython>=3.1,<4"
	$(PY) ci/requirements.py | $(PY) -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@touch $@

$(VENV)/.ready-for-%: $(VENV)/.ready
	$(PY) ci/requirements.py $* | $(PY) -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@touch $@

$(BUILD)/core: $(VENV)/.ready $(CORE_SOURCES)
	$(PY) setup.py --quiet build_ext --inplace
	@mkdir -p $(BUILD) && touch $@

build: $(BUILD)/core ## the environment and the compiled core

up: build ## PORT=9092 a broker on 127.0.0.1, in the foreground
	$(PY) -m fastlog up --port $(PORT)

test: build $(VENV)/.ready-for-test $(VENV)/.ready-for-oracles ## all tests that need no other programs
	$(PY) -m pytest -q -n 2 tests --ignore=tests/conformance

fast: build $(VENV)/.ready-for-test $(VENV)/.ready-for-oracles ## the quick tests
	$(PY) -m pytest -q -n 2 -m "not slow" tests --ignore=tests/conformance

lint: build $(VENV)/.ready-for-lint $(VENV)/.ready-for-test ## style, imports, types, stubs
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(PY) -m mypy.stubtest --ignore-unused-allowlist --allowlist ci/stubtest.allow fastlog._core

.cache/kafka-jars/.done: tests/conformance/java/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/kafka-jars
	@touch $@

.cache/kafka-3.9-jars/.done: tests/conformance/java/pom.xml
	mvn -q -B -f $< dependency:copy -Dartifact=org.apache.kafka:kafka-clients:3.9.1 -DoutputDirectory=$(CURDIR)/.cache/kafka-3.9-jars
	@touch $@

.cache/zookeeper-jars/.done: tests/conformance/zookeeper/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/zookeeper-jars
	@touch $@

DISTRIBUTION := .cache/zookeeper-distribution
$(DISTRIBUTION)/.done: bench/coordinator/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(DISTRIBUTION)
	@touch $@

.cache/kafka-zk-jars/.done: tests/conformance/kafka-zk/pom.xml
	mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/kafka-zk-jars
	@touch $@

JARS := .cache/kafka-jars/.done .cache/kafka-zk-jars/.done .cache/kafka-3.9-jars/.done .cache/zookeeper-jars/.done

.cache/kafka-python-2.3/.done: tests/conformance/clients/python/kafka-python-2.3.txt $(VENV)/.ready
	$(PY) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.cache/java-driver/.done: tests/conformance/clients/java/ClientDriver.java .cache/kafka-jars/.done
	mkdir -p $(@D)
	javac -nowarn -Xlint:none -cp ".cache/kafka-jars/*" -d $(@D) $<
	@touch $@

GO_DRIVER := tests/conformance/clients/go
.cache/go-driver: $(wildcard $(GO_DRIVER)/*)
	cd $(GO_DRIVER) && go build -o $(CURDIR)/$@ .

RUST_DRIVER := tests/conformance/clients/rust
.cache/rust/.done: $(wildcard $(RUST_DRIVER)/Cargo.* $(RUST_DRIVER)/src/*)
	cargo build --quiet --locked --manifest-path $(RUST_DRIVER)/Cargo.toml --target-dir $(@D)
	@touch $@

SPRING := examples/java
.cache/spring/.done: $(SPRING)/pom.xml $(shell find $(SPRING)/src -type f)
	mvn -q -B -f $(SPRING) -Doutput=$(CURDIR)/$(@D) package
	@touch $@

# Confluent's package is compiled from its own sources and against Node's own headers, in place of fetching what was built
# elsewhere. Its build is not made for parallel jobs, and optimizing takes longer than all that the tests do with it.
JAVASCRIPT_DRIVER := tests/conformance/clients/javascript
CONFLUENT_JAVASCRIPT := .cache/javascript/node_modules/@confluentinc/kafka-javascript
.cache/javascript/.done: $(JAVASCRIPT_DRIVER)/package.json $(JAVASCRIPT_DRIVER)/package-lock.json
	mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && env -u JOBS MAKEFLAGS= CFLAGS="-O0 -g0" CXXFLAGS="-O0 -g0" CKJS_LINKING=dynamic \
		npm_config_build_from_source=true npm_config_nodedir="$$(dirname "$$(dirname "$$(readlink -f "$$(command -v node)")")")" \
		npm ci --no-audit --no-fund --loglevel=error
	rm -rf $(CONFLUENT_JAVASCRIPT)/deps $(CONFLUENT_JAVASCRIPT)/build/Release/obj.target
	@cd $(@D) && node -p 'require("@confluentinc/kafka-javascript").features.join()' | grep -q "gzip.*zstd" || \
		{ echo "$@: built without gzip or zstd: install the headers of zlib and libzstd"; exit 1; }
	@touch $@

CLIENTS := .cache/kafka-python-2.3/.done .cache/java-driver/.done .cache/go-driver .cache/rust/.done .cache/javascript/.done \
	.cache/spring/.done

conformance: build $(VENV)/.ready-for-test $(VENV)/.ready-for-conformance $(JARS) $(CLIENTS) ## real clients and real servers (needs java, mvn, go, cargo, node, npm, kcat)
	$(PY) -m pytest -q -m "not soak" tests/conformance

EXAMPLES ?= 2000
soak-coordinator: build $(VENV)/.ready-for-test $(VENV)/.ready-for-conformance .cache/zookeeper-jars/.done ## EXAMPLES=N random walks on the coordinator and on a real ZooKeeper
	MODEL_EXAMPLES=$(EXAMPLES) $(PY) -m pytest -q -m "" tests/conformance/test_zookeeper_model.py

# Real servers run beside fastlog where `make conformance` has fetched them.
BESIDE_KAFKA = $(if $(wildcard .cache/kafka-jars/.done),--kafka-jars .cache/kafka-jars)
HAS_ZOOKEEPER := $(wildcard .cache/zookeeper-jars/.done)
BESIDE_ZOOKEEPER := $(if $(HAS_ZOOKEEPER),--zookeeper-distribution $(DISTRIBUTION) --zookeeper-jars .cache/zookeeper-jars)
bench: build $(VENV)/.ready-for-oracles $(if $(HAS_ZOOKEEPER),$(DISTRIBUTION)/.done) ## the README's figures, beside real servers where `make conformance` has fetched them
	PYTHONPATH=. $(PY) bench/start/run.py $(BESIDE_KAFKA)
	PYTHONPATH=. $(PY) bench/hot/run.py
	PYTHONPATH=. $(PY) bench/core/run.py
	PYTHONPATH=. $(PY) bench/core/segments.py
	PYTHONPATH=. $(PY) bench/wire/metadata.py
	PYTHONPATH=. $(PY) bench/coordinator/run.py $(BESIDE_ZOOKEEPER)
	PYTHONPATH=. $(PY) bench/groups/run.py $(BESIDE_KAFKA)

check-messages: build .cache/kafka-jars/.done .cache/kafka-3.9-jars/.done ## the message tables equal what Kafka's jars say
	$(PY) ci/generate_messages.py --check .cache/kafka-jars/kafka-clients-*.jar .cache/kafka-3.9-jars/kafka-clients-*.jar

sim: build ## SEEDS=N simulated clusters, each from its seed
	$(PY) -m fastlog.sim --seeds $(SEEDS)

SECONDS ?= 60
ROUNDS ?= 1
TARGETS ?=
$(BUILD)/fuzz/.built: $(BUILD)/core fuzz/engine.pyx fuzz/build.py
	$(PY) fuzz/build.py fuzz $(BUILD)/fuzz
	@touch $@

fuzz: $(BUILD)/fuzz/.built ## ROUNDS=N times SECONDS=N of libFuzzer over all TARGETS="..." (needs clang)
	nice $(PY) fuzz/run.py --directory $(BUILD)/fuzz --seconds $(SECONDS) --rounds $(ROUNDS) --targets $(TARGETS)

SANITIZE ?= tests/fuzz tests/core
$(BUILD)/asan/.built: $(BUILD)/core fuzz/build.py
	$(PY) fuzz/build.py asan $(BUILD)/asan
	@touch $@

sanitize: $(BUILD)/asan/.built $(VENV)/.ready-for-test $(VENV)/.ready-for-oracles ## SANITIZE="tests ..." with the core under address and undefined-behaviour sanitizers
	$(PY) fuzz/sanitized.py $(BUILD)/asan -q -p no:xdist -m "not slow" $(SANITIZE)

soak-hostile: build ## 5,000 hostile connections: what a healthy client notices, and what memory they take
	PYTHONPATH=.:tests/support $(PY) bench/hostile/run.py

docs: $(VENV)/.ready-for-docs ## the project's pages, all options and the library's reference as HTML
	PYTHONPATH=. $(PY) -m mkdocs build --quiet --site-dir $(BUILD)/docs
	@echo $(BUILD)/docs/index.html

clean: ## remove what was built
	rm -rf .build* build fastlog/_core.c fastlog/*.so
