# Two commands on a fresh machine: `make demo` and `make test`. They need Python 3.11, 3.12 or 3.13 with its module
# venv and, to render without a screen, Mesa's software EGL; .ci/prepare installs what is missing, or says how, before
# all else.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

export OMP_WAIT_POLICY := passive
export HF_HUB_OFFLINE := 1

.PHONY: demo test check torture lint docs clean prepared

demo: .venv/installed
	$(BIN)/handeye improve configs/demo.yaml --out $(OUT) --overwrite

test: .venv/installed .venv/families
	$(BIN)/pytest -n 2 --dist worksteal --durations 15

check: lint
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# Crashes, failing disks, lost workers and damaged files, all of them: docs/reliability.md
torture: .venv/installed
	$(BIN)/python -m tests.reliability.every_point --lanes 2
	$(BIN)/python -m tests.reliability.flips --flips 1000
	$(BIN)/python -m tests.reliability.lost_workers --runs 10 --minutes 10
	[ "$$(id -u)" != 0 ] || $(BIN)/python -m tests.reliability.full_disk
	[ "$$(id -u)" != 0 ] || $(BIN)/python -m tests.hostile.missing
	$(BIN)/python -m tests.reliability.killing configs/demo.yaml --kills 50 --seed 0 $(SMALLER)

SMALLER := --set collect.starts=20 --set branch.starts=20 --set branch.env_steps=300 --set gate.episodes=20 \
	--set evaluation.episodes=10 --set sft.max_steps=40 --set select.critiques=100

# The site of the documentation, in site/; a broken link or anchor fails
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet -e '.[docs]'
	@touch $@

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
	rm -rf .venv runs site
