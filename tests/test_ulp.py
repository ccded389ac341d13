"""The compiled engines' functions are as exact as docs/accuracy.md says, over all of float32 and in every build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ulp import FUNCTIONS

BOTH = {
    "exp": 2, "log": 1, "sqrt": 0.5, "sin": 3, "cos": 3, "sigmoid": 3, "elu": 2, "softplus": 3, "silu": 4, "softmax": 4,
}  # fmt: skip
BOUNDS = {"cython": {**BOTH, "tanh": 3, "gelu": 7}, "numba": {**BOTH, "tanh": 3, "gelu beside x": 3e-7}}


def _check(engine: str, **environment: str) -> None:
    command = [sys.executable, "-P", Path(__file__).with_name("ulp.py"), engine]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    errors = json.loads(done.stdout)
    assert errors.keys() == FUNCTIONS.keys()
    worse = {name: (errors[name], bound) for name, bound in BOUNDS[engine].items() if not errors[name] <= bound}
    assert not worse, "function: (error, bound)"


def _builds() -> list[str]:
    try:
        from dlcore.kernels.native import core
    except ImportError:
        return []
    return list(core.runnable_isas())


@pytest.mark.parametrize("isa", _builds())
def test_native_functions(isa: str) -> None:
    _check("cython", DLCORE_ISA=isa)


def test_numba_functions() -> None:
    pytest.importorskip("numba")
    _check("numba")
