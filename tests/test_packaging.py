"""What a plain `import dlcore` costs and loads, and that what is in the tree is what gets installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("numba", "scipy", "cupy", "matplotlib", "tqdm", "safetensors", "torch", "keras", "importlib.metadata")
TOP = {"dlcore": "dlcore", "backends": "dlcore.backends", "kernels": "dlcore.kernels"}


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return result.stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import dlcore",
        "import dlcore; dlcore.Tensor; dlcore.Sequential; dlcore.layers, dlcore.optimizers, dlcore.callbacks",
        "from dlcore import datasets, losses, metrics, functional",
        "import dlcore.cli",
    ],
)
def test_import_loads_nothing_heavy(statement):
    loaded = run(f"import sys; before = set(sys.modules)\n{statement}\nprint(*(set(sys.modules) - before))").split()
    # what NumPy itself imports is not ours to avoid
    assert not set(HEAVY) & set(loaded) - set(run("import sys, numpy; print(*sys.modules)").split())


def test_import_starts_no_engine():
    code = "import dlcore, dlcore.layers, sys; print(*(m for m in sys.modules if m.startswith('dlcore.kernels.')))"
    assert run(code) == ""


def test_import_is_quick():
    def seconds(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return float(run(code))

    seconds("dlcore")  # writes bytecode
    numpy, ours = zip(*((seconds("numpy"), seconds("dlcore")) for _ in range(5)), strict=True)
    assert min(ours) <= 1.3 * min(numpy)


@pytest.mark.skipif(not (ROOT / "setup.py").is_file(), reason="not in a checkout")
def test_every_package_is_installed():
    listed = (ROOT / "setup.py").read_text()
    missing = []
    for top, name in TOP.items():
        for folder in (ROOT / top, *(ROOT / top).rglob("*")):
            if folder.is_dir() and any(folder.glob("*.py")):
                package = ".".join((name, *folder.relative_to(ROOT / top).parts))
                if f'"{package}"' not in listed:
                    missing.append(package)
    assert not missing


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not in a checkout")
def test_entry_points_are_those_of_the_registry():
    from dlcore.backends.registry import _BUILT_IN

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["dlcore.backends"] == _BUILT_IN


def test_data_files_are_installed():
    from dlcore.datasets import digits

    folder = Path(digits.__file__).parent
    assert {"digits.npz", "DIGITS.txt"} <= {path.name for path in folder.iterdir()}
    assert (folder.parent / "py.typed").is_file()
