"""ONNX files that are not to be trusted: damaged, newer, hostile, or of what is not supported."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import dlcore as dl

pytest.importorskip("onnx")
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_models import MODELS
from onnx_runtime import assert_close, runtime


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


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/passwd", "link.bin", ""])
def test_no_other_file_is_opened(location, tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(72))
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    model = tiny()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    refused(model, tmp_path, "tensor 'w' lies in another file, which is not supported")


def test_graphs_within_graphs_are_not_even_looked_into(tmp_path):
    bomb = tiny().graph
    for _ in range(20):
        node = helper.make_node("If", ["x"], ["y"], then_branch=bomb)
        bomb = helper.make_graph([node], "g", [], [])
    model = tiny()
    model.graph.node[1].attribute.append(helper.make_attribute("g", bomb))
    refused(model, tmp_path, "holds a graph of its own|no readable ONNX file")


def test_attributes_of_another_type(tmp_path):
    for value in ("three", 3.5, [[3.0, 3.0]][0], tiny().graph.initializer[0]):
        model = tiny()
        del model.graph.node[0].attribute[:]
        model.graph.node[0].attribute.append(helper.make_attribute("kernel_shape", value))
        refused(model, tmp_path, "contradicts itself")
    model = tiny()
    model.graph.node[3].attribute.append(helper.make_attribute("alpha", [1, 2]))
    refused(model, tmp_path, "contradicts itself")


def test_elements_that_tensors_do_not_hold(tmp_path):
    model = tiny()
    model.graph.initializer[2].CopyFrom(helper.make_tensor("b", TensorProto.STRING, [3], [b"a", b"b", b"c"]))
    refused(model, tmp_path, "tensor 'b' holds strings, which is not supported")
    model = tiny()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING
    refused(model, tmp_path, "not supported|contradicts itself")
    model = tiny()
    model.graph.initializer[0].data_type = 99
    refused(model, tmp_path, "unknown type 99")


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


NUMBERS = (-(2**63), -(2**40), -7, -1, 0, 1, 3, 17, 4096, 2**31 - 1, 2**31, 2**40, 2**62)


def damaged(data, rng, trial):
    """Bytes changed, the end cut off, or numbers, names and operators changed in what is a sound message still."""
    if trial % 3 == 0:
        return data[: int(rng.integers(len(data)))]
    if trial % 3 == 1:
        broken = bytearray(data)
        for place in rng.integers(len(data), size=1 + trial % 4):
            broken[place] = int(rng.integers(256))
        return bytes(broken)
    model = ModelProto.FromString(data)
    graph = model.graph
    node = graph.node[rng.integers(len(graph.node))]
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    number = NUMBERS[rng.integers(len(NUMBERS))]
    kind = rng.integers(6)
    if kind == 0 and node.attribute:
        attribute = node.attribute[rng.integers(len(node.attribute))]
        if attribute.ints:
            attribute.ints[rng.integers(len(attribute.ints))] = number
        else:
            attribute.i, attribute.f, attribute.type = number, float(number), int(rng.integers(1, 5))
    elif kind == 1 and tensor.data_type == TensorProto.INT64 and tensor.raw_data:
        values = numpy_helper.to_array(tensor).copy()
        values.flat[rng.integers(values.size)] = number
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    elif kind == 1 and tensor.dims:
        tensor.dims[rng.integers(len(tensor.dims))] = number
    elif kind == 2:
        known = dl.onnx.supported_operators()
        node.op_type = known[rng.integers(len(known))]
    elif kind == 3 and node.input:
        names = [name for other in graph.node for name in (*other.input, *other.output)]
        node.input[rng.integers(len(node.input))] = names[rng.integers(len(names))]
    elif kind == 4:
        shape = graph.input[0].type.tensor_type.shape
        shape.dim[rng.integers(len(shape.dim))].dim_value = number
    else:
        del graph.node[rng.integers(len(graph.node))]
    return model.SerializeToString()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["image to dense", "shapes", "convolutions", "bidirectional", "every function"])
def test_damage_anywhere_is_an_error_or_does_no_harm(name, tmp_path):
    path = tmp_path / "m.onnx"
    dl.onnx.export(MODELS[name](), path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = []
    for trial in range(240):
        path.write_bytes(damaged(data, rng, trial))
        try:
            dl.onnx.load(path)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert [error for error in errors if not error.startswith(str(path))] == []
