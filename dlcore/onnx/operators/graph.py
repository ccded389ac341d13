"""What translators of operators work with: values of the ONNX graph, and an operator's call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from ... import functional as F
from ... import layers
from ...layers.base import Layer
from ..reading import MOST_ELEMENTS

VARIES = -(2**40)  # stands for a length that is not known, in shapes computed at load; see `varying`
CHANNELS_LAST = (0, 3, 1, 2)
REAL = (np.dtype(np.float32), np.dtype(np.float64))


class Unsupported(ValueError):
    """What an operator asks for has no counterpart here."""


class Value:
    """A value of the ONNX graph: an array, or a symbolic tensor of which axis order[i] is ONNX's axis i.

    After a Flatten in another order than ONNX's, column j there is column columns[j] here; `unflat` is from before.
    A constant of a size that is not known until the model runs is an array with length 1 along the axes `spread`.
    """

    __slots__ = ("array", "columns", "order", "spread", "tensor", "unflat")

    def __init__(self, tensor: Any = None, order: Any = None, array: np.ndarray | None = None) -> None:
        self.tensor = tensor
        self.array = array
        self.order = tuple(order) if order is not None else tuple(range(len(tensor.shape))) if array is None else ()
        self.columns: np.ndarray | None = None
        self.unflat: Value | None = None
        self.spread: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[Any, ...]:
        """ONNX's."""
        if self.array is not None:
            return tuple(None if i in self.spread else length for i, length in enumerate(self.array.shape))
        return tuple(self.tensor.shape[axis] for axis in self.order)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype if self.array is not None else self.tensor.dtype

    def to(self, order: tuple[int, ...] | None = None) -> Any:
        """The tensor with its axes in this order, ONNX's by default; a constant as an array."""
        if self.array is not None:
            if self.spread:
                raise Unsupported("a constant whose size is not known")
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
            layers.Permute(axes[1:], dtype=layer_dtype(self))(self.tensor)
            if axes[0] == 0
            else F.transpose(self.tensor, axes)
        )

    def flat(self) -> Value:
        """Itself, in ONNX's order if it comes from a Flatten in another."""
        return self if self.unflat is None else Value(self.to())

    def like(self, tensor: Any) -> Value:
        """A value of the same shape and order."""
        value = Value(tensor, self.order)
        value.columns = self.columns
        return value


class Node:
    """An operator's call: its inputs, attributes and what translators need to make layers of it."""

    def __init__(self, proto: NodeProto, inputs: list[Value | None], opset: int, name: Callable[[str], str]) -> None:
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

    def value(self, place: int = 0) -> Value:
        if not self.given(place):
            raise ValueError(f"input {place} is missing")
        value = self.inputs[place]
        assert value is not None
        return value

    def real(self, place: int = 0) -> Value:
        value = self.value(place)
        if value.dtype not in REAL:
            raise Unsupported(f"elements of type {value.dtype.name}")
        return value

    def number(self, place: int = 0) -> Value:
        """A value of floats or integers; the latter are computed in float64, exact below 2⁵³."""
        value = self.value(place)
        if value.dtype not in REAL and value.dtype.kind not in "iu":
            raise Unsupported(f"elements of type {value.dtype.name}")
        return value

    def truth(self, place: int = 0) -> Value:
        value = self.value(place)
        if value.dtype.kind != "b":
            raise Unsupported(f"elements of type {value.dtype.name} instead of bool")
        return value

    def constant(self, place: int, default: Any = None) -> Any:
        if not self.given(place):
            return default
        value = self.value(place)
        if value.array is None or value.spread:
            raise Unsupported(f"an input {place} that is computed rather than constant")
        self.refuse(varying(value.array), f"an input {place} that depends on a length that varies")
        return value.array

    def numbers(self, place: int, default: Any = None) -> Any:
        """A constant input as a list of ints."""
        array = self.constant(place)
        return default if array is None else [int(number) for number in array.ravel()]

    def lengths(self, place: int) -> list[int | None]:
        """A constant input that holds a shape; None for a length that is not known."""
        array = self.value(place).array
        if array is None:
            raise Unsupported("a shape that is computed rather than constant")
        found = [None if number == VARIES else int(number) for number in array.ravel()]
        self.refuse(varying(np.array([n for n in found if n is not None])), "a shape computed from one that varies")
        return found

    def axis(self, rank: int, default: int = -1) -> int:
        """The attribute `axis` as 0 … rank − 1."""
        axis = self.attribute("axis", default)
        if not -rank <= axis < rank:
            raise ValueError(f"axis must lie in {-rank} … {rank - 1}, got {axis}")
        return axis % rank

    def refuse(self, wrong: Any, what: str) -> None:
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


def limit_broadcast(values: list[Value]) -> None:
    """A ValueError where values broadcast against each other would fill the memory, or do not fit."""
    limit(np.broadcast_shapes(*(tuple(1 if m is None else m for m in v.shape) for v in values)))


def varying(array: np.ndarray) -> bool:
    """Whether a number in it was computed from a length that is not known: what is done to VARIES stays near it."""
    return array.dtype == np.int64 and bool(((array < -(2**36)) & (array > -(2**44))).any())


def layer_dtype(x: Value) -> str:
    return x.dtype.name if x.dtype in REAL else "float32"


def held(dtype: np.dtype) -> bool:
    """Whether tensors hold elements of this type."""
    return dtype in REAL or (dtype.kind in "biu" and dtype.name in np.sctypeDict)


def cast(x: Any, dtype: Any) -> Any:
    """A tensor or a constant array with other elements."""
    return x.astype(dtype) if isinstance(x, np.ndarray) else F.cast(x, np.dtype(dtype).name)


def limit(shape: Any, most: int = MOST_ELEMENTS) -> None:
    """A ValueError for a shape that would fill the memory."""
    if math.prod(length for length in shape if length) > most:
        raise ValueError(f"what it makes, of shape {list(shape)}, is too large: more than {most} elements")


def moved_last(axis: int, rank: int) -> tuple[int, ...]:
    """The order of axes in which this one lies last and the others keep their sequence."""
    return tuple(rank - 1 if i == axis else i - (i > axis) for i in range(rank))


def times(x: Value, axis: int, matrix: np.ndarray, plus: np.ndarray | None = None) -> Value:
    """x with its elements along an axis times a matrix [old length, new length], and something added to them."""
    order = moved_last(axis, len(x.shape))
    return Value(F.linear(x.to(order), matrix, plus), order)
