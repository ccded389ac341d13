# make demo and make test need nothing but Python 3.11 (with venv and headers) and a C compiler; all else they install
# into .venv. What was installed is redone only when the build's sources change.

PYTHON = python3
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet
REQUIRE = --require-backend=numpy --require-backend=numba --require-backend=cython
PYTEST_ARGS =
PEERS_ARGS =
BUILD = pyproject.toml setup.py kernels/native/*.c kernels/native/*.h kernels/native/*.pyx kernels/native/*.pxi

GPU_TESTS = tests/test_conformance.py tests/test_gradients.py tests/test_replay.py tests/test_cupy_training.py tests/test_no_elements.py

.PHONY: help demo test lint docs bench sanitize test-gpu bench-gpu test-emulated-gpu clean

help:
	@echo "make demo      build, train LeNet-5 on real digits on every engine, compare speeds; results in out/"
	@echo "make test      build and run the tests"
	@echo "make lint      formatting, style and types"
	@echo "make docs      the documentation as a site, in out/docs; a warning is an error"
	@echo "make bench     time every primitive and small models on every engine, and models beside other libraries;"
	@echo "               PEERS_ARGS=--slow adds the large ones"
	@echo "make sanitize  run the conformance table under AddressSanitizer and UBSan"
	@echo "make test-gpu  the same tests for the cupy engine on your NVIDIA GPU, and a training run on it"
	@echo "make bench-gpu time every primitive and small models on it, beside its ceilings and PyTorch"
	@echo "make test-emulated-gpu"
	@echo "               those tests with the real CuPy on a device emulated on the CPU (Linux, x86-64, g++)"
	@echo "make clean     remove what was built, .venv included"

demo: .venv/.installed-demo
	@mkdir -p out
	@.venv/bin/dlcore backends
	@for engine in $$(.venv/bin/dlcore backends --names); do \
		echo; echo "== LeNet-5 on handwritten digits, engine $$engine"; \
		.venv/bin/dlcore train --backend $$engine --data digits --model lenet5 --epochs 15 --seed 0 \
			--optimizer sgd --learning-rate 0.1 --momentum 0.9 --cosine \
			--save out/lenet5-$$engine.safetensors --plot out/lenet5-$$engine.png || exit 1; \
	done
	@echo; echo "== Test accuracy of the saved weights"
	@for engine in $$(.venv/bin/dlcore backends --names); do \
		.venv/bin/dlcore evaluate --backend $$engine --data digits --model out/lenet5-$$engine.safetensors || exit 1; \
	done
	@echo; echo "== Speed"
	@.venv/bin/dlcore bench
	@echo; echo "Weights and training curves are in out/."

test: .venv/.installed-test
	.venv/bin/pytest $(REQUIRE) $(PYTEST_ARGS)

# kernels/ and backends/ are imported as dlcore.kernels and dlcore.backends; mypy is shown a tree where they lie there.
lint: .venv/.installed-lint
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	rm -rf build/typecheck
	mkdir -p build/typecheck/dlcore
	cd build/typecheck/dlcore && ln -s ../../../dlcore/* ../../../backends ../../../kernels .
	cd build/typecheck && ../../.venv/bin/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p dlcore
	cd bench && MYPYPATH=.:../build/typecheck ../.venv/bin/mypy --config-file ../pyproject.toml --explicit-package-bases --cache-dir ../.mypy_cache \
		peers.py ceilings.py report.py contenders

docs: .venv/.installed-docs
	.venv/bin/mkdocs build --quiet --clean

bench: .venv/.installed-bench
	@mkdir -p out
	.venv/bin/pytest bench --benchmark-only --benchmark-quiet --benchmark-disable-gc --benchmark-max-time=0.3 \
		--benchmark-json=out/bench.json
	@.venv/bin/python bench/report.py out/bench.json
	.venv/bin/python bench/bandwidth.py
	.venv/bin/python bench/engines.py
	.venv/bin/python bench/peers.py $(PEERS_ARGS)

sanitize: .venv/.installed-test
	$(PIP) 'setuptools>=77' 'cython>=3.1'
	sh tests/sanitize.sh

# CUDA=12 for drivers older than 580.
CUDA = 13
test-gpu: .venv/.installed-cuda$(CUDA)
	.venv/bin/dlcore backends
	.venv/bin/pytest --require-backend=cupy -m gpu $(GPU_TESTS) $(PYTEST_ARGS)
	.venv/bin/dlcore train --backend cupy --data digits --model lenet5 --epochs 3

bench-gpu: .venv/.installed-cuda$(CUDA)
	.venv/bin/python bench/gpu.py

# CuPy's wheels exclude each other, and this one is for AMD's GPUs, so it has an environment of its own, which looks for
# dlcore where .venv does: in this folder, native engine included.
test-emulated-gpu: .venv-gpu/.installed
	.venv-gpu/bin/python -P tests/gpu_emulation/device/run.py \
		pytest --require-backend=cupy -m gpu $(GPU_TESTS) $(PYTEST_ARGS)

clean:
	rm -rf .venv .venv-gpu build dist out .mypy_cache .pytest_cache .ruff_cache *.egg-info
	rm -f kernels/native/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed-lint: .venv/bin/python pyproject.toml
	$(PIP) ruff==0.17.* mypy==2.4.* numpy
	@touch $@

.venv/.installed-docs: .venv/bin/python pyproject.toml
	$(PIP) mkdocs==1.6.* 'mkdocstrings[python]==1.*'
	@touch $@

.venv/.installed-demo: .venv/bin/python $(BUILD)
	@echo "installing dlcore into .venv: builds the native engine, takes a minute or two"
	$(PIP) -e '.[numba,plots]'
	@touch $@

.venv/.installed-test: .venv/bin/python $(BUILD)
	@echo "installing dlcore into .venv: builds the native engine, takes a minute or two"
	$(PIP) -e '.[test]'
	@touch $@ .venv/.installed-demo

.venv/.installed-bench: .venv/bin/python $(BUILD)
	@echo "installing dlcore into .venv: builds the native engine, takes a minute or two"
	$(PIP) -e '.[bench]'
	@touch $@ .venv/.installed-test .venv/.installed-demo

.venv/.installed-cuda$(CUDA): .venv/.installed-test
	$(PIP) -e '.[bench,cuda$(CUDA)]'
	@touch $@ .venv/.installed-test .venv/.installed-demo

.venv-gpu/.installed: .venv/.installed-test
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python -m pip --disable-pip-version-check install --quiet 'cupy-rocm-7-0==14.*' numpy safetensors tqdm pytest
	cp -r .venv/lib/python3*/site-packages/*dlcore* .venv-gpu/lib/python3*/site-packages/
	@touch $@
