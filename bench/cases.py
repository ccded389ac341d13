"""What the peers are compared on: every case stated once, as a graph of layers that each contender builds its own way.

Images are `[N, H, W, C]`, kernels `[kh, kw, C, K]` and `[inputs, units]`, the gates of LSTM i · f · c · o and of GRU
z · r · h with the reset gate after the recurrent product: Keras's layout. A contender transposes to its own.

Flops count a multiplication and an addition as two, in matrix products and direct convolutions; an algorithm that needs
fewer (Winograd) may so come out above the machine's ceiling. A training step counts them three times (forward, gradient
of the input, gradient of the weights), less the gradient of the model's own input, which nobody computes. Bytes are
the least that must move if no layer keeps anything in a cache for the next one: every layer's input, output and
weights once; three times that in a training step, and what the optimizer reads and writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

EPSILON = 1e-3  # of batch normalisation
ADAM_EPSILON = 1e-10  # so small that it makes no difference where in the formula a library adds it
LEARNING_RATE = {"adam": 1e-3, "sgd": 1e-2}
MOMENTUM = 0.9  # of sgd
OPTIMIZER_TRAFFIC = {"adam": 7, "sgd": 5}  # floats read and written per parameter
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}

Weights = dict[str, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One layer of a network: what it takes (places of earlier nodes, -1 the network's input) and what it gives."""

    kind: str
    inputs: tuple[int, ...]
    source: Shape  # shape of its first input, without the batch
    shape: Shape  # of its output
    size: int = 0  # side of a kernel or window
    stride: int = 1
    pad: int = 0  # zeros on every side
    activation: str = "linear"
    bias: bool = True

    def parameters(self) -> dict[str, Shape]:
        """Names and shapes of its weights; those of `moving_…` are not trained."""
        channels, units = self.source[-1], self.shape[-1]
        bias = {"bias": (units,)} if self.bias else {}
        if self.kind == "conv":
            return {"kernel": (self.size, self.size, channels, units), **bias}
        if self.kind == "dense":
            return {"kernel": (channels, units), **bias}
        if self.kind == "batchnorm":
            return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (units,))
        if self.kind in GATES:
            columns = GATES[self.kind] * units
            rows = {"bias": (2, columns) if self.kind == "gru" else (columns,)}
            return {"kernel": (channels, columns), "recurrent_kernel": (units, columns), **rows}
        return {}

    def input_flops(self) -> float:
        """Of the part of `flops` that takes the layer's input: as many as the gradient of that takes."""
        if self.kind in GATES:
            return 2.0 * math.prod(self.parameters()["kernel"]) * self.source[0]
        return self.flops()

    def flops(self) -> float:
        """Of one sample's forward pass."""
        matrices = sum(math.prod(shape) for name, shape in self.parameters().items() if name.endswith("kernel"))
        if self.kind == "conv":
            return 2.0 * matrices * self.shape[0] * self.shape[1]
        if self.kind in GATES:
            return 2.0 * matrices * self.source[0]
        if matrices:
            return 2.0 * matrices
        per_element = {"batchnorm": 5, "maxpool": self.size**2 - 1, "avgpool": self.size**2, "add": 1, "relu": 1}
        return float(per_element.get(self.kind, 0) * math.prod(self.shape))


class Network:
    """A graph of layers; a new one takes the output of the last unless `of` says another."""

    def __init__(self, *input_shape: int) -> None:
        self.input_shape = input_shape
        self.nodes: list[Node] = []

    def shape(self, place: int) -> Shape:
        return self.nodes[place].shape if place >= 0 else self.input_shape

    @property
    def last(self) -> int:
        return len(self.nodes) - 1

    def conv(
        self, filters: int, size: int, stride: int = 1, pad: int = 0, activation: str = "linear", bias: bool = True,
        of: int | None = None,
    ) -> int:  # fmt: skip
        place = self.last if of is None else of
        side = [(n + 2 * pad - size) // stride + 1 for n in self.shape(place)[:2]]
        return self._add("conv", (place,), (*side, filters), size, stride, pad, activation, bias)

    def pool(self, kind: str, size: int, stride: int | None = None, pad: int = 0) -> int:
        stride = stride or size
        side = [(n + 2 * pad - size) // stride + 1 for n in self.shape(self.last)[:2]]
        return self._add(kind, (self.last,), (*side, self.shape(self.last)[2]), size, stride, pad)

    def dense(self, units: int, activation: str = "linear") -> int:
        return self._add("dense", (self.last,), (units,), activation=activation)

    def recurrent(self, kind: str, units: int) -> int:
        """The last output of a recurrent layer."""
        return self._add(kind, (self.last,), (units,), activation="tanh")

    def batchnorm(self) -> int:
        return self._same("batchnorm")

    def relu(self) -> int:
        return self._same("relu")

    def add(self, one: int, other: int) -> int:
        return self._add("add", (one, other), self.shape(one))

    def flatten(self) -> int:
        return self._add("flatten", (self.last,), (math.prod(self.shape(self.last)),))

    def global_average(self) -> int:
        return self._add("global_average", (self.last,), (self.shape(self.last)[2],))

    def _same(self, kind: str) -> int:
        return self._add(kind, (self.last,), self.shape(self.last))

    def _add(self, kind: str, inputs: tuple[int, ...], shape: Shape, size: int = 0, stride: int = 1, pad: int = 0,
             activation: str = "linear", bias: bool = True) -> int:  # fmt: skip
        self.nodes.append(Node(kind, inputs, self.shape(inputs[0]), shape, size, stride, pad, activation, bias))
        return self.last

    def weights(self, seed: int = 0) -> Weights:
        """Named `place.parameter`; kernels and gammas keep the variance of what flows through them."""
        rng = np.random.default_rng(seed)

        def one(name: str, shape: Shape, activation: str) -> np.ndarray:
            if name.endswith("kernel"):
                gain = 2.0 if activation == "relu" or len(shape) == 4 else 1.0
                return rng.standard_normal(shape, np.float32) * np.float32(math.sqrt(gain / math.prod(shape[:-1])))
            low, high = {"gamma": (0.3, 0.7), "moving_variance": (0.5, 1.5)}.get(name, (-0.1, 0.1))
            return rng.uniform(low, high, shape).astype(np.float32)

        return {
            f"{place}.{name}": one(name, shape, node.activation)
            for place, node in enumerate(self.nodes)
            for name, shape in node.parameters().items()
        }


# ---- the networks ------------------------------------------------------------------------------------------------


def mlp(inputs: int, *units: int, activation: str = "relu") -> Network:
    net = Network(inputs)
    for n in units[:-1]:
        net.dense(n, activation)
    net.dense(units[-1])
    return net


def lenet5() -> Network:
    """dlcore.applications.LeNet5: LeCun et al. 1998 with plain average pooling."""
    net = Network(32, 32, 1)
    for filters in (6, 16):
        net.conv(filters, 5, activation="tanh")
        net.pool("avgpool", 2)
    net.flatten()
    net.dense(120, "tanh")
    net.dense(84, "tanh")
    net.dense(10)
    return net


def vgg16(side: int, head: tuple[int, ...]) -> Network:
    """Simonyan & Zisserman 2014, configuration D; `head` gives the dense layers."""
    net = Network(side, side, 3)
    for filters, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            net.conv(filters, 3, pad=1, activation="relu")
        net.pool("maxpool", 2)
    net.flatten()
    for units in head[:-1]:
        net.dense(units, "relu")
    net.dense(head[-1])
    return net


def alexnet() -> Network:
    """Krizhevsky 2014, one tower, as torchvision has it, on the 227 × 227 of the paper of 2012."""
    net = Network(227, 227, 3)
    net.conv(64, 11, 4, 2, "relu")
    net.pool("maxpool", 3, 2)
    net.conv(192, 5, pad=2, activation="relu")
    net.pool("maxpool", 3, 2)
    for filters in (384, 256, 256):
        net.conv(filters, 3, pad=1, activation="relu")
    net.pool("maxpool", 3, 2)
    net.flatten()
    net.dense(4096, "relu")
    net.dense(4096, "relu")
    net.dense(1000)
    return net


def resnet18(side: int, classes: int, small_stem: bool) -> Network:
    """He et al. 2015. With `small_stem` the body is the same, behind a 3 × 3 convolution of stride 1 and no pooling."""
    net = Network(side, side, 3)

    def normalized(filters: int, size: int, stride: int, pad: int, of: int | None = None) -> int:
        net.conv(filters, size, stride, pad, bias=False, of=of)
        return net.batchnorm()

    if small_stem:
        normalized(64, 3, 1, 1)
        net.relu()
    else:
        normalized(64, 7, 2, 3)
        net.relu()
        net.pool("maxpool", 3, 2, 1)
    for filters in (64, 128, 256, 512):
        for block in range(2):
            start, stride = net.last, 2 if block == 0 and filters > 64 else 1
            shortcut = start if stride == 1 else normalized(filters, 1, stride, 0)
            normalized(filters, 3, stride, 1, of=start)
            net.relu()
            net.add(normalized(filters, 3, 1, 1), shortcut)
            net.relu()
    net.global_average()
    net.dense(classes)
    return net


def recurrent(kind: str) -> Network:
    """50 steps of 128 features, 256 units, and a dense layer on the last output."""
    net = Network(50, 128)
    net.recurrent(kind, 256)
    net.dense(10)
    return net


def one_layer(kind: str) -> Network:
    net = Network(56, 56, 64)
    net.batchnorm() if kind == "batchnorm" else net.pool("maxpool", 2)
    return net


# ---- the cases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A piece of work: a network, what is done with it and how fast it is meant to be."""

    name: str
    task: str  # "train", "infer", or "layer": one layer's forward pass, a batch normalisation's as in training
    make: Callable[[], Network]
    batch: int
    goals: dict[str, float]  # peer -> speed against it; "best" the best of them, "rest" the best of those not named
    optimizer: str = "sgd"
    loss: str = "cross_entropy"  # or "mse"
    slow: bool = False

    @property
    def network(self) -> Network:
        return _network(self.make)

    def data(self, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """One batch: inputs and labels (for `mse` targets)."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((self.batch, *self.network.input_shape), np.float32)
        outputs = self.network.nodes[-1].shape[-1]
        if self.loss == "mse":
            return x, rng.standard_normal((self.batch, outputs), np.float32)
        return x, rng.integers(0, outputs, self.batch)

    def flops(self) -> float:
        nodes = self.network.nodes
        forward = self.batch * sum(node.flops() for node in nodes)
        if self.task != "train":
            return forward
        first = self.batch * sum(node.input_flops() for node in nodes if node.inputs == (-1,))
        return 3 * forward - first

    def bytes(self) -> float:
        parameters = sum(math.prod(s) for node in self.network.nodes for s in node.parameters().values())
        moved = [math.prod(node.source) * len(node.inputs) + math.prod(node.shape)
                 for node in self.network.nodes if node.kind != "flatten"]  # fmt: skip
        once = self.batch * sum(moved) + parameters
        return 4.0 * (once if self.task != "train" else 3 * once + OPTIMIZER_TRAFFIC[self.optimizer] * parameters)


@cache
def _network(make: Callable[[], Network]) -> Network:
    return make()


def _cases() -> list[Case]:
    def tiny() -> Network:
        return mlp(2, 8, 1, activation="tanh")

    def dense() -> Network:
        return mlp(784, 512, 256, 10)

    def vgg() -> Network:
        return vgg16(224, (4096, 4096, 1000))

    def vgg_small() -> Network:
        return vgg16(32, (512, 10))

    def resnet() -> Network:
        return resnet18(224, 1000, small_stem=False)

    def resnet_small() -> Network:
        return resnet18(32, 10, small_stem=True)

    def cells(kind: str) -> Callable[[], Network]:
        return lambda: recurrent(kind)

    ncnn_and = {"ncnn": 1.25, "rest": 2.0}
    return [
        Case("tiny MLP 2-8-1 train 4", "train", tiny, 4, {"best": 5.0}, "adam", "mse"),
        Case("MLP train 32", "train", dense, 32, {"best": 1.5}, "adam"),
        Case("MLP train 128", "train", dense, 128, {"best": 1.3}, "adam"),
        Case("MLP train 1024", "train", dense, 1024, {"best": 1.05}, "adam"),
        Case("MLP infer 1", "infer", dense, 1, {"best": 1.3}),
        Case("MLP infer 128", "infer", dense, 128, {"best": 1.1}),
        Case("LeNet-5 train 32", "train", lenet5, 32, {"best": 5.0}),
        Case("LeNet-5 train 128", "train", lenet5, 128, {"best": 5.0}),
        Case("LeNet-5 infer 1", "infer", lenet5, 1, {"best": 2.0}),
        Case("LeNet-5 infer 32", "infer", lenet5, 32, {"best": 2.0}),
        Case("LeNet-5 infer 128", "infer", lenet5, 128, {"best": 2.0}),
        Case("VGG-16 224² infer 1", "infer", vgg, 1, ncnn_and, slow=True),
        Case("VGG-16 224² infer 8", "infer", vgg, 8, ncnn_and, slow=True),
        Case("AlexNet 227² infer 1", "infer", alexnet, 1, {"best": 1.1}),
        Case("VGG-16 32² train 32", "train", vgg_small, 32, {"best": 3.0}, slow=True),
        Case("ResNet-18 224² infer 1", "infer", resnet, 1, {"ncnn": 1.1, "rest": 1.4}),
        Case("ResNet-18 224² infer 8", "infer", resnet, 8, {"ncnn": 1.1, "rest": 1.4}),
        Case("ResNet-18 32² train 32", "train", resnet_small, 32, {"best": 2.5}, slow=True),
        Case("simple RNN train 32", "train", cells("simple_rnn"), 32, {"best": 1.5}, "adam"),
        Case("LSTM train 32", "train", cells("lstm"), 32, {"best": 1.7}, "adam"),
        Case("GRU train 32", "train", cells("gru"), 32, {"best": 3.0}, "adam"),
        Case("LSTM infer 32", "infer", cells("lstm"), 32, {"best": 1.2}),
        Case("GRU infer 32", "infer", cells("gru"), 32, {"best": 1.2}),
        Case("batchnorm forward", "layer", lambda: one_layer("batchnorm"), 32, {"best": 1.3}),
        Case("max-pool 2×2", "layer", lambda: one_layer("maxpool"), 32, {"best": 1.5}),
    ]


CASES = {case.name: case for case in _cases()}
