# `make` lists the targets. PIP_ARGS goes to pip (an index of CPU builds, a proxy); PYTHON chooses
# the interpreter; a torch that PYTHON or .venv already has is kept where it is in the range.
.DEFAULT_GOAL := help
.PHONY: help install demo tiny-model test test-all check format clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
TORCH_FITS := import sys, torch; sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6))

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## create .venv and install everything (about 2 GB)

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) \
		$$($(PYTHON) -c '$(TORCH_FITS)' 2>/dev/null && echo --system-site-packages)
	$(RUN) -m pip install --upgrade --quiet 'pip>=25'
	@if $(RUN) -c '$(TORCH_FITS)' 2>/dev/null; then \
		grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt; \
	else cp constraints.txt $(VENV)/constraints.txt; fi
	$(RUN) -m pip install --constraint $(VENV)/constraints.txt $(PIP_ARGS) --editable '.[dev]'
	@touch $@

demo: install  ## fine-tune the shipped model, export, align, refine: runs/demo/ (FROM_SCRATCH=1)
	$(RUN) -m rba.demo $(if $(FROM_SCRATCH),from_scratch=true) $(DEMO_ARGS)

tiny-model: install  ## reproduce the shipped model: runs/tiny-model/ (an hour; goes on after a stop)
	$(RUN) -m rba.tiny_model $(TINY_ARGS)

test: install  ## the fast tests (under 10 minutes on 2 cores)
	$(RUN) -m pytest -m 'not slow' $(PYTEST_ARGS)

test-all: install  ## all tests: launchers, kills, full shapes, the README's commands
	$(RUN) -m pytest $(PYTEST_ARGS)

check: install  ## formatting, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright

format: install  ## format the code and sort imports
	$(VENV)/bin/ruff check --fix --quiet . ; $(VENV)/bin/ruff format .

clean:  ## remove .venv and caches (runs/ stays)
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
