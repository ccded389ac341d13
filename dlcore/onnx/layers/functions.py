"""Functions of `dlcore.functional` within a graph of layers, and those that a layer's call is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from onnx import helper

from ...symbolic import SymbolicTensor
from .activation import ACTIVATIONS
from .convolution import window
from .merging import joined
from .writer import CHANNELS_FIRST, Value, Writer

FLOAT32 = np.dtype(np.float32)


def _cast(w: Writer, name: str, own: np.dtype, wanted: np.dtype) -> str:
    return name if own == wanted else w.op("Cast", name, to=helper.np_dtype_to_tensor_dtype(wanted))


def _named(w: Writer, x: Any, dtype: np.dtype) -> str:
    """A value in the model's order of axes, or a constant."""
    return _cast(w, w.to(x), x.dtype, dtype) if isinstance(x, Value) else w.constant(np.asarray(x, dtype))


# ---- arithmetic -----------------------------------------------------------------------------------------------------


def _operands(
    w: Writer, rank: int, parts: Sequence[Any], dtypes: Sequence[np.dtype]
) -> tuple[list[str], tuple[int, ...]]:
    """Names of values and numbers that are broadcast against each other, and the order of the result's axes."""
    plain = tuple(range(rank))
    values = [x for x in parts if isinstance(x, Value)]
    order = plain if any(len(x.order) != rank for x in values) else next((x.order for x in values), plain)
    names = []
    for x, dtype in zip(parts, dtypes, strict=True):
        if isinstance(x, Value):
            names.append(_cast(w, w.to(x, order if len(x.order) == rank else None), x.dtype, dtype))
            continue
        array = np.asarray(x, dtype)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape)
        names.append(w.constant(array.transpose([order.index(i) for i in plain])))
    return names, order


def _binary(kind: str) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, a: Any, b: Any) -> Value:
        names, order = _operands(w, len(y.shape), (a, b), (y.dtype, y.dtype))
        return Value(w.op(kind, *names), y.shape, y.dtype, order)

    return write


def _comparison(kind: str, negated: bool = False) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, a: Any, b: Any) -> Value:
        dtype = np.result_type(*(x.dtype for x in (a, b) if isinstance(x, Value)))
        if dtype.kind == "b" or (dtype.kind in "iu" and any(isinstance(x, float) for x in (a, b))):
            dtype = FLOAT32 if dtype.kind == "b" else np.dtype(np.float64)
        names, order = _operands(w, len(y.shape), (a, b), (dtype, dtype))
        name = w.op(kind, *names)
        return Value(w.op("Not", name) if negated else name, y.shape, y.dtype, order)

    return write


def _where(w: Writer, y: SymbolicTensor, condition: Any, a: Any, b: Any) -> Value:
    names, order = _operands(w, len(y.shape), (condition, a, b), (np.dtype(bool), y.dtype, y.dtype))
    return Value(w.op("Where", *names), y.shape, y.dtype, order)


def _unary(write: Callable[[Writer, str, np.dtype], str]) -> Callable[..., Value]:
    return lambda w, y, x: Value(write(w, _cast(w, x.name, x.dtype, y.dtype), y.dtype), y.shape, y.dtype, x.order)


def _op(kind: str, **attributes: Any) -> Callable[[Writer, str, np.dtype], str]:
    return lambda w, x, t: w.op(kind, x, **attributes)


def _leaky_relu(w: Writer, y: SymbolicTensor, x: Value, negative_slope: float = 0.2) -> Value:
    return Value(w.op("LeakyRelu", x.name, alpha=float(negative_slope)), y.shape, y.dtype, x.order)


def _elu(w: Writer, y: SymbolicTensor, x: Value, alpha: float = 1.0) -> Value:
    return Value(w.op("Elu", x.name, alpha=float(alpha)), y.shape, y.dtype, x.order)


def _gelu(w: Writer, y: SymbolicTensor, x: Value, approximate: bool = False) -> Value:
    kind = "tanh" if approximate else "none"
    return Value(w.op("Gelu", x.name, approximate=kind), y.shape, y.dtype, x.order)


def _prelu(w: Writer, y: SymbolicTensor, x: Value, alpha: Any) -> Value:
    names, order = _operands(w, len(y.shape), (x, alpha), (y.dtype, y.dtype))
    return Value(w.op("PRelu", *names), y.shape, y.dtype, order)


def _clip(w: Writer, y: SymbolicTensor, x: Value, x_min: float, x_max: float) -> Value:
    return Value(w.clipped(x.name, float(x_min), float(x_max), x.dtype), y.shape, y.dtype, x.order)


def _fused(w: Writer, name: str, kind: str, dtype: np.dtype) -> str:
    return name if kind == "linear" else ACTIVATIONS[kind](w, name, dtype)


# ---- reductions -----------------------------------------------------------------------------------------------------


def _reduction(kind: str) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, x: Value, axis: Any = None, keepdims: bool = False) -> Value:
        axes = list(range(len(x.shape))) if axis is None else list(axis) if isinstance(axis, (list, tuple)) else [axis]
        name = _cast(w, w.to(x), x.dtype, y.dtype)
        return Value(
            w.op(kind, name, w.ints(*(a % len(x.shape) for a in axes)), keepdims=int(keepdims)), y.shape, y.dtype
        )

    return write


def _softmax(kind: str) -> Callable[..., Value]:
    return lambda w, y, x, axis=-1: Value(w.op(kind, x.name, axis=x.order[axis]), y.shape, y.dtype, x.order)


def _argmax(w: Writer, y: SymbolicTensor, x: Value, axis: int = -1) -> Value:
    name = w.op("ArgMax", w.to(x), axis=axis % len(x.shape), keepdims=0)
    return Value(_cast(w, name, np.dtype(np.int64), y.dtype), y.shape, y.dtype)


# ---- shapes ---------------------------------------------------------------------------------------------------------


def _reshape(w: Writer, y: SymbolicTensor, x: Value, shape: Any) -> Value:
    lengths = [-1 if n is None else int(n) for n in (shape if isinstance(shape, (list, tuple)) else [shape])]
    return Value(w.op("Reshape", w.to(x), w.ints(*lengths)), y.shape, y.dtype)


def _transpose(w: Writer, y: SymbolicTensor, x: Value, axes: Any = None) -> Value:
    axes = list(range(len(x.shape)))[::-1] if axes is None else [a % len(x.shape) for a in axes]
    return Value(x.name, y.shape, y.dtype, [x.order[a] for a in axes])


def _getitem(w: Writer, y: SymbolicTensor, x: Value, key: Any) -> Value:
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        given = sum(k is not None for k in keys) - 1
        keys[place : place + 1] = [slice(None)] * (len(x.shape) - given)
    starts, ends, axes, steps, dropped, added = [], [], [], [], [], []
    axis = kept = 0
    for k in keys:
        if k is None:
            added.append(kept)
            kept += 1
            continue
        if isinstance(k, slice):
            step = 1 if k.step is None else int(k.step)
            kept += 1
            if k != slice(None):
                starts.append((2**31 if step < 0 else 0) if k.start is None else int(k.start))
                ends.append((-(2**31) if step < 0 else 2**31) if k.stop is None else int(k.stop))
                axes.append(axis)
                steps.append(step)
        else:
            starts.append(int(k))
            ends.append(2**31 if k == -1 else int(k) + 1)
            dropped.append(axis)
            axes.append(axis)
            steps.append(1)
        axis += 1
    name = w.to(x)
    if axes:
        name = w.op("Slice", name, w.ints(*starts), w.ints(*ends), w.ints(*axes), w.ints(*steps))
    name = w.op("Squeeze", name, w.ints(*dropped)) if dropped else name
    return Value(w.op("Unsqueeze", name, w.ints(*added)) if added else name, y.shape, y.dtype)


def _flip(w: Writer, y: SymbolicTensor, x: Value, axis: Any = None) -> Value:
    axes = range(len(x.shape)) if axis is None else axis if isinstance(axis, (list, tuple)) else [axis]
    count = len(list(axes))
    parts = (w.ints(*[-1] * count), w.ints(*[-(2**31)] * count), w.ints(*axes), w.ints(*[-1] * count))
    return Value(w.op("Slice", w.to(x), *parts), y.shape, y.dtype)


def _places(kind: str) -> Callable[..., Value]:
    def write(w: Writer, y: SymbolicTensor, x: Value, axis: Any) -> Value:
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        return Value(w.op(kind, w.to(x), w.ints(*axes)), y.shape, y.dtype)

    return write


def _flatten(w: Writer, y: SymbolicTensor, x: Value) -> Value:
    return Value(w.op("Flatten", w.to(x), axis=1), y.shape, y.dtype)


def _concatenate(w: Writer, y: SymbolicTensor, tensors: list[Value], axis: int = -1) -> Value:
    return joined(w, tensors, axis, y.shape)


def _stack(w: Writer, y: SymbolicTensor, tensors: list[Value], axis: int = 0) -> Value:
    place = axis % len(y.shape)
    longer = [w.op("Unsqueeze", w.to(x), w.ints(place)) for x in tensors]
    return Value(w.op("Concat", *longer, axis=place), y.shape, y.dtype)


def _pad(w: Writer, y: SymbolicTensor, x: Value, pad_width: Any, constant_values: float = 0.0) -> Value:
    rank = len(x.shape)
    widths = [(pad_width, pad_width)] * rank if isinstance(pad_width, int) else pad_width
    pads = w.ints(*(a for a, _ in widths), *(b for _, b in widths))
    return Value(w.op("Pad", w.to(x), pads, w.scalar(constant_values, x.dtype)), y.shape, y.dtype)


def _broadcast_to(w: Writer, y: SymbolicTensor, x: Value, shape: Any) -> Value:
    return Value(w.op("Expand", w.to(x), w.ints(*(int(n) for n in shape))), y.shape, y.dtype)


def _cast_to(w: Writer, y: SymbolicTensor, x: Value, dtype: Any) -> Value:
    return Value(_cast(w, x.name, x.dtype, y.dtype), y.shape, y.dtype, x.order)


# ---- products, windows, tables --------------------------------------------------------------------------------------


def _linear(w: Writer, y: SymbolicTensor, x: Any, kernel: Any, b: Any = None, activation: str = "linear") -> Value:
    name = w.op("MatMul", _named(w, x, y.dtype), _named(w, kernel, y.dtype))
    name = name if b is None else w.op("Add", name, _named(w, b, y.dtype))
    return Value(_fused(w, name, activation, y.dtype), y.shape, y.dtype)


def _matmul(
    w: Writer, y: SymbolicTensor, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False
) -> Value:
    def turned(x: Any, transpose: bool) -> str:
        if not isinstance(x, Value):
            x = Value(w.constant(np.asarray(x, y.dtype)), np.shape(x), y.dtype)
        return w.to(Value(x.name, x.shape, x.dtype, (*x.order[:-2], x.order[-1], x.order[-2])) if transpose else x)

    return Value(w.op("MatMul", turned(a, transpose_a), turned(b, transpose_b)), y.shape, y.dtype)


def _conv2d(
    w: Writer, y: SymbolicTensor, x: Value, kernel: Value, b: Any = None, strides: Any = (1, 1),
    padding: Any = "valid", dilation: Any = (1, 1), groups: int = 1, activation: str = "linear",
) -> Value:  # fmt: skip
    names = [w.image(x), w.to(kernel, (2, 3, 1, 0)), *([] if b is None else [_named(w, b, y.dtype)])]
    name = w.op("Conv", *names, group=groups, dilations=_pair(dilation),
                **_windows(kernel.shape[:2], strides, padding, dilation))  # fmt: skip
    return Value(_fused(w, name, activation, y.dtype), y.shape, y.dtype, CHANNELS_FIRST)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _windows(size: Any, strides: Any, padding: Any, dilation: Any = (1, 1)) -> dict[str, Any]:
    given = SimpleNamespace(strides=_pair(strides), padding=padding, dilation_rate=_pair(dilation))
    return window(given, _pair(size))


def _pool2d(kind: str) -> Callable[..., Value]:
    def write(
        w: Writer, y: SymbolicTensor, x: Value, pool_size: Any, strides: Any = None, padding: Any = "valid"
    ) -> Value:
        attributes = _windows(pool_size, pool_size if strides is None else strides, padding)
        return Value(w.op(kind, w.image(x), **attributes), y.shape, y.dtype, CHANNELS_FIRST)

    return write


def _global_pool2d(kind: str) -> Callable[..., Value]:
    return lambda w, y, x: Value(w.op("Flatten", w.op(kind, w.image(x)), axis=1), y.shape, y.dtype)


def _layernorm(w: Writer, y: SymbolicTensor, x: Value, gamma: Any, beta: Any, eps: float = 1e-3) -> Value:
    gamma = np.ones(x.shape[-1]) if gamma is None else gamma
    names = [_named(w, part, y.dtype) for part in (gamma, beta) if part is not None]
    return Value(w.op("LayerNormalization", w.to(x), *names, axis=-1, epsilon=eps), y.shape, y.dtype)


def _embedding(w: Writer, y: SymbolicTensor, ids: Any, table: Any) -> Value:
    return Value(w.op("Gather", _named(w, table, y.dtype), _named(w, ids, np.dtype(np.int64))), y.shape, y.dtype)


def _one_hot(w: Writer, y: SymbolicTensor, ids: Value, depth: int, dtype: Any = FLOAT32) -> Value:
    places = w.constant(np.arange(depth, dtype=np.int64))  # ONNX's OneHot takes an id of −1 for the last place
    name = w.op("Equal", w.op("Unsqueeze", _named(w, ids, np.dtype(np.int64)), w.ints(-1)), places)
    return Value(_cast(w, name, np.dtype(bool), y.dtype), y.shape, y.dtype)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "abs": _unary(_op("Abs")),
    "add": _binary("Add"),
    "argmax": _argmax,
    "avg_pool2d": _pool2d("AveragePool"),
    "broadcast_to": _broadcast_to,
    "cast": _cast_to,
    "clip": _clip,
    "concatenate": _concatenate,
    "conv2d": _conv2d,
    "cos": _unary(_op("Cos")),
    "divide": _binary("Div"),
    "elu": _elu,
    "embedding": _embedding,
    "equal": _comparison("Equal"),
    "exp": _unary(_op("Exp")),
    "expand_dims": _places("Unsqueeze"),
    "flatten": _flatten,
    "flip": _flip,
    "gelu": _gelu,
    "getitem": _getitem,
    "global_avg_pool2d": _global_pool2d("GlobalAveragePool"),
    "global_max_pool2d": _global_pool2d("GlobalMaxPool"),
    "greater": _comparison("Greater"),
    "greater_equal": _comparison("GreaterOrEqual"),
    "layernorm": _layernorm,
    "leaky_relu": _leaky_relu,
    "less": _comparison("Less"),
    "less_equal": _comparison("LessOrEqual"),
    "linear": _linear,
    "log": _unary(_op("Log")),
    "log_softmax": _softmax("LogSoftmax"),
    "matmul": _matmul,
    "max": _reduction("ReduceMax"),
    "max_pool2d": _pool2d("MaxPool"),
    "maximum": _binary("Max"),
    "mean": _reduction("ReduceMean"),
    "min": _reduction("ReduceMin"),
    "minimum": _binary("Min"),
    "multiply": _binary("Mul"),
    "neg": _unary(_op("Neg")),
    "not_equal": _comparison("Equal", negated=True),
    "one_hot": _one_hot,
    "pad": _pad,
    "power": _binary("Pow"),
    "prelu": _prelu,
    "reciprocal": _unary(_op("Reciprocal")),
    "reshape": _reshape,
    "sign": _unary(_op("Sign")),
    "sin": _unary(_op("Sin")),
    "softmax": _softmax("Softmax"),
    "sqrt": _unary(_op("Sqrt")),
    "square": _unary(lambda w, x, t: w.op("Mul", x, x)),
    "squeeze": _places("Squeeze"),
    "stack": _stack,
    "step": _unary(ACTIVATIONS["step"]),
    "subtract": _binary("Sub"),
    "sum": _reduction("ReduceSum"),
    "transpose": _transpose,
    "where": _where,
    **{
        name: _unary(ACTIVATIONS[name])
        for name in ("relu", "relu6", "sigmoid", "tanh", "selu", "exponential", "softplus", "softsign", "silu",
                     "hard_sigmoid")
    },
}  # fmt: skip
