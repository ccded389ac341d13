"""DLClassifier and DLRegressor: scikit-learn's own checks of estimators, and what its tools do with them."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import dlcore as dl
from dlcore import layers, optimizers

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_digits, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dlcore.sklearn import DLClassifier, DLRegressor


@parametrize_with_checks([DLClassifier(), DLRegressor()])
def test_scikit_learn_s_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return data.data[:400].astype(np.float32) / 16, data.target[:400]


def small(**parameters):
    return DLClassifier((16,), epochs=20, learning_rate=0.01, batch_size=32, random_state=0, **parameters)


def test_each_engine_learns(active_backend, digits):
    x, y = digits
    model = small(backend=active_backend.name).fit(x[:300], y[:300])
    assert model.model_.backend == active_backend.name
    assert model.score(x[300:], y[300:]) > 0.8
    assert model.predict_proba(x[300:]).shape == (100, 10)
    assert model.model_.weights[0].dtype == np.float32


def test_pipeline_and_cross_validation(digits):
    scores = cross_val_score(make_pipeline(StandardScaler(), small()), *digits, cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.7


def test_grid_search_tells_a_useful_rate_from_a_useless_one(digits):
    search = GridSearchCV(small(), {"learning_rate": [1e-7, 0.01], "optimizer": ["sgd", "adam"]}, cv=3).fit(*digits)
    assert search.best_params_ == {"learning_rate": 0.01, "optimizer": "adam"}
    assert search.predict(digits[0]).shape == (400,)


def test_randomised_search_over_processes(digits):
    choices = {"hidden_layer_sizes": [(8,), (8, 8)], "activation": ["relu", "tanh"]}
    settings = {"n_iter": 2, "cv": 2, "random_state": 0, "error_score": "raise"}
    alone = RandomizedSearchCV(small(), choices, **settings).fit(*digits)
    beside = RandomizedSearchCV(small(), choices, n_jobs=2, **settings).fit(*digits)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], beside.cv_results_["mean_test_score"])


def convolutional(input_shape, outputs):
    return dl.Sequential([
        layers.Input(input_shape), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
        layers.Dense(outputs, activation="softmax"),
    ])  # fmt: skip


def compiled(input_shape, outputs):
    model = dl.Sequential([layers.Input(input_shape), layers.Dense(outputs)])
    model.compile(optimizers.SGD(0.5), "mean_absolute_error")
    return model


def test_a_model_of_one_s_own_takes_images(digits):
    x, y = digits[0].reshape(-1, 8, 8, 1), digits[1]
    model = DLClassifier(model=convolutional, epochs=10, batch_size=32, learning_rate=0.01, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.9
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict_proba(x), model.predict_proba(x))


def test_a_compiled_model_is_trained_as_it_is():
    x, y = make_regression(64, 5, random_state=0)
    model = DLRegressor(model=compiled, epochs=2, random_state=0).fit(x, y)
    assert model.model_.optimizer.name.lower() == "sgd"
    assert model.model_.loss == "mean_absolute_error"


def test_several_outputs():
    x, y = make_regression(100, 5, n_targets=3, random_state=0)
    y /= y.std()
    model = DLRegressor((32,), epochs=100, learning_rate=0.01, random_state=0).fit(x, y)
    assert model.predict(x).shape == (100, 3)
    assert model.score(x, y) > 0.9


def test_the_seed_decides_and_leaves_the_library_s_alone(digits):
    x, y = digits
    dl.set_random_seed(3)
    expected = dl.random.host_generator().random(4)
    dl.set_random_seed(3)
    one, two = (small().fit(x, y).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(dl.random.host_generator().random(4), expected)
    np.testing.assert_array_equal(one, two)
    other = clone(small()).set_params(random_state=1).fit(x, y).predict_proba(x)
    assert np.abs(one - other).max() > 1e-3


def test_an_optimizer_object_serves_many_fits(digits):
    x, y = digits
    given = optimizers.Adam(0.01)
    model = DLClassifier((8,), optimizer=given, epochs=3, random_state=0)
    one, two = (model.fit(x, y).predict_proba(x) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not given.built


def test_training_ends_where_the_loss_no_longer_falls(digits):
    x, y = digits
    assert DLClassifier((8,), learning_rate=0.0, epochs=50, n_iter_no_change=2, random_state=0).fit(x, y).n_iter_ < 6
    assert DLClassifier((8,), learning_rate=0.0, epochs=6, n_iter_no_change=None, random_state=0).fit(x, y).n_iter_ == 6


def test_what_does_not_fit_is_refused(digits):
    x, y = digits
    with pytest.raises(NotFittedError):
        DLClassifier().predict(x)
    with pytest.raises(TypeError, match="model must return a dlcore Model, got int"):
        DLClassifier(model=lambda shape, outputs: 1).fit(x, y)
    with pytest.raises(ValueError, match="at least one non-zero"):
        DLClassifier().fit(x, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="relo"):
        DLClassifier(activation="relo").fit(x, y)


def test_without_scikit_learn_the_error_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None\nimport dlcore\ndlcore.sklearn"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert "pip install 'dlcore[sklearn]'" in result.stderr
