# Everything from a fresh machine that has Python 3.11 to 3.13, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTERS := 3  # test processes on two cores, as some wait; each takes up to 4 GB of memory
READY := $(VENV)/.ready

.PHONY: all demo test test-long check docs lock wheel clean

all: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "tledge needs Python 3.11 to 3.13; this is %d.%d: make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The whole line on what ships with tledge: no network, no download.
demo: $(READY)
	$(BIN)/tledge build --dataset digits --backbone bundled
	$(BIN)/tledge export --format all
	$(BIN)/tledge verify

test: $(READY)
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder -m "not long"

# What takes minutes or needs an environment of its own, such as other programs' runtimes.
test-long: $(READY)
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder -m long

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, into site/; a dead link or a page that no navigation names is an error.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Pin again, for every supported Python; needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

wheel: $(READY)
	$(BIN)/python -m hatchling build --target wheel

clean:
	rm -rf $(VENV) dist site
