"""Initial values of weights: distributions are held against Keras in test_keras_layers."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import initializers, layers


def test_constants():
    assert (initializers.Zeros()((2, 3)) == 0).all()
    assert (initializers.Ones()((2, 3), "float64") == 1).all()
    assert (initializers.Constant(2.5)((2,)) == 2.5).all()
    np.testing.assert_array_equal(initializers.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (3, 3, 2, 8), (5, 5)])
def test_orthogonal(shape):
    q = initializers.Orthogonal()(shape, "float64").reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_truncated_normal_stays_within_two_deviations():
    values = initializers.TruncatedNormal(1.0, 0.5)((10000,))
    assert abs(values - 1).max() <= 1


@pytest.mark.parametrize("name", sorted(initializers._CLASSES))
def test_configs(name):
    shape = (4, 4)
    made = initializers._CLASSES[name]()
    config = initializers.serialize(made)
    twin = initializers.get(config)
    assert type(twin) is type(made)
    assert initializers.serialize(twin) == config
    assert made(shape).shape == shape
    assert made(shape, "float64").dtype == np.float64


def test_seeds():
    """A seed of its own repeats; the global seed repeats a whole run; float64 draws the same numbers as float32."""
    seeded = initializers.GlorotUniform(seed=4)
    np.testing.assert_array_equal(seeded((3, 4)), seeded((3, 4)))
    np.testing.assert_array_equal(seeded((3, 4)), seeded((3, 4), "float64").astype("float32"))
    dl.set_random_seed(5)
    first = [initializers.get("he_normal")((3, 4)) for _ in range(2)]
    dl.set_random_seed(5)
    again = [initializers.get("he_normal")((3, 4)) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_the_same_weights_on_every_engine(active_backend):
    def weights():
        dl.set_random_seed(7)
        return dl.Sequential(
            [layers.Input((9, 9, 2)), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(4)]
        ).get_weights()

    mine = weights()
    with dl.use_backend("numpy"):
        for a, b in zip(mine, weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_identifiers():
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    assert initializers.get(None) is None
    assert (initializers.get(np.ones(3))((3,)) == 1).all()
    layer = layers.Dense(2, kernel_initializer=lambda shape, dtype: np.full(shape, 7, dtype))
    layer.build((None, 3))
    assert (layer.kernel.numpy() == 7).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initializers.get("glorot_unifrom"), "Did you mean 'glorot_uniform'"),
        (lambda: initializers.get(3), "name, an Initializer or a callable, got 3"),
        (lambda: initializers.VarianceScaling(mode="fan"), "mode must be"),
        (lambda: initializers.VarianceScaling(scale=0), "scale must be positive"),
        (lambda: initializers.HeNormal(seed=-1), "seed must be"),
        (lambda: initializers.Identity()((2, 2, 2)), "needs a matrix"),
        (lambda: initializers.Orthogonal()((2,)), "at least two axes"),
        (lambda: initializers.serialize(lambda shape, dtype: None), "cannot be saved"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
