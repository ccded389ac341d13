"""From a `Model` to an ONNX file.

The file takes and gives what the model does, images as [N, H, W, C]. Within it, images lie as ONNX wants them,
[N, C, H, W]: each value remembers in which order its axes lie, and a Transpose is written only where an operator needs
another one, for most networks once at the entry and once before a Flatten.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from .. import __version__, activations, layers
from ..layers import regularization
from ..layers.base import Layer
from ..layers.operation import Operation
from ..models import Model
from ..symbolic import SymbolicTensor, flatten

OPSET, IR_VERSION = 20, 9  # the oldest with Gelu, and the format that came with it
CHANNELS_FIRST = (0, 2, 3, 1)


def export(model: Model, filepath: Any, overwrite: bool = True) -> None:
    """Write a model as an ONNX file (opset 20), as it computes at inference.

    Args:
        model: a built graph of layers (`Sequential`, or made from inputs and outputs).
        filepath: a path that ends in ".onnx".
        overwrite: whether an existing file may be replaced.

    Raises:
        ValueError: the model is not built or no graph, or a layer has no counterpart in ONNX; the message says which.
        FileExistsError: the file exists and overwrite is False.
    """
    path = Path(filepath)
    if path.suffix != ".onnx":
        raise ValueError(f"filepath must end in '.onnx', got {str(filepath)!r}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; overwrite=True replaces it")
    if getattr(model, "_graph", None) is None:
        raise ValueError(
            f"{getattr(model, '_said', repr(model))} cannot be exported: it must be a built graph of layers, a "
            "Sequential with its Input or a Model made from inputs and outputs"
        )
    with model._at_home():
        proto = _Writer().model(model)
    try:
        data = proto.SerializeToString()
    except Exception as error:  # protobuf's implementations have different ones
        raise ValueError(f"model {model.name!r} is too large for one ONNX file, which holds up to 2 GB") from error
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class _Value:
    """A value of the ONNX graph: axis i of the model's tensor is axis order[i] of it."""

    __slots__ = ("dtype", "name", "order", "shape")

    def __init__(self, name: str, shape: Any, dtype: Any, order: Any = None) -> None:
        self.name = name
        self.shape = tuple(shape)  # the model's
        self.dtype = np.dtype(dtype)
        self.order = tuple(range(len(self.shape))) if order is None else tuple(order)


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.taken: set[str] = set()
        self.weights: dict[tuple[int, str], str] = {}

    # ---- the file ---------------------------------------------------------------------------------------------------

    def model(self, model: Any) -> Any:
        inputs, entries = [], []
        for x, name in zip(model.inputs, model.input_names, strict=True):
            entry = _Value(self.unique(name), x.shape, x.dtype)
            entries.append(entry)
            inputs.append(self.described(entry))
        outputs = []
        for result, name in zip(self.graph(model._graph, entries), model.output_names, strict=True):
            y = _Value(self.unique(f"{name}_output"), result.shape, result.dtype)
            self.nodes.append(helper.make_node("Identity", [self.to(result)], [y.name], name=self.unique(y.name)))
            outputs.append(self.described(y))
        graph = helper.make_graph(self.nodes, model.name, inputs, outputs, self.constants)
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dlcore",
            producer_version=__version__,
        )  # fmt: skip
        checker.check_model(proto)
        return proto

    def described(self, value: _Value) -> Any:
        shape = [
            (f"{value.name}_{axis}" if axis else "batch") if n is None else n for axis, n in enumerate(value.shape)
        ]
        return helper.make_tensor_value_info(value.name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)

    def unique(self, name: str) -> str:
        found, count = name, 0
        while found in self.taken:
            count += 1
            found = f"{name}_{count}"
        self.taken.add(found)
        return found

    def constant(self, array: Any, name: str = "constant") -> str:
        name = self.unique(name)
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def weight(self, layer: Layer, kind: str, array: Any) -> str:
        """A weight of a layer, written once however often the layer is called."""
        key = (id(layer), kind)
        if key not in self.weights:
            self.weights[key] = self.constant(array, f"{layer.name}/{kind}")
        return self.weights[key]

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def op(self, kind: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """Adds an operator; the name of its output, or names of its outputs."""
        outputs = [self.unique(f"{kind}_output") for _ in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=self.unique(kind), **attributes))
        return outputs[0] if count == 1 else outputs

    def to(self, x: _Value, order: tuple[int, ...] | None = None) -> str:
        """The name of x with its axes in this order, the model's by default."""
        order = tuple(range(len(x.shape))) if order is None else order
        if order == x.order:
            return x.name
        perm = [0] * len(order)
        for new, old in zip(order, x.order, strict=True):
            perm[new] = old
        return self.op("Transpose", x.name, perm=perm)

    # ---- the graph --------------------------------------------------------------------------------------------------

    def graph(self, graph: Any, inputs: list[_Value]) -> list[_Value]:
        values: dict[int, _Value] = {id(x): value for x, value in zip(graph.inputs, inputs, strict=True)}
        for node in graph.nodes:
            layer = node.layer
            said = f"{layer.name!r} ({type(layer).__name__})"
            if getattr(layer, "mask_zero", False) or isinstance(layer, layers.Masking):
                raise ValueError(f"layer {said} cannot be exported: ONNX has no masks")
            if isinstance(layer, Operation):
                results = self.operation(layer, node, values)
            elif node.kwargs or any(not _is_input(argument) for argument in node.args):
                raise ValueError(f"layer {said} cannot be exported: it is called with more than its inputs")
            else:
                found = [values[id(x)] for x in node.inputs]
                results = self.layer(layer, found, flatten(node.outputs))
            for x, value in zip(flatten(node.outputs), results, strict=True):
                values[id(x)] = value
        return [values[id(x)] for x in graph.outputs]

    def layer(self, layer: Any, inputs: list[_Value], outputs: list[SymbolicTensor]) -> list[_Value]:
        if isinstance(layer, Model):
            if layer._graph is None:
                raise ValueError(f"{layer._said} cannot be exported: it is no graph of layers")
            return self.graph(layer._graph, inputs)
        write = _LAYERS.get(type(layer))
        if write is None:
            raise ValueError(
                f"layer {layer.name!r} cannot be exported: there is nothing in ONNX for {type(layer).__name__}"
            )
        inputs = [self.cast(x, layer) for x in inputs] if layer._real_inputs else inputs
        result = write(self, layer, *inputs, *(y.shape for y in outputs[:1]))
        return result if isinstance(result, list) else [result]

    def cast(self, x: _Value, layer: Layer) -> _Value:
        wanted = np.dtype(layer.dtype)
        if x.dtype == wanted:
            return x
        name = self.op("Cast", x.name, to=helper.np_dtype_to_tensor_dtype(wanted))
        return _Value(name, x.shape, wanted, x.order)

    def operation(self, layer: Operation, node: Any, values: dict[int, _Value]) -> list[_Value]:
        said = f"functional.{layer.function} within the model"
        if layer.function not in _FUNCTIONS or not isinstance(node.outputs, SymbolicTensor):
            raise ValueError(f"{said} cannot be exported: write it with layers instead")

        def value(argument: Any) -> Any:
            if isinstance(argument, SymbolicTensor):
                return values[id(argument)]
            if isinstance(argument, (list, tuple)) and any(isinstance(a, SymbolicTensor) for a in argument):
                return [value(a) for a in argument]
            return argument.numpy() if hasattr(argument, "numpy") else argument

        args, kwargs = [value(a) for a in node.args], {key: value(a) for key, a in node.kwargs.items()}
        try:
            return [_FUNCTIONS[layer.function](self, node.outputs, *args, **kwargs)]
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"{said} cannot be exported with these arguments: {error}") from error

    # ---- what many layers share -------------------------------------------------------------------------------------

    def activation(self, name: str, function: Any, order: tuple[int, ...], dtype: np.dtype, owner: str) -> str:
        """The name of `function` of a value whose axes lie in this order."""
        if isinstance(function, Layer):
            value = _Value(name, (None,) * len(order), dtype, order)
            return self.to(self.layer(function, [value], [SymbolicTensor(value.shape, dtype)])[0], order)
        try:
            kind = activations.serialize(function)
        except ValueError:
            kind = "a function of one's own"
        if kind == "linear":
            return name
        if kind in ("softmax", "log_softmax"):
            return self.op("Softmax" if kind == "softmax" else "LogSoftmax", name, axis=order[-1])
        if not isinstance(kind, str) or kind not in _ACTIVATIONS:
            raise ValueError(f"{owner} cannot be exported: there is nothing in ONNX for its activation {kind!r}")
        return _ACTIVATIONS[kind](self, name, dtype)

    def scalar(self, number: float, dtype: np.dtype) -> str:
        return self.constant(np.array(number, dtype))

    def clipped(self, name: str, low: float | None, high: float | None, dtype: np.dtype) -> str:
        bounds = ["" if bound is None else self.scalar(bound, dtype) for bound in (low, high)]
        return self.op("Clip", name, *bounds)

    def image(self, x: _Value) -> str:
        return self.to(x, CHANNELS_FIRST)


def _is_input(argument: Any) -> bool:
    return isinstance(argument, SymbolicTensor) or (
        isinstance(argument, (list, tuple)) and all(isinstance(a, SymbolicTensor) for a in argument)
    )


_ACTIVATIONS: dict[str, Callable[[_Writer, str, np.dtype], str]] = {
    "relu": lambda w, x, t: w.op("Relu", x),
    "relu6": lambda w, x, t: w.clipped(x, 0.0, 6.0, t),
    "leaky_relu": lambda w, x, t: w.op("LeakyRelu", x, alpha=0.2),
    "sigmoid": lambda w, x, t: w.op("Sigmoid", x),
    "tanh": lambda w, x, t: w.op("Tanh", x),
    "elu": lambda w, x, t: w.op("Elu", x, alpha=1.0),
    "selu": lambda w, x, t: w.op("Selu", x),
    "exponential": lambda w, x, t: w.op("Exp", x),
    "softplus": lambda w, x, t: w.op("Softplus", x),
    "softsign": lambda w, x, t: w.op("Softsign", x),
    "silu": lambda w, x, t: w.op("Mul", x, w.op("Sigmoid", x)),
    "hard_sigmoid": lambda w, x, t: w.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "hard_silu": lambda w, x, t: w.op("HardSwish", x),
    "hard_tanh": lambda w, x, t: w.clipped(x, -1.0, 1.0, t),
    "log_sigmoid": lambda w, x, t: w.op("Neg", w.op("Softplus", w.op("Neg", x))),
    "mish": lambda w, x, t: w.op("Mul", x, w.op("Tanh", w.op("Softplus", x))),
    "gelu": lambda w, x, t: w.op("Gelu", x),
    "step": lambda w, x, t: w.op("Cast", w.op("Greater", x, w.scalar(0.0, t)), to=helper.np_dtype_to_tensor_dtype(t)),
}


# ---- layers: each gets the writer, itself, its inputs and the shape of its (first) output ---------------------------


def _dense(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    kernel = w.weight(layer, "kernel", layer.kernel.numpy())
    bias = None if layer.bias is None else w.weight(layer, "bias", layer.bias.numpy())
    if len(x.shape) == 2:
        name = w.op("Gemm", w.to(x), kernel, *([bias] if bias else []))
    else:
        name = w.op("MatMul", w.to(x), kernel)
        name = w.op("Add", name, bias) if bias else name
    order = tuple(range(len(shape)))
    return _Value(w.activation(name, layer.activation, order, x.dtype, layer._said), shape, x.dtype)


def _window(layer: Any, size: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {"kernel_shape": list(size), "strides": list(layer.strides)}
    rates = getattr(layer, "dilation_rate", (1, 1))
    if layer.padding == "same" and max(rates) > 1:  # the stride is 1; ONNX Runtime wants these pads spelled out
        total = [rate * (length - 1) for rate, length in zip(rates, size, strict=True)]
        return {**attributes, "pads": [*(t // 2 for t in total), *(t - t // 2 for t in total)]}
    if layer.padding == "same":
        return {**attributes, "auto_pad": "SAME_UPPER"}
    if layer.padding != "valid":
        top, bottom, left, right = layer.padding
        attributes["pads"] = [top, left, bottom, right]
    return attributes


def _image(w: _Writer, layer: Any, name: str, shape: Any, x: _Value) -> _Value:
    function = getattr(layer, "activation", activations.linear)
    return _Value(w.activation(name, function, CHANNELS_FIRST, x.dtype, layer._said), shape, x.dtype, CHANNELS_FIRST)


def _bias(w: _Writer, layer: Any) -> list[str]:
    return [] if layer.bias is None else [w.weight(layer, "bias", layer.bias.numpy())]


def _conv(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    kernel = w.weight(layer, "kernel", layer.kernel.numpy().transpose(3, 2, 0, 1))
    window = _window(layer, layer.kernel_size)
    name = w.op(
        "Conv", w.image(x), kernel, *_bias(w, layer), dilations=list(layer.dilation_rate), group=layer.groups, **window
    )
    return _image(w, layer, name, shape, x)


def _by_channel(w: _Writer, layer: Any, x: _Value, kernel: Any, *bias: str) -> str:
    height, width, channels, each = kernel.shape
    turned = kernel.numpy().reshape(height, width, 1, channels * each).transpose(3, 2, 0, 1)
    return w.op(
        "Conv", w.image(x), w.weight(layer, kernel.name, turned), *bias, dilations=list(layer.dilation_rate),
        group=channels, **_window(layer, layer.kernel_size),
    )  # fmt: skip


def _depthwise(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return _image(w, layer, _by_channel(w, layer, x, layer.kernel, *_bias(w, layer)), shape, x)


def _separable(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    name = _by_channel(w, layer, x, layer.depthwise_kernel)
    pointwise = w.weight(layer, "pointwise_kernel", layer.pointwise_kernel.numpy().transpose(3, 2, 0, 1))
    return _image(w, layer, w.op("Conv", name, pointwise, *_bias(w, layer)), shape, x)


def _transposed(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    from ..functional.convolution import _transposed_axis

    kernel = w.weight(layer, "kernel", layer.kernel.numpy().transpose(3, 2, 0, 1))
    before, after, extra = [], [], []
    for axis in range(2):  # the same for every size of image
        k, s, d = layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]
        given = None if layer.output_padding is None else layer.output_padding[axis]
        length, first, last = _transposed_axis(8, k, s, d, layer.padding, given)
        before.append(first)
        after.append(last)
        extra.append(length - (7 * s + d * (k - 1) + 1 - first - last))
    name = w.op(
        "ConvTranspose", w.image(x), kernel, *_bias(w, layer), strides=list(layer.strides),
        dilations=list(layer.dilation_rate), pads=[*before, *after], output_padding=extra,
    )  # fmt: skip
    return _image(w, layer, name, shape, x)


def _pool(kind: str) -> Callable[..., _Value]:
    def write(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
        return _image(w, layer, w.op(kind, w.image(x), **_window(layer, layer.pool_size)), shape, x)

    return write


def _global_pool(kind: str) -> Callable[..., _Value]:
    def write(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
        name = w.op(kind, w.image(x))
        if layer.keepdims:
            return _Value(name, shape, x.dtype, CHANNELS_FIRST)
        return _Value(w.op("Flatten", name, axis=1), shape, x.dtype)

    return write


def _batchnorm(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    rank, axis = len(shape), layer.axis % len(shape)
    order = [0] * rank
    for place, old in enumerate([0, axis, *(i for i in range(1, rank) if i != axis)]):
        order[old] = place
    if axis == 0:
        raise ValueError(f"{layer._said} cannot be exported: it normalises the batch axis")
    length = layer.moving_mean.shape[0]
    gamma = np.ones(length, x.dtype) if layer.gamma is None else layer.gamma.numpy()
    beta = np.zeros(length, x.dtype) if layer.beta is None else layer.beta.numpy()
    arrays = {"gamma": gamma, "beta": beta, "mean": layer.moving_mean.numpy(), "var": layer.moving_variance.numpy()}
    names = [w.weight(layer, kind, array) for kind, array in arrays.items()]
    name = w.op("BatchNormalization", w.to(x, tuple(order)), *names, epsilon=layer.epsilon, momentum=layer.momentum)
    return _Value(name, shape, x.dtype, order)


def _layernorm(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    axes = layer._axes(len(shape))
    if axes != tuple(range(axes[0], len(shape))):
        raise ValueError(f"{layer._said} cannot be exported: ONNX normalises the last axes only, not {layer.axis}")
    lengths = tuple(shape[axis] for axis in axes)
    gamma = np.ones(lengths, x.dtype) if layer.gamma is None else layer.gamma.numpy()
    names = [w.weight(layer, "gamma", gamma)]
    if layer.beta is not None:
        names.append(w.weight(layer, "beta", layer.beta.numpy()))
    return _Value(w.op("LayerNormalization", w.to(x), *names, axis=axes[0], epsilon=layer.epsilon), shape, x.dtype)


def _normalization(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    mean, variance = layer._given or (layer.adapt_mean.numpy(), layer.adapt_variance.numpy())
    mean = mean.reshape(layer._shape(mean)).astype(x.dtype)
    spread = np.maximum(np.sqrt(variance), 1e-7).reshape(layer._shape(variance)).astype(x.dtype)
    a, b = w.weight(layer, "mean", mean), w.weight(layer, "spread", spread)
    name = w.op("Add", w.op("Mul", w.to(x), b), a) if layer.invert else w.op("Div", w.op("Sub", w.to(x), a), b)
    return _Value(name, shape, x.dtype)


def _rescaling(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    scale, offset = (np.asarray(value, x.dtype) for value in (layer.scale, layer.offset))
    name = w.op("Mul", w.to(x), w.weight(layer, "scale", scale))
    return _Value(w.op("Add", name, w.weight(layer, "offset", offset)), shape, x.dtype)


def _same(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return x


def _elementwise(write: Callable[[_Writer, Any, str, np.dtype], str]) -> Callable[..., _Value]:
    return lambda w, layer, x, shape: _Value(write(w, layer, x.name, x.dtype), shape, x.dtype, x.order)


def _activation(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return _Value(w.activation(x.name, layer.activation, x.order, x.dtype, layer._said), shape, x.dtype, x.order)


def _relu(w: _Writer, layer: Any, x: str, dtype: np.dtype) -> str:
    if layer.threshold:
        raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for its threshold")
    if layer.max_value is not None and not layer.negative_slope:
        return w.clipped(x, 0.0, layer.max_value, dtype)
    y = w.op("LeakyRelu", x, alpha=float(layer.negative_slope)) if layer.negative_slope else w.op("Relu", x)
    return y if layer.max_value is None else w.clipped(y, None, layer.max_value, dtype)


def _prelu(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return _Value(w.op("PRelu", w.to(x), w.weight(layer, "alpha", layer.alpha.numpy())), shape, x.dtype)


def _softmax(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    if not isinstance(layer.axis, int):
        raise ValueError(f"{layer._said} cannot be exported: ONNX's Softmax has one axis, got {layer.axis}")
    return _Value(w.op("Softmax", x.name, axis=x.order[layer.axis]), shape, x.dtype, x.order)


def _flatten(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return _Value(w.op("Flatten", w.to(x), axis=1) if len(x.shape) != 2 else w.to(x), shape, x.dtype)


def _reshape(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return _Value(w.op("Reshape", w.to(x), w.ints(0, *(-1 if n is None else n for n in shape[1:]))), shape, x.dtype)


def _permute(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    return _Value(x.name, shape, x.dtype, (x.order[0], *(x.order[axis] for axis in layer.dims)))


def _repeat(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    longer = w.op("Unsqueeze", w.to(x), w.ints(1))
    return _Value(w.op("Expand", longer, w.ints(1, layer.n, 1)), shape, x.dtype)


def _zero_padding(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    (top, bottom), (left, right) = layer.padding
    name = w.op("Pad", w.image(x), w.ints(0, 0, top, left, 0, 0, bottom, right))
    return _Value(name, shape, x.dtype, CHANNELS_FIRST)


def _cropping(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    (top, bottom), (left, right) = layer.cropping
    ends = [2**31 if not margin else -margin for margin in (bottom, right)]
    name = w.op("Slice", w.image(x), w.ints(top, left), w.ints(*ends), w.ints(2, 3))
    return _Value(name, shape, x.dtype, CHANNELS_FIRST)


def _upsampling(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    scales = w.constant(np.array([1, 1, *layer.size], np.float32))
    name = w.op(
        "Resize", w.image(x), "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
    return _Value(name, shape, x.dtype, CHANNELS_FIRST)


def _embedding(w: _Writer, layer: Any, x: _Value, shape: Any) -> _Value:
    ids = w.to(x)
    if x.dtype != np.int64:
        ids = w.op("Cast", ids, to=TensorProto.INT64)
    table = w.weight(layer, "embeddings", layer.embeddings.numpy())
    return _Value(w.op("Gather", table, ids), shape, layer.dtype)


def _merge(kind: str) -> Callable[..., _Value]:
    def write(w: _Writer, layer: Any, *inputs: Any) -> _Value:
        *values, shape = inputs
        if any(len(x.shape) != len(shape) for x in values):
            raise ValueError(f"{layer._said} cannot be exported: its inputs differ in rank")
        return _merged(w, kind, values, shape)

    return write


def _merged(w: _Writer, kind: str, values: list[_Value], shape: Any) -> _Value:
    order = next((x.order for x in values if x.order != tuple(range(len(shape)))), values[0].order)
    names = [w.to(x, order) for x in values]
    if kind in ("Mean", "Max", "Min"):
        name = w.op(kind, *names)
    else:
        name = names[0]
        for other in names[1:]:
            name = w.op(kind, name, other)
    return _Value(name, shape, values[0].dtype, order)


def _concatenate(w: _Writer, layer: Any, *inputs: Any) -> _Value:
    *values, shape = inputs
    return _joined(w, values, layer.axis, shape)


def _joined(w: _Writer, values: list[_Value], axis: int, shape: Any) -> _Value:
    order = next((x.order for x in values if x.order != tuple(range(len(shape)))), values[0].order)
    name = w.op("Concat", *(w.to(x, order) for x in values), axis=order[axis])
    return _Value(name, shape, values[0].dtype, order)


# ---- recurrent layers ---------------------------------------------------------------------------------------------

_CELLS = {  # ONNX's operator, and the places that its gates have here
    layers.SimpleRNN: ("RNN", [0]),
    layers.LSTM: ("LSTM", [0, 3, 1, 2]),  # ONNX i o f c; here i f c o
    layers.GRU: ("GRU", [0, 1, 2]),
}
_CELL_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu"}


def _recurrent(w: _Writer, layer: Any, x: _Value, shape: Any, in_order: bool = False) -> list[_Value]:
    """Its output and, with return_state, its states. in_order: outputs by time even of a layer that goes backwards."""
    kind, gates = _CELLS[type(layer)]
    cell, units = layer.cell, layer.units
    if layer.stateful:
        raise ValueError(f"{layer._said} cannot be exported: it is stateful")
    functions = [] if kind == "RNN" else [cell.recurrent_activation]
    functions += [cell.activation] * (2 if kind == "LSTM" else 1)
    names = [activations.serialize(function) for function in functions]
    if any(not isinstance(name, str) or name not in _CELL_ACTIVATIONS for name in names):
        raise ValueError(f"{layer._said} cannot be exported: there is nothing in ONNX for its activations {names}")

    def turned(m: np.ndarray) -> np.ndarray:
        parts = np.split(m, len(gates), axis=-1)
        return np.concatenate([parts[place] for place in gates], axis=-1)

    kernel, recurrent = (turned(m.numpy()).T[None] for m in (cell.kernel, cell.recurrent_kernel))
    width = len(gates) * units
    bias = np.zeros((2, width), x.dtype)
    if cell.bias is not None:
        given = cell.bias.numpy()
        bias = turned(given) if given.ndim == 2 else np.stack([turned(given), np.zeros(width, x.dtype)])
    attributes: dict[str, Any] = {
        "hidden_size": units,
        "direction": "reverse" if layer.go_backwards else "forward",
        "activations": [_CELL_ACTIVATIONS[str(name)] for name in names],
    }
    if kind == "GRU":
        attributes["linear_before_reset"] = int(cell.reset_after)
    outputs = w.op(
        kind, w.to(x, (1, 0, 2)), w.weight(cell, "kernel", kernel), w.weight(cell, "recurrent_kernel", recurrent),
        w.weight(cell, "bias", bias.reshape(1, -1)), count=3 if kind == "LSTM" else 2, **attributes,
    )  # fmt: skip
    batch = x.shape[0]
    states = [_Value(w.op("Squeeze", y, w.ints(0)), (batch, units), x.dtype) for y in outputs[1:]]
    result = states[0]
    if layer.return_sequences:
        steps = w.op("Squeeze", outputs[0], w.ints(1))  # [T, N, H]
        if layer.go_backwards and not in_order:
            steps = w.op("Slice", steps, w.ints(-1), w.ints(-(2**31)), w.ints(0), w.ints(-1))
        result = _Value(steps, (batch, x.shape[1], units), x.dtype, (1, 0, 2))
    return [result, *states] if layer.return_state else [result]


def _bidirectional(w: _Writer, layer: Any, x: _Value, shape: Any) -> list[_Value]:
    runs = [_recurrent(w, part, x, shape, in_order=True) for part in (layer.forward_layer, layer.backward_layer)]
    if layer.forward_layer.go_backwards and layer.return_sequences:
        raise ValueError(f"{layer._said} cannot be exported: its first layer goes backwards")
    first, second = runs[0][0], runs[1][0]
    if layer.merge_mode is None:
        merged = [first, second]
    elif layer.merge_mode == "concat":
        merged = [_joined(w, [first, second], -1, shape)]
    else:
        kind = {"sum": "Add", "ave": "Mean", "mul": "Mul"}[layer.merge_mode]
        merged = [_merged(w, kind, [first, second], shape)]
    return [*merged, *runs[0][1:], *runs[1][1:]]


def _time_distributed(w: _Writer, layer: Any, x: _Value, shape: Any) -> list[_Value]:
    inner = layer.layer
    if not isinstance(inner, (layers.Dense, layers.Activation, layers.Dropout)):
        raise ValueError(f"{layer._said} cannot be exported: its layer must be Dense, Activation or Dropout")
    return w.layer(inner, [x], [SymbolicTensor(shape, x.dtype)])


_LAYERS: dict[type, Callable[..., Any]] = {
    layers.Dense: _dense,
    layers.Conv2D: _conv,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.Conv2DTranspose: _transposed,
    layers.MaxPooling2D: _pool("MaxPool"),
    layers.AveragePooling2D: _pool("AveragePool"),
    layers.GlobalAveragePooling2D: _global_pool("GlobalAveragePool"),
    layers.GlobalMaxPooling2D: _global_pool("GlobalMaxPool"),
    layers.BatchNormalization: _batchnorm,
    layers.LayerNormalization: _layernorm,
    layers.Normalization: _normalization,
    layers.Rescaling: _rescaling,
    layers.Activation: _activation,
    layers.ReLU: _elementwise(_relu),
    layers.LeakyReLU: _elementwise(lambda w, layer, x, t: w.op("LeakyRelu", x, alpha=float(layer.negative_slope))),
    layers.ELU: _elementwise(lambda w, layer, x, t: w.op("Elu", x, alpha=float(layer.alpha))),
    layers.PReLU: _prelu,
    layers.Softmax: _softmax,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat,
    layers.ZeroPadding2D: _zero_padding,
    layers.Cropping2D: _cropping,
    layers.UpSampling2D: _upsampling,
    layers.Embedding: _embedding,
    layers.Add: _merge("Add"),
    layers.Subtract: _merge("Sub"),
    layers.Multiply: _merge("Mul"),
    layers.Average: _merge("Mean"),
    layers.Maximum: _merge("Max"),
    layers.Minimum: _merge("Min"),
    layers.Concatenate: _concatenate,
    layers.SimpleRNN: _recurrent,
    layers.LSTM: _recurrent,
    layers.GRU: _recurrent,
    layers.Bidirectional: _bidirectional,
    layers.TimeDistributed: _time_distributed,
    layers.Identity: _same,
    layers.Dropout: _same,
    layers.GaussianNoise: _same,
    regularization.SpatialDropout2D: _same,
    layers.RandomFlip: _same,  # at inference, as all that is random
    layers.RandomRotation: _same,
    layers.RandomTranslation: _same,
    layers.RandomZoom: _same,
}


# ---- functions of dlcore.functional within a graph ------------------------------------------------------------------


def _binary_function(kind: str, output: str | None = None) -> Callable[..., _Value]:
    def write(w: _Writer, y: SymbolicTensor, a: Any, b: Any) -> _Value:
        values = [x for x in (a, b) if isinstance(x, _Value)]
        plain = tuple(range(len(y.shape)))
        order = next((x.order for x in values if len(x.order) == len(plain)), plain)
        if any(len(x.order) != len(plain) for x in values):
            order = plain
        names = []
        for x in (a, b):
            if isinstance(x, _Value):
                names.append(w.to(x, order if len(x.order) == len(order) else None))
                continue
            array = np.asarray(x, values[0].dtype)
            array = array.reshape((1,) * (len(plain) - array.ndim) + array.shape)
            names.append(w.constant(array.transpose([order.index(i) for i in plain])))
        return _Value(w.op(kind, *names), y.shape, y.dtype, order)

    return write


def _unary_function(write: Callable[[_Writer, str, np.dtype], str]) -> Callable[..., _Value]:
    return lambda w, y, x: _Value(write(w, x.name, x.dtype), y.shape, y.dtype, x.order)


def _op(kind: str) -> Callable[[_Writer, str, np.dtype], str]:
    return lambda w, x, t: w.op(kind, x)


def _reduction(kind: str) -> Callable[..., _Value]:
    def write(w: _Writer, y: SymbolicTensor, x: _Value, axis: Any = None, keepdims: bool = False) -> _Value:
        axes = list(range(len(x.shape))) if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
        axes = [a % len(x.shape) for a in axes]
        return _Value(w.op(kind, w.to(x), w.ints(*axes), keepdims=int(keepdims)), y.shape, y.dtype)

    return write


def _reshape_function(w: _Writer, y: SymbolicTensor, x: _Value, shape: Any) -> _Value:
    lengths = [int(n) for n in (shape if isinstance(shape, (list, tuple)) else [shape])]
    return _Value(w.op("Reshape", w.to(x), w.ints(*lengths)), y.shape, y.dtype)


def _transpose_function(w: _Writer, y: SymbolicTensor, x: _Value, axes: Any = None) -> _Value:
    axes = list(range(len(x.shape)))[::-1] if axes is None else [a % len(x.shape) for a in axes]
    return _Value(x.name, y.shape, y.dtype, [x.order[a] for a in axes])


def _getitem_function(w: _Writer, y: SymbolicTensor, x: _Value, key: Any) -> _Value:
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = [slice(None)] * (len(x.shape) - len(keys) + 1)
    if any(k is None for k in keys):
        raise TypeError("an index that holds None")
    starts, ends, axes, steps, dropped = [], [], [], [], []
    for axis, k in enumerate(keys):
        if isinstance(k, slice):
            step = 1 if k.step is None else int(k.step)
            if k == slice(None):
                continue
            starts.append((2**31 if step < 0 else 0) if k.start is None else int(k.start))
            ends.append((-(2**31) if step < 0 else 2**31) if k.stop is None else int(k.stop))
        else:
            step = 1
            starts.append(int(k))
            ends.append(2**31 if k == -1 else int(k) + 1)
            dropped.append(axis)
        axes.append(axis)
        steps.append(step)
    name = w.to(x)
    if axes:
        name = w.op("Slice", name, w.ints(*starts), w.ints(*ends), w.ints(*axes), w.ints(*steps))
    return _Value(w.op("Squeeze", name, w.ints(*dropped)) if dropped else name, y.shape, y.dtype)


def _places(kind: str) -> Callable[..., _Value]:
    def write(w: _Writer, y: SymbolicTensor, x: _Value, axis: Any) -> _Value:
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        return _Value(w.op(kind, w.to(x), w.ints(*axes)), y.shape, y.dtype)

    return write


def _softmax_function(kind: str) -> Callable[..., _Value]:
    return lambda w, y, x, axis=-1: _Value(w.op(kind, x.name, axis=x.order[axis]), y.shape, y.dtype, x.order)


def _flatten_function(w: _Writer, y: SymbolicTensor, x: _Value) -> _Value:
    return _Value(w.op("Flatten", w.to(x), axis=1), y.shape, y.dtype)


def _concatenate_function(w: _Writer, y: SymbolicTensor, tensors: list[_Value], axis: int = -1) -> _Value:
    return _joined(w, tensors, axis, y.shape)


def _stack_function(w: _Writer, y: SymbolicTensor, tensors: list[_Value], axis: int = 0) -> _Value:
    place = axis % len(y.shape)
    longer = [w.op("Unsqueeze", w.to(x), w.ints(place)) for x in tensors]
    return _Value(w.op("Concat", *longer, axis=place), y.shape, y.dtype)


def _matmul_function(w: _Writer, y: SymbolicTensor, a: Any, b: Any) -> _Value:
    names = [w.to(x) if isinstance(x, _Value) else w.constant(np.asarray(x)) for x in (a, b)]
    return _Value(w.op("MatMul", *names), y.shape, y.dtype)


def _clip_function(w: _Writer, y: SymbolicTensor, x: _Value, x_min: float, x_max: float) -> _Value:
    return _Value(w.clipped(x.name, float(x_min), float(x_max), x.dtype), y.shape, y.dtype, x.order)


_FUNCTIONS: dict[str, Callable[..., _Value]] = {
    "abs": _unary_function(_op("Abs")),
    "add": _binary_function("Add"),
    "clip": _clip_function,
    "concatenate": _concatenate_function,
    "cos": _unary_function(_op("Cos")),
    "divide": _binary_function("Div"),
    "equal": _binary_function("Equal"),
    "exp": _unary_function(_op("Exp")),
    "expand_dims": _places("Unsqueeze"),
    "flatten": _flatten_function,
    "getitem": _getitem_function,
    "greater": _binary_function("Greater"),
    "greater_equal": _binary_function("GreaterOrEqual"),
    "less": _binary_function("Less"),
    "less_equal": _binary_function("LessOrEqual"),
    "log": _unary_function(_op("Log")),
    "log_softmax": _softmax_function("LogSoftmax"),
    "matmul": _matmul_function,
    "max": _reduction("ReduceMax"),
    "maximum": _binary_function("Max"),
    "mean": _reduction("ReduceMean"),
    "min": _reduction("ReduceMin"),
    "minimum": _binary_function("Min"),
    "multiply": _binary_function("Mul"),
    "neg": _unary_function(_op("Neg")),
    "power": _binary_function("Pow"),
    "reciprocal": _unary_function(_op("Reciprocal")),
    "reshape": _reshape_function,
    "sign": _unary_function(_op("Sign")),
    "sin": _unary_function(_op("Sin")),
    "softmax": _softmax_function("Softmax"),
    "sqrt": _unary_function(_op("Sqrt")),
    "square": _unary_function(lambda w, x, t: w.op("Mul", x, x)),
    "squeeze": _places("Squeeze"),
    "stack": _stack_function,
    "subtract": _binary_function("Sub"),
    "sum": _reduction("ReduceSum"),
    "transpose": _transpose_function,
    **{
        name: _unary_function(_ACTIVATIONS[name])
        for name in ("relu", "relu6", "sigmoid", "tanh", "selu", "exponential", "softplus", "softsign", "silu",
                     "hard_sigmoid", "gelu")
    },
}  # fmt: skip
