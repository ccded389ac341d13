"""Model and weight files, damaged anywhere: loaded as they were or refused with a ValueError, never anything else."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

import dlcore as dl
from dlcore import layers


def small():
    dl.set_random_seed(0)
    return dl.Sequential([
        layers.Input((6, 6, 1)), layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), layers.Dense(3),
    ])  # fmt: skip


def whole_model(path):
    model = small()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 6, 6, 1), np.float32), np.zeros((4, 3), np.float32), verbose=0)
    model.save(path)
    return lambda: dl.load_model(path)


def weights(path):
    small().save_weights(path)
    model = small()
    return lambda: model.load_weights(path)


def torch_weights(path):
    shapes = {"0.weight": (2, 1, 3, 3), "0.bias": (2,), "2.weight": (3, 32), "2.bias": (3,)}
    save_file({name: np.ones(shape, np.float32) for name, shape in shapes.items()}, path)
    model = small()
    return lambda: dl.io.load_torch_weights(model, path)


def keras_weights(path):
    h5py = pytest.importorskip("h5py")
    model = small()
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            for i, value in enumerate(layer.get_weights()):
                file[f"layers/{layer.name.rpartition('_')[0] or layer.name}/vars/{i}"] = value
    return lambda: dl.io.load_keras_weights(model, path)


KINDS = {
    "whole.safetensors": whole_model, "weights.safetensors": weights, "torch.safetensors": torch_weights,
    "keras.weights.h5": keras_weights,
}  # fmt: skip


def damaged(data: bytes, rng: np.random.Generator, trial: int) -> bytes:
    """The end cut off, or bytes changed, half of them where a file says what it holds."""
    if trial % 4 == 0:
        return data[: int(rng.integers(len(data)))]
    broken = bytearray(data)
    for place in rng.integers(len(data) if trial % 2 else min(len(data), 3000), size=1 + trial % 3):
        broken[place] = int(rng.integers(256))
    return bytes(broken)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_damage_anywhere_is_a_value_error_or_does_no_harm(name, tmp_path):
    path = tmp_path / name
    load = KINDS[name](path)
    load()
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(240):
        path.write_bytes(damaged(data, rng, trial))
        try:
            load()
        except ValueError:
            refused += 1
    assert refused >= 60, "at least what was cut off"
