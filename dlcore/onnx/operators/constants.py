"""Operators whose inputs are all constants, as exporters emit them to work out shapes: evaluated while loading."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ..reading import MOST_ELEMENTS, array_of
from .graph import VARIES, Node, Unsupported, Value, varying

# Shapes go through these even where a length is not known; arithmetic with one gives a number that `varying` tells.
_ARITHMETIC = ("Add", "Concat", "Div", "Equal", "Identity", "Mul", "Neg", "Sub", "Where")
_PICKING = ("Gather", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze")  # from the first input only
FOLDED = (
    *_ARITHMETIC, *_PICKING, "Abs", "And", "Cast", "CastLike", "Ceil", "ConstantOfShape", "Cos", "CumSum", "Exp",
    "Expand", "Flatten", "Floor", "GatherElements", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less",
    "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Not", "OneHot", "Or", "Pow", "Range", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Round", "ScatterND", "Sigmoid", "Sign", "Sin",
    "Size", "Softmax", "Sqrt", "Sum", "Tanh", "Tile", "Transpose", "Trilu", "Xor",
)  # fmt: skip


def folded(node: Node) -> list[Value]:
    """A node without inputs that vary, evaluated by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    node.refuse(node.op not in FOLDED, "constant inputs only")
    arrays = [None if x is None else x.array for x in node.inputs]
    if any(varying(a) for a in arrays if a is not None):
        if node.op in ("ConstantOfShape", "Expand"):
            return [_spread(node)]
        node.refuse(not _keeps_lengths(node, arrays), "a length that varies")
    size = _size(node.op, arrays)
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
    return [Value(array=np.asarray(y)) for y in ReferenceEvaluator(model).run(None, feeds)]


def _keeps_lengths(n: Node, arrays: list[Any]) -> bool:
    """Whether the result is right, or known to vary, where arrays hold lengths that are not known."""
    if n.op == "Equal":  # with −1, as exporters ask; nobody knows what other number a length equals
        return all(varying(a) or a.max(initial=0) <= 0 for a in arrays)
    if n.op in _PICKING:
        return not any(varying(a) for a in arrays[1:] if a is not None)
    return n.op in _ARITHMETIC or (n.op == "Cast" and n.attribute("to") == TensorProto.INT64)


def _size(op: str, arrays: list[Any]) -> int:
    """How many elements an operator's result has, at most, before there is one."""
    first = arrays[0]
    if op == "ConstantOfShape":
        return math.prod(int(n) for n in first)
    if op in ("Expand", "Tile"):
        return first.size * math.prod(max(int(n), 1) for n in arrays[1])
    if op == "Range":
        return int(abs((float(arrays[1]) - float(first)) / float(arrays[2])))
    if op in ("Gather", "MatMul"):
        return first.size * arrays[1].size
    if op == "OneHot":
        return first.size * int(arrays[1].reshape(()))
    given = [a for a in arrays if a is not None]
    elementwise = op in ("Add", "And", "Div", "Equal", "Max", "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Sum", "Where",
                         "Xor") or op.startswith(("Greater", "Less"))  # fmt: skip
    return math.prod(np.broadcast_shapes(*(a.shape for a in given))) if elementwise else sum(a.size for a in given)


def _spread(n: Node) -> Value:
    """A constant of a shape that holds lengths that are not known."""
    filled = n.op == "ConstantOfShape"
    shape = n.lengths(0 if filled else 1)
    if filled:
        tensor = n.attribute("value")
        array = np.zeros(1, np.float32) if tensor is None else array_of(tensor).reshape(1)
    else:
        array = n.value(0).array
    known = tuple(1 if length is None else length for length in shape)
    size = math.prod(known) * array.size
    if size > MOST_ELEMENTS // 16:
        raise ValueError(f"the constant it makes is too large: {size} elements")
    value = Value(array=np.broadcast_to(array, np.broadcast_shapes(known, array.shape)))
    more = value.array.ndim - len(shape)
    value.spread = tuple(more + axis for axis, length in enumerate(shape) if length is None)
    if any(value.array.shape[axis] != 1 for axis in value.spread):
        raise Unsupported("a length that varies")
    return value


def _constant(n: Node) -> Value:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    tensor = n.attribute("value")
    if tensor is not None:
        return Value(array=array_of(tensor))
    for name, dtype in kinds.items():
        if n.attribute(name) is not None:
            return Value(array=np.array(n.attribute(name), dtype))
    raise Unsupported("a value of this kind")


def _shape(n: Node) -> Value:
    shape = [VARIES if length is None else length for length in n.value(0).shape]
    return Value(array=np.array(shape, np.int64)[n.attribute("start", 0) : n.attribute("end")])


def _size_of(n: Node) -> Value:
    shape = n.value(0).shape
    return Value(array=np.array(VARIES if None in shape else math.prod(shape), np.int64))


OPERATORS = {"Constant": _constant, "Shape": _shape, "Size": _size_of}
