"""LeNet-5 on real images: what a run of the command line's recipe reaches on held-out data, on every CPU engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import datasets, optimizers
from dlcore.applications import LeNet5
from dlcore.datasets import fashion_mnist

pytestmark = pytest.mark.slow


def _trained_accuracy(train, test, epochs: int, batch_size: int) -> float:
    """Stochastic gradient descent, rate 0.1 falling to 0 along half a cosine, momentum 0.9, seed 0."""
    dl.set_random_seed(0)
    model = LeNet5(train[0].shape[1:])
    steps = epochs * -(-len(train[0]) // batch_size)
    rate = optimizers.schedules.CosineDecay(0.1, steps)
    model.compile(optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*train, batch_size=batch_size, epochs=epochs, verbose=0)
    return model.evaluate(*test, verbose=0)[1]


def test_lenet5_on_digits(active_backend):
    train, test = datasets.digits.load_data(image_size=(32, 32))
    assert _trained_accuracy(train, test, epochs=15, batch_size=32) >= 0.98


@pytest.mark.parametrize("backend", ["cython"], indirect=True)
def test_lenet5_on_fashion_mnist(active_backend):
    debian = Path("/usr/share/datasets/fashion-mnist")
    if not debian.exists():
        pytest.skip("Fashion-MNIST is not installed (Debian: apt install dataset-fashion-mnist)")
    (x, y), (xt, yt) = fashion_mnist.load_data(path=debian)
    x, xt = (images[..., None].astype(np.float32) / 255 for images in (x, xt))
    assert _trained_accuracy((x, y), (xt, yt), epochs=10, batch_size=64) >= 0.895
