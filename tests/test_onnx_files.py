"""ONNX files that are not to be trusted: damaged, newer, hostile, or of what is not supported."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import dlcore as dl

pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper
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
