"""ONNX: files that ONNX Runtime runs as we do, and models from files."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dlcore as dl
from dlcore import applications, layers

pytest.importorskip("onnx")
from onnx_models import APPLICATIONS, MODELS
from onnx_runtime import assert_close, results, runtime, shaken

# ---- round trips ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_agrees_and_the_way_back_gives_the_same(name, active_backend, tmp_path):
    dl.set_random_seed(0)
    model = MODELS[name]()
    inputs = shaken(model)
    expected = results(model, inputs)
    path = tmp_path / "model.onnx"
    dl.onnx.export(model, path)
    assert_close(runtime(path, *inputs), expected)
    assert_close(results(dl.onnx.load(path), inputs), expected)


def test_every_layer_is_written_or_refused_by_name(tmp_path):
    seen = set()
    for make in (*MODELS.values(), masked_words):
        model = make()
        seen |= {type(part) for part in model._flatten_layers()}
    for refused in (layers.Conv1DTranspose(2, 3), layers.UpSampling1D(2)):
        model = dl.Sequential([layers.Input((4, 2)), refused])
        with pytest.raises(ValueError, match="cannot be exported"):
            dl.onnx.export(model, tmp_path / "m.onnx")
        seen.add(type(refused))
    abstract = {layers.Layer, layers.Wrapper, layers.InputLayer}
    public = {getattr(layers, name) for name in layers.__all__}
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, layers.Layer)}
    assert kinds - abstract - seen == set(), "neither in MODELS nor refused"


def masked_words():
    words = layers.Input((5,), dtype="int32")
    y = layers.Embedding(7, 3, mask_zero=True)(words)
    return dl.Model(words, [layers.LSTM(2)(y), layers.Bidirectional(layers.GRU(2, return_sequences=True))(y)])


def test_masked_words(active_backend, tmp_path):
    model = masked_words()
    words = np.array([[0, 3, 0, 2, 6], [1, 2, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)
    expected = results(model, [words])
    dl.onnx.export(model, tmp_path / "m.onnx")
    assert_close(runtime(tmp_path / "m.onnx", words), expected)
    assert_close(results(dl.onnx.load(tmp_path / "m.onnx"), [words]), expected)


def test_embeddings(active_backend, tmp_path):
    model = dl.Sequential([layers.Input((4,), dtype="int32"), layers.Embedding(7, 3), layers.LSTM(2)])
    ids = np.array([[0, 6, 1, 2], [3, 3, 4, 5]], np.int32)
    expected = results(model, [ids])
    dl.onnx.export(model, tmp_path / "m.onnx")
    assert_close(runtime(tmp_path / "m.onnx", ids), expected)
    assert_close(results(dl.onnx.load(tmp_path / "m.onnx"), [ids]), expected)


def test_a_loaded_model_trains_and_is_saved(active_backend, tmp_path):
    dl.set_random_seed(0)
    dl.onnx.export(MODELS["image to dense"](), tmp_path / "m.onnx")
    model = dl.onnx.load(tmp_path / "m.onnx")
    assert [layer.count_params() for layer in model.layers if layer.weights] == [57, 148]
    x = np.random.default_rng(0).normal(size=(16, 6, 5, 2)).astype(np.float32)
    model.compile("adam", "mse")
    losses = model.fit(x, np.zeros((16, 4), np.float32), epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "m.safetensors")
    twin = dl.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(twin.predict(x, verbose=0), model.predict(x, verbose=0))


def test_float64(active_backend, tmp_path):
    model = dl.Sequential([layers.Input((4,), dtype="float64"), layers.Dense(3, activation="tanh", dtype="float64")])
    x = np.random.default_rng(0).normal(size=(2, 4))
    dl.onnx.export(model, tmp_path / "m.onnx")
    assert_close(runtime(tmp_path / "m.onnx", x), [model(x).numpy()], 1e-12)
    assert_close([dl.onnx.load(tmp_path / "m.onnx")(x).numpy()], [model(x).numpy()], 1e-12)


# ---- applications ---------------------------------------------------------------------------------------------------


def test_every_application_is_tried():
    assert sorted(APPLICATIONS) == sorted(applications.__all__)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_application_to_onnx_and_back(name, tmp_path):
    dl.set_random_seed(0)
    model = getattr(applications, name)(**APPLICATIONS[name])
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    expected = results(model, [x])
    dl.onnx.export(model, tmp_path / "m.onnx")
    assert_close(runtime(tmp_path / "m.onnx", x), expected)
    loaded = dl.onnx.load(tmp_path / "m.onnx")
    assert_close(results(loaded, [x]), expected)
    assert loaded.count_params() == model.count_params()


# ---- what cannot be written -----------------------------------------------------------------------------------------


def by_value(x):
    return x if float(x.numpy().sum()) > 0 else -x


class Backwards(layers.Layer):
    def call(self, x):
        return by_value(x)


def test_what_onnx_has_nothing_for_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    varying = [layers.Input((None, 2)), layers.Masking()]
    for model, match in (
        (dl.Sequential([layers.Dense(2)]), "must be a built graph of layers"),
        (dl.Sequential([layers.Input((2,)), layers.Lambda(by_value, name="mine")]), "'mine' .*cannot be exported"),
        (dl.Sequential([layers.Input((2,)), Backwards(name="own")]), "'own' .*nothing in ONNX for Backwards"),
        (dl.Sequential([*varying, layers.LSTM(2, name="l")]), "'l' .*has a mask, and the length of its sequences"),
        (dl.Sequential([layers.Input((2,)), layers.Dense(2, activation=by_value)]), "its activation 'by_value'"),
        (dl.Sequential([layers.Input(batch_shape=(1, 2, 2)), layers.LSTM(2, stateful=True)]), "it is stateful"),
    ):
        with pytest.raises(ValueError, match=match):
            dl.onnx.export(model, path)
    assert not list(tmp_path.iterdir())


def test_paths(tmp_path):
    model = MODELS["dense"]()
    with pytest.raises(ValueError, match=r"must end in '\.onnx'"):
        dl.onnx.export(model, tmp_path / "m.safetensors")
    dl.onnx.export(model, tmp_path / "m.onnx")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        dl.onnx.export(model, tmp_path / "m.onnx", overwrite=False)
    dl.onnx.export(model, tmp_path / "m.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]


def test_the_seed_is_left_alone_by_loading(tmp_path):
    dl.onnx.export(MODELS["dense"](), tmp_path / "m.onnx")
    dl.set_random_seed(3)
    expected = dl.random.host_generator().random()
    dl.set_random_seed(3)
    dl.onnx.load(tmp_path / "m.onnx")
    assert dl.random.host_generator().random() == expected


def test_without_onnx_the_error_names_the_extra():
    code = "import sys; sys.modules['onnx'] = None\nimport dlcore\ndlcore.onnx"
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert "pip install 'dlcore[onnx]'" in result.stderr
