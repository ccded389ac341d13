"""Pictures: what is drawn is what was asked for, and without matplotlib the error says what to install."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import dlcore as dl
from dlcore import applications, layers, plots

pytest.importorskip("matplotlib", reason="pip install 'dlcore[plots]'")

RNG = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def on_numpy():
    with dl.use_backend("numpy"):
        yield


@pytest.fixture
def network():
    dl.set_random_seed(0)
    return dl.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(5, 3, name="conv"),
            layers.Flatten(name="flat"),
            layers.Dense(3, activation="softmax", name="dense"),
        ],
        name="small",
    )


def saved(figure, tmp_path) -> None:
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_history(network, tmp_path):
    network.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = RNG.random((20, 8, 8, 1), np.float32), RNG.integers(0, 3, 20)
    history = network.fit(x, y, epochs=3, validation_split=0.2, verbose=0)
    figure = history.plot()
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    for axis, key in zip(figure.axes, ("loss", "accuracy"), strict=True):
        curves = {line.get_label(): line.get_ydata().tolist() for line in axis.lines}
        assert curves == {"training": history.history[key], "validation": history.history[f"val_{key}"]}
    assert len(plots.history({"loss": [2.0, 1.0]}).axes) == 1
    saved(figure, tmp_path)
    table = history._repr_html_()
    assert table.count("<tr>") == 4
    assert f"<td>{history.history['val_loss'][2]:.4g}</td>" in table
    with pytest.raises(ValueError, match="history is empty"):
        plots.history({})


def test_confusion_matrix(tmp_path):
    true, scores = np.array([0, 0, 1, 2, 2, 2]), np.eye(3)[[0, 1, 1, 2, 2, 0]]
    expected = [["1", "1", "0"], ["0", "1", "0"], ["1", "0", "2"]]
    for guess in (scores, scores.argmax(axis=1)):
        figure = plots.confusion_matrix(true, guess, names=["a", "b", "c"])
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert np.reshape(texts, (3, 3)).tolist() == expected
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b", "c"]
    shares = plots.confusion_matrix(np.eye(3)[true], scores, normalize=True).axes[0].texts
    assert shares[0].get_text() == "0.50"
    assert plots.confusion_matrix([0, 1], [[0.2], [0.9]]).axes[0].texts[3].get_text() == "1"
    saved(figure, tmp_path)
    with pytest.raises(ValueError, match="one label per sample"):
        plots.confusion_matrix([0, 1], [0])


def test_filters_and_feature_maps(network, tmp_path):
    conv = network.get_layer("conv")
    figure = plots.filters(conv)
    pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(pictures) == 5
    kernel = conv.kernel.numpy()[..., 0, :]
    scaled = (kernel - kernel.min()) / np.ptp(kernel)
    np.testing.assert_allclose(pictures[3], scaled[..., 3], atol=1e-6)
    colour = layers.Conv2D(2, 3)
    colour(np.zeros((1, 5, 5, 3), np.float32))
    assert plots.filters(colour).axes[0].images[0].get_array().shape == (3, 3, 3)

    image = RNG.random((8, 8, 1), np.float32)
    figure = plots.feature_maps(network, "conv", image, most=4)
    pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(pictures) == 4
    np.testing.assert_allclose(pictures[1], conv(image[None]).numpy()[0, :, :, 1], rtol=1e-5)
    saved(figure, tmp_path)
    with pytest.raises(ValueError, match="must be a built convolution"):
        plots.filters(network.get_layer("dense"))
    with pytest.raises(ValueError, match="gives no images"):
        plots.feature_maps(network, "dense", image)


@pytest.mark.parametrize("name", ["relu", "tanh", "selu", "step", "linear"])
def test_activation(name, tmp_path):
    figure = plots.activation(name, -2, 2)
    curve, slope = figure.axes[0].lines[:2]
    x = curve.get_xdata()
    np.testing.assert_allclose(curve.get_ydata(), dl.activations.get(name)(x).numpy())
    numeric = np.gradient(curve.get_ydata(), x)
    smooth = np.abs(x) > 0.02
    np.testing.assert_allclose(slope.get_ydata()[smooth][2:-2], numeric[smooth][2:-2], atol=1e-3)
    saved(figure, tmp_path)


@pytest.mark.parametrize("outputs", [1, 3])
def test_decision_boundary(outputs, tmp_path):
    dl.set_random_seed(1)
    activation = "sigmoid" if outputs == 1 else "softmax"
    model = dl.Sequential([layers.Input((2,)), layers.Dense(outputs, activation=activation)])
    x = RNG.standard_normal((12, 2))
    figure = plots.decision_boundary(model, x, RNG.integers(0, max(outputs, 2), 12), steps=20)
    points = figure.axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(points, x, atol=1e-6)
    saved(figure, tmp_path)
    with pytest.raises(ValueError, match="points of the plane"):
        plots.decision_boundary(model, np.ones((3, 4)), [0, 1, 0])


def test_model(network, tmp_path):
    figure = plots.model(network)
    texts = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert "conv · Conv2D\n(None, 6, 6, 5)" in texts
    assert len(texts) == 4
    resnet = applications.ResNet18((16, 16, 1), 3, small_images=True)
    figure = plots.model(resnet)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sum("Add" in text for text in texts) == 8
    arrows = sum(text == "" for text in texts)
    assert arrows == sum(len(node.inputs) for node in resnet._graph.nodes)
    saved(figure, tmp_path)

    class Own(dl.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="no graph of layers"):
        plots.model(Own())


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dlcore\[plots\]'"):
        plots.activation("relu")
