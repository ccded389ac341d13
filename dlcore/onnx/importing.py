"""From an ONNX graph to a `Model` of this library's layers.

ONNX keeps images as [N, C, H, W], the layers here as [N, H, W, C]. Weights are turned once, when the file is loaded.
Values in between are not turned back after each layer: each remembers in which order its axes lie, an ONNX Transpose
only changes that note, and axes are moved where an operator needs them in a given order, which for most networks is
once, at the entry. Where a Dense layer follows a Flatten, its rows are put in the order that is there.

Operators whose inputs are all constants (what exporters emit to work out shapes) are evaluated when the file is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper

from .. import functional as F
from .. import layers
from ..layers.base import Layer
from ..models import Model
from ..random import seeded
from ..symbolic import SymbolicTensor
from .reading import MOST_ELEMENTS, array_of, checked_model, read_model

VARIES = -(2**40)  # stands for a length that is not known, in shapes computed at load
CHANNELS_LAST = (0, 3, 1, 2)
REAL = (np.dtype(np.float32), np.dtype(np.float64))


def load(filepath: Any) -> Model:
    """The model in an ONNX file, opset 13 or newer, as layers of this library: it can be run, trained and saved.

    It takes the file's inputs and gives its outputs, in its layout (images as [N, C, H, W], if that is what it has).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, newer than this library, or holds something that is not supported.
    """
    return _made(read_model(filepath, _KNOWN), str(filepath))


def load_proto(model: ModelProto, said: str = "the model") -> Model:
    """As `load`, from a model in memory."""
    return _made(checked_model(model, said, _KNOWN), said)


def supported_operators() -> list[str]:
    """Names of the ONNX operators that `load` understands, as far as the layers here can do what they say."""
    return sorted(_OPERATORS)


class Unsupported(ValueError):
    """What an operator asks for has no counterpart here."""


class _Value:
    """A value of the ONNX graph: an array, or a symbolic tensor of which axis order[i] is ONNX's axis i.

    After a Flatten in another order than ONNX's, column j there is column columns[j] here; `unflat` is from before.
    """

    __slots__ = ("array", "columns", "order", "tensor", "unflat")

    def __init__(self, tensor: Any = None, order: Any = None, array: np.ndarray | None = None) -> None:
        self.tensor = tensor
        self.array = array
        self.order = tuple(order) if order is not None else tuple(range(len(tensor.shape))) if array is None else ()
        self.columns: np.ndarray | None = None
        self.unflat: _Value | None = None

    @property
    def shape(self) -> tuple[Any, ...]:
        """ONNX's."""
        if self.array is not None:
            return self.array.shape
        return tuple(self.tensor.shape[axis] for axis in self.order)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype if self.array is not None else self.tensor.dtype

    def to(self, order: tuple[int, ...] | None = None) -> Any:
        """The tensor with its axes in this order, ONNX's by default; a constant as an array."""
        if self.array is not None:
            return self.array if order is None else self.array.transpose([order.index(i) for i in range(len(order))])
        if self.unflat is not None:
            self.tensor = layers.Flatten()(self.unflat.to())
            self.columns = self.unflat = None
        order = tuple(range(len(self.order))) if order is None else order
        if order == self.order:
            return self.tensor
        axes = [0] * len(order)
        for here, there in zip(order, self.order, strict=True):
            axes[here] = there
        return (
            layers.Permute(axes[1:], dtype=_layer_dtype(self))(self.tensor)
            if axes[0] == 0
            else F.transpose(self.tensor, axes)
        )

    def like(self, tensor: Any) -> _Value:
        """A value of the same shape and order."""
        value = _Value(tensor, self.order)
        value.columns = self.columns
        value.unflat = None
        return value


class _Node:
    """An operator's call: its inputs, attributes and what translators need to make layers of it."""

    def __init__(self, proto: NodeProto, inputs: list[_Value | None], opset: int, name: Callable[[str], str]) -> None:
        self.proto = proto
        self.op = proto.op_type
        self.inputs = inputs
        self.opset = opset
        self._name = name
        self._attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        value = self._attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def given(self, place: int) -> bool:
        return place < len(self.inputs) and self.inputs[place] is not None

    def value(self, place: int) -> _Value:
        if not self.given(place):
            raise ValueError(f"input {place} is missing")
        value = self.inputs[place]
        assert value is not None
        return value

    def real(self, place: int = 0) -> _Value:
        value = self.value(place)
        if value.dtype not in REAL:
            raise Unsupported(f"elements of type {value.dtype.name}")
        return value

    def exact(self, place: int = 0) -> _Value:
        """A value that is compared, which is done in float64."""
        value = self.value(place)
        if value.dtype not in REAL and (value.dtype.kind not in "iu" or value.dtype.itemsize > 4):
            raise Unsupported(f"elements of type {value.dtype.name}")
        return value

    def constant(self, place: int, default: Any = None) -> Any:
        if not self.given(place):
            return default
        array = self.value(place).array
        if array is None:
            raise Unsupported(f"an input {place} that is computed rather than constant")
        return array

    def refuse(self, wrong: bool, what: str) -> None:
        if wrong:
            raise Unsupported(what)

    def only_output(self, count: int = 1) -> None:
        self.refuse(any(self.proto.output[count:]), f"more than {count} output(s)")

    def layer(
        self, kind: Callable[..., Layer], x: Any, *args: Any, weights: Any = (), call: Any = None, **kwargs: Any
    ) -> Any:
        """The output of a layer of this kind on x (and further arguments of the call), its weights set."""
        first = x[0] if isinstance(x, list) else x
        made = kind(*args, name=self._name(self.proto.name), dtype=np.dtype(first.dtype).name, **kwargs)
        y = made(x, **(call or {}))
        if weights:
            made.set_weights(list(weights))
        return y


def _made(proto: ModelProto, said: str) -> Model:
    try:
        return _model_from(proto, said)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        if str(error).startswith(said):
            raise
        raise ValueError(f"{said} is damaged or contradicts itself: {error}") from error


def _model_from(proto: ModelProto, said: str) -> Model:
    graph = proto.graph
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    values: dict[str, _Value] = {t.name: _Value(array=array_of(t)) for t in graph.initializer}
    names: set[str] = set()

    def unique(name: str) -> str | None:
        base = _plain_name(name)
        if base is None:
            return None
        found = next(n for n in (base, *(f"{base}_{i}" for i in range(1, len(names) + 2))) if n not in names)
        names.add(found)
        return found

    entries = []
    for value in graph.input:
        if value.name in values:
            continue  # the initializer is its default
        entries.append(_entry(value, said, unique(value.name)))
        values[value.name] = _Value(entries[-1])
    if not entries:
        raise ValueError(f"{said}: a model without inputs is not supported")
    with seeded(0):  # what layers start from is overwritten
        for proto_node in graph.node:
            inputs = [values[name] if name else None for name in proto_node.input]
            node = _Node(proto_node, inputs, opset, unique)  # type: ignore[arg-type]
            for name, result in zip(proto_node.output, _translated(node, said), strict=False):
                values[name] = result
    outputs = []
    for value in graph.output:
        result = values.get(value.name)
        if result is None or result.array is not None:
            raise ValueError(f"{said}: an output that does not depend on the inputs is not supported ({value.name!r})")
        outputs.append(result.to())
    return Model(
        entries[0] if len(entries) == 1 else entries,
        outputs[0] if len(outputs) == 1 else outputs,
        name=_plain_name(graph.name),
    )


def _plain_name(name: str) -> str | None:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_") or None


def _entry(value: Any, said: str, name: str | None) -> SymbolicTensor:
    kind = value.type.tensor_type
    what = f"{said}: input {value.name!r}"
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise ValueError(f"{what} is no tensor of a known rank, which is not supported")
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype not in REAL and np.dtype(dtype).kind not in "biu":
        raise ValueError(f"{what} has elements of type {np.dtype(dtype).name}, which is not supported")
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return layers.Input(batch_shape=shape, dtype=np.dtype(dtype).name, name=name)


def _translated(node: _Node, said: str) -> list[_Value]:
    where = f"{said}: operator {node.op!r}" + (f" (node {node.proto.name!r})" if node.proto.name else "")
    try:
        if node.op != "Constant" and node.inputs and all(x is None or x.array is not None for x in node.inputs):
            return _folded(node)
        if node.op not in _OPERATORS:
            raise Unsupported("inputs that vary")
        result = _OPERATORS[node.op](node)
        results = result if isinstance(result, list) else [result]
        for value in results:
            _limit(value.shape)
    except Unsupported as error:
        raise ValueError(f"{where} is not supported" + (f" with {error}" if str(error) else "")) from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ZeroDivisionError) as error:
        raise ValueError(f"{where} contradicts itself or its inputs: {error}") from error
    if any(node.proto.output[len(results) :]):
        raise ValueError(f"{where} is not supported with more than {len(results)} output(s)")
    return results


# ---- constants ------------------------------------------------------------------------------------------------------

_FOLDED = (
    "Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Gather", "Identity", "Max", "Min",
    "Mul", "Neg", "Range", "ReduceProd", "Reshape", "Shape", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose",
    "Unsqueeze", "Where",
)  # fmt: skip


def _folded(node: _Node) -> list[_Value]:
    """A node without inputs that vary, evaluated by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    arrays = [None if x is None else x.array for x in node.inputs]
    node.refuse(node.op not in _FOLDED, "constant inputs only")
    size = math.prod(np.broadcast_shapes(*(a.shape for a in arrays if a is not None))) if _broadcasts(node.op) else 0
    if node.op == "ConstantOfShape":
        size = math.prod(int(n) for n in arrays[0])
    elif node.op == "Expand":
        size = arrays[0].size * math.prod(int(n) for n in arrays[1])
    elif node.op == "Range":
        size = int(abs((float(arrays[1]) - float(arrays[0])) / float(arrays[2])))
    elif node.op == "Gather":
        size = arrays[0].size * arrays[1].size
    if size > MOST_ELEMENTS // 16:
        raise ValueError(f"the constant it makes is too large: {size} elements")
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if a is not None}
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for k, a in feeds.items()
    ]
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    proto.input[:] = [f"x{i}" if a is not None else "" for i, a in enumerate(arrays)]
    proto.output[:] = [f"y{i}" for i in range(len(proto.output))]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output]
    graph = helper.make_graph([proto], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    return [_Value(array=np.asarray(y)) for y in ReferenceEvaluator(model).run(None, feeds)]


def _broadcasts(op: str) -> bool:
    return op in ("Add", "Div", "Equal", "Max", "Min", "Mul", "Sub", "Where")


def _constant(n: _Node) -> _Value:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    tensor = n.attribute("value")
    if tensor is not None:
        return _Value(array=array_of(tensor))
    for name, dtype in kinds.items():
        if n.attribute(name) is not None:
            return _Value(array=np.array(n.attribute(name), dtype))
    raise Unsupported("a value of this kind")


def _shape(n: _Node) -> _Value:
    shape = [VARIES if length is None else length for length in n.value(0).shape]
    return _Value(array=np.array(shape, np.int64)[n.attribute("start", 0) : n.attribute("end")])


# ---- element by element ---------------------------------------------------------------------------------------------


def _keeping(function: Callable[[_Node, Any], Any]) -> Callable[[_Node], _Value]:
    """A translator that leaves shape and order as they are."""

    def translate(n: _Node) -> _Value:
        x = n.real()
        n.only_output()
        return _kept(x, function(n, x.tensor))

    return translate


def _kept(x: _Value, tensor: Any) -> _Value:
    y = x.like(tensor)
    if x.unflat is not None:  # still in the order that was there before the Flatten
        y.columns = x.columns
        before = x.unflat
        y.unflat = _Value(layers.Reshape(before.tensor.shape[1:], dtype=_layer_dtype(x))(tensor), before.order)
    return y


def _layer_dtype(x: _Value) -> str:
    return x.dtype.name if x.dtype in REAL else "float32"


def _activation(name: str) -> Callable[[_Node], _Value]:
    return _keeping(lambda n, x: n.layer(layers.Activation, x, name))


def _hard_sigmoid(n: _Node, x: Any) -> Any:
    return F.clip(x * n.attribute("alpha", 0.2) + n.attribute("beta", 0.5), 0.0, 1.0)


def _selu(n: _Node, x: Any) -> Any:
    alpha, gamma = n.attribute("alpha", 1.67326319217681884765625), n.attribute("gamma", 1.05070102214813232421875)
    return F.elu(x, alpha) * gamma


def _gelu(n: _Node, x: Any) -> Any:
    return F.gelu(x, n.attribute("approximate", "none") == "tanh")


def _clip(n: _Node) -> _Value:
    x = n.real()
    low, high = (None if n.constant(i) is None else float(n.constant(i)) for i in (1, 2))
    if low == 0 and high == 6:
        return _kept(x, n.layer(layers.Activation, x.tensor, "relu6"))
    y = x.tensor if low is None else F.maximum(x.tensor, low)
    y = y if high is None else F.minimum(y, high)
    return _kept(x, y if y is not x.tensor else layers.Identity(dtype=_layer_dtype(x))(y))


def _operands(values: list[_Value]) -> tuple[list[Any], tuple[int, ...]]:
    """Tensors and arrays for a function that broadcasts, and the order of its result."""
    rank = max(len(v.shape) for v in values)
    order = next((v.order for v in values if v.array is None and len(v.order) == rank and v.unflat is None), None)
    if order is None or any(v.array is None and len(v.order) != rank for v in values):
        order = tuple(range(rank))
        return [v.to() for v in values], order
    found = []
    for v in values:
        if v.array is not None:
            full = v.array.reshape((1,) * (rank - v.array.ndim) + v.array.shape)
            found.append(np.ascontiguousarray(full.transpose([order.index(i) for i in range(rank)])))
        else:
            found.append(v.to(order))
    return found, order


def _binary(function: Callable) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        (a, b), order = _operands([n.real(0), n.real(1)])
        return _Value(function(a, b), order)

    return translate


def _comparison(function: Callable) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        (a, b), order = _operands([n.exact(0), n.exact(1)])
        return _Value(function(a, b), order)

    return translate


def _variadic(function: Callable, mean: bool = False) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        found, order = _operands([n.real(i) for i in range(len(n.inputs))])
        y = found[0]
        for x in found[1:]:
            y = function(y, x)
        if mean and len(found) > 1:
            y = y / float(len(found))
        return _Value(y, order)

    return translate


def _pow(n: _Node) -> _Value:
    exponent = n.value(1)
    if exponent.array is not None and exponent.array.size == 1 and exponent.array.ndim <= len(n.real().shape):
        return _kept(n.real(), F.power(n.real().tensor, float(exponent.array.reshape(()))))
    return _binary(F.power)(n)


def _where(n: _Node) -> _Value:
    n.refuse(n.value(0).dtype.kind != "b", "a condition that is not of bools")
    (condition, a, b), order = _operands([n.value(0), n.real(1), n.real(2)])
    return _Value(F.where(condition, a, b), order)


def _prelu(n: _Node) -> _Value:
    x, slope = n.real(0), n.real(1)
    n.refuse(len(slope.shape) > len(x.shape), "a slope of higher rank than x")
    (a, b), order = _operands([x, slope])
    return _Value(F.prelu(a, b), order)


def _cast(n: _Node) -> _Value:
    x = n.value(0)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(n.attribute("to")))
    n.refuse(dtype not in REAL and dtype.kind not in "biu", f"elements of type {dtype.name}")
    n.refuse(dtype.name not in np.sctypeDict, f"elements of type {dtype.name}")
    n.refuse(x.dtype.kind == "f" and dtype.kind in "iu", "a cast from floats to integers, whose overflow differs")
    return _Value(F.cast(x.to(), dtype.name))


def _identity(n: _Node) -> _Value:
    return n.value(0)


def _dropout(n: _Node) -> _Value:
    n.only_output()
    n.refuse(bool(np.any(n.constant(2, False))), "training_mode")
    return n.value(0)


# ---- reductions -----------------------------------------------------------------------------------------------------


def _axes_of(n: _Node, rank: int, place: int = 1, since: int = 18) -> list[int]:
    given = n.constant(place) if n.opset >= since or n.op in ("ReduceSum", "Squeeze", "Unsqueeze") else None
    axes = n.attribute("axes") if given is None else [int(a) for a in given]
    if not axes:
        return [] if n.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return [a % rank for a in axes]


def _reduction(function: Callable) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        x = n.real()
        axes = _axes_of(n, len(x.shape))
        if not axes:
            return x
        n.refuse(any(x.shape[a] == 0 for a in axes), "an empty axis")
        keep = bool(n.attribute("keepdims", 1))
        if keep and x.unflat is None:
            return _Value(function(x.tensor, axis=[x.order[a] for a in axes], keepdims=True), x.order)
        return _Value(function(x.to(), axis=axes, keepdims=keep))

    return translate


def _sum_of(function: Callable) -> Callable:
    return lambda x, axis, keepdims: F.sum(function(x), axis=axis, keepdims=keepdims)


def _argmax(n: _Node) -> _Value:
    n.refuse(bool(n.attribute("select_last_index", 0)), "select_last_index")
    x = n.real()
    axis = n.attribute("axis", 0) % len(x.shape)
    y = F.cast(F.argmax(x.to(), axis=axis), "int64")
    return _Value(F.expand_dims(y, axis) if n.attribute("keepdims", 1) else y)


def _softmax(function: Callable) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        x = n.real()
        axis = x.order[n.attribute("axis", -1) % len(x.shape)]
        if x.unflat is not None:
            x = _Value(x.to())
        last = axis == len(x.shape) - 1
        if function is F.softmax and last:
            return x.like(n.layer(layers.Activation, x.tensor, "softmax"))
        return x.like(function(x.tensor, axis=axis))

    return translate


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _flattened(n: _Node, x: _Value) -> _Value:
    """[N, ...] as [N, K]; of an image in another order than ONNX's, with a note of where each column lies."""
    tensor = layers.Flatten(dtype=_layer_dtype(x))(x.tensor) if x.unflat is None else x.to()
    value = _Value(tensor)
    if x.order != tuple(range(len(x.order))) and None not in x.tensor.shape[1:] and x.order[0] == 0:
        lengths = x.tensor.shape[1:]
        places = np.arange(math.prod(lengths)).reshape(lengths)
        value.columns = places.transpose([axis - 1 for axis in x.order[1:]]).ravel()
        value.unflat = x
        return value
    return _Value(layers.Flatten(dtype=_layer_dtype(x))(x.to()))


def _flatten(n: _Node) -> _Value:
    x = n.value(0)
    n.refuse(not x.shape, "a scalar")
    axis = n.attribute("axis", 1)
    axis += len(x.shape) if axis < 0 else 0
    if axis == 1 and len(x.shape) > 1 and x.dtype in REAL:
        return x if len(x.shape) == 2 else _flattened(n, x)
    rows, columns = x.shape[:axis], x.shape[axis:]
    n.refuse(None in rows and None in columns, "lengths that vary on both sides")
    return _Value(
        F.reshape(x.to(), (-1 if None in rows else math.prod(rows), -1 if None in columns else math.prod(columns)))
    )


def _reshape(n: _Node) -> _Value:
    x = n.value(0)
    target = [int(length) for length in n.constant(1)]
    n.refuse(bool(n.attribute("allowzero", 0)) and 0 in target, "allowzero")
    target = [x.shape[i] if length == 0 else length for i, length in enumerate(target)]
    target = [None if length == VARIES else length for length in target]
    n.refuse(
        any(length is not None and length < -1 for length in target), "a shape that depends on a length that varies"
    )
    known = None if None in x.shape[1:] else math.prod(x.shape[1:])
    rest = target[1:]
    batch = (
        bool(x.shape)
        and bool(target)
        and (target[0] == x.shape[0] or (target[0] == -1 and None not in rest and math.prod(rest) == known))
    )
    if batch and x.dtype in REAL and None not in rest and known is not None:
        if len(rest) == 1 and rest[0] in (-1, known) and len(x.shape) > 2:
            return _flattened(n, x)
        return _Value(layers.Reshape(rest, dtype=_layer_dtype(x))(x.to()))
    n.refuse(target.count(None) + target.count(-1) > 1, "several lengths that vary")
    return _Value(F.reshape(x.to(), [-1 if length is None else length for length in target]))


def _transpose(n: _Node) -> _Value:
    x = n.value(0)
    if x.unflat is not None:
        x = _Value(x.to())
    rank = len(x.shape)
    order = n.attribute("perm") or list(range(rank))[::-1]
    if sorted(order) != list(range(rank)):
        raise ValueError(f"perm must be an order of {rank} axes, got {order}")
    return _Value(x.tensor, [x.order[axis] for axis in order])


def _squeeze(n: _Node) -> _Value:
    x = n.value(0)
    if n.constant(1) is None:
        n.refuse(None in x.shape, "lengths that vary")
        axes = [i for i, length in enumerate(x.shape) if length == 1]
    else:
        axes = _axes_of(n, len(x.shape))
    return _Value(F.squeeze(x.to(), axes)) if axes else x


def _unsqueeze(n: _Node) -> _Value:
    x = n.value(0)
    return _Value(F.expand_dims(x.to(), [int(axis) for axis in n.constant(1)]))


def _concat(n: _Node) -> _Value:
    values = [n.value(i) for i in range(len(n.inputs))]
    rank = len(values[0].shape)
    axis = n.attribute("axis") % rank
    order = next(v.order for v in values if v.array is None)
    if any(v.unflat is not None for v in values):
        order = tuple(range(rank))
    parts = [v.to(order) for v in values]
    if all(v.array is None for v in values) and all(v.dtype in REAL for v in values) and len(values) > 1:
        return _Value(n.layer(layers.Concatenate, parts, order[axis]), order)
    return _Value(F.concatenate(parts, order[axis]), order)


def _slice(n: _Node) -> _Value:
    x = n.value(0)
    rank = len(x.shape)
    starts, ends = n.constant(1), n.constant(2)
    axes = n.constant(3, np.arange(len(starts)))
    steps = n.constant(4, np.ones(len(starts), np.int64))
    key: list[Any] = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = x.shape[int(axis)]
        if length is None:
            n.refuse(int(step) < 0, "a negative step along a length that varies")
            key[int(axis) % rank] = slice(int(start), int(end), int(step))
        elif step > 0:
            key[int(axis) % rank] = slice(*slice(int(start), int(end), int(step)).indices(length))
        else:
            first, last, _ = slice(int(start), int(end) if end >= -length else None, int(step)).indices(length)
            key[int(axis) % rank] = slice(first, None if last < 0 else last, int(step))
    return _Value(F.getitem(x.to(), tuple(key)))


def _split(n: _Node) -> list[_Value]:
    x = n.value(0)
    axis = n.attribute("axis", 0) % len(x.shape)
    length = x.shape[axis]
    n.refuse(length is None, "a length that varies")
    sizes = n.constant(1)
    if sizes is None:
        count = n.attribute("num_outputs", len(n.proto.output))
        each = -(-length // count)
        sizes = [each] * (count - 1) + [length - each * (count - 1)]
    n.refuse(min(sizes, default=0) < 1, "empty parts")
    ends = np.cumsum([int(size) for size in sizes])
    tensor = x.to()
    before = (slice(None),) * axis
    return [
        _Value(F.getitem(tensor, (*before, slice(int(e) - int(s), int(e))))) for s, e in zip(sizes, ends, strict=True)
    ]


def _pad(n: _Node) -> _Value:
    x = n.real()
    n.refuse(n.attribute("mode", "constant") != "constant", f"mode {n.attribute('mode')!r}")
    rank = len(x.shape)
    pads = [int(p) for p in n.constant(1)]
    axes = [int(axis) % rank for axis in n.constant(3, np.arange(rank))]
    n.refuse(min(pads, default=0) < 0, "negative pads")
    value = n.constant(2)
    widths = [(0, 0)] * rank
    if x.unflat is not None:
        x = _Value(x.to())
    for i, axis in enumerate(axes):
        widths[x.order[axis]] = (pads[i], pads[i + len(axes)])
    _limit([None if length is None else length + sum(w) for length, w in zip(x.tensor.shape, widths, strict=True)])
    return _Value(
        F.pad(x.tensor, widths, 0.0 if value is None or value.size == 0 else float(value.reshape(()))), x.order
    )


def _expand(n: _Node) -> _Value:
    x = n.real()
    target = tuple(int(length) for length in n.constant(1))
    shape = np.broadcast_shapes(tuple(1 if length is None else length for length in x.shape), target)
    _limit(shape)
    if None in x.shape:
        return _Value(F.multiply(x.to(), np.ones(target, x.dtype)))
    return _Value(F.broadcast_to(x.to(), shape))


def _limit(shape: Any) -> None:
    if math.prod(length for length in shape if length) > MOST_ELEMENTS:
        raise ValueError(f"its result of shape {list(shape)} is too large: more than {MOST_ELEMENTS} elements")


def _gather(n: _Node) -> _Value:
    data, places = n.value(0), n.value(1)
    rank = len(data.shape)
    axis = n.attribute("axis", 0) % rank
    if data.array is not None:
        n.refuse(axis != 0 or rank != 2 or data.dtype not in REAL, "a table that is not a matrix of floats by rows")
        table = data.array
        y = n.layer(
            lambda **k: layers.Embedding(*table.shape, **{**k, "dtype": table.dtype.name}), places.to(), weights=[table]
        )
        return _Value(y)
    if places.array is None:
        raise Unsupported("data and indices that are both computed")
    length = data.shape[axis]
    indices = places.array.astype(np.int64)
    n.refuse(length is None and bool((indices < 0).any()), "negative indices along a length that varies")
    n.refuse(indices.ndim > 1 or indices.size > 64 or indices.size == 0, f"indices of shape {list(indices.shape)}")
    tensor, before = data.to(), (slice(None),) * axis
    if indices.ndim == 0:
        return _Value(F.getitem(tensor, (*before, int(indices))))
    picked = [int(i) % length if length else int(i) for i in indices]
    return _Value(F.concatenate([F.getitem(tensor, (*before, slice(i, i + 1))) for i in picked], axis))


# ---- dense layers and convolutions ----------------------------------------------------------------------------------


def _dense(n: _Node, x: _Value, kernel: np.ndarray, bias: np.ndarray | None) -> _Value:
    if x.unflat is not None and x.columns is not None:  # the rows in the order that the columns of x lie in
        turned = np.empty_like(kernel)
        turned[x.columns] = kernel
        kernel, tensor = turned, x.tensor
    else:
        tensor = x.to()
    weights = [kernel] if bias is None else [kernel, bias]
    return _Value(n.layer(layers.Dense, tensor, kernel.shape[1], use_bias=bias is not None, weights=weights))


def _gemm(n: _Node) -> _Value:
    x = n.real()
    alpha, beta = n.attribute("alpha", 1.0), n.attribute("beta", 1.0)
    kernel, bias = n.constant(1), n.constant(2)
    kernel = (kernel.T if n.attribute("transB", 0) else kernel) * kernel.dtype.type(alpha)
    bias = None if bias is None else bias * bias.dtype.type(beta)
    if n.attribute("transA", 0):
        x = _Value(F.transpose(x.to()))
    columns = kernel.shape[1]
    if bias is not None and bias.size in (1, columns) and bias.shape[-1:] in ((), (1,), (columns,)):
        return _dense(n, x, kernel, np.broadcast_to(bias.reshape(-1), (columns,)).copy())
    y = _dense(n, x, kernel, None)
    return y if bias is None else _Value(F.add(y.tensor, bias))


def _matmul(n: _Node) -> _Value:
    a, b = n.real(0), n.real(1)
    if a.array is None and b.array is not None and b.array.ndim == 2 and len(a.shape) >= 2:
        return _dense(n, a, b.array, None)
    n.refuse(None in (*a.shape[-2:], *b.shape[-2:]) and len(a.shape) < 3, "lengths that vary")
    return _Value(F.matmul(a.to(), b.to()))


def _window(n: _Node, size: list[int], x: _Value) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations and pads (top, left, bottom, right) of a window on an image."""
    n.refuse(len(x.shape) != 4, f"{len(x.shape) - 2} spatial axes instead of two")
    strides, dilations = n.attribute("strides", [1, 1]), n.attribute("dilations", [1, 1])
    for name, numbers in (("kernel_shape", size), ("strides", strides), ("dilations", dilations)):
        if len(numbers) != 2 or min(numbers) < 1:
            raise ValueError(f"{name} must be two positive numbers, got {list(numbers)}")
    kind = n.attribute("auto_pad", "NOTSET")
    pads = list(n.attribute("pads", [0] * 4))
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        n.refuse(None in x.shape[2:], f"auto_pad {kind} on images whose size varies")
        total = [
            max((-(-length // s) - 1) * s + d * (k - 1) + 1 - length, 0)
            for length, s, d, k in zip(x.shape[2:], strides, dilations, size, strict=True)
        ]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = [*small, *large] if kind == "SAME_UPPER" else [*large, *small]
    elif kind == "VALID":
        pads = [0] * 4
    if len(pads) != 4:
        raise ValueError(f"pads must be four numbers, got {pads}")
    n.refuse(min(pads) < 0, "negative pads")
    return strides, dilations, pads


def _margins(pads: list[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    return (pads[0], pads[2]), (pads[1], pads[3])


def _conv(n: _Node) -> _Value:
    x, kernel, bias = n.real(), n.constant(1), n.constant(2)
    n.refuse(kernel.ndim != 4, f"{kernel.ndim - 2} spatial axes instead of two")
    size = n.attribute("kernel_shape", list(kernel.shape[2:]))
    if list(size) != list(kernel.shape[2:]):
        raise ValueError(f"kernel_shape is {list(size)}, W has {list(kernel.shape[2:])}")
    strides, dilations, pads = _window(n, size, x)
    n.refuse(max(strides) > 1 and max(dilations) > 1, "strides and dilations that both exceed 1")
    weights = [np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))] + ([] if bias is None else [bias])
    y = n.layer(
        layers.Conv2D, x.to(CHANNELS_LAST), kernel.shape[0], list(size), strides=strides, padding=_margins(pads),
        dilation_rate=dilations, groups=n.attribute("group", 1), use_bias=bias is not None, weights=weights,
    )  # fmt: skip
    return _Value(y, CHANNELS_LAST)


def _conv_transpose(n: _Node) -> _Value:
    x, kernel, bias = n.real(), n.constant(1), n.constant(2)
    n.refuse(kernel.ndim != 4, f"{kernel.ndim - 2} spatial axes instead of two")
    n.refuse(n.attribute("group", 1) != 1, "groups")
    size = list(kernel.shape[2:])
    kind = n.attribute("auto_pad", "NOTSET")
    n.refuse(len(x.shape) != 4, f"{len(x.shape) - 2} spatial axes instead of two")
    strides, dilations = n.attribute("strides", [1, 1]), n.attribute("dilations", [1, 1])
    extra = n.attribute("output_padding", [0, 0])
    pads = list(n.attribute("pads", [0] * 4))
    if len(strides) != 2 or len(dilations) != 2 or len(extra) != 2 or len(pads) != 4:
        raise ValueError("strides, dilations, output_padding and pads must fit an image")
    n.refuse(max(strides) > 1 and max(dilations) > 1, "strides and dilations that both exceed 1")
    n.refuse(any(e >= s for e, s in zip(extra, strides, strict=True)), "output_padding not below strides")
    wanted = n.attribute("output_shape")
    if kind.startswith("SAME") and wanted is None:
        n.refuse(None in x.shape[2:], f"auto_pad {kind} on images whose size varies")
        wanted = [length * s for length, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        n.refuse(None in x.shape[2:], "output_shape on images whose size varies")
        full = [
            (length - 1) * s + e + d * (k - 1) + 1
            for length, s, e, d, k in zip(x.shape[2:], strides, extra, dilations, size, strict=True)
        ]
        total = [f - w for f, w in zip(full, wanted[-2:], strict=True)]
        if min(total) < 0:  # more than there is: Keras's output_padding goes up to stride − 1
            grown = [e + max(-t, 0) for e, t in zip(extra, total, strict=True)]
            n.refuse(any(e >= s for e, s in zip(grown, strides, strict=True)), "an output_shape beyond the strides")
            extra, total = grown, [max(t, 0) for t in total]
        half, rest = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = [*half, *rest] if kind == "SAME_UPPER" else [*rest, *half]
    elif kind == "VALID":
        pads = [0] * 4
    n.refuse(min(pads) < 0, "negative pads")
    weights = [np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))] + ([] if bias is None else [bias])
    y = n.layer(
        layers.Conv2DTranspose, x.to(CHANNELS_LAST), kernel.shape[1], size, strides=strides, padding="valid",
        output_padding=extra, dilation_rate=dilations, use_bias=bias is not None, weights=weights,
    )  # fmt: skip
    return _Value(layers.Cropping2D(_margins(pads), dtype=_layer_dtype(x))(y) if any(pads) else y, CHANNELS_LAST)


def _pool(kind: Callable[..., Layer]) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        x = n.real()
        n.only_output()
        size = list(n.attribute("kernel_shape"))
        strides, dilations, pads = _window(n, size, x)
        n.refuse(max(dilations) > 1, "dilations")
        tensor = x.to(CHANNELS_LAST)
        average = kind is layers.AveragePooling2D
        if n.attribute("ceil_mode", 0) and n.attribute("auto_pad", "NOTSET") == "NOTSET":
            n.refuse(None in x.shape[2:], "ceil_mode on images whose size varies")
            n.refuse(bool(average and n.attribute("count_include_pad", 0)), "ceil_mode and count_include_pad")
            for i in range(2):  # so many more windows as begin before the end of the image
                padded = x.shape[2 + i] + pads[i] + pads[2 + i]
                count = -(-(padded - size[i]) // strides[i]) + 1
                if (count - 1) * strides[i] >= x.shape[2 + i] + pads[i]:
                    count -= 1
                pads[2 + i] = max(pads[2 + i], (count - 1) * strides[i] + size[i] - x.shape[2 + i] - pads[i])
        if average and any(pads) and n.attribute("count_include_pad", 0):
            tensor = layers.ZeroPadding2D(_margins(pads), dtype=_layer_dtype(x))(tensor)
            pads = [0] * 4
        return _Value(n.layer(kind, tensor, size, strides=strides, padding=_margins(pads)), CHANNELS_LAST)

    return translate


def _global_pool(kind: Callable[..., Layer]) -> Callable[[_Node], _Value]:
    def translate(n: _Node) -> _Value:
        x = n.real()
        n.refuse(len(x.shape) != 4, f"{len(x.shape) - 2} spatial axes instead of two")
        return _Value(n.layer(kind, x.to(CHANNELS_LAST), keepdims=True), CHANNELS_LAST)

    return translate


def _resize(n: _Node) -> _Value:
    x = n.real()
    n.refuse(n.attribute("mode", "nearest") != "nearest", f"mode {n.attribute('mode')!r}")
    n.refuse(n.given(1) and n.constant(1).size > 0, "a region of interest")
    place = n.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = n.attribute("nearest_mode", "round_prefer_floor")
    same = (place == "asymmetric" and rounding == "floor") or (place == "half_pixel" and rounding.startswith("round"))
    n.refuse(not same, f"{place} and {rounding}")
    n.refuse(len(x.shape) != 4 or n.attribute("axes") is not None, "other than images")
    scales = n.constant(2)
    if scales is None or scales.size == 0:
        n.refuse(None in x.shape[1:], "lengths that vary")
        sizes = n.constant(3)
        n.refuse(len(sizes) != 4 or sizes[0] not in (x.shape[0], VARIES), "a batch of another size")
        scales = [1.0, *(int(to) / length for to, length in zip(sizes[1:], x.shape[1:], strict=True))]
    factors = [float(s) for s in scales]
    n.refuse(
        len(factors) != 4 or factors[:2] != [1, 1] or any(s != int(s) or s < 1 for s in factors), f"scales {factors}"
    )
    _limit([length and int(length * s) for length, s in zip(x.shape, factors, strict=True)])
    return _Value(n.layer(layers.UpSampling2D, x.to(CHANNELS_LAST), [int(s) for s in factors[2:]]), CHANNELS_LAST)


# ---- normalisation --------------------------------------------------------------------------------------------------


def _batchnorm(n: _Node) -> _Value:
    x = n.real()
    n.only_output()
    n.refuse(bool(n.attribute("training_mode", 0)), "training_mode")
    n.refuse(len(x.shape) < 2, "a vector")
    x = _Value(x.to()) if x.unflat is not None else x
    axis = x.order[1] - len(x.order)
    y = n.layer(
        layers.BatchNormalization, x.tensor, axis=axis, epsilon=n.attribute("epsilon", 1e-5),
        momentum=n.attribute("momentum", 0.9), weights=[n.constant(i) for i in range(1, 5)],
    )  # fmt: skip
    return x.like(y)


def _layernorm(n: _Node) -> list[_Value]:
    x = n.real()
    rank = len(x.shape)
    axes = list(range(n.attribute("axis", -1) % rank, rank))
    shape = tuple(x.shape[axis] for axis in axes)
    n.refuse(None in shape, "lengths that vary")
    scale, bias = n.constant(1), n.constant(2)
    n.refuse(0 in axes, "an axis that holds the batch")
    weights = [np.broadcast_to(scale, shape).copy()] + ([] if bias is None else [np.broadcast_to(bias, shape).copy()])
    y = n.layer(
        layers.LayerNormalization, x.to(), axis=axes if len(axes) > 1 else axes[0] - rank,
        epsilon=n.attribute("epsilon", 1e-5), center=bias is not None, weights=weights,
    )  # fmt: skip
    mean = F.mean(x.to(), axis=axes, keepdims=True)
    spread = F.mean(F.square(x.to() - mean), axis=axes, keepdims=True)
    return [_Value(y), _Value(mean), _Value(F.reciprocal(F.sqrt(spread + n.attribute("epsilon", 1e-5))))]


# ---- recurrent layers -----------------------------------------------------------------------------------------------

_CELLS = {  # layer, its gates in ONNX's order by the place they have here, activations
    "RNN": (layers.SimpleRNN, [0], ["Tanh"]),
    "LSTM": (layers.LSTM, [0, 2, 3, 1], ["Sigmoid", "Tanh", "Tanh"]),  # ONNX i o f c; here i f c o
    "GRU": (layers.GRU, [0, 1, 2], ["Sigmoid", "Tanh"]),
}


def _recurrent(n: _Node) -> list[_Value]:
    """Y [T, directions, N, H], the last h and, of an LSTM, the last c [directions, N, H]; batch first for layout 1."""
    kind, gates, usual = _CELLS[n.op]
    x, w, u, b = n.real(), n.constant(1), n.constant(2), n.constant(3)
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[
        n.attribute("direction", "forward")
    ]
    chosen = n.attribute("activations", [a.encode() for a in usual * len(directions)])
    n.refuse([a.decode().lower() for a in chosen] != [a.lower() for a in usual * len(directions)], "other activations")
    for name in ("clip", "input_forget", "activation_alpha", "activation_beta"):
        n.refuse(bool(n.attribute(name)), name)
    n.refuse(n.given(4), "sequence_lens")
    n.refuse(n.given(7), "peepholes")
    units = u.shape[2]
    batch_first = bool(n.attribute("layout", 0))
    sequence = x.to((0, 1, 2) if batch_first else (1, 0, 2))
    lstm = n.op == "LSTM"
    runs, lasts, cells = [], [], []
    for d, backwards in enumerate(directions):
        kernel, recurrent = (_gates(m[d], gates, units).T for m in (w, u))
        bias = np.zeros((2, len(gates) * units), w.dtype)
        if b is not None:
            bias = np.stack([_gates(part, gates, units) for part in np.split(b[d], 2)])
        options: dict[str, Any] = {}
        if n.op == "GRU":
            options["reset_after"] = bool(n.attribute("linear_before_reset", 0))
        weights = [kernel, recurrent, bias if options.get("reset_after") else bias.sum(0)]
        start = [_start(n, place, d, batch_first) for place in ((5, 6) if lstm else (5,)) if n.given(place)]
        n.refuse(lstm and len(start) == 1, "one initial state of two")
        if start:
            options["call"] = {"initial_state": start}
        y = n.layer(
            kind, sequence, units, return_sequences=True, return_state=True, go_backwards=backwards,
            weights=[np.ascontiguousarray(m) for m in weights], **options,
        )  # fmt: skip
        runs.append(F.flip(y[0], 1) if backwards else y[0])
        lasts.append(y[1])
        cells.append(y[2] if lstm else None)
    # [N, T, directions, H] here
    together = F.stack(runs, axis=2)
    results = [_Value(together, (0, 1, 2, 3) if batch_first else (1, 2, 0, 3))]
    for states in (lasts, cells) if lstm else (lasts,):
        results.append(_Value(F.stack(states, axis=1 if batch_first else 0)))
    return results


def _gates(m: np.ndarray, gates: list[int], units: int) -> np.ndarray:
    """Rows of ONNX's gates in this library's order."""
    parts = np.split(m, len(gates))
    return np.concatenate([parts[place] for place in gates])


def _start(n: _Node, place: int, direction: int, batch_first: bool) -> Any:
    value = n.real(place)
    if value.array is not None:
        raise Unsupported("a constant initial state")
    return F.getitem(value.to(), (slice(None), direction) if batch_first else (direction,))


_OPERATORS: dict[str, Callable[[_Node], Any]] = {
    "Abs": _keeping(lambda n, x: F.abs(x)),
    "Add": _binary(F.add),
    "ArgMax": _argmax,
    "AveragePool": _pool(layers.AveragePooling2D),
    "BatchNormalization": _batchnorm,
    "Cast": _cast,
    "Celu": _keeping(lambda n, x: F.elu(x / n.attribute("alpha", 1.0)) * n.attribute("alpha", 1.0)),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Cos": _keeping(lambda n, x: F.cos(x)),
    "Div": _binary(F.divide),
    "Dropout": _dropout,
    "Elu": _keeping(lambda n, x: n.layer(layers.ELU, x, n.attribute("alpha", 1.0))),
    "Equal": _comparison(F.equal),
    "Exp": _keeping(lambda n, x: F.exp(x)),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _keeping(_gelu),
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(layers.GlobalAveragePooling2D),
    "GlobalMaxPool": _global_pool(layers.GlobalMaxPooling2D),
    "Greater": _comparison(F.greater),
    "GreaterOrEqual": _comparison(F.greater_equal),
    "GRU": _recurrent,
    "HardSigmoid": _keeping(_hard_sigmoid),
    "HardSwish": _keeping(lambda n, x: x * F.clip(x * (1 / 6) + 0.5, 0.0, 1.0)),
    "Identity": _identity,
    "LayerNormalization": _layernorm,
    "LeakyRelu": _keeping(lambda n, x: n.layer(layers.LeakyReLU, x, n.attribute("alpha", 0.01))),
    "Less": _comparison(F.less),
    "LessOrEqual": _comparison(F.less_equal),
    "Log": _keeping(lambda n, x: F.log(x)),
    "LogSoftmax": _softmax(F.log_softmax),
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "Max": _variadic(F.maximum),
    "MaxPool": _pool(layers.MaxPooling2D),
    "Mean": _variadic(F.add, mean=True),
    "Min": _variadic(F.minimum),
    "Mish": _keeping(lambda n, x: x * F.tanh(F.softplus(x))),
    "Mul": _binary(F.multiply),
    "Neg": _keeping(lambda n, x: F.neg(x)),
    "Pad": _pad,
    "Pow": _pow,
    "PRelu": _prelu,
    "Reciprocal": _keeping(lambda n, x: F.reciprocal(x)),
    "ReduceL1": _reduction(_sum_of(F.abs)),
    "ReduceL2": _reduction(lambda x, axis, keepdims: F.sqrt(F.sum(F.square(x), axis=axis, keepdims=keepdims))),
    "ReduceMax": _reduction(F.max),
    "ReduceMean": _reduction(F.mean),
    "ReduceMin": _reduction(F.min),
    "ReduceSum": _reduction(F.sum),
    "ReduceSumSquare": _reduction(_sum_of(F.square)),
    "Relu": _activation("relu"),
    "Reshape": _reshape,
    "Resize": _resize,
    "RNN": _recurrent,
    "Selu": _keeping(_selu),
    "Shape": _shape,
    "Sigmoid": _activation("sigmoid"),
    "Sign": _keeping(lambda n, x: F.sign(x)),
    "Sin": _keeping(lambda n, x: F.sin(x)),
    "Slice": _slice,
    "Softmax": _softmax(F.softmax),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "Split": _split,
    "Sqrt": _keeping(lambda n, x: F.sqrt(x)),
    "Squeeze": _squeeze,
    "Sub": _binary(F.subtract),
    "Sum": _variadic(F.add),
    "Swish": _keeping(lambda n, x: x * F.sigmoid(x * n.attribute("alpha", 1.0))),
    "Tanh": _activation("tanh"),
    "ThresholdedRelu": _keeping(lambda n, x: F.where(F.greater(x, n.attribute("alpha", 1.0)), x, x * 0.0)),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}

_KNOWN = frozenset((*_OPERATORS, *_FOLDED))
