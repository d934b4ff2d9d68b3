# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11, 3.12 or 3.13 with its module
# venv and, to render without a screen, Mesa's software EGL; .ci/prepare installs what is missing, or says how, before
# all else.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

export OMP_WAIT_POLICY := passive
export HF_HUB_OFFLINE := 1

.PHONY: demo test check lint clean prepared

demo: .venv/installed
	$(BIN)/handeye improve configs/demo.yaml --out $(OUT) --overwrite

test: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal

check: lint
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.venv/installed: pyproject.toml | prepared
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[dev,robotics,metaworld]'
	@touch $@

prepared:
	@.ci/prepare $(if $(wildcard .venv/installed),$(BIN)/python,$(PYTHON))

clean:
	rm -rf .venv runs
