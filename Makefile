# Every command makes the virtual environment .venv if it is not there, and nothing twice.
# A stamp in .venv stands for each part of the set-up that succeeded.
# What stands between [instructors and instructors] is not in a student's copy (make student).

PYTHON ?= python3
VENV := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)

.PHONY: help demo lab app slides notebooks exercises student test quick lint docs colab clean
.NOTPARALLEL:

help:
	@echo 'make demo    find real photographs by a sentence, then train the four losses on drawings: runs/demo'
	@echo 'make lab     open the course in JupyterLab'
	@echo 'make app     search with the trained models in the browser, on this machine only'
	@echo 'make slides  slides of the lessons, in build/slides; ONLY=04 as below'
	@echo 'make notebooks          execute the lessons and store what comes out'
	@echo 'make notebooks ONLY=04  only those with 04 in their path'
# [instructors
	@echo 'make test    lint, check types, run all tests and every cell of the lessons'
	@echo 'make quick   lint, check types, run the tests that take a moment: for every save'
	@echo 'make exercises   make exercises/ from solutions/, and the answer key'
	@echo 'make student OUT=../term   a copy of the course without solutions, answers and tests'
	@echo 'make docs    the API pages, in build/docs'
	@echo 'make colab   lessons, exercises and tests with what Colab has, in .venv-colab'
	@echo 'make colab ONLY=11      only the notebooks with 11 in their path'
# instructors]
	@echo 'make clean   remove .venv, .venv-colab and caches; runs/ stays'
	@echo
	@echo 'Another Python (3.11 or newer): make demo PYTHON=python3.12'

demo: .venv/.core
	$(VENV)/mmret demo --out runs/demo

lab: .venv/.lab
	$(VENV)/jupyter lab

app: .venv/.lab
	$(VENV)/mmret app

slides: .venv/.lab
	$(VENV)/python notebooks/slides.py $(ONLY)

notebooks: .venv/.test
	$(VENV)/python notebooks/execute.py $(ONLY)

# [instructors
exercises: .venv/.test
	$(VENV)/python exercises/generate.py
	$(VENV)/python exercises/answer_key.py

student: .venv/.lab
	$(VENV)/python exercises/student_copy.py "$(OUT)" \
	  $(if $(REPOSITORY),--repository $(REPOSITORY)) $(if $(BRANCH),--branch $(BRANCH))

test: lint docs
	$(VENV)/python -m pytest -n auto --maxprocesses 4 --dist loadscope
	$(VENV)/python notebooks/execute.py --check

quick: lint
	$(VENV)/python -m pytest -n auto --maxprocesses 4 --dist loadscope -m 'not slow and not kill and not browser'

# The tests need more than Colab has: they see its versions, but nothing is hidden from them.
colab: .venv-colab/.made
	.venv-colab/bin/python notebooks/colab.py $(ONLY)
ifndef ONLY
	.venv-colab/bin/python -m pytest -n auto --maxprocesses 4 --dist loadscope
	.venv-colab/bin/python notebooks/execute.py --check
endif

lint: .venv/.test
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports
	$(VENV)/mypy

docs: .venv/.test
	$(VENV)/python docs/build.py
# instructors]

clean:
	rm -rf .venv .venv-colab build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
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
$(VENV)/uv pip install --compile-bytecode --python $(VENV)/python --editable '.$(1)'
@mv .venv/.unfinished .venv/.made
@touch $@ .venv/.core
endef

.venv/.core: .venv/.made pyproject.toml
	$(call install)

.venv/.lab: .venv/.made pyproject.toml
	$(call install,[lab])

.venv/.test: .venv/.made pyproject.toml
	$(call install,[test])

# [instructors
# Colab's Python if uv finds or may fetch it (make colab COLAB_PYTHON=/path/to/python3.13), else the
# one of .venv. --override and not --constraint: Colab, too, has versions side by side that do not
# admit each other. Its torch is built for another CUDA than the registry's, whose libraries differ. An
# override drops extras: tinycss2 is what nbconvert wants of bleach[css].
COLAB_PYTHON ?= 3.13
.venv-colab/.made: .venv/.made pyproject.toml tests/colab.txt
	rm -rf .venv-colab
	$(VENV)/uv venv --quiet --python $(COLAB_PYTHON) .venv-colab \
	  || $(VENV)/uv venv --quiet --python $(VENV)/python .venv-colab
	sed '/^nvidia-/d; /^cuda-/d' tests/colab.txt > .venv-colab/versions.txt
	$(VENV)/uv pip install --compile-bytecode --python .venv-colab/bin/python \
	  --override .venv-colab/versions.txt --editable '.[test]' pip tinycss2
	@touch $@
# instructors]
