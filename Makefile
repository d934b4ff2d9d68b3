# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11 or newer and, to render without a
# screen, Mesa's software EGL (on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri).
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

export OMP_WAIT_POLICY := passive
export HF_HUB_OFFLINE := 1

.PHONY: demo test lint clean

demo: .venv/installed
	$(BIN)/handeye improve configs/demo.yaml --out $(OUT) --overwrite

test: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[dev,robotics,metaworld]'
	@touch $@

clean:
	rm -rf .venv runs
