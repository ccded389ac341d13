"""What needs an extra says, where that is not installed, which one to install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
NEEDED = {  # what is missing -> (extras that bring it, what asks for it)
    "matplotlib": (["plots"], "dl.plots.activation('relu')"),
    "h5py": (["keras-files"], "dl.io.load_keras_weights(dl.applications.MLP((2,)), 'net.weights.h5')"),
    "numba": (["numba"], "dl.use_backend('numba')"),
    "cupy": (["cuda12", "cuda13"], "dl.use_backend('cupy')"),
}


@pytest.mark.parametrize("module", NEEDED)
def test_says_which_extra(module):
    extras, asking = NEEDED[module]
    code = f"import sys; sys.modules[{module!r}] = None\nimport dlcore as dl\n{asking}"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert all(f"dlcore[{extra}]" in last for extra in extras), result.stderr
    if PROJECT.is_file():
        known = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
        assert all(any(need.startswith(module) for need in known[extra]) for extra in extras)
