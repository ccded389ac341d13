"""An ONNX file, checked before anything is made of it.

A file comes from anywhere. Nothing in it is ever executed, no other file is opened for it, and no memory is allocated
for a size that it merely states: a tensor's stated shape must fit the bytes that are there, and what an operator makes
is held against a limit before it is made. (onnx's own shape inference is not used: numbers that overflow abort it.)
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

OLDEST_OPSET = 13
MOST_ELEMENTS = 2**28  # of one value: a gigabyte of float32


def read_model(filepath: Any, operators: Collection[str]) -> ModelProto:
    """The model in a file, made of these operators.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, newer than this library, too large, or of a kind that is not supported.
    """
    path = Path(filepath)
    if path.is_dir():
        raise IsADirectoryError(f"filepath {str(path)!r} is a directory, expected an .onnx file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    data = path.read_bytes()
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's implementations have different ones
        raise ValueError(f"{path} is no readable ONNX file: it is truncated, damaged or of another kind") from error
    return checked_model(model, str(path), operators)


def checked_model(model: ModelProto, said: str, operators: Collection[str]) -> ModelProto:
    """The model, if all of it can be trusted and is made of these operators; `said` names it in errors."""
    if not model.HasField("graph") or not model.ir_version or not _is_text(model):
        raise ValueError(f"{said} is no readable ONNX file: it is truncated, damaged or of another kind")
    if model.ir_version > onnx.IR_VERSION:
        raise ValueError(
            f"{said} has ONNX format version {model.ir_version}, this onnx reads up to {onnx.IR_VERSION}: update onnx"
        )
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            raise ValueError(f"{said} uses operators of the domain {entry.domain!r}, which is not supported")
        newest = onnx.defs.onnx_opset_version()
        if entry.version > newest:
            raise ValueError(f"{said} has opset {entry.version}, this onnx knows up to {newest}: update onnx")
        if entry.version < OLDEST_OPSET:
            raise ValueError(
                f"{said} has opset {entry.version}, which is not supported: {OLDEST_OPSET} is the oldest that is; "
                "onnx.version_converter.convert_version makes newer files of old ones"
            )
    if model.functions:
        raise ValueError(f"{said} defines functions of its own, which is not supported")
    for node in model.graph.node:
        if node.op_type not in operators or node.domain not in ("", "ai.onnx"):
            raise ValueError(f"{said}: operator {node.op_type!r} is not supported")
    for tensor in _tensors(model, said):
        _check_tensor(tensor, said)
    try:
        checker.check_model(model)  # its shapes are worked out node by node, each held against the limit
    except Exception as error:  # of onnx's own kinds, RuntimeError and others
        raise ValueError(f"{said} is damaged or contradicts itself: {_first_line(error)}") from error
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        _check_size([d.dim_value for d in value.type.tensor_type.shape.dim], value.name, said)
    return model


def array_of(tensor: TensorProto) -> np.ndarray:
    """A checked tensor's values."""
    array = numpy_helper.to_array(tensor)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _is_text(model: ModelProto) -> bool:
    """Whether the names are text: protobuf hands over bytes where they are not."""
    graph = model.graph
    values = [*graph.input, *graph.output, *graph.initializer]
    names = [graph.name, *(value.name for value in values)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    return all(isinstance(name, str) for name in names)


def _tensors(model: ModelProto, said: str) -> list[TensorProto]:
    found = list(model.graph.initializer)
    if model.graph.sparse_initializer:
        raise ValueError(f"{said} has sparse initializers, which is not supported: export it with dense weights")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                found.append(attribute.t)
            found.extend(attribute.tensors)
            if attribute.HasField("g") or attribute.graphs:
                raise ValueError(f"{said}: operator {node.op_type!r} is not supported: it holds a graph of its own")
    return found


def _check_tensor(tensor: TensorProto, said: str) -> None:
    what = f"{said}: tensor {tensor.name!r}"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ValueError(
            f"{what} lies in another file, which is not supported: onnx.save(onnx.load(path), new_path) makes one file"
        )
    if tensor.data_type == TensorProto.STRING:
        raise ValueError(f"{what} holds strings, which is not supported")
    try:
        itemsize = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{what} has elements of the unknown type {tensor.data_type}") from None
    if any(n < 0 for n in tensor.dims):
        raise ValueError(f"{what} is damaged: its shape is {list(tensor.dims)}")
    count = math.prod(tensor.dims)
    if tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == count * itemsize
        if tensor.data_type in _PACKED:  # two or four of them to a byte
            fits = count // 8 <= len(tensor.raw_data) <= count
    else:
        lists = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
        stored = max(len(values) for values in lists)
        fits = stored == count or (tensor.data_type not in _PLAIN and count // 8 <= stored <= 2 * count)
    if not fits:
        raise ValueError(
            f"{what} is damaged: it holds other than the {count} elements of its shape {list(tensor.dims)}"
        )


def _check_size(shape: list[int], name: str, said: str) -> None:
    if any(n < 0 for n in shape):
        raise ValueError(f"{said} is damaged: value {name!r} has shape {shape}")
    if math.prod(n for n in shape if n) > MOST_ELEMENTS:
        raise ValueError(f"{said}: value {name!r} of shape {shape} is too large: more than {MOST_ELEMENTS} elements")


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


_PACKED = {
    getattr(TensorProto, name)
    for name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
    if hasattr(TensorProto, name)
}
_PLAIN = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64}
