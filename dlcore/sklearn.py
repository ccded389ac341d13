"""Networks as scikit-learn estimators, for its pipelines, searches and cross-validation.

They need the extra `sklearn`: pip install 'dlcore[sklearn]'.

    search = GridSearchCV(DLClassifier(random_state=0), {"hidden_layer_sizes": [(32,), (32, 32)]})
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "sklearn":
        raise
    raise ModuleNotFoundError("dlcore.sklearn needs scikit-learn: pip install 'dlcore[sklearn]'") from None

from . import callbacks, layers, optimizers
from .backends import use_backend
from .models import Model, Sequential
from .random import seeded

__all__ = ["DLClassifier", "DLRegressor"]


class _Estimator(BaseEstimator):
    """What classifier and regressor share.

    Args:
        hidden_layer_sizes: units of each hidden `Dense` layer.
        activation: theirs.
        optimizer: name, config or `Optimizer`; every fit starts from a fresh copy.
        learning_rate: the optimizer's; its own default if None.
        epochs: passes over the data, at most.
        batch_size: samples per update; "auto" is the lesser of 200 and all there are.
        tol, n_iter_no_change: training ends early once the loss has fallen by less than tol in so many epochs; never
            if n_iter_no_change is None.
        random_state: seed of initial weights and shuffles: a number, a RandomState, or None for NumPy's global one.
        backend: name of the engine; the active one if None.
        model: a function (input_shape, outputs) that gives the model to train, in place of the hidden layers, where
            `input_shape` is the shape of one sample and `outputs` the width of the last layer (class probabilities,
            or values to predict). A model that it compiled is trained as it is, any other with the arguments above.
            X may have more than two axes then.
        verbose: as for `Model.fit`.

    Attributes:
        model_: the trained `Model`.
        history_: dict of what each epoch gave.
        n_iter_: epochs trained.
        n_features_in_: features of X.

    X of float32 makes a float32 network, anything else one of float64, as with scikit-learn's own.
    """

    _loss: str
    _output_activation: str

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        epochs: int = 200,
        batch_size: Any = "auto",
        tol: float = 1e-4,
        n_iter_no_change: int | None = 10,
        random_state: Any = None,
        backend: str | None = None,
        model: Callable[[tuple[int, ...], int], Model] | None = None,
        verbose: Any = 0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.backend = backend
        self.model = model
        self.verbose = verbose

    # ---- training -----------------------------------------------------------------------------------------------

    def _validated(self, X: Any, **arguments: Any) -> Any:
        return validate_data(
            self, X, dtype=(np.float64, np.float32), order="C", allow_nd=self.model is not None, **arguments
        )

    def _train(self, X: np.ndarray, y: np.ndarray, outputs: int, sample_weight: Any) -> None:
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
            counts = weights > 0
            X, y, weights = X[counts], y[counts], weights[counts]
            sample_weight = weights / weights.mean()
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with nullcontext() if self.backend is None else use_backend(self.backend), seeded(seed):
            model = self._make_model(X, outputs)
            stop = []
            if self.n_iter_no_change is not None:
                stop = [callbacks.EarlyStopping("loss", min_delta=self.tol, patience=self.n_iter_no_change)]
            history = model.fit(
                X,
                y,
                sample_weight=sample_weight,
                batch_size=min(200, len(X)) if self.batch_size == "auto" else self.batch_size,
                epochs=self.epochs,
                verbose=self.verbose,
                callbacks=stop,
            )
        self.model_ = model
        self.history_ = history.history
        self.n_iter_ = len(history.epoch)

    def _make_model(self, X: np.ndarray, outputs: int) -> Model:
        if self.model is None:
            sizes = self.hidden_layer_sizes
            model: Any = Sequential([layers.Input(X.shape[1:], dtype=X.dtype)])
            for units in sizes if np.iterable(sizes) else (sizes,):
                model.add(layers.Dense(units, self.activation, dtype=X.dtype))
            model.add(layers.Dense(outputs, self._output_activation, dtype=X.dtype))
        else:
            model = self.model(X.shape[1:], outputs)
            if not isinstance(model, Model):
                raise TypeError(f"model must return a dlcore Model, got {type(model).__name__}")
        if not model.compiled:
            optimizer = optimizers.deserialize(optimizers.serialize(optimizers.get(self.optimizer)))
            if self.learning_rate is not None:
                optimizer.learning_rate = self.learning_rate
            model.compile(optimizer, self._loss)
        return model

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        return self.model_.predict(self._validated(X, reset=False), batch_size=1024, verbose=0)

    # ---- copies -------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """The network as architecture and weights: an engine's memory cannot be pickled."""
        state = dict(super().__getstate__())
        model = state.pop("model_", None)
        if model is not None:
            classes = {type(part).__name__: type(part) for part in model._flatten_layers()}
            state["_saved_model"] = layers.serialize(model), classes, model.get_weights()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        saved = state.pop("_saved_model", None)
        super().__setstate__(state)
        if saved is not None:
            config, classes, weights = saved
            with nullcontext() if self.backend is None else use_backend(self.backend):
                model: Any = layers.deserialize(config, classes)
                model.set_weights(weights)
            self.model_ = model


class DLClassifier(ClassifierMixin, _Estimator):
    __doc__ = f"""A network that classifies: softmax over the classes, trained by cross-entropy.
{_Estimator.__doc__.partition(chr(10))[2]}
    classes_ holds the labels, in the order of `predict_proba`'s columns.
    """

    _loss = "sparse_categorical_crossentropy"
    _output_activation = "softmax"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DLClassifier:
        """Train anew on X `[N, features]` with labels y `[N]`, which may be strings; weights `[N]` of the samples.

        Raises:
            ValueError: X, y or a parameter does not fit; the message says which.
        """
        X, y = self._validated(X, y=y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self._train(X, labels, len(self.classes_), sample_weight)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, `[N, classes]`. Raises NotFittedError before `fit`."""
        chances = self._outputs(X).astype(np.float64)
        return chances / chances.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each sample, `[N]`. Raises NotFittedError before `fit`."""
        chances = self.predict_proba(X)
        return self.classes_[chances.argmax(axis=1)]


class DLRegressor(RegressorMixin, _Estimator):
    __doc__ = f"""A network that predicts one or several numbers: linear last layer, mean squared error.
{_Estimator.__doc__.partition(chr(10))[2]}"""

    _loss = "mean_squared_error"
    _output_activation = "linear"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> DLRegressor:
        """Train anew on X `[N, features]` with numbers y `[N]` or `[N, outputs]`; weights `[N]` of the samples.

        Raises:
            ValueError: X, y or a parameter does not fit; the message says which.
        """
        X, y = self._validated(X, y=y, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._flat = y.ndim == 1
        y = y.reshape(len(y), -1).astype(X.dtype)
        self._train(X, y, y.shape[1], sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers predicted for each sample, of the shape that y had. Raises NotFittedError before `fit`."""
        values = self._outputs(X)
        return values[:, 0] if self._flat else values
