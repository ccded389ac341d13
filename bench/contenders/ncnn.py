"""ncnn: its C++ engine driven from Python, in float32 with Winograd, sgemm and packed layouts, as it is by default.

The network is written as ncnn's own param text and weight file, with batch normalisation folded into the convolution
before it and ReLU into its layer, which is what ncnn's optimizer does. ncnn knows no batch: samples go one by one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import ncnn
import numpy as np

from cases import EPSILON, GATES, Case, Node, Weights

from . import Run, Variants

RELU = {"linear": 0, "relu": 1}


def variants(name: str, threads: int, case: Case, weights: Weights, x: np.ndarray, y: np.ndarray) -> Variants:
    kinds = {node.kind for node in case.network.nodes}
    if case.task == "train" or kinds & GATES.keys() or case.network.nodes[0].kind == "batchnorm":
        return {}  # it only infers, and a recurrent layer only one sequence at a time
    writer = _Writer(case, weights)
    return {"Winograd": lambda: _run(writer, x, threads)}


def _run(writer: _Writer, x: np.ndarray, threads: int) -> Run:
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    with tempfile.TemporaryDirectory() as folder:
        param, binary = Path(folder) / "net.param", Path(folder) / "net.bin"
        param.write_text(writer.text())
        binary.write_bytes(b"".join(writer.weights))
        if net.load_param(str(param)) or net.load_model(str(binary)):
            raise RuntimeError("ncnn does not read the network")
    images = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
    samples = [ncnn.Mat(image).clone() for image in images]  # without the clone, the array would have to be kept

    def one(sample: ncnn.Mat) -> ncnn.Mat:
        extractor = net.create_extractor()
        extractor.input("x", sample)
        return extractor.extract(writer.output)[1]

    def value(outs: list[ncnn.Mat]) -> np.ndarray:
        y = np.stack([np.array(out) for out in outs])
        return y.transpose(0, 2, 3, 1) if y.ndim == 4 else y

    return Run(lambda: [one(sample) for sample in samples], value)


class _Writer:
    """The layers of a case as lines of a param file, and their weights."""

    def __init__(self, case: Case, weights: Weights) -> None:
        self.nodes = case.network.nodes
        self.lines = ["Input x 0 1 x"]
        self.weights: list[bytes] = []
        self.blobs = 1
        self.names = {-1: "x"}
        self.uses = {place: sum(node.inputs.count(place) for node in self.nodes) for place in range(len(self.nodes))}
        self.copies: dict[int, list[str]] = {}
        for place, node in enumerate(self.nodes):
            if node.kind in ("batchnorm", "relu") and self._folds(place):
                self.names[place] = self.names[node.inputs[0]]
            else:
                own = {name: weights[f"{place}.{name}"] for name in node.parameters()}
                self.names[place] = self._layer(place, node, own, weights)
            if self.uses[place] > 1 and not self._folds(self._next(place)):
                self.copies[place] = self._split(self.names[place], self.uses[place])
        self.output = self.names[len(self.nodes) - 1]
        if case.task == "infer":
            self.output = self._add("Softmax", [self.output], "0=0")

    def text(self) -> str:
        return "\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])

    def _next(self, place: int) -> int:
        """The only user of a layer's output; -1 if there are several."""
        users = [i for i, node in enumerate(self.nodes) if place in node.inputs]
        return users[0] if len(users) == 1 else -1

    def _folds(self, place: int) -> bool:
        """Whether a batch normalisation, or a ReLU behind one, is part of a convolution."""
        if place < 0:
            return False
        node = self.nodes[place]
        before = node.inputs[0]
        if node.kind == "batchnorm":
            return before >= 0 and self.nodes[before].kind == "conv" and self._next(before) == place
        return (
            node.kind == "relu" and self.nodes[before].kind == "batchnorm"
            and self._folds(before) and self._next(before) == place
        )  # fmt: skip

    def _add(self, kind: str, inputs: list[str], parameters: str = "") -> str:
        name = f"b{len(self.lines)}"
        self.lines.append(f"{kind} {name} {len(inputs)} 1 {' '.join([*inputs, name])} {parameters}")
        self.blobs += 1
        return name

    def _split(self, blob: str, count: int) -> list[str]:
        names = [f"{blob}_{i}" for i in range(count)]
        self.lines.append(f"Split split_{blob} 1 {count} {' '.join([blob, *names])}")
        self.blobs += count
        return names

    def _input(self, place: int) -> str:
        return self.copies[place].pop() if place in self.copies else self.names[place]

    def _layer(self, place: int, node: Node, own: Weights, weights: Weights) -> str:
        inputs = [self._input(i) for i in node.inputs]
        if node.kind in ("conv", "dense"):
            return self._product(place, node, own, weights, inputs)
        if node.kind in ("maxpool", "avgpool"):
            kind = 0 if node.kind == "maxpool" else 1
            return self._add("Pooling", inputs, f"0={kind} 1={node.size} 2={node.stride} 3={node.pad} 5=1")
        kinds = {"relu": "ReLU", "add": "BinaryOp", "flatten": "Flatten", "global_average": "Pooling"}
        return self._add(kinds[node.kind], inputs, {"add": "0=0", "global_average": "0=1 4=1"}.get(node.kind, ""))

    def _product(self, place: int, node: Node, own: Weights, weights: Weights, inputs: list[str]) -> str:
        kernel, units = own["kernel"], node.shape[-1]
        bias = own.get("bias", np.zeros(units, np.float32))
        activation = node.activation
        after = self._next(place)
        if after >= 0 and self._folds(after):
            gamma, beta, mean, variance = (weights[f"{after}.{name}"] for name in self.nodes[after].parameters())
            scale = gamma / np.sqrt(variance + EPSILON)
            kernel, bias = kernel * scale, beta + (bias - mean) * scale
            if self._folds(self._next(after)):
                activation = "relu"
        if node.kind == "conv":
            self._keep(kernel.transpose(3, 2, 0, 1), bias)
            window = f"1={node.size} 3={node.stride} 4={node.pad} 5=1"
            out = self._add("Convolution", inputs, f"0={units} {window} 6={kernel.size} 9={RELU.get(activation, 0)}")
        else:
            before = self.nodes[node.inputs[0]] if node.inputs[0] >= 0 else node
            if before.kind == "flatten":  # ncnn's is in the order of CHW
                kernel = kernel.reshape(*before.source, units).transpose(2, 0, 1, 3).reshape(-1, units)
            self._keep(kernel.T, bias)
            out = self._add("InnerProduct", inputs, f"0={units} 1=1 2={kernel.size} 9={RELU.get(activation, 0)}")
        return self._add("TanH", [out]) if activation == "tanh" else out

    def _keep(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        """As ncnn's weight files hold them: a tag of 0 for float32, the kernel, then the bias without a tag."""
        arrays = (np.ascontiguousarray(a, np.float32).tobytes() for a in (kernel, bias))
        self.weights.append(b"\0\0\0\0" + b"".join(arrays))
