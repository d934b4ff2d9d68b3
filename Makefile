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

test: .venv/installed .venv/families
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

# What only the processors of some model families need, aside: with this torchvision, for CUDA, beside a torch for CPUs,
# transformers does not import. Without it, the tests of those families are skipped.
.venv/families: .venv/installed
	-$(BIN)/pip install --quiet --no-deps --target $@ 'torchvision==0.28.*' num2words docopt

prepared:
	@.ci/prepare $(if $(wildcard .venv/installed),$(BIN)/python,$(PYTHON))

clean:
	rm -rf .venv runs
