"""ONNX: files that ONNX Runtime runs as we do, models from files, the ONNX project's node tests, hostile files."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import dlcore as dl
from dlcore import applications, layers
from dlcore import functional as F

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import load_cases, read_list, run_case

from dlcore.onnx import exporting

PASSING, UNSUPPORTED = read_list()


def runtime(path, *inputs):
    """What ONNX Runtime computes from a file."""
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def sequential(shape, *parts):
    return lambda: dl.Sequential([layers.Input(shape), *(part() for part in parts)])


def two_branches():
    x = layers.Input((8, 8, 3))
    a = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    b = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    b = layers.Conv2D(4, 1)(b)
    merged = [layers.Add()([a, b]), layers.Multiply()([a, b]), layers.Average()([a, b]), layers.Maximum()([a, b])]
    merged += [layers.Subtract()([a, b]), layers.Minimum()([a, b])]
    y = layers.Concatenate()(merged)
    return dl.Model(x, [layers.GlobalAveragePooling2D()(y), layers.Flatten()(layers.Conv2D(2, 3)(y))])


def arithmetic():
    x = layers.Input((6, 6, 2))
    y = layers.Conv2D(3, 1)(x)
    y = F.tanh(y * np.float32(2.0) - 1.0) / (F.exp(y) + 1.5)
    z = F.transpose(y, (0, 3, 1, 2))[:, 1:, ::-1, -1]
    return dl.Model(x, [F.mean(F.square(y), axis=(1, 2)), z.reshape((-1, 12)), F.sum(z, axis=-1, keepdims=True)])


def nested():
    inner = dl.Sequential([layers.Input((4,)), layers.Dense(5, activation="gelu")])
    x = layers.Input((4,))
    return dl.Model(x, layers.Add()([inner(x), inner(F.neg(x))]))


def states():
    x = layers.Input((5, 3))
    y, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(x)
    return dl.Model(x, [y, h, c, *layers.GRU(4, return_state=True, go_backwards=True, return_sequences=True)(x)])


L = layers
ACTIVATIONS = sorted(set(exporting._ACTIVATIONS) | {"linear", "softmax", "log_softmax"})
MODELS = {
    "dense": sequential((5,), lambda: L.Dense(4, activation="relu"), lambda: L.Dense(3, use_bias=False)),
    "dense over sequences": sequential((7, 5), lambda: L.Dense(4, activation="softmax")),
    **{f"activation {name}": sequential((5,), lambda name=name: L.Dense(4, activation=name)) for name in ACTIVATIONS},
    "activations of images": sequential(
        (6, 6, 2), lambda: L.Conv2D(4, 3, activation="softmax"), lambda: L.LeakyReLU(0.1), lambda: L.ELU(0.5),
        lambda: L.ReLU(6.0), lambda: L.PReLU("uniform"), lambda: L.Softmax(1), lambda: L.ReLU(negative_slope=0.2),
    ),
    "convolutions": sequential(
        (9, 9, 4), lambda: L.Conv2D(6, 3, strides=2, padding="same", groups=2, activation="relu"),
        lambda: L.Conv2D(4, (3, 2), padding=((1, 0), (2, 1)), use_bias=False),
        lambda: L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2),
        lambda: L.Conv2D(4, 2, dilation_rate=2, padding="same"),
    ),
    "transposed convolutions": sequential(
        (5, 4, 3), lambda: L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="tanh"),
        lambda: L.Conv2DTranspose(2, 2, strides=3), lambda: L.Conv2DTranspose(2, 3, strides=2, output_padding=1),
    ),
    "pooling": sequential(
        (11, 11, 3), lambda: L.MaxPooling2D(3, strides=2, padding="same"),
        lambda: L.AveragePooling2D(2, padding="same"), lambda: L.MaxPooling2D(2, strides=1, padding=1),
        lambda: L.GlobalMaxPooling2D(keepdims=True), lambda: L.Flatten(),
    ),
    "image to dense": sequential(
        (6, 5, 2), lambda: L.Conv2D(3, 3), lambda: L.Dropout(0.5), lambda: L.Flatten(), lambda: L.Dense(4),
    ),
    "normalisation": sequential(
        (6, 6, 3), lambda: L.Rescaling(0.5, -1.0), lambda: L.BatchNormalization(gamma_initializer="uniform"),
        lambda: L.LayerNormalization(), lambda: L.LayerNormalization(axis=[2, 3], center=False), lambda: L.Flatten(),
        lambda: L.BatchNormalization(scale=False),
    ),
    "given statistics": sequential((3,), lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 9.0])),
    "shapes": sequential(
        (6, 4), lambda: L.Permute((2, 1)), lambda: L.Reshape((2, 2, 6)), lambda: L.ZeroPadding2D(((1, 2), (0, 1))),
        lambda: L.UpSampling2D((2, 3)), lambda: L.Cropping2D(((1, 0), (2, 1))), lambda: L.Identity(),
        lambda: L.Flatten(), lambda: L.RepeatVector(3), lambda: L.TimeDistributed(L.Dense(2)),
    ),
    "recurrent": sequential(
        (6, 3), lambda: L.SimpleRNN(4, return_sequences=True), lambda: L.LSTM(5, return_sequences=True),
        lambda: L.GRU(4, reset_after=False, return_sequences=True, go_backwards=True), lambda: L.GRU(3),
    ),
    "bidirectional": sequential(
        (6, 3), lambda: L.Bidirectional(L.LSTM(4, return_sequences=True)),
        lambda: L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum"),
        lambda: L.Bidirectional(L.SimpleRNN(2), merge_mode="mul"),
    ),
    "augmentation": sequential(
        (6, 6, 1), lambda: L.RandomFlip(), lambda: L.RandomRotation(0.1), lambda: L.GaussianNoise(1.0),
    ),
    "branches": two_branches,
    "arithmetic": arithmetic,
    "nested": nested,
    "states": states,
}  # fmt: skip


def shaken(model):
    """Weights that are not the first ones, variances positive, and a batch of inputs."""
    rng = np.random.default_rng(0)
    model.set_weights([
        w + rng.uniform(0.1, 0.5, w.shape).astype(w.dtype) if "variance" in v.path else
        w + 0.1 * rng.normal(size=w.shape).astype(w.dtype)
        for v, w in zip(model.weights, model.get_weights(), strict=True)
    ])  # fmt: skip
    return [rng.normal(size=(3, *x.shape[1:])).astype(x.dtype) for x in model.inputs]


def results(model, inputs):
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [y.numpy() for y in (outputs if isinstance(outputs, list) else [outputs])]


def assert_close(found, expected, tolerance=1e-5):
    assert len(found) == len(expected)
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=tolerance, atol=tolerance)


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

APPLICATIONS = {
    "MLP": {}, "Perceptron": {}, "LeNet5": {}, "AlexNet": {"input_shape": (67, 67, 3), "classes": 7},
    **{f"VGG{n}": {"input_shape": (32, 32, 3), "classes": 7} for n in (11, 13, 16, 19)},
    **{f"ResNet{n}": {"input_shape": (32, 32, 3), "classes": 7} for n in (18, 34, 50, 101)},
}  # fmt: skip


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


def in_torch(model):
    """The same architecture from PyTorch's modules, channels first, with weights of PyTorch's own."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Step(nn.Module):
        def forward(self, x):
            return (x > 0).float()

    def pads(padding):
        return 0 if padding == "valid" else (padding[0], padding[2])

    def module(layer, shape):
        functions = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "softmax": nn.Softmax(-1), "step": Step()}
        kind = type(layer).__name__
        if kind == "Conv2D":
            assert layer.padding != "same" or layer.strides == (1, 1)
            padding = layer.padding if isinstance(layer.padding, str) else pads(layer.padding)
            made = nn.Conv2d(shape[-1], layer.filters, layer.kernel_size, layer.strides, padding, bias=layer.use_bias)
        elif kind == "Dense":
            made = nn.Linear(shape[-1], layer.units)
        elif kind in ("MaxPooling2D", "AveragePooling2D"):
            pool = nn.MaxPool2d if kind == "MaxPooling2D" else nn.AvgPool2d
            return pool(layer.pool_size, layer.strides, pads(layer.padding))
        elif kind == "BatchNormalization":
            made = nn.BatchNorm2d(shape[-1], layer.epsilon)
            nn.init.uniform_(made.running_var, 0.5, 2.0)
            nn.init.normal_(made.running_mean)
            return made
        else:
            return {
                "Flatten": nn.Flatten, "ReLU": nn.ReLU, "Dropout": nn.Dropout, "Identity": nn.Identity,
                "GlobalAveragePooling2D": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                "Activation": lambda: functions[layer.activation.__name__],
            }[kind]()  # fmt: skip
        name = layer.activation.__name__
        return made if name == "linear" else nn.Sequential(made, functions[name])

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            parts = [None if type(n.layer).__name__ == "Add" else module(n.layer, n.inputs[0].shape) for n in nodes]
            self.parts = nn.ModuleList(part for part in parts if part is not None)
            self.places = list(np.cumsum([part is not None for part in parts]) - 1)

        def forward(self, x):
            values = {id(model.inputs[0]): x}
            for node, place in zip(nodes, self.places, strict=True):
                found = [values[id(y)] for y in node.inputs]
                values[id(node.outputs)] = found[0] + found[1] if len(found) == 2 else self.parts[place](found[0])
            return values[id(model.outputs[0])]

    nodes = model._graph.nodes
    torch.manual_seed(0)
    return Network().eval()


@pytest.mark.parametrize("name", APPLICATIONS)
@pytest.mark.filterwarnings("ignore")
def test_application_from_torch(name, tmp_path):
    torch = pytest.importorskip("torch")
    model = getattr(applications, name)(**APPLICATIONS[name])
    network = in_torch(model)
    shape = model.input_shape[1:]
    x = torch.randn(2, *(shape if len(shape) < 3 else (shape[2], *shape[:2])))
    path = tmp_path / "m.onnx"
    torch.onnx.export(
        network, (x,), str(path), dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}}
    )
    loaded = dl.onnx.load(path)
    with torch.no_grad():
        expected = network(x).numpy()
    assert_close(results(loaded, [x.numpy()]), [expected])
    kinds = [type(layer).__name__ for layer in loaded.layers]
    assert kinds.count("Permute") <= 1, "images are turned once, at the entry"


# ---- the ONNX project's tests of operators --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cases():
    return load_cases()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PASSING)
def test_node(name, cases, active_backend):
    if name not in cases:
        pytest.skip("this version of onnx does not have it")
    run_case(cases[name])


@pytest.mark.filterwarnings("ignore")
def test_the_other_node_tests_are_refused_and_listed(cases):
    unknown = sorted(set(cases) - set(PASSING) - set(UNSUPPORTED))
    if onnx.__version__ == "1.23.2":
        assert not unknown
    for name in UNSUPPORTED:
        if name in cases:
            with pytest.raises(ValueError, match="not supported"):
                run_case(cases[name])


def test_the_list_covers_every_operator():
    tested = {node.op_type for name, case in load_cases().items() if name in PASSING for node in case.model.graph.node}
    assert set(dl.onnx.supported_operators()) <= tested | {"Constant"}


# ---- files that are not to be trusted -------------------------------------------------------------------------------


def tiny():
    """Conv, Flatten and Gemm, as PyTorch would write them."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(2, 1, 3, 3)), "m": rng.normal(size=(3, 8)), "b": rng.normal(size=3)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Gemm", ["f", "m", "b"], ["y"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def refused(model, tmp_path, match):
    path = tmp_path / "bad.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(ValueError, match=match):
        dl.onnx.load(path)


def test_the_tiny_model_is_sound(tmp_path):
    (tmp_path / "m.onnx").write_bytes(tiny().SerializeToString())
    x = np.random.default_rng(1).normal(size=(3, 1, 4, 4)).astype(np.float32)
    assert_close([dl.onnx.load(tmp_path / "m.onnx")(x).numpy()], runtime(tmp_path / "m.onnx", x))


def test_not_onnx_at_all(tmp_path):
    refused(b"", tmp_path, "no readable ONNX file")
    refused(b"PK\x03\x04 a zip file, or so it says", tmp_path, "no readable ONNX file")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        dl.onnx.load(tmp_path / "missing.onnx")
    with pytest.raises(IsADirectoryError):
        dl.onnx.load(tmp_path)


def test_newer_and_older_files(tmp_path):
    model = tiny()
    model.ir_version = 999
    refused(model, tmp_path, "format version 999.*update onnx")
    model = tiny()
    model.opset_import[0].version = 999
    refused(model, tmp_path, "opset 999.*update onnx")
    model.opset_import[0].version = 12
    refused(model, tmp_path, "opset 12, which is not supported: 13 is the oldest.*version_converter")


def test_other_domains_functions_and_subgraphs(tmp_path):
    model = tiny()
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    refused(model, tmp_path, "domain 'com.example', which is not supported")
    model = tiny()
    model.graph.node[1].domain = "com.example"
    refused(model, tmp_path, "'Relu' is not supported")
    model = tiny()
    model.graph.node[1].op_type = "Loop"
    refused(model, tmp_path, "operator 'Loop' is not supported")
    model = tiny()
    model.graph.node[1].attribute.append(helper.make_attribute("g", model.graph))
    refused(model, tmp_path, "holds a graph of its own")


def test_no_other_file_is_opened(tmp_path):
    model = tiny()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    refused(model, tmp_path, "tensor 'w' lies in another file, which is not supported")


@pytest.mark.parametrize("dims", [[2, 1, 3, 4], [2**40, 2**40, 3, 3], [-1, 1, 3, 3], []])
def test_a_shape_that_its_bytes_do_not_fill(dims, tmp_path):
    model = tiny()
    model.graph.initializer[0].dims[:] = dims
    refused(model, tmp_path, "tensor 'w' is damaged")


@pytest.fixture
def little_memory():
    """Fails where a test has used more than 100 MB at once, NumPy's arrays included."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e8


def test_sizes_that_would_fill_the_memory(tmp_path, little_memory):
    model = tiny()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 2**20
    refused(model, tmp_path, "too large|contradicts itself")
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2**20, 2**20])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, "h", "w"])], [tiny().graph.initializer[0]],
    )  # fmt: skip
    refused(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path, "too large")
    for op, constant in (("ConstantOfShape", [2**20, 2**20]), ("Expand", [2**20, 2**20])):
        inputs = ["s"] if op == "ConstantOfShape" else ["one", "s"]
        nodes = [helper.make_node(op, inputs, ["big"]), helper.make_node("Add", ["x", "big"], ["y"])]
        constants = [numpy_helper.from_array(np.array(constant), "s")]
        constants.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
        graph = helper.make_graph(
            nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])], constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        refused(model, tmp_path, "too large")


def test_graphs_that_contradict_themselves(tmp_path):
    model = tiny()
    model.graph.node[1].input[0] = "nothing"
    refused(model, tmp_path, "damaged or contradicts itself")
    model = tiny()
    model.graph.node[0].input[0] = "y"  # a cycle
    refused(model, tmp_path, "damaged or contradicts itself")
    model = tiny()
    model.graph.node[0].attribute[0].ints[:] = [5, 5]
    refused(model, tmp_path, "contradicts itself")


def test_damage_anywhere_is_an_error_or_does_no_harm(tmp_path):
    data = tiny().SerializeToString()
    path = tmp_path / "bad.onnx"
    rng = np.random.default_rng(0)
    errors = []
    for trial in range(300):
        broken = bytearray(data)
        if trial % 3 == 0:
            del broken[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(len(data), size=1 + trial % 4):
                broken[place] = int(rng.integers(256))
        path.write_bytes(bytes(broken))
        try:
            dl.onnx.load(path)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert [error for error in errors if not error.startswith(str(path))] == []


# ---- what cannot be written -----------------------------------------------------------------------------------------


def one_s_own(x):
    return x * 2.0


def test_what_onnx_has_nothing_for_is_refused(tmp_path):
    path = tmp_path / "m.onnx"
    for model, match in (
        (dl.Sequential([layers.Dense(2)]), "must be a built graph of layers"),
        (dl.Sequential([layers.Input((2,)), layers.Lambda(lambda x: x, name="mine")]), "'mine' cannot be exported"),
        (dl.Sequential([layers.Input((2, 2)), layers.Masking(), layers.LSTM(2)]), "ONNX has no masks"),
        (dl.Sequential([layers.Input((2,)), layers.Dense(2, activation=one_s_own)]), "its activation .*one_s_own"),
        (dl.Sequential([layers.Input((2, 2)), layers.LSTM(2, activation="softplus")]), "its activations"),
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
