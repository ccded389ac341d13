"""Matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .graph import Node, Value


def _dense(n: Node, x: Value, kernel: np.ndarray, bias: np.ndarray | None) -> Value:
    if x.unflat is not None and x.columns is not None:  # the rows in the order that the columns of x lie in
        turned = np.empty_like(kernel)
        turned[x.columns] = kernel
        kernel, tensor = turned, x.tensor
    else:
        tensor = x.to()
    weights = [kernel] if bias is None else [kernel, bias]
    return Value(n.layer(layers.Dense, tensor, kernel.shape[1], use_bias=bias is not None, weights=weights))


def _gemm(n: Node) -> Value:
    x = n.real()
    alpha, beta = n.attribute("alpha", 1.0), n.attribute("beta", 1.0)
    if x.array is not None or n.real(1).array is None or (n.given(2) and n.value(2).array is None):
        y = F.matmul(x.to(), n.real(1).to(), bool(n.attribute("transA", 0)), bool(n.attribute("transB", 0)))
        y = y if alpha == 1 else y * alpha
        return Value(F.add(y, n.real(2).to() * beta) if n.given(2) else y)
    kernel, bias = n.constant(1), n.constant(2)
    kernel = (kernel.T if n.attribute("transB", 0) else kernel) * kernel.dtype.type(alpha)
    bias = None if bias is None else bias * bias.dtype.type(beta)
    if n.attribute("transA", 0):
        x = Value(F.transpose(x.to()))
    columns = kernel.shape[1]
    if bias is not None and bias.size in (1, columns) and bias.shape[-1:] in ((), (1,), (columns,)):
        return _dense(n, x, kernel, np.broadcast_to(bias.reshape(-1), (columns,)).copy())
    y = _dense(n, x, kernel, None)
    return y if bias is None else Value(F.add(y.tensor, bias))


def _matmul(n: Node) -> Value:
    a, b = n.real(0), n.real(1)
    if a.array is None and b.array is not None and b.array.ndim == 2 and len(a.shape) >= 2:
        return _dense(n, a, b.array, None)
    return Value(F.matmul(a.to(), b.to()))


OPERATORS: dict[str, Callable[[Node], Any]] = {"Gemm": _gemm, "MatMul": _matmul}
