# Everything the project needs it sets up itself, in .venv; nothing else on the machine is changed.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Wheels that pip is told to look at (a CPU build of torch, say) are seen by uv as well.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_LINK_MODE ?= copy

.PHONY: help setup demo test test-fast test-kills lint format docs pins bench bench-evals aider sae-bench clean

help:
	@echo "make demo   set up and run the scripted campaign on the embedded model (first time about 25 min, then 10)"
	@echo "make test   set up and run the tests"
	@echo "make test-fast  the tests that take little time, before every commit"
	@echo "make test-kills  kill a campaign's launcher 100 times (about 10 min)"
	@echo "make lint   ruff, mypy and the import contracts"
	@echo "make docs   the documentation as a site, in site/"
	@echo "make bench  our edit engine beside aider's"
	@echo "make bench-evals  the evaluations beside SAEBench's, in an environment of its own (about 10 min)"
	@echo "make aider  an environment of its own for --editor aider"
	@echo "make clean  remove the environments and caches of this folder"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; give one with make PYTHON=python3.12"; exit 2; }
	@command -v git >/dev/null || { echo "error: git is not installed; install it (on Debian: apt install git)"; exit 2; }
	@echo "Setting up $(VENV): about 1 minute, 2 GB (with a CUDA build of torch: several minutes, 8 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt -e .
	@touch $@

demo: setup
	@$(BIN)/python -m agent.launch --idea hierarchical_orthogonal_sae --model script
	@$(BIN)/python -m agent.writeup "$$(ls -td runs/*_hierarchical_orthogonal_sae | head -1)" --model script

PYTEST := $(BIN)/python -m pytest tests --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	--durations=10

test: setup
	@$(PYTEST)

test-fast: setup
	@$(PYTEST) -m "not slow"

# A launcher killed 100 times, with the seed that KILL_SEED names.
test-kills: setup
	@KILLS=100 $(BIN)/python -m pytest tests/agent/test_unkillable.py --log-cli-level=INFO

# DOC102, an argument that a docstring has and its function has not, ruff has only in its preview.
lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/ruff check --quiet --preview --select DOC102 .

format: setup
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

# Strict: a link that leads nowhere is an error.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# requirements.txt anew; what belongs to one build of torch is left to torch.
pins: setup
	@$(BIN)/uv pip compile --quiet pyproject.toml --group dev -o requirements.txt --no-header --no-annotate
	@sed -i -E '/^(cuda-|nvidia-|triton==)/d' requirements.txt

bench: setup
	@$(BIN)/python -m bench.edit
	@$(BIN)/python -m bench.sandbox
	@$(BIN)/python -m bench.writeup
	@$(BIN)/python -m bench.integrity

bench-evals: sae-bench
	@$(BIN)/python -m bench.evals

# aider pins 108 packages exactly, so it gets an environment that nothing else has to agree with.
aider: .aider-venv/.ready

.aider-venv/.ready: $(VENV)/.ready
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .aider-venv
	@$(BIN)/uv pip install --quiet --python .aider-venv/bin/python aider-chat==0.86.2
	@touch $@

# SAEBench needs NumPy 1 and transformers 4.
sae-bench: .sae-bench-venv/.ready

.sae-bench-venv/.ready: $(VENV)/.ready bench/evals/requirements.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .sae-bench-venv
	@$(BIN)/uv pip install --quiet --compile-bytecode --python .sae-bench-venv/bin/python -r bench/evals/requirements.txt
	@touch $@

clean:
	@rm -rf $(VENV) .aider-venv .sae-bench-venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* site
