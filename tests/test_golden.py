"""The worked problems of the course, to the digits given there, on every engine."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import Tensor, Variable, layers, losses, optimizers
from dlcore import functional as F

pytestmark = pytest.mark.usefixtures("active_backend")

W1 = [[1, 3, -2], [2, -3, 4], [3, -1, 1], [2, 3, -2]]
W2 = [[1, -2], [-3, 4], [-1, 1]]
W3 = [[4], [1]]


def _mlp_step(weights: list[Variable]) -> tuple:
    x = Tensor(np.array([[2.0, 3.0, 5.0, 6.0]]))
    z1 = F.matmul(x, weights[0])
    a1 = F.sigmoid(z1)
    z2 = F.matmul(a1, weights[1])
    a2 = F.sigmoid(z2)
    z3 = F.matmul(a2, weights[2])
    return z1, a1, z2, a2, z3, F.sigmoid(z3)


def test_mlp_step_by_hand():
    weights = [Variable(np.array(w, np.float64)) for w in (W1, W2, W3)]
    z1, a1, z2, a2, z3, y = _mlp_step(weights)
    np.testing.assert_allclose(z1.numpy(), [[35, 10, 1]])
    np.testing.assert_allclose(a1.numpy(), [[1.0, 0.9999546, 0.73105858]], atol=5e-9)
    np.testing.assert_allclose(z2.numpy(), [[-2.73092239, 2.73087699]], atol=5e-9)
    np.testing.assert_allclose(a2.numpy(), [[0.06117317, 0.93882422]], atol=5e-9)
    assert z3.item() == pytest.approx(1.1835169, abs=5e-8)
    assert y.item() == pytest.approx(0.76557956, abs=5e-9)
    loss = losses.BinaryCrossentropy()(np.array([[1.0]]), y)
    assert loss.item() == pytest.approx(0.26712213, abs=5e-9)
    loss.backward()
    optimizers.SGD(0.01).step(weights)
    _check_new_weights([w.numpy() for w in weights])


def test_mlp_step_by_fit():
    """The same through layers, compile and fit."""
    model = dl.Sequential(
        [layers.Input((4,), dtype="float64")]
        + [layers.Dense(n, activation="sigmoid", use_bias=False, dtype="float64") for n in (3, 2, 1)]
    )
    model.set_weights([np.array(w, np.float64) for w in (W1, W2, W3)])
    model.compile(optimizers.SGD(0.01), "binary_crossentropy")
    history = model.fit(np.array([[2.0, 3.0, 5.0, 6.0]]), np.array([[1.0]]), verbose=0)
    assert history.history["loss"][0] == pytest.approx(0.26712213, abs=5e-9)
    _check_new_weights(model.get_weights())


def _check_new_weights(weights: list[np.ndarray]) -> None:
    w1, w2, w3 = weights
    np.testing.assert_allclose(w3[:, 0], [4.0001434, 1.0022008], atol=5e-8)
    np.testing.assert_allclose(
        w2, [[1.00053852, -1.99986536], [-2.9994615, 4.00013463], [-0.99960631, 1.00009843]], atol=5e-9
    )
    np.testing.assert_allclose(w1[:, 2], [-2.00015882, 3.99976177, 0.99960296, -2.00047645], atol=5e-9)


def test_adagrad():
    """α = 0.02, g² = 6 growing by 5 % each time, δ = 1e-5: the effective rates of iterations 1, 2 and 10."""
    w = Variable(np.zeros(1, np.float64))
    optimizer = optimizers.Adagrad(0.02, initial_accumulator_value=0.0, epsilon=1e-5)
    rates = []
    for i in range(10):
        g = math.sqrt(6 * 1.05**i)
        before = w.numpy()[0]
        optimizer.apply([np.array([g])], [w])
        rates.append((before - w.numpy()[0]) / g)
    assert rates[0] == pytest.approx(0.00816496, abs=6e-9)
    assert rates[1] == pytest.approx(0.00570266, abs=6e-9)
    assert rates[9] == pytest.approx(0.00230224, abs=6e-9)
    assert optimizer.get_state()["0/accumulator"][0] == pytest.approx(75.46735521, abs=5e-9)


@pytest.mark.parametrize(("y", "p", "expected"), [(1, 0.6, 0.51082562), (0, 0.2, 0.22314355), (1, 0.4, 0.91629073)])
def test_binary_cross_entropy(y, p, expected):
    value = losses.BinaryCrossentropy()(np.array([[float(y)]]), np.array([[p]]))
    assert value.item() == pytest.approx(expected, abs=5e-9)


def test_sparse_cross_entropy():
    value = losses.sparse_categorical_crossentropy(np.array([0, 1]), np.array([[0.6, 0.2, 0.2], [0.3, 0.5, 0.2]]))
    np.testing.assert_allclose(value.numpy(), [0.51082562, 0.69314718], atol=5e-9)


def test_elementwise():
    np.testing.assert_array_equal((Tensor([1.0, 2.0, 3.0]) * Tensor([1.0, 4.0, 7.0])).numpy(), [1, 8, 21])


INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR = np.array([[0], [1], [1], [0]], np.float32)


def _gate(weights: list[float], bias: float) -> layers.Dense:
    gate = layers.Dense(1, activation=F.step)
    gate.build((None, 2))
    gate.set_weights([np.array(weights, np.float32)[:, None], np.array([bias], np.float32)])
    return gate


@pytest.mark.parametrize(
    ("weights", "bias", "truth"),
    [([1, 1], -0.5, [0, 1, 1, 1]), ([1, 1], -1.5, [0, 0, 0, 1]), ([-1, -1], 1.5, [1, 1, 1, 0])],
    ids=["or", "and", "nand"],
)
def test_gates(weights, bias, truth):
    np.testing.assert_array_equal(_gate(weights, bias)(INPUTS).numpy()[:, 0], truth)


def test_xor_of_nands():
    nand = _gate([-1, -1], 1.5)
    a, b = Tensor(INPUTS[:, :1]), Tensor(INPUTS[:, 1:])

    def gate(p: Tensor, q: Tensor) -> Tensor:
        return nand(F.concatenate([p, q], axis=1))

    middle = gate(a, b)
    np.testing.assert_array_equal(gate(gate(a, middle), gate(b, middle)).numpy(), XOR)


def test_xor_of_two_relus():
    """h1 = relu(x1 + x2), h2 = relu(x1 + x2 − 1), y = h1 − 2·h2."""
    model = dl.Sequential([layers.Input((2,)), layers.Dense(2, activation="relu"), layers.Dense(1, use_bias=False)])
    model.set_weights([np.ones((2, 2), np.float32), np.array([0, -1], np.float32), np.array([[1], [-2]], np.float32)])
    np.testing.assert_array_equal(model.predict(INPUTS, verbose=0), XOR)


def test_xor_trained():
    dl.set_random_seed(2)
    model = dl.Sequential(
        [layers.Input((2,)), layers.Dense(8, activation="tanh"), layers.Dense(1, activation="sigmoid")]
    )
    model.compile(optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    model.fit(INPUTS, XOR, batch_size=4, epochs=150, verbose=0)
    loss, accuracy = model.evaluate(INPUTS, XOR, verbose=0)
    assert accuracy == 1.0
    assert loss < 0.05


def test_no_line_separates_xor():
    model = dl.Sequential([layers.Input((2,)), layers.Dense(1, activation="sigmoid")])
    model.compile(optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    model.fit(INPUTS, XOR, batch_size=4, epochs=100, verbose=0)
    assert model.evaluate(INPUTS, XOR, verbose=0)[1] <= 0.75


def test_linear_layers_collapse():
    """A stack of linear layers is one linear map."""
    dl.set_random_seed(0)
    model = dl.Sequential([layers.Input((3,)), layers.Dense(7), layers.Dense(5), layers.Dense(2)])
    (w1, b1, w2, b2, w3, b3) = model.get_weights()
    b1, b2, b3 = (np.random.default_rng(i).normal(size=b.shape).astype(np.float32) for i, b in enumerate((b1, b2, b3)))
    model.set_weights([w1, b1, w2, b2, w3, b3])
    single = dl.Sequential([layers.Input((3,)), layers.Dense(2)])
    single.set_weights([w1 @ w2 @ w3, (b1 @ w2 + b2) @ w3 + b3])
    x = np.random.default_rng(9).normal(size=(10, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), single.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_zero_initialisation_never_breaks_the_symmetry():
    dl.set_random_seed(0)
    model = dl.Sequential(
        [
            layers.Input((2,)),
            layers.Dense(4, activation="sigmoid", kernel_initializer="zeros"),
            layers.Dense(1, activation="sigmoid", kernel_initializer="zeros"),
        ]
    )
    model.compile(optimizers.SGD(0.5), "binary_crossentropy")
    model.fit(INPUTS, XOR, batch_size=1, epochs=20, verbose=0)
    kernel = model.get_weights()[0]
    np.testing.assert_allclose(kernel, kernel[:, :1] * np.ones((1, 4)), atol=1e-6)


@pytest.mark.parametrize(("batch_size", "updates"), [(1, 3 * 10), (4, 3 * 3), (10, 3)])
def test_number_of_updates(batch_size, updates):
    """Per sample, mini-batch with a partial last one, full batch."""
    x = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    model = dl.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], batch_size=batch_size, epochs=3, verbose=0)
    assert model.optimizer.iterations == updates
