# What is done here by hand, and by .ci/run. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PREFIX ?= /usr/local

.DEFAULT_GOAL := help
.PHONY: help run test system-test soak fuzz attacks lint bench completions deb rpm install uninstall clean

help: ## show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## serve on port 6000, in the foreground, until Ctrl-C
	$(BIN)/daytimed

test: $(VENV)/.test ## run the tests, with coverage; as root it installs the clients it tests with (ARGS='-k NAME' for some)
	tests/programs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=2 --dist=loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

system-test: $(VENV)/.test ## boot Debian 12 and 13 in containers and drive the service there (root; SYSTEM_TEST_SUITE=trixie for one; ARGS=-rP shows more)
	tests/programs mmdebstrap systemd-container
	$(BIN)/python tests/system/package.py
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile tests/system $(ARGS)

soak: $(VENV)/.test ## ten minutes of full load and chaos (SECONDS=60 for one; SEED=867 for a known order)
	SOAK_SECONDS=$(or $(SECONDS),600) SOAK_SEED=$(or $(SEED),$(shell date +%s)) $(BIN)/python -m pytest --capture=no tests/functional/test_soak.py

fuzz: $(VENV)/.fuzz ## fuzz each parser of what comes from outside for SECONDS=10 (TARGETS='replies files' for some)
	$(BIN)/python tests/fuzz/fuzz.py $(or $(SECONDS),10) $(TARGETS)

lint: $(VENV)/.test ## check format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: .cache/bench/.run .cache/driver/.run ## compare the speed with other servers and update the figures (best as root; ARGS='--only cost' for less)
	-@tests/programs gcc libc6-dev nginx libnginx-mod-stream xinetd util-linux systemd
	-@tests/programs --unpack openbsd-inetd inetutils-inetd golang-go gunicorn
	BENCH_PYTHON=.cache/bench/bin/python .cache/driver/bin/python tests/bench/bench.py $(ARGS)
	$(if $(ARGS),,.cache/bench/bin/python tests/bench/probe.py)

attacks: $(VENV)/.test ## measure what attacks cost an honest client and update SECURITY.md (root; ARGS='--rounds 3' for less)
	tests/programs nftables iproute2 util-linux
	PYTHONPATH=tests/functional $(BIN)/python tests/bench/figures.py $(ARGS)

completions: $(VENV)/.test ## write the completions for bash, zsh and fish anew
	$(BIN)/python packaging/completions/generate.py

deb: ## build the Debian package into dist/ (as root it installs what that needs)
	@tests/programs dpkg-dev
	packaging/deb

rpm: ## build the source and the binary RPM into dist/ (on Debian, as root, it installs what that needs)
	packaging/rpm-build

install: ## install on hosts without packages, under PREFIX (/usr/local) and in /etc; in DESTDIR
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/programs python3-venv
	$(PYTHON) packaging/install.py --prefix '$(PREFIX)' --destdir '$(DESTDIR)'

uninstall: ## remove what `make install` has installed there
	$(PYTHON) packaging/install.py --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --remove

clean: ## remove everything that was made here
	rm -rf $(VENV) .cache .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The benchmark measures daytimed on a copy of the Python that a package of the distribution would use, without other
# modules. The driver runs on that Python itself, so that they share no memory.
SYSTEM_PYTHON = $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3 || echo $(PYTHON))

.cache/bench/.run: pyproject.toml
	@$(SYSTEM_PYTHON) -c 'import ensurepip' 2>/dev/null || tests/programs python3-venv
	$(SYSTEM_PYTHON) -m venv --copies .cache/bench
	.cache/bench/bin/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.cache/driver/.run: pyproject.toml
	@$(SYSTEM_PYTHON) -c 'import ensurepip' 2>/dev/null || tests/programs python3-venv
	$(SYSTEM_PYTHON) -m venv .cache/driver
	.cache/driver/bin/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

$(VENV)/.python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/programs python3-venv
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.test
	@told=$$($(BIN)/pip install --quiet --disable-pip-version-check --only-binary=atheris --editable '.[fuzz]' 2>&1) \
		|| { case $$told in *'No matching distribution found for atheris'*) \
		told="make fuzz: atheris has no wheel for $$($(BIN)/python --version); give one that has, as in PYTHON=python3.11 VENV=.cache/venv";; \
		esac; echo "$$told" >&2; exit 1; }
	@touch $@
