"""Training on the CuPy engine: on a GPU (`make test-gpu`), or on the emulated device (`make test-emulated-gpu`)."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import backend_or_skip

import dlcore as dl
from dlcore import backends, callbacks, datasets, layers, optimizers
from dlcore.kernels.cuda.linear import _bias_activation

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def cupy_engine(request):
    return backend_or_skip("cupy", request.config)


class Losses(callbacks.Callback):
    """The loss of every batch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


def lenet():
    return dl.Sequential(
        [
            layers.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="tanh"), layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"), layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="tanh"), layers.Dense(84, activation="tanh"),
            layers.Dense(10, activation="softmax"),
        ]
    )  # fmt: skip


def residual_network():
    image = layers.Input((16, 16, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(image)))
    for filters, stride in ((8, 1), (16, 2)):
        y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        if stride > 1:
            x = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides=stride, use_bias=False)(x))
        x = layers.ReLU()(layers.Add()([x, y]))
    return dl.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def sequence_network():
    return dl.Sequential(
        [layers.Input((16, 16)), layers.LSTM(24), layers.Dropout(0.2), layers.Dense(10, activation="softmax")]
    )


def digits(size: int, count: int | None = None):
    (x, y), _ = datasets.digits.load_data(image_size=(size, size))
    return x[:count], y[:count]


def loss_curve(engine: str, make, x, y, **options) -> tuple[list[float], list[np.ndarray]]:
    """The running loss after each batch of an epoch, and the weights at its end."""
    with dl.use_backend(engine):
        dl.set_random_seed(0)
        model = make()
        model.compile(
            optimizer=optimizers.SGD(learning_rate=0.05, momentum=0.9),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            **options,
        )
        losses = Losses()
        model.fit(x, y, batch_size=32, epochs=1, verbose=0, callbacks=[losses])
        return losses.values, model.get_weights()


def cpu_engine() -> str:
    return next(name for name in ("cython", "numpy") if name in backends.available_backends())


def test_lenet_has_the_loss_curve_of_the_cpu_engine():
    x, y = digits(32)
    curve, _ = loss_curve("cupy", lenet, x, y)
    expected, _ = loss_curve(cpu_engine(), lenet, x, y)
    assert curve[-1] < 0.8 * curve[0]
    np.testing.assert_allclose(curve, expected, atol=1e-3)


@pytest.mark.parametrize("make", [residual_network, sequence_network])
def test_small_networks_have_the_loss_curve_of_the_cpu_engine(make):
    x, y = digits(16, 320)
    x = x if make is residual_network else x[..., 0]
    curve, _ = loss_curve("cupy", make, x, y)
    expected, _ = loss_curve(cpu_engine(), make, x, y)
    assert curve[-1] < curve[0]
    np.testing.assert_allclose(curve, expected, atol=1e-3)


@pytest.mark.filterwarnings("error:Recorded steps run")
@pytest.mark.filterwarnings("error:Training")
@pytest.mark.parametrize("make", [lenet, sequence_network])
def test_recorded_steps_give_the_bits_of_eager_ones(make):
    """Ten batches: two eager, two recorded, one ordinary run of the program, one capture, four launches of graphs."""
    x, y = digits(32 if make is lenet else 16, 320)
    x = x if make is lenet else x[..., 0]
    curve, weights = loss_curve("cupy", make, x, y)
    expected, expected_weights = loss_curve("cupy", make, x, y, run_eagerly=True)
    assert curve == expected
    for got, want in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_step_that_cannot_be_captured_warns_once(cupy_engine, monkeypatch):
    def refuse(self, mode=None):
        raise RuntimeError("no capture here")

    stream = sys.modules["cupy"].cuda.Stream
    monkeypatch.setattr(stream, "begin_capture", refuse)
    monkeypatch.setattr(cupy_engine, "_captures", True)
    x, y = digits(16, 320)
    with pytest.warns(UserWarning, match="not as CUDA graphs, because CUDA refuses: no capture here") as caught:
        curve, _ = loss_curve("cupy", sequence_network, x[..., 0], y)
    assert len([w for w in caught if "CUDA graphs" in str(w.message)]) == 1
    assert curve[-1] < curve[0]


def test_values_come_to_the_host_only_when_they_are_asked_for(cupy_engine, monkeypatch):
    x, y = digits(16, 320)
    with dl.use_backend("cupy"):
        model = sequence_network()
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x[..., 0], y, verbose=0)
        read = []
        monkeypatch.setattr(cupy_engine, "to_numpy", lambda array: read.append(None) or array.get())
        reads = []
        note = callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: reads.append(len(read)))
        model.fit(x[..., 0], y, verbose=0, callbacks=[note])
    assert len(reads) == 10
    assert set(reads) == {0}


def test_predictions_and_saved_weights_are_those_of_the_cpu_engine(tmp_path):
    x, y = digits(16, 96)
    with dl.use_backend("cupy"):
        model = residual_network()
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, verbose=0)
        for _ in range(5):  # eager, recorded, replayed, folded
            predicted = model.predict(x, batch_size=32, verbose=0)
        figures = model.evaluate(x, y, verbose=0)
        model.save(tmp_path / "model.safetensors")
    with dl.use_backend(cpu_engine()):
        model = dl.load_model(tmp_path / "model.safetensors")
        np.testing.assert_allclose(model.predict(x, verbose=0), predicted, atol=1e-4)
        np.testing.assert_allclose(model.evaluate(x, y, verbose=0), figures, atol=1e-4)


def test_there_are_as_many_devices_as_cuda_counts(cupy_engine):
    count = sys.modules["cupy"].cuda.runtime.getDeviceCount()
    with pytest.raises(backends.BackendUnavailableError, match=f"there is no device {count}; .* finds {count}"):
        backends.get_backend(f"cupy:{count}")
    last = backends.get_backend(f"cupy:{count - 1}")
    assert last.asarray(np.ones(3)).device.id == count - 1
    assert last.info()["device"].startswith(f"{count - 1}: ")


@pytest.mark.skipif("EMULATED_CACHE" not in os.environ, reason="the number of devices is that of the machine")
def test_second_device():
    code = (
        "import cupy, numpy as np, dlcore as dl; dl.use_backend('cupy:1'); x = dl.Tensor(np.eye(3, dtype=np.float32)); "
        "y = (x @ x + 1.0).sum(); assert float(y) == 12; assert y.data.device.id == 1; "
        "assert cupy.cuda.runtime.getDevice() == 0"
    )
    subprocess.run([sys.executable, "-P", "-c", code], env=os.environ | {"EMULATED_DEVICES": "2"}, check=True)


# ---- the launch helper refuses what CuPy would pass on ---------------------------------------------------------------


def device(*shape, dtype=np.float32):
    return backends.get_backend("cupy").zeros(shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            lambda: (np.zeros((2, 3), np.float32), None, 6, 3, 0),
            TypeError,
            "y must be an array on the device, got a NumPy",
        ),
        (lambda: (device(2, 3, dtype=np.int32), None, 6, 3, 0), TypeError, "y must be float32 or float64, got int32"),
        (lambda: (device(2, 3), device(3, dtype=np.float64), 6, 3, 0), TypeError, "bias must be float32, got float64"),
        (lambda: (device(3, 2).T, None, 6, 3, 0), ValueError, "y must be C-contiguous, got shape"),
        (lambda: (device(2, 3), None, 6, 3.5, 0), TypeError, "columns must be a number for int32, got 3.5"),
        (lambda: (device(2, 3), None, 6, 2**40, 0), OverflowError, "."),
        (lambda: (device(2, 3), None, 6, 3), TypeError, "takes 5 arguments, got 4"),
        (lambda: (None, None, 6, 3, 0), TypeError, "no array says what REAL is"),
    ],
)
def test_launch_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        _bias_activation(6, *arguments())  # REAL* y, const REAL* bias, long long n, int columns, int activation


def test_device_memory_is_shared_by_dlpack():
    import cupy

    theirs = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
    with backends.registry.use_backend("cupy"):
        ours = dl.from_dlpack(theirs)
        theirs[0, 0] = 7
        assert ours.numpy()[0, 0] == 7
        assert ours.__dlpack_device__() == theirs.__dlpack_device__()
        assert cupy.from_dlpack(ours).data.ptr == theirs.data.ptr
        np.testing.assert_array_equal(dl.from_dlpack(np.ones(3, np.float32)).numpy(), np.ones(3))
    with backends.registry.use_backend("numpy"), pytest.raises(BufferError, match="does not reach"):
        dl.from_dlpack(theirs)
