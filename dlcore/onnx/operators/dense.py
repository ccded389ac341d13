"""Matrix products, and sums of products over named axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ... import layers
from .graph import Node, Value, limit


def _dense(n: Node, x: Value, kernel: np.ndarray, bias: np.ndarray | None) -> Value:
    if x.unflat is not None and x.columns is not None:  # the rows in the order that the columns of x lie in
        turned = np.empty_like(kernel)
        turned[x.columns] = kernel
        kernel, tensor = turned, x.tensor
    else:
        tensor = x.to()
    limit([*x.shape[:-1], kernel.shape[1]])
    weights = [kernel] if bias is None else [kernel, bias]
    return Value(n.layer(layers.Dense, tensor, kernel.shape[1], use_bias=bias is not None, weights=weights))


def _gemm(n: Node) -> Value:
    x = n.real()
    alpha, beta = n.attribute("alpha", 1.0), n.attribute("beta", 1.0)
    if x.array is not None or n.real(1).array is None or (n.given(2) and n.value(2).array is None):
        limit([max(m or 1 for m in v.shape) for v in (x, n.real(1))])
        product = F.matmul(x.to(), n.real(1).to(), bool(n.attribute("transA", 0)), bool(n.attribute("transB", 0)))
        product = product if alpha == 1 else product * alpha
        return Value(F.add(product, n.real(2).to() * beta) if n.given(2) else product)
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
    batch = np.broadcast_shapes(*(tuple(1 if m is None else m for m in v.shape[:-2]) for v in (a, b)))
    limit([*batch, *a.shape[-2:-1], *b.shape[-1:]])
    return Value(F.matmul(a.to(), b.to()))


def _einsum(n: Node) -> Value:
    """One operand or two, no axis twice in one: as a product of matrices where that is all, else product, then sum."""
    values = [n.real(i) for i in range(len(n.inputs))]
    n.refuse(len(values) > 2, "more than two inputs")
    terms, result = _terms(n, values)
    parts = []
    for i, (value, term) in enumerate(zip(values, terms, strict=True)):  # what only one operand has and none wants
        alone = [a for a in term if a not in result and not any(a in other for other in terms[:i] + terms[i + 1 :])]
        if alone:
            value = Value(F.sum(value.to(), axis=[term.index(a) for a in alone]))
        parts.append((value, [a for a in term if a not in alone]))
    if len(parts) == 1:
        return Value(_aligned(*parts[0], result))
    (x, a), (y, b) = parts
    summed = [c for c in a if c in b and c not in result]
    shared = [c for c in result if c in a and c in b]
    left, right = [c for c in result if c not in b], [c for c in result if c not in a]
    if len(summed) == len(left) == len(right) == 1:
        product = F.matmul(_aligned(x, a, shared + left + summed), _aligned(y, b, shared + summed + right))
        axes = shared + left + right
        return Value(product, [axes.index(c) for c in result])
    everything = [*result, *summed]
    lengths = {c: m for v, term in parts for c, m in zip(term, v.shape, strict=True)}
    limit([lengths[c] for c in everything])
    product = F.multiply(_aligned(x, a, everything), _aligned(y, b, everything))
    return Value(F.sum(product, axis=list(range(len(result), len(everything)))) if summed else product)


def _terms(n: Node, values: list[Value]) -> tuple[list[list[str]], list[str]]:
    """The names of each operand's axes, and of the result's."""
    equation = n.attribute("equation").replace(" ", "")
    written, _, right = equation.partition("->")
    terms = written.split(",")
    if len(terms) != len(values):
        raise ValueError(f"equation {equation!r} has {len(terms)} terms for {len(values)} inputs")
    depths = {len(v.shape) - len(t.replace("...", "")) for v, t in zip(values, terms, strict=True) if "..." in t}
    n.refuse(len(depths) > 1, "an ellipsis of several ranks")
    rest = [f".{i}" for i in range(depths.pop() if depths else 0)]

    def axes(term: str) -> list[str]:
        first, dots, last = term.partition("...")
        return [*first, *(rest if dots else []), *last]

    names = [axes(term) for term in terms]
    for value, term in zip(values, names, strict=True):
        n.refuse(len(set(term)) != len(term), "an axis twice in one term")
        if len(term) != len(value.shape):
            raise ValueError(f"equation {equation!r} does not fit an input of shape {list(value.shape)}")
    every = [c for term in names for c in term]
    once = sorted({c for c in every if every.count(c) == 1 and not c.startswith(".")})
    result = axes(right) if "->" in equation else [*rest, *once]
    if len(set(result)) != len(result) or not set(result) <= set(every):
        raise ValueError(f"equation {equation!r} has a result of other axes than its terms")
    return names, result


def _aligned(x: Value, own: list[str], wanted: list[str]) -> Any:
    """x with its axes in the wanted sequence, of length 1 where it has none."""
    present = [c for c in wanted if c in own]
    tensor = x.to(tuple(present.index(c) for c in own))
    missing = [i for i, c in enumerate(wanted) if c not in own]
    if not missing:
        return tensor
    return np.expand_dims(tensor, missing) if isinstance(tensor, np.ndarray) else F.expand_dims(tensor, missing)


OPERATORS: dict[str, Callable[[Node], Any]] = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}
