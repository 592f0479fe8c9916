# Everything from a bare checkout. `make` alone lists the targets.

PYTHON := .pix/venv/bin/python
PIX := .pix/venv/bin/pix

.PHONY: help install demo test stress bench lint docs lock clean

help:           ## List the targets
	@grep -E '^[a-z]+: .*##' Makefile | sed -E 's/^([a-z]+): *[^#]*##/\1\t/' | expand -t 10

install:        ## Install what is missing: PostgreSQL with PL/Python, a virtual environment, Pixelplum
	@tools/install.sh

demo: install   ## Load a catalogue, extract features, show look-alikes
	@$(PIX) demo

test:           ## Run the tests, on a server of their own or in databases of their own on that of DSN=postgresql://…
	@tools/install.sh --tests
	@$(PYTHON) -m pytest $(if $(DSN),--dsn '$(DSN)',$(if $(TESTS),,--numprocesses 2 --dist worksteal)) $(TESTS)

stress: install  ## Call what others disturb a thousand times each, compare the answers, and run the exhaustive tests
	@$(PYTHON) -m pytest $(if $(DSN),--dsn '$(DSN)') -m exhaustive
	@$(PYTHON) -m pytest $(if $(DSN),--dsn '$(DSN)') --calls $(or $(CALLS),1000) tests/server/test_consistency.py

bench: install  ## Measure speed against peers, on a server of its own or on that of DSN=postgresql://…
	@$(PYTHON) -m benchmarks $(if $(DSN),--dsn '$(DSN)') $(BENCHMARKS)

lint: install   ## Check style
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

docs: install   ## Generate the reference from the database's own comments
	@$(PYTHON) tools/generate_reference.py

lock: install   ## Renew requirements.lock
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
		--output-file requirements.lock pyproject.toml

clean:          ## Stop the private server and remove .pix
	@if [ -x $(PYTHON) ]; then PYTHONPATH=loader:plpython $(PYTHON) -m pixload.cli --home .pix server destroy --yes; fi
	@rm -rf .pix
