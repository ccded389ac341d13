"""Dense layers and tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from ... import layers
from .writer import Value, Writer


def _dense(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    kernel = w.weight(layer, "kernel", layer.kernel.numpy())
    bias = None if layer.bias is None else w.weight(layer, "bias", layer.bias.numpy())
    if len(x.shape) == 2:
        name = w.op("Gemm", w.to(x), kernel, *([bias] if bias else []))
    else:
        name = w.op("MatMul", w.to(x), kernel)
        name = w.op("Add", name, bias) if bias else name
    order = tuple(range(len(shape)))
    return Value(w.activation(name, layer.activation, order, x.dtype, layer._said), shape, x.dtype)


def _einsum_dense(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    name = w.op("Einsum", w.to(x), w.weight(layer, "kernel", layer.kernel.numpy()), equation=layer.equation)
    if layer.bias is not None:
        name = w.op("Add", name, w.weight(layer, "bias", layer.bias.numpy()))
    order = tuple(range(len(shape)))
    return Value(w.activation(name, layer.activation, order, x.dtype, layer._said), shape, x.dtype)


def _embedding(w: Writer, layer: Any, x: Value, shape: Any) -> Value:
    ids = w.to(x)
    if x.dtype != np.int64:
        ids = w.op("Cast", ids, to=TensorProto.INT64)
    table = w.weight(layer, "embeddings", layer.embeddings.numpy())
    return Value(w.op("Gather", table, ids), shape, layer.dtype)


LAYERS = {layers.Dense: _dense, layers.EinsumDense: _einsum_dense, layers.Embedding: _embedding}
