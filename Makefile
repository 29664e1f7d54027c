# Every command makes the virtual environment .venv if it is not there, and nothing twice.
# A stamp in .venv stands for each part of the set-up that succeeded.

PYTHON ?= python3
VENV := .venv/bin

.PHONY: help demo lab test lint clean
.NOTPARALLEL:

help:
	@echo 'make demo    train the four losses on the built-in world: table and figures in runs/demo'
	@echo 'make lab     open the course in JupyterLab'
	@echo 'make test    lint, check types and run all tests'
	@echo 'make clean   remove .venv and caches; runs/ stays'
	@echo
	@echo 'Another Python (3.11 or newer): make demo PYTHON=python3.12'

demo: .venv/.core
	$(VENV)/mmret demo --out runs/demo

lab: .venv/.lab
	$(VENV)/jupyter lab

test: lint
	$(VENV)/python -m pytest -n auto --maxprocesses 4 --dist loadscope

lint: .venv/.test
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.made:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'mmret needs Python 3.11 or newer, and "$(PYTHON)" is not one.'; \
	  echo 'Name one that is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'; \
	  exit 1; } >&2
	rm -rf .venv
	"$(PYTHON)" -m venv .venv
	$(VENV)/python -m pip install --quiet uv
	@touch $@

# An install that was cut short leaves packages that look whole and are not, and no later install
# mends them. So .made is away while one runs, and without it the next make starts .venv afresh.
define install
@mv .venv/.made .venv/.unfinished
$(VENV)/uv pip install --python $(VENV)/python --editable '.$(1)'
@mv .venv/.unfinished .venv/.made
@touch $@ .venv/.core
endef

.venv/.core: .venv/.made pyproject.toml
	$(call install)

.venv/.lab: .venv/.made pyproject.toml
	$(call install,[lab])

.venv/.test: .venv/.made pyproject.toml
	$(call install,[test])
