# make run: simulated logs -> blessed, pushed SavedModel.   make test: every test.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH_VENV := .venv-torch
TORCH_STAMP := $(TORCH_VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.PHONY: help install run test test-flink test-java test-browser pictures bench bench-data bench-serving lint lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

install: $(STAMP)  ## create .venv with the pinned packages

$(STAMP): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet -r requirements.txt
	@touch $@

run: $(STAMP)  ## the whole pipeline on the built-in simulator's logs
	$(BIN)/python pipeline.py run --config configs/simulator.yaml

test: $(STAMP)  ## the whole test suite, on two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-flink: $(STAMP)  ## ExampleGen and Transform on Apache Flink (Java 17, Maven): the same bytes
	$(BIN)/python -m pytest tests_flink

test-java: $(STAMP)  ## the SavedModel in TensorFlow Java (Java 17, Maven): the same numbers
	$(BIN)/python -m pytest tests_java

test-browser: $(STAMP)  ## report, tuning report and TensorBoard in chromium (chromium and chromedriver)
	$(BIN)/python -m pytest tests_browser

pictures: $(STAMP)  ## the pictures of the README, docs/images/, of a run and a study of the simulator
	$(BIN)/python -m pytest tests_browser/test_pictures.py --pictures docs/images

bench: $(STAMP) $(TORCH_STAMP)  ## speed of training beside PyTorch, Keras and TFRS; writes docs/performance.md
	$(BIN)/python -m benchmarks.train

$(TORCH_STAMP): benchmarks/train/requirements-torch.txt
	$(PYTHON) -m venv $(TORCH_VENV)
	$(TORCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench-data: $(STAMP)  ## speed and memory of ExampleGen, Transform and reading, beside plain polars
	$(BIN)/python -m benchmarks.data

bench-serving: $(STAMP) $(TORCH_STAMP)  ## milliseconds of a request beside PyTorch; writes docs/performance-serving.md
	$(BIN)/python -m benchmarks.serving

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: $(STAMP)  ## pin requirements.in into requirements.txt
	$(BIN)/uv pip compile --quiet --python-version 3.11 requirements.in -o requirements.txt

clean:  ## remove the environment and local runs
	rm -rf $(VENV) $(TORCH_VENV) runs
