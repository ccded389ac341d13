"""Arrays of other libraries: NumPy's protocols, DLPack to and from PyTorch and JAX, plain functions, data frames."""

from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore import functional as F
from dlcore import layers, ops


def test_numpy_sees_the_memory_itself(active_backend):
    x = dl.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert np.shares_memory(np.asarray(x), x.data)
    assert np.asarray(x, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(x), x.data)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(x, np.float64, copy=False)


# ---- DLPack ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_numpy_by_dlpack_shares_both_ways(active_backend, dtype):
    host = np.ones((3, 2), dtype)
    x = dl.from_dlpack(host)
    assert x.dtype == dtype
    assert np.shares_memory(x.data, host)
    assert np.shares_memory(np.from_dlpack(x), host)


def test_torch_shares_both_ways(active_backend):
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    ours = dl.from_dlpack(theirs)
    theirs[0, 0] = 7
    assert ours.numpy()[0, 0] == 7
    back = torch.from_dlpack(ours)
    back[1, 2] = -1
    assert ours.numpy()[1, 2] == -1
    assert back.data_ptr() == theirs.data_ptr()


def test_torch_transposed_is_copied_not_misread(active_backend):
    torch = pytest.importorskip("torch")
    theirs = torch.arange(6, dtype=torch.float32).reshape(2, 3).T
    np.testing.assert_array_equal(dl.from_dlpack(theirs).numpy(), theirs.numpy())


def test_jax_both_ways(active_backend):
    jax = pytest.importorskip("jax")
    theirs = jax.numpy.arange(6, dtype=jax.numpy.float32).reshape(2, 3)
    ours = dl.from_dlpack(theirs)
    np.testing.assert_array_equal(ours.numpy(), np.arange(6).reshape(2, 3))
    ours.data[0, 0] = 5  # a copy: what JAX holds must not change
    assert float(theirs[0, 0]) == 0
    np.testing.assert_array_equal(np.asarray(jax.dlpack.from_dlpack(ours)), ours.numpy())


def test_what_dlpack_cannot_bring_is_refused():
    class OnDevice:
        def __dlpack__(self, **kwargs):
            raise AssertionError("not to be called")

        def __dlpack_device__(self):
            return 2, 0

    with pytest.raises(TypeError, match=r"from_dlpack: x must offer __dlpack__ .*, got list"):
        dl.from_dlpack([1.0])
    with pytest.raises(BufferError, match=r"host's memory, got DLPack device \(2, 0\)"):
        dl.from_dlpack(OnDevice())
    with pytest.raises(BufferError, match=r"a tensor's data must lie in the host's memory, got DLPack device \(2, 0\)"):
        dl.Tensor(OnDevice())
    with pytest.raises(TypeError, match="complex64"):
        dl.from_dlpack(np.ones(3, np.complex64))


def test_a_read_only_array_is_copied(active_backend):
    host = np.ones((2, 3), np.float32)
    host.flags.writeable = False
    x = dl.from_dlpack(host)
    x.data[0, 0] = 5
    assert host[0, 0] == 1


@pytest.mark.parametrize("view", [np.s_[:, ::2], np.s_[::-1], np.s_[:, 1:3], np.s_[..., None][:0]])
def test_views_are_read_as_they_are(active_backend, view):
    host = np.arange(24, dtype=np.int16).reshape(4, 6)[view]
    np.testing.assert_array_equal(dl.from_dlpack(host).numpy(), host)


def test_the_standard_s_arguments(active_backend):
    x = dl.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert x.__dlpack_device__() == (1, 0)
    assert "dltensor_versioned" in repr(x.__dlpack__(max_version=(1, 0)))
    assert "dltensor_versioned" not in repr(x.__dlpack__())
    assert np.shares_memory(np.from_dlpack(x, copy=False), x.data)
    twin = np.from_dlpack(x, copy=True)
    assert not np.shares_memory(twin, x.data)
    np.testing.assert_array_equal(twin, x.numpy())
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0))


def test_elements_that_tensors_do_not_hold_are_named():
    with pytest.raises(TypeError, match="float16"):
        dl.from_dlpack(np.ones(3, np.float16))
    torch = pytest.importorskip("torch")
    with pytest.raises(BufferError, match="from_dlpack: x, of Tensor, is not given away"):
        dl.from_dlpack(torch.ones(3, dtype=torch.bfloat16))
    with pytest.raises(BufferError, match=r"not given away.*grad"):
        dl.from_dlpack(torch.ones(3, requires_grad=True))


def test_a_weight_shares_its_memory_with_torch(active_backend):
    torch = pytest.importorskip("torch")
    layer = layers.Dense(2)
    layer.build((None, 3))
    torch.from_dlpack(layer.kernel).fill_(4.0)
    np.testing.assert_array_equal(layer.kernel.numpy(), np.full((3, 2), 4.0))


def test_an_engine_takes_arrays_in_its_device_s_memory(monkeypatch):
    class OnDevice:
        def __dlpack__(self, **kwargs):
            raise AssertionError("the engine's library calls it")

        def __dlpack_device__(self):
            return 2, 0

    with dl.use_backend("numpy"):
        backend = dl.backends.registry.current()
        memory = np.ones((2, 2), np.float32)
        monkeypatch.setattr(type(backend), "device_memory", (2,))
        monkeypatch.setattr(type(backend), "from_device", lambda self, x: memory)
        assert dl.from_dlpack(OnDevice()).data is memory
        assert dl.Tensor(OnDevice()).data is memory


def test_a_gradient_flows_through_an_array_of_torch_s(active_backend):
    torch = pytest.importorskip("torch")
    w = dl.Tensor(torch.ones(3, 2).numpy(), requires_grad=True)
    F.sum(F.matmul(dl.from_dlpack(torch.full((4, 3), 2.0)), w)).backward()
    np.testing.assert_array_equal(np.from_dlpack(dl.Tensor(w.grad)), np.full((3, 2), 8.0))


# ---- plain functions ------------------------------------------------------------------------------------------------


def test_functions_on_plain_arrays(active_backend):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 6, 6, 3)), rng.normal(size=(3, 3, 3, 4))
    y = ops.conv2d(x, w, padding="same", activation="relu")
    assert type(y) is np.ndarray
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, F.conv2d(x, w, padding="same", activation="relu").numpy())
    h, c = ops.lstm(x[:, 0], rng.normal(size=(3, 8)), rng.normal(size=(2, 8)))
    assert type(h) is type(c) is np.ndarray
    np.testing.assert_allclose(ops.softmax([[0.0, 0.0]]), [[0.5, 0.5]])


def test_functions_on_torch_s_tensors_give_numpy_arrays():
    torch = pytest.importorskip("torch")
    y = ops.relu(torch.tensor([-1.0, 2.0]))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, [0, 2])


def test_functions_on_tensors_record_and_on_symbolic_ones_extend_the_graph():
    x = dl.Tensor([1.0, 2.0], requires_grad=True)
    ops.sum(ops.square(x)).backward()
    np.testing.assert_array_equal(x.grad, [2, 4])
    entry = layers.Input((2,))
    model = dl.Model(entry, ops.tanh(entry))
    np.testing.assert_allclose(model(np.ones((1, 2), np.float32)).numpy(), np.tanh([[1, 1]]), rtol=1e-6)


# ---- data frames ----------------------------------------------------------------------------------------------------


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    x = pandas.DataFrame({
        "length": rng.normal(size=60), "count": rng.integers(0, 9, 60), "old": rng.random(60) > 0.5,
        "maybe": pandas.array(rng.integers(0, 3, 60), dtype="Int64"),
    })  # fmt: skip
    return x, pandas.Series((x["length"] > 0).astype(int), name="label")


def small():
    """A model whose training starts from the same weights and takes the samples in the same order each time."""
    dl.set_random_seed(0)
    model = dl.Sequential([layers.Input((4,)), layers.Dense(8, activation="relu"), layers.Dense(2)])
    loss = dl.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def test_data_frames_train_as_their_values_do(active_backend, frame):
    x, y = frame
    values, labels = x.astype("float64").to_numpy().astype(np.float32), y.to_numpy()
    settings = {"epochs": 2, "validation_split": 0.25, "class_weight": {0: 1.0, 1: 2.0}, "verbose": 0}
    one = small()
    first = one.fit(x, y, **settings).history
    other = small()
    assert first == other.fit(values, labels, **settings).history
    np.testing.assert_array_equal(one.predict(x, verbose=0), other.predict(values, verbose=0))
    assert one.evaluate(x, y, verbose=0) == other.evaluate(values, labels, verbose=0)
    assert one.train_on_batch(x, y) == other.train_on_batch(values, labels)


def test_a_frame_of_labels_and_weights(frame):
    x, y = frame
    weights = x["length"].abs()
    first = small().fit(x, y.to_frame(), sample_weight=weights, verbose=0).history
    second = small().fit(x, y.to_numpy(), sample_weight=weights.to_numpy(), verbose=0).history
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)


def test_columns_without_numbers_are_named(frame):
    x, y = frame
    x["colour"] = "red"
    with pytest.raises(TypeError, match=r"Argument `x` must hold numbers; .* columns 'colour' \("):
        small().fit(x, y, verbose=0)
