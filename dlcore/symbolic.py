"""Symbolic tensors: the shapes and dtypes from which the functional API builds a graph of layers.

`Input` makes the first one; a layer called on symbolic tensors works out its output's shape, notes the call as a
`Node` and returns symbolic tensors. Operators and the functions of `dlcore.functional` do the same through an
`Operation`, a layer without weights that names one such function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Shape = tuple[int | None, ...]


class Node:
    """One call of a layer: what it was given and what it gave.

    Attributes:
        layer: the layer called; an InputLayer's node has no arguments.
        args, kwargs: arguments of the call, symbolic tensors anywhere within lists, tuples and dicts.
        outputs: its symbolic outputs, nested as `call` returns them.
    """

    __slots__ = ("args", "kwargs", "layer", "outputs")

    def __init__(self, layer: Any, args: tuple, kwargs: dict[str, Any], outputs: Any) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        self.outputs = outputs
        for index, output in enumerate(flatten(outputs)):
            output.node = self
            output.index = index
        layer._nodes.append(self)

    # A copy or pickle of a graph lists its nodes, and these give tensors and layers their links back: were the links
    # followed, then a deep graph would exceed Python's recursion limit, and a layer would bring along every graph it is
    # part of.

    def __getstate__(self) -> tuple:
        return self.layer, self.args, self.kwargs, self.outputs

    def __setstate__(self, state: tuple) -> None:
        layer = state[0]
        known = layer._nodes.copy()
        Node.__init__(self, *state)
        if self in known:  # an input's, which it keeps
            layer._nodes.pop()

    @property
    def inputs(self) -> list[SymbolicTensor]:
        return [x for x in flatten((self.args, self.kwargs)) if isinstance(x, SymbolicTensor)]


class SymbolicTensor:
    """A tensor that has a shape and a dtype but no values yet.

    Attributes:
        shape: its lengths, None where they vary (the batch).
        dtype: NumPy dtype.
        name: for messages.
        node, index: the call that made it and its place among that call's outputs.
        masked: whether its values will carry a mask.
    """

    __slots__ = ("__weakref__", "dtype", "index", "masked", "name", "node", "shape")
    __array_ufunc__ = None  # so that `array + symbolic` comes to __radd__ here

    _count = 0

    def __init__(self, shape: Shape, dtype: Any = "float32", name: str | None = None) -> None:
        self.shape = tuple(None if n is None else int(n) for n in shape)
        self.dtype = np.dtype(dtype)
        if name is None:
            name = "symbolic_tensor" + (f"_{SymbolicTensor._count}" if SymbolicTensor._count else "")
            SymbolicTensor._count += 1
        self.name = name
        self.node: Node | None = None
        self.index = 0
        self.masked = False

    def __getstate__(self) -> tuple:
        return self.shape, self.dtype, self.name, self.index, self.masked

    def __setstate__(self, state: tuple) -> None:
        self.shape, self.dtype, self.name, self.index, self.masked = state
        self.node = None  # see Node

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}, dtype={self.dtype.name}, name={self.name}>"

    @staticmethod
    def _apply(function: Callable | str, *args: Any, **kwargs: Any) -> Any:
        """Note a call of a function of `dlcore.functional` (or of that name) as a layer of the graph."""
        from .layers.operation import Operation

        return Operation(function if isinstance(function, str) else function.__name__)(*args, **kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            f"{self!r} has no values: it stands for the input of a graph. Call a model built from it on data, or use "
            "functions of dlcore.functional instead of NumPy's"
        )

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} has no values, so that no condition can depend on it")

    def __len__(self) -> int:
        raise TypeError(f"{self!r} has no fixed length")

    def __iter__(self) -> Iterator:
        raise TypeError(f"{self!r} cannot be iterated over")

    def __add__(self, other: Any) -> Any:
        return self._apply("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._apply("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._apply("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._apply("divide", other, self)

    def __pow__(self, other: Any) -> Any:
        return self._apply("power", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._apply("power", other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._apply("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return self._apply("matmul", other, self)

    def __neg__(self) -> Any:
        return self._apply("neg", self)

    def __abs__(self) -> Any:
        return self._apply("abs", self)

    def __gt__(self, other: Any) -> Any:
        return self._apply("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return self._apply("greater_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return self._apply("less", self, other)

    def __le__(self, other: Any) -> Any:
        return self._apply("less_equal", self, other)

    def __getitem__(self, key: Any) -> Any:
        return self._apply("getitem", self, key)

    def reshape(self, *shape: Any) -> Any:
        return self._apply("reshape", self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: Any) -> Any:
        if not axes:
            return self._apply("transpose", self)
        return self._apply("transpose", self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self._apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self._apply("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self._apply("max", self, axis=axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self._apply("min", self, axis=axis, keepdims=keepdims)


def keys_of(structure: dict) -> list:
    """Keys of a dict in the order in which its leaves are counted: sorted, as Keras does, where they can be."""
    try:
        return sorted(structure)
    except TypeError:
        return list(structure)


def flatten(structure: Any) -> list:
    """The leaves of nested lists, tuples and dicts, in order; those of a dict in the order of its sorted keys."""
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in flatten(part)]
    if isinstance(structure, dict):
        return [leaf for key in keys_of(structure) for leaf in flatten(structure[key])]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same nesting of lists, tuples and dicts with `function` of each leaf, called in the order of `flatten`."""
    if isinstance(structure, tuple):
        parts = [map_structure(function, part) for part in structure]
        return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)
    if isinstance(structure, list):
        return [map_structure(function, part) for part in structure]
    if isinstance(structure, dict):
        mapped = {key: map_structure(function, structure[key]) for key in keys_of(structure)}
        return {key: mapped[key] for key in structure}
    return function(structure)


def is_shape(value: Any) -> bool:
    """Whether this is one shape rather than a nest of shapes."""
    return isinstance(value, (list, tuple)) and all(n is None or isinstance(n, (int, np.integer)) for n in value)


def map_shapes(function: Callable[[Shape], Any], shapes: Any) -> Any:
    """Like `map_structure` where the leaves are shapes."""
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        return {key: map_shapes(function, part) for key, part in shapes.items()}
    if isinstance(shapes, (list, tuple)):
        return type(shapes)(map_shapes(function, part) for part in shapes)
    return shapes
