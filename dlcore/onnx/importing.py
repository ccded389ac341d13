"""From an ONNX graph to a `Model` of this library's layers.

ONNX keeps images as [N, C, H, W], the layers here as [N, H, W, C]. Weights are turned once, when the file is loaded.
Values in between are not turned back after each layer: each remembers in which order its axes lie, an ONNX Transpose
only changes that note, and axes are moved where an operator needs them in a given order, which for most networks is
once, at the entry. Where a Dense layer follows a Flatten, its rows are put in the order that is there.

Operators whose inputs are all constants (what exporters emit to work out shapes) are evaluated when the file is loaded.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from .. import functional as F
from .. import layers
from ..models import Model
from ..random import seeded
from ..symbolic import SymbolicTensor
from .operators import KNOWN, OPERATORS, constants
from .operators.graph import REAL, Node, Unsupported, Value, limit
from .reading import array_of, checked_model, read_model

# What the layers, NumPy and ONNX's reference implementation raise for what cannot be.
_WRONG = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


def load(filepath: Any) -> Model:
    """The model in an ONNX file, opset 13 or newer, as layers of this library: it can be run, trained and saved.

    It takes the file's inputs and gives its outputs, in its layout (images as [N, C, H, W], if that is what it has).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, newer than this library, or holds something that is not supported.
    """
    return _made(read_model(filepath, KNOWN), str(filepath))


def load_proto(model: ModelProto, said: str = "the model") -> Model:
    """As `load`, from a model in memory."""
    return _made(checked_model(model, said, KNOWN), said)


def supported_operators() -> list[str]:
    """Names of the ONNX operators that `load` understands, as far as the layers here can do what they say."""
    return sorted(OPERATORS)


def _made(proto: ModelProto, said: str) -> Model:
    try:
        return _model_from(proto, said)
    except _WRONG as error:
        if str(error).startswith(said):
            raise
        raise ValueError(f"{said} is damaged or contradicts itself: {error}") from error


def _model_from(proto: ModelProto, said: str) -> Model:
    graph = proto.graph
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    values: dict[str, Value] = {t.name: Value(array=array_of(t)) for t in graph.initializer}
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
        values[value.name] = Value(entries[-1])
    if not entries:
        raise ValueError(f"{said}: a model without inputs is not supported")
    varying = [x for x in entries if None in x.shape]
    batch = varying[0] if varying and all(None not in x.shape[1:] for x in varying) else None
    with seeded(0):  # what layers start from is overwritten
        for proto_node in graph.node:
            inputs = [values[name] if name else None for name in proto_node.input]
            node = Node(proto_node, inputs, opset, unique)  # type: ignore[arg-type]
            for name, result in zip(proto_node.output, _translated(node, batch, said), strict=False):
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


def _translated(node: Node, batch: SymbolicTensor | None, said: str) -> list[Value]:
    where = f"{said}: operator {node.op!r}" + (f" (node {node.proto.name!r})" if node.proto.name else "")
    try:
        if node.op not in ("GRU", "LSTM", "RNN", "Shape", "Size"):  # those need no values of such a constant
            node.inputs = [x if x is None or not x.spread else _filled(x, batch) for x in node.inputs]
        varies = any(x is not None and x.array is None for x in node.inputs)
        if not varies and node.op not in constants.OPERATORS:
            return constants.folded(node)
        if node.op not in OPERATORS:
            raise Unsupported("inputs that vary")
        result = OPERATORS[node.op](node)
        results = result if isinstance(result, list) else [result]
        for value in results:
            limit(value.shape)
    except Unsupported as error:
        raise ValueError(f"{where} is not supported" + (f" with {error}" if str(error) else "")) from None
    except _WRONG as error:
        raise ValueError(f"{where} contradicts itself or its inputs: {error}") from error
    if any(node.proto.output[len(results) :]):
        raise ValueError(f"{where} is not supported with more than {len(results)} output(s)")
    return results


def _filled(constant: Value, batch: SymbolicTensor | None) -> Value:
    """A constant with the length that `batch`, an input, has along its first axis: the only one that can be meant."""
    if batch is None or len(constant.spread) != 1:
        raise Unsupported("a constant whose size is not known")
    assert constant.array is not None
    (axis,) = constant.spread
    first = F.getitem(batch, (slice(None), *(0,) * (len(batch.shape) - 1)))
    everywhere = F.not_equal(F.equal(first, first), 2)  # equal or not, it is true
    along = F.reshape(everywhere, [-1 if i == axis else 1 for i in range(constant.array.ndim)])
    dtype = constant.dtype
    return Value(F.cast(F.where(along, np.ascontiguousarray(constant.array), np.zeros((), dtype)), dtype.name))
