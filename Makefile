# The tasks of the project, for people and for .ci/run. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PREFIX ?= /usr/local

.DEFAULT_GOAL := help
.PHONY: help run test system-test soak fuzz attacks lint bench completions deb rpm install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## serve on port 6000 in the foreground, until Ctrl-C
	$(BIN)/daytimed

test: $(VENV)/.test ## run the tests with coverage; as root, install the programs they need first (ARGS='-k NAME' selects tests)
	tests/programs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses=2 --dist=loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

system-test: $(VENV)/.test ## test the service on booted Debian 12 and 13; needs root (SYSTEM_TEST_SUITE=trixie for one; ARGS=-rP for more output)
	tests/programs mmdebstrap systemd-container
	$(BIN)/python tests/support/package.py
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile tests/system $(ARGS)

soak: $(VENV)/.test ## run ten minutes of full load and random disturbances (SECONDS=60 for one minute; SEED=867 for a fixed order)
	SOAK_SECONDS=$(or $(SECONDS),600) SOAK_SEED=$(or $(SEED),$(shell date +%s)) $(BIN)/python -m pytest --capture=no tests/functional/test_soak.py

fuzz: $(VENV)/.fuzz ## fuzz each parser of untrusted input for 10 seconds (SECONDS=60 for one minute; TARGETS='replies files' for some)
	$(BIN)/python tests/fuzz/fuzz.py $(or $(SECONDS),10) $(TARGETS)

lint: $(VENV)/.test ## check format, style and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: .cache/bench/.run .cache/driver/.run ## measure daytimed and its peers, and update the figures; best as root (ARGS='--only cost' for less)
	-@tests/programs gcc libc6-dev nginx libnginx-mod-stream xinetd util-linux systemd
	-@tests/programs --unpack openbsd-inetd inetutils-inetd golang-go gunicorn
	BENCH_PYTHON=.cache/bench/bin/python .cache/driver/bin/python tests/bench/bench.py $(ARGS)
	$(if $(ARGS),,.cache/bench/bin/python tests/bench/probe.py)

attacks: $(VENV)/.test ## measure what attacks cost an honest client, and update SECURITY.md; needs root (ARGS='--rounds 3' for less)
	tests/programs nftables iproute2 util-linux
	PYTHONPATH=tests/support $(BIN)/python tests/bench/figures.py $(ARGS)

completions: $(VENV)/.test ## regenerate the completions for bash, zsh and fish
	$(BIN)/python packaging/completions/generate.py

deb: ## build the Debian package in dist/; as root, install the build dependencies first
	@tests/programs dpkg-dev
	packaging/deb

rpm: ## build the source and binary RPMs in dist/; as root on Debian, install the build dependencies first
	packaging/rpm-build

install: ## install under PREFIX (/usr/local) and in /etc, for hosts without packages (DESTDIR=DIR stages it in DIR)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tests/programs python3-venv
	$(PYTHON) packaging/install.py --prefix '$(PREFIX)' --destdir '$(DESTDIR)'

uninstall: ## remove what `make install` installed with the same PREFIX and DESTDIR
	$(PYTHON) packaging/install.py --prefix '$(PREFIX)' --destdir '$(DESTDIR)' --remove

clean: ## remove all files that these targets create in the tree
	rm -rf $(VENV) .cache .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The measured programs run on a copy of the distribution's Python, as its package would use it, with nothing else
# installed. The driver runs on that Python itself, so the two share no memory.
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
	@errors=$$($(BIN)/pip install --quiet --disable-pip-version-check --only-binary=atheris --editable '.[fuzz]' 2>&1) \
		|| { case $$errors in *'No matching distribution found for atheris'*) \
		errors="make fuzz: atheris has no wheel for $$($(BIN)/python --version); choose another, for example PYTHON=python3.11 VENV=.cache/venv";; \
		esac; echo "$$errors" >&2; exit 1; }
	@touch $@
