# Two commands are all there is to know: `make demo` and `make test`. Both work in an empty clone with Python 3.11 or newer.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DEMO_OUT ?= demo-output
DEMO_IMAGE ?= src/promptseg/photos/astronaut.jpg
PYTEST_ARGS ?=
# Label Studio pins what it needs, so it gets an environment of its own.
LABEL_STUDIO_VENV ?= .venv-label-studio
LABEL_STUDIO_VERSION := 1.23.2
LABEL_STUDIO_SCREENSHOT ?=

# constraints.txt says why torch is pinned; pip hands the constraint on to the build's own environment too.
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/pip

.PHONY: demo test test-page test-wheel test-weights test-export test-ray test-label-studio test-hostile test-kill check lock sbom audit fix clean

demo: $(VENV)/.installed  ## segment a bundled image by two phrases
	$(VENV)/bin/promptseg predict $(DEMO_IMAGE) --text "person" --text "face" --out $(DEMO_OUT)

test: $(VENV)/.installed-dev  ## pass the tests that need no other weights than the demo
	$(VENV)/bin/python -m pytest -n auto --dist worksteal -m "not weights and not browser and not export and not ray and not label_studio and not wheel" $(PYTEST_ARGS)

test-page: $(VENV)/.installed-dev  ## pass the tests of the web page; needs a Chromium: apt-get install chromium
	$(VENV)/bin/python -m pytest -n auto --dist worksteal -m browser $(PYTEST_ARGS)

test-wheel: $(VENV)/.installed-dev  ## build the wheel, install it into an empty environment, run it from another folder
	$(VENV)/bin/python -m pytest -m wheel $(PYTEST_ARGS)

test-weights: $(VENV)/.installed-dev  ## pass the others; fetches about 500 MB the first time
	$(VENV)/bin/python -m pytest -m weights $(PYTEST_ARGS)

test-export: $(VENV)/.installed-dev  ## pass those of the exported default model, also in a Chromium, by npm's onnxruntime-web; minutes
	$(VENV)/bin/python -m pytest -n 0 -m export $(PYTEST_ARGS)

test-ray: $(VENV)/.installed-dev  ## pass those of a Ray cluster, two nodes on this machine; installs Ray (240 MB)
	$(PIP) install -e '.[dev,ray]'
	$(VENV)/bin/python -m pytest -m ray $(PYTEST_ARGS)

test-label-studio: $(VENV)/.installed-dev $(LABEL_STUDIO_VENV)/.installed  ## go the whole way with the real Label Studio (1 GB); needs a Chromium
	LABEL_STUDIO_VENV=$(LABEL_STUDIO_VENV) LABEL_STUDIO_SCREENSHOT=$(LABEL_STUDIO_SCREENSHOT) $(VENV)/bin/python -m pytest -n 0 -p no:randomly --durations=0 -m label_studio $(PYTEST_ARGS)

test-hostile: $(VENV)/.installed-dev  ## read 1,300 hostile files, data sets and checkpoints; minutes
	$(VENV)/bin/python tests/hostile/run_hostile.py

test-kill: $(VENV)/.installed-dev  ## kill commands at 20 moments each, and fill their disk; minutes
	$(VENV)/bin/python tests/kill/run_kills.py

check: $(VENV)/.installed-dev  ## lint and type-check
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

lock: $(VENV)/.installed-dev  ## write requirements.lock from pyproject.toml and constraints.txt
	$(PIP) install uv
	sed -n '/^#/p' requirements.lock > requirements.lock.new
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --constraints constraints.txt --universal \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --quiet >> requirements.lock.new
	mv requirements.lock.new requirements.lock

sbom: $(VENV)/.installed-dev  ## write a bill of materials from requirements.lock: sbom.json
	$(VENV)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o sbom.json

audit: $(VENV)/.installed-dev  ## ask for known vulnerabilities of what requirements.lock pins; needs a network
	$(PIP) install pip-audit
	$(VENV)/bin/pip-audit --requirement requirements.lock --disable-pip

fix: $(VENV)/.installed-dev  ## format, and repair what can be repaired
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(LABEL_STUDIO_VENV) $(DEMO_OUT)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps make the second run take seconds: pip runs again only when what it installs from has changed.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -e '.[dev]'
	@touch $(VENV)/.installed $@

$(LABEL_STUDIO_VENV)/.installed: Makefile
	$(PYTHON) -m venv $(LABEL_STUDIO_VENV)
	$(LABEL_STUDIO_VENV)/bin/pip install label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@
