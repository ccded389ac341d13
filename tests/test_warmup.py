"""Kernels compiled ahead of time: after `dlcore.warmup` a training step compiles nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dlcore
from dlcore import Sequential, backends, cli, layers, random
from dlcore.applications import LeNet5

pytest.importorskip("numba")


def _compiled() -> dict[str, int]:
    from dlcore.kernels.jit.threads import LAUNCHERS

    return {f"{launch.__module__}.{launch.__name__}": len(launch.signatures) for launch in LAUNCHERS}


def test_every_kernel_is_compiled():
    # In a process of its own: what other tests have called counts for nothing.
    script = (
        "import dlcore; dlcore.warmup('numba'); from dlcore.kernels.jit.threads import LAUNCHERS;"
        "print(*[launch.__qualname__ for launch in LAUNCHERS if not launch.signatures])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.fixture(scope="module")
def warm() -> float:
    return dlcore.warmup("numba")


def _lstm():
    return Sequential([layers.Input((28, 28)), layers.LSTM(16), layers.Dense(10, activation="softmax")])


def _normalised():
    return Sequential(
        [
            layers.Input((12, 12, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.mark.parametrize(
    ("build", "shape"), [(lambda: LeNet5((32, 32, 1), 10), (32, 32, 1)), (_lstm, (28, 28)), (_normalised, (12, 12, 3))]
)
def test_training_compiles_nothing(warm, build, shape):
    before = _compiled()
    rng = np.random.default_rng(0)
    x, y = rng.random((32, *shape), np.float32), rng.integers(0, 10, 32)
    x.flags.writeable = False  # as a memory-mapped file is
    with backends.use_backend("numba"):
        random.set_seed(0)
        model = build()
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=20, epochs=1, verbose=0)  # a partial last batch too
        model.predict(x, verbose=0)
    after = _compiled()
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {}


def test_engines_without_a_compiler_have_nothing_to_do():
    assert dlcore.warmup("numpy", ("float32", "float64")) < 0.1


def test_active_engine_is_the_default():
    with backends.use_backend("numpy"):
        assert dlcore.warmup() < 0.1


def test_mistakes():
    with pytest.raises(ValueError, match="float32 or float64, got 'int8'"):
        dlcore.warmup("numpy", ("int8",))
    with pytest.raises(ValueError, match="unknown engine"):
        dlcore.warmup("nmba")


def test_command(warm, capsys):
    assert cli.main(["warmup", "--backend", "numba"]) == 0
    assert "numba: ready after" in capsys.readouterr().out
