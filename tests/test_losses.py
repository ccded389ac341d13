"""Losses against Keras, values and gradients, and what they must survive."""

from __future__ import annotations

import numpy as np
import pytest

from dlcore import Tensor, losses
from dlcore import functional as F

RNG = np.random.default_rng(3)
ONE_HOT = np.eye(4, dtype=np.float32)[[0, 3, 1, 2, 2, 0]]
PROBABILITIES = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
REAL = RNG.normal(size=(6, 4)).astype(np.float32)
OTHER = RNG.normal(size=(6, 4)).astype(np.float32)
UNIT = RNG.uniform(0.05, 0.95, (6, 4)).astype(np.float32)
BINARY = RNG.integers(0, 2, (6, 4)).astype(np.float32)
WEIGHT = RNG.uniform(0.1, 2.0, 6).astype(np.float32)

CASES = [
    ("MeanSquaredError", {}, REAL, OTHER),
    ("MeanAbsoluteError", {}, REAL, OTHER),
    ("MeanAbsolutePercentageError", {}, REAL, OTHER),
    ("MeanSquaredLogarithmicError", {}, UNIT, PROBABILITIES),
    ("Huber", {}, REAL, OTHER),
    ("Huber", {"delta": 0.3}, REAL, OTHER),
    ("LogCosh", {}, REAL, OTHER),
    ("CosineSimilarity", {}, REAL, OTHER),
    ("CosineSimilarity", {"axis": 0}, REAL, OTHER),
    ("KLDivergence", {}, PROBABILITIES, UNIT),
    ("Poisson", {}, UNIT, PROBABILITIES),
    ("Hinge", {}, BINARY, OTHER),
    ("SquaredHinge", {}, 2 * BINARY - 1, OTHER),
    ("CategoricalHinge", {}, ONE_HOT, OTHER),
    ("BinaryCrossentropy", {}, BINARY, UNIT),
    ("BinaryCrossentropy", {"from_logits": True}, BINARY, OTHER),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, BINARY, OTHER),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, BINARY, UNIT),
    ("CategoricalCrossentropy", {}, ONE_HOT, PROBABILITIES),
    ("CategoricalCrossentropy", {"from_logits": True}, ONE_HOT, OTHER),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, ONE_HOT, OTHER),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, ONE_HOT, PROBABILITIES),
    ("SparseCategoricalCrossentropy", {}, ONE_HOT.argmax(1), PROBABILITIES),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, ONE_HOT.argmax(1), OTHER),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, ONE_HOT.argmax(1)[:, None], OTHER),
    ("SparseCategoricalCrossentropy", {"from_logits": True, "ignore_class": 2}, ONE_HOT.argmax(1), OTHER),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, ONE_HOT.argmax(1), PROBABILITIES),
]


def _ids(case: tuple) -> str:
    return f"{case[0]}-{case[1]}"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", "none"])
@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_against_keras(case, reduction, weighted):
    from oracle import keras, torch

    name, arguments, y_true, y_pred = case
    if name == "CosineSimilarity" and arguments and weighted:
        pytest.skip("losses along the batch axis take no sample weights")
    weight = WEIGHT if weighted else None
    ours = Tensor(y_pred, requires_grad=True)
    value = getattr(losses, name)(**arguments, reduction=reduction)(y_true, ours, weight)
    theirs = torch.tensor(y_pred, requires_grad=True)
    expected = getattr(keras.losses, name)(**arguments, reduction=reduction)(y_true, theirs, weight)
    np.testing.assert_allclose(value.numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    value.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("rank3", [False, True])
def test_sequences_and_masks(rank3):
    """A mask averages over what counts; weights per sample, labels per time step."""
    logits = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    labels = np.array([[0, 1, 2], [3, 0, 1]])
    mask = np.array([[True, True, False], [True, False, False]])
    y_pred = Tensor(logits)
    y_pred.mask = mask
    y_true: np.ndarray = labels[..., None] if rank3 else labels
    value = losses.SparseCategoricalCrossentropy(from_logits=True)(y_true, y_pred)
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    each = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    assert value.item() == pytest.approx(each[mask].mean(), rel=1e-5)
    weighted = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")(y_true, y_pred, mask * 2.0)
    assert weighted.item() == pytest.approx(2 * each[mask].sum(), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_logits_behind_an_activation_are_used(scale):
    """Cross-entropies of softmax and sigmoid outputs are taken from the logits: finite and with a gradient at ±1e4."""
    logits = np.array([[3.0, -1.0, 0.5], [-2.0, 0.0, 1.0]], np.float32) * np.float32(scale)
    labels = np.array([1, 0])
    for loss, activation, y_true in (
        (losses.SparseCategoricalCrossentropy, F.softmax, labels),
        (losses.CategoricalCrossentropy, F.softmax, np.eye(3)[labels]),
        (losses.BinaryCrossentropy, F.sigmoid, np.eye(3)[labels]),
    ):
        x, z = Tensor(logits, requires_grad=True), Tensor(logits, requires_grad=True)
        from_output = loss()(y_true, activation(x))
        from_logits = loss(from_logits=True)(y_true, z)
        from_output.backward()
        from_logits.backward()
        assert np.isfinite(from_output.item())
        assert from_output.item() == from_logits.item()
        np.testing.assert_array_equal(x.grad, z.grad)
        assert np.abs(x.grad).max() > 0.1


def test_the_logits_of_another_activation_are_not():
    x = Tensor(OTHER)
    y = ONE_HOT
    assert losses.categorical_crossentropy(y, F.sigmoid(x)).numpy() == pytest.approx(
        losses.categorical_crossentropy(y, F.sigmoid(x).numpy()).numpy(), rel=1e-5
    )
    assert losses.binary_crossentropy(y, F.softmax(x)).numpy() == pytest.approx(
        losses.binary_crossentropy(y, F.softmax(x).numpy()).numpy(), rel=1e-4
    )


def test_probabilities_of_zero_and_one_stay_finite():
    y = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    for loss in (losses.BinaryCrossentropy(), losses.CategoricalCrossentropy(), losses.KLDivergence()):
        assert np.isfinite(loss(y, 1.0 - y).item())


def test_ranks_that_differ_by_one():
    y_pred = RNG.normal(size=(5, 1)).astype(np.float32)
    y_true = RNG.normal(size=5).astype(np.float32)
    assert losses.MeanSquaredError()(y_true, y_pred).item() == pytest.approx(np.mean((y_true - y_pred[:, 0]) ** 2))
    labels = (y_true > 0).astype(np.int64)
    assert losses.BinaryCrossentropy(from_logits=True)(labels, y_pred).shape == ()


def test_double_precision_is_kept():
    y_pred = Tensor(REAL.astype(np.float64), requires_grad=True)
    value = losses.MeanSquaredError()(OTHER.astype(np.float64), y_pred)
    assert value.dtype == np.float64
    assert value.item() == pytest.approx(np.mean((REAL.astype(np.float64) - OTHER) ** 2), rel=1e-14)


def test_a_function_of_the_user():
    loss = losses.LossFunctionWrapper(lambda y_true, y_pred: F.abs(y_true - y_pred), name="mine")
    assert loss(REAL, OTHER).item() == pytest.approx(np.abs(REAL - OTHER).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "error", "message"),
    [
        ("sparse_categorical_crossentropy", np.array([0, 4]), REAL[:2], ValueError, "4"),
        ("sparse_categorical_crossentropy", np.array([0, -1]), REAL[:2], ValueError, "-1"),
        ("sparse_categorical_crossentropy", np.array([0.5, 1.0]), REAL[:2], TypeError, "integer labels"),
        ("sparse_categorical_crossentropy", np.array(["cat", "dog"]), REAL[:2], TypeError, "integer"),
        ("sparse_categorical_crossentropy", ONE_HOT[:2], REAL[:2], (ValueError, TypeError), "label"),
        ("categorical_crossentropy", np.array([0, 1]), REAL[:2], ValueError, "sparse_categorical_crossentropy"),
        ("mean_squared_error", REAL[:3], REAL[:2], ValueError, "same shape"),
        ("mean_squared_error", np.array(["a", "b"]), REAL[:2], TypeError, "numbers"),
    ],
)
def test_bad_input(loss, y_true, y_pred, error, message):
    arguments = {"from_logits": True} if "categorical" in loss else {}
    with pytest.raises(error, match=message):
        losses.get(loss)(y_true, Tensor(y_pred), **arguments).numpy()


def test_names():
    for name, cls in losses._CLASSES.items():
        copy = losses.deserialize(losses.serialize(cls(reduction="sum")))
        assert type(copy) is cls
        assert copy.get_config() == cls(reduction="sum").get_config()
        assert type(losses.get(name)) is cls
    assert losses.get("mse") is losses.get("mean_squared_error") is losses.mean_squared_error
    assert losses.get(None) is None
    with pytest.raises(ValueError, match="categorical_crossentropy"):
        losses.get("categorical_crossentrpy")
    with pytest.raises(ValueError, match="reduction"):
        losses.MeanSquaredError(reduction="median")


@pytest.mark.parametrize("labels", [[0, 4], [-1, 0]])
def test_labels_out_of_range_of_probabilities(labels):
    with pytest.raises(ValueError, match=r"labels must lie in 0 … 3 \(y_pred has 4 classes\), got (4|-1)"):
        losses.SparseCategoricalCrossentropy()(labels, PROBABILITIES[:2])
    with pytest.raises(ValueError, match="labels must lie in"):
        losses.SparseCategoricalCrossentropy(ignore_class=0)(labels, PROBABILITIES[:2])


def test_labels_out_of_range_are_found_in_later_steps():
    from dlcore import layers, models

    model = models.Sequential([layers.Input((4,)), layers.Dense(3), layers.Lambda(lambda z: F.softmax(z) * 1.0)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = REAL.repeat(4, 0), np.arange(24) % 3
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    y[-1] = 3
    with pytest.raises(ValueError, match="labels must lie in 0 … 2"):
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)


@pytest.mark.parametrize("from_logits", [False, True])
def test_boolean_labels(from_logits):
    loss = losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    labels = np.array([True, False, True, True, False, False])
    assert loss(labels, PROBABILITIES).item() == loss(labels.astype(int), PROBABILITIES).item()
    assert loss(Tensor(labels), PROBABILITIES).item() == loss(labels.astype(int), PROBABILITIES).item()


def test_half_precision_targets_and_weights():
    y, weight = ONE_HOT.astype(np.float16), np.array([1, 2, 0.5, 0, 1, 1], np.float16)
    for loss in (losses.MeanSquaredError(), losses.CategoricalCrossentropy(), losses.BinaryCrossentropy()):
        expected = loss(ONE_HOT, PROBABILITIES, weight.astype(np.float32)).item()
        assert loss(y, PROBABILITIES, weight).item() == expected


def test_the_dtype_of_a_loss_with_an_ignored_class():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=2, dtype="float64")
    assert loss(ONE_HOT.argmax(1), PROBABILITIES).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.MeanSquaredError()(REAL, None), TypeError, "`y_pred` must hold numbers"),
        (lambda: losses.MeanSquaredError()(REAL, OTHER, ["a"] * 6), TypeError, "`sample_weight` must hold numbers"),
        (lambda: losses.CategoricalCrossentropy(label_smoothing=2)(ONE_HOT, REAL), ValueError, "label_smoothing=2"),
        (lambda: losses.BinaryCrossentropy(label_smoothing="a")(ONE_HOT, REAL), ValueError, "label_smoothing='a'"),
        (lambda: losses.Huber(delta=-1.0)(REAL, OTHER), ValueError, "delta=-1.0"),
        (lambda: losses.CategoricalCrossentropy(axis="a")(ONE_HOT, REAL), TypeError, "axis='a'"),
        (
            lambda: losses.SparseCategoricalCrossentropy(ignore_class=1.5)(ONE_HOT.argmax(1), REAL),
            TypeError,
            "ignore_class` must be a whole number or None",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
