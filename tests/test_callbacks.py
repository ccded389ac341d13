"""Callbacks: order of the hooks, and what each of them does to a run."""

from __future__ import annotations

import csv
import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import dlcore as dl
from dlcore import callbacks, layers
from dlcore.progress import ProgressBar, format_logs

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [-2.0], [0.5]], np.float32)).astype(np.float32)


def _model(optimizer: object = "sgd", metrics: object = None) -> dl.Model:
    dl.set_random_seed(1)
    model = dl.Sequential([layers.Input((3,)), layers.Dense(4, activation="tanh"), layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=metrics)
    return model


class Recorder(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):

            def hook(*args):
                self.calls.append((name, *[a for a in args if isinstance(a, int)]))

            return hook
        return super().__getattribute__(name)


def test_order_of_the_hooks():
    recorder = Recorder()
    _model().fit(X, Y, batch_size=16, epochs=2, validation_data=(X[:5], Y[:5]), callbacks=[recorder], verbose=0)
    epoch = [
        ("on_train_batch_begin", 0),
        ("on_train_batch_end", 0),
        ("on_train_batch_begin", 1),
        ("on_train_batch_end", 1),
        ("on_test_begin",),
        ("on_test_batch_begin", 0),
        ("on_test_batch_end", 0),
        ("on_test_end",),
    ]
    expected = [("on_train_begin",)]
    for number in (0, 1):
        expected += [("on_epoch_begin", number), *epoch, ("on_epoch_end", number)]
    assert recorder.calls == [*expected, ("on_train_end",)]
    recorder.calls.clear()
    _model().predict(X, callbacks=[recorder], verbose=0)
    assert [call[0] for call in recorder.calls] == [
        "on_predict_begin",
        "on_predict_batch_begin",
        "on_predict_batch_end",
        "on_predict_end",
    ]


def test_batch_logs_and_stopping_within_an_epoch():
    seen = []

    class Stop(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])
            self.model.stop_training = batch == 2

    history = _model().fit(X, Y, batch_size=4, epochs=5, callbacks=Stop(), verbose=0)
    assert len(seen) == 3
    assert history.epoch == [0]
    assert history.history["loss"] == [pytest.approx(seen[-1])]


class Script(callbacks.Callback):
    """Puts figures of its own into the logs, in front of the callback under test."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.name, self.weights = values, name, []

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]
        self.weights.append(self.model.get_weights())


@pytest.mark.parametrize(
    ("arguments", "values", "epochs"),
    [
        ({"patience": 2}, [3, 2, 1, 1.5, 1.2, 1.1, 0.1], 5),
        ({"patience": 0}, [3, 2, 2, 1], 3),
        ({"patience": 1, "min_delta": 0.5}, [3, 2, 1.9, 1.8], 3),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2, 4], 4),
        ({"patience": 2, "baseline": 1.0}, [3, 2, 2, 1.8], 3),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5),
        ({"patience": 3}, [4, 3, 2, 1], 4),
    ],
)
def test_early_stopping(arguments, values, epochs):
    stopper = callbacks.EarlyStopping(restore_best_weights=True, **arguments)
    script = Script(values)
    model = _model()
    history = model.fit(X, Y, epochs=len(values), callbacks=[script, stopper], verbose=0)
    assert len(history.epoch) == epochs
    for restored, best in zip(model.get_weights(), script.weights[stopper.best_epoch], strict=True):
        np.testing.assert_array_equal(restored, best)
    sign = -1 if arguments.get("mode") == "max" else 1
    considered = range(arguments.get("start_from_epoch", 0), epochs)
    if "min_delta" not in arguments:
        assert stopper.best_epoch == min(considered, key=lambda i: (sign * values[i], i))


def test_early_stopping_like_keras():
    from oracle import keras

    values = list(np.random.default_rng(5).normal(size=30).cumsum())
    for arguments in ({"patience": 4}, {"patience": 2, "min_delta": 0.3}, {"patience": 3, "baseline": -1.0}):
        ours = callbacks.EarlyStopping(monitor="loss", **arguments)
        theirs = keras.callbacks.EarlyStopping(monitor="loss", **arguments)

        class Model:
            stop_training = False
            metrics = ()

        stopped = []
        for stopper in (ours, theirs):
            stopper.set_model(Model())
            stopper.on_train_begin()
            for epoch, value in enumerate(values):
                stopper.on_epoch_end(epoch, {"loss": value})
                if stopper.model.stop_training:
                    break
            stopped.append((epoch, stopper.best))
        assert stopped[0] == stopped[1]


def test_monitoring_a_metric_knows_its_direction():
    stopper = callbacks.EarlyStopping(monitor="val_mae", patience=1)
    _model(metrics=["mae"]).fit(X, Y, epochs=3, validation_split=0.2, callbacks=[stopper], verbose=0)
    assert stopper.best is not None
    unknown = callbacks.EarlyStopping(monitor="speed")
    with pytest.raises(ValueError, match="mode='max'"):
        _model().fit(X, Y, epochs=2, callbacks=[Script([1, 2], "speed"), unknown], verbose=0)
    with pytest.warns(UserWarning, match="val_loss"):
        _model().fit(X, Y, callbacks=[callbacks.EarlyStopping()], verbose=0)


@pytest.mark.parametrize("weights_only", [False, True])
def test_model_checkpoint(tmp_path, weights_only):
    path = tmp_path / "deep" / "m-{epoch:02d}-{val_loss:.1f}.safetensors"
    keep = callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=weights_only)
    script = Script([3.0, 2.0, 2.5, 1.0])
    model = _model()
    model.fit(X, Y, epochs=4, callbacks=[script, keep], verbose=0)
    names = sorted(p.name for p in (tmp_path / "deep").iterdir())
    assert names == ["m-01-3.0.safetensors", "m-02-2.0.safetensors", "m-04-1.0.safetensors"]
    chosen = str(tmp_path / "deep" / names[1])
    if weights_only:
        model.load_weights(chosen)
    else:
        model = dl.load_model(chosen)
    for a, b in zip(model.get_weights(), script.weights[1], strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(KeyError, match="accuracy"):
        _model().fit(X, Y, callbacks=[callbacks.ModelCheckpoint(str(tmp_path / "{accuracy}.safetensors"))], verbose=0)
    with pytest.raises(ValueError, match="save_freq"):
        callbacks.ModelCheckpoint("x", save_freq="hourly")


def test_model_checkpoint_by_batches(tmp_path):
    keep = callbacks.ModelCheckpoint(tmp_path / "m-{epoch}-{batch}.safetensors", save_freq=3)
    _model().fit(X, Y, batch_size=5, epochs=2, callbacks=[keep], verbose=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m-1-3.safetensors", "m-2-2.safetensors"]


def test_learning_rate_scheduler():
    for schedule in (lambda epoch, rate: 0.1 / (epoch + 1), lambda epoch: 0.1 / (epoch + 1)):
        history = _model().fit(X, Y, epochs=3, callbacks=[callbacks.LearningRateScheduler(schedule)], verbose=0)
        assert history.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    with pytest.raises(ValueError, match="float"):
        _model().fit(X, Y, callbacks=[callbacks.LearningRateScheduler(lambda epoch, rate: "slow")], verbose=0)


def test_reduce_on_plateau():
    reducer = callbacks.ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.02)
    values = [3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]
    history = _model(dl.optimizers.SGD(0.1)).fit(
        X, Y, epochs=len(values), callbacks=[Script(values), reducer], verbose=0
    )
    from oracle import keras

    class Model:
        class optimizer:
            learning_rate = 0.1

        metrics = ()

    theirs = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.02)
    theirs.set_model(Model)
    theirs.on_train_begin()
    expected = []
    for epoch, value in enumerate(values):
        logs = {"val_loss": value}
        theirs.on_epoch_end(epoch, logs)
        expected.append(logs["learning_rate"])
    assert history.history["learning_rate"] == pytest.approx(expected)
    for factor in (1.0, -0.5, "a"):
        with pytest.raises(ValueError, match="factor"):
            callbacks.ReduceLROnPlateau(factor=factor)
    for monitor in (callbacks.ReduceLROnPlateau, callbacks.EarlyStopping):
        with pytest.raises(ValueError, match="patience must be a whole number of at least 0, got -1"):
            monitor(patience=-1)


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    _model(metrics=["mae"]).fit(X, Y, epochs=2, callbacks=[callbacks.CSVLogger(path)], verbose=0)
    _model(metrics=["mae"]).fit(X, Y, epochs=1, callbacks=[callbacks.CSVLogger(path, append=True)], verbose=0)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "0"]
    assert list(rows[0]) == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert float(rows[0]["loss"]) > float(rows[1]["loss"])
    assert rows[0]["val_loss"] == "NA"


def test_terminate_on_nan():
    bad = X.copy()
    bad[9] = np.nan
    history = _model().fit(
        bad, Y, batch_size=4, epochs=3, shuffle=False, callbacks=[callbacks.TerminateOnNaN()], verbose=0
    )
    assert len(history.epoch) == 1
    assert np.isnan(history.history["loss"][0])
    with pytest.raises(RuntimeError, match="nan"):
        _model().fit(bad, Y, callbacks=[callbacks.TerminateOnNaN(raise_error=True)], verbose=0)
    assert np.isnan(_model().fit(bad, Y, verbose=0).history["loss"][0])  # without it, fit goes on and shows it


def test_lambda_callback():
    seen = []
    hooks = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(epoch),
        on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]),
    )
    _model().fit(X, Y, batch_size=20, epochs=2, callbacks=[hooks], verbose=0)
    assert seen[1::2] == [0, 1]
    assert all(isinstance(value, float) for value in seen[::2])
    with pytest.raises(ValueError, match="on_epoch_end"):
        callbacks.LambdaCallback(on_epoch_ends=print)
    with pytest.raises(ValueError, match="`on_epoch_end` must be a function"):
        callbacks.LambdaCallback(on_epoch_end=5)
    with pytest.raises(ValueError, match="`schedule` must be a function"):
        callbacks.LearningRateScheduler(0.1)


@pytest.mark.parametrize("save_freq", [0, -1, True, "batch"])
def test_a_backup_needs_a_frequency(tmp_path, save_freq):
    with pytest.raises(ValueError, match="`save_freq` must be 'epoch' or a number of epochs"):
        callbacks.BackupAndRestore(tmp_path, save_freq=save_freq)


def test_outputs_of_predict_may_be_kept():
    """Those of a replay lie where the next one leaves its own."""
    seen = []
    model = _model()
    keep = callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: seen.append(logs["outputs"]))
    expected = model.predict(X, batch_size=2, callbacks=[keep], verbose=0)
    assert model._prediction().replayed
    np.testing.assert_array_equal(np.concatenate([y.numpy() for y in seen]), expected)


def test_outputs_given_to_callbacks_keep_their_masks():
    seen = []
    model = dl.Sequential([dl.layers.Input((4, 3)), dl.layers.Masking(), dl.layers.LSTM(2, return_sequences=True)])
    x = np.random.default_rng(0).normal(size=(12, 4, 3)).astype(np.float32)
    x[::2, 2:] = 0.0
    keep = callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: seen.append(logs["outputs"].mask))
    model.predict(x, batch_size=2, callbacks=[keep], verbose=0)
    np.testing.assert_array_equal(np.concatenate([dl.Tensor(m).numpy() for m in seen]), (x != 0).any(-1))


def test_predict_step_runs_while_another_thread_predicts():
    """Each waits for the other to be inside: a lock around what users write would never let them meet."""
    both = threading.Barrier(2, timeout=20)

    class Meeting(dl.Sequential):
        def predict_step(self, data):
            both.wait()
            return super().predict_step(data)

    model = Meeting([dl.layers.Input((3,)), dl.layers.Dense(2)])
    other = threading.Thread(target=model.predict, args=(np.ones((1, 3)),), kwargs={"verbose": 0})
    other.start()
    model.predict(np.ones((1, 3)), verbose=0)
    other.join()


def test_backup_and_restore(tmp_path):
    """A run that breaks off goes on as if nothing had happened, to the same bits."""

    class Break(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def slower(epoch, rate):
        return rate * 0.9

    def run(*further, seed=0):
        dl.set_random_seed(seed)
        model = _model("adam")
        model.add(layers.Dropout(0.1))
        return model, model.fit(
            X, Y, epochs=5, verbose=0, callbacks=[*further, callbacks.LearningRateScheduler(slower)]
        )

    whole, _ = run()
    with pytest.raises(KeyboardInterrupt):
        run(callbacks.BackupAndRestore(tmp_path), Break())
    resumed, history = run(callbacks.BackupAndRestore(tmp_path), seed=5)
    assert history.epoch == [2, 3, 4]
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list(tmp_path.iterdir())


def test_callbacks_must_be_callbacks():
    with pytest.raises(TypeError, match="callbacks"):
        _model().fit(X, Y, callbacks=["EarlyStopping"], verbose=0)


def test_verbose(capsys):
    model = _model(metrics=["mae"])
    model.fit(X, Y, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")
    model.fit(X, Y, epochs=2, verbose="auto", validation_data=(X, Y))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Epoch 1/2 - ")
    assert all(word in lines[1] for word in ("samples/s", "loss: ", "mae: ", "val_loss: ", "val_mae: "))
    with pytest.raises(ValueError, match="verbose"):
        model.fit(X, Y, verbose=3)


def test_the_bar(capsys):
    bar = ProgressBar("Epoch 1/1", 100, bar=True)
    bar.advance(40)
    bar.show({"loss": 0.5})
    bar.advance(60)
    bar.finish({"loss": 0.25, "val_loss": 1e-6})
    text = capsys.readouterr().err
    assert "40/100" in text
    assert "100%" in text
    assert "loss: 0.2500 - val_loss: 1.0000e-06" in text
    assert format_logs({"a": float("nan")}) == "a: nan"


@pytest.mark.parametrize("widgets", [True, False])
def test_the_bar_in_a_notebook(widgets, monkeypatch, capsys):
    """As widgets where there are some, else as text; a notebook's standard error is no terminal."""

    class ZMQInteractiveShell:  # the class of a Jupyter kernel's shell
        pass

    made = []

    class Widgets:
        def __init__(self, **arguments):
            made.append(arguments["desc"])

        def __getattr__(self, name):
            return lambda *args, **kwargs: None

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=ZMQInteractiveShell))
    monkeypatch.setitem(sys.modules, "ipywidgets", ModuleType("ipywidgets") if widgets else None)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm=Widgets))
    _model().fit(X, Y, epochs=2, verbose="auto")
    text = capsys.readouterr().err
    assert made == (["Epoch 1/2", "Epoch 2/2"] if widgets else [])
    assert ("20/20" in text) != widgets
    _model().fit(X, Y, verbose=2)
    assert "Epoch 1/1 - " in capsys.readouterr().err
