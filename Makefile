# `make lab` and `make test` do all set-up themselves; a second call starts in seconds.

VENV := .venv
RUN := $(VENV)/bin/python -m

.PHONY: help lab test lint format docs bench papers screenshots clean

help:
	@echo "make lab          open the Explorer in JupyterLab (PORT=8888, or another)"
	@echo "make test         run all tests: unit, browser, notebooks"
	@echo "make lint         check style, format and types"
	@echo "make format       format the code"
	@echo "make docs         write docs/methods.md from the catalogue"
	@echo "make bench        measure the Explorer's latency (benchmarks/)"
	@echo "make papers       measure the published results again (up to an hour)"
	@echo "make screenshots  make the pictures of the README (docs/images/)"
	@echo "make clean        remove the virtual environment and everything made"

lab: $(VENV)/.ready-lab
	@$(RUN) compress_explorer.cli lab $(if $(PORT),--port $(PORT))

test: $(VENV)/.ready-test
	@$(RUN) scripts.install_browser
	OMP_NUM_THREADS=1 $(RUN) pytest -n auto

lint: $(VENV)/.ready-test
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: $(VENV)/.ready-test
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

docs: $(VENV)/.ready-test
	$(RUN) scripts.methods_page

bench: $(VENV)/.ready-test
	@$(RUN) scripts.install_browser
	$(RUN) benchmarks

papers: $(VENV)/.ready-test
	OMP_NUM_THREADS=1 $(RUN) compress_explorer.papers all

screenshots: $(VENV)/.ready-test
	@$(RUN) scripts.install_browser
	$(RUN) scripts.screenshots

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp lies inside the virtual environment, and goes with it.

$(VENV)/.made:
	@sh scripts/make_venv.sh $(VENV)
	@touch $@

$(VENV)/.ready-lab: $(VENV)/.made pyproject.toml constraints.txt
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e '.[lab]'
	@touch $@

$(VENV)/.ready-test: $(VENV)/.made pyproject.toml constraints.txt
	$(RUN) pip install --disable-pip-version-check -c constraints.txt -e '.[lab,test,dev]'
	@touch $@ $(VENV)/.ready-lab
