"""Memory: a training step needs no more of it than PyTorch's, and ten thousand need no more than the first ones."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import backend_or_skip

BENCH = Path(__file__).parent.parent / "bench"
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="memory at its peak is read from Linux's /proc"
)

# Kilobytes from /proc/self/status; the peak is counted from `forget_peak` on.
_STATUS = """
import gc, sys

def status(which):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(which))

def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
"""

_STEPS = """
sys.path.insert(0, {bench!r})
from importlib import import_module
from cases import CASES
case = CASES[{case!r}]
variants = import_module("contenders." + {module!r}).variants
forget_peak()
before = status("VmRSS")
build = list(variants({contender!r}, 2, case, case.network.weights(), *case.data()).values())[{variant}]
step = build().step
for _ in range(4):
    step()
print(status("VmHWM") - before)
"""


def _run(code: str) -> list[int]:
    done = subprocess.run([sys.executable, "-P", "-c", _STATUS + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(word) for word in done.stdout.split()]


def _peak(case: str, module: str, contender: str, variant: int = 0) -> int:
    code = _STEPS.format(bench=str(BENCH), case=case, module=module, contender=contender, variant=variant)
    return _run(code)[0]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
@pytest.mark.parametrize("case", ["VGG-16 32² train 32", "ResNet-18 32² train 32"])
def test_training_steps_peak_no_higher_than_in_pytorch(case: str, request: pytest.FixtureRequest) -> None:
    """Four steps each in a process of its own, from before the model is built; PyTorch in the better of two layouts."""
    backend_or_skip("cython", request.config)
    ours = _peak(case, "keras_like", "dlcore")
    theirs = min(_peak(case, "torch", "torch", variant) for variant in range(2))
    assert ours <= theirs, f"{ours >> 10} MiB against {theirs >> 10} MiB"


_MANY_STEPS = """
import numpy as np
import dlcore as dl
from dlcore import layers
dl.use_backend({engine!r})
model = dl.Sequential([
    layers.Input((8,)), layers.Dense(16, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2),
    layers.Dense(4, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(0)
x, y = rng.standard_normal((16, 8)).astype("float32"), rng.integers(0, 4, 16).astype("int32")

def train(steps):
    for _ in range(steps):
        model.train_on_batch(x, y)
    gc.collect()
    return status("VmRSS")

early = train(1000)
print(train(10_000) - early)
"""


@pytest.mark.parametrize("engine", ["numpy", "numba", "cython"])
def test_ten_thousand_steps_need_no_more_memory_than_the_first_thousand(
    engine: str, request: pytest.FixtureRequest
) -> None:
    backend_or_skip(engine, request.config)
    (growth,) = _run(_MANY_STEPS.format(engine=engine))
    assert growth < 1024, f"{growth} KiB"
