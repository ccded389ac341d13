"""Callbacks with Keras's names: what happens at the edges of epochs and batches while a model trains.

A callback overrides any of the hooks of `Callback`. Hooks that nobody overrides are never called, and the figures of a
batch are only brought to the host when a hook that takes them is due.
"""

from __future__ import annotations

import csv
import html
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .checking import is_whole, real_number, whole_number
from .progress import ProgressBar

Logs = Any  # a mapping of names to numbers, None, or a function that gives one


class Callback:
    """Base of all callbacks.

    Attributes:
        model: the model that trains.
        params: `epochs`, `steps`, `verbose` and, for arrays, `samples` and `batch_size`.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_model(self, model: Any) -> None:
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def on_train_begin(self, logs: Logs = None) -> None:
        """Before the first epoch of `fit`."""

    def on_train_end(self, logs: Logs = None) -> None:
        """After the last epoch; `logs` are those of that epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before an epoch; they count from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """After an epoch; `logs` holds loss and metrics, with `val_` before those of the validation data."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a training batch; they count from 0 in each epoch."""

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a training batch; `logs` holds the means over the epoch so far."""

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Older name of `on_train_batch_end`."""

    def on_test_begin(self, logs: Logs = None) -> None:
        """Before `evaluate`, also for validation."""

    def on_test_end(self, logs: Logs = None) -> None:
        """After `evaluate`."""

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of `evaluate`."""

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a batch of `evaluate`."""

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Before `predict`."""

    def on_predict_end(self, logs: Logs = None) -> None:
        """After `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a batch of `predict`; `logs["outputs"]` is what the model gave."""


_BATCH_HOOKS = {
    "on_train_batch_begin": ("on_train_batch_begin", "on_batch_begin"),
    "on_train_batch_end": ("on_train_batch_end", "on_batch_end"),
    "on_test_batch_begin": ("on_test_batch_begin",),
    "on_test_batch_end": ("on_test_batch_end",),
    "on_predict_batch_begin": ("on_predict_batch_begin",),
    "on_predict_batch_end": ("on_predict_batch_end",),
}


class CallbackList(Callback):
    """Several callbacks as one, in order; skips the hooks that a callback leaves as they are.

    Args:
        callbacks: one callback, or any nesting of lists of them.
        add_history: put a `History` at the end unless there is one.
        add_progbar: put a `ProgbarLogger` at the end unless there is one.
        model: passed on to the callbacks, with `params`.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.callbacks: list[Callback] = list(_flatten(callbacks))
        for callback in self.callbacks:
            if not hasattr(callback, "set_model"):
                raise TypeError(f"Argument `callbacks` must hold Callback objects. Received: {callback!r}")
        self.history: History | None = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self._hooks = {
            name: [getattr(c, hook) for c in self.callbacks for hook in hooks if _overrides(c, hook)]
            for name, hooks in _BATCH_HOOKS.items()
        }
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def set_model(self, model: Any) -> None:
        self.model = model
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def _batch(self, hooks: list[Callable[..., None]], batch: int, logs: Logs) -> None:
        for hook in hooks:
            if callable(logs) and not getattr(hook, "takes_lazy_logs", False):
                logs = logs()
            hook(batch, {} if logs is None else logs)

    def on_train_begin(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(logs or {})

    def on_train_end(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_train_end(logs or {})

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs or {})

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if hooks := self._hooks["on_train_batch_begin"]:
            self._batch(hooks, batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if hooks := self._hooks["on_train_batch_end"]:
            self._batch(hooks, batch, logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_test_begin(logs or {})

    def on_test_end(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_test_end(logs or {})

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if hooks := self._hooks["on_test_batch_begin"]:
            self._batch(hooks, batch, logs)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if hooks := self._hooks["on_test_batch_end"]:
            self._batch(hooks, batch, logs)

    def on_predict_begin(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_begin(logs or {})

    def on_predict_end(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_end(logs or {})

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if hooks := self._hooks["on_predict_batch_begin"]:
            self._batch(hooks, batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        if hooks := self._hooks["on_predict_batch_end"]:
            self._batch(hooks, batch, logs)


def _flatten(callbacks: Any) -> Iterable[Any]:
    if callbacks is None:
        return
    if isinstance(callbacks, list | tuple):
        for part in callbacks:
            yield from _flatten(part)
    else:
        yield callbacks


def _overrides(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook, None)
    return method is not None and getattr(method, "__func__", method) is not getattr(Callback, hook)


class History(Callback):
    """What `fit` returns: figures of every epoch.

    Attributes:
        history: name -> list of values, one per epoch.
        epoch: numbers of the epochs.
        params: see `Callback`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self

    def plot(self) -> Any:
        """Its curves as a matplotlib Figure; needs the extra `plots`."""
        from .plots import history

        return history(self)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in ("epoch", *self.history))
        rows = "".join(
            f"<tr><td>{epoch + 1}</td>"
            + "".join(
                f"<td>{values[i]:.4g}</td>" if i < len(values) else "<td></td>" for values in self.history.values()
            )
            + "</tr>"
            for i, epoch in enumerate(self.epoch)
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


class ProgbarLogger(Callback):
    """The progress bar of `fit`, `evaluate` and `predict` (see `dlcore.progress`).

    `verbose` 1 or "auto" shows a bar on a terminal and a line per epoch elsewhere, 2 always a line, 0 nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._training = False
        self._bar: ProgressBar | None = None
        self._seen = 0

    def _begin(self, label: str) -> None:
        verbose = self.params.get("verbose", 1)
        if verbose == 0:
            return
        samples, steps = self.params.get("samples"), self.params.get("steps")
        unit = "batches" if samples is None else "samples"
        self._seen = 0
        self._bar = ProgressBar(label, steps if samples is None else samples, unit, False if verbose == 2 else None)

    def _batch_end(self, batch: int, logs: Logs) -> None:
        if self._bar is None:
            return
        samples, done = self.params.get("samples"), batch + 1
        if samples is not None:
            done = min(done * self.params["batch_size"], samples)
        due = self._bar.advance(done - self._seen)
        self._seen = done
        if due:
            self._bar.show(logs() if callable(logs) else logs or {})

    def _end(self, logs: Logs) -> None:
        if self._bar is not None:
            self._bar.finish(logs or {})
            self._bar = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._training = True

    def on_train_end(self, logs: Logs = None) -> None:
        self._training = False

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._begin(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._end(logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batch_end(batch, logs)

    on_train_batch_end.takes_lazy_logs = True  # type: ignore[attr-defined]

    def on_test_begin(self, logs: Logs = None) -> None:
        if not self._training:
            self._begin("Evaluating")

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if not self._training:
            self._batch_end(batch, logs)

    on_test_batch_end.takes_lazy_logs = True  # type: ignore[attr-defined]

    def on_test_end(self, logs: Logs = None) -> None:
        if not self._training:
            self._end(logs)

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._begin("Predicting")

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batch_end(batch, {})

    on_predict_batch_end.takes_lazy_logs = True  # type: ignore[attr-defined]

    def on_predict_end(self, logs: Logs = None) -> None:
        self._end({})


class LambdaCallback(Callback):
    """Hooks given as functions: `LambdaCallback(on_epoch_end=lambda epoch, logs: print(logs["loss"]))`.

    Raises:
        ValueError: an argument is no hook, or no function.
    """

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        super().__init__()
        for name, function in hooks.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                from .naming import unknown_name

                raise unknown_name("hook", name, [n for n in dir(Callback) if n.startswith("on_")])
            if function is not None and not callable(function):
                raise ValueError(f"Argument `{name}` must be a function. Received: {name}={function!r}")
            if function is not None:
                setattr(self, name, function)


class _Monitor(Callback):
    """Watches one figure. Which way is better is given, or follows from the metric of that name."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(f"{type(self).__name__} mode {mode!r} is unknown, falling back to 'auto'.", stacklevel=3)
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best: float | None = None
        self._sign = {"min": -1.0, "max": 1.0}.get(mode)

    def _improves(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return True
        if self._sign is None:
            self._sign = self._find_sign()
        return self._sign * (value - reference) > self.min_delta

    def _find_sign(self) -> float:
        name = self.monitor.removeprefix("val_")
        if name == "loss" or name.endswith("_loss"):
            return -1.0
        for metric in getattr(self.model, "metrics", []):
            for part in getattr(metric, "metrics", [metric]):
                if getattr(part, "name", None) == name and getattr(part, "direction", None):
                    return 1.0 if part.direction == "up" else -1.0
        raise ValueError(
            f"{type(self).__name__} cannot tell whether monitor={self.monitor!r} should rise or fall; "
            "pass mode='max' or mode='min'."
        )

    def _current(self, logs: Logs) -> float | None:
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not available. "
                f"Available are: {', '.join(logs or {})}",
                stacklevel=3,
            )
        return value


class EarlyStopping(_Monitor):
    """Stop training when a figure has stopped improving.

    Args:
        monitor: name in the logs.
        min_delta: what counts as an improvement.
        patience: epochs without improvement before stopping.
        mode: "min", "max", or "auto", which goes by the metric.
        baseline: the figure must beat it for the patience to start anew.
        restore_best_weights: at the end go back to the weights of the best epoch.
        start_from_epoch: epochs to wait before watching.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = whole_number(patience, "patience")
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best = self.best_weights = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        value = self._current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        self.wait += 1
        if self._improves(value, self.best):
            self.best = value
            self.best_epoch = epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self._improves(value, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Save the model, or its weights, after epochs or every so many batches.

    Args:
        filepath: may hold `{epoch}`, `{batch}` and names from the logs: "model-{epoch:02d}-{val_loss:.2f}.safetensors".
        save_best_only: only when the monitored figure has improved.
        save_weights_only: `save_weights` in place of `save`.
        save_freq: "epoch" or a number of batches.
        initial_value_threshold: what the figure must beat for the first save.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not is_whole(save_freq, 1):
            raise ValueError(f"Argument `save_freq` must be 'epoch' or a number of batches. Received: {save_freq!r}")
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = initial_value_threshold
        self._epoch = 0
        self._batches = 0
        if save_freq != "epoch":  # a hook of the instance: saving by epochs needs no figures of batches
            self.on_train_batch_end = self._on_train_batch_end  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def _on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batches += 1
        if self._batches % int(self.save_freq) == 0:
            self._save(self._epoch, batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _save(self, epoch: int, batch: int | None, logs: Logs) -> None:
        logs = dict(logs or {})
        if batch is not None:
            logs["batch"] = batch + 1
        try:
            path = self.filepath.format(**{"epoch": epoch + 1, **logs})
        except KeyError as error:
            raise KeyError(
                f"Argument `filepath`: {self.filepath!r} names {error}, which is not in the logs: {', '.join(logs)}"
            ) from None
        if self.save_best_only:
            value = self._current(logs)
            if value is not None:
                if not self._improves(value, self.best):
                    self._say(epoch, f"{self.monitor} did not improve from {self.best}")
                    return
                self._say(epoch, f"{self.monitor} improved from {self.best} to {value:.5f}")
                self.best = value
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        self._say(epoch, f"saved {path}")

    def _say(self, epoch: int, text: str) -> None:
        if self.verbose:
            print(f"Epoch {epoch + 1}: {text}")


class BackupAndRestore(Callback):
    """Keep the latest weights, states of optimizer and random numbers, and epoch in a folder, and go on from there
    after an interruption: to the bits that the run would have reached without it.

    Args:
        backup_dir: folder for the backup; it is written after every epoch (or `save_freq` of them).
        delete_checkpoint: remove the backup once training has ended.
    """

    def __init__(
        self, backup_dir: str | os.PathLike[str], save_freq: str | int = "epoch", delete_checkpoint: bool = True
    ) -> None:
        super().__init__()
        if not os.fspath(backup_dir):
            raise ValueError("Argument `backup_dir` must name a folder. Received: ''")
        if save_freq != "epoch" and not is_whole(save_freq, 1):
            raise ValueError(f"Argument `save_freq` must be 'epoch' or a number of epochs. Received: {save_freq!r}")
        self.path = Path(backup_dir) / "latest.npz"
        self.every = 1 if save_freq == "epoch" else int(save_freq)
        self.delete_checkpoint = delete_checkpoint

    def on_train_begin(self, logs: Logs = None) -> None:
        from .io.safetensors import set_random_state

        if not self.path.exists():
            return
        with np.load(self.path, allow_pickle=False) as saved:
            weights = {int(name[2:]): saved[name] for name in saved.files if name.startswith("w/")}
            state = {name[2:]: saved[name] for name in saved.files if name.startswith("o/")}
            epoch, drawn = int(saved["epoch"]), json.loads(str(saved["random"]))
            rate = float(saved["rate"]) if "rate" in saved.files else None
        self.model.set_weights([weights[i] for i in range(len(weights))])
        self.model.optimizer.build(self.model.trainable_variables)
        self.model.optimizer.set_state(state)
        if rate is not None:
            self.model.optimizer.learning_rate = rate
        set_random_state(self.model, drawn)
        self.model._initial_epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        from .io.safetensors import random_state

        if (epoch + 1) % self.every:
            return
        arrays: dict[str, Any] = {f"w/{i}": w for i, w in enumerate(self.model.get_weights())}
        arrays.update({f"o/{name}": value for name, value in self.model.optimizer.get_state().items()})
        optimizer = self.model.optimizer
        if isinstance(optimizer.get_config()["learning_rate"], float):  # no schedule: a callback may have set it
            arrays["rate"] = optimizer.learning_rate
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez(file, epoch=epoch + 1, random=json.dumps(random_state(self.model)), **arrays)
        os.replace(part, self.path)

    def on_train_end(self, logs: Logs = None) -> None:
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)


class LearningRateScheduler(Callback):
    """Set the learning rate before every epoch to `schedule(epoch, learning_rate)`, or `schedule(epoch)`."""

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        if not callable(schedule):
            raise ValueError(f"Argument `schedule` must be a function. Received: schedule={schedule!r}")
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, optimizer.learning_rate)
        except TypeError:  # a function of the epoch alone
            rate = self.schedule(epoch)
        if isinstance(rate, bool) or not isinstance(rate, float | np.floating):
            raise ValueError(f"The function given as `schedule` must return a float. It gave: {rate!r}")
        optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class ReduceLROnPlateau(_Monitor):
    """Multiply the learning rate by `factor` when a figure has not improved for `patience` epochs.

    Args:
        min_delta: what counts as an improvement.
        cooldown: epochs to wait after a reduction before counting again.
        min_lr: lower bound of the rate.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 0.0001,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if real_number(factor, "factor", 0.0) >= 1.0:
            raise ValueError(f"Argument `factor` must be < 1. Received: factor={factor}")
        self.factor = factor
        self.patience = whole_number(patience, "patience")
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self.best = None
        self.wait = self.cooldown_counter = 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = optimizer.learning_rate
        value = self._current(logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._improves(value, self.best):
            self.best = value
            self.wait = 0
            return
        if self.cooldown_counter > 0:
            return
        self.wait += 1
        old = optimizer.learning_rate
        if self.wait >= self.patience and old > self.min_lr:
            optimizer.learning_rate = max(old * self.factor, self.min_lr)
            self.cooldown_counter = self.cooldown
            self.wait = 0
            if self.verbose:
                rate = optimizer.learning_rate
                print(f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}.")


class CSVLogger(Callback):
    """Write the figures of every epoch to a CSV file.

    Args:
        filename: path of the file. separator: between fields. append: add to an existing file.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._file: Any = None
        self._writer: Any = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._header = not (self.append and os.path.exists(self.filename) and os.path.getsize(self.filename))
        self._file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self._writer is None:
            names = sorted(logs)
            if not any(name.startswith("val_") for name in names):  # validation may come in later epochs only
                names += [f"val_{name}" for name in names]
            self._writer = csv.DictWriter(
                self._file, ["epoch", *names], restval="NA", extrasaction="ignore", delimiter=self.separator
            )
            if self._header:
                self._writer.writeheader()
        self._writer.writerow({"epoch": epoch, **logs})
        self._file.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        self._file.close()
        self._writer = None


class TerminateOnNaN(Callback):
    """Stop training as soon as the loss is NaN or infinite; with `raise_error` by a RuntimeError."""

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or np.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"The loss is {loss} at batch {batch}; training ends here.")
        print(f"Batch {batch}: the loss is {loss}, terminating training.")
        self.model.stop_training = True


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("callbacks", name, list(globals()))
