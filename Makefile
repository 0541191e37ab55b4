# Needs Python 3.11 or later, pip and git; everything else is put into .venv on the first call.
#   make test PYTHON=python3.12     another Python for .venv

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check bench lint types format docs package clean

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

demo: $(READY)   ## train on the half-cheetah, adapt to unseen tasks, write runs/demo/report.html
	@$(BIN)/onebody demo --out runs/demo

test: lint types ## style, types, layers and tests (the slow ones: .venv/bin/pytest -m slow)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint      ## style, and the tests of FILES="…", by default of what differs from the last commit
	@files=$$($(BIN)/python -m tests.touched $(FILES)); test -z "$$files" || $(BIN)/python -m pytest $$files

bench: $(READY)  ## speed, one JSON object a line
	@$(BIN)/python -m benchmarks

lint: $(READY)   ## style and layers, in seconds
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/lint-imports --no-logo

types: $(READY)  ## pyright
	@$(BIN)/python -m pyright

format: $(READY) ## mend style and layout in place
	@$(BIN)/python -m ruff check --fix
	@$(BIN)/python -m ruff format

docs: $(READY)   ## the documentation site in site/, after the pages that are made from the definitions
	@$(BIN)/python -m onebody.reports.families > docs/families.md
	@$(BIN)/python -m results.standings
	@$(BIN)/python -c 'from onebody.cli import listing; listing.store()'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict  # with --quiet, warnings would pass

package:         ## build dist/, and use the wheel in empty environments (PYTHONS="python3.12 python3.13": with these)
	@$(PYTHON) -m tests.package $(PYTHONS)

clean:           ## remove .venv, builds and the tools' caches; never runs/
	rm -rf .venv build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# A Python without ensurepip (some Linux packages split it off) makes .venv with the pip it has.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv; the first time takes some minutes." >&2
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv 2>/dev/null || \
		{ $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@
