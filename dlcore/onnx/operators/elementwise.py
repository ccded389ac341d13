"""Element by element: activations, arithmetic with broadcasting, comparison, logic, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from ... import functional as F
from ... import layers
from .graph import REAL, Node, Value, cast, held, layer_dtype, limit_broadcast


def keeping(function: Callable[[Node, Any], Any]) -> Callable[[Node], Value]:
    """A translator that leaves shape and order as they are."""

    def translate(n: Node) -> Value:
        x = n.real()
        n.only_output()
        return kept(x, function(n, x.tensor))

    return translate


def kept(x: Value, tensor: Any) -> Value:
    y = x.like(tensor)
    if x.unflat is not None:  # still in the order that was there before the Flatten
        before = x.unflat
        y.unflat = Value(layers.Reshape(before.tensor.shape[1:], dtype=layer_dtype(x))(tensor), before.order)
    return y


def _in_float64(function: Callable[[Any], Any]) -> Callable[[Node, Any], Any]:
    """A function made of differences of exponentials or logarithms, which lose float32's digits near 0."""
    return lambda n, x: F.cast(function(F.cast(x, "float64")), x.dtype.name)


# ---- of one value ---------------------------------------------------------------------------------------------------


def _activation(name: str) -> Callable[[Node], Value]:
    return keeping(lambda n, x: n.layer(layers.Activation, x, name))


def _hard_sigmoid(n: Node, x: Any) -> Any:
    return F.clip(x * n.attribute("alpha", 0.2) + n.attribute("beta", 0.5), 0.0, 1.0)


def _selu(n: Node, x: Any) -> Any:
    alpha, gamma = n.attribute("alpha", 1.67326319217681884765625), n.attribute("gamma", 1.05070102214813232421875)
    return F.elu(x, alpha) * gamma


def _gelu(n: Node, x: Any) -> Any:
    return F.gelu(x, n.attribute("approximate", "none") == "tanh")


def _shrink(n: Node, x: Any) -> Any:
    bias, edge = n.attribute("bias", 0.0), n.attribute("lambd", 0.5)
    return F.where(F.less(x, -edge), x + bias, F.where(F.greater(x, edge), x - bias, x * 0.0))


def _erf(n: Node, x: Any) -> Any:
    """From Φ(z) = gelu(z) / z at z = √2 x, where erf(x) = 2 Φ(z) − 1; near 0 by the series, where that cancels."""
    near = F.less(F.abs(x), 0.1)
    z = F.where(near, 1.0, x * math.sqrt(2))
    square = x * x
    series = x * (2 / math.sqrt(math.pi)) * (1.0 - square * (1 / 3 - square * (1 / 10 - square * (1 / 42))))
    return F.where(near, series, F.gelu(z) * 2.0 / z - 1.0)


def floor(x: Any) -> Any:
    """The largest integers up to x. Numbers that have no fraction any more are left alone, infinities with them."""
    whole = F.cast(F.cast(F.where(_has_fraction(x), x, 0.0), "int64"), x.dtype.name)
    return F.where(_has_fraction(x), whole - F.cast(F.less(x, whole), x.dtype.name), x)


def _has_fraction(x: Any) -> Any:
    return F.less(F.abs(x), 2.0**23 if x.dtype == np.float32 else 2.0**52)


def _rounded(n: Node, x: Any) -> Any:
    """To the nearest integer, a half to the even one."""
    below = floor(x)
    rest = x - below
    odd = F.greater(below - floor(below * 0.5) * 2.0, 0.5)
    up = F.where(F.equal(rest, 0.5), odd, F.greater(rest, 0.5))
    return F.where(_has_fraction(x), below + F.cast(up, x.dtype.name), x)


def _is_infinite(n: Node) -> Value:
    x = n.real().flat()
    up, down = n.attribute("detect_positive", 1), n.attribute("detect_negative", 1)
    n.refuse(not up and not down, "neither sign to detect")
    return x.like(F.equal(F.abs(x.tensor) if up and down else x.tensor, math.inf if up else -math.inf))


def _is_nan(n: Node) -> Value:
    x = n.real().flat()
    return x.like(F.not_equal(x.tensor, x.tensor))


def _clip(n: Node) -> Value:
    x = n.number()
    low, high = (None if n.constant(i) is None else n.constant(i).item() for i in (1, 2))
    if low == 0 and high == 6 and x.dtype in REAL:
        return kept(x, n.layer(layers.Activation, x.tensor, "relu6"))
    y = x.tensor if low is None else F.maximum(x.tensor, low)
    y = y if high is None else F.minimum(y, high)
    return kept(x, y if y is not x.tensor else _identity_layer(x))


def _identity_layer(x: Value) -> Any:
    return layers.Identity(dtype=layer_dtype(x))(x.tensor) if x.dtype in REAL else x.tensor


# ---- of several -----------------------------------------------------------------------------------------------------


def operands(values: list[Value]) -> tuple[list[Any], tuple[int, ...]]:
    """Tensors and arrays for a function that broadcasts, and the order of its result."""
    limit_broadcast(values)
    rank = max(len(v.shape) for v in values)
    order = next((v.order for v in values if v.array is None and len(v.order) == rank and v.unflat is None), None)
    if order is None or any(v.array is None and len(v.order) != rank for v in values):
        order = tuple(range(rank))
        return [v.to() for v in values], order
    found = []
    for v in values:
        if v.array is not None:
            full = v.to().reshape((1,) * (rank - v.array.ndim) + v.array.shape)
            found.append(np.ascontiguousarray(full.transpose([order.index(i) for i in range(rank)])))
        else:
            found.append(v.to(order))
    return found, order


def _binary(function: Callable) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        (a, b), order = operands([n.number(0), n.number(1)])
        return Value(function(a, b), order)

    return translate


def _comparison(function: Callable) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        values = [n.value(0), n.value(1)]
        n.refuse(any(v.dtype not in REAL and v.dtype.kind not in "biu" for v in values), "elements of this type")
        (a, b), order = operands(values)
        return Value(function(a, b), order)

    return translate


def _variadic(function: Callable, mean: bool = False) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        found, order = operands([n.real(i) if mean else n.number(i) for i in range(len(n.inputs))])
        y = found[0]
        for x in found[1:]:
            y = function(y, x)
        if mean and len(found) > 1:
            y = y / float(len(found))
        return Value(y, order)

    return translate


def _logic(function: Callable) -> Callable[[Node], Value]:
    def translate(n: Node) -> Value:
        (a, b), order = operands([n.truth(0), n.truth(1)])
        return Value(function(a, b), order)

    return translate


def both(a: Any, b: Any) -> Any:
    return F.greater(F.minimum(a, b), 0)


def _not(n: Node) -> Value:
    x = n.truth().flat()
    return x.like(F.equal(x.tensor, False))


def _divide(n: Node) -> Value:
    (a, b), order = operands([n.number(0), n.number(1)])
    dtype = n.value(0).dtype
    if dtype in REAL:
        return Value(F.divide(a, b), order)
    return Value(F.cast(F.divide(cast(a, np.float64), cast(b, np.float64)), dtype.name), order)


def _modulo(n: Node) -> Value:
    """The remainder with the divisor's sign or, with fmod, the dividend's."""
    (a, b), order = operands([n.number(0), n.number(1)])
    dtype = n.value(0).dtype
    a, b = cast(a, np.float64), cast(b, np.float64)
    quotient = F.divide(a, b)
    by_dividend = bool(n.attribute("fmod", 0))
    whole = F.sign(quotient) * floor(F.abs(quotient)) if by_dividend else floor(quotient)
    rest = F.subtract(a, whole * b)
    if dtype in REAL:  # an infinite divisor leaves the dividend, or itself where the signs differ
        limited = a if by_dividend else F.where(F.less(F.multiply(F.sign(a), F.sign(b)), 0), b, a)
        endless = both(F.equal(F.abs(b), math.inf), F.less(F.abs(a), math.inf))
        rest = F.where(endless, limited, rest)
    return Value(F.cast(rest, dtype.name), order)


def _power(n: Node) -> Value:
    base, exponent = n.number(0), n.number(1)
    one = exponent.array is not None and exponent.array.size == 1 and exponent.array.ndim <= len(base.shape)
    if one and base.array is None and base.dtype in REAL:
        return kept(base, F.power(base.tensor, float(exponent.to().reshape(()))))
    (a, b), order = operands([base, exponent])
    if base.dtype in REAL:
        return Value(F.power(a, cast(b, base.dtype)), order)
    return Value(F.cast(F.power(cast(a, np.float64), cast(b, np.float64)), base.dtype.name), order)


def _where(n: Node) -> Value:
    values = [n.truth(0), n.value(1), n.value(2)]
    kinds = {v.dtype.kind for v in values[1:]}
    n.refuse(not kinds <= set("biuf") or not held(values[1].dtype), f"elements of type {values[1].dtype.name}")
    (condition, a, b), order = operands(values)
    y = F.where(condition, a, b)
    return Value(F.cast(y, "bool") if kinds == {"b"} else y, order)


def _prelu(n: Node) -> Value:
    x, slope = n.real(0), n.real(1)
    n.refuse(len(slope.shape) > len(x.shape), "a slope of higher rank than x")
    (a, b), order = operands([x, slope])
    return Value(F.prelu(a, b), order)


# ---- types, and what does nothing -----------------------------------------------------------------------------------


def _cast_to(n: Node, dtype: np.dtype) -> Value:
    x = n.value(0)
    n.refuse(not held(dtype), f"elements of type {dtype.name}")
    n.refuse(not held(x.dtype), f"elements of type {x.dtype.name}")
    if x.dtype == dtype:
        return x
    return Value(F.cast(x.tensor, dtype.name), x.order) if x.unflat is None else Value(F.cast(x.to(), dtype.name))


def _cast(n: Node) -> Value:
    return _cast_to(n, np.dtype(helper.tensor_dtype_to_np_dtype(n.attribute("to"))))


def _cast_like(n: Node) -> Value:
    return _cast_to(n, n.value(1).dtype)


def _identity(n: Node) -> Value:
    return n.value(0)


def _dropout(n: Node) -> list[Value]:
    n.refuse(np.any(n.constant(2, False)), "training_mode")
    x = n.real()
    if not any(n.proto.output[1:]):
        return [x]
    here = F.not_equal(F.equal(x.to(), x.to()), 2)  # true everywhere
    return [x, Value(here)]


def _swish(n: Node, x: Any) -> Any:
    return x * F.sigmoid(x * n.attribute("alpha", 1.0))


def _swiglu(n: Node) -> Value:
    """Shazeer, GLU Variants Improve Transformer (2020)."""
    (a, b), order = operands([n.real(0), n.real(1)])
    return Value(F.multiply(F.multiply(a, F.sigmoid(F.multiply(a, n.attribute("alpha", 1.0)))), b), order)


def _thresholded(n: Node, x: Any) -> Any:
    return F.where(F.greater(x, n.attribute("alpha", 1.0)), x, x * 0.0)


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "Abs": keeping(lambda n, x: F.abs(x)),
    "Acosh": keeping(_in_float64(lambda x: F.log(x + F.sqrt(x * x - 1.0)))),
    "Add": _binary(F.add),
    "And": _logic(both),
    "Asinh": keeping(_in_float64(lambda x: F.sign(x) * F.log(F.abs(x) + F.sqrt(x * x + 1.0)))),
    "Atanh": keeping(_in_float64(lambda x: F.log((x + 1.0) / (1.0 - x)) * 0.5)),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": keeping(lambda n, x: -floor(-x)),
    "Celu": keeping(lambda n, x: F.elu(x / n.attribute("alpha", 1.0)) * n.attribute("alpha", 1.0)),
    "Clip": _clip,
    "Cos": keeping(lambda n, x: F.cos(x)),
    "Cosh": keeping(_in_float64(lambda x: (F.exp(x) + F.exp(-x)) * 0.5)),
    "Div": _divide,
    "Dropout": _dropout,
    "Elu": keeping(lambda n, x: n.layer(layers.ELU, x, n.attribute("alpha", 1.0))),
    "Equal": _comparison(F.equal),
    "Erf": keeping(_erf),
    "Exp": keeping(lambda n, x: F.exp(x)),
    "Floor": keeping(lambda n, x: floor(x)),
    "Gelu": keeping(_gelu),
    "Greater": _comparison(F.greater),
    "GreaterOrEqual": _comparison(F.greater_equal),
    "HardSigmoid": keeping(_hard_sigmoid),
    "HardSwish": keeping(lambda n, x: x * F.clip(x * (1 / 6) + 0.5, 0.0, 1.0)),
    "Identity": _identity,
    "IsInf": _is_infinite,
    "IsNaN": _is_nan,
    "LeakyRelu": keeping(lambda n, x: n.layer(layers.LeakyReLU, x, n.attribute("alpha", 0.01))),
    "Less": _comparison(F.less),
    "LessOrEqual": _comparison(F.less_equal),
    "Log": keeping(lambda n, x: F.log(x)),
    "Max": _variadic(F.maximum),
    "Mean": _variadic(F.add, mean=True),
    "Min": _variadic(F.minimum),
    "Mish": keeping(lambda n, x: x * F.tanh(F.softplus(x))),
    "Mod": _modulo,
    "Mul": _binary(F.multiply),
    "Neg": keeping(lambda n, x: F.neg(x)),
    "Not": _not,
    "Or": _logic(lambda a, b: F.greater(F.maximum(a, b), 0)),
    "Pow": _power,
    "PRelu": _prelu,
    "Reciprocal": keeping(lambda n, x: F.reciprocal(x)),
    "Relu": _activation("relu"),
    "Round": keeping(_rounded),
    "Selu": keeping(_selu),
    "Shrink": keeping(_shrink),
    "Sigmoid": _activation("sigmoid"),
    "Sign": keeping(lambda n, x: F.sign(x)),
    "Sin": keeping(lambda n, x: F.sin(x)),
    "Sinh": keeping(_in_float64(lambda x: (F.exp(x) - F.exp(-x)) * 0.5)),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "Sqrt": keeping(lambda n, x: F.sqrt(x)),
    "Sub": _binary(F.subtract),
    "Sum": _variadic(F.add),
    "SwiGLU": _swiglu,
    "Swish": keeping(_swish),
    "Tan": keeping(lambda n, x: F.sin(x) / F.cos(x)),
    "Tanh": _activation("tanh"),
    "ThresholdedRelu": keeping(_thresholded),
    "Where": _where,
    "Xor": _logic(F.not_equal),
}
