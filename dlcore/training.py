"""Training, evaluation and prediction: `compile`, `fit`, `evaluate`, `predict` and their single-batch forms.

`Trainer` is the part of `Model` that does this. One training step is: forward, loss, backward into the optimizer's flat
gradient buffers, one optimizer call. Losses and metrics gather their values where they are; they come to the host only
when a progress bar or a callback shows them, and at the end of an epoch.

A subclass may override `train_step(data)`, `test_step(data)` and `predict_step(data)`, which get one batch as
`(x,)`, `(x, y)` or `(x, y, sample_weight)` of tensors, or `compute_loss`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import losses as losses_module
from . import metrics as metrics_module
from . import optimizers as optimizers_module
from .backends import current
from .backends.capture import Call
from .backends.interface import Backend
from .backends.registry import is_active, use_backend
from .backends.rewrite import fuse_inference, fuse_training, overwrite_gradients
from .batches import (
    Batches,
    SourceBatches,
    class_weights,
    count_samples,
    make_batches,
    split_validation,
    to_arrays,
    unpack_x_y_sample_weight,
)
from .callbacks import CallbackList, History
from .compiled import CompiledLoss, CompiledMetrics, check_losses, check_metrics, deserialized, serialized
from .layers import base as layer_base
from .metrics import Mean, Metric
from .random import host_generator
from .replay import Step
from .symbolic import flatten, map_structure
from .tensor import Settings, Tensor, as_tensor, attributes_version, no_grad, weights_changed, wrap

__all__ = ["History", "Trainer", "unpack_x_y_sample_weight"]


class _Plan:
    """What `compile` set up, kept in one object."""

    def __init__(self, loss: CompiledLoss | None, metrics: CompiledMetrics | None, config: dict[str, Any]) -> None:
        self.loss = loss
        self.metrics = metrics
        self.config = config
        self.loss_tracker = Mean(name="loss")
        self.layers: list[Any] = []  # of the model, as of the last look
        self.regularized: list[Any] = []  # trainable variables with a penalty
        self.trainable: list[Any] = []
        self.own_metrics: list[Metric] = []  # that users assigned to attributes
        self.traits: list[Any] | None = None  # of the model at that look, if every layer was built
        self.settled = False  # nothing has changed since
        self.steppers: dict[str, Any] = {}
        self.train: Step
        self.test: Step

    def __getstate__(self) -> tuple:
        return self.loss, self.metrics, self.config, self.loss_tracker

    def __setstate__(self, state: tuple) -> None:
        *given, tracker = state
        _Plan.__init__(self, *given)
        self.loss_tracker = tracker


# ---- the mixin ---------------------------------------------------------------------------------------------------


class Trainer:
    """Training, evaluation and prediction for a `Model`.

    Attributes:
        optimizer, loss: as compiled. compiled: whether `compile` was called.
        stop_training: set True by a callback to end `fit` after the current batch.
        history: the `History` of the last `fit`.
    """

    compiled = False
    optimizer: Any = None
    loss: Any = None
    history: Any = None
    stop_training = False
    stop_evaluating = False
    stop_predicting = False
    run_eagerly = False
    steps_per_execution = 1
    jit_compile = False
    _dtype: Any  # of the layer that a model is
    _plan: _Plan | None = None
    _bookkeeping = frozenset({"history", "stop_training", "stop_evaluating", "stop_predicting", "_initial_epoch"})
    _initial_epoch: int | None = None
    # what is recorded or worked out anew: it holds on to the engine's memory and to this very model
    _uncopied = layer_base.Layer._uncopied | {"_latest_traits", "_parts", "_predict"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if self._plan is not None:
            self._make_steps(self._plan)

    # ---- compile ---------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Say how to train.

        Args:
            optimizer: name or `Optimizer`.
            loss: name, function or `Loss`; for several outputs a list or dict of these, or one for all of them.
                "crossentropy" chooses by the shapes of labels and predictions.
            loss_weights: factors of the outputs' losses: a number, list or dict.
            metrics: list of names, functions or `Metric`s; for several outputs a list of lists or a dict.
                "accuracy" chooses by the shapes of labels and predictions.
            weighted_metrics: metrics that take the sample weights into account.
            run_eagerly: never record and replay steps (see `dlcore.replay`).
            steps_per_execution, jit_compile, auto_scale_loss: taken for compatibility; without effect.

        Raises:
            ValueError: an unknown name (with the nearest known ones).
        """
        check_losses(loss)
        check_metrics(metrics, "metrics")
        check_metrics(weighted_metrics, "weighted_metrics")
        names = getattr(self, "output_names", None) or None
        self.optimizer = optimizers_module.get(optimizer)
        vars(self)["loss"] = loss  # a list of losses is no part of the model's state
        self._plan = _Plan(
            None if loss is None else CompiledLoss(loss, loss_weights, names),
            None if not metrics and not weighted_metrics else CompiledMetrics(metrics, weighted_metrics, names),
            {
                "optimizer": self.optimizer,
                "loss": loss,
                "loss_weights": loss_weights,
                "metrics": metrics,
                "weighted_metrics": weighted_metrics,
            },
        )
        self._make_steps(self._plan)
        self.run_eagerly = run_eagerly
        self.stop_training = False
        self.compiled = True

    def _make_steps(self, plan: _Plan) -> None:
        said = self._said  # type: ignore[attr-defined]
        plan.train = Step(self._train_eagerly, f"Training of {said}", self._traits, self._rewrite_training)
        plan.test = Step(self._test_eagerly, f"Evaluation of {said}", self._traits)

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile_from_config` needs to compile anew; {} before `compile`."""
        if self._plan is None:
            return {}
        config = self._plan.config
        return {
            "optimizer": optimizers_module.serialize(config["optimizer"]),
            "loss": serialized(config["loss"], losses_module),
            "loss_weights": config["loss_weights"],
            "metrics": serialized(config["metrics"], metrics_module),
            "weighted_metrics": serialized(config["weighted_metrics"], metrics_module),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` described; a built model's optimizer is built too."""
        config = dict(config)
        for key, module in (("loss", losses_module), ("metrics", metrics_module), ("weighted_metrics", metrics_module)):
            config[key] = deserialized(config.get(key), module)
        config["optimizer"] = optimizers_module.get(config.get("optimizer", "rmsprop"))
        self.compile(**config)
        if self.built and self.optimizer is not None:  # type: ignore[attr-defined]
            self.optimizer.build_for(self, self.trainable_variables)  # type: ignore[attr-defined]

    def _compiled(self, method: str) -> _Plan:
        if self._plan is None:
            raise ValueError(f"The model is not compiled: call `compile()` before `{method}()`.")
        return self._plan

    # ---- metrics ---------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> list[Metric]:
        """The loss tracker, the compiled metrics, those of single outputs, and metrics assigned to attributes."""
        found: list[Metric] = []
        if self._plan is not None:
            found.append(self._plan.loss_tracker)
            if self._plan.metrics is not None:
                found.append(self._plan.metrics)
            if self._plan.loss is not None:
                found.extend(self._plan.loss.metrics)
        if self._plan is not None and self._plan.settled:
            return found + self._plan.own_metrics
        return found + self._assigned_metrics()

    def _assigned_metrics(self) -> list[Metric]:
        layers = self._flatten_layers()  # type: ignore[attr-defined]
        return [value for layer in layers for value in vars(layer).values() if isinstance(value, Metric)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of `metrics`."""
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        """Forget what all metrics gathered."""
        plan = self._plan
        if plan is not None and self._only_the_loss(plan):
            plan.loss_tracker.reset_state()
            return
        for metric in self.metrics:
            metric.reset_state()

    def _only_the_loss(self, plan: _Plan) -> bool:
        """Whether the loss tracker is the only metric."""
        others = plan.metrics is not None or plan.own_metrics or (plan.loss is not None and plan.loss.metrics)
        return plan.settled and not others

    def get_metrics_result(self) -> dict[str, Any]:
        """The figures so far: name -> value."""
        results: dict[str, Any] = {}
        for metric in self.metrics:
            result = metric.result()
            if isinstance(result, dict):
                results.update({name: _number(value) for name, value in result.items()})
            else:
                results[metric.name] = _number(result)
        return results

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the compiled metrics with a batch; gives all figures so far."""
        if self._plan is not None and self._plan.metrics is not None:
            self._plan.metrics.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _in_order(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Loss, metrics and single losses as compiled, then the others by name."""
        names: list[str] = []
        for metric in self.metrics:
            names += [part.name for part in metric.metrics] if isinstance(metric, CompiledMetrics) else [metric.name]
        known = [name for name in dict.fromkeys(names) if name in logs]
        return {name: logs[name] for name in [*known, *sorted(set(logs) - set(known))]}

    def _flat(self, logs: dict[str, Any]) -> Any:
        values = list(self._in_order(logs).values())
        return values[0] if len(values) == 1 else values

    # ---- one step --------------------------------------------------------------------------------------------

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The scalar to minimise: the compiled losses, penalties of weights and whatever layers added.

        Raises:
            ValueError: there is none.
        """
        plan = self._plan
        total = None
        if plan is not None and plan.loss is not None:
            total = plan.loss(y, y_pred, sample_weight)
        for extra in self._added_losses():
            extra = extra if extra.shape == () else extra.sum()
            total = extra if total is None else total + extra
        if total is None:
            raise ValueError("There is no loss to compute: give a `loss` to `compile()`.")
        return total

    def _added_losses(self) -> Iterator[Tensor]:
        plan = self._plan
        if plan is None or not plan.layers:
            yield from self.losses  # type: ignore[attr-defined]
            return
        token = vars(self).get("_token")
        for layer in plan.layers:
            if layer._losses and layer._token is token:
                yield from layer._losses
        for variable in plan.regularized:
            yield variable.regularizer(variable)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update from one batch; gives the figures so far."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self._train_batch(x, y, sample_weight)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics of one batch, without an update; gives the figures so far."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self._test_batch(x, y, sample_weight)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for one batch."""
        return self._call(unpack_x_y_sample_weight(data)[0], training=False)

    def _call(self, x: Any, training: bool) -> Any:
        """The model's outputs; host arrays become tensors once, and layers inherit the training flag."""
        x = as_tensor(x) if type(x) is np.ndarray else map_structure(as_tensor, x)
        scope = layer_base._scope
        outer, scope.training = scope.training, training
        try:
            return self(x)  # type: ignore[operator]
        finally:
            scope.training = outer

    def _train_batch(self, x: Any, y: Any, sample_weight: Any, replay: bool = False) -> Any:
        """One update; gives the predictions. With `replay` the batch is of host arrays, and the next call overwrites
        the predictions."""
        plan = self._plan or self._compiled("fit")
        traits = self._traits()
        plan.settled = traits is plan.traits or traits == plan.traits
        if not plan.settled and plan.trainable and self.optimizer.built:
            self.optimizer.adopt()  # another model's optimizer may have taken layers that both models share
            traits = self._traits()
            plan.settled = traits == plan.traits
        data = x, y, sample_weight
        step = plan.train
        replay = replay and not self.run_eagerly
        loss, y_pred = step(current(), traits if plan.settled else None, data) if replay else step.eagerly(data)
        plan.loss_tracker.update_state(loss, _rows(x))
        if plan.trainable:
            self.optimizer.update_built(packed=replay and step.replayed)
            self.optimizer.drop_gradients()
        else:
            weights_changed()  # moving statistics, for one
        return y_pred

    def _test_batch(self, x: Any, y: Any, sample_weight: Any, replay: bool = False) -> Any:
        plan = self._compiled("evaluate")
        loss, y_pred = self._run(plan.test, (x, y, sample_weight), replay)
        plan.loss_tracker.update_state(loss, _rows(x))
        return y_pred

    def _run(self, step: Step, data: tuple, replay: bool = True) -> Any:
        """A step that changes no weights, by replay where it can."""
        if not replay or self.run_eagerly:
            return step.eagerly(data)
        return step(current(), self._traits() if self.built else None, data)  # type: ignore[attr-defined]

    def _train_eagerly(self, x: Any, y: Any, sample_weight: Any) -> tuple[Tensor, Any]:
        """Loss and predictions of a batch, with the gradients of the loss in the variables."""
        plan = self._compiled("fit")
        if not plan.settled and all(layer.built for layer in self._flatten_layers()):  # type: ignore[attr-defined]
            self._look()  # before the tape holds on to where the variables lie now
        y_pred = self._call(x, training=True)
        if not plan.settled:
            self._look(called=True)
        loss = self._loss_of(x, y, y_pred, sample_weight, training=True)
        if plan.trainable:
            if self.optimizer.built:
                self.optimizer.zero_grad()
            self.optimizer.scale_loss(loss).backward()
        return loss, y_pred

    def _test_eagerly(self, x: Any, y: Any, sample_weight: Any) -> tuple[Tensor, Any]:
        y_pred = self._call(x, training=False)
        return self._loss_of(x, y, y_pred, sample_weight, training=False), y_pred

    def _predict_eagerly(self, x: Any) -> Any:
        with no_grad():
            return self._call(x, training=False)

    def _prediction(self) -> Step:
        """The step of `predict`."""
        step = self.__dict__.get("_predict")
        if step is None:
            name = f"Prediction of {self._said}"  # type: ignore[attr-defined]
            made = Step(self._predict_eagerly, name, self._traits, fuse_inference, self._constants)
            step = self.__dict__.setdefault("_predict", made)  # another thread may have been first
        return step

    def _constants(self) -> list[Any]:
        return [variable.data for variable in self.weights if not variable.is_shared]  # type: ignore[attr-defined]

    def _rewrite_training(
        self, calls: list[Call], results: list[Any], constant: dict[int, Any], engine: Backend
    ) -> list[Call]:
        if self._compiled("fit").trainable:
            calls = overwrite_gradients(calls, self.optimizer.gradients(), engine)
        return fuse_training(calls, results, engine)

    def _loss_of(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Tensor:
        if type(self).compute_loss is Trainer.compute_loss:
            return self.compute_loss(x, y, y_pred, sample_weight, training)
        if "training" in inspect.signature(self.compute_loss).parameters:
            return self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        return self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)

    def _look(self, called: bool = False) -> None:
        """Take note of the layers and trainable variables, and give the variables to the optimizer: once every layer is
        built, or was not needed when the model was `called`."""
        plan = self._plan
        assert plan is not None
        plan.layers = self._flatten_layers()  # type: ignore[attr-defined]
        plan.trainable = self.trainable_variables  # type: ignore[attr-defined]
        plan.regularized = [v for v in plan.trainable if v.regularizer is not None]
        plan.own_metrics = self._assigned_metrics()
        plan.settled = called or all(layer.built for layer in plan.layers)
        if self.optimizer is not None:
            if not plan.trainable:
                warnings.warn("The model has no trainable weights.", stacklevel=6)
            elif plan.settled:
                self.optimizer.build_for(self, plan.trainable)
        plan.traits = self._traits() if plan.settled else None

    def zero_grad(self) -> None:
        """Set the gradients of all trainable weights to zero."""
        for variable in self.trainable_variables:  # type: ignore[attr-defined]
            variable.zero_grad()

    def _stepper(self, kind: str) -> Any:
        """The function that fit and evaluate call with each batch. It gives the figures, or a function that does."""
        steppers = (self._plan or self._compiled("fit")).steppers
        found = steppers.get(kind)
        if found is None:
            found = steppers[kind] = self._make_stepper(kind)
        return found

    def _make_stepper(self, kind: str) -> Any:
        """Steps defined here skip what only an overriding one needs: tensors for labels, figures for every batch."""
        cls = type(self)
        training = kind == "train"
        own = cls.train_step is not Trainer.train_step if training else cls.test_step is not Trainer.test_step
        if not own and cls.compute_metrics is Trainer.compute_metrics:
            return self._train_and_gather if training else self._test_and_gather
        step = self.train_step if training else self.test_step
        if own:

            def run_custom(data: tuple) -> Any:
                if self._plan is not None and self._plan.traits != self._traits():
                    self._look()
                data = tuple([map_structure(lambda a: None if a is None else as_tensor(a), part) for part in data])
                return _numbers(step(data) or {})

            return run_custom
        return lambda data: _numbers(step(data))

    def _train_and_gather(self, data: tuple) -> Any:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        return self._gather(y, self._train_batch(x, y, sample_weight, replay=True), sample_weight)

    def _test_and_gather(self, data: tuple) -> Any:
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        return self._gather(y, self._test_batch(x, y, sample_weight, replay=True), sample_weight)

    def _gather(self, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        metrics = (self._plan or self._compiled("fit")).metrics
        if metrics is not None:
            metrics.update_state(y, map_structure(_kept, y_pred), sample_weight)
        return self.get_metrics_result

    # ---- loops -----------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | list[int] = 1,
    ) -> History:
        """Train for a number of epochs.

        Args:
            x: array, or list or dict of arrays for several inputs; or a sequence, loader or generator of batches
                (x, y) or (x, y, sample_weight).
            y: labels, with x's first axis. None where x yields batches.
            batch_size: 32 by default; the number of samples for plain gradient descent, 1 for per-sample updates.
            verbose: 0 nothing, 1 a bar, 2 a line per epoch, "auto" a bar on a terminal and lines elsewhere.
            validation_split: share of the data, taken from its end, to validate on.
            validation_data: (x, y), (x, y, sample_weight) or a source of batches.
            shuffle: a new order in each epoch (from the library's seed); "batch" keeps the rows of a batch together.
            class_weight: class -> weight of its samples' losses.
            sample_weight: one weight per sample.
            initial_epoch: number of the first epoch, to go on with a run.
            steps_per_epoch: batches in an epoch; needed for generators that never end.
            validation_freq: validate every so many epochs, or in the listed ones (from 1).

        Returns:
            `History`, whose `history` has a list per figure.

        Raises:
            ValueError: not compiled, lengths that differ, no data, or arguments that do not fit the data.
        """
        self._compiled("fit")
        if isinstance(epochs, bool) or not isinstance(epochs, int | np.integer) or epochs < 0:
            raise ValueError(f"Argument `epochs` must be a whole number of at least 0. Received: {epochs!r}")
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_validation(x, y, sample_weight, validation_split)
        with self._at_home():  # type: ignore[attr-defined]
            batches = make_batches(
                x,
                y,
                sample_weight,
                batch_size=batch_size,
                shuffle=shuffle,
                steps=steps_per_epoch,
                class_weight=class_weight,
                dtype=self._dtype,
                generator=self._shuffler,
            )
            self._build_from(batches)
            validation = None
            if validation_data is not None:
                vx, vy, vw = _unpack_validation(validation_data)
                arrays = isinstance(vx, np.ndarray | list | tuple | dict | Tensor) or hasattr(vx, "__array__")
                validation = make_batches(
                    vx,
                    vy,
                    vw,
                    batch_size=(validation_batch_size or batch_size) if arrays else None,
                    steps=validation_steps,
                    dtype=self._dtype,
                )
            callbacks = self._callback_list(callbacks, verbose, batches, epochs, history=True)
            run = self._stepper("train")
            self.stop_training = False
            epoch_logs: dict[str, Any] = {}
            callbacks.on_train_begin()
            for epoch in range(self._initial_epoch or initial_epoch, epochs):
                self.reset_metrics()
                callbacks.on_epoch_begin(epoch)
                logs: Any = None
                for step, data in enumerate(batches.epoch()):
                    callbacks.on_train_batch_begin(step)
                    logs = run(data)
                    callbacks.on_train_batch_end(step, logs)
                    if self.stop_training:
                        break
                if logs is None:
                    raise ValueError("Argument `x` yielded no batches: the data ran out or was empty.")
                epoch_logs = self._epoch_logs(logs)
                if validation is not None and _due(epoch, validation_freq):
                    figures = self._evaluate(validation, callbacks)
                    epoch_logs.update({f"val_{name}": value for name, value in figures.items()})
                callbacks.on_epoch_end(epoch, epoch_logs)
                if self.stop_training:
                    break
            self._initial_epoch = None
            if self.optimizer is not None and epochs:
                self.optimizer.finalize_variable_values(self.trainable_variables)  # type: ignore[attr-defined]
            callbacks.on_train_end(epoch_logs)
        return self.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on data: the loss, the metrics in the order of `compile`, then the losses of single outputs.

        Args:
            x, y, sample_weight, batch_size, verbose: as in `fit`. steps: batches to take.
            return_dict: give name -> value.

        Returns:
            A list of floats, or the loss alone where there are no metrics.
        """
        self._compiled("evaluate")
        with self._at_home():  # type: ignore[attr-defined]
            batches = make_batches(x, y, sample_weight, batch_size=batch_size, steps=steps, dtype=self._dtype)
            logs = self._evaluate(batches, self._callback_list(callbacks, verbose, batches))
        return logs if return_dict else self._flat(logs)

    def _evaluate(self, batches: Batches, callbacks: CallbackList) -> dict[str, Any]:
        run = self._stepper("test")
        self.stop_evaluating = False
        self.reset_metrics()
        callbacks.on_test_begin()
        logs: Any = None
        with no_grad():
            for step, data in enumerate(batches.epoch()):
                callbacks.on_test_batch_begin(step)
                logs = run(data)
                callbacks.on_test_batch_end(step, logs)
                if self.stop_evaluating:
                    break
        if logs is None:
            raise ValueError("There was no data to evaluate: the source yielded no batches.")
        figures = self._epoch_logs(logs)
        callbacks.on_test_end(figures)
        return figures

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for data, as host arrays.

        Args:
            x: as in `fit`. batch_size: 32 by default. steps: batches to take.

        Returns:
            An array, or the model's structure of arrays where it has several outputs.
        """
        with self._at_home(), no_grad():  # type: ignore[attr-defined]
            batches = make_batches(x, batch_size=batch_size, steps=steps, dtype=self._dtype)
            callbacks = self._callback_list(callbacks, verbose, batches)
            custom = type(self).predict_step is not Trainer.predict_step
            prediction = self._prediction()
            self.stop_predicting = False
            callbacks.on_predict_begin()
            parts: list[list[np.ndarray]] = []
            outputs = None
            for step, data in enumerate(batches.epoch()):
                callbacks.on_predict_batch_begin(step)
                if custom:
                    outputs = self.predict_step(tuple([map_structure(as_tensor, part) for part in data]))
                    values, masks = _copies(outputs)
                else:
                    with prediction.lock:
                        outputs = self._run(prediction, data[:1])
                        values, masks = _copies(outputs)
                parts.append(values)
                callbacks.on_predict_batch_end(step, partial(_shown, outputs, values, masks))
                if self.stop_predicting:
                    break
            if not parts:
                raise ValueError("There was no data to predict from: the source yielded no batches.")
            callbacks.on_predict_end()
        leaves = iter([np.concatenate(column) for column in zip(*parts, strict=True)])
        return map_structure(lambda _: next(leaves), outputs)

    def compile_inference(self, x: Any) -> None:
        """Make `predict` ready for batches of the shape of x now, instead of at the fourth such batch in a row.

        Prediction runs then as recorded calls in which batch normalisation is folded into the weights before it,
        activations and residual sums are part of the products, and weights are packed; after a change of weights this
        is done anew, at the second batch or the next `compile_inference`, which also sees what was written to them
        through views of their memory.

        Args:
            x: a batch, as for `predict_on_batch`.
        """
        shifted = map_structure(lambda a: None if a is None else np.roll(a, 1, -1), to_arrays(x, self._dtype, "x"))
        weights_changed()  # for all that one knows
        self.predict_on_batch(x)
        for batch in (shifted, x, shifted):  # two recordings are compared: they must see different data
            if not self._prediction().replayed:
                self.predict_on_batch(batch)

    # ---- single batches --------------------------------------------------------------------------------------

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One update from one batch. Gives loss and metrics of the batch as `evaluate` does."""
        plan = self._plan or self._compiled("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError("Arguments `class_weight` and `sample_weight` cannot be given at the same time.")
            sample_weight = class_weights(y, class_weight)
        home = self._home or self._find_home()  # type: ignore[attr-defined]
        if home is not None and not is_active(home):
            with use_backend(home):
                return self.train_on_batch(x, y, sample_weight, return_dict=return_dict)
        data = self._one_batch(x, y, sample_weight)
        return self._report(plan, self._stepper("train")(data), return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch, without an update."""
        plan = self._compiled("test_on_batch")
        with self._at_home(), no_grad():  # type: ignore[attr-defined]
            data = self._one_batch(x, y, sample_weight)
            return self._report(plan, self._stepper("test")(data), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as host arrays."""
        home = self._home or self._find_home()  # type: ignore[attr-defined]
        if home is not None and not is_active(home):
            with use_backend(home):
                return self.predict_on_batch(x)
        if type(x) is not np.ndarray or x.dtype != self._dtype:
            x = to_arrays(x, self._dtype, "x")
        if type(self).predict_step is not Trainer.predict_step:
            with no_grad():
                return map_structure(_to_host, self.predict_step((map_structure(as_tensor, x),)))
        prediction = self._prediction()
        with prediction.lock:
            outputs = self._run(prediction, (x,))
            return outputs.numpy().copy() if type(outputs) is Tensor else map_structure(_own_copy, outputs)

    def _one_batch(self, x: Any, y: Any, sample_weight: Any) -> tuple:
        if type(x) is type(y) is np.ndarray and sample_weight is None:  # the usual case, for which microseconds count
            known = x.dtype == self._dtype and (y.dtype == self._dtype or y.dtype.kind in "iu")
            if known and x.ndim and y.ndim and len(x) == len(y) > 0:
                self.reset_metrics()
                return x, y
        x, y = to_arrays(x, self._dtype, "x"), to_arrays(y, self._dtype, "y")
        sample_weight = to_arrays(sample_weight, self._dtype, "sample_weight")
        count_samples(x, y, sample_weight)
        self.reset_metrics()
        return (x, y) if sample_weight is None else (x, y, sample_weight)

    def _report(self, plan: _Plan, logs: Any, return_dict: bool) -> Any:
        if callable(logs) and not return_dict and self._only_the_loss(plan):
            return plan.loss_tracker.result()
        figures = self._epoch_logs(logs)
        return figures if return_dict else self._flat(figures)

    def _traits(self) -> list[Any]:
        """What a recorded step depends on, cheap to make and compare: the layers' attributes, the arrays behind the
        variables, and which of them are trainable. The same list as long as no attribute of anything was set."""
        version, graph = attributes_version(), self._graph  # type: ignore[attr-defined]
        latest = self.__dict__.get("_latest_traits")
        if latest is None or latest[0] != version or latest[1] is not graph:
            latest = self.__dict__["_latest_traits"] = version, graph, self._look_at_traits()
        return latest[2]

    def _look_at_traits(self) -> list[Any]:
        layers, variables, settings, known = vars(self).get("_parts", ((), (), (), None))
        changes = [layer._changes for layer in layers]
        if changes != known:
            layers = self._flatten_layers()  # type: ignore[attr-defined]
            variables = self.weights  # type: ignore[attr-defined]
            changes = [layer._changes for layer in layers]
            held = (value for layer in layers for value in vars(layer).values())
            settings = [value for value in (*held, *flatten(self.loss)) if isinstance(value, Settings)]
            vars(self)["_parts"] = layers, variables, settings, changes
        factor = None if self.optimizer is None else self.optimizer.loss_scale_factor
        traits: list[Any] = [vars(self).get("_graph"), factor, *changes, *[value.changes for value in settings]]
        for variable in variables:
            penalty = variable.regularizer
            traits += id(variable.data), variable.requires_grad, penalty, getattr(penalty, "changes", 0)
        return traits

    # ---- what the loops share --------------------------------------------------------------------------------

    def _shuffler(self) -> np.random.Generator:
        """What draws the orders of samples: the library's generator, or that of the run a loaded model goes on with."""
        return vars(self).get("_shuffles") or host_generator()

    def _build_from(self, batches: Batches) -> None:
        """Build a model that is not built yet by showing it one sample."""
        if self.built:  # type: ignore[attr-defined]
            return
        first = batches.peek() if isinstance(batches, SourceBatches) else batches._data  # type: ignore[attr-defined]
        if first is None:
            raise ValueError("Argument `x` yielded no batches.")
        with no_grad():
            self._call(map_structure(lambda a: a[:1], first[0]), training=False)

    def _callback_list(
        self, callbacks: Any, verbose: Any, batches: Batches, epochs: int = 1, history: bool = False
    ) -> CallbackList:
        if isinstance(callbacks, CallbackList):
            return callbacks
        if verbose not in (0, 1, 2, "auto"):
            raise ValueError(f"Argument `verbose` must be 0, 1, 2 or 'auto'. Received: {verbose!r}")
        return CallbackList(
            callbacks,
            add_history=history,
            add_progbar=verbose != 0,
            model=self,
            verbose=verbose,
            epochs=epochs,
            steps=batches.steps,
            samples=batches.samples,
            batch_size=batches.batch_size,
        )

    def _epoch_logs(self, logs: Any) -> dict[str, Any]:
        """The figures at the end of a pass: those of the metrics where the step reports the same names."""
        if callable(logs):
            return logs()
        tracker = self._plan.loss_tracker if self._plan is not None else None
        if tracker is not None and "loss" in logs and not tracker.result() and tracker in self.metrics:
            return dict(logs)  # a step of its own that never went by compute_loss
        figures = self.get_metrics_result()
        return figures if figures.keys() == logs.keys() else dict(logs)


def _unpack_validation(data: Any) -> tuple[Any, Any, Any]:
    return unpack_x_y_sample_weight(data) if isinstance(data, tuple | list) else (data, None, None)


def _due(epoch: int, frequency: Any) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    if isinstance(frequency, list | tuple | set):
        return epoch + 1 in frequency
    raise ValueError(f"Argument `validation_freq` must be an integer or a list of epochs. Received: {frequency!r}")


def _kept(y_pred: Tensor) -> Tensor:
    """A copy, for metrics that keep what they are given: a replay leaves its results where the last one did."""
    kept = wrap(y_pred.data.copy())
    kept.mask = None if y_pred.mask is None else y_pred.mask.copy()
    return kept


def _copies(outputs: Any) -> tuple[list[np.ndarray], list[Any]]:
    """The values of outputs, on the host, and their masks."""
    leaves = flatten(outputs)
    masks = [getattr(leaf, "mask", None) for leaf in leaves]
    return [np.array(_to_host(leaf)) for leaf in leaves], [None if mask is None else mask.copy() for mask in masks]


def _shown(outputs: Any, values: list[np.ndarray], masks: list[Any]) -> dict[str, Any]:
    """The logs of a batch of `predict`, made only where a callback looks at them."""
    remaining = iter(zip(values, masks, strict=True))

    def tensor(_: Any) -> Tensor:
        value, mask = next(remaining)
        shown = as_tensor(value.copy())
        shown.mask = mask
        return shown

    return {"outputs": map_structure(tensor, outputs)}


def _rows(x: Any) -> int:
    if type(x) is np.ndarray or hasattr(x, "shape"):
        return x.shape[0]
    return next(leaf for leaf in flatten(x) if leaf is not None).shape[0]


def _numbers(logs: dict[str, Any]) -> dict[str, Any]:
    """Figures as Python numbers; those of several metrics in one are figures of their own."""
    found: dict[str, Any] = {}
    for name, value in logs.items():
        found.update(_numbers(value) if isinstance(value, dict) else {name: _number(value)})
    return found


def _number(value: Any) -> Any:
    if isinstance(value, Tensor) or hasattr(value, "dtype"):
        return float(value) if value.size == 1 else _to_host(value)
    return value


def _to_host(leaf: Any) -> np.ndarray:
    return leaf.numpy() if isinstance(leaf, Tensor) else np.asarray(leaf)


def _own_copy(leaf: Any) -> np.ndarray:
    return np.array(_to_host(leaf))
