"""Models: chains, graphs, subclasses, nesting, summaries, configs."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import dlcore as dl
from dlcore import functional as F
from dlcore import layers, models


def lenet():
    return dl.Sequential(
        [
            layers.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="tanh"),
            layers.Dense(84, activation="tanh"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _x(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


class Two(dl.Model):
    """A model with two inputs, written as a subclass."""

    def __init__(self, units=4):
        super().__init__()
        self.first = layers.Dense(units)
        self.blocks = [layers.Dense(units, activation="relu") for _ in range(2)]
        self.drop = layers.Dropout(0.5)
        self.last = layers.Dense(1)

    def call(self, inputs, training=None):
        a, b = inputs
        x = self.first(a) + b
        for block in self.blocks:
            x = block(x)
        return self.last(self.drop(x))


def test_lenet():
    model = lenet()
    assert model.count_params() == 61_706
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 1), (None, 10))
    assert [layer.output.shape[1:3] for layer in model.layers[:4]] == [(28, 28), (14, 14), (10, 10), (5, 5)]
    y = model(_x(3, 32, 32, 1))
    np.testing.assert_allclose(y.numpy().sum(1), 1, rtol=1e-5)
    assert y.logits is not None
    np.testing.assert_array_equal(model(_x(3, 32, 32, 1)[..., 0]).numpy(), y.numpy())  # a missing last axis of 1


def test_every_engine_gives_the_same(active_backend):
    dl.set_random_seed(2)
    model = lenet()
    assert model.backend == active_backend.name
    y = np.array(model(_x(3, 32, 32, 1)))
    with dl.use_backend("numpy"):
        dl.set_random_seed(2)
        np.testing.assert_allclose(lenet()(_x(3, 32, 32, 1)).numpy(), y, rtol=1e-4, atol=1e-6)


def test_a_model_stays_on_its_engine():
    with dl.use_backend("numpy"):
        model = lenet()
    others = [name for name in dl.available_backends() if name != "numpy"]
    if not others:
        pytest.skip("there is only one engine here")
    with dl.use_backend(others[0]):
        assert model.backend == "numpy"
        seen = []
        model.add(layers.Lambda(lambda x: seen.append(dl.backend()) or x))
        model(_x(1, 32, 32, 1))
        model.set_weights(model.get_weights())
        assert set(seen) == {"numpy"}
        assert dl.backend() == others[0]


def test_deferred():
    model = dl.Sequential([layers.Dense(3, activation="relu"), layers.Dense(2)])
    assert not model.built
    with pytest.raises(ValueError, match="not built"):
        model.count_params()
    with pytest.raises(AttributeError, match="not built yet"):
        _ = model.input_shape
    model(_x(5, 4))
    assert model.built
    assert model.output_shape == (None, 2)
    other = dl.Sequential([layers.Dense(3)])
    other.build((None, 7))
    assert other.count_params() == 24
    ids = dl.Sequential([layers.Embedding(5, 3), layers.Flatten(), layers.Dense(1)])
    assert ids(np.array([[1, 4]])).shape == (1, 1)
    assert dl.Sequential([layers.Dense(2, input_shape=(3,))]).built


def test_add_and_pop():
    model = dl.Sequential(name="chain")
    model.add(layers.Input((4,)))
    model.add(layers.Dense(3))
    model.add(layers.Dense(2))
    assert model.output_shape == (None, 2)
    assert len(model.weights) == 4
    model.pop()
    assert model.output_shape == (None, 3)
    model.add(layers.Dense(5, name="head"))
    assert model(_x(2, 4)).shape == (2, 5)
    assert model.get_layer("head") is model.layers[-1] is model.get_layer(index=-1)
    assert len(model.weights) == 4


def test_a_chain_can_be_changed_before_it_is_built():
    model = dl.Sequential([layers.Input((4,)), layers.Dense(3)])
    model.pop(rebuild=False)
    for units in (5, 6):
        model.add(layers.Dense(units), rebuild=False)
    assert not model.built
    assert model(_x(2, 4)).shape == (2, 6)
    assert model.output_shape == (None, 6)
    model.add(layers.Dense(7), rebuild=False)
    model.build()
    assert [w.shape for w in model.weights] == [(4, 5), (5,), (5, 6), (6,), (6, 7), (7,)]


def test_a_chain_makes_its_graph_once(monkeypatch):
    made = []

    class Graph(models._Graph):
        def __init__(self, *ends):
            made.append(ends)
            super().__init__(*ends)

    monkeypatch.setattr(models, "_Graph", Graph)
    model = dl.Sequential([layers.Input((4,)), *(layers.Dense(4) for _ in range(20))])
    assert len(made) == 1
    dl.Sequential.from_config(model.get_config())
    assert len(made) == 2


def test_graph():
    a, b = dl.Input((4,), name="a"), dl.Input((4,), name="b")
    shared = layers.Dense(3)
    x = layers.concatenate([shared(a), shared(b)])
    x = F.relu(x) * 2.0 + 1.0
    head = layers.Dense(2, name="head")(x)
    model = dl.Model({"a": a, "b": b}, {"head": head, "rest": (1.0 - x[:, :2]) / 2.0})
    data = {"a": _x(5, 4), "b": _x(5, 4) + 1}
    y = model(data)
    hidden = np.concatenate([data["a"] @ shared.kernel.numpy(), data["b"] @ shared.kernel.numpy()], 1)
    hidden = 2 * np.maximum(hidden, 0) + 1
    np.testing.assert_allclose(y["rest"].numpy(), (1 - hidden[:, :2]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model([data["a"], data["b"]])["head"].numpy(), y["head"].numpy())
    assert len(model.weights) == 4
    assert model.output_shape == {"head": (None, 2), "rest": (None, 2)}
    assert model.input_names == ["a", "b"]

    features = dl.Model(a, shared(a))
    np.testing.assert_allclose(features(data["a"]).numpy(), data["a"] @ shared.kernel.numpy(), rtol=1e-4, atol=1e-5)

    twin = models.clone_model(model)
    assert twin.get_config() == model.get_config()
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(twin(data)["head"].numpy(), y["head"].numpy())


def test_features_from_the_middle():
    model = lenet()
    features = dl.Model(model.inputs, model.layers[4].output)
    assert features(_x(2, 32, 32, 1)).shape == (2, 400)
    tail = dl.Model(model.layers[5].input, model.output)
    x = _x(2, 32, 32, 1)
    np.testing.assert_allclose(tail(features(x)).numpy(), model(x).numpy(), rtol=1e-5, atol=1e-6)


def test_nested():
    inner = lenet()
    model = dl.Sequential([layers.Input((32, 32, 1)), inner, layers.Dense(2)])
    assert model.count_params() == 61_706 + 22
    inner.trainable = False
    assert len(model.trainable_weights) == 2
    image = dl.Input((32, 32, 1))
    both = layers.add([inner(image), inner(image * 0.5)])
    graph = dl.Model(image, both)
    assert graph(_x(2, 32, 32, 1)).shape == (2, 10)
    twin = models.model_from_json(graph.to_json())
    twin.set_weights(graph.get_weights())
    x = _x(2, 32, 32, 1)
    np.testing.assert_array_equal(twin(x).numpy(), graph(x).numpy())


def test_subclass():
    model = Two(6)
    y = model([_x(3, 5), _x(3, 6)])
    assert y.shape == (3, 1)
    assert [layer.name.split("_")[0] for layer in model.layers] == ["dense", "dense", "dense", "dropout", "dense"]
    assert len(model.weights) == 8
    assert model.count_params() == 5 * 6 + 6 + 2 * 42 + 7
    (model([_x(3, 5), _x(3, 6)], training=True) ** 2).sum().backward()
    assert all(w.grad is not None for w in model.weights)
    fresh = Two()
    fresh.build([(None, 5), (None, 4)])
    assert fresh.built
    out = model([dl.Input((5,)), dl.Input((6,))])
    assert out.shape == (None, 1)


def test_subclass_of_a_graph():
    class Net(dl.Model):
        def __init__(self, units):
            inputs = dl.Input((3,))
            super().__init__(inputs=inputs, outputs=layers.Dense(units)(inputs))

    model = Net(4)
    assert model(_x(2, 3)).shape == (2, 4)
    assert model.output_shape == (None, 4)


def test_recurrent_graph_with_states():
    sequence = dl.Input((None, 3))
    y, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(sequence)
    assert (y.shape, h.shape, c.shape) == ((None, None, 4), (None, 4), (None, 4))
    decoded = layers.LSTM(4)(sequence, initial_state=[h, c])
    model = dl.Model(sequence, decoded)
    assert model(_x(2, 5, 3)).shape == (2, 4)
    assert models.clone_model(model)(_x(2, 7, 3)).shape == (2, 4)
    with pytest.raises(ValueError, match="model must be a Model, got int: 5"):
        models.clone_model(5)


def test_masks_pass_through_models():
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    stack = [layers.Embedding(5, 3, mask_zero=True), layers.Dense(4), layers.GRU(2)]
    model = dl.Sequential(stack)
    y = model(ids).numpy()
    x = dl.Input((3,), dtype="int32")
    z = x
    for layer in stack:
        z = layer(z)
    np.testing.assert_array_equal(dl.Model(x, z)(ids).numpy(), y)
    short = stack[2](stack[1](stack[0].embeddings.numpy()[ids[1:, :1]])).numpy()
    np.testing.assert_allclose(y[1:], short, rtol=1e-5, atol=1e-6)


def test_float64():
    model = dl.Sequential([layers.Input((3,), dtype="float64"), layers.Dense(2, dtype="float64")])
    assert model(np.ones((1, 3))).dtype == np.float64
    assert model(np.ones((1, 3), "float32")).dtype == np.float64


def test_summary():
    lines = []
    lenet().summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "(None, 28, 28, 6)" in text
    assert "2,416" in text
    assert "Total params: 61,706 (241.04 KB)" in text
    a, b = dl.Input((3,), name="a"), dl.Input((3,), name="b")
    dense = layers.Dense(2, name="both")
    model = dl.Model([a, b], layers.Add(name="sum")([dense(a), dense(b)]))
    dense.trainable = False
    lines.clear()
    model.summary(print_fn=lines.append, line_length=70, show_trainable=True)
    text = "\n".join(lines)
    assert "Connected to" in text
    assert "both, both" in text
    assert "Trainable params: 0" in text
    assert max(len(line) for line in text.splitlines()) <= 70
    lines.clear()
    dl.Sequential([layers.Dense(3)]).summary(print_fn=lines.append)
    assert "0 (unbuilt)" in lines[0]
    nested = dl.Sequential([layers.Input((32, 32, 1)), lenet()])
    nested.summary(print_fn=lines.append, expand_nested=True)
    assert "└ conv2d" in lines[-1]


def test_configs():
    model = lenet()
    config = json.loads(json.dumps(model.get_config()))
    twin = dl.Sequential.from_config(config)
    assert twin.get_config() == model.get_config()
    assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]


def test_fit_after_build():
    """The tape, the optimizer's flat buffers and the model's weights are one and the same."""
    model = dl.Sequential([layers.Input((4,)), layers.Dense(8, activation="tanh"), layers.Dense(1)])
    x = _x(64, 4)
    y = (x[:, :1] * x[:, 1:2]).astype("float32")
    model.compile(optimizer="adam", loss="mse")
    before = model.get_weights()
    history = model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    model.set_weights(before)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def _drops_and_norms():
    """Random state, weights that never train, and a layer that is called twice."""
    x = layers.Input((4,))
    shared = layers.Dense(4, activation="relu", kernel_regularizer="l2")
    y = shared(layers.Dropout(0.3)(shared(x)))
    inner = dl.Sequential([layers.Input((4,)), layers.Dense(5), layers.BatchNormalization(), layers.GaussianNoise(0.1)])
    model = dl.Model(x, layers.Dense(2)(inner(y) * 0.5 + 1.0))
    model.layers[-1].trainable = False
    return model


_TWINS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("steps", [0, 6])
@pytest.mark.parametrize("make", [lenet, _drops_and_norms, Two])
@pytest.mark.parametrize("way", _TWINS)
def test_copies_and_pickles_train_on_alike(active_backend, way, make, steps):
    dl.set_random_seed(4)
    model = make()
    x = (_x(6, 4), _x(6, 4)) if make is Two else _x(6, 32, 32, 1) if make is lenet else _x(6, 4)
    y = np.arange(6) % 2 if make is lenet else _x(6, 1 if make is Two else 2)
    model.compile("adam", "sparse_categorical_crossentropy" if make is lenet else "mse", metrics=["accuracy"])
    for _ in range(steps):
        model.train_on_batch(x, y)
        model.predict_on_batch(x)
    twin = _TWINS[way](model)
    assert twin.backend == active_backend.name
    assert twin.optimizer is not model.optimizer
    assert twin.optimizer.iterations == steps
    for ours, theirs in zip(twin.weights, model.weights, strict=True):
        assert (ours.path, ours.trainable) == (theirs.path, theirs.trainable)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    if steps or make is not Two:  # which has no weights before
        before = model.get_weights()
        runs = [[part.train_on_batch(x, y) for _ in range(6)] for part in (twin, model)]
        assert runs[0] == runs[1]
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
        runs = [[part.predict_on_batch(x) for _ in range(6)] for part in (twin, model)]
        np.testing.assert_allclose(*runs, rtol=1e-5, atol=1e-6)  # prepared inference differs in last digits
        for ours, theirs in zip(twin.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    twin.trainable = model.trainable = True
    assert [v.trainable for v in twin.weights] == [v.trainable for v in model.weights]


def test_a_copy_of_a_deep_model_of_another_engine():
    """A graph deeper than Python's recursion limit, copied while its engine is not the active one."""
    others = [name for name in dl.available_backends() if name != "numpy"]
    with dl.use_backend(others[-1] if others else "numpy"):
        x = y = layers.Input((3,))
        for _ in range(400):
            y = layers.Add()([y, layers.Dense(3, activation="tanh")(y)])
        model = dl.Model(x, y)
    with dl.use_backend("numpy"):
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert twin.backend == model.backend
            assert twin.get_config() == model.get_config()
            np.testing.assert_array_equal(twin.predict_on_batch(_x(2, 3)), model.predict_on_batch(_x(2, 3)))
            head = dl.Model(twin.inputs, layers.Dense(2)(twin.layers[-1].output))  # the graph goes on
            assert head.output_shape == (None, 2)
            assert twin.layers[-1].output.node.layer is twin.layers[-1]
        layer = copy.deepcopy(model.layers[-1])  # alone
        assert not layer._nodes
        chain = copy.deepcopy(dl.Sequential([layers.Input((3,))]))
        chain.add(layers.Dense(2))
        assert chain.output_shape == (None, 2)


def test_import_is_lazy():
    code = (
        "import sys, dlcore; "
        "heavy = {'numba', 'scipy', 'cupy', 'matplotlib', 'safetensors', 'tqdm'} & set(sys.modules); "
        "assert not heavy, heavy; assert 'dlcore.layers' not in sys.modules; dlcore.layers; dlcore.Model; "
        "heavy = {'numba', 'scipy', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_names_of_the_package():
    for name in ("Tensor", "Variable", "Sequential", "Model", "Input", "layers", "losses", "optimizers", "training"):
        assert name in dir(dl)
        assert getattr(dl, name) is not None
    assert dl.backend() in dl.available_backends()
    with pytest.raises(AttributeError, match="did you mean 'Sequential'"):
        dl.Sequental  # noqa: B018
    with pytest.raises(ValueError, match="positive whole number"):
        dl.set_num_threads(0)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: lenet()(_x(1, 28, 28, 1)), ValueError, r"must have shape \(None, 32, 32, 1\), got \(1, 28, 28, 1\)"),
        (lambda: dl.Sequential([layers.Dense]), TypeError, r"write Dense\(...\)"),
        (lambda: dl.Sequential([3]), TypeError, "must be a Layer or an Input, got int"),
        (lambda: dl.Sequential()(_x(1, 2)), ValueError, "has no layers"),
        (lambda: dl.Sequential().pop(), ValueError, "has no layers to pop"),
        (lambda: dl.Sequential([layers.Dense(1, name="x"), layers.Dense(1, name="x")]), ValueError, "'x' twice"),
        (lambda: dl.Model(dl.Input((3,)), 5), ValueError, "must be symbolic tensors.* got int"),
        (lambda: dl.Model(dl.Input((3,)), layers.Dense(2)(dl.Input((3,)))), ValueError, "not among its inputs"),
        (lambda: dl.Model()(_x(1, 2)), NotImplementedError, r"must define call\(\)"),
        (
            lambda: dl.Sequential([layers.Input((3,)), layers.Dense(2, name="dense")]).get_layer("dens"),
            ValueError,
            "Did you mean 'dense'",
        ),
        (lambda: np.asarray(dl.Input((3,))), TypeError, "has no values"),
        (lambda: bool(dl.Input((3,)) > 1), TypeError, "no condition"),
        (lambda: lenet().summary(layer_range=("a", "b")), ValueError, "layer_range"),
    ],
)
def test_errors(act, error, message):
    with pytest.raises(error, match=message):
        act()


def test_graph_input_errors():
    a, b = dl.Input((4,), name="a"), dl.Input((4,), name="b")
    model = dl.Model([a, b], layers.add([a, b]))
    with pytest.raises(ValueError, match=r"lacks input.*'b'"):
        model({"a": _x(2, 4)})
    with pytest.raises(ValueError, match="expected 2 input"):
        model(_x(2, 4))
    with pytest.raises(ValueError, match="input 'b' of layer"):
        model([_x(2, 4), _x(2, 5)])


# ---- what layers cost ------------------------------------------------------------------------------------------------


def _columns(model: dl.Model, **kwargs) -> dict[str, list[str]]:
    """The cells of each layer's row in a wide summary with costs."""
    text: list[str] = []
    model.summary(line_length=300, print_fn=text.append, show_costs=True, **kwargs)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text[0].splitlines() if line.startswith("│")]
    return {"total": [text[0].splitlines()[-1].strip()], **{row[0].split(" (")[0]: row for row in rows}}


def test_summary_shows_formulas_memory_and_operations():
    model = dl.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, name="valid"),
            layers.Conv2D(16, 5, 2, "same", use_bias=False, name="same"),
            layers.Conv2D(8, 3, 2, 1, name="padded"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(10, name="dense"),
        ]
    )
    rows = _columns(model)
    assert rows["valid"][3:] == ["⌊(28 + 0 − 3)/1⌋ + 1 = 26", "84.50 KB", f"{26 * 26 * 32 * (2 * 9 + 1):,}"]
    assert rows["same"][3:] == ["⌈26/2⌉ = 13", "10.56 KB", f"{13 * 13 * 16 * 2 * 25 * 32:,}"]
    assert rows["padded"][3:] == ["⌊(13 + 2 − 3)/2⌋ + 1 = 7", "1.53 KB", f"{7 * 7 * 8 * (2 * 9 * 16 + 1):,}"]
    assert rows["pool"][3:] == ["⌊(7 + 0 − 2)/2⌋ + 1 = 3", "288.00 B", f"{3 * 3 * 8 * 4:,}"]
    assert rows["flat"][3:] == ["3 · 3 · 8 = 72", "288.00 B", "0"]
    assert rows["dense"][3:] == ["", "40.00 B", "1,450"]
    flops = sum(int(row[5].replace(",", "")) for name, row in rows.items() if name != "total")
    assert f"forward pass {flops:,} FLOPs" in rows["total"][0]


def test_costs_along_sequences_are_those_of_images_of_height_1():
    kinds = {
        "conv": (layers.Conv1D(6, 3, padding="causal"), "⌈10/1⌉ = 10", 10 * 6 * (2 * 3 * 4 + 1)),
        "spread": (layers.Conv1D(6, 3, dilation_rate=2), "⌊(10 + 0 − 5)/1⌋ + 1 = 6", 6 * 6 * (2 * 3 * 4 + 1)),
        "depthwise": (layers.DepthwiseConv1D(3, padding=(0, 1)), "⌊(10 + 1 − 3)/1⌋ + 1 = 9", 9 * 4 * (2 * 3 + 1)),
        "separable": (layers.SeparableConv1D(5, 3), "⌊(10 + 0 − 3)/1⌋ + 1 = 8", 8 * 4 * 2 * 3 + 8 * 5 * (2 * 4 + 1)),
        "transposed": (layers.Conv1DTranspose(3, 2, strides=2), "", 10 * 2 * 2 * 4 * 3 + 20 * 3),
        "pool": (layers.MaxPooling1D(2), "⌊(10 + 0 − 2)/2⌋ + 1 = 5", 5 * 4 * 2),
    }
    for name, (layer, formula, flops) in kinds.items():
        layer.name = name
        row = _columns(dl.Sequential([layers.Input((10, 4)), layer]))[name]
        assert (row[3], row[5]) == (formula, f"{flops:,}")


def test_costs_of_attention():
    query, value = layers.Input((5, 6)), layers.Input((4, 3))
    attention = layers.MultiHeadAttention(2, 7, value_dim=8, name="attention")
    into = layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", name="into")
    model = dl.Model([query, value], into(attention(query, value)))
    rows = _columns(model)
    projections = 5 * (2 * 6 * 14 + 14) + 4 * (2 * 3 * 14 + 14) + 4 * (2 * 3 * 16 + 16) + 5 * (2 * 16 * 6 + 6)
    assert rows["attention"][-1] == f"{projections + 2 * 5 * 4 * 2 * (7 + 8):,}"
    assert rows["into"][-1] == f"{5 * 6 * (2 * 6 + 1)}"
    alone = dl.Model(query, layers.MultiHeadAttention(2, 7, use_bias=False, name="self")(query, query))
    assert _columns(alone)["self"][-1] == f"{4 * 5 * 2 * 6 * 14 + 2 * 5 * 5 * 2 * 14:,}"


def test_operations_of_known_networks():
    """Multiplications and additions that the literature gives: VGG-16 15.5 G, ResNet-18 1.8 G multiply-adds at 224²."""
    for build, expected in ((dl.applications.VGG16, 15.47e9), (dl.applications.ResNet18, 1.814e9)):
        model = build((224, 224, 3), 1000)
        flops = int(_columns(model)["total"][0].split("forward pass ")[1].split(" ")[0].replace(",", ""))
        assert flops / 2 == pytest.approx(expected, rel=0.01)


def test_costs_of_recurrent_nested_and_shared_layers():
    lstm, dense = layers.LSTM(6, name="lstm"), layers.Dense(4, name="shared")
    inner = dl.Sequential([layers.Input((4,)), layers.Dense(3, name="within")], name="inner")
    inputs = layers.Input((5, 7))
    x = dense(lstm(inputs))
    outputs = layers.Add(name="sum")([inner(x), layers.Dense(3, name="side")(x)])
    rows = _columns(dl.Model(inputs, outputs), expand_nested=True)
    assert rows["lstm"][-1] == f"{5 * 2 * (7 * 24 + 6 * 24):,}"
    assert rows["inner"][-1] == rows["side"][-1] == f"{3 * 9}"
    assert rows["sum"][-2:] == ["12.00 B", "3"]
    a, b = layers.Input((6,)), layers.Input((6,))
    shared = layers.Dense(4, name="both")
    rows = _columns(dl.Model([a, b], [shared(a), shared(b)]))
    assert rows["both"][-2:] == ["32.00 B", f"{2 * 4 * 13}"]
    separable = dl.Sequential([layers.Input((6, 6, 2)), layers.SeparableConv2D(5, 3, name="separable")])
    assert _columns(separable)["separable"][-1] == f"{4 * 4 * 2 * 2 * 9 + 4 * 4 * 5 * (2 * 2 + 1)}"


def test_summary_in_a_notebook():
    inner = dl.Sequential([layers.Input((3,)), layers.Dense(2, name="a<b")], name="inner")
    text = dl.Sequential([layers.Input((3,)), inner, layers.ReLU(name="r")], name="net")._repr_html_()
    assert text.startswith("<b>net</b> (Sequential)<table>")
    assert "<th>Layer (type)</th><th>Output Shape</th><th>Param #</th>" in text
    assert "└ a&lt;b (Dense)</td><td>(None, 2)</td><td>8</td></tr>" in text
    assert text.count("<tr>") == 4
    assert " Total params: 8 (32.00 B)" in text
