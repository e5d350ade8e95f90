# Everything runs in .venv, which is made and filled on demand: Python 3.11 or later, cargo and make
# are all that must be there before. `make PYTHON=python3.13 test` chooses the interpreter.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python

# What the extension is built from. The README and the licences are part of its metadata.
SOURCES := pyproject.toml Cargo.toml README.md $(wildcard Cargo.lock LICENSE-*) $(shell find src -type f)

# maturin and basedpyright take their interpreter from the environment, never from outside .venv.
export VIRTUAL_ENV := $(abspath $(VENV))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The backend is maturin, by way of tools/build_backend.py.
export MATURIN_NO_MISSING_BUILD_BACKEND_WARNING := 1
unexport CONDA_PREFIX PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help build demo test rust-tests check bench bench-portable bench-full lint lint-rust lint-python format wheel clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "softlane needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip "maturin>=1.9,<2"
	@touch $@

# The release extension in .venv, and the extras that a target needs: .built-demo,test has both. Each build leaves its
# assembly, so that what is checked is what runs, and all have the same flags, so that none is done twice.
$(VENV)/.built: $(SOURCES) $(VENV)/.created
	$(BIN)/maturin develop --release -- --emit asm
	@touch $@

$(VENV)/.built-%: $(SOURCES) $(VENV)/.created
	$(BIN)/maturin develop --release --extras $* -- --emit asm
	@touch $@ $(VENV)/.built

build: $(VENV)/.built ## Build the release extension into .venv

demo: $(VENV)/.built-demo ## A network learns to read digits; a picture of what softmax does in it
	$(BIN)/softlane demo

# The two long compilations side by side, and the Rust tests as soon as theirs is done; then the Python tests on all
# cores. Tests that lie together share what they make, so each worker begins with a stretch of them, and takes some of a
# neighbour's when it is done. Two matrix products on all cores at a time wait for each other for most of it: BLAS has
# one thread.
test: ## Every test: Rust, Python, types, rules, assembly
	$(MAKE) -j2 $(VENV)/.built-demo,test,lint rust-tests
	$(MAKE) check
	OPENBLAS_NUM_THREADS=1 $(PY) -m pytest -n logical --maxprocesses 8 --dist worksteal

rust-tests:
	cargo test --profile tests

# What can be said without running a kernel.
check: $(VENV)/.built-demo,test,lint
	$(PY) tools/check_rules.py --self-test
	$(PY) tools/check_rules.py
	$(PY) tools/check_assembly.py --self-test
	$(PY) tools/check_assembly.py
	$(PY) -m mypy.stubtest --mypy-config-file pyproject.toml softlane
	$(PY) -m mypy python
	# NumPy's own types are not complete; ours must be.
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/basedpyright --verifytypes softlane --ignoreexternal

bench: $(VENV)/.built-bench ## Side by side with SciPy, JAX, ONNX Runtime and PyTorch, in two minutes
	$(PY) -m benches.python

bench-portable: ## The kernels as ARM runs them, beside AVX2: compiled for x86-64-v3, where FMA is part of the target, too
	RUSTFLAGS="-C target-cpu=x86-64-v3" cargo bench --target-dir target/portable -- '^softmax.*/(avx2|portable)/'

bench-full: $(VENV)/.built-bench ## All of it, in half an hour
	$(PY) -m benches.python --full

lint: $(VENV)/.built-demo,test,lint ## Formatting and static analysis
	$(MAKE) -j2 lint-rust lint-python

lint-rust:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	PYO3_PYTHON=$(abspath $(PY)) cargo clippy --all-targets --features python -- -D warnings

lint-python:
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(PY) -m mypy python tests benches tools examples

format: $(VENV)/.built-demo,test,lint ## Format every source
	cargo fmt
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: $(VENV)/.created ## A wheel in dist/
	$(BIN)/maturin build --release --compression-level 9 --out dist -- --emit asm

clean: ## Remove what was built, .venv included
	rm -rf $(VENV) target dist
	rm -f python/softlane/_core*.so python/softlane/_core*.pyd
