# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up what it needs.

PYTHON ?= python3
VENV := .venv
DOCS := .venv-docs
RUN := $(VENV)/bin/
# How many processes share the tests out. Each has real parts of its own, of about 2 GB. Of three or more the last begins
# with what needs none. auto: one more than there are cores.
WORKERS ?= auto
PYTEST = $(RUN)python -m pytest -n $(WORKERS) --maxprocesses=5

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast e2e check docs bench bench-faults bench-judge bench-model bench-routers ship-check bed format generate image-check release krew lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/ready bed ## a healthy release goes to 100 %, a broken one is rolled back (KEEP=1 leaves it running)
	@$(RUN)python -m tests.demo

test: $(VENV)/ready bed ## all tests: unit, property, contract, e2e on real parts (ARGS="-k word" runs a part)
	$(PYTEST) $(ARGS)

test-fast: $(VENV)/ready ## unit and property tests, which start no real parts
	$(PYTEST) tests/unit tests/property $(ARGS)

e2e: $(VENV)/ready ## the end-to-end tests that need no bed, on the cluster of KUBECONFIG (CONTEXT=name IMAGE=image)
	@$(RUN)python -m tests.own_cluster --context "$(CONTEXT)" --image "$(IMAGE)" -- $(ARGS)

check: $(VENV)/ready ## lint, format, types, floors of the house, generated files
	$(RUN)ruff check
	$(RUN)ruff format --check
	$(RUN)mypy
	cd operator && ../$(RUN)lint-imports --config ../pyproject.toml
	$(RUN)python -m pytest -q tests/unit/test_generate_crd.py tests/unit/test_generate_reference.py tests/unit/test_generate_states.py \
		tests/unit/test_generate_routers.py tests/unit/test_generate_rights.py \
		tests/unit/test_generate_gitops.py \
		tests/unit/test_generate_dashboard.py

docs: $(DOCS)/ready ## the site of docs/, in dist/site
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

bench: $(VENV)/ready bed ## the figures, as tables
	@$(RUN)python -m tests.bench

bench-faults: $(VENV)/ready bed ## ten minutes of faults, watched from outside
	@$(RUN)python -m tests.bench.faults

bench-judge: $(VENV)/ready ## how often the calls are right, beside the rules of others
	@$(RUN)python -m tests.bench.judge

bench-model: $(VENV)/ready ## a million steps of the object that decides, under a host that refuses, delays and loses; forty times as many stories
	@$(RUN)python -m tests.bench.model
	@STORIES=40 $(PYTEST) -q tests/property
	@STORIES=4 $(PYTEST) -q tests/unit

bench-routers: $(VENV)/ready bed ## how soon a weight is in force with each kind of route, and what is lost (builds gateways)
	@$(RUN)python -m tests.bench.routers

ship-check: $(VENV)/ready $(DOCS)/ready bed ## what is handed over, tried part by part: rights granted and used, tests of chart, GitOps, docs, upgrade (ONLY=chart)
	@$(RUN)python -m tests.ship $(ONLY)

bed: $(VENV)/ready
	@$(RUN)python -m tests.bed.binaries

format: $(VENV)/ready ## bring the code into its form
	$(RUN)ruff check --fix
	$(RUN)ruff format

generate: $(VENV)/ready ## write the CRDs, the pages of docs/ and the dashboard anew from the code
	$(RUN)rolloutplan crds deploy/crds
	$(RUN)rolloutplan reference docs/reference.md
	$(RUN)rolloutplan states docs/states.md
	$(RUN)rolloutplan rights deploy/helm/rolloutplan/routers.yaml
	$(RUN)rolloutplan routers docs/routers.md
	$(RUN)rolloutplan gitops deploy/gitops
	$(RUN)rolloutplan dashboard deploy/grafana/rolloutplan.json

release: $(VENV)/ready ## wheel, sdist, chart, SBOM, licences, provenance, checksums of the commit, in dist/ (REGISTRY=example.org/team)
	@$(RUN)python -m deploy.release.make '$(REGISTRY)'

krew: $(VENV)/ready ## the kubectl plugin for krew, in dist/krew (URL=https://... where it is going to be published)
	@$(RUN)python deploy/krew/package.py $(URL)

image-check: $(VENV)/ready bed ## the steps of the Containerfile without a container engine; the operator from it on the bed (as root)
	@$(RUN)python -m deploy.image.check

lock: $(VENV)/ready ## choose the versions of all dependencies anew
	$(RUN)uv pip compile -q pyproject.toml --extra traces --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --upgrade -o requirements.lock
	$(RUN)uv pip compile -q pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --upgrade -o requirements-dev.lock
	$(RUN)uv pip compile -q --group docs --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade -o requirements-docs.lock
	$(RUN)uv pip compile -q deploy/image/build.in -c requirements-dev.lock --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url -o deploy/image/build.lock
	$(RUN)uv pip compile -q --group release --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --upgrade -o requirements-release.lock

clean: ## remove what was set up here (the bed's binaries stay in their cache)
	rm -rf $(VENV) $(DOCS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(VENV)/ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: install it, or name it as in: make PYTHON=python3.12 test"; exit 2; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(RUN)python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(RUN)python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DOCS)/ready: requirements-docs.lock
	@echo "setting up $(DOCS)"
	@$(PYTHON) -m venv --clear $(DOCS)
	@$(DOCS)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-docs.lock
	@touch $@
