"""Tensor, Variable and the tape: reverse-mode differentiation over the backend's primitives.

A differentiable op (see `dlcore.functional`) computes its result and calls `record`, which notes where the result came
from and how a gradient travels back. `Tensor.backward` walks these notes in reverse order of creation, which is a
topological order, adds gradients up where a tensor was used more than once, and drops each note once it is used: the
arrays saved for the backward are freed while it runs.

Notes point to notes, not to tensors, so an intermediate array lives only as long as a backward needs it.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import numpy as np

from .backends.interface import Array, Backend
from .backends.registry import current, stand_in

__all__ = ["Tensor", "Variable", "as_tensor", "from_dlpack", "is_grad_enabled", "no_grad", "record", "record_pair"]

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
_KINDS = "biuf"  # bool, signed, unsigned, float
_HOST_MEMORY = (1, 3)  # kDLCPU and kDLCUDAHost

Backward = Callable[[Array], Sequence["Array | None"]]


class _Changes:
    """How often something has changed, anywhere: what was worked out before holds while the count stays."""

    weights = 0  # values of a Variable, in place
    attributes = 0  # attributes of a layer, a Variable, a loss or a regularizer


def weights_version() -> int:
    return _Changes.weights


def weights_changed() -> None:
    """Say that values of some Variable have changed in place."""
    _Changes.weights += 1


def attributes_version() -> int:
    return _Changes.attributes


def attribute_changed() -> None:
    """Say that such an attribute was set."""
    _Changes.attributes += 1


class Settings:
    """Base of what holds settings that a recorded step was made with: to set one anew is noticed.

    Attributes:
        changes: how often that was done.
    """

    changes = 0

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if name in state and state[name] is not value:
            state["changes"] = self.changes + 1
            attribute_changed()
        object.__setattr__(self, name, value)


class _Mode(threading.local):
    """What holds for the running thread."""

    recording = True
    quiet = 0  # how many no_grad are active
    seed: Array | None = None  # the gradient of 1 that a running backward() started from


_mode = _Mode()
_created = itertools.count()


class SymbolicArgument(TypeError):
    """A symbolic tensor was met where values are needed; the functions of `dlcore.functional` turn this into a node."""

    def __init__(self, tensor: Any) -> None:
        super().__init__(f"{tensor!r} has no values: call a model built from it on data instead")
        self.tensor = tensor


class Node:
    """One recorded op: the nodes or leaf tensors its inputs came from (None: no gradient wanted) and its backward."""

    __slots__ = ("backend", "backward", "grad", "inputs", "order", "owned", "takes_none")

    def __init__(self, inputs: tuple, backward: Backward, backend: Backend) -> None:
        self.inputs: tuple | None = inputs
        self.backward: Backward | None = backward
        self.backend = backend
        self.order = next(_created)
        self.grad: Array | None = None
        self.owned = False  # whether grad is an array of our own, which further gradients may be added to in place
        self.takes_none = False


class Tensor:
    """An array in the active engine's memory that may carry a gradient.

    Args:
        data: array, nested lists, Python number or Tensor. float32, float64, integer and bool arrays keep their dtype
            and, where they are C-contiguous already, their memory; Python numbers and lists of numbers become float32.
        requires_grad: whether `backward` shall leave a gradient in `.grad`.
        dtype: converts to it.

    Attributes:
        data: the array, C-contiguous.
        grad: gradient array of the same shape, or None. `backward` adds to it.
        logits: for the result of `functional.softmax` and `functional.sigmoid`, the tensor they were applied to;
            `logits_kind` says then which of the two.
        mask: bool or uint8 array of the time steps that count, where a layer noted one.

    Raises:
        TypeError: the data are not real numbers, or a gradient is asked for integers.
    """

    logits_kind: str
    __slots__ = ("__weakref__", "_node", "data", "grad", "logits", "logits_kind", "mask", "requires_grad")
    __array_ufunc__ = None  # so that `array + tensor` comes to __radd__ here

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        self.data: Array = _to_array(data, dtype)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"requires_grad: only float tensors have gradients, got dtype {self.data.dtype.name}")
        self.requires_grad = requires_grad
        self.grad: Array | None = None
        self.logits: Tensor | None = None
        self.mask: Array | None = None
        self._node: Node | None = None

    # ---- what it is ---------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def _keras_mask(self) -> Any:
        return self.mask

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    def __len__(self) -> int:
        if not self.data.ndim:
            raise TypeError("len() of a tensor of shape ()")
        return self.data.shape[0]

    def __repr__(self) -> str:
        name = type(self).__name__
        values = np.array2string(self._host(), separator=", ", prefix=f"{name}(", threshold=100, edgeitems=3)
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"{name}({values}, shape={self.shape}, dtype={self.dtype.name}{grad})"

    # ---- values on the host -------------------------------------------------------------------------------------

    def _host(self) -> np.ndarray:
        return current().to_numpy(self.data)

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array: the same memory on a CPU engine, a copy from a GPU."""
        return self._host()

    def item(self) -> Any:
        """The value of a tensor with one element as a Python number. Raises ValueError for any other size."""
        if self.data.size != 1:
            raise ValueError(f"item: the tensor must have one element, got shape {self.shape}")
        return self._host().item()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host = self._host()
        if dtype is not None and host.dtype != dtype:
            if copy is False:
                raise ValueError(
                    f"a tensor of dtype {host.dtype.name} cannot become {np.dtype(dtype).name} without a copy"
                )
            return host.astype(dtype)
        return host.copy() if copy else host

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """A capsule with its memory, by which `torch.from_dlpack` and others take it without a copy.

        The arguments are those of the array API standard, and what the engine's arrays make of them.
        """
        data = current().share(self.data)
        asked = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return data.__dlpack__(**{name: value for name, value in asked.items() if value is not None})

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ValueError(f"the truth of a tensor of shape {self.shape} is ambiguous: it must have one element")
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __copy__(self) -> Tensor:
        return type(self)(self.data, self.requires_grad)

    def __reduce__(self) -> tuple:
        if self._node is not None:
            raise TypeError("a tensor that is part of a graph cannot be copied or pickled; take .detach() of it")
        return type(self), (self._host().copy(), self.requires_grad)

    # ---- gradients ----------------------------------------------------------------------------------------------

    def backward(self, grad: Any = None) -> None:
        """Add the gradient of this tensor with respect to every leaf that requires one to the leaf's `.grad`.

        The graph is freed as it is walked: a second backward through any part of it needs a new forward.

        Args:
            grad: gradient with respect to this tensor, of its shape; 1 for a tensor with one element.

        Raises:
            RuntimeError: no gradient is recorded, or an earlier backward freed the graph.
            ValueError: grad is missing or has the wrong shape.
        """
        root = self._node
        if not self.requires_grad:
            raise RuntimeError(
                "backward: no gradient is recorded for this tensor: nothing it was computed from has "
                "requires_grad=True, or it was computed under no_grad()"
            )
        backend = current() if root is None else root.backend
        if grad is None:
            if self.data.size != 1:
                raise ValueError(
                    f"backward: grad is needed for a tensor of shape {self.shape}; reduce it to one value first"
                )
            seed = backend.empty((1,), self.data.dtype)
            backend.fill(seed, 1.0)
            start = seed.reshape(self.data.shape)
        else:
            start = _to_array(grad, self.data.dtype)
            if start.shape != self.data.shape:
                raise ValueError(f"backward: grad must have the tensor's shape {self.shape}, got {start.shape}")
        if root is None:
            _add_to_leaf(self, start, backend)
            return

        order = _reachable(root)
        root.grad = start
        _mode.seed = start if grad is None else None
        try:
            for node in order:
                if node.grad is not None or node.takes_none:
                    _propagate(node)
                node.inputs = node.backward = node.grad = None
        finally:
            _mode.seed = None
            for node in order:
                node.inputs = node.backward = node.grad = None

    def detach(self) -> Tensor:
        """A tensor with the same memory outside the graph."""
        return wrap(self.data)

    def zero_grad(self) -> None:
        """Fill `.grad` with zeros, in place."""
        if self.grad is not None:
            current().fill(self.grad, 0.0)

    # ---- ops ----------------------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return _functional.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _functional.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _functional.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _functional.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _functional.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _functional.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _functional.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _functional.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _functional.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _functional.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _functional.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _functional.matmul(other, self)

    def __neg__(self) -> Tensor:
        return _functional.neg(self)

    def __abs__(self) -> Tensor:
        return _functional.abs(self)

    def __gt__(self, other: Any) -> Tensor:
        return _functional.greater(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _functional.greater_equal(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return _functional.less(self, other)

    def __le__(self, other: Any) -> Tensor:
        return _functional.less_equal(self, other)

    def __eq__(self, other: Any) -> Any:
        """Equal elements; a tensor equals nothing else than numbers, arrays and tensors."""
        if other is None or isinstance(other, str):
            return NotImplemented
        return _functional.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        if other is None or isinstance(other, str):
            return NotImplemented
        return _functional.not_equal(self, other)

    __hash__ = object.__hash__  # sets and dicts go by identity

    def __getitem__(self, key: Any) -> Tensor:
        return _functional.getitem(self, key)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape, one length of which may be -1."""
        return _functional.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in the given order; reversed where none is given."""
        if not axes or axes[0] is None:
            return _functional.transpose(self)
        return _functional.transpose(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes)

    @property
    def T(self) -> Tensor:
        return _functional.transpose(self)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _functional.sum(self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _functional.mean(self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _functional.max(self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return _functional.min(self, axis, keepdims)


class Variable(Tensor):
    """A tensor that belongs to a layer or an optimizer and changes in place.

    Its values are a copy of those given; `assign` changes them. An optimizer moves `.data` and `.grad` into flat
    buffers of its own, so do not keep a reference to `.data` across that; and `predict` may have packed the values, so
    do not write into `.data` itself.

    Args:
        initializer: first values, as for Tensor; or an initializer, its name or a function of (shape, dtype).
        shape: of what an initializer makes.
        dtype: converts to it; float32 for an initializer.
        trainable: whether it takes part in training; the same thing as `requires_grad`.
        name: a short name such as "kernel".

    Raises:
        ValueError: an initializer without shape, or values with one that is not theirs.
    """

    is_shared = False  # another library may write its values at any time

    def __init__(
        self,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        if isinstance(initializer, str) or callable(initializer):
            from . import initializers

            if shape is None:
                raise ValueError(f"shape must be given with the initializer {initializer!r}")
            initializer = initializers.get(initializer)(tuple(shape), dtype=np.dtype(dtype or FLOAT32))
        super().__init__(initializer, trainable, dtype)
        if shape is not None and self.data.shape != tuple(shape):
            raise ValueError(f"shape must be that of the values, {self.data.shape}, got {tuple(shape)}")
        backend = current()
        own = backend.empty(self.data.shape, self.data.dtype)
        backend.copy(_at_least_1d(self.data), _at_least_1d(own))
        self.data = own
        self._engine: Backend = getattr(backend, "engine", backend)  # where copies of it shall be too
        self.name = name or "variable"
        self.path = self.name
        self.regularizer: Any = None
        self.constraint: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "grad":  # which comes and goes with every step
            attribute_changed()
        object.__setattr__(self, name, value)

    @property
    def trainable(self) -> bool:
        return self.requires_grad

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if value and self.data.dtype.kind != "f":
            raise TypeError(f"trainable: {self.path} has dtype {self.data.dtype.name}, which has no gradients")
        self.requires_grad = bool(value)

    @property
    def value(self) -> Variable:
        """Itself, which is a tensor."""
        return self

    def numpy(self) -> np.ndarray:
        """A copy of the values as a NumPy array: later updates in place do not change it."""
        return self._host().copy() if isinstance(self.data, np.ndarray) else self._host()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values, read-only where no copy is made: recorded steps keep packed weights, and `assign` tells them."""
        host = super().__array__(dtype, copy)
        if host is self.data:
            host = host.view()
            host.flags.writeable = False
        return host

    def __dlpack__(self, **asked: Any) -> Any:
        self.is_shared = True
        weights_changed()  # what has packed them must do without from now on
        return super().__dlpack__(**asked)

    def assign(self, value: Any) -> Variable:
        """Overwrite the values in place, converting the dtype. Raises ValueError if the shape differs."""
        source = _to_array(value, None)
        if source.shape != self.data.shape:
            raise ValueError(f"assign: {self.path} has shape {self.shape}, got a value of shape {source.shape}")
        current().copy(_at_least_1d(source), _at_least_1d(self.data))
        weights_changed()
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add to the values in place."""
        with no_grad():
            return self.assign(_functional.add(self, value))

    def assign_sub(self, value: Any) -> Variable:
        """Subtract from the values in place."""
        with no_grad():
            return self.assign(_functional.subtract(self, value))

    def __repr__(self) -> str:
        values = np.array2string(self._host(), separator=", ", prefix="Variable(", threshold=100, edgeitems=3)
        kind = "" if self.requires_grad else ", trainable=False"
        return f"Variable({values}, shape={self.shape}, dtype={self.dtype.name}, path={self.path!r}{kind})"

    def __copy__(self) -> Variable:
        twin = _variable_on(self._engine, self.data, self.requires_grad)
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict) -> Variable:
        twin = memo[id(self)] = _variable_on(self._engine, self.data, self.requires_grad)
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __reduce__(self) -> tuple:
        host = self._engine.to_numpy(self.data).copy()
        return _variable_on, (self._engine, host, self.requires_grad), self.__dict__.copy()


def _variable_on(engine: Backend, values: Array, trainable: bool) -> Variable:
    with stand_in(engine):
        return Variable(values, trainable=trainable)


class no_grad:
    """Context manager and decorator under which nothing is recorded for a backward; threads may share one."""

    __slots__ = ()

    def __enter__(self) -> None:
        _mode.quiet += 1
        _mode.recording = False

    def __exit__(self, *exception: object) -> None:
        _mode.quiet -= 1
        _mode.recording = _mode.quiet == 0

    def __call__(self, function: Callable) -> Callable:
        @wraps(function)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return quiet


def is_grad_enabled() -> bool:
    """Whether ops of this thread are recorded, i.e. no `no_grad` is active."""
    return _mode.recording


def as_tensor(x: Any) -> Tensor:
    """x itself if it is a Tensor, else a Tensor made from it."""
    return x if isinstance(x, Tensor) else wrap(_to_array(x, None))


def from_dlpack(x: Any) -> Tensor:
    """A Tensor over the memory of another library's array, by DLPack.

    It shares that memory, so that a change of either shows in both, where that is the active engine's kind (the host's,
    or for cupy the device's), writable and C-contiguous; otherwise (JAX's arrays cannot change) it holds a copy.

    Raises:
        TypeError: x does not speak DLPack, or its elements are of a type that tensors do not hold.
        BufferError: x lies in memory that the engine does not reach, or its library does not give it away.
    """
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: x must offer __dlpack__ and __dlpack_device__, got {type(x).__name__}")
    if _is_on_device(x):
        array = _device_array("from_dlpack: x", x)
    else:
        array = _given_away("from_dlpack: x", x, np.from_dlpack)
    return wrap(_to_array(array, None))


def wrap(data: Array) -> Tensor:
    """A Tensor around a C-contiguous array of the engine, unchecked."""
    tensor = _new(Tensor)
    tensor.data = data
    tensor.requires_grad = False
    tensor.grad = tensor.logits = tensor.mask = tensor._node = None
    return tensor


def record(data: Array, inputs: Sequence[Tensor | None], backward: Backward, backend: Backend | None = None) -> Tensor:
    """A Tensor around the result of an op of your own, put on the tape if any input requires a gradient.

    Args:
        data: the result, an array of the engine.
        inputs: the tensors it was computed from; None stands for an absent one.
        backward: takes the gradient with respect to data, which it must not change, and returns for each input its
            gradient (of the input's shape and dtype) or None. A gradient that does not fit raises ValueError.
        backend: the engine that computed it; the active one if not given.
    """
    expected = [None if x is None else (x.data.shape, x.data.dtype) for x in inputs]

    def checked(grad: Array) -> list[Array | None]:
        grads = backward(grad)
        if len(grads) != len(expected):
            raise ValueError(f"a backward must return one gradient per input: {len(expected)}, got {len(grads)}")
        return [_fitting(g, e) for g, e in zip(grads, expected, strict=True)]

    return on_tape(_to_array(data, None), inputs, checked, backend)


def on_tape(data: Array, inputs: Sequence[Tensor | None], backward: Backward, backend: Backend | None = None) -> Tensor:
    """`record` without its checks: data and gradients must be C-contiguous and fit."""
    result = _new(Tensor)
    result.data = data
    result.grad = result.logits = result.mask = result._node = None
    result.requires_grad = False
    if _mode.recording:
        for x in inputs:
            if x is not None and x.requires_grad:
                result.requires_grad = True
                result._node = Node(_origins(inputs), backward, backend or current())
                break
    return result


def record_pair(
    first: Array,
    second: Array,
    inputs: Sequence[Tensor | None],
    backward: Callable[[Array | None, Array | None], Sequence[Array | None]],
    backend: Backend,
) -> tuple[Tensor, Tensor]:
    """Like `on_tape` for an op with two results; backward takes both gradients, of which one may be None."""
    kept: list[Array | None] = [None]

    def of_first(grad: Array | None) -> Sequence[Array | None]:
        if grad is None and kept[0] is None:
            return (None,) * len(inputs)
        return backward(grad, kept[0])

    def of_second(grad: Array) -> Sequence[Array | None]:
        kept[0] = grad
        return (None,)

    a = on_tape(first, inputs, of_first, backend)
    if a._node is None:
        return a, wrap(second)
    a._node.takes_none = True
    return a, on_tape(second, (a,), of_second, backend)


def is_recording(*inputs: Tensor | None) -> bool:
    """Whether an op on these inputs would be put on the tape."""
    if _mode.recording:
        for x in inputs:
            if x is not None and x.requires_grad:
                return True
    return False


def is_seed(grad: Array) -> bool:
    """Whether this is the gradient of exactly 1 that the running backward started from."""
    return grad is _mode.seed


def parameter_gradients(backend: Backend, parameters: Sequence[Tensor | None]) -> tuple[list[Array | None], bool, bool]:
    """Arrays for a kernel to write parameter gradients to: (arrays, accumulate, returned).

    Where every parameter is a leaf that requires a gradient, these are the `.grad` buffers themselves, to be added to,
    and nothing is left for the tape to do. Otherwise they are new arrays (`returned`): the backward hands them on.
    """
    for p in parameters:
        if p is not None and (p._node is not None or not p.requires_grad):
            return [None if q is None else backend.empty(q.data.shape, q.data.dtype) for q in parameters], False, True
    arrays: list[Array | None] = []
    for p in parameters:
        if p is None:
            arrays.append(None)
            continue
        grad = _buffer(p)
        if grad is None:
            grad = p.grad = backend.zeros(p.data.shape, p.data.dtype)
        arrays.append(grad)
    return arrays, True, False


def _origins(inputs: Sequence[Tensor | None]) -> tuple:
    return tuple([None if x is None or not x.requires_grad else x._node or x for x in inputs])


def _reachable(root: Node) -> list[Node]:
    """Every node that root depends on, the youngest first."""
    seen = {root}
    stack = [root]
    while stack:
        inputs = stack.pop().inputs
        if inputs is None:
            raise RuntimeError(
                "backward: an earlier backward() went through this graph and freed it; run the forward again, or add "
                "the losses up and call backward() once"
            )
        for origin in inputs:
            if type(origin) is Node and origin not in seen:
                seen.add(origin)
                stack.append(origin)
    return sorted(seen, key=_order, reverse=True)


def _order(node: Node) -> int:
    return node.order


def _propagate(node: Node) -> None:
    for origin, grad in zip(node.inputs, node.backward(node.grad), strict=True):
        if grad is None or origin is None:
            continue
        if type(origin) is not Node:
            _add_to_leaf(origin, grad, node.backend)
        elif origin.grad is None:
            origin.grad = grad
        elif origin.owned:
            _add(node.backend, origin.grad, grad, origin.grad)
        else:
            total = node.backend.empty(grad.shape, grad.dtype)
            _add(node.backend, origin.grad, grad, total)
            origin.grad = total
            origin.owned = True


def _add_to_leaf(leaf: Tensor, grad: Array, backend: Backend) -> None:
    buffer = _buffer(leaf)
    if buffer is None:
        buffer = backend.empty(grad.shape, grad.dtype)
        backend.copy(_at_least_1d(grad), _at_least_1d(buffer))
        leaf.grad = buffer
    else:
        _add(backend, buffer, grad, buffer)


def _buffer(leaf: Tensor) -> Array | None:
    """A leaf's gradient buffer, which anybody may have put there."""
    grad, data = leaf.grad, leaf.data
    if grad is not None and (grad.shape != data.shape or grad.dtype != data.dtype or not grad.flags.c_contiguous):
        raise ValueError(
            f"backward: .grad of a tensor of shape {data.shape} and dtype {data.dtype.name} must be a C-contiguous "
            f"array like it, got shape {grad.shape} and dtype {grad.dtype.name}"
        )
    return grad


def _fitting(grad: Any, expected: tuple | None) -> Array | None:
    if grad is None or expected is None:
        return None
    shape, dtype = expected
    array = _to_array(grad, dtype)
    if array.shape != shape:
        raise ValueError(f"a backward gave a gradient of shape {array.shape} for a tensor of shape {shape}")
    return array


def _add(backend: Backend, a: Array, b: Array, out: Array) -> None:
    backend.binary(_at_least_1d(a), _at_least_1d(b), _at_least_1d(out), "add")


def _at_least_1d(array: Array) -> Array:
    """Kernels see no arrays of shape ()."""
    return array if array.ndim else array.reshape(1)


def _to_array(x: Any, dtype: Any) -> Array:
    """x as a C-contiguous array of a supported dtype in the active engine's memory; dtype None: as `Tensor` says."""
    if isinstance(x, Tensor):
        x = x.data
    elif hasattr(x, "_apply"):
        raise SymbolicArgument(x)
    if isinstance(x, np.ndarray):
        host = x
    elif _is_on_device(x):
        return _convert(_device_array("a tensor's data", x), dtype)
    else:
        try:
            host = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"cannot make a tensor of these nested sequences: {error}") from None
        if dtype is None and host.dtype.kind in "iuf" and isinstance(x, (list, tuple, int, float, np.generic)):
            dtype = FLOAT32
    if host.dtype.kind not in _KINDS or (
        dtype is None and host.dtype.kind == "f" and host.dtype.itemsize not in (4, 8)
    ):
        raise TypeError(f"a tensor holds float32, float64, integers or bools, got {_dtype_name(host, x)}")
    target = host.dtype.newbyteorder("=") if dtype is None else _supported(dtype)
    if host.dtype != target:
        host = host.astype(target, order="C")
    elif not host.flags.carray:  # read-only, misaligned or strided
        host = host.copy(order="C")
    array = current().asarray(host)
    return array if array.ndim == host.ndim else array.reshape(host.shape)


def _is_on_device(x: Any) -> bool:
    """Whether x, anything at all, is an array outside the host's memory."""
    return hasattr(x, "__dlpack_device__") and int(x.__dlpack_device__()[0]) not in _HOST_MEMORY


def _device_array(argument: str, x: Any) -> Array:
    """A device's array, anybody's, as one of the active engine's. Raises BufferError where that does not reach it."""
    engine = getattr(current(), "engine", current())  # a recorder stands in for its engine
    if isinstance(x, engine.array_type):
        return x
    device = tuple(map(int, x.__dlpack_device__()))
    if device[0] not in engine.device_memory:
        raise BufferError(
            f"{argument} must lie in the host's memory, got DLPack device {device}, which engine {engine.name!r} does "
            "not reach; copy it to the host first"
        )
    return _given_away(argument, x, engine.from_device)


def _given_away(argument: str, x: Any, take: Callable[[Any], Array]) -> Array:
    try:
        return take(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise BufferError(f"{argument}, of {type(x).__name__}, is not given away: {error}") from error


def _convert(x: Array, dtype: Any) -> Array:
    """A device array with another dtype or C-contiguous, on the device."""
    target = _supported(x.dtype if dtype is None else dtype)
    if x.dtype == target and x.flags.c_contiguous:
        return x
    backend = current()
    own = backend.empty(x.shape, target)
    backend.copy(_at_least_1d(x), _at_least_1d(own))
    return own


def _supported(dtype: Any) -> np.dtype:
    try:
        wanted = np.dtype(dtype if dtype is not None else "")  # None is float64 to NumPy
    except TypeError:
        raise TypeError(f"dtype must be float32, float64, an integer type or bool, got {dtype!r}") from None
    if wanted.kind not in _KINDS or (wanted.kind == "f" and wanted.itemsize not in (4, 8)):
        raise TypeError(f"dtype must be float32, float64, an integer type or bool, got {wanted.name}")
    return wanted


def _dtype_name(host: np.ndarray, x: Any) -> str:
    return f"{type(x).__name__}" if host.dtype.kind == "O" and host.ndim == 0 else f"dtype {host.dtype.name}"


_new = object.__new__

from . import functional as _functional  # noqa: E402  (the ops need Tensor, its operators need the ops)
