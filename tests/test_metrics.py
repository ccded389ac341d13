"""Metrics against Keras, over several batches, with and without weights."""

from __future__ import annotations

import numpy as np
import pytest

from dlcore import Tensor, metrics

RNG = np.random.default_rng(11)
N = 24
LABELS = RNG.integers(0, 5, N)
ONE_HOT = np.eye(5, dtype=np.float32)[LABELS]
SCORES = RNG.dirichlet(np.ones(5), N).astype(np.float32)
REAL = RNG.normal(size=(N, 3)).astype(np.float32)
OTHER = RNG.normal(size=(N, 3)).astype(np.float32)
BINARY = RNG.integers(0, 2, (N, 1)).astype(np.float32)
UNIT = np.clip(0.6 * BINARY + 0.4 * RNG.uniform(size=(N, 1)), 0.02, 0.98).astype(np.float32)
NOISY = RNG.uniform(size=(N, 1)).astype(np.float32)
WEIGHT = RNG.uniform(0.1, 2.0, N).astype(np.float32)

CASES = [
    ("Accuracy", {}, LABELS, SCORES.argmax(1)),
    ("BinaryAccuracy", {}, BINARY, NOISY),
    ("BinaryAccuracy", {"threshold": 0.3}, BINARY, NOISY),
    ("CategoricalAccuracy", {}, ONE_HOT, SCORES),
    ("SparseCategoricalAccuracy", {}, LABELS, SCORES),
    ("SparseCategoricalAccuracy", {}, LABELS[:, None], SCORES),
    ("TopKCategoricalAccuracy", {"k": 2}, ONE_HOT, SCORES),
    ("SparseTopKCategoricalAccuracy", {"k": 3}, LABELS, SCORES),
    ("MeanSquaredError", {}, REAL, OTHER),
    ("RootMeanSquaredError", {}, REAL, OTHER),
    ("MeanAbsoluteError", {}, REAL, OTHER),
    ("MeanAbsolutePercentageError", {}, REAL, OTHER),
    ("MeanSquaredLogarithmicError", {}, SCORES, ONE_HOT),
    ("LogCoshError", {}, REAL, OTHER),
    ("CosineSimilarity", {}, REAL, OTHER),
    ("KLDivergence", {}, ONE_HOT, SCORES),
    ("Poisson", {}, SCORES, SCORES[::-1].copy()),
    ("Hinge", {}, BINARY, NOISY),
    ("SquaredHinge", {}, BINARY, NOISY),
    ("CategoricalHinge", {}, ONE_HOT, SCORES),
    ("BinaryCrossentropy", {}, BINARY, NOISY),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, BINARY, NOISY),
    ("CategoricalCrossentropy", {}, ONE_HOT, SCORES),
    ("SparseCategoricalCrossentropy", {}, LABELS, SCORES),
    ("R2Score", {}, REAL, OTHER),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, REAL, OTHER),
    ("TruePositives", {}, BINARY, NOISY),
    ("TrueNegatives", {"thresholds": [0.2, 0.8]}, BINARY, NOISY),
    ("FalsePositives", {}, BINARY, NOISY),
    ("FalseNegatives", {}, BINARY, NOISY),
    ("Precision", {}, BINARY, NOISY),
    ("Precision", {"thresholds": [0.1, 0.5, 0.7]}, BINARY, NOISY),
    ("Precision", {"top_k": 2}, ONE_HOT, SCORES),
    ("Recall", {}, BINARY, NOISY),
    ("Recall", {"class_id": 1}, ONE_HOT, SCORES),
    ("AUC", {}, BINARY, NOISY),
    ("AUC", {"curve": "PR"}, BINARY, NOISY),
    ("AUC", {"num_thresholds": 17}, BINARY, NOISY),
    ("AUC", {"thresholds": [0.2, 0.4, 0.9]}, BINARY, NOISY),
    ("F1Score", {}, ONE_HOT, SCORES),
    ("F1Score", {"average": "macro", "threshold": 0.3}, ONE_HOT, SCORES),
    ("FBetaScore", {"beta": 2.0, "average": "weighted"}, ONE_HOT, SCORES),
    ("FBetaScore", {"beta": 0.5, "average": "micro"}, ONE_HOT, SCORES),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "arguments", "y_true", "y_pred"), CASES, ids=lambda v: v if type(v) is str else "")
def test_against_keras(name, arguments, y_true, y_pred, weighted):
    from oracle import keras

    ours, theirs = getattr(metrics, name)(**arguments), getattr(keras.metrics, name)(**arguments)
    for start in (0, 7, 14, 21):
        rows = slice(start, start + 7)
        weight = WEIGHT[rows] if weighted else None
        ours.update_state(y_true[rows], Tensor(y_pred[rows]), weight)
        theirs.update_state(y_true[rows], y_pred[rows], weight)
    expected = keras.ops.convert_to_numpy(theirs.result())
    np.testing.assert_allclose(ours.result(), expected, rtol=2e-5, atol=1e-6)
    assert ours.name == theirs.name or theirs.name.startswith(ours.name)
    ours.reset_state()
    ours.update_state(y_true[:7], y_pred[:7])
    theirs.reset_state()
    theirs.update_state(y_true[:7], y_pred[:7])
    np.testing.assert_allclose(ours.result(), keras.ops.convert_to_numpy(theirs.result()), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Mean", "Sum"])
@pytest.mark.parametrize(
    ("values", "weight"),
    [
        (3.0, None),
        ([1.0, 2.0, 4.0], None),
        ([1.0, 2.0, 4.0], [1.0, 0.0, 2.0]),
        ([[1.0, 2.0], [3.0, 5.0]], None),
        ([[1.0, 2.0], [3.0, 5.0]], [1.0, 3.0]),
        ([[1.0, 2.0], [3.0, 5.0]], [[1.0, 0.0], [1.0, 1.0]]),
        (2.0, 5),
    ],
)
def test_reductions(name, values, weight):
    from oracle import keras

    ours, theirs = getattr(metrics, name)(), getattr(keras.metrics, name)()
    for metric in (ours, theirs):
        metric.update_state(np.asarray(values, np.float32), None if weight is None else np.asarray(weight))
        metric.update_state(1.0)
    assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-6)


def test_an_empty_metric_is_zero():
    assert metrics.Mean().result() == 0.0
    assert metrics.Precision().result() == 0.0
    assert metrics.SparseCategoricalAccuracy().result() == 0.0


def test_auc_of_a_perfect_ranking():
    assert metrics.AUC()(BINARY, UNIT) == pytest.approx(1.0, abs=1e-6)


def test_masked_steps_do_not_count():
    y_pred = Tensor(np.eye(3, dtype=np.float32)[[[0, 1, 2], [2, 2, 2]]])
    y_pred.mask = np.array([[True, True, False], [True, False, False]])
    metric = metrics.SparseCategoricalAccuracy()
    assert metric(np.array([[0, 1, 0], [0, 2, 2]]), y_pred) == pytest.approx(2 / 3)


def test_a_function_of_the_user():
    metric = metrics.MeanMetricWrapper(
        lambda y_true, y_pred: np.abs(y_true - y_pred.numpy()).max(axis=-1), name="worst"
    )
    assert metric(REAL, Tensor(OTHER)) == pytest.approx(np.abs(REAL - OTHER).max(-1).mean(), rel=1e-6)


def test_names():
    for name, cls in metrics._CLASSES.items():
        copy = metrics.deserialize(metrics.serialize(cls()))
        assert type(copy) is cls
        assert copy.get_config() == cls().get_config()
        assert type(metrics.get(name)) is cls
    assert type(metrics.get("mse")) is metrics.MeanSquaredError
    assert type(metrics.get("sparse_categorical_accuracy")) is metrics.SparseCategoricalAccuracy
    with pytest.raises(ValueError, match="Did you mean 'precision'"):
        metrics.get("precison")
    with pytest.raises(ValueError, match="thresholds"):
        metrics.Precision(thresholds=1.5)
    with pytest.raises(ValueError, match="curve"):
        metrics.AUC(curve="LIFT")


def test_labels_that_are_no_class_are_missed():
    scores = SCORES[:3]
    for k in (1, 2, 5):
        assert metrics.SparseTopKCategoricalAccuracy(k=k)([-1, 5, 100], scores) == 0.0
    assert metrics.SparseTopKCategoricalAccuracy(k=5)([-1, 0, 4], scores, sample_weight=[0, 1, 1]) == 1.0


def test_nan_is_no_positive_prediction():
    from oracle import keras

    y, scores = np.array([1, 0, 1, 0]), np.array([0.9, np.nan, np.nan, 0.2], np.float32)
    for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives", "Precision", "Recall", "AUC"):
        theirs = getattr(keras.metrics, name)()
        theirs.update_state(y, scores)
        assert getattr(metrics, name)()(y, scores) == pytest.approx(float(theirs.result()), abs=1e-6), name


def test_half_precision():
    for name in ("MeanSquaredError", "CosineSimilarity", "BinaryCrossentropy", "RootMeanSquaredError", "AUC"):
        y, scores = ONE_HOT.astype(np.float16), SCORES.astype(np.float16)
        weight = WEIGHT.astype(np.float16)
        expected = getattr(metrics, name)()(ONE_HOT, scores.astype(np.float32), weight.astype(np.float32))
        assert getattr(metrics, name)()(y, scores, weight) == pytest.approx(expected, rel=1e-2), name


def test_one_weight_for_all_of_r2():
    assert metrics.R2Score()(REAL, OTHER, 2.0) == pytest.approx(metrics.R2Score()(REAL, OTHER))


PAIR = r"y_true.shape=\(3,( 2)?\), y_pred.shape=\(4,( 2)?\)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.Accuracy()(np.zeros(3), np.zeros(4)), ValueError, PAIR),
        (lambda: metrics.BinaryAccuracy()(np.zeros((3, 2)), np.zeros((4, 2))), ValueError, PAIR),
        (lambda: metrics.CategoricalAccuracy()(np.zeros((3, 2)), np.zeros((4, 2))), ValueError, PAIR),
        (lambda: metrics.CategoricalAccuracy()(LABELS, SCORES), ValueError, "y_true.shape"),
        (lambda: metrics.TopKCategoricalAccuracy()(LABELS, SCORES), ValueError, "y_true.shape"),
        (lambda: metrics.SparseCategoricalAccuracy()(LABELS[:3], SCORES), ValueError, "one label for each row"),
        (lambda: metrics.SparseCategoricalAccuracy()(ONE_HOT, Tensor(SCORES)), ValueError, "one label for each row"),
        (lambda: metrics.SparseTopKCategoricalAccuracy()(LABELS[:3], SCORES), ValueError, "one label for each row"),
        (lambda: metrics.SparseTopKCategoricalAccuracy(k=0)(LABELS, SCORES), ValueError, "k=0"),
        (lambda: metrics.RootMeanSquaredError()(np.zeros((3, 2)), np.zeros((4, 2))), ValueError, PAIR),
        (lambda: metrics.R2Score()(np.zeros((3, 2)), np.zeros((4, 2))), ValueError, PAIR),
        (lambda: metrics.R2Score()(REAL, OTHER, WEIGHT[:4]), ValueError, "sample_weight"),
        (lambda: metrics.Precision()(np.zeros(3), np.zeros(4)), ValueError, PAIR),
        (lambda: metrics.Precision()(np.zeros(3), np.zeros(3), [1, 2]), ValueError, "sample_weight.shape"),
        (lambda: metrics.Precision()(["a", "b"], [0.1, 0.2]), TypeError, "`y_true` must hold numbers"),
        (lambda: metrics.Precision(top_k=0), ValueError, "top_k=0"),
        (lambda: metrics.Precision(class_id=5)(ONE_HOT, SCORES), ValueError, "class_id=5"),
        (lambda: metrics.F1Score()(ONE_HOT, SCORES, WEIGHT[:4]), ValueError, "sample_weight.shape"),
        (lambda: metrics.MeanSquaredError()(REAL, OTHER, WEIGHT[:4]), ValueError, "sample_weight.shape"),
        (lambda: metrics.Mean()("a"), TypeError, "`values` must hold numbers"),
        (lambda: metrics.Mean()([1.0, 2.0], ["a", "b"]), TypeError, "`sample_weight` must hold numbers"),
        (lambda: metrics.MeanMetricWrapper(5), TypeError, "`fn` must be a function"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
