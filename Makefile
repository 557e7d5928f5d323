# GNU make. `make` alone lists what there is; `make book` is the one command a fresh machine needs.

VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.complete
PIPELINE := $(PY) -m book.pipeline
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
JOBS ?= 2
PORT ?= 8000
PROFILE ?= quick

# What a reader types is data. It is taken as it stands, unexpanded, and reaches Python through
# the environment; no recipe mentions it, so neither make nor a shell ever reads it.
override NAME := $(value NAME)
override PARAMS := $(value PARAMS)
override PROFILE := $(value PROFILE)
override HELP := $(value HELP)
override SCHEDULER := $(value SCHEDULER)
override CELL_MINUTES := $(value CELL_MINUTES)
export NAME PARAMS PROFILE HELP SCHEDULER CELL_MINUTES

# Under `make -j` a sub-make shares the jobs that were asked for; otherwise it gets its own.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup book pdf chapter sweep test lint bench serve clean

help:
	@echo "make book                 install what is needed, run every chapter, build _build/html"
	@echo "     book PROFILE=paper   the same with the values of book/params/paper.yml"
	@echo "     pdf                  the whole book as one document, _build/book.pdf"
	@echo "     chapter NAME=03_landscape PARAMS=\"sigma_sq=0.5 seed=3\""
	@echo "                          run one chapter with your values, on a page of its own;"
	@echo "                          _build/chapters/index.html lists all such pages"
	@echo "     chapter NAME=03_landscape HELP=1"
	@echo "                          say what a chapter's parameters are, with ranges and units"
	@echo "     sweep PROFILE=laptop train the table's deep VAEs, or go on where it was interrupted:"
	@echo "                          quick (minutes), laptop (hours), paper (a GPU);"
	@echo "                          for CelebA: celeba-quick, celeba-laptop, celeba-long,"
	@echo "                          celeba-paper;"
	@echo "                          SCHEDULER=tcp://host:port uses the workers of a Dask cluster"
	@echo "     test                 the tests, of the library, the pipeline and the built pages"
	@echo "     lint                 check the style of all code, chapters included"
	@echo "     bench                time the code; fails where a row is over its target"
	@echo "     serve                show the book at http://localhost:$(PORT)"
	@echo "     clean                delete everything that was built (not the installed packages)"
	@echo "PYTHON=... chooses the interpreter, JOBS=... how many chapters run side by side ($(JOBS)),"
	@echo "CELL_MINUTES=... how long a cell may take (30 in the published book, with other values a day)."

setup: $(STAMP)

# The stamp is written last: an installation that failed half-way is taken up again.
$(STAMP): requirements.txt constraints.txt pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: the book needs Python 3.11 or 3.12; say which: make PYTHON=/path/to/python" \
	    >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || \
	  echo "warning: the packages are pinned for Python 3.11 and 3.12, and this one is newer;" \
	    "if they do not install, say which: make PYTHON=/path/to/python" >&2
	@"$(PY)" -c 'import pip' 2>/dev/null || "$(PYTHON)" -m venv --clear "$(VENV)"
	@echo "Installing the packages of requirements.txt into $(VENV) (some minutes) ..."
	"$(PY)" -m pip install --quiet --disable-pip-version-check -r requirements.txt \
	  -c constraints.txt
	"$(PY)" -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch "$@"

# First everything is checked and the chapters without current outputs are listed; the data are
# fetched, so that no two chapters do it at once; then the chapters run side by side, each its own
# target, so that one which fails does not stop the others; then the pages.
book: setup
	@mkdir -p _build
	@$(PIPELINE) stale > _build/stale.txt
	@[ ! -s _build/stale.txt ] || { $(PY) -m vae_lib.data && \
	  $(MAKE) --no-print-directory --keep-going $(PARALLEL) $$(sed 's|^|execute/|' _build/stale.txt); }
	@$(PIPELINE) render

# Printed by the browser that the tests of the site use.
pdf: book
	@$(PY) -m book.pipeline.chromium
	@$(PIPELINE) pdf

execute/%: setup
	@$(PIPELINE) execute "$*"

chapter: setup
	@$(PIPELINE) chapter

sweep: setup
	@$(PY) -m vae_lib.sweep "$$PROFILE"

# The tests of the site come last: they look at the book in a browser.
test: setup
	$(PY) -m pytest -n $(JOBS) --dist worksteal tests --ignore=tests/site
	$(MAKE) --no-print-directory book
	$(PY) -m book.pipeline.chromium
	$(PY) -m pytest -n $(JOBS) --dist loadfile tests/site

CODE := vae_lib tests book/pipeline

# ruff does not read MyST, so the chapters are checked as the notebooks that they become. Their
# code is narrower than the library's, so that it fits the pages' column.
lint: setup
	$(PY) -m ruff check $(CODE)
	$(PY) -m ruff format --check $(CODE)
	@rm -rf _build/lint
	@$(PIPELINE) notebooks _build/lint
	$(PY) -m ruff check --no-respect-gitignore _build/lint
	$(PY) -m ruff format --diff --line-length 78 --no-respect-gitignore _build/lint
	@for source in $$(grep -l '{code-cell}' book/*.md); do \
	  $(PY) -m jupytext --quiet --test --from md:myst --to ipynb "$$source" || exit 1; \
	done

bench: setup
	$(PY) -m tests.bench

serve: setup
	@[ -f _build/html/index.html ] || { echo "error: run 'make book' first" >&2; exit 1; }
	$(PY) -m http.server --directory _build/html --bind 127.0.0.1 $(PORT)

clean:
	rm -rf _build .pytest_cache .ruff_cache
