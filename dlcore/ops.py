"""Keras's `ops`, and the functions of `dlcore.functional`, on plain arrays, tensors and symbolic tensors alike.

`dlcore.ops.conv2d(x, w)` needs no model and no tensor: arrays of any library that NumPy can read (and nested lists) go
in, NumPy arrays come out, and nothing is recorded for a gradient. Where an argument is a `Tensor`, and anywhere within
the `call` of a layer, tensors come out, with their gradients; of symbolic tensors, symbolic ones. What makes something
out of nothing (`zeros`, `arange`) gives tensors.

Names, arguments and results are those of `keras.ops` wherever Keras has the name; all of it is made of the functions of
`dlcore.functional`.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from . import functional, losses, symbolic
from . import functional as F
from .backends.registry import current
from .functional.arguments import checked_ids, lengths_of
from .layers import base as layer_base
from .tensor import Tensor, as_tensor, no_grad

Function = TypeVar("Function", bound=Callable)


def _on_arrays(function: Function) -> Function:
    """The function, with plain arrays as results where it is given nothing else."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if layer_base._scope.depth or builtins.any(
            isinstance(leaf, (Tensor, symbolic.SymbolicTensor)) for leaf in symbolic.flatten((args, kwargs))
        ):
            return function(*args, **kwargs)
        with no_grad():
            return symbolic.map_structure(
                lambda y: y.numpy() if isinstance(y, Tensor) else y, function(*args, **kwargs)
            )

    call.__module__ = __name__
    return call  # type: ignore[return-value]


def _leaf(x: Any) -> Any:
    return x if isinstance(x, (Tensor, symbolic.SymbolicTensor)) else as_tensor(x)


def _place(axis: int, x: Any) -> int:
    rank = len(x.shape)
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {rank} axes")
    return axis % rank


# ---- making tensors -------------------------------------------------------------------------------------------------


def convert_to_tensor(x: Any, dtype: Any = None) -> Any:
    """x as a tensor, of another dtype if one is given."""
    return _leaf(x) if dtype is None else F.cast(_leaf(x), dtype)


array = convert_to_tensor


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values as a NumPy array of their own."""
    return np.array(x.numpy() if isinstance(x, Tensor) else x)


def zeros(shape: Any, dtype: Any = "float32") -> Tensor:
    """A tensor of zeros."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = "float32") -> Tensor:
    """A tensor of ones."""
    return full(shape, 1, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = "float32") -> Tensor:
    """A tensor of one value."""
    shape = lengths_of("full", shape)
    return Tensor(np.full(shape, fill_value, "float32" if dtype is None else dtype))


def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros of the shape of x, and of its dtype unless one is given."""
    return full_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones of the shape of x, and of its dtype unless one is given."""
    return full_like(x, 1, dtype)


def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    """One value in the shape of x, and in its dtype unless one is given."""
    x = _leaf(x)
    return full(x.shape, fill_value, dtype or x.dtype)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = "float32") -> Tensor:
    """`[N, M]` with ones on the k-th diagonal."""
    return Tensor(np.eye(N, M, k, "float32" if dtype is None else dtype))


def identity(n: int, dtype: Any = "float32") -> Tensor:
    """The unit matrix `[n, n]`."""
    return eye(n, dtype=dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """Numbers from start to before stop; int32 (int64 where they need it) if all are whole, float32 otherwise.

    Raises:
        ValueError: step is 0.
    """
    if step == 0:
        raise ValueError("arange: step must not be 0")
    values = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    whole = "int32" if values.size == 0 or np.abs(values[[0, -1]]).max() < 1 << 31 else "int64"
    return Tensor(values.astype(dtype or ("float32" if values.dtype.kind == "f" else whole)))


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: Any = None) -> Tensor:
    """num numbers at equal distances, from start to stop."""
    return Tensor(np.linspace(start, stop, num, endpoint).astype(dtype or "float32"))


# ---- asking ---------------------------------------------------------------------------------------------------------


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor that has values."""
    return isinstance(x, Tensor)


def shape(x: Any) -> tuple[int | None, ...]:
    """The lengths of x; None where a symbolic tensor leaves one open."""
    return tuple(_leaf(x).shape)


def ndim(x: Any) -> int:
    """The number of axes of x."""
    return len(_leaf(x).shape)


def size(x: Any) -> int:
    """The number of elements of x."""
    return math.prod(_leaf(x).shape)


# ---- element by element ---------------------------------------------------------------------------------------------


@_on_arrays
def absolute(x: Any) -> Any:
    """|x|."""
    return F.abs(x)


@_on_arrays
def negative(x: Any) -> Any:
    """−x."""
    return F.neg(x)


@_on_arrays
def true_divide(x1: Any, x2: Any) -> Any:
    """x1 / x2."""
    return F.divide(x1, x2)


@_on_arrays
def rsqrt(x: Any) -> Any:
    """1 / √x."""
    return F.reciprocal(F.sqrt(x))


@_on_arrays
def log1p(x: Any) -> Any:
    """log(1 + x)."""
    x = _leaf(x)
    u = F.add(x, 1.0)
    lost = F.divide(F.subtract(x, F.subtract(u, 1.0)), u)  # what rounding took from x, in the result
    return F.add(F.log(u), stop_gradient(F.where(F.less(F.abs(x), 0.5), lost, 0.0)))


@_on_arrays
def log2(x: Any) -> Any:
    """The logarithm to base 2."""
    return F.divide(F.log(x), math.log(2.0))


@_on_arrays
def log10(x: Any) -> Any:
    """The logarithm to base 10."""
    return F.divide(F.log(x), math.log(10.0))


@_on_arrays
def expm1(x: Any) -> Any:
    """eˣ − 1."""
    x = _leaf(x)
    e = F.exp(x)
    plain = F.subtract(e, 1.0)  # which cancels where x is small
    exact = F.multiply(F.tanh(F.multiply(x, 0.5)), F.add(e, 1.0))
    return F.add(plain, stop_gradient(F.where(F.less(F.abs(x), 0.5), F.subtract(exact, plain), 0.0)))


@_on_arrays
def tan(x: Any) -> Any:
    """sin x / cos x."""
    return F.divide(F.sin(x), F.cos(x))


@_on_arrays
def sinh(x: Any) -> Any:
    """(eˣ − e⁻ˣ) / 2."""
    up, down = _halves(x)
    return F.multiply(F.subtract(up, down), F.add(F.multiply(F.add(up, down), 0.5), 1.0))


@_on_arrays
def cosh(x: Any) -> Any:
    """(eˣ + e⁻ˣ) / 2."""
    up, down = _halves(x)
    distance = F.subtract(up, down)
    return F.add(F.multiply(distance, F.multiply(distance, 0.5)), 1.0)


def _halves(x: Any) -> tuple[Any, Any]:
    """e^(x/2) − 1 and e^(−x/2) − 1: what is made of them is as large as it can be, and exact where x is small."""
    half = F.multiply(_leaf(x), 0.5)
    return expm1(half), expm1(F.neg(half))


@_on_arrays
def logaddexp(x1: Any, x2: Any) -> Any:
    """log(e^x1 + e^x2)."""
    distance = F.where(F.equal(x1, x2), 0.0, F.subtract(x1, x2))  # 0 between infinities, too
    return F.add(F.maximum(x1, x2), F.softplus(F.neg(F.abs(distance))))


@_on_arrays
def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where condition holds, else x2. Raises ValueError where one of them is missing."""
    if x1 is None or x2 is None:
        raise ValueError("where: x1 and x2 must both be given; for the places alone, numpy.nonzero")
    return F.where(condition, x1, x2)


@_on_arrays
def logical_not(x: Any) -> Any:
    """Whether x is 0 or False."""
    return F.equal(x, 0)


@_on_arrays
def logical_and(x1: Any, x2: Any) -> Any:
    """Whether neither is 0 or False."""
    return F.not_equal(F.multiply(F.not_equal(x1, 0), F.not_equal(x2, 0)), 0)


@_on_arrays
def logical_or(x1: Any, x2: Any) -> Any:
    """Whether one or both are other than 0 and False."""
    return F.not_equal(F.add(F.not_equal(x1, 0), F.not_equal(x2, 0)), 0)


@_on_arrays
def logical_xor(x1: Any, x2: Any) -> Any:
    """Whether exactly one is other than 0 and False."""
    return F.not_equal(F.not_equal(x1, 0), F.not_equal(x2, 0))


@_on_arrays
def isnan(x: Any) -> Any:
    """Where x is no number."""
    return F.not_equal(x, x)


@_on_arrays
def isinf(x: Any) -> Any:
    """Where x is ∞ or −∞."""
    return F.equal(F.abs(x), math.inf)


@_on_arrays
def isfinite(x: Any) -> Any:
    """Where x is a number other than ±∞."""
    return F.less(F.abs(x), math.inf)


# ---- sums, means and extremes ---------------------------------------------------------------------------------------


@_on_arrays
def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest over axis."""
    return F.max(x, axis, keepdims)


@_on_arrays
def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Smallest over axis."""
    return F.min(x, axis, keepdims)


@_on_arrays
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """First place of the largest element along axis, of all elements where axis is None."""
    x = _leaf(x)
    if axis is None:
        return F.reshape(F.argmax(F.reshape(x, (-1,))), (1,) * len(x.shape) if keepdims else ())
    places = F.argmax(x, axis)
    return F.expand_dims(places, axis) if keepdims else places


@_on_arrays
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """First place of the smallest element, as `argmax`."""
    return argmax(F.neg(x), axis, keepdims)


@_on_arrays
def average(x: Any, axis: int | None = None, weights: Any = None) -> Any:
    """The mean, or Σ w·x / Σ w; weights of one axis belong to that axis of x."""
    if weights is None:
        return F.mean(x, axis)
    x, weights = _leaf(x), _leaf(weights)
    if len(weights.shape) == 1 < len(x.shape) and axis is not None:
        weights = F.reshape(weights, [-1 if i == _place(axis, x) else 1 for i in range(len(x.shape))])
    weights = F.add(F.cast(F.less(x, x), x.dtype), weights)  # of the shape of x
    return F.divide(F.sum(F.multiply(x, weights), axis), F.sum(weights, axis))


@_on_arrays
def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Mean of the squared distances from the mean."""
    return F.mean(F.square(F.subtract(x, F.mean(x, axis, keepdims=True))), axis, keepdims)


@_on_arrays
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Square root of `var`; the gradient where it is 0 is 0."""
    return _root(var(_leaf(x), axis, keepdims))


def _root(x: Any) -> Any:
    """√x with the gradient 0 at 0."""
    zero = F.equal(x, 0)
    return F.where(zero, 0.0, F.sqrt(F.where(zero, 1.0, x)))


@_on_arrays
def moments(x: Any, axes: Any, keepdims: bool = False) -> Any:
    """(mean, variance) over axes."""
    return F.mean(x, axes, keepdims), var(_leaf(x), axes, keepdims)


@_on_arrays
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log Σ eˣ."""
    largest = stop_gradient(F.max(x, axis, keepdims=True))
    largest = F.where(F.less(F.abs(largest), math.inf), largest, 0.0)
    total = F.add(F.log(F.sum(F.exp(F.subtract(x, largest)), axis, keepdims=True)), largest)
    return total if keepdims else F.squeeze(total, axis)


@_on_arrays
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether one element is other than 0 and False."""
    return F.greater(count_nonzero(_leaf(x), axis, keepdims), 0)


@_on_arrays
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether no element is 0 or False."""
    return F.equal(F.sum(F.equal(x, 0), axis, keepdims), 0)


@_on_arrays
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements are other than 0 and False."""
    return F.sum(F.not_equal(x, 0), axis, keepdims)


@_on_arrays
def cumsum(x: Any, axis: int | None = None) -> Any:
    """Sums of the elements up to each; bools are counted as int32. Raises ValueError for an axis of unknown length."""
    x = _leaf(x)
    if axis is None:
        x, axis = F.reshape(x, (-1,)), 0
    place = _place(axis, x)
    length = x.shape[place]
    if length is None:
        raise ValueError(f"cumsum: axis {axis} of x must have a known length, got shape {tuple(x.shape)}")
    if x.dtype == np.bool_:
        x = F.cast(x, "int32")
    before = (builtins.slice(None),) * place
    step = 1
    while step < length:  # each holds the sum of so many up to it
        first, rest = F.getitem(x, (*before, builtins.slice(step))), F.getitem(x, (*before, builtins.slice(step, None)))
        sums = F.add(rest, F.getitem(x, (*before, builtins.slice(length - step))))
        x = F.concatenate([first, sums], place)
        step *= 2
    return x


@_on_arrays
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """√Σ x² over axis, or with ord 1 and infinity Σ |x| and the largest |x|. Where it is 0 its gradient is 0.

    Raises:
        ValueError: another ord, or one for a whole matrix.
    """
    x = _leaf(x)
    several = len(x.shape) > 1 if axis is None else not isinstance(axis, int)
    if ord is None or (ord in (2, "fro") and several == (ord == "fro")):
        return _root(F.sum(F.square(x), axis, keepdims))
    if ord not in (1, math.inf) or several:
        raise ValueError(f"norm: ord must be None, 1, 2 or infinity for vectors, None or 'fro' for matrices, got {ord}")
    return F.sum(F.abs(x), axis, keepdims) if ord == 1 else F.max(F.abs(x), axis, keepdims)


@_on_arrays
def normalize(x: Any, axis: Any = -1, order: Any = 2, epsilon: float | None = None) -> Any:
    """x over its norm along axis, which counts as epsilon at least."""
    return F.divide(
        x, F.maximum(norm(_leaf(x), order, axis, keepdims=True), losses.EPSILON if epsilon is None else epsilon)
    )


# ---- moving elements ------------------------------------------------------------------------------------------------


@_on_arrays
def reshape(x: Any, newshape: Any) -> Any:
    """The same elements in another shape, one length of which may be −1."""
    return F.reshape(x, newshape)


@_on_arrays
def ravel(x: Any) -> Any:
    """All elements in one row."""
    return F.reshape(x, (-1,))


@_on_arrays
def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """The tensors one after the other along axis."""
    return F.concatenate(list(xs), axis)


@_on_arrays
def vstack(xs: Sequence[Any]) -> Any:
    """The tensors below each other; vectors are rows."""
    return F.concatenate([F.reshape(x, (1, -1)) if len(x.shape) < 2 else x for x in map(_leaf, xs)], 0)


@_on_arrays
def hstack(xs: Sequence[Any]) -> Any:
    """The tensors beside each other, vectors one after the other."""
    leaves = [x if x.shape else F.reshape(x, (1,)) for x in map(_leaf, xs)]
    return F.concatenate(leaves, 1 if leaves and len(leaves[0].shape) > 1 else 0)


@_on_arrays
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of equal parts along axis, as many as the number says, or parts that begin at these places.

    Raises:
        ValueError: x cannot be divided into parts of one length.
    """
    x = _leaf(x)
    place = _place(axis, x)
    length = x.shape[place]
    if isinstance(indices_or_sections, (int, np.integer)):
        if length is None or indices_or_sections < 1 or length % indices_or_sections:
            raise ValueError(f"split: axis {axis} of length {length} has no {indices_or_sections} parts of one length")
        starts = [i * (length // indices_or_sections) for i in range(indices_or_sections)]
    else:
        starts = [0, *(int(i) for i in indices_or_sections)]
    ends = [*starts[1:], length]
    before = (builtins.slice(None),) * place
    return [F.getitem(x, (*before, builtins.slice(a, b))) for a, b in zip(starts, ends, strict=True)]


@_on_arrays
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """The list of what lies along axis, without it. Raises ValueError if num is given and not the axis's length."""
    x = _leaf(x)
    place = _place(axis, x)
    length = x.shape[place] if num is None or x.shape[place] is not None else num
    if num not in (None, length):
        raise ValueError(f"unstack: num must be the length {length} of axis {axis}, got {num}")
    return [F.getitem(x, (*(builtins.slice(None),) * place, i)) for i in range(length)]


@_on_arrays
def tile(x: Any, repeats: Any) -> Any:
    """x over again, as often along each axis as repeats says. Raises ValueError for a negative number."""
    x = _leaf(x)
    counts = [repeats] if isinstance(repeats, (int, np.integer)) else [int(n) for n in repeats]
    if builtins.any(n < 0 for n in counts):
        raise ValueError(f"tile: repeats must not be negative, got {repeats!r}")
    while len(x.shape) < len(counts):
        x = F.expand_dims(x, 0)
    for axis, count in enumerate(counts, len(x.shape) - len(counts)):
        if count == 0:
            x = F.getitem(x, (*(builtins.slice(None),) * axis, builtins.slice(0)))
        elif count != 1:
            x = F.concatenate([x] * count, axis)
    return x


@_on_arrays
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element repeats times along axis, or as often as the number at its place in a list says.

    Raises:
        ValueError: a number is negative, or a list has not one for each element.
    """
    x = _leaf(x)
    if axis is None:
        x, axis = F.reshape(x, (-1,)), 0
    place = _place(axis, x)
    if np.min(repeats, initial=0) < 0:
        raise ValueError(f"repeat: repeats must not be negative, got {repeats!r}")
    if not isinstance(repeats, (int, np.integer)):
        if len(repeats) != x.shape[place]:
            raise ValueError(f"repeat: repeats must be one number or {x.shape[place]}, got {len(repeats)}")
        return take(x, np.repeat(np.arange(len(repeats)), repeats), place)
    if repeats == 0:
        return F.getitem(x, (*(builtins.slice(None),) * place, builtins.slice(0)))
    lengths = [-1 if n is None else n for n in x.shape]
    lengths[place] = -1 if lengths[place] == -1 else lengths[place] * repeats
    return F.reshape(F.stack([x] * repeats, place + 1), lengths)


@_on_arrays
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """x with two axes in each other's place."""
    x = _leaf(x)
    order = list(range(len(x.shape)))
    a, b = _place(axis1, x), _place(axis2, x)
    order[a], order[b] = b, a
    return F.transpose(x, order)


@_on_arrays
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """x with an axis, or several, in another place. Raises ValueError unless there are as many places as axes."""
    x = _leaf(x)
    sources, places = (
        [_place(a, x) for a in (axes if isinstance(axes, (tuple, list)) else [axes])] for axes in (source, destination)
    )
    if not len(sources) == len(places) == len(set(sources)) == len(set(places)):
        raise ValueError(f"moveaxis: source and destination must name as many axes, got {source!r} and {destination!r}")
    order = [i for i in range(len(x.shape)) if i not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return F.transpose(x, order)


@_on_arrays
def roll(x: Any, shift: int, axis: int | None = None) -> Any:
    """x moved on along axis; what leaves at one end comes in at the other."""
    x = _leaf(x)
    if axis is None:
        return F.reshape(roll(F.reshape(x, (-1,)), shift, 0), x.shape)
    place = _place(axis, x)
    if x.shape[place] == 0:
        return x
    before, cut = (builtins.slice(None),) * place, -shift % x.shape[place]
    return F.concatenate(
        [F.getitem(x, (*before, builtins.slice(cut, None))), F.getitem(x, (*before, builtins.slice(0, cut)))], place
    )


@_on_arrays
def slice(inputs: Any, start_indices: Any, shape: Any) -> Any:
    """The part of this shape that begins at start_indices."""
    return F.getitem(inputs, tuple(builtins.slice(a, a + n) for a, n in zip(start_indices, shape, strict=True)))


@_on_arrays
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The elements of x at these places along axis, of all its elements in a row where axis is None.

    Raises:
        ValueError: a place is out of range.
    """
    x = _leaf(x)
    if axis is None:
        x, axis = F.reshape(x, (-1,)), 0
    place = _place(axis, x)
    front = moveaxis(x, place, 0)
    count, *rest = front.shape
    indices = _from_front("take", indices, count)
    kept = x.dtype.kind == "f"
    table = F.reshape(front if kept else F.cast(front, "float64"), (count, -1 if count else math.prod(rest)))
    rows = F.embedding(indices, table) if kept else F.cast(F.embedding(indices, table), x.dtype)
    taken = F.reshape(rows, (*indices.shape, *rest))
    order = [i + len(indices.shape) for i in range(place)] + list(range(len(indices.shape)))
    return F.transpose(taken, order + list(range(len(order), len(taken.shape))))


def _from_front(name: str, indices: Any, length: int) -> Any:
    """Places along an axis, negative ones counted from its end. Raises ValueError if one is out of range."""
    indices = F.cast(_leaf(indices), "int64")
    negative = F.where(F.less(indices, -length), indices, F.add(indices, length))
    indices = F.where(F.less(indices, 0), negative, indices)
    if isinstance(indices, Tensor):
        checked_ids(name, current(), indices.data, "indices", length, f"the axis has length {length}")
    return indices


@_on_arrays
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """One element of x for each of the places, which have the shape of x but for axis.

    Raises:
        ValueError: a place is out of range.
    """
    x, indices = _leaf(x), _leaf(indices)
    if axis is None:
        x, indices, axis = F.reshape(x, (-1,)), F.reshape(indices, (-1,)), 0
    x, indices = moveaxis(x, axis, -1), moveaxis(indices, axis, -1)
    indices = _from_front("take_along_axis", indices, x.shape[-1])
    chosen = F.where(F.one_hot(indices, x.shape[-1]), F.expand_dims(x, -2), 0)
    return moveaxis(F.cast(F.sum(chosen, -1), x.dtype), -1, axis)


@_on_arrays
def tril(x: Any, k: int = 0) -> Any:
    """x with zeros above the k-th diagonal of its last two axes."""
    x = _leaf(x)
    return F.cast(F.where(np.tril(np.ones(x.shape[-2:], bool), k), x, 0), x.dtype)


@_on_arrays
def triu(x: Any, k: int = 0) -> Any:
    """x with zeros below the k-th diagonal of its last two axes."""
    x = _leaf(x)
    return F.cast(F.where(np.triu(np.ones(x.shape[-2:], bool), k), x, 0), x.dtype)


@_on_arrays
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float | None = None) -> Any:
    """x with a border; pad_width: an int, or (before, after) for all axes or for each. Only a constant border."""
    if mode != "constant":
        raise ValueError(f"pad: mode must be 'constant', got {mode!r}")
    x = _leaf(x)
    if not isinstance(pad_width, int):
        pairs = [tuple(int(n) for n in pair) for pair in np.broadcast_to(pad_width, (len(x.shape), 2))]
        pad_width = pairs
    return F.pad(x, pad_width, constant_values or 0.0)


# ---- products -------------------------------------------------------------------------------------------------------


@_on_arrays
def matmul(x1: Any, x2: Any) -> Any:
    """Matrix product over the last two axes, the leading ones broadcast."""
    return F.matmul(x1, x2)


@_on_arrays
def outer(x1: Any, x2: Any) -> Any:
    """Every element of x1 times every element of x2."""
    return F.multiply(F.reshape(x1, (-1, 1)), F.reshape(x2, (1, -1)))


@_on_arrays
def dot(x1: Any, x2: Any) -> Any:
    """Σ over the last axis of x1 and the last but one (of vectors, the only one) of x2."""
    x1, x2 = _leaf(x1), _leaf(x2)
    if not x1.shape or not x2.shape:
        return F.multiply(x1, x2)
    if len(x2.shape) <= 2:
        return F.matmul(x1, x2)
    return tensordot(x1, x2, ([len(x1.shape) - 1], [len(x2.shape) - 2]))


@_on_arrays
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Σ over axes of both: so many last ones of x1 and first ones of x2, or a list for each.

    Raises:
        ValueError: their lengths differ.
    """
    x1, x2 = _leaf(x1), _leaf(x2)
    if isinstance(axes, int):
        if not 0 <= axes <= builtins.min(len(x1.shape), len(x2.shape)):
            raise ValueError(f"tensordot: axes must not exceed the ranks of {x1.shape} and {x2.shape}, got {axes}")
        axes = list(range(len(x1.shape) - axes, len(x1.shape))), list(range(axes))
    first, second = ([a] if isinstance(a, int) else list(a) for a in axes)
    first, second = [_place(a, x1) for a in first], [_place(a, x2) for a in second]
    if [x1.shape[a] for a in first] != [x2.shape[a] for a in second]:
        raise ValueError(f"tensordot: axes {axes} of shapes {x1.shape} and {x2.shape} differ in length")
    rows = [i for i in range(len(x1.shape)) if i not in first]
    columns = [i for i in range(len(x2.shape)) if i not in second]
    inner = math.prod(x1.shape[a] for a in first)
    left = F.reshape(F.transpose(x1, rows + first), (-1, inner))
    right = F.reshape(F.transpose(x2, second + columns), (inner, -1))
    return F.reshape(F.matmul(left, right), [x1.shape[i] for i in rows] + [x2.shape[i] for i in columns])


# ---- neural networks ------------------------------------------------------------------------------------------------


@_on_arrays
def stop_gradient(variable: Any) -> Any:
    """The values, through which no gradient travels back."""
    return F.stop_gradient(variable)


@_on_arrays
def gelu(x: Any, approximate: bool = True) -> Any:
    """x · Φ(x), Φ the normal distribution function; approximate: its form with tanh."""
    return F.gelu(x, approximate)


@_on_arrays
def swish(x: Any) -> Any:
    """x · sigmoid(x)."""
    return F.silu(x)


@_on_arrays
def log_sigmoid(x: Any) -> Any:
    """log sigmoid(x)."""
    return F.neg(F.softplus(F.neg(x)))


@_on_arrays
def hard_silu(x: Any) -> Any:
    """x · hard_sigmoid(x)."""
    return F.multiply(x, F.hard_sigmoid(x))


hard_swish = hard_silu


@_on_arrays
def hard_tanh(x: Any) -> Any:
    """x kept within −1 … 1."""
    return F.clip(x, -1.0, 1.0)


@_on_arrays
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None) -> Any:
    """1 at each class and 0 elsewhere along a new axis; a class outside 0 … num_classes − 1 gives zeros."""
    x = _leaf(x)
    hot = F.one_hot(x if x.dtype.kind in "iu" else F.cast(x, "int64"), num_classes, dtype or "float32")
    return hot if axis == -1 else moveaxis(hot, -1, axis)


@_on_arrays
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """−t·log p − (1 − t)·log(1 − p) of each element."""
    return losses.binary_crossentropy(F.expand_dims(target, -1), F.expand_dims(output, -1), from_logits)


@_on_arrays
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """−Σ t·log p over axis; rows of probabilities are divided by their sums."""
    return losses.categorical_crossentropy(target, output, from_logits, axis=axis)


@_on_arrays
def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """−log p of the class that target names."""
    return losses.sparse_categorical_crossentropy(target, output, from_logits, axis=axis)


@_on_arrays
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Any:
    """(x − mean) / √(variance + epsilon) · scale + offset, each with one value per place along axis."""
    x = _leaf(x)
    lengths = [-1 if i == _place(axis, x) else 1 for i in range(len(x.shape))]
    mean, variance = F.reshape(mean, lengths), F.reshape(variance, lengths)
    y = F.divide(F.subtract(x, mean), F.sqrt(F.add(variance, epsilon)))
    if scale is not None:
        y = F.multiply(y, F.reshape(scale, lengths))
    return y if offset is None else F.add(y, F.reshape(offset, lengths))


@_on_arrays
def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: Any = None,
         dilation_rate: Any = 1) -> Any:  # fmt: skip
    """Cross-correlation of images `[N, H, W, C]` with a kernel `[kh, kw, C, K]`, or of series `[N, T, C]`."""
    inputs, kernel = _leaf(inputs), _leaf(kernel)
    inputs, restore = _as_images("conv", inputs, data_format)
    if restore:
        kernel = F.expand_dims(kernel, 0)
    groups = inputs.shape[-1] // kernel.shape[-2]
    y = F.conv2d(inputs, kernel, None, _both(strides, restore), padding, _both(dilation_rate, restore), groups)
    return F.squeeze(y, 1) if restore else y


@_on_arrays
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None) -> Any:
    """Largest of each window of images `[N, H, W, C]` or series `[N, T, C]`."""
    return _pooled("max_pool", F.max_pool2d, inputs, pool_size, strides, padding, data_format)


@_on_arrays
def average_pool(
    inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: Any = None
) -> Any:
    """Mean of each window of images `[N, H, W, C]` or series `[N, T, C]`."""
    return _pooled("average_pool", F.avg_pool2d, inputs, pool_size, strides, padding, data_format)


def _pooled(name: str, pool: Callable, inputs: Any, pool_size: Any, strides: Any, padding: str, layout: Any) -> Any:
    x, restore = _as_images(name, _leaf(inputs), layout)
    y = pool(x, _both(pool_size, restore), _both(pool_size if strides is None else strides, restore), padding)
    return F.squeeze(y, 1) if restore else y


def _as_images(name: str, x: Any, data_format: Any) -> tuple[Any, bool]:
    """Series as images of height 1, and whether they were series."""
    if data_format not in (None, "channels_last"):
        raise ValueError(f"{name}: data_format must be 'channels_last', got {data_format!r}")
    if len(x.shape) not in (3, 4):
        raise ValueError(f"{name}: inputs must have shape [N, H, W, C] or [N, T, C], got {tuple(x.shape)}")
    return (F.expand_dims(x, 1), True) if len(x.shape) == 3 else (x, False)


def _both(lengths: Any, series: bool) -> tuple[int, int]:
    count = 1 if series else 2
    values: tuple = (lengths,) * count if isinstance(lengths, (int, np.integer)) else tuple(lengths)
    if len(values) != count:
        raise ValueError(f"sizes, strides and dilation rates must be an int or {count}, got {lengths!r}")
    return (1, values[0]) if series else (values[0], values[1])


_OWN = [
    name
    for name, value in globals().items()
    if name[0] != "_" and callable(value) and getattr(value, "__module__", "") == __name__ and name != "Function"
]
globals().update({name: _on_arrays(getattr(functional, name)) for name in functional.__all__ if name not in _OWN})
__all__ = sorted({*_OWN, *functional.__all__})


def __getattr__(name: str) -> Any:
    from .absent import absent

    raise absent("ops", name, __all__)
