"""explain: the worked problem of the course to its digits, and the same numbers as autograd and fit. diagnose: units
that are dead or saturated by construction, gradients as autograd has them, and a model left as it was."""

from __future__ import annotations

import numpy as np
import pytest
from test_golden import W1, W2, W3

import dlcore as dl
from dlcore import layers, optimizers

pytestmark = pytest.mark.usefixtures("active_backend")

RNG = np.random.default_rng(12)


def course_model():
    chain = [layers.Dense(n, activation="sigmoid", use_bias=False, dtype="float64") for n in (3, 2, 1)]
    model = dl.Sequential([layers.Input((4,), dtype="float64"), *chain])
    model.set_weights([np.array(w, np.float64) for w in (W1, W2, W3)])
    model.compile(optimizers.SGD(0.01), "binary_crossentropy")
    return model


def test_the_worked_problem():
    model = course_model()
    notes = model.explain(np.array([2.0, 3.0, 5.0, 6.0]), 1)
    values = notes.values
    np.testing.assert_allclose(values["z1"], [[35, 10, 1]])
    np.testing.assert_allclose(values["z2"], [[-2.73092239, 2.73087699]], atol=5e-9)
    np.testing.assert_allclose(values["a3"], [[0.76557956]], atol=5e-9)
    assert values["loss"] == pytest.approx(0.26712213, abs=5e-9)
    np.testing.assert_allclose(values["new W3"][:, 0], [4.0001434, 1.0022008], atol=5e-8)
    np.testing.assert_allclose(
        values["new W2"], [[1.00053852, -1.99986536], [-2.9994615, 4.00013463], [-0.99960631, 1.00009843]], atol=5e-9
    )
    np.testing.assert_allclose(values["new W1"][:, 2], [-2.00015882, 3.99976177, 0.99960296, -2.00047645], atol=5e-9)
    text = str(notes)
    for part in ("z2 = a1·W2 = [[-2.73092239  2.73087699]]", "L(y, a3) = 0.26712213", "δ3 = a3 − y", "∂L/∂W3 = a2ᵀ·δ3",
                 "δ2 = ∂L/∂a2 ⊙ sigmoid'(z2)", "W1 ← W1 − η·∂L/∂W1", "Update: SGD, η = 0.01"):  # fmt: skip
        assert part in text, part
    assert r"z^{(2)} = a^{(1)} W^{(2)} = \begin{bmatrix} -2.7309224 & 2.730877 \end{bmatrix}" in notes.markdown
    np.testing.assert_array_equal(model.get_weights()[2], W3)


CASES = {  # last activation, loss, labels of 5 samples of 3 outputs
    "softmax, sparse": ("softmax", "sparse_categorical_crossentropy", RNG.integers(0, 3, 5)),
    "softmax, one-hot": ("softmax", "categorical_crossentropy", np.eye(3)[RNG.integers(0, 3, 5)]),
    "sigmoid": ("sigmoid", "binary_crossentropy", RNG.integers(0, 2, (5, 3)).astype(float)),
    "linear, mse": (None, "mse", RNG.standard_normal((5, 3))),
    "tanh, huber": ("tanh", "huber", RNG.standard_normal((5, 3))),
    "softmax, mse": ("softmax", "mse", np.eye(3)[RNG.integers(0, 3, 5)]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_numbers_are_those_of_training(case, optimizer):
    activation, loss, y = CASES[case]
    dl.set_random_seed(5)
    model = dl.Sequential(
        [
            layers.Input((4,), dtype="float64"),
            layers.Dense(6, dtype="float64"),
            layers.LeakyReLU(dtype="float64"),
            layers.Dropout(0.0, dtype="float64"),
            layers.Dense(5, activation="selu", bias_initializer="normal", dtype="float64"),
            layers.Dense(3, activation=activation, dtype="float64"),
        ]
    )
    model.compile(optimizer, loss)
    x = RNG.standard_normal((5, 4))
    values = model.explain(x, y).values
    assert ("δ3 = (a3 −" in str(model.explain(x, y))) == (case in ("softmax, sparse", "softmax, one-hot", "sigmoid"))
    assert model.train_on_batch(x, y) == pytest.approx(float(values["loss"]), rel=1e-9)
    expected = [values[f"new {letter}{i}"] for i in (1, 2, 3) for letter in "Wb"]
    for weight, new in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(weight, new, rtol=1e-9, atol=1e-12)


def test_what_cannot_be_explained():
    def refused(words, *chain, y=0, compiled=True):
        model = dl.Sequential([layers.Input((4,)), *chain])
        if compiled:
            model.compile("sgd", "mse")
        with pytest.raises(ValueError, match=words):
            model.explain(np.ones((1, 4)), np.zeros((1, 1)))

    refused("not compiled", layers.Dense(1), compiled=False)
    refused("only dense layers", layers.Dense(2), layers.BatchNormalization(), layers.Dense(1))
    refused("more than 400", layers.Dense(101), layers.Dense(1))
    refused("penalty", layers.Dense(1, kernel_regularizer="l2"))
    refused("matrix per sample", layers.Dense(2, activation="softmax"), layers.Dense(1))
    refused("no dense layers", layers.Flatten())
    inputs = layers.Input((4,))
    model = dl.Model(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="must be a built Sequential"):
        model.explain(np.ones((1, 4)), np.zeros((1, 1)))


# ---- diagnose --------------------------------------------------------------------------------------------------------


def ailing_model():
    """Of 8 ReLUs 3 are dead; of 4 sigmoids, all positive in the first place, 1 is saturated."""
    dl.set_random_seed(1)
    model = dl.Sequential(
        [
            layers.Input((5,)),
            layers.Dense(8, activation="relu", name="rectified"),
            layers.Dense(4, activation="sigmoid", name="squashed"),
            layers.BatchNormalization(name="normal"),
            layers.Dense(2, name="last"),
        ]
    )
    w1, b1, w2, b2, *rest = model.get_weights()
    b1[:], w1[:] = 1.0, 0.01 * w1
    b1[:3] = -10.0
    w2[:] = 0.01 * w2
    b2[2] = 50.0
    model.set_weights([w1, b1, w2, b2, *rest])
    model.compile("sgd", "mse")
    return model


def test_dead_and_saturated_units():
    model = ailing_model()
    x, y = RNG.standard_normal((16, 5)).astype(np.float32), RNG.standard_normal((16, 2)).astype(np.float32)
    before = model.get_weights()
    diagnosis = dl.diagnose(model, x, y)
    rows = {row["layer"]: row for row in diagnosis.rows}
    assert rows["rectified"]["dead"] == 3 / 8
    assert rows["rectified"]["saturated"] is None
    assert rows["squashed"]["saturated"] == 1 / 4
    assert rows["last"]["dead"] is None
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert "37.5 %" in str(diagnosis)
    assert "<td>37.5 %</td>" in diagnosis._repr_html_()

    loss = model.compute_loss(x, y, model(x, training=True))
    loss.backward()
    assert diagnosis.loss == pytest.approx(loss.item(), rel=1e-6)
    for name in rows:
        squares = sum(float((np.asarray(v.grad) ** 2).sum()) for v in model.get_layer(name).trainable_weights)
        assert rows[name]["gradient_norm"] == pytest.approx(squares**0.5, rel=1e-4)
    model.zero_grad()
    again = dl.diagnose(model, x, y)  # gradients that were there are neither counted nor lost
    assert again.rows == diagnosis.rows or str(again) == str(diagnosis)


def test_training_goes_on_as_if_nothing_had_been():
    x, y = RNG.standard_normal((16, 5)).astype(np.float32), RNG.standard_normal((16, 2)).astype(np.float32)
    plain, watched = ailing_model(), ailing_model()
    for _ in range(3):
        plain.train_on_batch(x, y)
        dl.diagnose(watched, x, y)
        watched.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(plain.get_weights(), watched.get_weights(), strict=True))


def test_vanishing_gradients_are_seen():
    dl.set_random_seed(0)
    model = dl.Sequential([layers.Input((8,)), *(layers.Dense(8, activation="sigmoid") for _ in range(10))])
    rows = dl.diagnose(model, RNG.standard_normal((16, 8))).rows  # without labels: of the outputs
    assert rows[0]["gradient_norm"] < 1e-4 * rows[-1]["gradient_norm"]


def test_diagnosis_is_drawn():
    pytest.importorskip("matplotlib", reason="pip install 'dlcore[plots]'")
    figure = dl.diagnose(ailing_model(), np.ones((4, 5), np.float32)).plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "rectified", "squashed", "normal", "last"
    ]  # fmt: skip


def test_diagnose_needs_a_graph():
    class Own(dl.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="no graph of layers"):
        dl.diagnose(Own(), np.ones((2, 2)))
    model = dl.Sequential([layers.Input((2,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="not compiled"):
        dl.diagnose(model, np.ones((2, 2)), np.ones((2, 1)))
