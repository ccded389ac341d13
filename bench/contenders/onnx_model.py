"""The ONNX model of a case, made node by node: NCHW, as ONNX wants it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from cases import EPSILON, Case, Node, Weights

from .layout import onnx_gates

ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}
CELLS = {"simple_rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def onnx_input(x: np.ndarray) -> np.ndarray:
    """Images as NCHW, sequences with time first, which is how ONNX's recurrent operators take them."""
    order = {4: (0, 3, 1, 2), 3: (1, 0, 2), 2: (0, 1)}[x.ndim]
    return np.ascontiguousarray(x.transpose(order))


def onnx_model(case: Case, weights: Weights) -> bytes:
    builder = _Builder()
    network = case.network
    values = {-1: "x"}
    for place, node in enumerate(network.nodes):
        own = {name: weights[f"{place}.{name}"] for name in node.parameters()}
        values[place] = builder.layer(node, [values[i] for i in node.inputs], own)
    output = values[network.last]
    if case.task == "infer":
        output = builder.op("Softmax", [output], axis=-1)
    x = onnx_input(np.empty((case.batch, *network.input_shape), np.float32))
    shape = network.nodes[-1].shape
    y_shape = (case.batch, shape[2], *shape[:2]) if len(shape) == 3 else (case.batch, *shape)
    graph = helper.make_graph(
        builder.nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, y_shape)],
        builder.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model.SerializeToString()


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> str:
        """Adds an operator; the name of its last output."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[-1]

    def layer(self, node: Node, inputs: list[str], own: Weights) -> str:
        out = self._plain(node, inputs, own)
        fused = node.kind in ("conv", "dense") and node.activation in ACTIVATIONS
        return self.op(ACTIVATIONS[node.activation], [out]) if fused else out

    def _plain(self, node: Node, inputs: list[str], own: Weights) -> str:
        window: dict[str, Any] = {"kernel_shape": [node.size] * 2, "strides": [node.stride] * 2, "pads": [node.pad] * 4}
        if node.kind == "conv":
            constants = [self.constant(own["kernel"].transpose(3, 2, 0, 1))]
            constants += [self.constant(own["bias"])] if node.bias else []
            return self.op("Conv", inputs + constants, **window)
        if node.kind == "dense":
            return self.op("Gemm", [*inputs, self.constant(own["kernel"]), self.constant(own["bias"])])
        if node.kind == "batchnorm":
            return self.op("BatchNormalization", inputs + [self.constant(w) for w in own.values()], epsilon=EPSILON)
        if node.kind in CELLS:
            attributes: dict[str, Any] = {"linear_before_reset": 1} if node.kind == "gru" else {}
            constants = [self.constant(w) for w in onnx_gates(node.kind, own)]
            last = self.op(CELLS[node.kind], inputs + constants, 2, hidden_size=node.shape[-1], **attributes)
            return self.op("Squeeze", [last, self.constant(np.array([0]))])
        if node.kind == "flatten":  # in the order of NHWC
            return self.op("Flatten", [self.op("Transpose", inputs, perm=[0, 2, 3, 1])])
        if node.kind == "global_average":
            return self.op("Flatten", [self.op("GlobalAveragePool", inputs)])
        if node.kind in ("maxpool", "avgpool"):
            return self.op({"maxpool": "MaxPool", "avgpool": "AveragePool"}[node.kind], inputs, **window)
        return self.op({"add": "Add", "relu": "Relu"}[node.kind], inputs)
